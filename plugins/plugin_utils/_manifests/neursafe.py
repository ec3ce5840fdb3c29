# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Neursafe's server and its clients have alike: a database, images, and jobs' pods in the namespace default."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .._federation import network
from .._federation.kinds.neursafe.placements import ENGINES
from .._images.record import digests_for
from . import neursafe_looks, parts
from .parts import Home, Looks, Object, Secrets

JOBS = "default"
"""Where the programs make jobs' pods and services: it is built in."""

JOBS_ACCOUNT = "default"
"""The account of these pods: they name none."""

SHARED = "shared"
PULL = "registry-secret"
DATABASE_SECRET = "pgsecret"  # noqa: S105 - the name of the Secret
OWNER_SECRET = "pgowner"  # noqa: S105 - the name of the Secret
TRUST = "trust"
TUNNEL = "tunnel"
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

TUNNEL_PORT = 27017
TUNNEL_SETUP = """\
worker_processes 1;
error_log /dev/stderr notice;
pid /tmp/tunnel.pid;

events {
    worker_connections 256;
}

stream {
    server {
        listen 127.0.0.1:@LISTEN@ so_keepalive=on;
        proxy_pass @HOST@:@PORT@;
        proxy_connect_timeout 10s;
        proxy_timeout 1h;
        proxy_ssl on;
        proxy_ssl_protocols TLSv1.2 TLSv1.3;
        proxy_ssl_trusted_certificate /trust/database.pem;
        proxy_ssl_verify on;
        proxy_ssl_verify_depth 3;
        proxy_ssl_name @HOST@;
        proxy_ssl_server_name on;
    }
}
"""

Instance = Mapping[str, Any]
Look = tuple[str, str, list[Any]]
"""What is looked at, in words; the look of ``neursafe_looks``; and what that takes."""

LOOKS = Path(neursafe_looks.__file__).read_text(encoding="utf-8")


