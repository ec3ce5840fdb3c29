# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Neursafe's server and its clients have alike: a database, images, and jobs' pods in the namespace default."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .._federation import network
from .._federation.kinds.neursafe.placements import ENGINES
from . import parts
from .parts import Home, Object

JOBS = "default"
"""Where the programs make jobs' pods and services: it is built in."""

SHARED = "shared"
PULL = "registry-secret"
DATABASE_SECRET = "pgsecret"  # noqa: S105 - the name of the Secret
TRUST = "trust"
API_PORTS = (443, 6443)
KUBECTL_PATHS = tuple(f"^/api/v1/namespaces/{JOBS}/{kind}(/[^/]*)?$" for kind in ("pods", "services"))
MAKES_JOBS = dict.fromkeys(("pods", "services"), ("create", "get", "delete"))

TABLE = """\
import os

from neursafe_fl.python.libs.db import errors
from neursafe_fl.python.libs.db.db_factory import create_db

name = os.environ["DB_COLLECTION_NAME"]
database = create_db(
    os.environ["DB_TYPE"],
    db_server=os.environ["DB_ADDRESS"],
    db_name=os.environ["DB_NAME"],
    user=os.environ["DB_USERNAME"],
    pass_word=os.environ["DB_PASSWORD"],
)
try:
    database.get_collection(name)
except errors.CollectionNotExisting:
    try:
        database.create_collection(name)
    except errors.CollectionAlreadyExisting:
        pass
"""
"""Makes a table, or a collection, where there is none: by the program's own code, so it is as the program wants it."""

Instance = Mapping[str, Any]


class Neursafe:
    """One instance: its secrets are asked by their names, its files by their paths."""

    def __init__(self, instance: Instance, secret: Callable[[str], str], text: Callable[[str], str]) -> None:
        self.instance = instance
        self.settings = instance["settings"]
        self.home = Home(instance["name"])
        self.secret = secret
        self.text = text
        self.hidden = list(self.secrets())
        self.trust = list(self.trusted())

    def image(self, component: str, word: str) -> str:
        """The component's own image, or that of the registry with its digest or tag."""
        own = self.settings[component].get("image")
        if own:
            return str(own)
        images = self.instance["images"]
        name = "/".join([*([images["registry"]] if "registry" in images else []), f"nsfl-{word}"])
        tag = f":{images['tag']}" if "tag" in images else ""
        return f"{name}{tag}@{images['digests'][word]}" if word in images["digests"] else f"{name}{tag}"

    # -- secrets, and what is trusted

    def secrets(self) -> list[Object]:
        """The Secrets of database and registry."""
        database, images = self.instance["database"], self.instance["images"]
        login = {"username": database["username"], "password": self.secret(database["secret"])}
        found = [parts.opaque(self.home, DATABASE_SECRET, login)]
        if "pull" in images:
            password, registry = self.secret(images["pull"]["secret"]), images.get("registry", "").partition("/")[0]
            found.append(parts.pull_secret(self.home, PULL, registry, images["pull"]["username"], password))
        return found

    def trusted(self) -> list[Object]:
        """CAs of the database and of S3, where they are not public ones."""
        told = {word: self.instance.get(word, {}).get("ca") for word in ("database", "storage")}
        files = {f"{word}.pem": self.text(path) for word, path in told.items() if path}
        return [parts.config_map(self.home, TRUST, files)] if files else []

    def trust_mounts(self) -> tuple[list[Object], list[Object]]:
        """The mounts and the volumes of what is trusted."""
        if not self.trust:
            return [], []
        return [parts.files_mount(TRUST, "/trust")], [parts.files_volume(TRUST)]

    def reads(self, *names: str) -> list[Object]:
        """The Secrets of these names, and what every pod has."""
        return [one for one in (*self.hidden, *self.trust) if one["metadata"]["name"] in (*names, PULL, TRUST)]

    @property
    def pull(self) -> str | None:
        return PULL if "pull" in self.instance["images"] else None

    # -- the database

    def database(self, collection: str) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
        """The variables that say where it is, and those of its Secret."""
        database = self.instance["database"]
        plain = {
            "DB_TYPE": ENGINES[database["engine"]],
            "DB_ADDRESS": database["address"],
            "DB_NAME": database["name"],
            "DB_COLLECTION_NAME": collection,
        }
        if "ca" in database:  # libpq's own variables: the programs say nothing of TLS
            plain |= {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/trust/database.pem"}
        return plain, {"DB_USERNAME": (DATABASE_SECRET, "username"), "DB_PASSWORD": (DATABASE_SECRET, "password")}

    def table(self, image: str, collection: str) -> Object:
        """The container that makes a component's table before it starts, since the program wants it to be there."""
        trusted, _volumes = self.trust_mounts()
        plain, hidden = self.database(collection)
        return parts.container(
            "table",
            image,
            env=parts.environment({**self.program(), **plain}, hidden),
            resources={"cpu": "50m", "memory": "256Mi"},
            mounts=trusted,
            command=["python3.7", "-c", TABLE],
        )

    def to_database(self) -> Object:
        host, port = network.split(self.instance["database"]["address"])
        return parts.way(parts.address_block(host), port, towards="to")

    def program(self) -> dict[str, Any]:
        """The variables that every program has."""
        return {"PYTHONDONTWRITEBYTECODE": "1", "LOG_LEVEL": self.settings["others"]["log_level"]}


def secret_names(instance: Instance) -> list[str]:
    """The names of the secrets of database and registry."""
    logins = [instance["database"], instance["images"].get("pull", {})]
    return [login["secret"] for login in logins if "secret" in login]
