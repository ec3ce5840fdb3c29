# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two model managers behind nginx, replaced one after the other whenever the cluster replaces their pod.

They are the programs where these are given, else doubles, with the environment of the deployed manifest; nginx is the
program, on the node. As kubelet would do, a pod's place is given once what runs has what its Secrets say: the simulated
node takes no pods before.
"""

from __future__ import annotations

import shlex
import threading
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from deployment import NETWORK, NODE, REAL, Whole
from programs import Programs, asked, free_port

NAME = "nsfl-model-manager"
FRONT = 50099
HEALTH = "/api/v1/health"
MODELS = "/api/v1/namespaces/default/models"
CONFIG = """\
daemon off;
pid /run/two-managers.pid;
error_log stderr;
events {}
http {
    access_log off;
    upstream managers { SERVERS }
    server { listen ADDRESS; location / { proxy_pass http://managers; } }
}
"""


class Managers(Programs):
    """As long as they run, asked all the time; ``answers`` counts what came of it."""

    def __init__(self, whole: Whole, folder: Path) -> None:
        super().__init__(whole, folder)
        self.places = [free_port(), free_port()]
        self.logins: dict[int, str] = {}
        self.answers: Counter[str] = Counter()
        self.replaced = 0
        self._running: dict[int, Any] = {}
        self._ended = threading.Event()
        self._threads = ThreadPoolExecutor(2)
        self._work: list[Future[None]] = []

    def __enter__(self) -> Managers:
        self.whole.run("n1", "mkdir -p /mnt/neursafe_fl/default/tiny && echo w >/mnt/neursafe_fl/default/tiny/model.h5")
        if REAL:
            (table,) = [one for one in self.pod(NAME)["initContainers"] if one["name"] == "table"]
            self.run_once(table)
        for port in self.places:
            self._start(port)
        self._lead(*self.places)
        self.whole.run("n1", "systemd-run --quiet --unit two-managers nginx -c /run/two-managers.conf")
        self.wait(lambda: asked(NODE, FRONT, "GET", HEALTH)[0] == 200, "the managers behind nginx")
        self._work = [self._threads.submit(self._ask), self._threads.submit(self._follow)]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        try:
            for each in self._work:
                each.result()
        finally:
            self.whole.cluster.kubectl("uncordon", "fake-1")
            self.whole.run("n1", "systemctl stop two-managers")
            self.end()

    # -- replacing

    def _start(self, port: int) -> None:
        environment = self.environment(self.pod(NAME)["containers"][0], PORT=str(port), WORKSPACE=str(self.workspace))
        self.logins[port] = environment["DB_USERNAME"]
        self._running[port] = self.begin_program("model_manager", environment)
        self.wait(lambda: asked(f"{NETWORK}.1", port, "GET", HEALTH)[0] == 200, "a model manager")

    def _lead(self, *ports: int) -> None:
        """nginx asks those on these ports alone."""
        servers = " ".join(f"server {NETWORK}.1:{port};" for port in ports)
        text = CONFIG.replace("SERVERS", servers).replace("ADDRESS", f"{NODE}:{FRONT}")
        reload = "systemctl is-active --quiet two-managers && systemctl kill --signal HUP --kill-who main two-managers"
        self.whole.run("n1", f"echo {shlex.quote(text)} >/run/two-managers.conf; {reload} || true")

    def _replace(self) -> None:
        """Each is asked no more, ends, and begins anew."""
        for port in self.places:
            self._lead(*(other for other in self.places if other != port))
            time.sleep(2)
            self._running[port].kill()
            self._running[port].wait()
            self._start(port)
            self._lead(*self.places)
        self.replaced += 1

    def _waiting(self) -> set[str]:
        pods = self.whole.kubectl("get", "pods", "--all-namespaces", "--field-selector=status.phase=Pending")["items"]
        return {one["metadata"]["labels"].get("app", "") for one in pods}

    def _follow(self) -> None:
        """What waits for a place gets one; the model manager's pod once both have what is in its Secrets."""
        while not self._ended.wait(0.5):
            self.whole.cluster.kubectl("cordon", "fake-1")
            waiting = self._waiting()
            if NAME in waiting:
                self._replace()
            if waiting:
                self.whole.cluster.kubectl("uncordon", "fake-1")
                self.wait(lambda: not self._waiting(), "places for pods")

    # -- asking

    def _ask(self) -> None:
        number = 0
        while not self._ended.wait(0.1):
            number += 1
            config = {"name": f"asked-{number}", "runtime": "tensorflow", "model_path": "default:tiny/model.h5"}
            for wanted, method, path, body in ((200, "GET", HEALTH, None), (201, "POST", MODELS, config)):
                status, said = asked(NODE, FRONT, method, path, body)
                self.answers["well" if status == wanted else f"{method} {status} {said}"[:200]] += 1

    def unfinished(self) -> str:
        """How many of the models that were asked for aren't there, by the database."""
        rows = "SELECT count(*) FROM models WHERE data->>'name' LIKE 'asked-%' AND data->>'state' <> 'ready'"
        well, said = self.whole.sql("n1", "server", "neursafe_fl", rows)
        assert well, said
        return said
