# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the nginx role takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .._federation.model import Path
from .._federation.schema import PORT, Boolean, Choice, Integer, Items, Key, Rule, Section, Text
from .checking import FILE, IDENTITY, check_instances, is_present

UNIT = "nginx.service"
OPEN_FILES = 65535

_SUBJECT = Text(
    max_length=1024,
    pattern=r"[^\x00-\x1f\x7f]+",
    pattern_name="a common name, or a whole subject as RFC 2253 writes it",
)

_LISTEN = Section(
    {
        "address": Key(Text(format="address"), "Exactly one address, an IPv6 one without brackets.", required=True),
        "port": Key(PORT, "Port.", required=True),
        "find_dead_peers": Key(
            Boolean(),
            "Ask silent clients after 60 s whether they are there, and close what is dead 60 s later: for polls that "
            "last long. Of sites that share an address and port one may say so.",
            default=False,
        ),
    }
)

_REDIRECT = Section(
    {
        "address": Key(Text(format="address"), "Exactly one address, an IPv6 one without brackets.", required=True),
        "port": Key(PORT, "Port.", default=80),
    }
)

_TLS = Section(
    {
        "certificate": Key(FILE, "Certificate, then intermediates.", required=True),
        "key": Key(FILE, "Its key; only root needs to read it.", required=True),
        "client_ca": Key(FILE, "Clients need a certificate of this CA."),
        "client_crl": Key(
            FILE, "What that CA has withdrawn, a list for each CA of the file; without a valid one no client comes in."
        ),
        "client_names": Key(
            Items(_SUBJECT),
            "Of those certificates only these: a common name stands for the subject that is nothing else, `CN=name`.",
            default=[],
        ),
        "subject_header": Key(
            Text(max_length=64, pattern=r"[A-Za-z][A-Za-z0-9-]*", pattern_name="the name of a header"),
            "By this header the server is told the subject of a client's certificate; what clients send by it is "
            "dropped.",
        ),
        "alpn": Key(
            Items(Text(pattern=r"[a-z0-9./-]{1,32}", pattern_name="the name of a protocol, such as h2")),
            "For C(protocol: tcp): what clients are told that the server speaks, C(h2) of gRPC; needs nginx 1.22.",
            default=[],
        ),
    },
    rules=(
        Rule(
            "Names and a list of who is withdrawn need a CA that vouches for them.",
            lambda values: [
                ((key,), "needs client_ca: the CA that vouches for them")
                for key in ("client_names", "client_crl", "subject_header")
                if values.get(key) and "client_ca" not in values
            ],
        ),
    ),
)

_UPSTREAM_TLS = Section(
    {
        "ca": Key(FILE, "CA of the servers' certificates.", required=True),
        "crl": Key(
            FILE, "What that CA has withdrawn, a list for each CA of the file; without a valid one no server will do."
        ),
        "name": Key(
            Text(format="dns_name"),
            "A DNS name in each server's certificate; nginx doesn't match addresses. It needn't resolve.",
            required=True,
        ),
        "certificate": Key(FILE, "Certificate to show the servers."),
        "key": Key(FILE, "Its key."),
    },
    rules=(
        Rule(
            "A certificate has its key.",
            lambda values: (
                [((), "'certificate' and 'key' go together")] if ("certificate" in values) != ("key" in values) else []
            ),
        ),
    ),
)

_UPSTREAM = Section(
    {
        "servers": Key(
            Items(Text(format="endpoint"), min_items=1),
            "Where requests go, in turn; a name is looked up when nginx reads its configuration.",
            required=True,
        ),
        "host": Key(
            Text(format="dns_name"),
            "The Host that servers are asked for: another party's have a name of their own; default: the client's.",
        ),
        "tls": Key(_UPSTREAM_TLS, "Speak TLS to the servers and check their certificates."),
        "retries": Key(
            Integer(0, 1000),
            "On how many other servers a failed request is tried; without it on all, one after the other.",
        ),
        "retry_non_idempotent": Key(
            Boolean(), "Try POST and the like again too, though the first server may have worked on it.", default=False
        ),
        "connect_timeout_seconds": Key(Integer(1, 75), "For connecting to a server.", default=5),
        "keep_connections": Key(
            Boolean(),
            "Keep connections to servers for the next request. Not to one that sends an answer in two parts and waits "
            "for the first to be acknowledged: on a kept connection that takes 40 ms.",
            default=True,
        ),
    }
)


