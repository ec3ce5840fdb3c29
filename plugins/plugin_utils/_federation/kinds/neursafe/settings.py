# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The system's own configuration: the keys of server_config and client_config, every variable that its programs read.

What follows from elsewhere is a key too, so that who writes it is told from where.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ...model import Path
from ...schema import Anything, Boolean, Choice, Integer, Key, Number, Rule, Section, Table, Text

Breaches = list[tuple[Path, str]]

CONFIG = "server_config.json"
CLIENT_CONFIG = "client_config.json"
CODE = "environment"
CONFIGURATIONS = "configurations.md"

NODE_PORT = Integer(30000, 32767)
PROGRAM_PORT = Integer(1024, 65535)
SERVICE = Text(
    max_length=63,
    pattern=r"[a-z]([a-z0-9-]*[a-z0-9])?",
    pattern_name="a service's name: a-z, 0-9 and '-', a letter first",
)
NODES_SUFFIX = "-nodes"
OUTSIDE_SERVICE = replace(SERVICE, max_length=63 - len(NODES_SUFFIX))
"""Of what has ports of nodes: these are a Service of its own, whose name has the suffix."""

RESERVED = (
    *("account", "closed", "default", "folders", "kubectl-proxy", "lmdb", "logs", "scratch", "shared", "table"),
    *("trust", "tunnel"),
)
"""What is in a stack's namespaces by other names than services': policies, files, volumes, containers."""

COLLECTION = Text(
    max_length=63, pattern=r"[a-z_][a-z0-9_]*", pattern_name="a table's name: a-z, 0-9 and '_', no digit first"
)
FOLDER = Text(max_length=63, pattern=r"[A-Za-z0-9_][A-Za-z0-9_.-]*", pattern_name="the name of a folder, not a path")
IMAGE = Text(
    max_length=512,
    pattern=r"[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})",
    pattern_name="an image with its tag or digest, such as registry.example:5000/nsfl-proxy:1.0",
)
SECONDS = Integer(1, 86_400)
LOG_LEVEL = Choice(("debug", "info", "warning", "error"))
_RESOURCE = Text(
    max_length=253,
    pattern=r"[a-z0-9.-]+/[A-Za-z0-9._-]+",
    pattern_name="a resource's name such as nvidia.com/gpu",
    shown=True,
)


def derived(reasons: Mapping[str, str], source: str) -> dict[str, Key]:
    """Keys that are no settings; ``reasons`` says what each follows from."""
    return {name: Key(Anything(), f"Refused: {reason}.", source=source) for name, reason in reasons.items()}


def unread(reasons: Mapping[str, str]) -> dict[str, Key]:
    """Documented variables that the code has under another name; ``reasons`` says which, and where it comes from."""
    return {
        name: Key(
            Anything(),
            f"Told, and ignored: {reason}.",
            source=CONFIGURATIONS,
            unread=f"no program reads it, and it changes nothing: {reason}",
        )
        for name, reason in reasons.items()
    }


def refused(reasons: Mapping[str, str]) -> Rule:
    """Nothing of what follows from elsewhere is given."""

    def breaches(values: Mapping[str, Any]) -> Breaches:
        return [((name,), f"can't be set: {reason}") for name, reason in reasons.items() if name in values]

    return Rule("What follows from other keys is no setting.", breaches)


def _section(keys: Mapping[str, Key], reasons: Mapping[str, str], source: str, *rules: Rule) -> Section:
    return Section({**keys, **derived(reasons, source)}, rules=(refused(reasons), *rules))


def _component(service: str, port: int, what: str) -> dict[str, Key]:
    return {
        "service_name": Key(SERVICE, f"What {what} is called in the cluster.", default=service, source=CONFIG),
        "port": Key(PROGRAM_PORT, "Its port.", default=port, source=CONFIG),
        "image": Key(IMAGE, "Its image; default: of `server.images`.", source=CONFIG),
    }


