# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Addresses with ports, URLs, and what meets on one host."""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from .model import Component, Endpoint, Host

DEFAULT_PORTS: Mapping[str, int] = {
    "http": 80,
    "https": 443,
    "mongodb": 27017,
    "postgresql": 5432,
    "redis": 6379,
    "rediss": 6379,
}
"""Ports that a URL may leave out, by scheme."""

ANY_IPV4 = "0.0.0.0"  # noqa: S104 - compared with, never bound to
ANY_IPV6 = "::"
WILDCARDS = frozenset({ANY_IPV4, ANY_IPV6})
"""Addresses that stand for every address of a host; ``::`` takes the IPv4 ones too, as Linux does by default."""

MAX_PORT = 65535
_PATH_SAFE = "/:@!$&'()*+,;=~-._"
_MAX_NOFILE = 1_048_576  # fs.nr_open of Linux: no process can have more


def too_high(port: int, shift: int, more: int = 0) -> str | None:
    """What is wrong with a port and the ``more`` after it, each ``shift`` higher in a verify round; None: nothing."""
    last = port + more
    if last + shift <= MAX_PORT:
        return None
    many = f"{more + 1} ports from {port} on: " if more else ""
    beyond = f"{last} and the verify round's {last + shift} must not be above {MAX_PORT}"
    return f"{many}{beyond}: begin with {MAX_PORT - more - shift} at most, or lower verify_port_shift"


@dataclass(frozen=True, slots=True)
class Url:
    """A URL in its parts, none of them encoded. ``port`` None is the scheme's own."""

    scheme: str
    host: str
    port: int | None = None
    path: str = ""
    query: tuple[tuple[str, str], ...] = ()
    user: str | None = None
    password: str | None = field(default=None, repr=False)

    def __str__(self) -> str:
        """The URL as text: IPv6 in brackets, the scheme's own port left out, everything reserved encoded."""
        port = None if self.port == DEFAULT_PORTS.get(self.scheme) else self.port
        place = join(self.host, port) if self.host else ""
        return f"{self.scheme}://{self._userinfo()}{place}{_encode_path(self.path, self.query)}"

    def _userinfo(self) -> str:
        if self.user is None:
            if self.password is not None:
                raise ValueError("a password is given, and no user: give user '' where there is none")
            return ""
        secret = "" if self.password is None else f":{quote(self.password, safe='')}"
        return f"{quote(self.user, safe='')}{secret}@"


def _encode_path(path: str, query: Iterable[tuple[str, str]]) -> str:
    """Path and query as they stand in a URL; a path begins with ``/`` whether it was written so or not."""
    encoded = quote(path, safe=_PATH_SAFE)
    if encoded and not encoded.startswith("/"):
        encoded = f"/{encoded}"
    pairs = urlencode(list(query), quote_via=quote)
    return f"{encoded}?{pairs}" if pairs else encoded


def parse_url(text: str) -> Url:
    """A URL's parts, decoded; the scheme's own port becomes None. ValueError when it has no scheme, or a bad port."""
    parts = urlsplit(text)
    if not parts.scheme or "://" not in text:
        raise ValueError(f"'{parts.scheme or text[:40]}' begins no URL: write SCHEME://HOST")
    port = None if parts.port == DEFAULT_PORTS.get(parts.scheme) else parts.port
    return Url(
        scheme=parts.scheme,
        host=unquote(parts.hostname or ""),
        port=port,
        path=unquote(parts.path),
        query=tuple(parse_qsl(parts.query, keep_blank_values=True)),
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
    )


def is_numeric(host: str) -> bool:
    """Whether this is an IPv4 or IPv6 address without an interface, and no name."""
    try:
        return "%" not in host and bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def version(address: str) -> int:
    """4 or 6. ValueError when the text is no numeric address."""
    return ipaddress.ip_address(address).version


