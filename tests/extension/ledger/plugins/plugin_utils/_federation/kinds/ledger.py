# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ledger: lines in a PostgreSQL database, written and read by a clerk over HTTP.

The smallest system that has data and a password: what backup, restore and rotate are tried on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from .. import certificates
from ..expanding import Roster, endpoint, instance_name, own_address
from ..model import Certificate, Expansion, Federation, Flow, Path, Secret, Stack
from ..nodes import Report
from ..schema import Key, Place, Section

NAME = "ledger"
TLS = False  # there is no choice: the database is asked over TLS only
ROLES: Mapping[str, str] = {"ledger_clerk": "service"}
PLACEMENTS: Mapping[str, Key] = {
    "database": Key(Place(port=5432), "The PostgreSQL server.", required=True),
    "clerk": Key(Place(port=7009), "Who writes and reads, of the database's party.", required=True),
}
SETTINGS = Section({})
OWN_KEYS: Collection[str] = ()
UPPER_BOUNDS: Collection[Path] = ()
EXAMPLE = """\
database: {host: host1}
clerk: {host: host2}                       # http://host2:7009
"""
MEMORY_MB = 256


def expand(stack: Stack, federation: Federation, report: Report) -> Expansion:
    """A database with one client, who has two logins; and that client."""
    place, clerk = stack.placements["database"], stack.placements["clerk"]
    roster = Roster(federation, stack)
    for host in place.absent:
        roster.absent("postgresql", "database", "database", host)
    for host in clerk.absent:
        roster.absent("ledger_clerk", "clerk", "clerk", host)
    if not place.hosts or not clerk.hosts:
        return Expansion(components=tuple(roster.components), variables=roster.variables)
    home, writer = federation.host(place.hosts[0]), federation.host(clerk.hosts[0])
    address, own = own_address(place, home, report), own_address(clerk, writer, report)
    if address is None or own is None:
        return Expansion()
    authority = certificates.party_authority(federation, federation.parties[home.party])
    served, trusts = (instance_name(federation, stack, part) for part in ("database", "clerk"))
    files = certificates.paths(federation.name, served)
    login = {"database": "ledger", "secret": f"{stack.name}_ledger", "in_turn": True}
    database = {
        "addresses": [address],
        "port": place.listening_port,
        "memory_mb": MEMORY_MB,
        "tls": {key: files[key] for key in ("certificate", "key", "ca")},
        "databases": [{"name": "ledger"}],
        "clients": [{"name": "clerk", "connections": 5, "addresses": list(writer.internal), **login}],
    }
    reached = endpoint(place, home, "postgresql", address, place.listening_port, public=False)
    roster.present("postgresql", "database", "database", home.name, database, [reached])
    asks = {"host": address, "port": place.listening_port, "login": "clerk", "name": "ledger"}
    values = {
        "address": own,
        "port": clerk.listening_port,
        "database": asks | {"secret": login["secret"], "ca": certificates.paths(federation.name, trusts)["ca"]},
    }
    http = endpoint(clerk, writer, "http", own, clerk.listening_port, scheme="http")
    roster.present("ledger_clerk", "clerk", "clerk", writer.name, values, [http])
    names, addresses = certificates.serving_names(place, home, address)
    common_name = certificates.common_name(served, home.name)
    return Expansion(
        components=tuple(roster.components),
        authorities=(authority,),
        certificates=(
            Certificate(served, home.name, authority.name, common_name, names, addresses),
            certificates.trusted(trusts, writer.name, authority.name),
        ),
        secrets=(Secret(str(login["secret"]), home.party, "the clerk's password", in_turn=True),),
        flows=(
            Flow(writer.name, home.name, place.listening_port, "database", "TLS, password"),
            Flow("clients", writer.name, clerk.listening_port, "ledger", "none"),
        ),
        variables=roster.variables,
    )