_VOLUMES = {"volumes": "they follow from `shared_directory`"}
_DATABASE = {
    name: f"it follows from `database`{more}"
    for name, more in {
        "DB_ADDRESS": "",
        "DB_USERNAME": "",
        "DB_PASSWORD": " and its secret",
        "DB_TYPE": "",
        "DB_NAME": "",
        "DB_COLLECTION_NAME": " and `db_collection_name`",
    }.items()
}

_SCHEDULER_DERIVED = {
    **_DATABASE,
    "HTTP_PORT": "it follows from `port`",
    "LOG_LEVEL": "it follows from `others.log_level`",
    "SELECTOR_ADDRESS": "it follows from `client_selector`",
    "JOB_SCHEDULER_ADDRESS": "it follows from `service_name` and `port`",
    "MODEL_MANAGER_ADDRESS": "it follows from `model_manager`",
    "PROXY_ADDRESS": "it follows from `proxy`",
    "K8S_ADDRESS": "it is the pod's own kubectl proxy, which brings the rights of its account",
    "K8S_API_PROTOCOL": "it is http, to the pod's own kubectl proxy: half of the code ignores it",
    "K8S_API_TOKEN": "the pod's own kubectl proxy has the account's token: half of the code ignores it",
    "CLOUD_OS": "the code has k8s only",
    "COORDINATOR_IMAGE": "it follows from `coordinator.image`, or `server.images`",
    "COORDINATOR_PORT": "it follows from `coordinator.port`",
    "GPU_RS_KEY": "it follows from `k8s.gpu_rs_key`",
    "SOURCE_MOUNT_PATH": "it follows from `shared_directory`",
    "WORKSPACE": "it follows from `shared_directory`",
    "TEMP_DIR": "it follows from `coordinator_configs_dir`",
    "TOKEN": "it is a secret of its own, which the proxy knows too",
    "CKPT_ROOT_PATH": "coordinators read it, and the job scheduler hands it on to none: the folder stays `checkpoints`",
}

_COLLECTION = {"COLLECTION_NAME": "the code calls it DB_COLLECTION_NAME, and it follows from `db_collection_name`"}
_SCHEDULER_UNREAD = {
    **_COLLECTION,
    "ROUTE_REGISTER_ADDRESS": "the code calls it PROXY_ADDRESS, and it follows from `proxy`",
    "HOST_PATH": "the code calls it SOURCE_MOUNT_PATH, and it follows from `shared_directory`",
    "STORAGE_PATH": "the code calls it WORKSPACE, and it follows from `shared_directory`",
    "JS_NAMESPACE": "jobs run in the namespace default",
}
_COORDINATORS_FILES = Text(format="absolute_path")


def _deep(values: Mapping[str, Any]) -> Breaches:
    key = "COORDINATOR_WORKSPACE_PATH"
    return [((key,), "'/' is the image's own: a folder such as /fl")] if values[key] == "/" else []


_SCHEDULER_OPTIONS = _section(
    {
        "REPORT_PERIOD": Key(SECONDS, "How often a coordinator reports.", default=10, source=CONFIGURATIONS, unit="s"),
        "COORDINATOR_HEARTBEAT_TIMEOUT": Key(
            SECONDS, "A coordinator that is silent for longer has failed.", default=20, source=CONFIGURATIONS, unit="s"
        ),
        "MAX_RETRY_TIMES": Key(
            Integer(1, 10_000), "How often an operation is tried.", default=30, source=CONFIGURATIONS
        ),
        "COORDINATOR_QUERY_INTERVAL": Key(
            SECONDS, "How long it waits between two tries.", default=1, source=CONFIGURATIONS, unit="s"
        ),
        **unread(_SCHEDULER_UNREAD),
        "WORKSPACE_ROOT_PATH": Key(
            _COORDINATORS_FILES,
            "The same, as it is documented.",
            alias_of="COORDINATOR_WORKSPACE_PATH",
            source=CONFIGURATIONS,
            unread="the code calls it COORDINATOR_WORKSPACE_PATH, and is told it by that name: write that",
        ),
        "COORDINATOR_WORKSPACE_PATH": Key(
            _COORDINATORS_FILES,
            "Where coordinators see a namespace's files.",
            default="/fl",
            source=CONFIGURATIONS,
        ),
        "DEPLOYMENT_WAY": Key(
            Choice(("cloud",)), "local is for coordinators without Kubernetes.", default="cloud", source=CONFIGURATIONS
        ),
        "DEFAULT_CLIENT_NUM": Key(Integer(1, 100_000), "Clients of a job that says none.", default=1, source=CODE),
        "RESOURCE_CHECK_MAX_TIMES": Key(
            Integer(1, 1_000_000), "How often a job looks for free resources.", default=600, source=CODE
        ),
    },
    _SCHEDULER_DERIVED,
    CODE,
    Rule("A namespace's files have a folder of coordinators.", _deep),
)

