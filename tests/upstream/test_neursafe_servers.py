# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Neursafe's job scheduler and model manager, and the doubles that stand in for them: one suite on both.

Each is run with the environment of its manifest, but for where things are. Doubles are here of the cluster's API and of
the proxy's routes; the programs' database is a PostgreSQL of this machine, the doubles' a port that answers.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.catalogue import MANIFESTS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.neursafe import check_servers
from tests.support import neursafe_programs
from tests.upstream import test_neursafe
from tests.upstream.test_neursafe import PASSWORD, PORT, _Values, asked
from tests.upstream.test_neursafe_clients import DOUBLE, SECONDS, Room, free_port, running, says, selector

postgresql = test_neursafe.postgresql
JOB = {
    "id": "tiny",
    "runtime": "tensorflow",
    "output": "/tiny/output",
    "model_path": "/tiny/model.h5",
    "task_entry": "tiny",
    "hyper_parameters": {"max_round_num": 1, "client_num": 1, "threshold_client_num": 1},
}
JOBS, MODELS = "/api/v1/namespaces/default/jobs", "/api/v1/namespaces/default/models"


class Noted(ThreadingHTTPServer):
    """A double of the cluster's API and of the proxy's routes: keeps what is made there, and notes every route."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, dict[str, Any]] = {}
        self.routes: list[tuple[str, str, str | None]] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def made(self, path: str, found: dict[str, Any]) -> None:
        """Something is made: here nothing comes of it."""

    def gone(self, path: str) -> None:
        """It is taken away."""

    def phase(self, path: str) -> str:
        """How a pod is."""
        return "Running"


class _Handler(BaseHTTPRequestHandler):
    server: Noted

    def log_message(self, *_arguments: object) -> None:
        pass

    def _answer(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"null")
        if self.path.endswith("/routers"):
            told = (self.command, self.headers["module-id"], self.headers["token"])
            self.server.routes.append(told)
            self._say(200, {})
        elif self.command == "POST":
            path = f"{self.path}/{body['metadata']['name']}"
            new = path not in self.server.objects
            self.server.objects.setdefault(path, body | {"status": {"phase": "Running"}})
            if new:
                self.server.made(path, body)
            self._say(201 if new else 409, self.server.objects[path])
        else:
            take = self.server.objects.pop if self.command == "DELETE" else self.server.objects.get
            found = take(self.path, None)
            if self.command == "DELETE":
                self.server.gone(self.path)
            told = found and found | {"status": {"phase": self.server.phase(self.path)}}
            self._say(200 if found else 404, told or {"message": "not found"})

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _say(self, status: int, value: Any) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Servers:
    """Both, as long as they run."""

    def __init__(self, python: str, folder: Path, database: str, noted: Noted, **more: Any) -> None:
        self.python, self.folder, self.noted = python, folder, noted
        self.shared = folder / "shared"
        for name in ("coordinator_configs", "models", "default/tiny"):
            (self.shared / name).mkdir(parents=True)
        (self.shared / "default" / "tiny" / "model.h5").write_text("weights\n")
        self.ports = {"job_scheduler": free_port(), "model_manager": free_port()}
        self.client = Room(folder / "client")
        instance: dict[str, Any] = {
            "name": "demo-imaging-server",
            "images": {"registry": "registry.example:5000", "tag": "1.0"},
            "storage": {"type": "posix"},
            "database": {"address": database, "username": "neursafe", "secret": "database", "name": "postgres"},
            "token": "token",
            **more,
        }
        (checked,) = check_servers([instance])
        objects = MANIFESTS["neursafe_server"].objects(checked, _Values(), str)
        pods = {
            one["metadata"]["name"]: one["spec"]["template"]["spec"] for one in objects if one["kind"] == "Deployment"
        }
        self.containers = {
            "job_scheduler": pods["nsfl-job-scheduler"]["containers"][0],
            "model_manager": pods["nsfl-model-manager"]["containers"][0],
        }
        self.tables = [one for pod in pods.values() for one in pod.get("initContainers", ()) if one["name"] == "table"]

    def environment(self, container: dict[str, Any], **moved: str) -> dict[str, str]:
        secrets = {"username": "neursafe", "password": PASSWORD, "token": "the token"}
        found = {
            one["name"]: one["value"] if "value" in one else secrets[one["valueFrom"]["secretKeyRef"]["key"]]
            for one in container["env"]
        }
        return {"PATH": os.environ["PATH"], **found, **moved}

    def of(self, module: str) -> dict[str, str]:
        """A program's, but for where things are."""
        port = str(self.ports[module])
        moved = {"WORKSPACE": str(self.shared), "PORT": port}
        if module == "job_scheduler":
            moved = {
                "HTTP_PORT": port,
                "WORKSPACE": str(self.shared),
                "SELECTOR_ADDRESS": f"127.0.0.1:{self.client.server}",
                "PROXY_ADDRESS": self.noted.address,
                "K8S_ADDRESS": self.noted.address,
            }
        return self.environment(self.containers[module], **moved)

    @contextmanager
    def run(self, module: str, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        with (self.folder / f"{module}.log").open("wb") as log:
            command = [self.python, "-u", "-B", "-m", f"neursafe_fl.python.{module}.app"]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def said(self, module: str) -> str:
        return (self.folder / f"{module}.log").read_text()

    def ask(self, module: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[module], timeout=20)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def wait(self, there: Callable[[], bool], module: str) -> None:
        end = time.monotonic() + SECONDS
        while not there():
            assert time.monotonic() < end, self.said(module)[-3000:]
            time.sleep(0.2)


@pytest.fixture(scope="module", params=["double", "program"])
def idle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """All that they need, and neither of them."""
    folder, noted = tmp_path_factory.mktemp("servers"), Noted()
    (folder / "client").mkdir()
    threading.Thread(target=noted.serve_forever, args=(0.01,), daemon=True).start()
    if request.param == "double":
        listening = socket.create_server(("127.0.0.1", 0))
        yield Servers(str(DOUBLE), folder, f"127.0.0.1:{listening.getsockname()[1]}", noted)
        listening.close()
        return
    if neursafe_programs.missing():
        pytest.skip(neursafe_programs.missing())
    request.getfixturevalue("postgresql")
    servers = Servers(str(neursafe_programs.brought()), folder, f"127.0.0.1:{PORT}", noted)
    for table in servers.tables:
        environment = servers.environment(table)
        subprocess.run([servers.python, *table["command"][1:]], env=environment, check=True, capture_output=True)
    yield servers


@pytest.fixture(scope="module")
def servers(idle: Servers) -> Iterator[Servers]:
    """Both, and a client that the selector knows."""
    with ExitStack() as all_:
        all_.enter_context(selector(idle.python, idle.client))
        client = running(idle.python, idle.client, "client", "--config_file", idle.client.write())
        says(all_.enter_context(client), "Register client success")
        for module in idle.ports:
            all_.enter_context(idle.run(module, idle.of(module)))
            idle.wait(lambda port=idle.ports[module]: asked(port, "/api/v1/health") == 200, module)
        yield idle


@pytest.mark.parametrize("name", ["MODEL_MANAGER_ADDRESS", "K8S_ADDRESS"])
def test_a_job_scheduler_that_lacks_a_variable_ends_and_names_it(idle: Servers, name: str) -> None:
    environment = idle.of("job_scheduler")
    del environment[name]
    with idle.run("job_scheduler", environment) as process:
        assert process.wait(SECONDS) != 0
    assert f"Env: {name} not configure" in idle.said("job_scheduler")


def test_a_job_becomes_a_service_a_pod_and_a_route_with_the_token_and_goes(servers: Servers) -> None:
    assert servers.ask("job_scheduler", "POST", JOBS, JOB) == (201, {"state": "SUCCEEDED"})
    there = "/api/v1/namespaces/default/{}/default-tiny".format
    servers.wait(lambda: there("pods") in servers.noted.objects, "job_scheduler")
    pod, service = (servers.noted.objects[there(kind)] for kind in ("pods", "services"))
    (container,) = pod["spec"]["containers"]
    assert container["image"] == "registry.example:5000/nsfl-coordinator:1.0"
    assert container["ports"] == [{"containerPort": 50051}]
    assert container["command"][:3] == ["python3.7", "-m", "neursafe_fl.python.coordinator.app"]
    paths = {one["hostPath"]["path"] for one in pod["spec"]["volumes"]}
    assert {"/mnt/neursafe_fl/default/tiny/model.h5", "/mnt/neursafe_fl/default/tiny/output"} < paths
    assert {path for path in paths if not path.startswith("/mnt/neursafe_fl/")} == set()
    assert service["spec"]["selector"] == pod["metadata"]["labels"] == {"app": "default-tiny"}
    assert [one["port"] for one in service["spec"]["ports"]] == [50051]
    assert servers.noted.routes[0] == ("POST", "default-tiny", "the token")
    assert servers.ask("job_scheduler", "GET", f"{JOBS}/tiny")[1]["id"] == "tiny"
    assert servers.ask("job_scheduler", "POST", JOBS, JOB)[0] == 403
    assert servers.ask("job_scheduler", "DELETE", f"{JOBS}/tiny")[0] == 200
    servers.wait(lambda: not servers.noted.objects, "job_scheduler")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"model_path": "/tiny/none.h5"}, "Model: /tiny/none.h5 not existing in namespace: default, job: other"),
        ({"runtime": None}, "Required key: 'runtime' not exist"),
    ],
)
def test_a_job_that_can_t_be_is_refused(servers: Servers, changed: dict[str, Any], words: str) -> None:
    job = {key: value for key, value in {**JOB, "id": "other", **changed}.items() if value is not None}
    status, told = servers.ask("job_scheduler", "POST", JOBS, job)
    assert (status, told["state"], words in told["reason"]) == (403, "FAILED", True), told
    assert servers.ask("job_scheduler", "GET", f"{JOBS}/other")[0] == 404


