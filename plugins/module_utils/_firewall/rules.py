# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What federations claim on a host becomes nftables' tables: one for each federation, and one for the host at most.

In nftables a drop is final and an accept ends its own chain only. So a federation's table accepts by policy and drops
what nobody claims; and where two federations share a place (a port of nginx, the ephemeral range), each lets in whom
the other names.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

HOST_TABLE = "fedlearn"
EVERYBODY = ("0.0.0.0/0", "::/0")
HEAD = "# Managed by the fedlearn.infra.firewall role: changes made here are put back.\n"
MAX_PORT = 65535
_FAMILIES = {4: "ip", 6: "ip6"}

Ports = tuple[int, int]  # first and last


@dataclass(frozen=True)
class Place:
    """Where something listens, seen by one family: an address, None for every one, and ports."""

    family: int
    address: str | None
    protocol: str
    ports: Ports

    def meets(self, other: Place) -> bool:
        """Whether a packet can be for both."""
        return (
            (self.family, self.protocol) == (other.family, other.protocol)
            and (None in (self.address, other.address) or self.address == other.address)
            and self.ports[0] <= other.ports[1]
            and other.ports[0] <= self.ports[1]
        )

    def covers(self, other: Place) -> bool:
        """Whether every packet for the other is for this one, too."""
        return (
            (self.family, self.protocol) == (other.family, other.protocol)
            and self.address in (None, other.address)
            and self.ports[0] <= other.ports[0]
            and other.ports[1] <= self.ports[1]
        )


@dataclass(frozen=True)
class Service:
    """What is claimed: places, and the networks from which they may be reached."""

    name: str
    places: tuple[Place, ...]
    sources: tuple[str, ...]
    ephemeral: bool = False


@dataclass(frozen=True)
class Claim:
    """What one federation asks of a host's firewall. ``others`` are services that are none of its own."""

    federation: str
    mode: str
    services: tuple[Service, ...]
    others: tuple[Service, ...]
    ssh_ports: tuple[int, ...]
    ssh_sources: tuple[str, ...]
    default_drop: bool


@dataclass(frozen=True)
class Surroundings:
    """What of the host itself goes into the rules: its ephemeral range, and how the controller came by ssh."""

    ephemeral: Ports = (32768, 60999)
    controller: str | None = None
    ssh_port: int | None = None


@dataclass(frozen=True)
class Table:
    """A table, as a text that puts it in the place of a former one at once."""

    name: str
    text: str
    drops: bool = field(default=False)


def claim_of(federation: str, content: dict[str, Any], around: Surroundings) -> Claim:
    """A claim, of what the role was given or a file of the host holds."""
    return Claim(
        federation,
        content["mode"],
        tuple(_service(one, around) for one in content["services"]),
        tuple(_service(one, around) for one in content["others"]),
        tuple(content["ssh_ports"]),
        tuple(content["ssh_sources"]),
        content["default_drop"],
    )


def _service(given: dict[str, Any], around: Surroundings) -> Service:
    ports = ports_of(given, around)
    places = [place for address in given["addresses"] for place in places_at(address, given["protocol"], ports)]
    return Service(given["name"], tuple(places), tuple(given["sources"]), bool(given.get("ephemeral")))


def ports_of(given: dict[str, Any], around: Surroundings) -> Ports:
    """The ports that a service names: one, several in a row, or the host's ephemeral range."""
    first = given.get("port") or 0
    return around.ephemeral if given.get("ephemeral") else (first, given.get("last_port") or first)


def places_at(address: str, protocol: str, ports: Ports) -> Iterator[Place]:
    """An address as the families see it: ``::`` takes IPv4 as well, as Linux does by default."""
    found = ipaddress.ip_address(address)
    for family in (4, 6) if address == "::" else (found.version,):
        yield Place(family, None if found.is_unspecified else str(found), protocol, ports)


def tables(claims: Iterable[Claim], around: Surroundings) -> dict[str, Table]:
    """All tables that these claims ask for, by name."""
    asking = [claim for claim in claims if claim.mode != "off"]
    made = [_federation_table(claim, asking, around) for claim in asking if claim.services]
    if any(claim.default_drop for claim in asking):
        made.append(_host_table(asking, around))
    return {table.name: table for table in made}


def table_name(federation: str) -> str:
    """The table of a federation."""
    return f"fedlearn-{federation}"


# --- one federation --------------------------------------------------------------------------------------------------


def _federation_table(claim: Claim, claims: list[Claim], around: Surroundings) -> Table:
    lines = [
        'iif "lo" accept',
        # IPv6's fragments would be judged one by one without it, and those without ports pass
        'ct state invalid continue comment "fragments are put together first"',
        f"tcp dport {_set(sorted(_ssh_ports(claims, around)))} accept",
    ]
    verdict = "drop " if claim.mode == "enforce" else ""
    for service in claim.services:
        for place in service.places:
            rule = _guard(service, place, claims, around)
            lines += [f'{rule} counter {verdict}comment "{service.name}"'] if rule else []
    return _table(table_name(claim.federation), "accept", lines, drops=claim.mode == "enforce")