_SELECTOR_DERIVED = {
    "host": "it listens in its pod, which NetworkPolicies keep",
    "log_level": "it follows from `others.log_level`",
    "config_file": "it is the ConfigMap that these keys make",
    "ssl": "traffic inside the cluster is bounded by NetworkPolicies, not encrypted",
    "extenders": "they are scripts in the program's image: bring an image of your own that has them",
}


def _authenticated(values: Mapping[str, Any]) -> Breaches:
    if values["auth_client"] and "root_cert" not in values:
        return [(("auth_client",), "needs 'root_cert', the certificates that clients' are signed by")]
    return []


_MANAGER_DERIVED = {
    **_DATABASE,
    "PORT": "it follows from `port`",
    "LOG_LEVEL": "it follows from `others.log_level`",
    "WORKSPACE": "it follows from `shared_directory`",
    "MODELS_DIR": "it follows from `models_dir`",
    "STORAGE_TYPE": "it follows from `storage`",
    "STORAGE_ENDPOINT": "it follows from `storage`",
    "ACCESS_KEY": "it follows from `storage` and its secret",
    "SECRET_KEY": "it follows from `storage` and its secret",
}

_MANAGER_UNREAD = {
    "MOUNT_PATH": "the code calls it WORKSPACE, and it follows from `shared_directory`",
    "MODEL_STORE": "the code calls it MODELS_DIR, and it follows from `models_dir`",
}

_MANAGER_OPTIONS = _section(
    {
        **unread(_MANAGER_UNREAD),
        "HEARTBEAT_TIMEOUT": Key(
            SECONDS, "How long a model's transfer may be silent.", default=10, source=CODE, unit="s"
        ),
        "RETRY_TIMEOUT": Key(SECONDS, "How long an operation may take.", default=10, source=CODE, unit="s"),
        "RETRY_TIMES": Key(Integer(1, 1000), "How often it is tried.", default=3, source=CODE),
        "DB_RETRY_INTERVAL": Key(SECONDS, "Between two tries of the database.", default=1, source=CODE, unit="s"),
    },
    _MANAGER_DERIVED,
    CODE,
)

_K8S_DERIVED = {"address": "each pod reaches the API through a kubectl proxy of its own"}
_OUTSIDE = {
    "storage": "it is the stack's key `storage`",
    "db": "it is the stack's key `database`",
}


_IS_RESERVED = "is what something else in its namespace is called: take another name"


def _service_names(values: Mapping[str, Any]) -> Breaches:
    seen = {f"{values['proxy']['service_name']}{NODES_SUFFIX}": "the proxy's ports of nodes"}
    breaches: Breaches = []
    for component in ("job_scheduler", "client_selector", "model_manager", "proxy"):
        name = values[component]["service_name"]
        first = seen.setdefault(name, component)
        if name in RESERVED:
            breaches.append(((component, "service_name"), f"'{name}' {_IS_RESERVED}"))
        elif first != component:
            breaches.append(((component, "service_name"), f"'{name}' is that of {first} too"))
    return breaches


def _manager_name(values: Mapping[str, Any]) -> Breaches:
    name = values["task_manager"]["service_name"]
    return [(("task_manager", "service_name"), f"'{name}' {_IS_RESERVED}")] if name in RESERVED else []


