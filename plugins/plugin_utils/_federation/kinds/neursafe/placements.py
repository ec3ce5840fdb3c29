# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys of a stack: the cluster it runs in, what it keeps its state in, and its images."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from ...given_programs import SOURCE
from ...schema import PORT, Boolean, Choice, Integer, Items, Key, Place, Rule, Section, Table, Text, check_values
from .apart import GIVEN_WHOLE, ON_A_DISK, within
from .settings import CLIENT_SETTINGS, IMAGE, Breaches

COMPONENTS = ("job-scheduler", "selector", "model-manager", "proxy", "coordinator")
"""What images are called after: nsfl-<component>."""

CLIENT = "client-cpu"
"""The image of clients, and of the tasks that they run."""

KUBECTL = "registry.k8s.io/kubectl:v1.34.4"
ENGINES: Mapping[str, str] = {
    "postgresql": "postgreSQL",
    "postgreSQL": "postgreSQL",
    "PostgreSQL": "postgreSQL",
    "mongodb": "mongo",
    "mongo": "mongo",
    "MongoDB": "mongo",
}
"""A database's engine, as people write it, and the word that the code compares with."""

SERVER_USER = 71000
CLIENT_USER = 71001
"""Whom pods are: numbers that Debian gives to nobody (people begin at 1000, others' containers at 100000).

A client has another, since in the server's cluster pods of both see the folder that both directories lie in.
"""

POSTGRESQL_PORT = 5432
MONGODB_PORT = 27017
KUBECTL_PORT = 8001
LONGEST_DATABASE = 50

