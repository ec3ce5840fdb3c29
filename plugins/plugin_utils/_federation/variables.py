# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A federation becomes an inventory: hosts, groups, and the variables of each.

Values that are equal for many hosts are one object, and groups carry what is equal for a group: ten thousand hosts of a
stack cost ten thousand small dictionaries and no more.
"""

from __future__ import annotations

import posixpath
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from .._pki.names import certificate_file, list_file, public_path, secret_name, taken_path
from .._roles.catalogue import INFRASTRUCTURE, SHARED
from .._roles.nginx import OPEN_FILES, least_open_files
from . import acme, certificates, network
from .firewall import Guard
from .kinds import kinds
from .loading import group_name
from .model import Authority, Cluster, Component, Endpoint, Expansion, Federation, Host, RoundPart, Secret, Stack
from .stages import STAGES, stage_groups, stage_of

HOST_PYTHON = "/usr/bin/python3"

SIGNER_SECRET = "exchange_signer"  # noqa: S105 - its name
"""The secret that encrypts the key by which a party signs what it hands to partners."""


@dataclass(slots=True)
class Group:
    """A group of the inventory."""

    hosts: list[str] = field(default_factory=list)
    variables: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Inventory:
    """What Ansible is told: each host's variables, and the groups."""

    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)


def inventory(federation: Federation, document: str = "") -> Inventory:
    """The inventory of a federation, or of the viewpoint's party; ``document`` is the file it was loaded from."""
    return _Inventory(federation, document).build()


def _role_order() -> dict[str, int]:
    """Every role's place in the order of roles."""
    own = [role for kind in kinds().values() for role in kind.ROLES]
    return {role: index for index, role in enumerate([*INFRASTRUCTURE, *own])}