def _purposes(values: Mapping[str, Any]) -> Breaches:
    """Jobs and models have a table each, and a folder."""
    scheduler, manager = values["job_scheduler"], values["model_manager"]
    breaches: Breaches = []
    if scheduler["db_collection_name"] == manager["db_collection_name"]:
        message = f"'{manager['db_collection_name']}' is the table of job_scheduler, too: jobs and models have one each"
        breaches.append((("model_manager", "db_collection_name"), message))
    if scheduler["coordinator_configs_dir"] == manager["models_dir"]:
        message = f"'{manager['models_dir']}' is job_scheduler.coordinator_configs_dir, too: each has a folder"
        breaches.append((("model_manager", "models_dir"), message))
    return breaches


_PORTS = (("proxy", "grpc_port"), ("proxy", "http_port"), ("api_server", "http_port"), ("api_server", "https_port"))


def _node_ports(values: Mapping[str, Any]) -> Breaches:
    seen: dict[int, str] = {}
    breaches: Breaches = []
    for section, key in _PORTS:
        port = values[section][key]
        first = seen.setdefault(port, f"{section}.{key}")
        if first != f"{section}.{key}":
            breaches.append(((section, key), f"{port} is {first} too: a node's port has one owner"))
    return breaches


_SHARED: Mapping[str, Key] = {
    "k8s": Key(
        _section(
            {
                "gpu_rs_key": Key(
                    _RESOURCE,
                    "What the cluster calls a GPU.",
                    default="nvidia.com/gpu",
                    source=CONFIG,
                ),
                "gpu_res_key": Key(_RESOURCE, "The same.", alias_of="gpu_rs_key", source=CONFIG),
                "GPU_RS_KEY": Key(_RESOURCE, "The same.", alias_of="gpu_rs_key", source=CONFIG),
            },
            _K8S_DERIVED,
            CONFIG,
        ),
        "The cluster.",
        default={},
    ),
    "others": Key(
        Section(
            {
                "log_level": Key(
                    LOG_LEVEL,
                    "Of all components.",
                    default="info",
                    source=CONFIG,
                )
            }
        ),
        "What all have.",
        default={},
    ),
}