_SECRET = Text(format="secret")
_NETWORKS = Items(Text(format="network"), single=True)
_FILE = Text(format="path")
USER = Text(max_length=63, pattern=r"[A-Za-z0-9_.-]+", pattern_name="a user's name: A-Z, a-z, 0-9, '_', '.' and '-'")
_TAG = Text(max_length=128, pattern=r"[A-Za-z0-9_][A-Za-z0-9_.-]*", pattern_name="a tag such as 1.0")
_DIGEST = Text(pattern=r"sha256:[0-9a-f]{64}", pattern_name="a digest: sha256: and 64 of 0-9 and a-f")
_WORD = r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"
_PORT = r":([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
REGISTRY = Text(
    max_length=255,
    # a first word without dot or port is a folder of Docker Hub to whoever pulls
    pattern=rf"({_WORD}(\.{_WORD})+({_PORT})?|{_WORD}{_PORT}|localhost)(/[a-z0-9]+((\.|__?|-+)[a-z0-9]+)*)*",
    pattern_name="a registry with a dot or a port in its name, and perhaps a path in it, such as registry.example:5000",
)
NAMESPACE = Text(
    max_length=63,
    pattern=r"[a-z0-9]([a-z0-9-]*[a-z0-9])?",
    pattern_name="a namespace: a-z, 0-9 and '-', no '-' at its ends",
)
_COMPONENT = Text(pattern="|".join((*COMPONENTS, CLIENT)), pattern_name=f"one of {', '.join((*COMPONENTS, CLIENT))}")
_CLASS = Text(max_length=63, pattern=r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", pattern_name="the name of an IngressClass")
_LABEL = Text(max_length=316, pattern=r"[A-Za-z0-9./_-]+", pattern_name="the name of a label or an annotation")
CPU = Text(pattern=r"[1-9][0-9]*m?", pattern_name="processors such as 2, or 500m for half of one")
MEMORY = Text(pattern=r"[1-9][0-9]*[KMGT]i", pattern_name="memory such as 512Mi")


def _identified(components: tuple[str, ...]) -> Rule:
    """Every image has a tag or a digest of its own."""

    def breaches(values: Mapping[str, Any]) -> Breaches:
        lacking = [name for name in components if "tag" not in values and name not in values["digests"]]
        if not lacking:
            return []
        return [((), f"say 'tag', or a digest for each image: {', '.join(lacking)} would be whatever was pushed last")]

    return Rule("Each image is a certain one.", breaches)


_CONTROL_PROXY = Text(
    max_length=255,
    pattern=r"(https?://)?[A-Za-z0-9.-]+(:[0-9]{1,5})?/?",
    pattern_name="a proxy such as 10.20.0.1:3128, without a login",
)
_LOGIN = Section(
    {
        "username": Key(USER, "Who logs in.", required=True),
        "secret": Key(_SECRET, "Name of the secret that is the password.", required=True),
    }
)


def _engine(values: Mapping[str, Any]) -> Breaches:
    if values["engine"] != "none" or not values["push"]:
        return []
    return [(("push",), "needs an engine: without one the command pushes itself")]


BUILD = Section(
    {
        "checkout": Key(
            Text(format="absolute_path"),
            "The folder of the control node with the source; the command runs in a copy of it.",
            required=True,
        ),
        "command": Key(
            Items(Text(), min_items=1),
            "What builds, in words; `--registry`, `--tag`, `--https_proxy`, `--http_proxy` and `--no_proxy` come after "
            "them.",
            default=["./deploy/scripts/build_images.sh"],
        ),
        "engine": Key(
            Choice(("docker", "podman", "none")), "The container engine that the command builds with.", default="docker"
        ),
        "base_images": Key(
            Items(Text(max_length=512, pattern=r"[a-z0-9][A-Za-z0-9./:@_-]*", pattern_name="an image")),
            "What the images begin with: the engine has these, or fetches them, before anything is built.",
            default=["python:3.7.8", "openresty/openresty:1.19.3.1-bionic"],
        ),
        "push": Key(Boolean(), "The engine pushes what the command built; upstream's pushes by itself.", default=False),
        "proxies": Key(
            Section(
                {
                    "https": Key(_CONTROL_PROXY, "`--https_proxy`."),
                    "http": Key(_CONTROL_PROXY, "`--http_proxy`."),
                    "none": Key(
                        Items(Text(max_length=255, pattern=r"[A-Za-z0-9.*:/_-]+", pattern_name="a name or an address")),
                        "`--no_proxy`: who is reached without.",
                    ),
                }
            ),
            "How the build reaches what it downloads.",
            default={},
        ),
        "login": Key(_LOGIN, "How images are pushed, and the registry is asked; default: as they are pulled."),
    },
    rules=(Rule("Who pushes is an engine.", _engine),),
)


def _built(values: Mapping[str, Any]) -> Breaches:
    """What is built has a place to go to, and its digests are what the registry says then."""
    if "build" not in values:
        return []
    if "tag" not in values:
        return [(("build",), "needs 'tag': images are pushed there")]
    told = "can't be said beside 'build': fedlearn.infra.images records what it has built"
    return [(("digests",), told)] if values["digests"] else []


def registry_missing(values: Mapping[str, Any]) -> Breaches:
    """Who logs in to a registry, or knows its CA, says which one it is."""
    told = {"build": "images are pushed there", "pull": "the login is of none", "ca": "it is of none"}
    lacking = [key for key in told if key in values and "registry" not in values]
    return [((key,), f"needs 'registry': {told[key]}") for key in lacking]


OF_A_REGISTRY = Rule("Logins and a CA are of a registry.", registry_missing)

_IMAGES: Mapping[str, Key] = {
    "registry": Key(REGISTRY, "Where they are pulled from.", example="registry.example:5000"),
    "tag": Key(_TAG, "The tag of all of them; latest is another image tomorrow."),
    "digests": Key(
        Table(_COMPONENT, _DIGEST),
        "Digests, by component: these images and no other.",
        default={},
    ),
    "kubectl": Key(IMAGE, "The image of the kubectl proxy beside what calls the API.", default=KUBECTL),
    "tunnel": Key(
        IMAGE, "The image, with nginx, of what leads to a MongoDB by TLS; default: the proxy's, by tag or digest."
    ),
    "pull": Key(
        _LOGIN,
        "How nodes log in to the registry; without it nobody has to.",
    ),
}
_SERVER_IMAGES: Mapping[str, Key] = {
    **_IMAGES,
    "ca": Key(_FILE, "File beside the document with the registry's CA, where that is no public one."),
    "build": Key(
        BUILD,
        "How `fedlearn.infra.images` builds them on the control node; manifests have the digests that it recorded.",
    ),
}

IMAGES = Section(
    _SERVER_IMAGES,
    rules=(_identified(COMPONENTS), Rule("What is built has a place.", _built)),
)
CLIENT_IMAGES = Section(_IMAGES, rules=(_identified((CLIENT,)), OF_A_REGISTRY))

RESOURCES = Section(
    {
        "cpu": Key(CPU, "Processors that are kept for it.", default="250m"),
        "memory": Key(MEMORY, "Memory that it has, and may not exceed.", default="512Mi"),
    }
)

COMPONENT_RESOURCES = Section(
    {
        name: Key(RESOURCES, f"Of the {name.replace('_', ' ')}.", default={})
        for name in ("job_scheduler", "client_selector", "model_manager", "proxy")
    }
)

_COMMON_NAME = Text(pattern=r"[A-Za-z0-9](?:[A-Za-z0-9 ._@-]{0,62}[A-Za-z0-9])?", pattern_name="a common name")

INGRESS = Section(
    {
        "controller": Key(
            Choice(("existing", "nginx_host")),
            "Who serves the API: the cluster's own controller, or nginx on `nodes`, where users show certificates. The "
            "latter takes clients on hosts, too, by TLS and with certificates.",
            default="existing",
        ),
        "clients_port": Key(PORT, "Of nginx on nodes: where clients on hosts connect.", default=30093),
        "users": Key(
            Items(_COMMON_NAME),
            "Of nginx on nodes: common names of others' certificates, of the CA of the server's party, beside those of "
            "`operators`.",
            default=[],
        ),
        "class_name": Key(_CLASS, "Which controller serves it.", default="nginx"),
        "annotations": Key(
            Table(_LABEL, Text(min_length=0, shown=True)),  # controllers name Secrets by some
            "What the controller is told; paths are regular expressions.",
            default={"nginx.ingress.kubernetes.io/use-regex": "true"},
        ),
        "host": Key(Text(format="dns_name"), "The name that users ask for; default: any."),
        "namespace": Key(
            NAMESPACE, "Where the controller's pods run: nobody else reaches the components.", default="ingress-nginx"
        ),
        "tls_secret": Key(
            replace(NAMESPACE, shown=True),  # a name
            "Name of a Secret with a certificate for `host`, as cert-manager makes it in the stack's namespace.",
        ),
    }
)

DATABASE = Section(
    {
        "address": Key(
            Text(format="endpoint"),
            "Where it is: the programs part it at its only colon.",
            required=True,
            example="10.20.0.11:5432",
        ),
        "username": Key(USER, "The login.", required=True),
        "secret": Key(_SECRET, "Name of the secret that is its password.", required=True),
        "ca": Key(_FILE, "File beside the document with its CA: then nothing but TLS, by the name in `address`."),
    },
    rules=(
        Rule(
            "The code parts host and port at a colon.",
            lambda values: (
                [(("address",), "the programs know no IPv6 address: write a name")]
                if values["address"].startswith("[")
                else []
            ),
        ),
    ),
)


def leads_by_tunnel(database: Mapping[str, Any]) -> bool:
    """Whether programs, which speak no TLS to MongoDB, have what does beside them."""
    return "ca" in database and ENGINES[database["engine"]] == "mongo"


def leads_to_mongodb(images: Mapping[str, Any]) -> bool:
    """Whether it is said which image does."""
    return "tunnel" in images or "tag" in images or "proxy" in images["digests"]


def _storage(values: Mapping[str, Any]) -> Breaches:
    s3 = values["type"] == "s3"
    breaches: Breaches = []
    for key in ("address", "username", "secret"):
        if s3 and key not in values:
            breaches.append(((), f"the key '{key}' is missing: S3 needs address, username and secret"))
        elif not s3 and key in values:
            breaches.append(((key,), "means nothing with type: posix, which is the shared directory alone"))
    if s3 and "nfs" in values:
        breaches.append((("nfs",), "means nothing with type: s3, which is no export"))
    return breaches


STORAGE = Section(
    {
        "type": Key(
            Choice(("posix", "s3")),
            "posix: the shared directory, which the nodes have mounted. s3: the model manager asks S3, too.",
            required=True,
        ),
        "address": Key(Text(format="origin"), "Of S3.", example="http://10.20.0.11:9000"),
        "username": Key(USER, "Its access key."),
        "secret": Key(_SECRET, "Name of the secret that is its secret key."),
        "ca": Key(_FILE, "File beside the document with its CA, where that is no public one."),
        "nfs": Key(
            Text(
                pattern=r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):/[A-Za-z0-9_./-]*",
                pattern_name="an export of NFS such as store.example:/imaging",
            ),
            "The export that is mounted at the shared directory on each of `nodes`.",
        ),
    },
    rules=(Rule("S3 is reached at an address.", _storage),),
)


