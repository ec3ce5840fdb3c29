# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Neursafe's own programs, or their doubles, on this machine with environment, files and account of the manifests.

What is another here is where things are: ports of loopback in place of services, a folder in place of the shared
directory, and libpq is told the address of a name that pods know. Nothing else of an environment is touched.
"""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployment import DOUBLE, REAL, STORE, Whole

from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.neursafe import LOOKS
from tests.support import neursafe_programs

SERVER = "whole-imaging-server"
SECONDS = 240
"""As the programs take on a loaded machine."""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Routes(http.server.BaseHTTPRequestHandler):
    """A double of the proxy's routes: takes all, and notes them with their token."""

    noted: list[tuple[str, str, str]]

    def do_POST(self) -> None:
        self.noted.append((self.headers["module-id"], self.headers["module-service"], self.headers["token"]))
        self.send_response(200)
        self.end_headers()

    def do_PUT(self) -> None:
        self.do_POST()

    def do_DELETE(self) -> None:
        self.do_POST()

    def log_message(self, *_arguments: Any) -> None:
        """Says nothing."""


class Programs:
    """The server's, as long as they run."""

    def __init__(self, whole: Whole, folder: Path) -> None:
        self.whole, self.folder = whole, folder
        self.python = str(neursafe_programs.brought() if REAL else DOUBLE / "bin" / "python3.7")
        self.workspace = folder / "shared"
        for name in ("coordinator_configs", "models", "default"):
            (self.workspace / name).mkdir(parents=True)
        trust = whole.kubectl("get", "configmap", "trust", "-n", SERVER)["data"]
        for name, text in trust.items():
            (folder / name).write_text(text)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.routes: list[tuple[str, str, str]] = []
        self.ports = {word: free_port() for word in ("scheduler", "models", "api", "routes", "client")}

    # -- what the manifests say

    def pod(self, name: str) -> dict[str, Any]:
        spec = self.whole.kubectl("get", "deployment", name, "-n", SERVER)["spec"]["template"]["spec"]
        return dict(spec)

    def environment(self, container: Mapping[str, Any], **moved: str) -> dict[str, str]:
        """A container's, its Secrets read."""
        found: dict[str, str] = {}
        for one in container["env"]:
            if "value" in one:
                found[one["name"]] = one["value"]
                continue
            chosen = one["valueFrom"]["secretKeyRef"]
            data = self.whole.kubectl("get", "secret", chosen["name"], "-n", SERVER)["data"]
            found[one["name"]] = base64.b64decode(data[chosen["key"]]).decode()
        for name, value in found.items():
            if value.startswith("/trust/"):
                found[name] = str(self.folder / value.removeprefix("/trust/"))
        return {"PATH": os.environ["PATH"], **found, **moved, "PGHOSTADDR": STORE}

    # -- running

    def begin(self) -> None:
        """All of them, the job scheduler last, since it asks the others."""
        self._answer_routes()
        self._begin_selector()
        self._begin_client()
        scheduler, models = self.pod("nsfl-job-scheduler"), self.pod("nsfl-model-manager")
        for pod in (scheduler, models):
            (table,) = [one for one in pod["initContainers"] if one["name"] == "table"]
            self.run_once(table)
        (sidecar,) = [one for one in scheduler["initContainers"] if one["name"] == "kubectl-proxy"]
        arguments = [one.replace("--port=8001", f"--port={self.ports['api']}") for one in sidecar["args"]]
        self.processes.append(self.whole.cluster.proxy(SERVER, "nsfl-job-scheduler", arguments))
        moved = {
            "HTTP_PORT": str(self.ports["scheduler"]),
            "WORKSPACE": str(self.workspace),
            "SELECTOR_ADDRESS": "127.0.0.1:50055",
            "PROXY_ADDRESS": f"127.0.0.1:{self.ports['routes']}",
            "K8S_ADDRESS": f"127.0.0.1:{self.ports['api']}",
        }
        self.begin_program("job_scheduler", self.environment(scheduler["containers"][0], **moved))
        moved = {"PORT": str(self.ports["models"]), "WORKSPACE": str(self.workspace)}
        self.begin_program("model_manager", self.environment(models["containers"][0], **moved))
        for word in ("scheduler", "models"):
            self.wait(lambda word=word: self.ask(word, "GET", "/api/v1/health")[0] == 200, f"the {word}'s health")

    def run_once(self, container: Mapping[str, Any]) -> None:
        """An init container's command."""
        subprocess.run([self.python, *container["command"][1:]], env=self.environment(container), check=True)

    def begin_program(self, module: str, environment: Mapping[str, str], *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{module}.log").open("ab") as log:
            command = [self.python, "-u", "-m", f"neursafe_fl.python.{module}.app", *arguments]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)
        self.processes.append(process)
        return process

    def _begin_selector(self) -> None:
        files = self.whole.kubectl("get", "configmap", "nsfl-client-selector", "-n", SERVER)["data"]
        path = self.folder / "client_selector_setup.json"
        path.write_text(files["client_selector_setup.json"])
        (container,) = self.pod("nsfl-client-selector")["containers"]
        self.begin_program("selector", self.environment(container), "--config_file", str(path))
        self.wait(lambda: _listens(50055), "the selector")

    def _begin_client(self) -> None:
        """One on a host, by the file that its host has, but for where it is."""
        setup = json.loads(self.whole.run("n1", "cat /etc/fedlearn/whole/whole-imaging-client-k/setup.json"))
        home = self.folder / "client"
        for key in ("lmdb_path", "workspace", "task_config_entry"):
            (home / key).mkdir(parents=True)
            setup[key] = str(home / key)
        (home / "datasets.json").write_text("{}")
        setup |= {"datasets": str(home / "datasets.json"), "host": "127.0.0.1", "port": self.ports["client"]}
        setup |= {"server": "127.0.0.1:50055", "external_address": f"127.0.0.1:{self.ports['client']}"}
        (home / "setup.json").write_text(json.dumps(setup))
        environment = {"PATH": os.environ["PATH"], "REPORT_HEARTBEAT": "1"}
        self.begin_program("client", environment, "--config_file", str(home / "setup.json"))
        said = self.folder / "client.log"
        self.wait(lambda: "Report client to server success" in said.read_text(), "a report of the client")

    def _answer_routes(self) -> None:
        handler = type("Handler", (Routes,), {"noted": self.routes})
        server = http.server.ThreadingHTTPServer(("127.0.0.1", self.ports["routes"]), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    # -- what verify tries inside of pods

    def looked(self, name: str, *looks: tuple[str, str, list[Any]], **moved: str) -> dict[str, str | None]:
        """By the program's own Python, with the environment of its pod."""
        environment = self.environment(self.pod(name)["containers"][0], **moved)
        command = [self.python, "-c", LOOKS, json.dumps(looks)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    # -- asking

    def wait(self, there: Any, what: str) -> None:
        end = time.monotonic() + SECONDS
        while not there():
            logs = {path.name: path.read_text()[-1500:] for path in self.folder.glob("*.log")}
            assert time.monotonic() < end, f"{what} isn't there: {json.dumps(logs, indent=1)}"
            time.sleep(0.5)

    def ask(self, word: str, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of the job scheduler's answer, or the model manager's; 0 where nobody answers."""
        return asked("127.0.0.1", self.ports[word], method, path, body)


def asked(host: str, port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of an answer; 0 where nobody answers."""
    connection = http.client.HTTPConnection(host, port, timeout=20)
    try:
        connection.request(method, path, None if body is None else json.dumps(body))
        answer = connection.getresponse()
        text = answer.read()
    except OSError:
        return 0, None
    finally:
        connection.close()
    try:
        return answer.status, json.loads(text)
    except ValueError:
        return answer.status, text.decode()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