SERVER_SETTINGS = Section(
    {
        "job_scheduler": Key(
            _section(
                {
                    **_component("nsfl-job-scheduler", 8088, "the job scheduler"),
                    "db_collection_name": Key(
                        COLLECTION, "Table, or collection, of jobs.", default="jobs", source=CONFIG
                    ),
                    "coordinator_configs_dir": Key(
                        FOLDER,
                        "Folder of the shared directory with the coordinators' configurations.",
                        default="coordinator_configs",
                        source=CONFIG,
                    ),
                    "options": Key(_SCHEDULER_OPTIONS, "Further variables of its environment.", default={}),
                },
                _VOLUMES,
                CONFIG,
            ),
            "The job scheduler.",
            default={},
        ),
        "client_selector": Key(
            _section(
                {
                    **_component("nsfl-client-selector", 50055, "the client selector"),
                    "auth_client": Key(
                        Boolean(),
                        "Only clients that prove who they are take part.",
                        default=False,
                        source=CONFIGURATIONS,
                    ),
                    "root_cert": Key(
                        Text(format="path"),
                        "File beside the document with the certificates that clients' are signed by.",
                        source=CONFIGURATIONS,
                    ),
                    "optimal_select": Key(
                        Boolean(), "Choose the best clients, not any.", default=True, source=CONFIGURATIONS
                    ),
                    "strategy": Key(
                        Table(Text(max_length=64), Number(minimum=0)),
                        "What clients are judged by, and its weight.",
                        source=CONFIGURATIONS,
                        example={"resource": 1, "data": 1},
                    ),
                    "options": Key(
                        Section(
                            {
                                "SINGLE_HEART": Key(
                                    SECONDS,
                                    "How often a single client reports.",
                                    default=300,
                                    source=CONFIGURATIONS,
                                    unit="s",
                                ),
                                "CLUSTER_HEART": Key(
                                    SECONDS, "How often a cluster does.", default=600, source=CONFIGURATIONS, unit="s"
                                ),
                            }
                        ),
                        "Further variables of its environment.",
                        default={},
                    ),
                },
                {**_VOLUMES, **_SELECTOR_DERIVED},
                CONFIG,
                Rule("Who authenticates knows by what.", _authenticated),
            ),
            "The client selector.",
            default={},
        ),
        "model_manager": Key(
            _section(
                {
                    **_component("nsfl-model-manager", 50057, "the model manager"),
                    "db_collection_name": Key(
                        COLLECTION, "Table, or collection, of models.", default="models", source=CONFIG
                    ),
                    "models_dir": Key(
                        FOLDER,
                        "Folder of the shared directory with the models, and the bucket's name in S3.",
                        default="models",
                        source=CONFIG,
                    ),
                    "options": Key(_MANAGER_OPTIONS, "Further variables of its environment.", default={}),
                },
                _VOLUMES,
                CONFIG,
            ),
            "The model manager.",
            default={},
        ),
        "proxy": Key(
            _section(
                {
                    "service_name": Key(
                        OUTSIDE_SERVICE, "What the proxy is called in the cluster.", default="nsfl-proxy", source=CONFIG
                    ),
                    "grpc_port": Key(
                        NODE_PORT, "Port of every node where clients connect.", default=30091, source=CONFIG
                    ),
                    "http_port": Key(
                        NODE_PORT,
                        "Port of every node that answers for its health, and nothing else: routes are made inside.",
                        default=30092,
                        source=CONFIG,
                    ),
                    "external": Key(Boolean(), "Reached from outside of the cluster.", default=True, source=CONFIG),
                    "image": Key(IMAGE, "Its image; default: of `server.images`.", source=CONFIG),
                },
                _VOLUMES,
                CONFIG,
            ),
            "The proxy that clients and coordinators meet at.",
            default={},
        ),
        "api_server": Key(
            Section(
                {
                    "http_port": Key(
                        NODE_PORT, "The ingress controller's port on every node.", default=30083, source=CONFIG
                    ),
                    "https_port": Key(NODE_PORT, "The same, with TLS.", default=30084, source=CONFIG),
                    "external": Key(
                        Boolean(), "Whether there is an Ingress for users of `nsfl-ctl`.", default=True, source=CONFIG
                    ),
                }
            ),
            "The way in for users: an Ingress, by the cluster's own controller.",
            default={},
        ),
        "coordinator": Key(
            Section(
                {
                    "image": Key(IMAGE, "The image of jobs' coordinators; default: of `server.images`.", source=CONFIG),
                    "port": Key(PROGRAM_PORT, "Their port.", default=50051, source=CONFIG),
                }
            ),
            "What runs a job.",
            default={},
        ),
        **_SHARED,
        **derived(_OUTSIDE, CONFIG),
    },
    rules=(
        refused(_OUTSIDE),
        Rule("Each service has a name of its own.", _service_names),
        Rule("Each port of the nodes has one owner.", _node_ports),
        Rule("Each table and each folder has one purpose.", _purposes),
    ),
)

_MANAGER_OF_TASKS_DERIVED = {
    **_DATABASE,
    "LOG_LEVEL": "it follows from `others.log_level`",
    "K8S_ADDRESS": "it is the pod's own kubectl proxy, which brings the rights of its account",
    "K8S_API_PROTOCOL": "it is http, to the pod's own kubectl proxy: half of the code ignores it",
    "K8S_API_TOKEN": "the pod's own kubectl proxy has the account's token: half of the code ignores it",
    "PLATFORM": "it is k8s; without it the program would look at the resources of its own pod",
    "GPU_RS_KEY": "it follows from `k8s.gpu_rs_key`",
    "CONTAINER_EXECUTOR_IMAGE": "it follows from `executor.image`, or the client's images",
    "WORKER_PORT": "it follows from `executor.port`",
    "WORKER_HTTP_PROXY": "it follows from `executor.http_proxy`",
    "WORKER_HTTPS_PROXY": "it follows from `executor.https_proxy`",
}

