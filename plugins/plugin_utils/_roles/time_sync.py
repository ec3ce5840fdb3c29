# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the time_sync role takes."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from .._federation.model import Path
from .._federation.schema import PORT, Boolean, Choice, Integer, Items, Key, Number, Rule, Section, Text
from .checking import FILE, IDENTITY, check_instances

UNIT = "chrony.service"
NTP_PORT = 123

Breaches = list[tuple[Path, str]]

_POLL = Integer(-6, 24)
_CERTIFICATES = Text(
    pattern=r"/[^\s%#!;]+", pattern_name="an absolute path on the host that chrony.conf can say: without blanks"
)


def _authenticated(values: Mapping[str, Any]) -> Breaches:
    """NTS is between a client and a server, and the other way to know who answers."""
    if not values["nts"]:
        return []
    if values["type"] == "peer":
        return [(("nts",), "peers can't be asked by NTS: give them a key")]
    return [(("key_id",), "'nts' is given too: a source is known by one of them")] if "key_id" in values else []


def _polls(values: Mapping[str, Any]) -> Breaches:
    least, most = values.get("minpoll", 6), values.get("maxpoll", 10)
    key = "maxpoll" if "maxpoll" in values else "minpoll"
    return [((key,), f"minpoll {least} is above maxpoll {most}")] if least > most else []


SOURCE = Section(
    {
        "address": Key(Text(format="address_or_name"), "Where it is reached.", required=True),
        "type": Key(
            Choice(("server", "pool", "peer")),
            "V(pool): a name that stands for several servers; V(peer): one that also takes the time from here.",
            default="server",
        ),
        "port": Key(PORT, "Its port: of NTP (UDP, 123), or with nts of the key exchange (TCP, 4460)."),
        "nts": Key(Boolean(), "Ask by NTS: the server proves by a certificate who it is.", default=False),
        "key_id": Key(Integer(1, 4_294_967_295), "The number of a key in chrony.keys, which the administrator keeps."),
        "prefer": Key(
            Boolean(), "Before sources that aren't preferred, as Debian's pool and DHCP's are.", default=True
        ),
        "minpoll": Key(_POLL, "Ask at most every 2^minpoll seconds; chrony's default is 6."),
        "maxpoll": Key(_POLL, "Ask at least every 2^maxpoll seconds; chrony's default is 10."),
    },
    rules=(
        Rule("A source is known by NTS or by a key.", _authenticated),
        Rule("The least interval is not above the greatest.", _polls),
    ),
)


def _one_of_each_family(values: Mapping[str, Any]) -> Breaches:
    versions = [ipaddress.ip_address(address).version for address in values["addresses"]]
    return [
        (("addresses", index), f"is a second IPv{version} address: chrony listens on one of each family")
        for index, version in enumerate(versions)
        if version in versions[:index]
    ]


LISTEN = Section(
    {
        "addresses": Key(
            Items(Text(format="address"), min_items=1), "Where it answers, one address of each family.", required=True
        ),
        "port": Key(PORT, "UDP port.", default=NTP_PORT),
        "allow": Key(Items(Text(format="network")), "Networks that may ask; peers may in any case.", default=[]),
    },
    rules=(Rule("One address of each family.", _one_of_each_family),),
)

MAKESTEP = Section(
    {
        "threshold_seconds": Key(Number(above=0), "Set the clock at once where it is farther off.", required=True),
        "updates": Key(
            Integer(-1, 1_000_000),
            "Only in so many first looks after a start; -1: always, so time may jump under what runs.",
            required=True,
        ),
    }
)


def _serves_somebody(values: Mapping[str, Any]) -> Breaches:
    peers = [index for index, source in enumerate(values["sources"]) if source["type"] == "peer"]
    if peers and "listen" not in values:
        return [(("sources", peers[0], "type"), "a peer asks back: say with 'listen' where it is answered")]
    if "listen" in values and not peers and not values["listen"]["allow"]:
        return [(("listen", "allow"), "is empty, and there is no peer: nobody would be answered")]
    return []


def _each_source_once(values: Mapping[str, Any]) -> Breaches:
    addresses = [source["address"] for source in values["sources"]]
    return [
        (("sources", index, "address"), f"'{address}' is [{addresses.index(address)}] already")
        for index, address in enumerate(addresses)
        if address in addresses[:index]
    ]


