# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the roles neursafe_server and neursafe_client take: the kind's own types.

But for paths: a document names files beside it, a role files anywhere on the control node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .._federation.kinds.neursafe import placements
from .._federation.kinds.neursafe.apart import Share, breaches
from .._federation.kinds.neursafe.settings import CLIENT_SETTINGS, SERVER_SETTINGS, Breaches
from .._federation.schema import Boolean, Choice, Integer, Items, Key, Rule, Section, Text
from .checking import IDENTITY, check_instances

_FILE = Text(pattern=r"[^\x00-\x1f\x7f]+", pattern_name="the path of a file on the control node")
_NAMESPACE = Text(
    max_length=63,
    pattern=r"[a-z0-9]([a-z0-9-]*[a-z0-9])?",
    pattern_name="a name of at most 63 of a-z, 0-9 and '-', no '-' at its ends",
)


def _anywhere(section: Section) -> dict[str, Key]:
    """The same keys, but that its files may be anywhere."""
    files = {name: Key(_FILE, key.doc) for name, key in section.keys.items() if key.type == Text(format="path")}
    return {**section.keys, **files}


def _root_cert(values: Mapping[str, Any]) -> Breaches:
    if ("root_cert" in values) == ("root_cert" in values["settings"]["client_selector"]):
        return []
    return [(("root_cert",), "goes with settings: client_selector.root_cert, which a document says it by")]


_IDENTITY: Mapping[str, Key] = {
    **{key: IDENTITY[key] for key in ("federation", "stack")},
    "name": Key(_NAMESPACE, "Names the instance, and the Kubernetes namespace of its components.", required=True),
    "state": Key(Choice(("present", "absent")), "V(absent) is removed; files stay.", default="present"),
}
_FOLLOWS = Key(
    Boolean(),
    "The file of C(ca) comes to be in the very run that brings the instance, so nobody misses it before.",
    default=False,
)


_IN_TURN = Key(
    Boolean(),
    "It comes by C(<username>_a) and C(<username>_b) in turn, of a client with C(in_turn) there; each turn rolls out.",
    default=False,
)


def _owner(values: Mapping[str, Any]) -> Breaches:
    if "owner" in values and placements.ENGINES[values["engine"]] == "mongo":
        return [(("owner",), "is of PostgreSQL: in MongoDB whoever writes a collection makes it")]
    return []


_DATABASE = Section(
    {
        **_anywhere(placements.DATABASE),
        **placements.DATABASE_OPTIONS,
        "ca_follows": _FOLLOWS,
        "in_turn": _IN_TURN,
        "at": Key(
            Text(format="address"), "The numeric address of the name in C(address): pods are told it, and ask no DNS."
        ),
        "owner": Key(
            Section(
                {
                    "username": Key(placements.USER, "The login.", required=True),
                    "secret": Key(Text(format="secret"), "Name of the secret that is its password.", required=True),
                    "in_turn": _IN_TURN,
                }
            ),
            "Who makes the tables, so that the programs may write them and nothing else; default: the programs.",
        ),
    },
    rules=(*placements.DATABASE.rules, Rule("Tables have an owner in PostgreSQL.", _owner)),
)
_STORAGE = Section(
    {
        **{key: value for key, value in _anywhere(placements.STORAGE).items() if key != "nfs"},
        "ca_follows": _FOLLOWS,
        "in_turn": _IN_TURN,
    },
    rules=placements.STORAGE.rules,
)

_RECORD = Key(
    _FILE, "With digests that M(fedlearn.infra.images) recorded: manifests have these, so it has to be there."
)


def _recorded(values: Mapping[str, Any]) -> Breaches:
    if "record" in values and not {"registry", "tag"} <= values.keys():
        return [(("record",), "is of a registry and a tag: say both")]
    lacking = "build" in values and "record" not in values
    return [(("build",), "needs 'record', the file for the digests")] if lacking else []


def _images(section: Section) -> Section:
    """The document's, with what was built."""
    recorded = Rule("What is built is recorded.", _recorded)
    return Section({**_anywhere(section), "record": _RECORD}, rules=(*section.rules, recorded))


_OF_SERVER = replace(placements.IMAGES, rules=(*placements.IMAGES.rules, placements.OF_A_REGISTRY))
"""In a document a registry may be a host of ours; a role is told its name."""

SERVER = Section(
    {
        **{key: IDENTITY[key] for key in ("federation", "stack")},
        "name": Key(_NAMESPACE, "Names the instance, and the Kubernetes namespace of its components.", required=True),
        "state": Key(Choice(("present", "absent")), "V(absent) is removed; files stay.", default="present"),
        **{
            key: placements.SERVER_OPTIONS[key]
            for key in ("shared_directory", "capacity", "user", "resources", "ingress", "api_ports")
        },
        "images": replace(placements.SERVER_OPTIONS["images"], type=_images(_OF_SERVER)),
        "namespaces": placements.PLACEMENTS["namespaces"],
        "storage": Key(
            _STORAGE,
            "What is behind the shared directory.",
            required=True,
        ),
        "database": Key(_DATABASE, "Where jobs and models are written down.", required=True),
        "token": Key(
            Text(format="secret"), "Name of the secret that the job scheduler shows the proxy.", required=True
        ),
        "root_cert": Key(_FILE, "The certificates that clients' are signed by."),
        "api_url": Key(
            Text(format="origin"),
            "Where users come to the API, by the cluster's own controller: C(check) asks there, too, unless pods are "
            "simulated.",
        ),
        "settings": Key(SERVER_SETTINGS, "The system's own configuration: docs/federation.md lists it.", default={}),
    },
    rules=(
        Rule("Pods see the shared directory's parent.", placements.deep_enough),
        Rule("The selector's certificates are a file here.", _root_cert),
        Rule("A namespace's folder is its users' alone.", placements.namespaces_apart),
        Rule("Containers of a pod have ports of their own.", placements.ports_of_pods),
    ),
)