def _guard(service: Service, place: Place, claims: list[Claim], around: Surroundings) -> str:
    """What matches who may not come; nothing where everybody may."""
    sources = _sources(service, place, claims)
    if any(network.prefixlen == 0 for network in sources):
        return ""
    words = [_destination(place)]
    if service.ephemeral:
        words += [f"{place.protocol} dport != {_set(taken)}" for taken in [_taken(place, claims)] if taken]
        # no state: what a first packet of an older connection looks like, a reply to ours, is no attempt to connect
        words.append("tcp flags & (fin | syn | rst | ack) == syn")
    if sources:
        words.append(f"{_FAMILIES[place.family]} saddr != {_words(sources)}")
    if not service.ephemeral and (place.protocol == "udp" or _overlaps(place.ports, around.ephemeral)):
        words.append("ct direction original")  # the host itself may have connected from this port
    return " ".join(words)


def _destination(place: Place) -> str:
    family = f"{_FAMILIES[place.family]} daddr {place.address}" if place.address else f"meta nfproto ipv{place.family}"
    return f"{family} {place.protocol} dport {_span(place.ports)}"


def _sources(service: Service, place: Place, claims: list[Claim]) -> list[Any]:
    """The networks that any claim names for a place, of its family."""
    named = list(service.sources)
    for other in _everybodys(claims):
        # a range that others have somewhere in it opens no port of ours: it has to be the very same
        if any(place.meets(one) and place.ports == one.ports for one in other.places):
            named += other.sources
    return _networks(named, place.family)


def _networks(sources: Iterable[str], family: int) -> list[Any]:
    """The networks of a family, none within another."""
    found: list[Any] = [ipaddress.ip_network(source) for source in sources]
    return list(ipaddress.collapse_addresses(one for one in found if one.version == family))


def _words(networks: Iterable[Any]) -> str:
    """Networks as nft has them: one address alone is none."""
    return _set(one.network_address if one.prefixlen == one.max_prefixlen else one for one in networks)


def _taken(place: Place, claims: list[Claim]) -> list[str]:
    """Ports of an ephemeral range that have an owner: their own rules judge these, or nobody's."""
    spans = sorted(
        (max(one.ports[0], place.ports[0]), min(one.ports[1], place.ports[1]))
        for other in _everybodys(claims)
        if not other.ephemeral
        for one in other.places
        if place.meets(one)
    )
    merged: list[Ports] = []
    for first, last in spans:
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
        else:
            merged.append((first, last))
    return [_span(span) for span in merged]


def _everybodys(claims: list[Claim]) -> Iterator[Service]:
    for claim in claims:
        yield from claim.services
        yield from claim.others


def _overlaps(one: Ports, other: Ports) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _ssh_ports(claims: list[Claim], around: Surroundings) -> set[int]:
    ports = {port for claim in claims for port in claim.ssh_ports}
    return ports | ({around.ssh_port} if around.ssh_port else set())


# --- the host --------------------------------------------------------------------------------------------------------


def _host_table(claims: list[Claim], around: Surroundings) -> Table:
    """Drops whatever nobody names. Who may reach a federation's place is for that one's own table to say."""
    drops = any(claim.default_drop and claim.mode == "enforce" for claim in claims)
    lines = [
        'iif "lo" accept',
        "ct state established,related accept",
        'meta l4proto { 1, 58 } accept comment "icmp, icmpv6"',  # by number: a small system knows no names
        "udp sport 67 udp dport 68 accept",  # DHCP's answers come from an address that wasn't asked
        "ip6 saddr fe80::/10 udp dport 546 accept",
        *_ssh_rules(claims, around),
    ]
    for claim in claims:
        own = [(one.name, place) for one in claim.services for place in one.places]
        lines += [f'{_destination(place)} accept comment "{name}"' for name, place in own]
        for other in claim.others:
            lines += [rule for place in other.places for rule in _entrance(other, place.family, _destination(place))]
    lines.append(f'counter {"drop " if drops else ""}comment "default"')
    return _table(HOST_TABLE, "accept", list(dict.fromkeys(lines)), drops=drops)


def _ssh_rules(claims: list[Claim], around: Surroundings) -> Iterator[str]:
    """How administrators come in; the one who is here, by any address and port."""
    sources = [source for claim in claims if claim.default_drop for source in claim.ssh_sources]
    ssh = Service("ssh", (), (*sources, *([around.controller] if around.controller else [])))
    ports = _set(sorted(_ssh_ports(claims, around)))
    for family in _FAMILIES:
        yield from _entrance(ssh, family, f"meta nfproto ipv{family} tcp dport {ports}")


def _entrance(service: Service, family: int, destination: str) -> Iterator[str]:
    """The rule that lets a service's sources in; none where it has none of that family."""
    networks = _networks(service.sources, family)
    if networks:
        everybody = networks[0].prefixlen == 0
        limit = "" if everybody else f"{_FAMILIES[family]} saddr {_words(networks)} "
        yield f'{destination} {limit}accept comment "{service.name}"'


# --- words of nft ----------------------------------------------------------------------------------------------------


def _table(name: str, policy: str, lines: list[str], *, drops: bool) -> Table:
    body = "".join(f"\t\t{line}\n" for line in [f"type filter hook input priority filter; policy {policy};", *lines])
    whole = f"table inet {name} {{\n\tchain input {{\n{body}\t}}\n}}\n"
    return Table(name, HEAD + emptied(name) + whole, drops)


def emptied(name: str) -> str:
    """What takes a table away, whether it is there or not."""
    return f"table inet {name}\ndelete table inet {name}\n"


def _span(ports: Ports) -> str:
    return str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"


def _set(items: Iterable[object]) -> str:
    words = [str(item) for item in items]
    return words[0] if len(words) == 1 else f"{{ {', '.join(words)} }}"
