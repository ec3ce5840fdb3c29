# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nginx role under as many long polls as its open files allow, through a reload and a renewed certificate.

Clients on one host, nginx and the server on the other. None may be dropped; then how much nginx adds to a request and
to an upload, as ratios.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.hosts import CHECKOUT, ROOM, BenchError

SET, SUBNET, FRONT, AWAY = "polls", "10.98.41.0/24", "10.98.41.11", "10.98.41.12"
PROGRAMS = Path(__file__).with_name("polls_hosts")
HOLD_SECONDS = 60
PATIENCE_SECONDS = 600
MOST = 10_000
FOLDER = "/etc/role-test"
REQUESTS = 400


class Hosts:
    """Two hosts: `front` with nginx and the server behind it, `away` with the clients."""

    def __init__(self) -> None:
        self._hosts("up", "--suite", "bookworm", "--subnet", SUBNET, SET, f"front={FRONT}", f"away={AWAY}")
        certificates = (CHECKOUT / "molecule/shared/role/certificates.sh").read_bytes()
        self.root("front", f"sh -s {FOLDER} {FRONT}", certificates)
        self.root(
            "away", f"sh -c 'mkdir -p {FOLDER}; cat > {FOLDER}/ca.pem'", self.root("front", f"cat {FOLDER}/ca.pem")
        )
        for host, program in (("front", "server.py"), ("away", "clients.py")):
            self.root(host, f"sh -c 'cat > /root/{program}'", (PROGRAMS / program).read_bytes())
        self.root("front", "systemd-run --quiet --unit=polls-server -p LimitNOFILE=65535 python3 /root/server.py 7009")

    def _hosts(self, *arguments: str) -> None:
        command = [sys.executable, str(CHECKOUT / "molecule" / "shared" / "hosts.py"), *arguments]
        subprocess.run(command, check=True, cwd=CHECKOUT, stdout=subprocess.DEVNULL)

    def down(self) -> None:
        """Remove the hosts."""
        self._hosts("down", SET)

    def root(self, host: str, command: str, given: bytes = b"") -> bytes:
        """What a command prints as root on a host."""
        config = str(CHECKOUT / "build" / "hosts" / SET / "ssh_config")
        done = subprocess.run(
            ["ssh", "-F", config, host, f"sudo {command}"], input=given, check=False, capture_output=True
        )
        if done.returncode != 0:
            raise BenchError(f"{host}: {command} ended with {done.returncode}: {done.stderr.decode()[-3000:]}")
        return done.stdout

    def converge(self, **site: Any) -> None:
        """Run the role with one site."""
        listen = [{"address": FRONT, "port": 8443, "find_dead_peers": True}]
        tls = {"certificate": f"{FOLDER}/server.pem", "key": f"{FOLDER}/server.key"}
        values = {"upstream": {"servers": ["127.0.0.1:7009"]}, "limits": {"clients": MOST}, "body_size_mb": 512}
        polls = {"name": "polls", "federation": "bench", "listen": listen, "tls": tls, "read_timeout_seconds": 86400}
        role = {"role": "fedlearn.infra.nginx", "nginx_sites": [{**polls, **values, **site}]}
        book = ROOM / "polls.yml"
        book.write_text(json.dumps([{"hosts": "front", "become": True, "gather_facts": False, "roles": [role]}]))
        command = [
            str(CHECKOUT / ".venv/bin/ansible-playbook"),
            "-i",
            str(CHECKOUT / "build/hosts" / SET / "hosts.yml"),
        ]
        done = subprocess.run([*command, str(book)], check=False, cwd=CHECKOUT, capture_output=True, text=True)
        if done.returncode != 0:
            raise BenchError(f"the role ended with {done.returncode}:\n{done.stdout[-3000:]}")

    def ask(self, path: str) -> str:
        """What the server behind nginx says, asked on its host."""
        program = f'import urllib.request; print(urllib.request.urlopen("http://127.0.0.1:7009{path}").read().decode())'
        return self.root("front", "python3 -", program.encode()).decode().strip()

    def clients(self, *arguments: str) -> Any:
        """What the clients' program prints."""
        words = " ".join(arguments)
        return json.loads(self.root("away", f"sh -c 'ulimit -n $(ulimit -Hn); exec python3 /root/clients.py {words}'"))

    def workers(self) -> set[str]:
        """nginx's processes that take new connections."""
        return set(self.root("front", "pgrep -fx 'nginx: worker process'").decode().split())

    def shown(self) -> int:
        """How many certificates nginx shows, its own and those behind it."""
        script = f"openssl s_client -showcerts -connect {FRONT}:8443 </dev/null 2>/dev/null | grep -c BEGIN.CERTIFICATE"
        return int(self.root("front", f"sh -c '{script}'"))

    def used(self) -> dict[str, float]:
        """Seconds of CPU and megabytes of all of nginx's processes."""
        shown = self.root("front", "ps -C nginx -o cputimes=,rss=").decode().split()
        return {"cpu_seconds": sum(map(int, shown[::2])), "megabytes": sum(map(int, shown[1::2])) / 1024}


