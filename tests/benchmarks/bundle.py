# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the baselines bring to a host, taken once from hosts that site converged: finished files, nothing to derive."""

from __future__ import annotations

import fnmatch
import io
import json
import shutil
import tarfile
from pathlib import Path

from tests.benchmarks.hosts import ROOM, Hosts, State, unpack

SCRIPT = Path(__file__).with_name("baseline") / "converge.sh"
BUNDLES = ROOM / "bundles"
ON_HOST = "/srv/baseline"
MANAGED = (
    "/etc/fedlearn*",
    "/etc/systemd/system/fedlearn-*.service",
    "/etc/systemd/system/nginx.service.d*",
    "/etc/nginx/conf.d/fedlearn-*",
    "/etc/nginx/nginx.conf",
    "/etc/security/limits.d/*fedlearn*",
    "/opt/fedlearn",
    "/opt/fedlearn/mindspore-launcher*",
    "/opt/fedlearn/mindspore-light",
    "/opt/fedlearn/janus*",
    "/opt/fedlearn/dpsa-manager*",
    "/etc/systemd/system/systemd-journald@fedlearn-*",
    "/etc/systemd/journald@fedlearn-*",
    "/etc/tmpfiles.d/fedlearn-*",
)
# laid in place for both ways
NOT_MANAGED = ("/etc/fedlearn/*/pki*",)


def render(hosts: Hosts, fresh: State, converged: State) -> dict[str, bytes]:
    """Write each host's bundle to build/bench/bundles; the keys to be laid on fresh hosts are the answer."""
    shutil.rmtree(BUNDLES, ignore_errors=True)
    for host in hosts.names:
        _render_one(hosts, host, fresh, converged)
    return {host: hosts.packed(host, list(hosts.laid)) for host in hosts.names}


def _render_one(hosts: Hosts, host: str, fresh: State, converged: State) -> None:
    folder = BUNDLES / host
    (folder / "files").mkdir(parents=True)
    shutil.copy(SCRIPT, folder)
    present = converged[host]["files"]
    managed = [path for path in sorted(present) if _is_managed(path)]
    plain = [path for path in managed if present[path][0].startswith("-")]
    unpack(hosts.packed(host, plain), folder / "files")
    rows = [_row(path, *present[path][:2]) for path in managed]
    (folder / "manifest").write_text("".join(row + "\n" for row in rows))
    packages = sorted(set(converged[host]["packages"]) - set(fresh[host]["packages"]))
    (folder / "packages").write_text("".join(package + "\n" for package in packages))
    requirements = next((path for path in present if fnmatch.fnmatch(path, "/opt/fedlearn/*/*/requirements.txt")), "")
    (folder / "environment").write_text(requirements.removesuffix("/requirements.txt"))
    (folder / "requirements.txt").write_bytes(hosts.root(host, f"cat {requirements}") if requirements else b"")
    (folder / "ports").write_text(_ports(hosts, host))


def _is_managed(path: str) -> bool:
    wanted = any(fnmatch.fnmatch(path, pattern) for pattern in MANAGED)
    return wanted and not any(fnmatch.fnmatch(path, pattern) for pattern in NOT_MANAGED)


def _row(path: str, mode: str, owner: str) -> str:
    """A line of the manifest: ``644 root root /path``, a directory's path with a slash at its end."""
    bits = "".join(
        str(sum(4 >> at for at, letter in enumerate(mode[start : start + 3]) if letter != "-")) for start in (1, 4, 7)
    )
    return f"{bits} {owner.replace(':', ' ')} {path}{'/' if mode.startswith('d') else ''}"


def _ports(hosts: Hosts, host: str) -> str:
    """Where the services of a host listen, as site noted it."""
    owned = json.loads(hosts.root(host, f"cat /var/lib/fedlearn/{hosts.federation}/owned.json"))
    ports = [port for service in owned["services"].values() for port in service["ports"]]
    return "".join(f"{port['address']} {port['port']}\n" for port in ports)


def send(hosts: Hosts, host: str) -> int:
    """Bring a host's bundle there and run it; how many changes it made."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        tar.add(BUNDLES / host, arcname=".")
    hosts.lay(host, archive.getvalue(), ON_HOST)
    said = hosts.root(host, f"bash {ON_HOST}/converge.sh").decode()
    return int(said.strip().rpartition("changes: ")[2])
