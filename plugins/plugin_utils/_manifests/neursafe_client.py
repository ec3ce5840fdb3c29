# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The manifests of a client of Neursafe, from one checked instance of the role neursafe_client."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._federation import network
from . import neursafe_named, parts
from .neursafe import (
    DATABASE_SECRET,
    JOBS,
    KUBECTL_PATHS,
    MAKES_JOBS,
    OWNER_SECRET,
    SHARED,
    Instance,
    Look,
    Neursafe,
    recorded_in,
    secret_names,
)
from .parts import UNSEEN, Looks, Object, Pod, Secrets

ALONE = False  # tasks have names of their own

REGISTERED = "Register client success|Report client to server success"
"""What the program logs when the server's selector has taken it."""

LMDB = "lmdb"
LMDB_CAPACITY = "1Gi"
FOLDERS = ("workspace", "datasets", "task_configs")
NODES = "^/api/v1/nodes$"
SETUP = "task_manager_setup.json"
SETUP_FOLDER = "/nsfl/config"
NAMED = "named.py"
DATASETS = "datasets.json"
_PREPARE = f"""\
umask 0007
mkdir -p -- "$@"
told={SETUP_FOLDER}/{DATASETS} list="$2/{DATASETS}"
if test -e "$told"; then cat "$told" > "$list"; else test -e "$list" || echo '{{}}' > "$list"; fi
"""
"""Makes the folders of the shared directory, which are nobody else's, and the list of data sets: as it is told, else an
empty one where there is none, since the program wants one. It lies there for tasks' pods, which mount it from their
node."""


