# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the minio role takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._federation.model import Path
from .._federation.network import WILDCARDS, is_numeric, parse_url
from .._federation.schema import PORT, Boolean, Choice, Integer, Items, Key, Rule, Section, Table, Text
from .backups import backup_variables
from .building import built_variables
from .checking import (
    FILE,
    IDENTITY,
    IN_TURN,
    LOOPBACK,
    check_instances,
    is_loopback,
    is_present,
    logins_of,
)
from .listening import Place, one_owner, services
from .packages import of_present

ADMINISTRATOR = "administrator"
BUCKET = Text(format="bucket", min_length=3, max_length=63)
LONGEST_CLIENT = 64
CLIENT = Text(
    min_length=3,
    max_length=LONGEST_CLIENT,
    pattern=r"[a-z0-9](?:[a-z0-9_.-]*[a-z0-9])?",
    pattern_name="a name: a-z, 0-9, '_', '-' and '.', none of these at its ends",
)
_DAYS = Integer(1, 36500)
_VALUE = Text(
    min_length=0, pattern=r"[^\x00-\x1f\x7f\"'\\$]*", pattern_name="a text without control characters, quotes, \\ and $"
)

_OURS = {"MINIO_ADDRESS": "address", "MINIO_OPTS": "address", "MINIO_VOLUMES": "name"}
"""Settings that follow from an instance's own keys."""
_REFUSED = {
    "MINIO_BROWSER": "the server offers no console: what is in it is said here",
    "MINIO_CERTS_DIR": "the role lays certificates by tls",
    "MINIO_CONFIG_ENV_FILE": "settings are said here",
    "MINIO_PROMETHEUS_AUTH_TYPE": "nobody sees metrics without a token",
    "MINIO_UPDATE": "the role brings the program",
}
_SECRET_WORDS = ("PASSWORD", "SECRET", "TOKEN", "ACCESS_KEY", "ROOT_USER", "CREDENTIALS", "DSN", "CONNECTION_STRING")