_HEARTBEAT = Key(SECONDS, "How often the client reports.", default=150, source=CODE, unit="s")
_LONGEST_TASK = Key(SECONDS, "A task that takes longer is stopped.", default=300, source=CONFIGURATIONS, unit="s")

_TASK_OPTIONS = _section(
    {
        **unread(_COLLECTION),
        "REPORT_HEARTBEAT": _HEARTBEAT,
        "WAIT_WORKER_FINISHED_TIMEOUT": _LONGEST_TASK,
        "MAX_RETRY_TIMES": Key(Integer(1, 10_000), "How often the cluster is asked.", default=30, source=CODE),
        "COORDINATOR_QUERY_INTERVAL": Key(SECONDS, "Between two tries.", default=1, source=CODE, unit="s"),
        "CLUSTER_LABEL_KEY": Key(
            Text(max_length=316, pattern=r"[A-Za-z0-9./_-]+", pattern_name="the name of a label", shown=True),
            "The label of nodes that tasks may run on.",
            default="kubernetes.io/cluster_id",
            source=CODE,
        ),
        "CLUSTER_LABEL_VALUE": Key(
            Text(max_length=63, pattern=r"[A-Za-z0-9._-]+", pattern_name="the value of a label"),
            "Its value; default: any.",
            source=CODE,
        ),
    },
    _MANAGER_OF_TASKS_DERIVED,
    CODE,
)

_TASK_DERIVED = {
    "platform": "it is k8s in a cluster",
    "external_address": "it follows from `node_address` and `port`",
    "lmdb_path": "it follows from `lmdb`",
    "task_config_entry": "it follows from `directory`",
    "ssl": "the program registers without TLS, whatever it says",
    "username": "the server's selector compares no passwords, and takes a name that is in its source",
    "password": "the server's selector compares no passwords, and takes a name that is in its source",
    "certificate": "the program ends with it: it puts an object where its message wants bytes",
    "public_key": "the client makes its own",
    "private_key": "the client makes its own",
}
_OF_DIRECTORY = "it is a folder of `directory`"
_TASK_VOLUMES = _section(
    unread({"task_configs": f"the code calls it task-configs, and {_OF_DIRECTORY}"}),
    {
        "lmdb": "it follows from `lmdb`",
        **dict.fromkeys(("workspace", "datasets", "task-configs"), _OF_DIRECTORY),
        "config": "it is a ConfigMap that these keys make",
    },
    CLIENT_CONFIG,
)
_EXECUTOR_PROXY = Text(
    min_length=0, pattern=r"(https?://[^ /@]+)?", pattern_name="a proxy such as http://10.20.0.1:3128, or nothing"
)

_RUNTIME = Text(
    pattern=r"(tensorflow|pytorch)(,(tensorflow|pytorch))*",
    pattern_name="tensorflow, pytorch, or both parted by a comma",
)


def _of_every_client(quota: int) -> dict[str, Key]:
    """The keys that a client has wherever it runs; how much it may keep differs."""
    return {
        "runtime": Key(_RUNTIME, "What it can run.", default="tensorflow,pytorch", source=CLIENT_CONFIG),
        "storage_quota": Key(
            Integer(1, 1_000_000_000),
            "How much the workspace may hold.",
            default=quota,
            source=CLIENT_CONFIG,
            unit="MB",
        ),
        "registration": Key(Boolean(), "The server's selector is told of it.", default=True, source=CLIENT_CONFIG),
        "label": Key(Text(max_length=253), "What jobs choose it by.", source=CONFIGURATIONS),
        "max_task_parallelism": Key(Integer(1, 100_000), "Jobs at once; default: any number.", source=CONFIGURATIONS),
        "resource": Key(
            Section(
                {
                    "cpu": Key(Number(minimum=0), "Processors.", source=CODE),
                    "memory": Key(Integer(0, 1_000_000_000), "Memory.", source=CODE, unit="MB"),
                    "gpu": Key(Integer(0, 1024), "GPUs.", source=CODE),
                }
            ),
            "The most that a task gets, whatever its job asks for.",
        ),
    }