@dataclass(slots=True)
class _Part:
    """What one host, or one cluster, has of all stacks, while it is gathered."""

    roles: set[str] = field(default_factory=set)
    round_roles: set[str] = field(default_factory=set)
    stacks: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    stops: dict[str, dict[str, list[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    services: list[str] = field(default_factory=list)
    sites: list[str] = field(default_factory=list)
    certificates: list[str] = field(default_factory=list)
    instances: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    authorities: dict[str, None] = field(default_factory=dict)
    verify: dict[str, Any] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    open_files: int = 0
    max_skew_ms: int | None = None
    firewall: dict[str, Any] = field(default_factory=dict)


def _round(part: RoundPart) -> dict[str, Any]:
    """A host's part in a round, with the unit and the result file of each participant."""
    results = [
        {"instance": name, "unit": f"fedlearn-{name}.service", "path": f"/var/lib/fedlearn-{name}/result.json"}
        for name in part.participants
    ]
    return {
        "expected": list(part.expected),
        "max_error": part.max_error,
        "seed": part.seed,
        "timeout": part.timeout,
        "results": results,
        "conditions": dict(part.conditions),
        "variables": dict(part.variables),
    }


def _secret(secret: Secret) -> dict[str, Any]:
    """A secret as the module ``secrets`` takes it."""
    more = {"length": secret.length, "maker": secret.maker, "in_turn": secret.in_turn}
    told = {"name": secret.name, "party": secret.party, "kind": secret.kind, "purpose": secret.purpose}
    return told | {name: value for name, value in more.items() if value}


class _Inventory:
    """Gathers every host's part of every stack, then writes it down as variables and groups."""

    def __init__(self, federation: Federation, document: str) -> None:
        self.federation = federation
        self.document = document
        self.order = _role_order()
        self.stage_of = cache(stage_of)
        self.clusters = {cluster.host for cluster in federation.clusters.values()}
        self.parts: dict[str, _Part] = {host.name: _Part() for host in federation.own_hosts()}
        self.parts |= {cluster.host: _Part() for cluster in federation.own_clusters()}
        self.authorities: dict[str, Authority] = {}
        self.entries: dict[str, dict[str, Any]] = {}
        self.stages: dict[frozenset[str], dict[str, list[str]]] = {}
        self.result = Inventory()

    def build(self) -> Inventory:
        """All of it."""
        for name, expansion in self.federation.expansions.items():
            self._gather(self.federation.stacks[name], expansion)
        for host in self.federation.own_hosts():
            self._gather_clock(host)
        for component, site in acme.sites(self.federation, self.federation.expansions.values()):
            self._gather_site(component, site)
        self._gather_firewalls()
        self.entries = {name: self._authority(authority) for name, authority in self.authorities.items()}
        self._everybody()
        for name in stage_groups():
            self._group(name)
        for host in self.federation.own_hosts():
            self._host(host.name, host.party, "federation_hosts", {"ansible_host": host.ssh, **host.connection})
        for cluster in self.federation.own_clusters():
            self._host(cluster.host, cluster.party, "federation_clusters", self._from_here(cluster))
        # whoever has but a part of the inventory sees by it that it is one
        certified = {"fedlearn_certified_hosts": len(self.result.groups.get("pki", Group()).hosts)}
        for name in ("federation_hosts", "federation_clusters"):
            if self._group(name).variables:
                self._group(name).variables |= certified
        return self.result

    # ... gathering

    def _gather(self, stack: Stack, expansion: Expansion) -> None:
        self.authorities.update({authority.name: authority for authority in expansion.authorities})
        for component in expansion.components:
            self._gather_component(stack, component)
        for host, variables in expansion.variables.items():
            if host in self.parts:
                for variable, instances in variables.items():
                    self.parts[host].instances[variable].extend(instances)
        self._gather_certificates(stack, expansion)
        self._gather_open_files(stack, expansion)
        self._gather_round(stack, expansion)

    def _gather_open_files(self, stack: Stack, expansion: Expansion) -> None:
        for host, needed in expansion.open_files.items():
            part = self._machine(host, stack)
            if part is not None:
                part.roles.add("limits")
                part.stacks[stack.name].add("limits")
                part.open_files = max(part.open_files, needed)

    def _gather_round(self, stack: Stack, expansion: Expansion) -> None:
        for component in expansion.transient:
            if component.host in self.parts:
                self.parts[component.host].round_roles.add(component.role)
        for host, brought in expansion.verify.items():
            if host in self.parts:
                self.parts[host].verify[stack.name] = _round(brought)
        for host, known in expansion.known.items():
            if host in self.parts:
                self.parts[host].known[stack.name] = _round(known)

    def _machine(self, host: str, stack: Stack) -> _Part | None:
        """The part of a host that gets files; None where it is another party's."""
        if host in self.clusters:
            raise AssertionError(f"kind '{stack.kind}' asks for files on '{host}', which is this control node")
        return self.parts.get(host)

    def _gather_component(self, stack: Stack, component: Component) -> None:
        part = self.parts.get(component.host)
        if part is None:
            return
        if component.role not in self.order:
            way_out = "name its stage, in the kind's ROLES or the role's INFRASTRUCTURE"
            raise AssertionError(f"kind '{stack.kind}': the role '{component.role}' has no stage: {way_out}")
        part.roles.add(component.role)
        part.stacks[stack.name].add(component.role)
        if component.role not in SHARED:
            part.stops[stack.name][self.stage_of(component.role)].append(component.name)
        if component.state == "present":
            (part.sites if component.role in SHARED else part.services).append(component.name)
            bounds = (part.max_skew_ms, self.federation.expansions[stack.name].max_skew_ms)
            part.max_skew_ms = min((bound for bound in bounds if bound is not None), default=None)

    def _gather_clock(self, host: Host) -> None:
        """What the party says of its hosts' clocks: for all of them, whatever runs there."""
        time_sync = self.federation.parties[host.party].time_sync
        if not time_sync:
            return
        part = self.parts[host.name]
        part.roles.add("time_sync")
        if time_sync["mode"] == "check_only":
            return
        instance: dict[str, Any] = {"name": f"{self.federation.name}-time", "federation": self.federation.name}
        if host.state == "present":
            part.sites.append(instance["name"])
            instance["sources"] = [{"address": server, "nts": time_sync["nts"]} for server in time_sync["servers"]]
        else:
            instance["state"] = "absent"
        part.instances["time_sync_instances"].append(instance)

    def _gather_site(self, component: Component, site: dict[str, Any]) -> None:
        """A site that is no stack's."""
        part = self.parts.get(component.host)
        if part is not None:
            part.roles.add(component.role)
            part.sites.append(component.name)
            part.instances["nginx_sites"].append(site)

    def _gather_firewalls(self) -> None:
        """What the party says of its hosts' firewalls, and what the flows are to them."""
        guard: Guard | None = None
        for host in self.federation.own_hosts():
            asked = self.federation.parties[host.party].firewall
            if not asked:
                continue
            part = self.parts[host.name]
            part.roles.add("firewall")
            if asked["mode"] == "off":
                part.firewall = {"firewall_mode": "off"}
                continue
            part.sites.append(f"{self.federation.name}-firewall")
            if host.state != "present":  # what is still there stays guarded until it has gone
                part.firewall = {"firewall_mode": asked["mode"], "firewall_services": []}
                continue
            guard = guard or Guard(self.federation)
            part.firewall = {"firewall_mode": asked["mode"], "firewall_services": guard.services(host)}
            if asked["default_drop"]:
                part.firewall["firewall_default_drop"] = True

    def _gather_certificates(self, stack: Stack, expansion: Expansion) -> None:
        for certificate in expansion.certificates:
            part = self._machine(certificate.host, stack)
            if part is None:
                continue
            part.roles.add("pki")
            part.stacks[stack.name].add("pki")
            part.instances["pki_certificates"].append(certificates.describe(certificate, self.federation, stack.name))
            if certificate.state == "present":
                part.certificates.append(certificate.name)
                named = (certificate.authority, *certificate.trust)
                part.authorities.update(dict.fromkeys(name for name in named if name))

    # ... writing down

    def _group(self, name: str) -> Group:
        return self.result.groups.setdefault(name, Group())

    def _everybody(self) -> None:
        """What is equal for all hosts, and for all clusters; both groups are always there, for playbooks to name."""
        common = {
            "fedlearn_federation": self.federation.name,
            "fedlearn_stack_names": sorted({stack for part in self.parts.values() for stack in part.stacks}),
            "fedlearn_state": self.federation.state,
            "fedlearn_document": self.document,
            "fedlearn_viewpoint": self.federation.viewpoint,
            "fedlearn_endpoints": self._endpoints(),
            "fedlearn_authorities": list(self.entries.values()),
            "fedlearn_secrets": list(self._secrets()),
            "fedlearn_partners": list(self._partners()),
            "fedlearn_exchange": self._exchange(),
            "fedlearn_kits": dict(self._kits()),
        }
        machines = {"ansible_python_interpreter": HOST_PYTHON, "ansible_pipelining": True}
        self._group("federation_hosts").variables = machines | common
        self._group("federation_clusters").variables = common if self.clusters else {}

    def _kits(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """By stack, the role that writes what machines of others take part with, and its variables."""
        for stack, expansion in self.federation.expansions.items():
            if expansion.kit:
                yield stack, {"role": expansion.kit.role, "variables": dict(expansion.kit.variables)}

    def _from_here(self, cluster: Cluster) -> dict[str, Any]:
        """A cluster is reached from this control node, by its kubeconfig."""
        return {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "fedlearn_kubeconfig": posixpath.join(self.federation.directory, cluster.kubeconfig),
        }

    def _endpoints(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        """Stack, placement, and where its components are reached, in three views."""
        found: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for name, expansion in self.federation.expansions.items():
            stack = found.setdefault(name, {})
            for component in expansion.components:
                for endpoint in component.endpoints if component.state == "present" else ():
                    views = self._views(component, endpoint)
                    if views is not None:
                        common = {"component": component.name, "purpose": endpoint.purpose}
                        stack.setdefault(component.placement, []).append(common | views)
        return found

    def _views(self, component: Component, endpoint: Endpoint) -> dict[str, Any] | None:
        """An endpoint's host and three views; of another party's only what is public, under that party's name."""
        if component.party:
            return {"host": component.party, **dict.fromkeys(network.VIEWS, endpoint.public)}
        if endpoint.port is None:
            return None
        if component.host in self.parts:
            bind = network.join(endpoint.address, endpoint.port)
            return {"host": component.host, "bind": bind, "internal": endpoint.internal, "public": endpoint.public}
        if endpoint.public == endpoint.internal:
            return None
        return {
            "host": self.federation.party_of(component.host),
            **dict.fromkeys(network.VIEWS, endpoint.public),
        }

    def _secrets(self) -> Iterator[dict[str, Any]]:
        """Every secret the parties here need, by name."""
        for authority in self.authorities.values():
            if authority.mode == "ownca" and self.federation.viewpoint in (None, authority.party):
                purpose = f"encrypts the key of the CA '{authority.name}'"
                yield _secret(Secret(secret_name(authority.name), authority.party, purpose, "passphrase"))
        if self._exchange():
            purpose = "encrypts the key that signs what partners get"
            yield _secret(Secret(SIGNER_SECRET, self.federation.viewpoint or "", purpose, "passphrase"))
        for stack, expansion in self.federation.expansions.items():
            for secret in expansion.secrets:
                if self.federation.viewpoint in (None, secret.party):
                    yield _secret(secret) | {"stack": stack}

    def _partners(self) -> Iterator[dict[str, Any]]:
        """The CA of each external party that gave us its certificate, whether or not a stack needs it yet."""
        for party in self.federation.parties.values():
            if party.external and party.ca:
                yield self._authority(certificates.party_authority(self.federation, party))

    def _exchange(self) -> dict[str, Any]:
        """Under a viewpoint: whose folders are taken by whose signatures, and which CAs are to be in them.

        Partners are those whose CAs something here trusts; empty where there are none, or this is no viewpoint.
        """
        partners: dict[str, dict[str, list[str]]] = {}
        needed = dict.fromkeys(name for part in self.parts.values() for name in part.authorities)
        for authority in (self.authorities[name] for name in needed):
            if self._by_exchange(authority):
                signers = list(self.federation.signers.get(authority.party, ()))
                told = partners.setdefault(authority.party, {"signers": signers, "authorities": []})
                told["authorities"].append(authority.name)
        if not partners:
            return {}
        return {
            "party": self.federation.viewpoint,
            "document": self.federation.sources[1],
            "digest": self.federation.digest,
            "partners": partners,
        }

    def _by_exchange(self, authority: Authority) -> bool:
        """Whether its certificates come with what its party signs, which deploys its side of this document itself."""
        viewpoint = self.federation.viewpoint
        return viewpoint not in (None, authority.party) and not self.federation.parties[authority.party].external

    def _authority(self, authority: Authority) -> dict[str, Any]:
        """An entry of ``pki_authorities``; a CA whose key is elsewhere is ``external``."""
        entry: dict[str, Any] = {
            "name": authority.name,
            "party": authority.party,
            "mode": authority.mode,
            "common_name": authority.common_name,
        }
        if self.federation.viewpoint not in (None, authority.party):
            entry["mode"] = "external"
        if self._by_exchange(authority):
            state = self.federation.state_directory
            entry["ca"] = taken_path(state, authority.party, certificate_file(authority.name))
            if certificates.has_list(authority):
                entry["crl"] = taken_path(state, authority.party, list_file(authority.name))
        else:
            told = {"ca": authority.ca, "crl": authority.crl}
            entry |= {key: posixpath.join(self.federation.directory, path) for key, path in told.items() if path}
        party = self.federation.parties[authority.party]
        if entry["mode"] == "acme":
            asked = dict(party.pki["acme"])
            if "server_ca" in asked:
                asked["server_ca"] = posixpath.join(self.federation.directory, asked["server_ca"])
            entry["acme"] = asked
        if entry["mode"] == "ownca" and authority.name == party.name and "permitted" in party.pki:
            entry |= {f"permitted_{kind}": list(values) for kind, values in party.pki["permitted"].items()}
        if entry["mode"] == "ownca":  # made already, where its certificate lies beside a document and its key elsewhere
            homes = dict.fromkeys(posixpath.dirname(source) for source in self.federation.sources)
            entry["published"] = [public_path(home, authority.party, authority.name) for home in homes]
            entry["revoked"] = list(party.pki.get("revoked", ()))
        return entry

    def _host(self, name: str, party: str, everybody: str, variables: dict[str, Any]) -> None:
        """Write down a host, or the one that stands for a cluster, whose ``variables`` say how it is reached."""
        part = self.parts[name]
        if part.authorities:
            variables["pki_authorities"] = [self.entries[name] for name in part.authorities]
        variables |= part.instances | part.firewall
        if part.open_files:
            variables["limits_nofile"] = part.open_files
        elif "limits" in part.roles:
            variables["limits_state"] = "absent"
        nginx_files = least_open_files(part.instances.get("nginx_sites", ()))
        if nginx_files > OPEN_FILES:
            variables["nginx_open_files"] = nginx_files
        if part.max_skew_ms is not None:
            variables["time_sync_max_skew_ms"] = part.max_skew_ms
        variables |= {
            "fedlearn_stages": self._stages(frozenset(part.roles)),
            "fedlearn_variables": list(part.instances),
            "fedlearn_stacks": {name: self._stack_facts(name, part) for name in part.stacks},
            "fedlearn_expected": {"services": part.services, "certificates": part.certificates, "sites": part.sites},
            "fedlearn_verify": part.verify,
            "fedlearn_known": part.known,
        }
        if part.round_roles:
            variables["fedlearn_round_stages"] = self._stages(frozenset(part.round_roles))
        self.result.hosts[name] = variables
        self._join(name, party, everybody, part)

    def _stack_facts(self, name: str, part: _Part) -> dict[str, Any]:
        expansion = self.federation.expansions[name]
        there = any(component.state == "present" for component in expansion.components)
        return {
            "kind": self.federation.stacks[name].kind,
            "state": "present" if there else "absent",
            "real": expansion.real,
            "round": bool(expansion.verify),
            "roles": sorted(part.stacks[name], key=self.order.__getitem__),
            "services": dict(part.stops[name]),
        }

    def _stages(self, roles: frozenset[str]) -> dict[str, list[str]]:
        """Stages in order, each with its roles in order; hosts with the same roles share it."""
        if roles not in self.stages:
            ordered = sorted(roles, key=self.order.__getitem__)
            by_stage = {stage: [role for role in ordered if self.stage_of(role) == stage] for stage in STAGES}
            self.stages[roles] = {stage: found for stage, found in by_stage.items() if found}
        return self.stages[roles]

    def _join(self, host: str, party: str, everybody: str, part: _Part) -> None:
        """Put the host into its groups."""
        of_party = group_name(f"party_{party}")
        self._group(of_party).variables.setdefault("fedlearn_party", party)
        names = [
            everybody,
            of_party,
            *part.roles,
            *(f"stage_{stage}" for stage in self._stages(frozenset(part.roles))),
            *(f"round_{stage}" for stage in self._stages(frozenset(part.round_roles))),
        ]
        for stack in part.stacks:
            names += [group_name(f"stack_{stack}"), group_name(f"kind_{self.federation.stacks[stack].kind}")]
        for name in dict.fromkeys(names):
            self._group(name).hosts.append(host)