def _tunnel(values: Mapping[str, Any]) -> Breaches:
    database, images = values["database"], values["images"]
    if not placements.leads_by_tunnel(database) or placements.leads_to_mongodb(images):
        return []
    return [(("images",), "say 'tag', a digest of proxy, or 'tunnel': it leads to MongoDB by TLS")]


CLIENT = Section(
    {
        **_IDENTITY,
        **{
            key: placements.CLUSTER_CLIENT[key]
            for key in ("directory", "lmdb", "datasets", "capacity", "user", "resources", "api_ports")
        },
        "images": Key(_images(placements.CLIENT_IMAGES), "What it runs.", default={"tag": "latest"}),
        "database": Key(_DATABASE, "Where its tasks are written down.", required=True),
        "server": Key(Text(format="endpoint"), "Where the server's proxy is.", required=True),
        "external_address": Key(
            Text(format="endpoint"), "Where the server's coordinators connect to it.", required=True
        ),
        "settings": Key(CLIENT_SETTINGS, "The system's own configuration: docs/federation.md lists it.", default={}),
    },
    rules=(
        Rule("MongoDB is reached by TLS through an image.", _tunnel),
        Rule("lmdb lies on one node.", placements.lmdb_is_local),
        Rule("Tasks have their data sets.", placements.datasets_within),
        Rule("Pods see the directory's parent.", placements.deep_enough),
    ),
)


def _own_ports(values: Mapping[str, Any]) -> Breaches:
    seen: dict[int, str] = {}
    breaches: Breaches = []
    for one in values["instances"]:
        manager = one["settings"]["task_manager"]
        first = seen.setdefault(manager["port"], one["name"]) if manager["external"] else one["name"]
        if first != one["name"]:
            path = (one["index"], "settings", "task_manager", "port")
            breaches.append((path, f"{manager['port']} of the nodes is that of '{first}' already"))
    return breaches


def _kept_apart(values: Mapping[str, Any]) -> Breaches:
    given = values["instances"]
    shares = [Share(f"'{one['name']}'", one["directory"], one["user"], one["lmdb"]) for one in given]
    return [((given[number]["index"], *path), message) for number, path, message in breaches(shares)]


def check_clients(instances: Any) -> list[dict[str, Any]]:
    """``neursafe_client_instances`` with defaults. Raises RoleValueError."""
    rules = (
        Rule("A port of the nodes has one owner.", _own_ports),
        Rule("None has another's files.", _kept_apart),
    )
    return check_instances("neursafe_client_instances", instances, CLIENT, rules)


def _one(values: Mapping[str, Any]) -> Breaches:
    message = "a cluster takes one server: jobs of several would run in one namespace, and be mixed up"
    return [((one["index"],), message) for one in values["instances"][1:]]


KUBECONFIG = (
    "{{ lookup('ansible.builtin.vars', 'fedlearn_kubeconfig_' ~ inventory_hostname | replace('-', '_'), "
    "default=fedlearn_kubeconfig | default()) }}"
)
"""The document's, or one that was laid elsewhere for this run, as AWX does."""


def check_servers(instances: Any) -> list[dict[str, Any]]:
    """``neursafe_server_instances`` with defaults. Raises RoleValueError."""
    return check_instances("neursafe_server_instances", instances, SERVER, (Rule("A cluster takes one server.", _one),))


def _variables(role: str, instances: Key, what: str) -> Mapping[str, Key]:
    return {
        f"{role}_instances": instances,
        f"{role}_kubeconfig": Key(
            Text(),
            "File of the control node that says how the cluster is reached.",
            default=KUBECONFIG,
        ),
        f"{role}_render": Key(
            Text(min_length=0),
            "Write manifests into this folder of the control node, and leave the cluster alone.",
            default="{{ fedlearn_render | default('', true) }}",
        ),
        f"{role}_timeout_seconds": Key(
            Integer(1, 3600), f"How long {what} may take to be ready.", default=300, unit="s"
        ),
        f"{role}_prune": Key(
            Boolean(),
            "Remove what is in the cluster of instances that aren't named any more.",
            default="{{ fedlearn_prune | default(false, true) | bool }}",
        ),
        f"{role}_remove_data": Key(
            Boolean(),
            "Let go, with a namespace, what others have in it and claims whose volumes go with them, which is refused "
            "otherwise. What lies in the shared directory stays.",
            default=False,
        ),
    }


ROLES = {
    "neursafe_server": _variables(
        "neursafe_server", Key(Items(SERVER), "The servers of this cluster.", default=[]), "components"
    ),
    "neursafe_client": _variables(
        "neursafe_client", Key(Items(CLIENT), "The clients of this cluster.", default=[]), "clients"
    ),
}
INSTANCES = {"neursafe_server_instances": check_servers, "neursafe_client_instances": check_clients}
