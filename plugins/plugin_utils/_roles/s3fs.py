# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the s3fs role takes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .._federation.model import Path
from .._federation.schema import Boolean, Integer, Items, Key, Rule, Section, Text
from .checking import FILE, IDENTITY, check_instances, is_present
from .minio import BUCKET, CLIENT

SOURCES = ("s3", "nfs", "directory")
PLACE = Text(
    pattern=r"(?:/(?!\.\.?(?:/|\Z))[A-Za-z0-9_.-]+)+",
    pattern_name="an absolute path of letters, digits, '_', '.' and '-', without '..'",
)
_OPTION = Text(pattern=r"[a-z][a-z0-9_]*(?:=[A-Za-z0-9_.:/@+-]+)?", pattern_name="an option such as retries=5")

_OURS = {
    "allow_other": "others than root reach the mount, as s3.umask says",
    "gid": "follows from s3.gid",
    "passwd_file": "follows from s3.secret",
    "ro": "follows from read_only",
    "uid": "follows from s3.uid",
    "umask": "follows from s3.umask",
    "url": "follows from s3.url",
}
_REFUSED = {
    "dev": "a file there would count as a device of this host",
    "no_check_certificate": "whoever answers would be believed to be the storage",
    "nonempty": "what lies in the folder would be hidden",
    "rw": "leave out read_only",
    "ssl_verify_hostname": "whoever has a certificate of the CA would be believed to be the storage",
    "suid": "a file there would give its owner's rights to who runs it",
}


def unit_of(path: str) -> str:
    """The name that systemd gives the mount at a path."""
    escaped = re.sub(r"[^A-Za-z0-9_./]", lambda one: f"\\x{ord(one[0]):02x}", path.strip("/"))
    return ("\\x2e" + escaped[1:] if escaped.startswith(".") else escaped).replace("/", "-") + ".mount"