_PATH = Section(
    {
        "path": Key(
            Text(
                pattern=r"/(?:[A-Za-z0-9._~/-]|(?<=/)\*(?=/|$))*",
                pattern_name="a path without query: / and A-Z, a-z, 0-9, ._~-, or * as a whole step",
            ),
            "The path itself; with O(prefix) also all below. C(*) is any one step; such paths come before prefixes.",
            required=True,
        ),
        "prefix": Key(Boolean(), "All that begins like this.", default=False),
        "without_certificate": Key(
            Boolean(), "Clients need no certificate here, though the site has a client_ca.", default=False
        ),
        "client_names": Key(Items(_SUBJECT), "Only these clients' certificates; empty: as the site.", default=[]),
        "allow": Key(Items(Text(format="network")), "Networks clients may come from; empty: as the site.", default=[]),
        "body_size_mb": Key(Integer(1, 1_048_576), "The largest request body; default: the site's.", unit="MiB"),
        "read_timeout_seconds": Key(Integer(1, 604_800), "How long a server may be silent; default: the site's."),
        "stream_requests": Key(
            Boolean(),
            "Hand a request's body on as it comes in; without it nginx has all of it before the server gets any.",
            default=False,
        ),
    },
    rules=(
        Rule(
            "Who needs no certificate has no name to be known by.",
            lambda values: (
                [(("client_names",), "'without_certificate' lets clients in that show no name")]
                if values["without_certificate"] and values["client_names"]
                else []
            ),
        ),
    ),
)

_LIMITS = Section(
    {
        "clients": Key(Integer(1, 1_000_000), "Requests under way at once, of all together."),
        "clients_per_address": Key(Integer(1, 1_000_000), "Of them from one address."),
        "requests_per_second": Key(Integer(1, 1_000_000), "New requests a second from one address."),
        "total_requests_per_second": Key(
            Integer(1, 1_000_000), "New requests a second of all together; as many more may come at once."
        ),
        "burst": Key(
            Integer(0, 1_000_000),
            "How many more of one address may come at once before some are refused.",
            default=20,
        ),
    }
)


