# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts of a document: names from ranges, addresses counted up."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from . import formats, ranges
from .model import Cluster, Host, Party, Path, Position
from .nodes import Node, Report, nearest, shorten
from .schema import Names

SSH_PORT = 22


def known_names(root: Node) -> Names:
    """All names that the document defines, right or wrong, so that references to them aren't called wrong too."""
    hosts: dict[str, Host] = {}
    parties: dict[str, Party] = {}
    whole = _is_whole(root, "parties")
    for name, party in _entries(root, "parties"):
        external = _child(party, "external")
        parties[name] = Party(name, external=external is not None and external.value is True)
        whole = whole and (_is_whole(party, "hosts") or _has_none(party, "hosts"))
        for key, host in _entries(party, "hosts"):
            state = _child(host, "state")
            absent = state is not None and state.value == "absent"
            expanded = _expand(key, ranges.MAX_NAMES - len(hosts))
            whole = whole and bool(expanded)
            for host_name in expanded:
                hosts[host_name] = Host(host_name, name, "", (), state="absent" if absent else "present")
    clusters = {name: Cluster(name, "", "") for name, _node in _entries(root, "clusters")}
    return Names(hosts, parties, clusters, whole=whole)


def _has_none(node: Node, key: str) -> bool:
    """Whether a mapping has no such key, and none that was probably meant to be it."""
    return (
        isinstance(node.value, dict)
        and not node.lost
        and key not in node.value
        and not any(nearest(other, [key]) for other in node.value)
    )


def _is_whole(node: Node, key: str) -> bool:
    """Whether all entries of a mapping are known: it is there, is one, and no key of it was dropped."""
    child = _child(node, key)
    return child is not None and isinstance(child.value, dict) and not child.lost


def _entries(node: Node, key: str) -> Iterator[tuple[str, Node]]:
    child = _child(node, key)
    if child is not None and isinstance(child.value, dict):
        yield from child.value.items()


def _child(node: Node, key: str) -> Node | None:
    return node.value.get(key) if isinstance(node.value, dict) else None


def _expand(key: str, room: int) -> list[str]:
    """The names a key stands for; none when it is wrong, or when they are more than there is room for."""
    try:
        return ranges.expand(key) if ranges.size(key) <= room else []
    except ValueError:
        return []


class Hosts:
    """Makes hosts from the checked entries of all parties; a mistake leaves out the entry's hosts."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.by_name: dict[str, Host] = {}
        self._names: dict[str, Host] = {}
        self._addresses: dict[tuple[str, str], Host] = {}
        self._reached: dict[tuple[str, int], Host] = {}

    def add(self, party: str, key: str, value: str | Mapping[str, Any], path: Path) -> list[Host]:
        """The hosts that a name or range stands for."""
        entry: Mapping[str, Any] = {"address": value} if isinstance(value, str) else value
        try:
            if len(self.by_name) + ranges.size(key) > ranges.MAX_NAMES:
                raise ValueError(f"makes more than {ranges.MAX_NAMES} hosts")
            names = ranges.expand(key)
            for name in (names[0], names[-1]):
                formats.host_name(name)
            places = list(_places(names, entry))
            _refuse_loopback(address for _ssh, internal in (places[0], places[-1]) for address in internal)
        except ValueError as error:
            self.report.mistake(path, str(error), self.report.key_position(path))
            return []
        return self._make(party, names, places, entry, path)

    def _make(
        self,
        party: str,
        names: list[str],
        places: Iterable[tuple[str, tuple[str, ...]]],
        entry: Mapping[str, Any],
        path: Path,
    ) -> list[Host]:
        connection, state = entry.get("vars", {}), entry.get("state", "present")
        public_name = entry.get("public_name")
        made, twice = [], []
        for name, (ssh, internal) in zip(names, places, strict=True):
            host = Host(name, party, ssh, internal, public_name, connection, state, path)
            clash = self._clash(host)
            if clash:
                twice.append(clash)
            else:
                self.by_name[name] = host
                made.append(host)
        if twice:
            more = f" (and {len(twice) - 1} more of this range)" if len(twice) > 1 else ""
            message, position = twice[0]
            self.report.mistake(path, message + more, position)
        return made

    def _clash(self, host: Host) -> tuple[str, Position | None] | None:
        """Whose the name, in whatever case, or one of the addresses is already, and where; None for a new host."""
        other = self._names.setdefault(host.name.lower(), host)
        if other is not host:
            message = f"there is a host '{shorten(other.name)}' already ({self.report.where(other.path)})"
            return message, self.report.key_position(host.path)
        for address in host.internal if host.state != "absent" else ():
            holder = self._addresses.setdefault((host.party, address), host)
            if holder is not host:
                holds = f"host '{shorten(holder.name)}' already ({self.report.where(holder.path)})"
                return f"{address} is the address of {holds}", None
        return self._shared(host) if host.state != "absent" else None

    def _shared(self, host: Host) -> tuple[str, Position | None] | None:
        """Which other party's host ssh would find there; None where each control node may mean a place of its own."""
        port = int(host.connection.get("ansible_port", SSH_PORT))
        other = self._reached.setdefault((host.ssh.lower(), port), host)
        named = {host.public_name, other.public_name} - {None}
        if other.party == host.party or len(named) == 2 or _is_loopback(host.ssh):
            return None
        there = f"'{shorten(other.name)}' of party '{other.party}' ({self.report.where(other.path)})"
        way_out = (
            "parties share no machine. Where each has that address in a network of its own, give both a public_name"
        )
        return f"{host.ssh}, port {port}, is where ssh finds {there}: {way_out}", None