def _reserved(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    keys = values["settings"]
    ours = [
        (("settings", key), f"follows from the instance's '{_OURS[key]}': set that") for key in keys if key in _OURS
    ]
    refused = [(("settings", key), f"can't be set: {_REFUSED[key]}") for key in keys if key in _REFUSED]
    secret = [
        (("settings", key), "can't be set: it would be a secret in a file for all to read")
        for key in keys
        if any(word in key for word in _SECRET_WORDS)
    ]
    return [*ours, *refused, *secret]


def _open(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    if values.get("tls") or values["allow_unencrypted"] or is_loopback(values["address"]):
        return []
    return [
        (
            ("address",),
            f"'{values['address']}' is reached by others, and without tls all they send can be read on the way: give "
            "tls, listen on 127.0.0.1, or say allow_unencrypted: true",
        )
    ]


def _scheme(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    plain = values.get("tls") and values.get("public_url", "https:").startswith("http:")
    return [(("public_url",), "is http, and with tls the server speaks nothing but https")] if plain else []


def _twice(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    breaches: list[tuple[Path, str]] = []
    for what in ("buckets", "clients"):
        seen: set[str] = set()
        for index, one in enumerate(values[what]):
            names = [login["name"] for login in logins_of(one)]
            breaches += [((what, index, "name"), f"'{name}' stands there twice") for name in names if name in seen]
            seen.update(names)
    return breaches


def _objects(client: Mapping[str, Any], place: Path) -> list[tuple[Path, str]]:
    if (client["access"] == "some") == ("objects" in client):
        return []
    message = (
        "is missing: which objects may it get and put?" if client["access"] == "some" else "is for access: some only"
    )
    return [((*place, "objects"), message)]


def _further(client: Mapping[str, Any], place: Path, names: list[str], told: str) -> list[tuple[Path, str]]:
    """What is wrong with the further buckets of a client."""
    if client["also"] and client["access"] == "metrics":
        return [((*place, "also"), "isn't reached by access: metrics; leave it out")]
    seen, breaches = {client.get("bucket")}, []
    for index, further in enumerate(client["also"]):
        bucket = further["bucket"]
        at = (*place, "also", index, "bucket")
        if bucket not in names:
            breaches.append((at, f"no bucket of this instance is called '{bucket}' {told}"))
        elif bucket in seen:
            breaches.append((at, f"'{bucket}' stands there twice"))
        seen.add(bucket)
    return breaches


def _clients(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    names = [bucket["name"] for bucket in values["buckets"]]
    told = f"(there are {', '.join(names)})" if names else "(there are none)"
    breaches: list[tuple[Path, str]] = []
    for index, client in enumerate(values["clients"]):
        place: Path = ("clients", index)
        if client["name"] == ADMINISTRATOR:
            breaches.append(((*place, "name"), f"'{ADMINISTRATOR}' is the server's own"))
        if client["in_turn"] and len(client["name"]) > LONGEST_CLIENT - 2:
            breaches.append(((*place, "name"), "has no room for '_a' and '_b': at most 62 characters"))
        if client["state"] == "absent":
            continue
        if "secret" not in client:
            breaches.append(((*place, "secret"), "is missing: the name of the secret that is its password"))
        breaches += _objects(client, place) + _further(client, place, names, told)
        if client["access"] == "metrics":
            if "bucket" in client:
                breaches.append(((*place, "bucket"), "isn't reached by access: metrics; leave it out"))
        elif "bucket" not in client:
            breaches.append(((*place, "bucket"), f"is missing: which one may it reach {told}?"))
        elif client["bucket"] not in names:
            breaches.append(((*place, "bucket"), f"no bucket of this instance is called '{client['bucket']}' {told}"))
    return breaches


def _versions(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    return [
        (("buckets", index, "expire_former_days"), "needs versioning: true; without it there are no former versions")
        for index, bucket in enumerate(values["buckets"])
        if "expire_former_days" in bucket and not bucket["versioning"]
    ]


_BUCKET = Section(
    {
        "name": Key(BUCKET, "Its name.", required=True),
        "versioning": Key(
            Boolean(), "Keep former versions of objects. Once on it can be suspended, and versions stay.", default=False
        ),
        "expire_days": Key(_DAYS, "Objects go this long after they were written.", unit="days"),
        "expire_former_days": Key(_DAYS, "Former versions go this long after they were replaced.", unit="days"),
    }
)

_PATTERNS = Items(
    Text(
        max_length=256,
        pattern=r"[A-Za-z0-9._/*-]+",
        pattern_name="a name of objects: A-Z, a-z, 0-9, '.', '_', '-', '/', and * for anything",
    )
)

_SOME = Section(
    {
        "get": Key(_PATTERNS, "Those it gets.", default=[]),
        "put": Key(_PATTERNS, "Those it puts.", default=[]),
        "never_put": Key(_PATTERNS, "Of these those it doesn't put.", default=[]),
    }
)

_CLIENT = Section(
    {
        "name": Key(CLIENT, "Its name, which S3 calls an access key.", required=True),
        "state": Key(Choice(("present", "absent")), "V(absent) takes it away at once.", default="present"),
        "bucket": Key(BUCKET, "The bucket it reaches."),
        "access": Key(
            Choice(("write", "read", "some", "metrics")),
            "V(write) puts, gets, lists and deletes objects, and may ask for its bucket; V(read) gets and lists; "
            "V(some) does what O(objects) says and lists nothing; V(metrics) sees the server's figures and no bucket.",
            default="write",
        ),
        "objects": Key(_SOME, "Of the bucket's objects only these."),
        "also": Key(
            Items(
                Section(
                    {
                        "bucket": Key(BUCKET, "Its name.", required=True),
                        "access": Key(Choice(("write", "read")), "As O(access) has it.", default="read"),
                    }
                )
            ),
            "Further buckets, for a program that copies from one to another.",
            default=[],
        ),
        "secret": Key(Text(format="secret"), "Name of the secret that is its password: 8 characters or more."),
        "in_turn": IN_TURN,
    }
)

INSTANCE = Section(
    {
        **IDENTITY,
        "address": Key(
            Text(format="address"),
            "The address to listen on. MinIO also listens on the host's loopback addresses, always.",
            default="127.0.0.1",
        ),
        "port": Key(PORT, "Port.", default=9000),
        "public_url": Key(
            Text(format="origin"),
            "What clients call it, where that isn't its address and port; its certificate has that name.",
        ),
        "tls": Key(
            Section(
                {
                    "certificate": Key(FILE, "Certificate, then intermediates.", required=True),
                    "key": Key(FILE, "Its key; only root needs to read it.", required=True),
                    "ca": Key(FILE, "CA of that certificate, which it is checked with.", required=True),
                }
            ),
            "Nothing but TLS; without it plain.",
        ),
        "allow_unencrypted": Key(
            Boolean(), "Without tls, serve others than this host, for programs that can't do it.", default=False
        ),
        "buckets": Key(Items(_BUCKET), "Its buckets. One that is listed no more stays.", default=[]),
        "clients": Key(
            Items(_CLIENT),
            "Who may come; one for each purpose. One that is listed no more stays: say V(absent).",
            default=[],
        ),
        "settings": Key(
            Table(Text(pattern=r"MINIO_[A-Z0-9_]+", pattern_name="the name of a setting, MINIO_..."), _VALUE),
            "MinIO's own settings, such as MINIO_API_REQUESTS_MAX; a secret is none.",
            default={},
        ),
    },
    rules=(
        Rule("Settings that the role sets, or that would be secrets, can't be set.", _reserved),
        Rule("Names are unique.", _twice),
        Rule("A client is for one bucket, or for metrics.", _clients),
        Rule("Former versions need versioning.", _versions),
        Rule("Beyond the host only with TLS, unless told.", _open),
        Rule("With TLS clients use https.", _scheme),
    ),
)


def _places(instance: Mapping[str, Any]) -> list[Place]:
    """Whatever its address, each listens on loopback, too."""
    return [Place(address, instance["port"]) for address in dict.fromkeys((LOOPBACK, instance["address"]))]


def _complete(instance: dict[str, Any]) -> dict[str, Any]:
    """The instance with every login of its clients, and the name its certificate is to have, where one is known."""
    if not is_present(instance):
        return instance
    clients = [login for client in instance["clients"] for login in logins_of(client)]
    own = "" if instance["address"] in WILDCARDS or is_loopback(instance["address"]) else instance["address"]
    name = parse_url(instance["public_url"]).host if "public_url" in instance else own
    return {**instance, "clients": clients, "certified": {"name": name, "is_address": is_numeric(name)}}


def check(instances: Any) -> list[dict[str, Any]]:
    """``minio_instances`` with defaults, logins, and the names of certificates. Raises RoleValueError."""
    rules = (one_owner(_places),)
    return [_complete(instance) for instance in check_instances("minio_instances", instances, INSTANCE, rules)]


def listening(instances: Any) -> list[dict[str, Any]]:
    """The ports that present instances are to have, as the preflight module takes them. Raises RoleValueError."""
    return services(check(instances), _places)


VARIABLES: Mapping[str, Key] = {
    "minio_instances": Key(Items(INSTANCE), "The servers of this host.", default=[]),
    "minio_version": Key(
        Text(
            pattern=r"v0\.0\.0-[0-9]{14}-[0-9a-f]{12}",
            pattern_name="a version such as v0.0.0-20260212201848-7aac2a2c5b7c",
        ),
        "What is built: the version by which Go's module proxy knows a commit of MinIO.",
        default="v0.0.0-20260212201848-7aac2a2c5b7c",
    ),
    **built_variables("minio", program="MinIO", go="1.24"),
    "minio_packages": Key(
        Items(Text(), min_items=1),
        "What encrypts passwords on their way into the server, and backups; C(NAME=VERSION) pins.",
        default=["python3-cryptography", "age"],
    ),
    "minio_space_mb": Key(
        Integer(0, 1_000_000_000),
        "Room in C(/var/lib) that a new server needs, for C(precheck).",
        default=1000,
        unit="MB",
    ),
    "minio_health_timeout_seconds": Key(
        Integer(1, 3600), "How long a server may take to answer after a start.", default=60
    ),
    **backup_variables("minio"),
    "minio_remove_data": Key(Boolean(), "Remove the data of absent instances.", default=False),
}
"""All variables of the role."""


ROLES = {"minio": VARIABLES}
PACKAGES = {"minio": of_present("minio")}
BUILT = {"minio": "MinIO"}
INFRASTRUCTURE = {"minio": "data"}
INSTANCES = {"minio_instances": check}
LISTENING = {"minio_instances": listening}