class Neursafe:
    """One instance: its secrets are asked by their names, its files by their paths."""

    def __init__(self, instance: Instance, secret: Secrets, text: Callable[[str], str]) -> None:
        self.instance = instance
        self.settings = instance["settings"]
        self.home = Home(instance["name"])
        self.digests = _digests(instance["images"], text)
        self.secret = secret
        self.text = text
        self.hidden = list(self.secrets())
        self.trust = list(self.trusted())
        self.tunnel_files, self.tunnel_sidecar, self.tunnel_volumes = self._tunnel()

    def image(self, component: str, word: str) -> str:
        """The component's own image, or that of the registry with its digest or tag."""
        own = self.settings.get(component, {}).get("image")
        if own:
            return str(own)
        images = self.instance["images"]
        name = "/".join([*([images["registry"]] if "registry" in images else []), f"nsfl-{word}"])
        tag = f":{images['tag']}" if "tag" in images else ""
        return f"{name}{tag}@{self.digests[word]}" if word in self.digests else f"{name}{tag}"

    # -- secrets, and what is trusted

    def secrets(self) -> list[Object]:
        """The Secrets of database and registry."""
        database, images = self.instance["database"], self.instance["images"]
        found = [self._login(DATABASE_SECRET, database)]
        if "owner" in database:
            found.append(self._login(OWNER_SECRET, database["owner"]))
        if "pull" in images:
            found.append(self._pull_secret(self.home, PULL))
        return found

    def pulls(self) -> list[Object]:
        """What jobs' pods are pulled with: they name no Secret, so their account does."""
        if self.pull is None:
            return []
        home, name = Home(JOBS), self.home.namespace
        return [self._pull_secret(home, name), parts.pulling_account(home, JOBS_ACCOUNT, name)]

    def _pull_secret(self, home: Home, name: str) -> Object:
        images = self.instance["images"]
        password, registry = self.secret(images["pull"]["secret"]), images.get("registry", "").partition("/")[0]
        return parts.pull_secret(home, name, registry, images["pull"]["username"], password)

    def job(self, image: str, folder: str) -> Object:
        """A pod as the programs make them (pod_template.json): whoever the image says, with files of its node."""
        container = {
            "name": "job",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "ports": [{"containerPort": 50051}],
            "volumeMounts": [{"name": "files", "mountPath": "/fl"}],
        }
        volumes = [{"name": "files", "hostPath": {"path": folder}}]
        spec = {"restartPolicy": "Never", "containers": [container], "volumes": volumes}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": Home(JOBS).metadata(self.home.namespace), "spec": spec}

    def login(self, login: Mapping[str, Any]) -> dict[str, str]:
        """Its name and its password, of one that comes in turns those of the newest."""
        suffix = f"_{self.secret.turn(login['secret'])}" if login.get("in_turn") else ""
        return {"username": f"{login['username']}{suffix}", "password": self.secret(login["secret"])}

    def _login(self, name: str, login: Mapping[str, Any]) -> Object:
        return parts.opaque(self.home, name, self.login(login))

    def trusted(self) -> list[Object]:
        """CAs of the database and of S3, where they are not public ones."""
        told = {word: self.instance.get(word, {}).get("ca") for word in ("database", "storage")}
        files = {f"{word}.pem": parts.certificates(path, self.text(path)) for word, path in told.items() if path}
        return [parts.config_map(self.home, TRUST, files)] if files else []

    def trust_mounts(self) -> tuple[list[Object], list[Object]]:
        """The mounts and the volumes of what is trusted."""
        if not self.trust:
            return [], []
        return [parts.files_mount(TRUST, "/trust")], [parts.files_volume(TRUST)]

    def reads(self, *names: str) -> list[Object]:
        """The Secrets of these names, and what every pod has; who reads the database's may need the way there."""
        known = (*self.hidden, *self.trust, *(self.tunnel_files if DATABASE_SECRET in names else []))
        return [one for one in known if one["metadata"]["name"] in (*names, PULL, TRUST, TUNNEL)]

    @property
    def pull(self) -> str | None:
        return PULL if "pull" in self.instance["images"] else None

    # -- the database

    def database(self, collection: str) -> tuple[dict[str, Any], dict[str, tuple[str, str]]]:
        """The variables that say where it is, and those of its Secret."""
        database = self.instance["database"]
        plain = {
            "DB_TYPE": ENGINES[database["engine"]],
            "DB_ADDRESS": f"127.0.0.1:{TUNNEL_PORT}" if self.tunnelled else database["address"],
            "DB_NAME": database["name"],
            "DB_COLLECTION_NAME": collection,
        }
        if "ca" in database and not self.tunnelled:  # libpq's own variables: the programs say nothing of TLS
            plain |= {"PGSSLMODE": "verify-full", "PGSSLROOTCERT": "/trust/database.pem"}
        return plain, {"DB_USERNAME": (DATABASE_SECRET, "username"), "DB_PASSWORD": (DATABASE_SECRET, "password")}

    def table(self, image: str, collection: str) -> Object:
        """The container that makes a component's table before it starts, since the program wants it to be there."""
        trusted, _volumes = self.trust_mounts()
        plain, hidden = self.database(collection)
        if "owner" in self.instance["database"]:
            hidden = {name: (OWNER_SECRET, key) for name, (_secret, key) in hidden.items()}
        return parts.container(
            "table",
            image,
            env=parts.environment({**self.program(), **plain}, hidden),
            resources={"cpu": "50m", "memory": "256Mi"},
            mounts=trusted,
            command=["python3.7", "-c", TABLE],
        )

    @property
    def tunnelled(self) -> bool:
        """Whether the database is reached by a sidecar: with MongoDB the programs can't do TLS."""
        database = self.instance["database"]
        return "ca" in database and ENGINES[database["engine"]] == "mongo"

    def _tunnel(self) -> tuple[list[Object], list[Object], list[Object]]:
        """The ConfigMap, sidecar and volume of what the programs reach on loopback, and leads to MongoDB by TLS.

        It is the proxy's image unless told, whose nginx is there anyway.
        """
        if not self.tunnelled:
            return [], [], []
        trusted, _volumes = self.trust_mounts()
        files = parts.config_map(self.home, TUNNEL, {"nginx.conf": self._tunnel_setup()})
        sidecar = parts.container(
            TUNNEL,
            self.instance["images"].get("tunnel") or self.image("proxy", "proxy"),
            resources={"cpu": "50m", "memory": "64Mi"},
            mounts=[parts.files_mount(TUNNEL, "/tunnel"), *trusted],
            command=["nginx", "-p", "/tmp", "-c", "/tunnel/nginx.conf", "-g", "daemon off;"],  # noqa: S108 - the pod's own
        )
        return [files], [{**sidecar, "restartPolicy": "Always"}], [parts.files_volume(TUNNEL)]

    def _tunnel_setup(self) -> str:
        host, port = network.split(self.instance["database"]["address"])
        return TUNNEL_SETUP.replace("@LISTEN@", str(TUNNEL_PORT)).replace("@HOST@", host).replace("@PORT@", str(port))

    def aliases(self) -> dict[str, list[str]]:
        """Names that pods know without asking for them, by their address."""
        database = self.instance["database"]
        return {database["at"]: [network.split(database["address"])[0]]} if "at" in database else {}

    def to_database(self) -> Object:
        host, port = network.split(self.instance["database"]["address"])
        return parts.way(parts.address_block(self.instance["database"].get("at", host)), port, towards="to")

    # -- what is tried inside of its pods

    def looks_of(self, deployment: str, *looks: Look, **more: Any) -> Looks:
        """These, by the program's own Python."""
        command = ("python3.7", "-c", LOOKS, json.dumps(looks))
        return Looks(self.home.namespace, deployment, command, **more)

    def look_at_rows(self) -> Look:
        """Only who doesn't own tables is to make none."""
        return ("the database takes rows", "writes_rows", ["owner" in self.instance["database"]])

    def program(self) -> dict[str, Any]:
        """The variables that every program has."""
        return {"PYTHONDONTWRITEBYTECODE": "1", "LOG_LEVEL": self.settings["others"]["log_level"]}


def _digests(images: Mapping[str, Any], text: Callable[[str], str]) -> dict[str, str]:
    """By component; of what was built those that were recorded, or none where nobody looks at them."""
    recorded = text(images["record"]) if "record" in images else ""
    return {**(digests_for(images, recorded) if recorded else {}), **images["digests"]}


def recorded_in(images: Mapping[str, Any]) -> list[str]:
    """The file with digests, of images that were built."""
    return [images["record"]] if "record" in images else []


def secret_names(instance: Instance) -> list[str]:
    """The names of the secrets of database and registry."""
    database = instance["database"]
    logins = [database, database.get("owner", {}), instance["images"].get("pull", {})]
    return [login["secret"] for login in logins if "secret" in login]