def _something_to_trust(values: Mapping[str, Any]) -> Breaches:
    nts = any(source["nts"] for source in values["sources"])
    breaches: Breaches = []
    if values["require_authentication"] and not nts and not any("key_id" in source for source in values["sources"]):
        breaches.append((("require_authentication",), "no source has nts or a key: none would be left"))
    if "trusted_certificates" in values and not nts:
        breaches.append((("trusted_certificates",), "no source has nts: nothing would be trusted by them"))
    return breaches


INSTANCE = Section(
    {
        **IDENTITY,
        "sources": Key(
            Items(SOURCE),
            "Whom to take the time from; none: those of the host's chrony.conf, Debian's pool at first.",
            default=[],
        ),
        "require_authentication": Key(
            Boolean(), "Take the time from sources with nts or a key only, whoever named others.", default=False
        ),
        "trusted_certificates": Key(
            _CERTIFICATES, "CAs of NTS servers, beside the system's; where AppArmor is on, below /etc/chrony."
        ),
        "makestep": Key(
            MAKESTEP, "When the clock is set at once, and not little by little; Debian's chrony.conf: by 1 s, 3 looks."
        ),
        "listen": Key(LISTEN, "Give the time to others; without it nothing is listened on."),
    },
    rules=(
        Rule("Who listens answers somebody.", _serves_somebody),
        Rule("A source is named once.", _each_source_once),
        Rule("What is required or trusted is there.", _something_to_trust),
    ),
)


def _one_chrony(values: Mapping[str, Any]) -> Breaches:
    """Instances share the host's one chrony: what counts for all of it one of them says."""
    seen: dict[str, str] = {}
    breaches: Breaches = []
    for instance in values["instances"]:
        said = [key for key in ("listen", "makestep") if key in instance]
        for what in (*said, *(source["address"] for source in instance["sources"])):
            first = seen.setdefault(what, instance["name"])
            if first != instance["name"]:
                breaches.append(((instance["index"],), f"'{what}' stands in '{first}' too, and a host has one chrony"))
    return breaches


def check(instances: Any) -> list[dict[str, Any]]:
    """``time_sync_instances`` with defaults; what stops leaves the host its time. Raises RoleValueError."""
    if isinstance(instances, list):
        instances = [_going_on(instance) for instance in instances]
    return check_instances("time_sync_instances", instances, INSTANCE, (Rule("A host has one chrony.", _one_chrony),))


def _going_on(instance: Any) -> Any:
    stopped = isinstance(instance, Mapping) and instance.get("state") == "stopped"
    return {**instance, "state": "present"} if stopped else instance


def listening(instances: Any) -> list[dict[str, Any]]:
    """The ports that present instances are to have, as the preflight module takes them. Raises RoleValueError."""
    return [
        {"name": one["name"], "address": address, "port": one["listen"]["port"], "protocol": "udp", "unit": UNIT}
        for one in check(instances)
        if one["state"] == "present" and "listen" in one
        for address in one["listen"]["addresses"]
    ]


VARIABLES: Mapping[str, Key] = {
    "time_sync_instances": Key(
        Items(INSTANCE), "What is asked of the host's chrony; empty: its clock is only looked at.", default=[]
    ),
    "time_sync_max_skew_ms": Key(
        Integer(1, 86_400_000), "How far the clock may be from the control node's.", default=1000, unit="ms"
    ),
    "time_sync_packages": Key(Items(Text(), min_items=1), "Debian's chrony; C(NAME=VERSION) pins.", default=["chrony"]),
    "time_sync_replaces": Key(
        Items(Text()),
        "Packages that may go for it, since a host has one program that sets the clock; any other is left and told.",
        default=["systemd-timesyncd"],
    ),
    "time_sync_program": Key(FILE, "The daemon, to check its configuration.", default="/usr/sbin/chronyd"),
    "time_sync_client": Key(FILE, "The client, for health.", default="/usr/bin/chronyc"),
    "time_sync_health_timeout_seconds": Key(
        Integer(1, 3600), "How long a first source may take to give the time after a start.", default=60
    ),
}
"""All variables of the role."""


def _packages(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Nothing where the host's clock is only looked at."""
    if all(one["state"] == "absent" for one in check(values["time_sync_instances"])):
        return {}
    return {"names": values["time_sync_packages"], "replaces": values["time_sync_replaces"]}


ROLES = {"time_sync": VARIABLES}
PACKAGES = {"time_sync": _packages}
INFRASTRUCTURE = {"time_sync": "base"}
BEFORE = {"time_sync": ["pki"]}
SHARED = {"time_sync": UNIT}
INSTANCES = {"time_sync_instances": check}
LISTENING = {"time_sync_instances": listening}
