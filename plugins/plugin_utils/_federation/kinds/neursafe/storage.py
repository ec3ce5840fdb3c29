# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is behind the shared directory: MinIO on a host, which nodes mount folder by folder, an export, or neither.

The programs take a folder of the shared directory for a bucket of S3: the model manager copies from `namespace` to
`models` by S3, and coordinators read the same by path. So each folder is a bucket, mounted where the folder is.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ... import certificates, network
from ...expanding import Roster, endpoint
from ...model import Certificate, Endpoint, Flow, Path, Secret
from .hosted import Hosted

if TYPE_CHECKING:
    from .topology import Topology

COMPONENT = "storage"
NODES = "nodes"
MOUNTS = "s3fs_mounts"
UMASK = "0007"

MODELS = "models"
OPERATORS = "operators"
LOGINS = {
    MODELS: "the model manager's",
    NODES: "the nodes'",
    OPERATORS: "that of operators, who use nsfl-ctl,",
}
"""Who comes to the store: each a user with a policy of its own."""

IN_TURN = (MODELS, NODES)
"""Those that have two logins used in turn; people have one."""

_BUCKET = re.compile(r"(?=.{3,63}\Z)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")


class Storage(Hosted):
    """The stack's; on a host of ours it is a MinIO."""

    def __init__(self, topology: Topology) -> None:
        super().__init__(topology, topology.stack.placements[COMPONENT])

    # -- its buckets

    @property
    def _models(self) -> str:
        return str(self.topology.settings["model_manager"]["models_dir"])

    @cached_property
    def buckets(self) -> dict[str, str]:
        """The bucket of each folder of the shared directory."""
        configs = self.topology.settings["job_scheduler"]["coordinator_configs_dir"]
        named = {folder: folder for folder in (self._models, *self.topology.stack.options["namespaces"])}
        # nobody asks S3 for this one, so its bucket may have another name
        return {configs: configs.lower().replace("_", "-"), **named}

    def _asked_for(self) -> Iterator[tuple[str, Path]]:
        """The folders that are buckets to programs, by their own names."""
        yield self._models, (*self.topology.stack.path, "settings", "model_manager", "models_dir")
        for index, name in enumerate(self.topology.stack.options["namespaces"]):
            yield name, (*self.topology.stack.path, "namespaces", index)

    # -- what can't be

    def check(self) -> None:
        if self.hosted or (self.place.external or {}).get("type") == "s3":
            self._check_buckets()
        if self.hosted:
            self.topology.check_owner(self.place)
            self._check_address()
        self._check_nodes()

    def _check_buckets(self) -> None:
        for name, path in self._asked_for():
            if not _BUCKET.fullmatch(name):
                message = f"'{name}' can't be a bucket of S3: 3 to 63 of a-z, 0-9, '-' and '.', neither at its ends"
                self.topology.report.mistake(path, message)
        told = (*self.topology.stack.path, "settings", "job_scheduler", "coordinator_configs_dir")
        folder, bucket = next(iter(self.buckets.items()))
        if not _BUCKET.fullmatch(bucket):
            self.topology.report.mistake(told, f"'{folder}' can't be a bucket of S3: 3 characters or more")
        elif list(self.buckets.values()).count(bucket) > 1:
            self.topology.report.mistake(told, f"'{folder}' would be the bucket '{bucket}', which another folder is")

    def _check_address(self) -> None:
        if self.address in network.WILDCARDS:
            self.topology.report.mistake(
                (*self.place.path, "bind"), f"'{self.address}' is every address of the host: choose one"
            )
        elif self.address and ipaddress.ip_address(self.address).is_loopback:
            self.topology.report.mistake((*self.place.path, "bind"), f"'{self.address}' can't be reached from nodes")

    def _check_nodes(self) -> None:
        nodes, stack = self.topology.nodes, self.topology.stack
        if self.hosted and not nodes.hosts:
            way_out = "name the cluster's nodes, which mount the shared directory"
            self.topology.report.mistake(stack.path, f"the key 'nodes' is missing: {way_out}")
        elif self.export and not nodes.hosts:
            message = "is mounted on `nodes`, and none are named"
            self.topology.report.mistake((*self.place.path, "external", "nfs"), message)
        for host in nodes.hosts:
            if self.hosted and self.topology.party_of(host) != self.topology.owner.name:
                message = f"host '{host}' is of another party than the storage: both are one party's"
                self.topology.report.mistake((*nodes.path, nodes.where), message)

    @property
    def export(self) -> str | None:
        """Of NFS."""
        return (self.place.external or {}).get("nfs")

    # -- what roles get

    def of_server(self) -> dict[str, Any]:
        """As the server's instance has it."""
        if not self.hosted:
            told = self.topology.beside(self.place.external or {}, "ca")
            return {key: value for key, value in told.items() if key != "nfs"}
        return {
            "type": "s3",
            "address": self.endpoint().internal,
            "username": MODELS,
            "secret": self._secret(MODELS),
            "in_turn": True,
            **self.topology.authority_file(),
        }

    def of_operators(self, ca: str) -> dict[str, Any]:
        """As nsfl-ctl comes to it, with the CA's file on their host."""
        return {"url": self.endpoint().internal, "user": OPERATORS, "secret": self._secret(OPERATORS), "ca": ca}

    def _secret(self, login: str) -> str:
        return f"{self.topology.stack.name}_{login}_storage"

    def endpoint(self) -> Endpoint:
        return endpoint(self.place, self.host, "s3", self.address, self.place.listening_port, scheme="https")

    def add(self, roster: Roster) -> None:
        """MinIO, and what nodes mount."""
        for host in self.place.hosts:
            roster.present("minio", COMPONENT, COMPONENT, host, self._minio(), [self.endpoint()])
        for host in self.place.absent:
            roster.absent("minio", COMPONENT, COMPONENT, host)
        mounts, nodes = dict(self._mounts()), self.topology.nodes
        for host in nodes.hosts:
            for word, values in mounts.items():
                roster.present("s3fs", NODES, word, host, values, variable=MOUNTS)
        for host in self._former_nodes:
            for word in mounts or dict(self._by_bucket({})):
                roster.absent("s3fs", NODES, word, host, variable=MOUNTS)

    @property
    def _former_nodes(self) -> tuple[str, ...]:
        """Where nothing is to be mounted any more."""
        nodes = self.topology.nodes
        return (*nodes.absent, *(() if self.there else nodes.hosts))

    def _minio(self) -> dict[str, Any]:
        files, names = self.topology.paths(COMPONENT), list(dict.fromkeys(self.buckets.values()))
        spaces = [name for name in self.topology.stack.options["namespaces"] if name != self._models]
        return {
            "address": self.address,
            "port": self.place.listening_port,
            "public_url": self.endpoint().internal,
            "tls": {"certificate": files["chain"], "key": files["key"], "ca": files["ca"]},
            "buckets": [{"name": name} for name in names],
            "clients": [
                self._client(MODELS, self._models, "write", spaces, "read"),
                self._client(NODES, names[0], "write", names[1:], "write"),
                self._client(OPERATORS, self._models, "write", spaces, "write"),
            ],
        }

    def _client(self, login: str, bucket: str, access: str, others: list[str], further: str) -> dict[str, Any]:
        also = [{"bucket": name, "access": further} for name in others]
        known = {"name": login, "secret": self._secret(login), "in_turn": login in IN_TURN}
        return {**known, "bucket": bucket, "access": access, "also": also}

    def _mounts(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """By component, what a node mounts."""
        directory = self.topology.server.options["shared_directory"]
        user = self.topology.server.options["user"]
        if self.export:
            yield "files", {"path": directory, "nfs": self.export, "kept_for": user}
        elif self.there and not self.hosted:
            yield "files", {"path": directory, "there": True, "kept_for": user}
        elif self.hosted:
            yield from self._by_bucket(
                {
                    "url": self.endpoint().internal,
                    "client": NODES,
                    "secret": self._secret(NODES),
                    "in_turn": True,
                    "ca": self.topology.paths(NODES)["ca"],
                    "uid": user,
                    "gid": user,
                    "umask": UMASK,
                }
            )

    def _by_bucket(self, s3: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        directory = self.topology.server.options["shared_directory"]
        for folder, bucket in self.buckets.items():
            kept = {"kept_for": s3["uid"]} if s3 else {}
            yield f"files-{bucket}", {"path": posixpath.join(directory, folder), "s3": {**s3, "bucket": bucket}, **kept}

    # -- what it needs

    def certificates(self) -> Iterator[Certificate]:
        """What the store shows, and what nodes trust."""
        name, authority = self.topology.instance_of(COMPONENT), self.topology.authority.name
        for host in self.place.hosts:
            names, addresses = certificates.serving_names(self.place, self.host, self.address, name)
            yield Certificate(name, host, authority, certificates.common_name(name, host), names, addresses)
        for host in self.place.absent:
            yield Certificate(name, host, "", "", state="absent")
        name, nodes = self.topology.instance_of(NODES), self.topology.nodes
        for host in nodes.hosts if self.hosted else ():
            yield certificates.trusted(name, host, authority)
        for host in self._former_nodes:
            yield Certificate(name, host, "", "", state="absent")

    def secrets(self) -> Iterator[Secret]:
        party = self.topology.owner.name
        external = self.place.external or {}
        if "secret" in external and self.topology.server.places:
            yield Secret(external["secret"], party, f"the password of '{external['username']}' in the storage")
        for login, whose in LOGINS.items() if self.hosted else ():
            purpose = f"{whose} password for the store of '{self.topology.stack.name}'"
            yield Secret(self._secret(login), party, purpose, in_turn=login in IN_TURN)

    def flows_of_operators(self, source: str) -> Iterator[Flow]:
        """Of those who run jobs, with nsfl-ctl."""
        if self.hosted and source != self.place.hosts[0]:
            port = self.place.listening_port
            yield Flow(source, self.place.hosts[0], port, "models and jobs' files", "TLS, signatures")

    def flows(self) -> Iterator[Flow]:
        """To the store: nodes mount it, pods of the model manager and operators ask it."""
        external = self.place.external or {}
        if self.hosted:
            host, port, words = self.place.hosts[0], self.place.listening_port, "TLS, signatures"
            for source in self.topology.sources:
                if source != host:
                    yield Flow(source, host, port, "models and jobs' files", words)
        elif "address" in external and self.topology.server.places:
            url = network.parse_url(external["address"])
            port = url.port or network.DEFAULT_PORTS[url.scheme]
            words = "TLS, signatures" if url.scheme == "https" else "signatures"
            yield Flow(self.topology.server.places[0], url.host, port, "models", words, address=url.host)
        if self.hosted and not self.topology.operators.place.hosts:
            yield from self.flows_of_operators("operators")
        if self.export:
            server = self.export.rpartition(":/")[0].strip("[]")
            for host in self.topology.nodes.hosts:
                yield Flow(host, server, 2049, "the shared directory", "by address", address=server)
