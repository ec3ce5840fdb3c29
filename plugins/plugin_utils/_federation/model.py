# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a document means, once it is read: the dataclasses every other part of the library speaks in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any, Literal

State = Literal["present", "absent"]

Path = tuple[str | int, ...]
"""The way to a value in the document: ``("stacks", "lenet", "servers", "hosts", 1)``."""


MAX_INSTANCE_NAME = 64
"""Characters of an instance's name: units, files and folders on hosts have it."""

MAX_CERTIFICATE_NAME = 128


@dataclass(frozen=True, slots=True)
class Position:
    """Where something stands in a file; line and column count from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Host:
    """A machine of a party.

    ``internal`` are the numeric addresses its components listen on (IPv4 first when both are there); empty when the
    document gives a name only. ``ssh`` is what the controller connects to.
    """

    name: str
    party: str
    ssh: str
    internal: tuple[str, ...]
    public_name: str | None = None
    connection: Mapping[str, Any] = field(default_factory=dict)
    state: State = "present"
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Party:
    """An organisation with hosts, keys and a CA of its own; an external one has no hosts of ours, only a CA file.

    ``time_sync`` is empty where its hosts' clocks are not ours to look at, ``firewall`` where their rules aren't.
    """

    name: str
    external: bool = False
    pki_mode: Literal["ownca", "csr", "provided", "acme"] = "ownca"
    pki: Mapping[str, Any] = field(default_factory=dict)
    time_sync: Mapping[str, Any] = field(default_factory=dict)
    firewall: Mapping[str, Any] = field(default_factory=dict)
    ca: str | None = None
    hosts: Mapping[str, Host] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kubernetes cluster of a party."""

    name: str
    party: str
    kubeconfig: str

    @property
    def host(self) -> str:
        """The inventory's host that stands for it."""
        return cluster_host(self.name)