def measure() -> dict[str, Any]:
    """Polls that weren't answered, and what nginx adds."""
    hosts = Hosts()
    try:
        hosts.converge()
        files = int(
            hosts.root("front", "sh -c 'cat /proc/$(pgrep -f -o nginx:.worker)/limits'")
            .decode()
            .split("open files")[1]
            .split()[0]
        )
        count = min(MOST, (files - 200) // 2)
        answered, used = polled(hosts, count)
        ratios = added(hosts)
    finally:
        hosts.down()
    dropped = count - answered.get("200", 0)
    figures = {"polls dropped": float(dropped), **ratios}
    goals = {"polls dropped": 0.0, **dict.fromkeys(ratios)}
    return {"polls": count, "answers": answered, "nginx": used, "figures": figures, "goals": goals}


def polled(hosts: Hosts, count: int) -> tuple[dict[str, int], dict[str, float]]:
    """How polls were answered that were held through a reload and a renewal, and what nginx used meanwhile."""
    said: dict[str, int] = {}
    poll = threading.Thread(
        target=lambda: said.update(hosts.clients("polls", FRONT, "8443", str(count), f"{FOLDER}/ca.pem"))
    )
    poll.start()
    until(lambda: int(hosts.ask("/waiting")) == count, f"{count} polls to wait at the server")
    began = time.monotonic()
    reloaded(hosts, lambda: hosts.converge(body_size_mb=511))
    hosts.root("front", f"sh -c 'cd {FOLDER} && cat server.pem ca.pem > renewed && mv renewed server.pem'")
    reloaded(hosts, lambda: hosts.converge(body_size_mb=511))
    if hosts.shown() != 2:
        raise BenchError("nginx doesn't show the renewed certificate, which has its CA's behind it")
    time.sleep(max(0.0, HOLD_SECONDS - (time.monotonic() - began)))
    used = hosts.used()
    hosts.ask("/release")
    poll.join(PATIENCE_SECONDS)
    return said, used


def reloaded(hosts: Hosts, change: Any) -> None:
    """A change that nginx takes up by a reload: others of its processes take new connections then."""
    before = hosts.workers()
    change()
    until(lambda: not before & hosts.workers(), "nginx to reload")


def until(done: Any, what: str) -> None:
    """Wait for it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {PATIENCE_SECONDS} s for {what}")
        time.sleep(2)


def added(hosts: Hosts) -> dict[str, float]:
    """Through nginx to direct: the median and the 99th percentile of a request, and uploads. On nginx's own host."""
    hosts.root("front", "sh -c 'cat > /root/clients.py'", (PROGRAMS / "clients.py").read_bytes())
    ways = {"through": f"https://{FRONT}:8443", "direct": "http://127.0.0.1:7009"}

    def seconds(what: str, way: str, size: int) -> list[float]:
        words = f"python3 /root/clients.py {what} {ways[way]} {size} {FOLDER}/ca.pem"
        return [float(one) for one in json.loads(hosts.root("front", words))]

    latency = {way: sorted(seconds("latency", way, REQUESTS)) for way in ways}
    figures = {
        "request, median": statistics.median(latency["through"]) / statistics.median(latency["direct"]),
        "request, 99th percentile": latency["through"][int(REQUESTS * 0.99)] / latency["direct"][int(REQUESTS * 0.99)],
    }
    for size in (20, 200):
        times = {way: statistics.median(seconds("upload", way, size)[0] for _turn in range(5)) for way in ways}
        figures[f"upload of {size} MB"] = times["through"] / times["direct"]
    return figures