TOP = ("/media", "/mnt", "/opt", "/srv")
"""Folders in which many have theirs."""

WHOLE = ("/", "/home", "/var", "/var/lib", "/var/log")
"""Folders of which pods are to have no more than a part."""

SYSTEM = (
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/root", "/run", "/sbin", "/sys", "/usr"),
    *("/tmp", "/var/run", "/var/tmp"),  # noqa: S108 - where nothing may be put
    *(f"/var/lib/{name}" for name in ("cni", "containerd", "containers", "docker", "etcd", "kubelet", "rancher")),
)
"""Folders of nodes that are nobody's to share: pods of jobs are root there."""


def deep_enough(values: Mapping[str, Any]) -> Breaches:
    """Of the server's directory, or a client's."""
    key = "shared_directory" if "shared_directory" in values else "directory"
    directory, way_out = values[key], "put it deeper, as /mnt/neursafe_fl"
    parent = posixpath.dirname(directory)
    if parent in WHOLE:
        what = "the root folder" if parent == "/" else parent
        return [((key,), f"'{directory}' lies in {what}, all of which pods would have: {way_out}")]
    for folder in SYSTEM:
        if within(directory, folder):
            message = f"'{directory}' lies in {folder}, which is the nodes' own: put it elsewhere, as /mnt/neursafe_fl"
            return [((key,), message)]
    return []