def _is_loopback(text: str) -> bool:
    return any(ipaddress.ip_address(address).is_loopback for address in _numeric(text))


def _refuse_loopback(addresses: Iterable[str]) -> None:
    """ValueError for an address by which every host reaches itself."""
    for address in addresses:
        if ipaddress.ip_address(address).is_loopback:
            way_out = "write the one they do; where only ssh goes there, addresses: {ssh, internal}"
            raise ValueError(f"{address} is every host's own address, and others don't reach this one there: {way_out}")


def _places(names: list[str], entry: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """For each name what ssh connects to and the internal addresses. ValueError: they don't fit the names."""
    single = next((key for key in ("address", "addresses", "public_name") if key in entry), None)
    if len(names) > 1 and single is not None:
        way_out = "; write {first_address: ...}, it counts up" if single == "address" else ""
        raise ValueError(f"one {single} for {len(names)} hosts{way_out}")
    if "first_address" in entry:
        if len(names) == 1:
            raise ValueError("first_address is for ranges: write address")
        return _count_up([ipaddress.ip_address(first) for first in entry["first_address"]], len(names))
    if "addresses" in entry:
        internal = sorted(entry["addresses"]["internal"], key=lambda address: ":" in address)
        return iter([(entry["addresses"]["ssh"], tuple(internal))])
    if "address" in entry:
        return iter([(entry["address"], _numeric(entry["address"]))])
    for name in (names[0], names[-1]):
        try:
            formats.reached_name(name)
        except ValueError as error:
            raise ValueError(f"has no address, and '{shorten(name)}' {error}: write address") from None
    return ((name, _numeric(name)) for name in names)


def _count_up(
    firsts: list[ipaddress.IPv4Address | ipaddress.IPv6Address], number: int
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """So many addresses from each first one on; ssh uses the one written first."""
    for first in firsts:
        last = int(first) + number - 1
        if last >= 2**first.max_prefixlen or not formats.is_of_a_host(type(first)(last)):
            raise ValueError(f"{number} hosts from {first} on go beyond the last address")
    return _counted(firsts, number)


def _counted(
    firsts: list[ipaddress.IPv4Address | ipaddress.IPv6Address], number: int
) -> Iterator[tuple[str, tuple[str, ...]]]:
    by_version = sorted(firsts, key=lambda first: first.version)
    for offset in range(number):
        yield str(firsts[0] + offset), tuple(str(first + offset) for first in by_version)


def _numeric(text: str) -> tuple[str, ...]:
    try:
        return (formats.address(text),)
    except ValueError:
        return ()
