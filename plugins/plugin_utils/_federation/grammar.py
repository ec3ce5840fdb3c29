# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What may stand in a document and in a viewpoint, as types. What a stack's section takes comes from its kind."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from ...module_utils._pki.description import SERIAL
from . import acme
from .certificates import LIFETIME_DAYS
from .kinds import Kind, kinds
from .model import Path
from .schema import (
    PORT,
    STATE,
    Boolean,
    Choice,
    Integer,
    Items,
    Key,
    OneOf,
    Partial,
    Reference,
    Rule,
    Section,
    Table,
    Text,
    Variant,
)

PLUGIN = "fedlearn.infra.federation"
VERSION = 1

_NAME = Text(format="name")
_ADDRESS = Text(format="address_or_name")


def _one_address(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    given = [key for key in ("address", "addresses", "first_address") if key in values]
    return [((given[1],), f"'{given[0]}' is given too: a host has one of them")] if len(given) > 1 else []


def _external_has_nothing_of_ours(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    if not values["external"]:
        message = "is for external parties: the CA of a party with hosts follows from its pki"
        return [(("ca",), message)] if "ca" in values else []
    ours = [key for key in ("hosts", "pki", "time_sync", "firewall") if key in values]
    return [((key,), "an external party runs its side itself: it has no such key") for key in ours]


_CONNECTION = Section(
    {
        "ansible_user": Key(
            Text(pattern=r"[A-Za-z_][A-Za-z0-9_.@-]{0,63}", pattern_name="a user's name"),
            "Whom ssh logs in as.",
            example="ops",
        ),
        "ansible_port": Key(PORT, "The port of its ssh server.", example=2222),
    },
    hint="vars take ansible_user and ansible_port only, others belong in the party's own group_vars or host_vars",
)

_ADDRESSES = Section(
    {
        "ssh": Key(_ADDRESS, "What the control node connects to.", required=True, example="10.1.0.12"),
        "internal": Key(
            Items(Text(format="address"), min_items=1, max_items=8, single=True),
            "What components listen on and other hosts connect to.",
            required=True,
            example=["10.20.0.12", "fd00::12"],
        ),
    }
)

HOST = Section(
    {
        "address": Key(_ADDRESS, "For ssh and traffic; without any, the host's name is it.", example="10.20.0.11"),
        "addresses": Key(_ADDRESSES, "Where ssh and traffic differ, or there are several."),
        "first_address": Key(
            Items(Text(format="address"), min_items=1, max_items=2, single=True),
            "The first name's address where the key is a range; the others count up from it.",
            example="10.20.1.1",
        ),
        "public_name": Key(_ADDRESS, "What clients and other parties call it.", example="ms2.example"),
        "vars": Key(_CONNECTION, "How ssh connects.", default={}),
        "state": Key(STATE, "absent: all that is ours is removed from it.", default="present"),
    },
    rules=(Rule("One of address, addresses and first_address.", _one_address),),
)

_HOST_FILE = Text(
    pattern=r"(?:/(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._@+-]|\{name\}|\{host\})+){2,}",
    pattern_name="an absolute path on the host of letters, digits and ._@+/-, with {name} and {host} where they differ",
)
_PKI_KEYS = {
    "ca": ("csr", "provided", "acme"),
    "crl": ("csr", "provided"),
    "certificate_file": ("provided",),
    "key_file": ("provided",),
    "acme": ("acme",),
    "permitted": ("ownca", "acme"),
    "revoked": ("ownca", "acme"),
}
_NEEDED = {
    "provided": {"certificate_file": "where they lie on the hosts", "key_file": "where they lie on the hosts"},
    "acme": {"acme": "which server is asked, acme: {directory: URL}"},
}
_ACME = Section(
    {
        **acme.keys(Text(format="path")),
        "inner_port": Key(
            PORT, "On loopback, where hosts answer for http-01 while nginx has port 80 and leads there.", default=9080
        ),
    },
    rules=(acme.HOOK,),
)
_PERMITTED = Section(
    {
        "names": Key(
            Items(Text(format="dns_name")),
            "DNS names, each with all below it. Certificates of services then carry their name below the first.",
            default=[],
            example=["lab.example"],
        ),
        "networks": Key(
            Items(Text(format="network")),
            "Networks of addresses; hosts' own loopback is always among them.",
            default=[],
            example=["10.20.0.0/16"],
        ),
    },
    hint="names and networks are all there is to permit",
)


def _words(modes: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(modes[:-1]), modes[-1]) if part)


def _as_its_mode_says(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Who signs elsewhere is known by a CA; where certificates are provided, by paths; an ACME server by its URL."""
    mode = values["mode"]
    wrong: list[tuple[Path, str]] = [
        ((key,), f"is for mode {_words(modes)}, not {mode}")
        for key, modes in _PKI_KEYS.items()
        if key in values and mode not in modes
    ]
    needed = _NEEDED.get(mode, {}).items()
    return wrong + [(("mode",), f"the key '{key}' is missing: {why}") for key, why in needed if key not in values]


PKI = Section(
    {
        "mode": Key(
            Choice(("ownca", "csr", "provided", "acme")),
            "Who signs: a CA of our own, whoever gets the requests, or nobody (they are provided). With acme a server "
            "does for what nginx shows to everybody (dc_federated's proxy; DPSA's two sides with "
            "`certificates: public`), and a CA of our own for all else, since no such server certifies addresses.",
            default="ownca",
        ),
        "lifetime_days": Key(
            Integer(1, 825), "How long a certificate of our own CA is valid.", default=LIFETIME_DAYS, unit="days"
        ),
        "ca": Key(
            Text(format="path"),
            "Where others sign (csr, provided, acme): the file beside the document with their CA's certificates; "
            "without it public/<party>/<party>.pem of the state folder, with acme public/<party>/<party>_public.pem.",
            example="files/lab-ca.pem",
        ),
        "crl": Key(
            Text(format="path"),
            "The file beside the document with what that CA has withdrawn, a list (CRL) for each of its certificates, "
            "laid there anew before the former one ends. Then nginx and PostgreSQL refuse who is on it, and everybody "
            "once it has ended: `status` tells its days.",
            example="files/lab-ca.crl.pem",
        ),
        "certificate_file": Key(
            _HOST_FILE,
            "With provided: where certificates lie on the hosts, each with what leads to its CA; {name} is the "
            "certificate's name, {host} the host's.",
            example="/etc/ssl/fedlearn/{name}.pem",
        ),
        "key_file": Key(_HOST_FILE, "With provided: where their keys lie.", example="/etc/ssl/fedlearn/{name}.key"),
        "acme": Key(
            _ACME,
            "How the server is asked; to name one is to accept its terms.",
            example={"directory": "https://acme-v02.api.letsencrypt.org/directory", "contact": "ops@lab.example"},
        ),
        "permitted": Key(
            _PERMITTED,
            "All that the CA may certify, by its own certificate: who got hold of its key could pass for nobody else. "
            "A host outside is a mistake; of what isn't said anything goes.",
            example={"names": ["lab.example"], "networks": ["10.20.0.0/16"]},
        ),
        "revoked": Key(
            Items(
                Text(pattern=SERIAL.pattern, pattern_name="a serial number, as `openssl x509 -noout -serial` says it")
            ),
            "Serial numbers of certificates that nobody is to trust any more, though their owner stays. Those of whom "
            "the document doesn't name any more are withdrawn without being listed.",
            example=["4B1F09E2"],
        ),
    },
    rules=(Rule("Keys are those of the mode.", _as_its_mode_says),),
)


def _only_for_chrony(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    if values["mode"] == "check_only":
        keys = [key for key in ("servers", "nts") if values[key]]
        return [((key,), "is for mode chrony: check_only leaves the hosts' clocks to others") for key in keys]
    if values["nts"] and not values["servers"]:
        return [(("nts",), "there are no servers to ask by it: Debian's pool knows no NTS")]
    return []


TIME_SYNC = Section(
    {
        "mode": Key(
            Choice(("chrony", "check_only")),
            "Who keeps the clocks right: chrony, which we configure, or something of the organisation's own.",
            default="chrony",
        ),
        "servers": Key(
            Items(_ADDRESS),
            "Whom chrony takes the time from; none: those of a host's chrony.conf, Debian's pool at first.",
            default=[],
            example=["ntp1.lab.example", "10.20.0.5"],
        ),
        "nts": Key(Boolean(), "Ask them by NTS: they prove by a certificate who they are.", default=False),
    },
    rules=(Rule("Servers, and NTS with them, are for mode chrony.", _only_for_chrony),),
)

FIREWALL = Section(
    {
        "mode": Key(
            Choice(("off", "report", "enforce")),
            "enforce drops what no flow names, report counts it, off takes the rules away.",
            default="off",
            example="report",
        ),
        "default_drop": Key(
            Boolean(), "Also drop what no federation of the host names, such as other services there.", default=False
        ),
        "sources": Key(
            Table(Text(), Items(Text(format="network"))),
            "From which networks those come whom flows name: a party, a host, clients, or acme-server. Where it isn't "
            "said, hosts come from their addresses, and everybody else from anywhere.",
            default={},
            example={"clinic-b": ["203.0.113.0/24"]},
        ),
    }
)

PARTY = Section(
    {
        "external": Key(Boolean(), "A partner who runs its side otherwise, without hosts here.", default=False),
        "ca": Key(Text(format="path"), "An external party's CA certificate.", example="public/clinic-b/ca.pem"),
        "pki": Key(PKI, "Where the party's certificates come from.", example={"mode": "ownca"}),
        "time_sync": Key(
            TIME_SYNC,
            "Who keeps its hosts' clocks right, and that precheck refuses wrong ones; without it neither is looked at.",
            example={"servers": ["ntp1.lab.example"]},
        ),
        "firewall": Key(
            FIREWALL,
            "Whether its hosts let only those in whom flows name; without it their rules aren't touched.",
            example={"mode": "enforce"},
        ),
        "hosts": Key(
            Table(Text(), OneOf((_ADDRESS, HOST))),
            "Its hosts by name, or ranges of names; the short form is only the address.",
            example={"ms1": "10.20.0.11", "w[01:40].lab.example": {"first_address": "10.20.1.1"}},
        ),
    },
    rules=(
        Rule(
            "An external party has no hosts, pki, time_sync or firewall, another no ca.", _external_has_nothing_of_ours
        ),
    ),
)

CLUSTER = Section(
    {
        "party": Key(Reference("party"), "Whose cluster it is.", required=True, example="lab"),
        "kubeconfig": Key(Text(format="path"), "How to reach it.", required=True, example="files/kc.kubeconfig"),
    }
)

VIEWPOINT = Section(
    {
        "plugin": Key(Choice((PLUGIN,)), "Says whose inventory source this is.", required=True),
        "document": Key(Text(), "The document, from here.", required=True, example="../federation.yml"),
        "party": Key(_NAME, "Emit this party's hosts only.", example="clinic-a"),
        "signers": Key(
            Table(
                _NAME,
                Items(
                    Text(
                        pattern=r"SHA256:[A-Za-z0-9+/]{43}", pattern_name="a fingerprint, as `ssh-keygen -l` writes it"
                    ),
                    min_items=1,
                ),
            ),
            "Whose signatures are believed of what each other party hands over: the fingerprints that its "
            "`fedlearn.infra.exchange` prints, told by another way than the folder comes.",
            default={},
            example={"clinic-b": ["SHA256:uL8Vw0iPpBwJ9Dvl3qyTJ1cZ1hGZb3mTDPzmnsLcnWQ"]},
        ),
        "overlay": Key(
            Text(format="path"),
            "A file merged over the document: mappings key by key, lists replaced, null deletes. With `party`, and "
            "other parties that deploy by the document: only what is that party's own affair.",
            example="files/production.yml",
        ),
    }
)


def stack_section(kind: Kind) -> Section:
    """What a stack of the kind takes."""
    keys = {
        "kind": Key(Choice((kind.NAME,)), "Which system.", required=True),
        "state": Key(STATE, "absent: all of it is stopped and removed; data stay.", default="present"),
    }
    if kind.TLS:
        keys["tls"] = Key(Boolean(), "Encrypt all traffic.", default=True)
    keys["settings"] = Key(Partial(kind.SETTINGS), "The system's own configuration keys, merged over the derived ones.")
    return Section({**keys, **kind.PLACEMENTS})


@functools.cache
def document_section() -> Section:
    """What a document takes."""
    stacks = Variant("kind", {name: stack_section(kind) for name, kind in kinds().items()}, "kind")
    return Section(
        {
            "plugin": Key(Choice((PLUGIN,)), "Says whose inventory source this is.", required=True),
            "version": Key(Integer(VERSION, VERSION), "The version of the document's form.", required=True),
            "federation": Key(_NAME, "Its name, part of unit and path names.", required=True, example="demo"),
            "parties": Key(Table(_NAME, PARTY), "Who takes part.", required=True),
            "clusters": Key(Table(_NAME, CLUSTER), "Kubernetes clusters, by name.", default={}),
            "stacks": Key(Table(_NAME, stacks), "The systems that run, by name.", default={}),
        }
    )