CLIENT_SETTINGS = Section(
    {
        "task_manager": Key(
            _section(
                {
                    "service_name": Key(
                        OUTSIDE_SERVICE,
                        "What it is called in its cluster.",
                        default="nsfl-task-manager",
                        source=CLIENT_CONFIG,
                    ),
                    "port": Key(NODE_PORT, "Its port, and that of nodes.", default=30090, source=CLIENT_CONFIG),
                    "external": Key(
                        Boolean(), "Reached from outside of the cluster.", default=True, source=CLIENT_CONFIG
                    ),
                    "db_collection_name": Key(
                        COLLECTION, "Table, or collection, of tasks.", default="tasks", source=CLIENT_CONFIG
                    ),
                    "image": Key(IMAGE, "Its image; default: of the client's images.", source=CLIENT_CONFIG),
                    "server_address": Key(
                        Text(format="endpoint"),
                        "Where the server's proxy is; default: in the same cluster its service, else a node's port.",
                        source=CLIENT_CONFIG,
                    ),
                    **_of_every_client(1024),
                    "volumes": Key(_TASK_VOLUMES, "Folders of nodes: all of them follow from elsewhere.", default={}),
                    "options": Key(_TASK_OPTIONS, "Further variables of its environment.", default={}),
                },
                _TASK_DERIVED,
                CLIENT_CONFIG,
            ),
            "The task manager, a client's process.",
            default={},
        ),
        "executor": Key(
            Section(
                {
                    "image": Key(IMAGE, "The image of tasks' pods; default: the client's own.", source=CLIENT_CONFIG),
                    "port": Key(PROGRAM_PORT, "Their port.", default=8050, source=CLIENT_CONFIG),
                    "http_proxy": Key(_EXECUTOR_PROXY, "Their proxy to the outside.", default="", source=CLIENT_CONFIG),
                    "https_proxy": Key(_EXECUTOR_PROXY, "The same, for https.", default="", source=CLIENT_CONFIG),
                }
            ),
            "What runs a task.",
            default={},
        ),
        **_SHARED,
    },
    rules=(Rule("Nothing else has its name.", _manager_name),),
)

_STANDALONE_DERIVED = {
    "host": "it follows from where it is placed",
    "port": "it follows from `port`",
    "server": "it follows from `server_address`, or the server",
    "platform": "it is linux on a host",
    "external_address": "it follows from `port`, and `public_url`",
    "lmdb_path": "it lies with the client's state, on the host's own disk",
    "workspace": "it lies with the client's state",
    "datasets": "it is the file that `datasets` makes",
    "task_config_entry": "it follows from `task_configs`",
    "ssl": "the program registers without TLS, whatever it says",
    **{
        key: reason
        for key, reason in _TASK_DERIVED.items()
        if key in ("username", "password", "certificate", "public_key", "private_key")
    },
}

STANDALONE_SETTINGS = _section(
    {
        **_of_every_client(10240),
        "log_level": Key(LOG_LEVEL, "What it tells of itself.", default="info", source=CONFIGURATIONS),
        "options": Key(
            Section({"REPORT_HEARTBEAT": _HEARTBEAT, "WAIT_WORKER_FINISHED_TIMEOUT": _LONGEST_TASK}),
            "Further variables of its environment.",
            default={},
        ),
    },
    _STANDALONE_DERIVED,
    CONFIGURATIONS,
)
"""Of a client on a host: the keys of its setup.json."""

SETTINGS = Section(
    {**SERVER_SETTINGS.keys, **CLIENT_SETTINGS.keys}, rules=(*SERVER_SETTINGS.rules, *CLIENT_SETTINGS.rules)
)
"""What a stack may say: of the server, and of all its clients."""
