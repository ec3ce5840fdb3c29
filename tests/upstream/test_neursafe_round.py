# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify's round with Neursafe's own programs on this machine: job scheduler, selector, coordinator, two clients.

A double of the cluster's API runs the coordinator that it is told to, as a node would, and nginx leads clients to the
selector and the coordinator, as the proxy does. PyTorch 1.7.1 of Python 3.7 is looked for in the folder
FEDLEARN_NEURSAFE_TORCH (`pip install --target`), since it is 800 MB.
"""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.neursafe.rounds import ANSWER, MAX_ERROR
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests import neursafe_round
from tests.support import neursafe_programs
from tests.upstream import test_neursafe
from tests.upstream.test_neursafe import PORT, asked, let_in
from tests.upstream.test_neursafe import running as running_nginx
from tests.upstream.test_neursafe_clients import Room, free_port, running, says, selector
from tests.upstream.test_neursafe_servers import Noted, Servers

nginx, postgresql = test_neursafe.nginx, test_neursafe.postgresql
TORCH = os.environ.get("FEDLEARN_NEURSAFE_TORCH", "")
MUX = """\
{modules}
worker_processes 1;
error_log stderr notice;
pid {room}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_max_body_size 100M;
    client_body_temp_path {room}/body;
    proxy_temp_path {room}/proxy;
    fastcgi_temp_path {room}/fastcgi;
    uwsgi_temp_path {room}/uwsgi;
    scgi_temp_path {room}/scgi;
    server {{
        listen 127.0.0.1:{mux} http2;
        location /ClientService {{ grpc_pass grpc://127.0.0.1:{selector}; }}
        location / {{ grpc_pass grpc://127.0.0.1:{coordinator}; }}
    }}
    server {{
        listen 127.0.0.1:{health};
        location / {{ return 200; }}
    }}
}}
"""


class Node(Noted):
    """Runs the pods that it is told to make."""

    def __init__(self, servers_folder: Path) -> None:
        super().__init__()
        self.folder = servers_folder
        self.python = ""
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def made(self, path: str, found: dict[str, Any]) -> None:
        if "/pods/" not in path:
            return
        (container,) = found["spec"]["containers"]
        places = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
        for volume in found["spec"]["volumes"]:
            source = Path(volume["hostPath"]["path"].replace("/mnt/neursafe_fl", str(self.folder / "shared")))
            place = Path(places[volume["name"]])
            place.parent.mkdir(parents=True, exist_ok=True)
            if not place.exists():
                place.symlink_to(source)
        environment = {one["name"]: str(one["value"]) for one in container["env"]}
        environment |= {"PATH": os.environ["PATH"], "PYTHONPATH": TORCH}
        with (self.folder / "coordinator.log").open("ab") as log:
            command = [self.python, *container["command"][1:]]
            self.processes[path] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)

    def phase(self, path: str) -> str:
        code = self.processes[path].poll() if path in self.processes else None
        return "Running" if code is None else "Failed" if code else "Succeeded"

    def gone(self, path: str) -> None:
        process = self.processes.pop(path, None)
        if process is not None:
            process.kill()
            process.wait()


@pytest.fixture
def servers(postgresql: Path, nginx: Path, tmp_path: Path) -> Iterator[Servers]:
    if neursafe_programs.missing() or not (Path(TORCH) / "torch").is_dir():
        pytest.skip(neursafe_programs.missing() or "FEDLEARN_NEURSAFE_TORCH names no folder with PyTorch")
    python, node = neursafe_programs.brought(), Node(tmp_path)
    node.python = str(python)
    threading.Thread(target=node.serve_forever, args=(0.01,), daemon=True).start()
    (tmp_path / "client").mkdir()
    coordinator = free_port()
    options = {"COORDINATOR_WORKSPACE_PATH": str(tmp_path / "fl"), "REPORT_PERIOD": 1}
    settings = {"job_scheduler": {"options": options}, "coordinator": {"port": coordinator}}
    found = Servers(str(python), tmp_path, f"127.0.0.1:{PORT}", node, settings=settings)
    for table in found.tables:
        subprocess.run([found.python, *table["command"][1:]], env=found.environment(table), check=True)
    ports = {"mux": free_port(), "health": free_port(), "selector": found.client.server, "coordinator": coordinator}
    (tmp_path / "nginx" / "conf").mkdir(parents=True)
    (tmp_path / "nginx" / "logs").mkdir()
    let_in(tmp_path / "nginx")
    (tmp_path / "nginx" / "conf" / "nginx.conf").write_text(MUX.format(room=tmp_path / "nginx", modules="", **ports))
    with ExitStack() as all_:
        all_.enter_context(running_nginx(nginx, tmp_path / "nginx", lambda: asked(ports["health"], "/") == 200))
        all_.enter_context(selector(found.python, found.client))
        for name in ("one", "two"):
            (tmp_path / name).mkdir()
            room = Room(tmp_path / name)
            room.more = {"PYTHONPATH": TORCH, "PATH": f"{python.parent}:{os.environ['PATH']}"}
            setup = room.write(server=f"127.0.0.1:{ports['mux']}")
            says(
                all_.enter_context(running(found.python, room, "client", "--config_file", setup)),
                "Register client success",
            )
        moved = {"JOB_SCHEDULER_ADDRESS": f"127.0.0.1:{found.ports['job_scheduler']}"}
        all_.enter_context(found.run("job_scheduler", found.of("job_scheduler") | moved))
        found.wait(lambda: asked(found.ports["job_scheduler"], "/api/v1/health") == 200, "job_scheduler")
        try:
            yield found
        finally:
            for path in list(node.processes):
                node.gone(path)


def test_two_clients_learn_the_known_answer_and_nothing_is_left(servers: Servers) -> None:
    told = json.dumps({"name": "fedlearn-trial", "namespace": "default", "clients": 2, "seconds": 600})
    text = Path(neursafe_round.__file__).read_text()
    command = [servers.python, "-u", "-c", text, told]
    done = subprocess.run(command, env=servers.of("job_scheduler"), capture_output=True, text=True, check=False)
    row = json.loads(done.stdout.strip().rpartition("\n")[2])
    logs = "".join(path.read_text()[-4000:] for path in servers.folder.rglob("*.log"))
    assert row["outcome"] == "finished", f"{row} {done.stderr} {logs}"
    assert max(abs(found - known) for found, known in zip(row["content"]["values"], ANSWER, strict=True)) < MAX_ERROR
    assert servers.noted.objects == {}
    assert [path.name for path in (servers.shared / "default").iterdir()] == ["tiny"]


CREATE = """
import json, sys
from neursafe_fl.python.cli.core.job import Job
Job(sys.argv[1]).create(sys.argv[2], json.loads(sys.argv[3]))
"""
"""As `nsfl-ctl create job` ends (cli/commands/cmd_create.py)."""


class Refusing(http.server.BaseHTTPRequestHandler):
    """Notes what is asked for, and does nothing of it."""

    noted: list[tuple[str, str, Any]]

    def _refuse(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        self.noted.append((self.command, self.path, json.loads(self.rfile.read(length) or b"null")))
        self.send_response(500)
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET = do_DELETE = _refuse  # noqa: N815 - as the library calls them

    def log_message(self, *_arguments: Any) -> None:
        """Says nothing."""


def test_the_job_is_handed_in_as_nsfl_ctl_hands_one_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if neursafe_programs.missing():
        pytest.skip(neursafe_programs.missing())
    handler = type("Handler", (Refusing,), {"noted": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        monkeypatch.setenv("HTTP_PORT", str(server.server_address[1]))
        monkeypatch.setenv("WORKSPACE", str(tmp_path))
        row = neursafe_round.run("trial", "default", 2, 60)
        address, job = f"127.0.0.1:{server.server_address[1]}", json.dumps(neursafe_round.job("trial", 2, 60))
        command = [str(neursafe_programs.brought()), "-c", CREATE, address, "default", job]
        subprocess.run(command, capture_output=True, check=False)
        server.shutdown()
    assert "the job scheduler answers 500" in row["detail"]
    ours, theirs = (one for one in handler.noted if one[0] == "POST")
    assert ours == theirs == ("POST", "/api/v1/namespaces/default/jobs", neursafe_round.job("trial", 2, 60))