def namespaces_apart(values: Mapping[str, Any]) -> Breaches:
    """Of ``namespaces`` and ``settings``: what users have by a namespace's folder are its files alone."""
    taken = {
        values["settings"]["model_manager"]["models_dir"]: "model_manager.models_dir",
        values["settings"]["job_scheduler"]["coordinator_configs_dir"]: "job_scheduler.coordinator_configs_dir",
    }
    breaches: Breaches = []
    for index, name in enumerate(values["namespaces"]):
        if name in taken:
            message = f"'{name}' is the folder of {taken[name]}, whose files its users would have: another name"
            breaches.append((("namespaces", index), message))
        elif name in values["namespaces"][:index]:
            breaches.append((("namespaces", index), f"'{name}' stands there twice"))
    return breaches


def ports_of_pods(values: Mapping[str, Any]) -> Breaches:
    """Of ``database`` and ``settings``: a program's port is none of what is beside it in its pod."""
    taken = {("job_scheduler", KUBECTL_PORT): "the kubectl proxy"}
    if leads_by_tunnel(values["database"]):
        taken |= {
            (component, MONGODB_PORT): "what leads to MongoDB" for component in ("job_scheduler", "model_manager")
        }
    return [
        (("settings", component, "port"), f"{port} is that of {whose} in the same pod: take another")
        for (component, port), whose in taken.items()
        if values["settings"][component]["port"] == port
    ]


DATABASE_OPTIONS: Mapping[str, Key] = {
    "engine": Key(Choice(tuple(ENGINES)), "Which database.", default="postgresql"),
    "name": Key(
        Text(max_length=63, pattern=r"[A-Za-z_][A-Za-z0-9_]*", pattern_name="a database's name"),
        "The database, with its tables.",
        default="neursafe_fl",
    ),
}
_HOSTED_DATABASE: Mapping[str, Key] = {
    "port": Key(PORT, "Of one on a host: its port; default: 5432, or 27017 of MongoDB."),
    "memory_mb": Key(
        Integer(128, 16_777_216),
        "Of a PostgreSQL on a host: what it may use; default: what its connections need.",
        unit="MB",
    ),
}


API_PORTS = Key(
    Items(PORT, min_items=1),
    "Ports of its cluster's API, as pods come to it behind the Service: policies let them come to these alone.",
    default=[443, 6443],
)


SERVER_OPTIONS: Mapping[str, Key] = {
    "namespace": Key(
        Choice(("default",)),
        "The Kubernetes namespace of jobs, which the code has built in; components have one of their own.",
        default="default",
    ),
    "node_address": Key(
        Text(format="address_or_name"),
        "A node of the cluster, or what leads to its nodes' ports: where clients connect; default: the first of "
        "`nodes`.",
    ),
    "images": Key(IMAGES, "What the components run; default: what nodes have.", default={"tag": "latest"}),
    "shared_directory": Key(
        Text(format="absolute_path"),
        "The folder that every node has mounted: jobs' files, models and configurations.",
        default="/mnt/neursafe_fl",
    ),
    "capacity": Key(MEMORY, "What its PersistentVolume is said to hold.", default="100Gi"),
    "networks": Key(
        _NETWORKS,
        "Networks that its pods come from, beside the addresses of `nodes`: a database and a storage on hosts let "
        "them in.",
        default=[],
    ),
    "user": Key(
        Integer(1000, 2_147_483_647),
        "Numeric user and group that the components are: may write there. Whoever logs in to a node with it would have "
        "all models; `precheck` refuses that of `nodes`.",
        default=SERVER_USER,
    ),
    "resources": Key(
        COMPONENT_RESOURCES,
        "What is kept for each component.",
        default={},
    ),
    "ingress": Key(INGRESS, "How users reach the API.", default={}),
    "api_ports": API_PORTS,
}