class Client(Neursafe):
    """One instance: a task manager, which makes a pod for each task."""

    @property
    def name(self) -> str:
        found: str = self.settings["task_manager"]["service_name"]
        return found

    @property
    def port(self) -> int:
        found: int = self.settings["task_manager"]["port"]
        return found

    def objects(self) -> list[Object]:
        """All of them, in the order they are made in."""
        home, directory = self.home, self.instance["directory"]
        return [
            parts.namespace(home.namespace, "restricted"),
            parts.account(home, self.name),
            *self.hidden,
            *self.pulls(),
            *self.trust,
            *self.tunnel_files,
            *parts.shared_volume(home, SHARED, directory, self.instance["user"], self.instance["capacity"]),
            *self._lmdb(),
            *parts.role(home, home.namespace, JOBS, MAKES_JOBS, self.name),
            *parts.cluster_role(home, home.namespace, {"nodes": ("get", "list", "watch")}, self.name),
            *parts.admission(home, self.name, [directory], JOBS),
            parts.closed(home),
            *self._task_manager(),
        ]

    def folder(self, name: str) -> str:
        """In pods as on nodes: tasks' pods have it by the same path."""
        return posixpath.join(self.instance["directory"], name)

    def _lmdb(self) -> list[Object]:
        told = self.instance["lmdb"]
        if "path" in told:
            return parts.local_volume(self.home, LMDB, told["node"], told["path"], LMDB_CAPACITY)
        return [parts.class_volume(self.home, LMDB, told.get("storage_class"), LMDB_CAPACITY)]

    def setup(self) -> dict[str, Any]:
        """The task manager's own configuration."""
        settings = self.settings["task_manager"]
        found = {
            "host": "0.0.0.0",  # noqa: S104 - in its pod, which NetworkPolicies keep
            "port": self.port,
            "server": self.instance["server"],
            "external_address": self.instance["external_address"],
            "lmdb_path": "/lmdb",
            "workspace": self.folder("workspace"),
            "datasets": posixpath.join(self.folder("datasets"), DATASETS),
            "task_config_entry": self.folder("task_configs"),
            "platform": "k8s",
            "runtime": settings["runtime"],
            "storage_quota": settings["storage_quota"],
            # the program compares words
            "registration": str(settings["registration"]).lower(),
            "log_level": self.settings["others"]["log_level"],
        }
        return found | {key: settings[key] for key in ("label", "max_task_parallelism", "resource") if key in settings}

    def environment(self) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
        """Its variables, and those that come of a Secret."""
        settings, executor = self.settings["task_manager"], self.settings["executor"]
        plain, hidden = self.database(settings["db_collection_name"])
        values = {
            **self.program(),
            **plain,
            "PLATFORM": "k8s",
            "K8S_ADDRESS": "127.0.0.1:8001",
            "K8S_API_PROTOCOL": "http",
            "GPU_RS_KEY": self.settings["k8s"]["gpu_rs_key"],
            "CONTAINER_EXECUTOR_IMAGE": self.image("executor", "client-cpu"),
            "WORKER_PORT": executor["port"],
            "WORKER_HTTP_PROXY": executor["http_proxy"],
            "WORKER_HTTPS_PROXY": executor["https_proxy"],
            **settings["options"],
        }
        return values, hidden

    def _task_manager(self) -> list[Object]:
        name, image = self.name, self.image("task_manager", "client-cpu")
        files = {SETUP: self.setup(), **({DATASETS: self.instance["datasets"]} if "datasets" in self.instance else {})}
        texts = {file: json.dumps(value, indent=2, sort_keys=True) + "\n" for file, value in files.items()}
        texts[NAMED] = Path(neursafe_named.__file__).read_text(encoding="utf-8")
        setup = parts.config_map(self.home, name, texts)
        trusted, volumes = self.trust_mounts()
        parent = posixpath.dirname(self.instance["directory"])
        shared = {"name": SHARED, "mountPath": parent, "mountPropagation": "HostToContainer"}
        sidecar, account = parts.kubectl_proxy(self.instance["images"]["kubectl"], (*KUBECTL_PATHS, NODES))
        prepare = parts.container(
            "folders",
            image,
            resources={"cpu": "50m", "memory": "64Mi"},
            mounts=[shared, parts.files_mount(name, SETUP_FOLDER)],
            command=["sh", "-ec", _PREPARE, "folders", *(self.folder(folder) for folder in FOLDERS)],
        )
        program = parts.container(
            name,
            image,
            env=parts.environment(*self.environment()),
            ports={"grpc": self.port},
            probe=parts.tcp_probe(self.port),
            resources=self.instance["resources"],
            mounts=[shared, {"name": LMDB, "mountPath": "/lmdb"}, parts.files_mount(name, SETUP_FOLDER), *trusted],
            command=["python3.7", f"{SETUP_FOLDER}/{NAMED}", "--config_file", f"{SETUP_FOLDER}/{SETUP}"],
        )
        table = self.table(image, self.settings["task_manager"]["db_collection_name"])
        claims = [{"name": word, "persistentVolumeClaim": {"claimName": word}} for word in (SHARED, LMDB)]
        pod = Pod(
            [program],
            self.instance["user"],
            name,
            before=[
                *self.tunnel_sidecar,
                prepare,
                table,
                sidecar,
            ],
            volumes=[*claims, parts.files_volume(name), account, *volumes, *self.tunnel_volumes],
            pull=self.pull,
            aliases=self.aliases(),
        )
        external = self.settings["task_manager"]["external"]
        nodes = [parts.service(self.home, f"{name}-nodes", name, {"grpc": self.port}, node_ports=True)]
        return [
            setup,
            parts.opened(self.home, name, [parts.way(parts.ANYBODY, self.port, towards="from")], self._outgoing()),
            parts.service(self.home, name, name, {"grpc": self.port}),
            *(nodes if external else []),
            parts.deployment(self.home, name, pod, [setup, *self.reads(DATABASE_SECRET, OWNER_SECRET)]),
        ]

    def looks(self) -> list[Looks]:
        """Whom it reaches, what it may, and whether the server's selector knows it."""
        settings = self.settings["task_manager"]
        looks: list[Look] = [
            ("the server's proxy speaks gRPC", "speaks_grpc", [self.instance["server"]]),
            ("it listens", "speaks_grpc", [f"127.0.0.1:{self.port}"]),
            self.look_at_rows(),
            ("its directory takes files", "writes_files", [self.folder("workspace")]),
        ]
        said, seconds = (
            (REGISTERED, 2 * settings["options"]["REPORT_HEARTBEAT"]) if settings["registration"] else ("", 0)
        )
        return [self.looks_of(self.name, *looks, said=said, seconds=seconds)]

    def _outgoing(self) -> list[Object]:
        host, port = network.split(self.instance["server"])
        return [
            parts.way(parts.address_block(host), port, towards="to"),
            parts.way(parts.ANYBODY, *self.instance["api_ports"], towards="to"),
            self.to_database(),
        ]


def objects(instance: Instance, secret: Secrets, text: Callable[[str], str]) -> list[Object]:
    """The instance's objects, in the order they are made in; ``secret`` and ``text`` give secrets and files."""
    return Client(instance, secret, text).objects()


def looks(instance: Instance) -> list[Looks]:
    """What is tried inside of its pod."""
    return Client(instance, UNSEEN, lambda _path: "").looks()


def made(instance: Instance) -> Object:
    """A task's pod."""
    client = Client(instance, UNSEEN, lambda _path: "")
    return client.job(client.image("executor", "client-cpu"), instance["directory"])


def secrets(instance: Instance) -> list[str]:
    """The names of the secrets that it is made with."""
    return secret_names(instance)


def files(instance: Instance) -> list[str]:
    """The files of the control node that it is made with."""
    found = [instance["database"]["ca"]] if "ca" in instance["database"] else []
    return [*found, *recorded_in(instance["images"])]