def _one_source(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    given = [source for source in SOURCES if source in values]
    if values["there"]:
        return [((key,), "means nothing with 'there', which something else mounts") for key in given]
    if len(given) == 1:
        return []
    found = f"found {' and '.join(given)}" if given else "found none"
    return [((), f"needs exactly one of {', '.join(SOURCES)}: what is mounted there; {found}")]


def _options(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    told = {**_OURS, **_REFUSED}
    names = [option.partition("=")[0] for option in values["options"]]
    return [(("options", index), f"'{name}': {told[name]}") for index, name in enumerate(names) if name in told]


def _encrypted(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    url = values["url"]
    if (
        url.startswith("https://")
        or values["allow_unencrypted"]
        or re.match(r"http://(127\.|\[::1\]|localhost[:/])", url)
    ):
        return []
    return [
        (
            ("url",),
            f"'{url}' is beyond this host, and all that is read and written could be read on the way: say https, or "
            "allow_unencrypted: true",
        )
    ]


_S3 = Section(
    {
        "url": Key(
            Text(
                pattern=r"https?://(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?/?",
                pattern_name="a URL such as https://store.example:9000",
            ),
            "Where the storage is reached.",
            required=True,
        ),
        "bucket": Key(BUCKET, "The bucket, addressed by path.", required=True),
        "client": Key(CLIENT, "The name it comes by, which S3 calls an access key.", required=True),
        "secret": Key(
            Text(format="secret"),
            "Name of the secret that is its password; without a colon and white space, which s3fs can't take.",
            required=True,
        ),
        "in_turn": Key(
            Boolean(),
            "It comes by C(<client>_a) and C(<client>_b) in turn, of a client with C(in_turn) there; each turn mounts "
            "anew.",
            default=False,
        ),
        "ca": Key(FILE, "CA of the storage's certificate; default: those the host trusts."),
        "uid": Key(Integer(0, 4294967294), "User that all in it belongs to.", default=0),
        "gid": Key(Integer(0, 4294967294), "Group that all in it belongs to.", default=0),
        "umask": Key(
            Text(pattern=r"0[0-7]{3}", pattern_name="a umask such as 0027"),
            "What others may not do.",
            default="0027",
        ),
        "allow_unencrypted": Key(Boolean(), "Come to others than this host without TLS.", default=False),
    },
    rules=(Rule("Beyond the host only with TLS, unless told.", _encrypted),),
)

MOUNT = Section(
    {
        **IDENTITY,
        "path": Key(PLACE, "Where it is mounted. An empty folder, made where there is none.", required=True),
        "s3": Key(_S3, "A bucket, by s3fs."),
        "nfs": Key(
            Text(
                pattern=r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]):/[A-Za-z0-9_./-]*",
                pattern_name="an export such as store.example:/imaging",
            ),
            "An export of an NFS server.",
        ),
        "directory": Key(PLACE, "A folder of this host, for storage that something else brings there."),
        "there": Key(
            Boolean(),
            "Something else mounts it: the role touches nothing there, and C(precheck) asks for whom it is kept.",
            default=False,
        ),
        "kept_for": Key(
            Integer(1, 4294967294),
            "User and group, by number, of programs that what lies there is kept for; C(precheck) refuses a host where "
            "somebody logs in with it.",
        ),
        "read_only": Key(Boolean(), "Nobody writes; health then lists and writes nothing.", default=False),
        "options": Key(Items(_OPTION), "Further options of the mount.", default=[]),
    },
    rules=(
        Rule("One thing is mounted.", _one_source),
        Rule("Options that the role sets, or that would open the mount, can't be set.", _options),
    ),
)


def _places(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    seen: dict[str, str] = {}
    breaches: list[tuple[Path, str]] = []
    for instance in values["instances"]:
        first = seen.setdefault(instance["path"], instance["name"])
        if first != instance["name"]:
            breaches.append(((instance["index"], "path"), f"'{instance['path']}' is where '{first}' is mounted"))
    return breaches


def check(instances: Any) -> list[dict[str, Any]]:
    """``s3fs_mounts`` with defaults and the names of their units. Raises RoleValueError."""
    checked = check_instances("s3fs_mounts", instances, MOUNT, (Rule("A path has one mount.", _places),))
    mounted = [{**one, "unit": unit_of(one["path"])} if is_present(one) else one for one in checked]
    return [{key: value for key, value in one.items() if key != "there" or value} for one in mounted]


_PACKAGES = Items(Text(), min_items=1)

VARIABLES: Mapping[str, Key] = {
    "s3fs_mounts": Key(Items(MOUNT), "The mounts of this host.", default=[]),
    "s3fs_packages": Key(_PACKAGES, "What mounts buckets; C(NAME=VERSION) pins.", default=["s3fs"]),
    "s3fs_nfs_packages": Key(_PACKAGES, "What mounts exports of NFS; C(NAME=VERSION) pins.", default=["nfs-common"]),
    "s3fs_health_timeout_seconds": Key(Integer(1, 3600), "How long a mount may take to answer.", default=60),
    "s3fs_watch_seconds": Key(
        Integer(5, 3600), "How often a mount that is gone is looked for, and mounted again.", default=15, unit="seconds"
    ),
}
"""All variables of the role."""


def _packages(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What present mounts need of the distribution."""
    present = [mount for mount in values["s3fs_mounts"] if is_present(mount)]
    by_source = {"s3": values["s3fs_packages"], "nfs": values["s3fs_nfs_packages"]}
    return {
        "names": [
            name
            for source, names in by_source.items()
            if any(mount.get(source) is not None for mount in present)
            for name in names
        ]
    }


ROLES = {"s3fs": VARIABLES}
PACKAGES = {"s3fs": _packages}
# a stage after the store's, whichever host that is on: a mount looks for its bucket when it begins
INFRASTRUCTURE = {"s3fs": "front"}
INSTANCES = {"s3fs_mounts": check}