def lmdb_is_local(values: Mapping[str, Any]) -> Breaches:
    """lmdb maps its file: what S3FS or NFS have mounted would damage it. And the client's group gets all of it."""
    lmdb, directory = values["lmdb"], values["directory"]
    path = lmdb.get("path")
    if path and (path in (*WHOLE, *TOP) or any(within(path, folder) for folder in SYSTEM)):
        message = f"'{path}' is the node's own, and would be given to the client: a folder such as /srv/neursafe-lmdb"
        return [(("lmdb", "path"), message)]
    if path and within(path, directory):
        return [(("lmdb", "path"), f"'{path}' is in the shared directory, {ON_A_DISK}")]
    if path and within(directory, path):
        return [(("lmdb", "path"), f"'{path}' has the shared directory in it, {GIVEN_WHOLE}")]
    if ("path" in lmdb) != ("node" in lmdb):
        return [(("lmdb",), "'node' and 'path' go together: a folder of that node, where the client stays")]
    if "path" in lmdb and "storage_class" in lmdb:
        return [(("lmdb", "storage_class"), "means nothing with 'path', which is a folder that is there")]
    return []


def datasets_within(values: Mapping[str, Any]) -> Breaches:
    """Tasks' pods have files of the client's directory alone."""
    return [
        (("datasets", name), f"'{path}' isn't in '{values['directory']}', the folder that tasks have")
        for name, path in values.get("datasets", {}).items()
        if not f"{path}/".startswith(f"{values['directory']}/")
    ]


