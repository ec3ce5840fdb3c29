# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role neursafe_standalone takes: clients of Neursafe on a host, without Kubernetes.

``settings`` are the kind's own type, so a role takes what a document takes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .._federation import network
from .._federation.given_programs import of_role
from .._federation.kinds.neursafe.placements import CONTAINER, HOST_CLIENT, runs_one_way, seen
from .._federation.kinds.neursafe.settings import STANDALONE_SETTINGS, Breaches
from .._federation.schema import PORT, Boolean, Items, Key, Rule, Section, Text
from . import tunnel
from .checking import IDENTITY, LOOPBACK, MEMORY, SECONDS, TASKS, check_instances, is_present
from .listening import Place, one_owner, services

_ADDRESS = Text(format="endpoint")


def _parted(values: Mapping[str, Any]) -> Breaches:
    message = "the program parts an address at its only colon, and knows no IPv6: write a name"
    return [((key,), message) for key in ("server", "external_address") if values.get(key, "").startswith("[")]


def _begins(values: Mapping[str, Any]) -> Breaches:
    if "way" not in values or values["server"] == network.join(LOOPBACK, values["way"]["port"]):
        return []
    return [(("server",), f"is the beginning of its way, {network.join(LOOPBACK, values['way']['port'])}")]


_IMAGE = replace(CONTAINER["image"], doc="The image, by its digest.", required=True)
_CONNECT = tunnel.INSTANCE.keys["connect"]
_WAY = Section(
    {
        "port": Key(PORT, "On loopback, where the program connects.", required=True),
        "connect": Key(_CONNECT.type, "Where that leads, over TLS.", required=True),
        "tls": Key(tunnel.INSTANCE.keys["tls"].type, "Whom to trust, and what to show.", required=True),
    }
)

INSTANCE = Section(
    {
        **IDENTITY,
        "program": Key(
            of_role(),
            "A Python 3.7 with Neursafe in it: `bin/python3.7` of a folder; default: `path` /opt/neursafe.",
        ),
        "container": Key(
            Section({**CONTAINER, "image": _IMAGE}),
            "Its image, instead of C(program): Docker or Podman, which the host has, runs it in the host's network.",
        ),
        "doubles": Key(
            Boolean(), "It is a double, for tests: refused without this, and nothing else with it.", default=False
        ),
        "listen": Key(
            Section(
                {
                    "address": Key(Text(format="address"), "Exactly one address.", required=True),
                    "port": Key(PORT, "Port.", default=22000),
                }
            ),
            "Where the server's coordinators connect.",
            required=True,
        ),
        "server": Key(_ADDRESS, "Where the server's proxy is.", required=True),
        "way": Key(
            _WAY,
            "Its way to the server, where that has TLS in front: the program speaks none. C(server) is its beginning.",
        ),
        "external_address": Key(_ADDRESS, "Where coordinators are told to connect; default: `listen`."),
        **{key: HOST_CLIENT[key] for key in ("datasets", "task_configs", "groups")},
        "settings": Key(STANDALONE_SETTINGS, "The program's own keys: docs/systems/neursafe.md.", default={}),
    },
    rules=(
        Rule("Addresses have one colon.", _parted),
        Rule("A client goes by its own way.", _begins),
        Rule("A program is of a folder, or of an image.", runs_one_way),
        Rule("Its files are where it sees them.", seen),
    ),
)

PROGRAM: Mapping[str, str] = HOST_CLIENT["program"].default
REPORTS = 2
"""A client that missed so many reports isn't registered any more, as far as its health goes."""


def _tunnel(instance: Mapping[str, Any]) -> dict[str, Any]:
    """Its way as the role tunnel takes it; an absent one where it has none."""
    known = {key: instance[key] for key in ("state", "federation", "transient") if key in instance}
    told = {**known, "name": f"{instance['name']}-way"}
    if "way" not in instance:
        return {**told, "state": "absent"}
    way = instance["way"]
    listen = {"address": LOOPBACK, "port": way["port"]}
    return {**told, "listen": listen, "connect": way["connect"], "tls": way["tls"]}


def _completed(instance: dict[str, Any]) -> dict[str, Any]:
    """The instance with its way, its setup.json, and how old the last report may be."""
    instance = {**instance, "tunnel": _tunnel(instance)}
    if not is_present(instance):
        return instance
    listen, settings, state = instance["listen"], instance["settings"], f"/var/lib/fedlearn-{instance['name']}"
    own = network.join(listen["address"], listen["port"])
    setup = {
        "host": listen["address"],
        "port": listen["port"],
        "server": instance["server"],
        "external_address": instance.get("external_address", own),
        "platform": "linux",
        "lmdb_path": f"{state}/lmdb",
        "workspace": f"{state}/workspace",
        "task_config_entry": instance.get("task_configs", f"{state}/task_configs"),
        "runtime": settings["runtime"],
        "storage_quota": settings["storage_quota"],
        # the program compares words
        "registration": str(settings["registration"]).lower(),
        "log_level": settings["log_level"],
        **{key: settings[key] for key in ("label", "max_task_parallelism", "resource") if key in settings},
    }
    told = settings["registration"] and settings["log_level"] in ("debug", "info")
    seconds = REPORTS * settings["options"]["REPORT_HEARTBEAT"] + 60
    ran = {} if "container" in instance else {"program": instance.get("program", PROGRAM)}
    return {**instance, **ran, "setup": setup, "report_seconds": seconds if told else None}


def _places(instance: Mapping[str, Any]) -> list[Place]:
    own = [Place(instance["listen"]["address"], instance["listen"]["port"], key=("listen", "port"))]
    if "way" in instance:
        own.append(Place(LOOPBACK, instance["way"]["port"], key=("way", "port"), part="-way"))
    return own


def check(instances: Any) -> list[dict[str, Any]]:
    """``neursafe_standalone_instances`` with defaults and setup files. Raises RoleValueError."""
    rules = (one_owner(_places),)
    checked = check_instances("neursafe_standalone_instances", instances, INSTANCE, rules)
    return [_completed(instance) for instance in checked]


def listening(instances: Any) -> list[dict[str, Any]]:
    """The ports that present instances are to have, as the preflight module takes them. Raises RoleValueError."""
    return services(check(instances), _places)


VARIABLES: Mapping[str, Key] = {
    "neursafe_standalone_instances": Key(Items(INSTANCE), "The clients of this host.", default=[]),
    "neursafe_standalone_health_timeout_seconds": Key(
        SECONDS, "How long a client may take from its start until the server's selector knows it.", default=120
    ),
    "neursafe_standalone_tasks_max": Key(TASKS, "Processes and threads, its tasks' among them.", default=4096),
    "neursafe_standalone_memory_max": Key(MEMORY, "Memory of each client and its tasks.", default="16G"),
    "neursafe_standalone_remove_data": Key(Boolean(), "Remove workspace and notes of absent instances.", default=False),
}
"""All variables of the role."""


def _packages(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What ways need of the distribution."""
    present = [instance for instance in values["neursafe_standalone_instances"] if is_present(instance)]
    return {"names": values["tunnel_packages"] if any("way" in instance for instance in present) else []}


ROLES = {"neursafe_standalone": VARIABLES}
PACKAGES = {"neursafe_standalone": _packages}
INSTANCES = {"neursafe_standalone_instances": check}
LISTENING = {"neursafe_standalone_instances": listening}