def test_a_model_of_a_namespace_is_copied_to_where_models_lie(servers: Servers) -> None:
    told = {"name": "net", "runtime": "tensorflow", "model_path": "default:tiny/model.h5"}
    status, made = servers.ask("model_manager", "POST", MODELS, told)
    assert (status, made["version_info"]["version"]) == (201, "V0"), made

    def state() -> str:
        (found,) = servers.ask("model_manager", "GET", f"{MODELS}/net")[1]["models"]["net"]
        return str(found["state"])

    servers.wait(lambda: state() == "ready", "model_manager")
    copied = servers.shared / "models" / "default" / "net" / "V0" / "model.h5"
    assert copied.read_text() == "weights\n"
    assert servers.ask("model_manager", "DELETE", f"{MODELS}/net")[0] == 200
    servers.wait(lambda: servers.ask("model_manager", "GET", f"{MODELS}/net")[0] == 404, "model_manager")
    assert servers.ask("model_manager", "POST", MODELS, {"name": "net"})[0] == 400


@pytest.mark.parametrize(
    ("way", "well"), [({}, False), ({"PGHOSTADDR": "127.0.0.1"}, True)], ids=["by name", "as told"]
)
def test_a_double_comes_to_the_database_where_libpq_is_told_that_it_is(way: dict[str, str], well: bool) -> None:
    """As the programs do on a machine that doesn't know the name which pods have for it."""
    reach = "from neursafe_fl.python.serving import reach_database; reach_database()"
    with socket.create_server(("127.0.0.1", 0)) as database:
        address = f"database.invalid:{database.getsockname()[1]}"
        environment = {"PATH": os.environ["PATH"], "DB_TYPE": "postgreSQL", "DB_ADDRESS": address, **way}
        done = subprocess.run([str(DOUBLE), "-c", reach], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is well, done.stderr