LMDB = Section(
    {
        "node": Key(
            Text(max_length=63, pattern=r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", pattern_name="the name of a node"),
            "The node that the client stays on.",
        ),
        "path": Key(Text(format="absolute_path"), "A folder of that node, on a disk of its own."),
        "storage_class": Key(
            _CLASS, "Without node and path: the class that makes the volume; default: the cluster's own."
        ),
    }
)

CLIENT_DATABASE_PLACE = Place(
    on_hosts=False,
    external=DATABASE,
    listens=False,
    options=DATABASE_OPTIONS,
)


def _one_kind(values: Mapping[str, Any]) -> Breaches:
    if "host" in values:
        return []
    message = "is of a database on a host of ours: of an external one its address says it"
    return [((key,), message) for key in _HOSTED_DATABASE if key in values]


DATABASE_PLACE = Place(
    external=DATABASE,
    listens=False,
    options={**DATABASE_OPTIONS, **_HOSTED_DATABASE},
    rules=(Rule("Ports and memory are of databases on hosts.", _one_kind),),
)

DATASETS = Table(
    Text(max_length=253, pattern=r"[^\x00-\x1f\x7f,]+", pattern_name="the name of a data set, without a comma"),
    Text(format="absolute_path"),
)
CLUSTER_CLIENT: Mapping[str, Key] = {
    "node_address": Key(
        Text(format="address_or_name"),
        "A node of its cluster, or what leads to its nodes' ports: where the server's coordinators connect.",
    ),
    "images": Key(CLIENT_IMAGES, "What it runs; default: of `server.images`."),
    "directory": Key(
        Text(format="absolute_path"),
        "The folder that every node of its cluster has mounted: workspace, datasets, task_configs.",
        default="/mnt/neursafe_client",
    ),
    "lmdb": Key(LMDB, "Where the client notes its tasks.", default={}),
    "datasets": Key(
        DATASETS,
        "Its data sets: what jobs call them, and where they lie in `directory`. Without it `datasets/datasets.json` "
        "there says so, and is the client's own.",
    ),
    "capacity": Key(MEMORY, "What its PersistentVolume is said to hold.", default="100Gi"),
    "user": Key(
        Integer(1000, 2_147_483_647), "Numeric user and group that it is: may write there.", default=CLIENT_USER
    ),
    "resources": Key(RESOURCES, "What is kept for it.", default={}),
    "api_ports": API_PORTS,
    "networks": Key(
        _NETWORKS,
        "Networks that its pods come from, where its cluster isn't the server's: the stack's database lets them in.",
    ),
    "database": Key(
        CLIENT_DATABASE_PLACE,
        "Where its tasks are written down; default: the stack's, for clients of the server's party. In one on a host "
        "each has a database of its own.",
    ),
}
"""The keys of a client in a cluster."""

CLUSTER_DEFAULTS: Mapping[str, Any] = check_values(
    Section({name: key for name, key in CLUSTER_CLIENT.items() if key.default is not None}), {}
)[0]

GROUP = Text(max_length=32, pattern=r"[a-z_][a-z0-9_-]*", pattern_name="the name of a group")

_PINNED = Text(
    max_length=512,
    pattern=r"[a-z0-9][a-z0-9.-]*(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?@sha256:[0-9a-f]{64}",
    pattern_name="an image with its digest, such as registry.example:5000/nsfl-client-cpu@sha256:... of 64",
)
CONTAINER: Mapping[str, Key] = {
    "engine": Key(Choice(("docker", "podman")), "What runs it, which the host has already.", default="docker"),
    "image": Key(_PINNED, "The image, by its digest; default: that of client-cpu in `server.images`."),
    "pull": Key(
        _LOGIN,
        "How the host logs in to the registry; default: as `server.images` says, where the image is its own.",
    ),
}
"""What a client in a container says, whose engine the host has already."""

HOST_CLIENT: Mapping[str, Key] = {
    "port": Key(PORT, "Where the server's coordinators connect.", default=22000),
    "server_port": Key(
        PORT, "On its loopback, where its way to nginx on the nodes begins, with `nginx_host`.", default=22091
    ),
    "program": Key(
        SOURCE,
        "A Python 3.7 with Neursafe in it: `bin/python3.7` of a folder.",
        default={"path": "/opt/neursafe"},
    ),
    "container": Key(
        Section(CONTAINER),
        "Its image, instead of `program`: Docker or Podman, which the host has, runs it in the host's network.",
    ),
    "doubles": Key(
        Boolean(), "It is a double, for tests of the deployment: it learns nothing, and is refused unless this says so."
    ),
    "datasets": Key(DATASETS, "Its data sets: what jobs call them, and where they lie on the host.", default={}),
    "task_configs": Key(
        Text(format="absolute_path"),
        "The folder of the host with tasks' configurations and scripts; default: `task_configs` in its state.",
    ),
    "groups": Key(Items(GROUP), "Groups of the host that it is in, so that it may read data sets.", default=[]),
}
"""The keys of one on a host."""

HOST_DEFAULTS: Mapping[str, Any] = {name: key.default for name, key in HOST_CLIENT.items() if key.default is not None}
_ADDRESSES = ("bind", "internal_url", "public_url")


def _only(keys: Mapping[str, Key], where: str) -> dict[str, Key]:
    """The keys without their defaults, which those elsewhere don't have."""
    told = {name: f" Default: {json.dumps(key.default)}." if key.default else "" for name, key in keys.items()}
    return {
        name: replace(key, default=None, doc=f"{where}: {key.doc[0].lower()}{key.doc[1:]}{told[name]}")
        for name, key in keys.items()
    }


def _one_place(values: Mapping[str, Any]) -> Breaches:
    """What a client is follows from where it is, and it has the keys of that alone."""
    place = "cluster" if "cluster" in values else "host"
    mode = {"cluster": "cluster", "host": "standalone"}[place]
    own, others = (CLUSTER_CLIENT, HOST_CLIENT) if place == "cluster" else (HOST_CLIENT, CLUSTER_CLIENT)
    strange = [key for key in (*others, *(_ADDRESSES if place == "cluster" else ())) if key not in own]
    other = {"cluster": "on hosts", "host": "in clusters"}[place]
    breaches: Breaches = [((key,), f"is of clients {other}") for key in strange if key in values]
    if values.get("mode", mode) != mode:
        breaches.append((("mode",), f"'{values['mode']}' is one {other}: this one is placed on a {place}"))
    return breaches


def _of_cluster(rule: Callable[[Mapping[str, Any]], Breaches]) -> Callable[[Mapping[str, Any]], Breaches]:
    """A rule for clients in clusters, which looks at defaults, too."""
    return lambda values: rule({**CLUSTER_DEFAULTS, **values}) if "cluster" in values else []


def runs_one_way(values: Mapping[str, Any]) -> Breaches:
    """Of a folder, or of an image."""
    if {"program", "container"} <= values.keys():
        return [(("container",), "can't be said beside 'program': the image has the program")]
    return []


HOMES = ("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")  # noqa: S108 - where data sets can't be


def seen(values: Mapping[str, Any]) -> Breaches:
    """The process sees no homes, and has a /tmp of its own."""
    if "cluster" in values:
        return []
    told: dict[tuple[str, ...], str] = {("datasets", name): path for name, path in values.get("datasets", {}).items()}
    if "task_configs" in values:
        told[("task_configs",)] = values["task_configs"]
    message = "the process sees no homes, and a /tmp of its own: put it elsewhere"
    return [(path, f"'{place}': {message}") for path, place in told.items() if f"{place}/".startswith(HOMES)]


PLACEMENTS: Mapping[str, Key] = {
    "server": Key(
        Place(
            on_hosts=False,
            cluster=True,
            listens=False,
            options=SERVER_OPTIONS,
            rules=(Rule("Pods see the shared directory's parent.", deep_enough),),
        ),
        "The cluster that the server's components run in, and how.",
        required=True,
    ),
    "storage": Key(
        Place(port=9000, external=STORAGE),
        "What is behind the shared directory: MinIO on a host, with a bucket for each of its folders, which `nodes` "
        "mount by S3FS; or what is there already.",
        required=True,
    ),
    "registry": Key(
        Place(port=5000),
        "A registry on a host, with TLS and passwords, for the stack's images: `server.images` says no other then. "
        "Nodes that are hosts of ours trust it. `site --limit` of that host brings it before images are built.",
    ),
    "nodes": Key(
        Place(many=True, listens=False),
        "Those nodes of the server's cluster that are hosts of ours. Each has the shared directory mounted; without "
        "it the nodes have it already.",
    ),
    "database": Key(
        DATABASE_PLACE,
        "Where jobs and models are written down: PostgreSQL or FerretDB on a host, or one that is there.",
        required=True,
    ),
    "operators": Key(
        Place(
            many=True,
            port=8088,
            listens=False,
            options={
                "program": Key(
                    SOURCE,
                    "A Python 3.7 with nsfl-ctl in it: `bin/python3.7` of a folder.",
                    default={"path": "/opt/neursafe"},
                ),
                "doubles": Key(
                    Boolean(),
                    "It is a double, for tests of the deployment, and refused unless this says so.",
                    default=False,
                ),
            },
        ),
        "Hosts of those who run jobs, with nsfl-ctl set up. With `nginx_host` each has a certificate, and a way to the "
        "API on a port of its loopback, since nsfl-ctl speaks no TLS to it.",
    ),
    "namespaces": Key(
        Items(NAMESPACE, min_items=1),
        "Of jobs: each a folder in the shared directory.",
        default=["default"],
    ),
    "clients": Key(
        Table(
            Text(format="name"),
            Place(
                cluster=True,
                urls="endpoint",
                settings=CLIENT_SETTINGS,
                options={
                    "mode": Key(
                        Choice(("cluster", "standalone")), "Which it is; its place says so, too: on a host standalone."
                    ),
                    **_only(CLUSTER_CLIENT, "In a cluster"),
                    **_only(HOST_CLIENT, "On a host"),
                    "datasets": Key(
                        DATASETS,
                        "Its data sets: what jobs call them, and where they lie on its host, or in a cluster in "
                        "`directory`; there `datasets/datasets.json` says so without it.",
                    ),
                },
                rules=(
                    Rule("A client is in a cluster, or on a host.", _one_place),
                    Rule("lmdb lies on one node.", _of_cluster(lmdb_is_local)),
                    Rule("Pods see the directory's parent.", _of_cluster(deep_enough)),
                    Rule("Tasks have their data sets.", _of_cluster(datasets_within)),
                    Rule("A program is of a folder, or of an image.", runs_one_way),
                    Rule("Its files are where it sees them.", seen),
                ),
            ),
        ),
        "Who takes part: each a task manager, in a cluster or on a host. What another party runs otherwise needs no "
        "word here.",
        default={},
    ),
}