def cluster_host(cluster: str) -> str:
    """The name of the host that stands for a cluster: what runs in the cluster is placed there."""
    return f"cluster-{cluster}"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a role of a stack runs: on ``hosts`` of ours, in a cluster, with an external party, or ``external`` to all.

    ``absent`` are the hosts it is to be removed from: named so, or the stack, the host or the placement is absent; no
    host is in both. So ``absent_cluster`` is the one it is to be removed from; of an absent placement ``party`` and
    ``external`` are None, since what others run is theirs to remove. ``settings`` are those given in the document, no
    defaults among them; ``options`` are the kind's other keys, with defaults. ``where`` is the key that says where.
    """

    hosts: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    cluster: str | None = None
    absent_cluster: str | None = None
    party: str | None = None
    external: Mapping[str, Any] | None = None
    port: int | None = None
    bind: str | None = None
    internal_url: str | None = None
    public_url: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = "host"
    path: Path = ()

    @property
    def places(self) -> tuple[str, ...]:
        """Where it runs: its hosts, or the host that stands for its cluster."""
        return self.hosts if self.cluster is None else (cluster_host(self.cluster),)

    @property
    def absent_places(self) -> tuple[str, ...]:
        """Where it is to be removed."""
        return self.absent if self.absent_cluster is None else (*self.absent, cluster_host(self.absent_cluster))

    def gone(self) -> Placement:
        """The same, absent from everywhere, and all that is placed in it."""
        return replace(
            self,
            hosts=(),
            absent=tuple(dict.fromkeys((*self.hosts, *self.absent))),
            cluster=None,
            absent_cluster=self.absent_cluster or self.cluster,
            party=None,
            external=None,
            options=gone(self.options),
        )

    @property
    def listening_port(self) -> int:
        """The port, of a role that has one: then there is a default."""
        if self.port is None:
            raise AssertionError(f"{'.'.join(map(str, self.path))}: a placement of this role has no port")
        return self.port


def gone(value: Any) -> Any:
    """The value with every placement in it absent from everywhere."""
    if isinstance(value, Placement):
        return value.gone()
    if isinstance(value, Mapping):
        return {key: gone(child) for key, child in value.items()}
    if isinstance(value, list):
        return [gone(child) for child in value]
    return value


@dataclass(frozen=True, slots=True)
class Stack:
    """One system of a federation. ``placements`` by role word of the document, ``options`` the kind's other keys.

    ``settings`` are those given in the document, no defaults among them. Of an absent stack every placement's hosts are
    in its ``absent``.
    """

    name: str
    kind: str
    state: State
    tls: bool
    settings: Mapping[str, Any]
    placements: Mapping[str, Placement]
    options: Mapping[str, Any] = field(default_factory=dict)
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Federation:
    """A whole document, seen by ``viewpoint`` (a party's name) or by everybody (None).

    ``directory`` is the one relative paths of the document start from, ``state_directory`` the one playbooks write to,
    which is the working copy where ``state`` is the URL of a repository; ``sources`` are the files it was read from,
    ``signers`` the keys that the viewpoint believes of other parties.
    ``digest`` is the sha256 of the document as it was read, without an overlay.
    ``expansions`` is what each stack became, by its name; empty while kinds are asked.
    ``warnings`` are lines that whoever loads it is to read.
    """

    name: str
    directory: str
    state_directory: str
    parties: Mapping[str, Party]
    clusters: Mapping[str, Cluster]
    stacks: Mapping[str, Stack]
    viewpoint: str | None = None
    expansions: Mapping[str, Expansion] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    signers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    digest: str = ""
    state: str = ""
    warnings: tuple[str, ...] = ()

    def own_hosts(self) -> Iterator[Host]:
        """The hosts that are ours to manage: everybody's, or the viewpoint's."""
        for party in self.parties.values():
            if self.viewpoint in (None, party.name):
                yield from party.hosts.values()

    def own_clusters(self) -> Iterator[Cluster]:
        """The clusters that are ours to manage."""
        yield from (each for each in self.clusters.values() if self.viewpoint in (None, each.party))

    def host(self, name: str) -> Host:
        """The host of that name; KeyError when no party has it."""
        for party in self.parties.values():
            if name in party.hosts:
                return party.hosts[name]
        raise KeyError(name)

    def party_of(self, place: str) -> str:
        """Whose a host is, or the cluster that a host stands for; KeyError when it is nobody's."""
        clusters = {cluster.host: cluster.party for cluster in self.clusters.values()}
        return clusters[place] if place in clusters else self.host(place).party


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One place a component is reached at. ``port`` None is the host's ephemeral range.

    ``purpose`` is a word of the kind (``http``, ``rest``, ``tcp``). ``internal`` is what the party's own components
    use, ``public`` what clients and other parties do; where the two are equal other parties aren't told of it.
    ``names`` are those that clients ask for, where sites on one address and port are told apart by them (nginx'
    ``server_names``).
    """

    purpose: str
    address: str
    port: int | None
    protocol: Literal["tcp", "udp"] = "tcp"
    internal: str = ""
    public: str = ""
    names: tuple[str, ...] = ()
    path: Path = ()


@dataclass(frozen=True, slots=True)
class Component:
    """One running process of a stack in one place: the instance ``name`` of the role ``role``.

    ``host`` is a host, or the one that stands for a cluster; empty for what the external ``party`` runs.
    """

    name: str
    stack: str
    placement: str
    role: str
    host: str
    state: State = "present"
    endpoints: tuple[Endpoint, ...] = ()
    party: str = ""


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA of a party. Beside the party's own there is one for each service that trusts every certificate of its CA.

    Of a CA that others run ``ca`` is the file beside the document with its certificate, ``crl`` the one with what it
    has withdrawn.
    """

    name: str
    party: str
    mode: str
    common_name: str
    ca: str | None = None
    crl: str | None = None


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a host's certificate is to say; keys are made on ``host`` and never leave it.

    One without usages is none, but only the CAs that something there trusts: ``certificates.trusted``.
    ValueError for an address that is none to be reached at, as a wildcard to listen on is.
    """

    name: str
    host: str
    authority: str
    common_name: str
    dns_names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    usages: tuple[Literal["server", "client"], ...] = ("server",)
    formats: tuple[Literal["pem", "pkcs12"], ...] = ("pem",)
    trust: tuple[str, ...] = ()
    state: State = "present"

    def __post_init__(self) -> None:
        for address in self.addresses:
            if ip_address(address).is_unspecified:
                raise ValueError(f"certificate '{self.name}': {address} stands for every address of a host")


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret a party needs, by name: the value is never part of the model.

    ``kind`` and ``length`` are those of the module ``secrets``, which makes it. ``maker`` is the party that does, where
    two share a value: then each has a Secret of this name, and the maker's own has none. ``in_turn`` is the password
    of a client that has two logins, used in turn, so that it can be replaced.
    """

    name: str
    party: str
    purpose: str
    kind: Literal["password", "passphrase", "hex", "base64url"] = "password"
    length: int | None = None
    maker: str = ""
    in_turn: bool = False


@dataclass(frozen=True, slots=True)
class Proof:
    """Names that a host proves to an ACME server to be its own, and the address that they lead to."""

    host: str
    address: str
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection the federation needs. ``port`` None is the destination's ephemeral range.

    Source and destination are hosts, parties, networks, or words such as ``clients``; ``address`` is where a
    destination is reached that is no host of ours. ``stack`` is told where flows of several are listed.
    """

    source: str
    destination: str
    port: int | None
    purpose: str
    authentication: str
    protocol: Literal["tcp", "udp"] = "tcp"
    address: str = ""
    stack: str = ""


@dataclass(frozen=True, slots=True)
class RoundPart:
    """One host's part in a round whose numbers are known beforehand.

    ``participants`` are the instances there that end with ``expected``, give or take ``max_error``, within ``timeout``
    seconds, and leave it in ``result.json`` (docs/architecture.md, Verify). ``variables``: role variable -> the
    transient instances that are brought for the round; none where the participants are deployed ones. ``conditions``
    is what else the report tells of the round.
    """

    expected: tuple[float, ...]
    max_error: float
    timeout: int
    seed: int | None = None
    participants: tuple[str, ...] = ()
    variables: Mapping[str, list[dict[str, Any]]] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Kit:
    """With what machines that nobody deploys to from here take part: ``role`` writes it, by its entry point ``kit``.

    ``variables`` are the role's: its list with the one instance, and what of the control node goes along.
    """

    role: str
    variables: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Expansion:
    """What a kind makes of a stack.

    ``variables``: host name -> role variable -> list of instances. ``verify``: host name -> its part in the verify
    round, whose components are ``transient``. ``held``: what has ports of hosts and is nobody's to deploy there.
    ``known``: host name -> what its deployed participants are known to end with. ``flows``: whom firewalls of its hosts
    let in; ``fetched``: what hosts and the control node get from outside. ``open_files``: host name -> how many a
    process there must be allowed, 0 where nothing of the stack needs them any more. ``proofs``: of hosts whose
    certificates an ACME server signs. ``max_skew_ms``: how far the clocks of its hosts may be off, where the system
    minds. ``kit``: with what machines take part that nobody deploys to from here, where any can. ``real`` is False
    where doubles stand in for the system's programs: a round of theirs never counts as passed.
    """

    components: tuple[Component, ...] = ()
    authorities: tuple[Authority, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    secrets: tuple[Secret, ...] = ()
    proofs: tuple[Proof, ...] = ()
    flows: tuple[Flow, ...] = ()
    fetched: tuple[Flow, ...] = ()
    variables: Mapping[str, Mapping[str, list[dict[str, Any]]]] = field(default_factory=dict)
    verify: Mapping[str, RoundPart] = field(default_factory=dict)
    transient: tuple[Component, ...] = ()
    held: tuple[Component, ...] = ()
    known: Mapping[str, RoundPart] = field(default_factory=dict)
    open_files: Mapping[str, int] = field(default_factory=dict)
    max_skew_ms: int | None = None
    kit: Kit | None = None
    real: bool = True