def join(host: str, port: int | None) -> str:
    """``10.20.0.11:6666``, ``[fd00::11]:6666``, or without a port the host alone (IPv6 in brackets).

    ValueError when the port isn't 1 to 65535, or the host could not stand there.
    """
    _check_port(port)
    if not host or any(character in host for character in "/?#@[]\\ ") or not host.isprintable():
        raise ValueError(f"'{host}' is no host")
    if ":" in host and not is_numeric(host):
        raise ValueError(f"'{host}' is no host: a port is given apart, an IPv6 address without its interface")
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def _check_port(port: int | None) -> None:
    if port is None:
        return
    if isinstance(port, bool) or not isinstance(port, int):
        raise ValueError(f"{port!r} is no port: a whole number, without quotes, or `| int`")
    if not 0 < port < 65536:
        raise ValueError(f"{port} is no port: 1 to 65535")


def split(text: str) -> tuple[str, int]:
    """Host and port of what :func:`join` wrote. ValueError when it is something else."""
    host, colon, digits = text.rpartition(":")
    if not colon or not digits.isascii() or not digits.isdigit() or not 0 < int(digits) < 65536:
        raise ValueError(f"'{text}' is no HOST:PORT")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError(f"'{text}' is an IPv6 address without brackets: write [ADDRESS]:PORT")
    if not host:
        raise ValueError(f"'{text}' names no host")
    return host, int(digits)


def reached(host: Host, address: str) -> str:
    """What others reach a component by that listens on this address of a host: the host's own for a wildcard."""
    if address not in WILDCARDS:
        return address
    return host.internal[0] if host.internal else host.ssh


def single(address: str) -> str:
    """The network that has this address alone: ``10.20.0.11/32``, ``fd00::11/128``."""
    return str(ipaddress.ip_network(address))


def database_url(
    engine: str,
    host: str | Iterable[str],
    name: str = "",
    *,
    port: int | None = None,
    user: str | None = None,
    password: str | None = None,
    options: Mapping[str, str] | None = None,
) -> str:
    """The URL of a database as its clients take it (libpq's, MongoDB's, Redis').

    ``host`` is one host or several; one that begins with ``/`` is the directory of PostgreSQL's socket. Several share
    ``port`` unless they carry their own. ValueError for an unknown engine or an impossible host.
    """
    if engine not in DEFAULT_PORTS or engine.startswith("http"):
        known = ", ".join(sorted(set(DEFAULT_PORTS) - {"http", "https"}))
        raise ValueError(f"'{engine}' is no database engine: {known}")
    hosts = [host] if isinstance(host, str) else list(host)
    if not hosts:
        raise ValueError("no host is given")
    if any(each.startswith("/") for each in hosts) and (engine != "postgresql" or len(hosts) > 1):
        raise ValueError("a directory with a socket is for postgresql, and stands alone")
    pairs = sorted((options or {}).items())
    if hosts[0].startswith("/"):
        _check_port(port)
        pairs = [*([("host", hosts[0])]), *([("port", str(port))] if port else []), *pairs]
        places = ""
    else:
        places = ",".join(_place(each, port) for each in hosts)
    userinfo = Url(engine, "", user=user, password=password)._userinfo()
    query = urlencode(pairs, quote_via=quote)
    return f"{engine}://{userinfo}{places}/{quote(name, safe='')}{'?' if query else ''}{query}"


def _place(host: str, port: int | None) -> str:
    """A database's host; its own port goes before the common one."""
    if is_numeric(host):
        return join(host, port)
    own, colon, digits = host.rpartition(":")
    return join(*split(host)) if colon and (own.startswith("[") or digits.isdigit()) else join(host, port)


def nofile_limit(clients: int, per_client: int = 5, reserve: int = 512, minimum: int = 65535) -> int:
    """How many open files a server for so many clients needs, never fewer than ``minimum``.

    Five files a client is what gevent servers take (dc_federated's deployment notes); ``reserve`` is for logs,
    libraries and the like. ValueError when it is more than a Linux process can have.
    """
    if clients < 0 or per_client < 1 or reserve < 0:
        raise ValueError("clients and reserve can't be negative, and a client takes at least one file")
    needed = max(minimum, clients * per_client + reserve)
    if needed > _MAX_NOFILE:
        raise ValueError(
            f"{clients} clients need {needed} open files, a process can have {_MAX_NOFILE}: use more servers"
        )
    return needed