def _paths_fit(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Paths stand once, and what they ask of certificates fits the site."""
    breaches: list[tuple[Path, str]] = []
    seen: set[tuple[str, bool]] = set()
    vouched = "client_ca" in values.get("tls", {})
    for index, path in enumerate(values["paths"]):
        if (path["path"], path["prefix"]) in seen:
            breaches.append((("paths", index, "path"), f"'{path['path']}' stands there twice"))
        seen.add((path["path"], path["prefix"]))
        for key in ("client_names", "without_certificate"):
            if path[key] and not vouched:
                breaches.append((("paths", index, key), "needs tls.client_ca: the CA that vouches for clients"))
    return breaches


def _listens_once(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    keyed = [(key, index, listen) for key in ("listen", "redirect") for index, listen in enumerate(values[key])]
    places = [(listen["address"], listen["port"]) for _key, _index, listen in keyed]
    return [
        ((key, index), f"{listen['address']} port {listen['port']} stands there twice")
        for number, (key, index, listen) in enumerate(keyed)
        if places[number] in places[:number]
    ]


def _redirects_to_tls(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    return [(("redirect",), "needs tls: it leads there")] if values["redirect"] and "tls" not in values else []


_HTTP_ONLY = (
    ("redirect",),
    ("server_names",),
    ("paths",),
    ("tls", "subject_header"),
    ("upstream", "host"),
    ("upstream", "retries"),
    ("limits", "requests_per_second"),
    ("limits", "total_requests_per_second"),
)
"""What is said of requests, which nobody looks for in connections that are passed on."""


def _for_protocol(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    if values["protocol"] == "http":
        alpn = values.get("tls", {}).get("alpn")
        return [(("tls", "alpn"), "is for protocol: tcp; nginx itself speaks HTTP/1.1")] if alpn else []
    breaches: list[tuple[Path, str]] = []
    for path in _HTTP_ONLY:
        found: Any = values
        for step in path:
            found = found.get(step) if isinstance(found, Mapping) else None
        if found or found == 0:
            breaches.append((path, "is for protocol: http; connections are passed on without a look into them"))
    return breaches


SITE = Section(
    {
        **IDENTITY,
        "protocol": Key(
            Choice(("http", "tcp")),
            "V(tcp): each connection is passed on as one connection, without a look into it: for servers that know "
            "clients by theirs, as gRPC's may.",
            default="http",
        ),
        "listen": Key(Items(_LISTEN, min_items=1), "Where the site listens.", required=True),
        "redirect": Key(
            Items(_REDIRECT),
            "Where plain HTTP is told to come by TLS, to the port of the first O(listen). Who only asks (GET, HEAD) is "
            "sent there; who sends is refused, so nobody gets used to sending in clear.",
            default=[],
        ),
        "server_names": Key(
            Items(Text(format="address_or_name")),
            "Names and addresses that clients ask for; another Host is refused (421). Empty: any.",
            default=[],
        ),
        "tls": Key(_TLS, "TLS ends here; without it plain HTTP."),
        "allow": Key(Items(Text(format="network")), "Networks clients may come from; empty: all.", default=[]),
        "upstream": Key(_UPSTREAM, "What is behind it.", required=True),
        "body_size_mb": Key(Integer(1, 1_048_576), "The largest request body.", default=1, unit="MiB"),
        "read_timeout_seconds": Key(
            Integer(1, 604_800), "How long a server may be silent: 86400 for polls of a day.", default=60
        ),
        "paths": Key(Items(_PATH), "Only these are served, all else is not found; empty: everything.", default=[]),
        "limits": Key(_LIMITS, "What is refused beyond (503, 429); without it nothing is."),
    },
    rules=(
        Rule("An address and port is listened on once.", _listens_once),
        Rule("What is sent to TLS finds it.", _redirects_to_tls),
        Rule("What is said of requests is for HTTP.", _for_protocol),
        Rule("Paths stand once, and ask for certificates where the site has a CA for them.", _paths_fit),
    ),
)


def _shared_places(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Sites may share an address and port when names tell them apart and both or neither speak TLS."""
    seen: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    breaches: list[tuple[Path, str]] = []
    for site in values["instances"]:
        for word, listen in [(key, listen) for key in ("listen", "redirect") for listen in site[key]]:
            place = (listen["address"], listen["port"])
            for other in seen.setdefault(place, []):
                reason = _clash(site, other, place)
                if reason:
                    message = f"{place[0]} port {place[1]} is also listened on by '{other['name']}': {reason}"
                    breaches.append(((site["index"], word), message))
            seen[place].append(site)
    return breaches


def _speaks_tls(site: Mapping[str, Any], place: tuple[str, int]) -> bool:
    return "tls" in site and place not in [(one["address"], one["port"]) for one in site["redirect"]]


def _finds_dead_peers(site: Mapping[str, Any], place: tuple[str, int]) -> bool:
    return any(one["find_dead_peers"] for one in site["listen"] if (one["address"], one["port"]) == place)


def _clash(site: Mapping[str, Any], other: Mapping[str, Any], place: tuple[str, int]) -> str | None:
    if "tcp" in (site["protocol"], other["protocol"]):
        return "connections of protocol: tcp can't be told apart"
    if _speaks_tls(site, place) != _speaks_tls(other, place):
        return "only one of them speaks TLS"
    if _finds_dead_peers(site, place) and _finds_dead_peers(other, place):
        return "only one of them may say find_dead_peers"
    if not site["server_names"] or not other["server_names"]:
        return "both need server_names to be told apart"
    names = {name.lower() for name in site["server_names"]}
    common = sorted(names & {name.lower() for name in other["server_names"]})
    return f"both are named '{common[0]}'" if common else None


def check(sites: Any) -> list[dict[str, Any]]:
    """``nginx_sites`` with defaults; a stopped site isn't served, so it is absent. Raises RoleValueError."""
    if isinstance(sites, list):
        sites = [_unserved(site) for site in sites]
    return check_instances(
        "nginx_sites", sites, SITE, (Rule("Sites on one address and port are told apart.", _shared_places),)
    )


def _unserved(site: Any) -> Any:
    stopped = isinstance(site, Mapping) and site.get("state") == "stopped"
    return {**site, "state": "absent"} if stopped else site


RESERVE = 512
"""Open files for logs, libraries and the like, and connections that are nobody's yet."""

LEAST_CONNECTIONS = 4096
"""Of each of nginx's processes, for sites that don't say how many clients they are for: Debian's 768 are few."""


def _connections(present: Sequence[Mapping[str, Any]]) -> int:
    """How many connections one of nginx's processes is to bear: of each client one, and one to the server."""
    clients = [(site.get("limits") or {}).get("clients") or 512 for site in present]
    return max(LEAST_CONNECTIONS, RESERVE + 2 * sum(clients))


def least_open_files(sites: Sequence[Mapping[str, Any]]) -> int:
    """What one of nginx's processes is to be allowed for these sites: a file a connection, and some for the rest."""
    return _connections([site for site in sites if is_present(site)]) + RESERVE


def _files_for_connections(values: Mapping[str, Any]) -> list[str]:
    given, least = values["nginx_open_files"], least_open_files(values["nginx_sites"])
    if given >= least:
        return []
    reason = f"the sites' limits.clients ask for {least - RESERVE} connections, a file each"
    return [f"nginx_open_files: {given} are too few, since {reason}: say at least {least}, or fewer clients"]


def listening(sites: Any) -> list[dict[str, Any]]:
    """The ports that present sites are to have, as the preflight module takes them. Raises RoleValueError."""
    return [
        {"name": site["name"], "address": place["address"], "port": place["port"], "unit": UNIT}
        for site in check(sites)
        if site["state"] == "present"
        for place in (*site["listen"], *site["redirect"])
    ]


VARIABLES: Mapping[str, Key] = {
    "nginx_sites": Key(Items(SITE), "The sites of this host.", default=[]),
    "nginx_packages": Key(
        Items(Text(), min_items=1),
        "Debian's nginx, and what tells when certificates end; C(NAME=VERSION) pins.",
        default=["nginx", "openssl"],
    ),
    "nginx_stream_packages": Key(
        Items(Text(), min_items=1),
        "What sites of C(protocol: tcp) need beside it; C(NAME=VERSION) pins.",
        default=["libnginx-mod-stream"],
    ),
    "nginx_program": Key(FILE, "The program, for C(nginx -t).", default="/usr/sbin/nginx"),
    "nginx_open_files": Key(
        Integer(1024, 1_073_741_816),
        "C(LimitNOFILE) of nginx.service, from its next start on; enough for all clients that sites are for.",
        default=OPEN_FILES,
    ),
    "nginx_hardening": Key(Boolean(), "Harden nginx.service by a drop-in, from its next start on.", default=True),
    "nginx_disable_default_site": Key(
        Boolean(), "Take Debian's welcome page off port 80, as long as nobody changed it.", default=True
    ),
    "nginx_health_timeout_seconds": Key(
        Integer(1, 3600), "How long a site may take to answer after a reload.", default=30
    ),
    "nginx_remove_data": Key(Boolean(), "Remove the logs of absent sites.", default=False),
}
"""All variables of the role."""


_DEFAULT_SITE = {
    "link": "/etc/nginx/sites-enabled/default",
    "target": "/etc/nginx/sites-available/default",
    "package": "nginx-common",
}


def _packages(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """What present sites need of the distribution, without Debian's welcome page."""
    present = [site for site in values["nginx_sites"] if is_present(site)]
    if not present:
        return {"names": []}
    withdraw = [_DEFAULT_SITE] if values["nginx_disable_default_site"] else []
    directive = {"path": "/etc/nginx/nginx.conf", "directive": "worker_connections"}
    minimums = [{**directive, "value": _connections(present)}]
    streams = any(site.get("protocol") == "tcp" for site in present)
    names = [*values["nginx_packages"], *(values["nginx_stream_packages"] if streams else ())]
    return {"names": names, "withdraw": withdraw, "minimums": minimums}


ROLES = {"nginx": VARIABLES}
TOGETHER = {"nginx": _files_for_connections}
PACKAGES = {"nginx": _packages}
INFRASTRUCTURE = {"nginx": "front"}
SHARED = {"nginx": UNIT}
INSTANCES = {"nginx_sites": check}
LISTENING = {"nginx_sites": listening}