@dataclass(frozen=True, slots=True)
class Collision:
    """Two components that want the same port of one host."""

    first: Component
    first_endpoint: Endpoint
    second: Component
    second_endpoint: Endpoint

    def __str__(self) -> str:
        """Which component has the place already."""
        theirs = join(self.first_endpoint.address, self.first_endpoint.port)
        names = sorted(_names(self.first_endpoint) & _names(self.second_endpoint))
        known_as = f", as '{names[0]}'" if names else ""
        where = f"port {self.second_endpoint.port} on host '{self.second.host}'"
        return f"{where} is taken by {self.first.name} ({theirs}{known_as})"


def collisions(components: Iterable[Component], shared: Container[str] = ()) -> Iterator[Collision]:
    """Every pair of present components that meet on a host, an address and a port, in the components' order.

    Those of a role in ``shared`` are parts of one service: its sites may share a listener whose clients tell them apart
    by name.
    """
    taken: dict[tuple[str, int, str], list[tuple[Component, Endpoint]]] = {}
    for component in components:
        if component.state == "absent" or not component.host:
            continue
        for endpoint in component.endpoints:
            if endpoint.port is None:
                continue
            holders = taken.setdefault((component.host, endpoint.port, endpoint.protocol), [])
            for holder, held in holders:
                told_apart = holder.role == component.role and component.role in shared and _apart(held, endpoint)
                if _overlap(held.address, endpoint.address) and not told_apart:
                    yield Collision(holder, held, component, endpoint)
            holders.append((component, endpoint))


def _names(endpoint: Endpoint) -> set[str]:
    return {name.lower() for name in endpoint.names}


def _apart(one: Endpoint, other: Endpoint) -> bool:
    """Whether two sites on the same listener have names, and none in common."""
    names = _names(one), _names(other)
    return one.address == other.address and all(names) and names[0].isdisjoint(names[1])


def _overlap(one: str, other: str) -> bool:
    """Whether two listening addresses of a host meet; a name, as a cluster has them, is an address of its own."""
    if one == other:
        return True
    if not (is_numeric(one) and is_numeric(other)):
        return False
    if ANY_IPV6 in (one, other):
        return True
    return any(wild == ANY_IPV4 and version(address) == 4 for wild, address in ((one, other), (other, one)))


VIEWS = ("bind", "internal", "public")
"""How an endpoint is told: what it listens on, how other components reach it, how clients and other parties do."""


def endpoint_of(
    endpoints: Mapping[str, Sequence[Mapping[str, str]]],
    role: str,
    view: str,
    *,
    purpose: str | None = None,
    host: str | None = None,
) -> str:
    """Where a stack's role is reached, of what the inventory says of the stack (``fedlearn_endpoints``).

    ``role`` is the word of the document (``proxy``), ``purpose`` and ``host`` choose where it has several endpoints. In
    public view what the party keeps to itself isn't one, where the host has what others are told.
    ValueError when there is none, or more than one.
    """
    if view not in VIEWS:
        raise ValueError(f"'{view}' is no view of an endpoint: {', '.join(VIEWS)}")
    if role not in endpoints:
        raise ValueError(f"the stack has no endpoint of '{role}', only of {', '.join(sorted(endpoints)) or 'nothing'}")
    found = [each for each in endpoints[role] if purpose in (None, each["purpose"]) and host in (None, each["host"])]
    if view == "public":
        told = {each["host"] for each in found if each["public"] != each["internal"]}
        found = [each for each in found if each["host"] not in told or each["public"] != each["internal"]]
    places = list(dict.fromkeys(each[view] for each in found))
    if len(places) == 1:
        return places[0]
    known = ", ".join(f"{each['purpose']} on {each['host']}" for each in endpoints[role])
    many = "several endpoints, choose by purpose and host" if places else "no endpoint of that purpose and host"
    raise ValueError(f"'{role}' has {many}: {known}")
