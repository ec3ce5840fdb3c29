# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the pki role takes. What only a look at CAs can tell is told by the ``certificates`` action."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...module_utils._pki import description
from .._federation import acme
from .._federation.model import MAX_CERTIFICATE_NAME, Path
from .._federation.schema import PORT, Boolean, Choice, Integer, Items, Key, Rule, Section, Text
from .checking import check_value, without_nulls

_NAME = Text(
    max_length=MAX_CERTIFICATE_NAME,
    pattern=description.NAME.pattern,
    pattern_name="a name: a-z, 0-9, '-' and '_', a letter or digit at its ends",
)
_COMMON_NAME = Text(
    max_length=64,
    pattern=description.COMMON_NAME.pattern,
    pattern_name="a common name: letters, digits, blanks and . _ @ : -",
)
_DNS_NAME = Text(pattern=description.DNS_NAME.pattern, pattern_name="a DNS name")
_KEY_TYPE = Text(
    pattern=description.KEY_TYPE.pattern,
    pattern_name="a type of key: ec-p256, ec-p384, rsa-3072, rsa-4096",
)
_SERIAL = Text(
    pattern=description.SERIAL.pattern, pattern_name="a serial number as `openssl x509 -noout -serial` prints it"
)
_DAYS = Integer(1, 36500)


def _complete(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """A present certificate says whose it is and who signs; a server's what it is valid for."""
    if values["state"] == "absent":
        return []
    if not values["usages"]:
        return _only_trusted(values)
    breaches: list[tuple[Path, str]] = []
    if ("certificate_file" in values) != ("key_file" in values):
        breaches.append(((), "'certificate_file' and 'key_file' are given together"))
    breaches += [((), f"the key '{key}' is missing") for key in ("authority", "common_name") if key not in values]
    if "server" in values["usages"] and not values["dns_names"] and not values["addresses"]:
        breaches.append(((), "a server's certificate needs at least one of 'dns_names' and 'addresses'"))
    bits = description.key_bits(values["key_type"])
    low, high = description.RSA_BITS
    if bits is not None and not low <= bits <= high:
        breaches.append((("key_type",), f"RSA keys have {low} to {high} bits: MindSpore Federated fails with less"))
    return breaches


def _only_trusted(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """Without usages it is no certificate, but what something trusts."""
    if values["trust"] and "authority" not in values:
        return []
    way_out = "say server, client or both; or give only 'trust', where it is to be no certificate"
    return [(("usages",), f"are none: {way_out}")]


CERTIFICATE = Section(
    {
        "name": Key(_NAME, "Names it and its directory C(/etc/fedlearn/<federation>/pki/<name>).", required=True),
        "state": Key(
            Choice(("present", "absent")), "V(absent) removes the directory with all of it.", default="present"
        ),
        "federation": Key(_NAME, "The federation it belongs to.", required=True),
        "stack": Key(Text(), "The stack of a federation document it comes from; the role doesn't use it."),
        "authority": Key(_NAME, "The authority that signs."),
        "common_name": Key(_COMMON_NAME, "The subject's common name."),
        "dns_names": Key(Items(_DNS_NAME), "Host names it is valid for.", default=[]),
        "addresses": Key(Items(Text(format="address")), "Addresses it is valid for.", default=[]),
        "usages": Key(
            Items(Choice(("server", "client"))),
            "What it may be used for; C([]) where something only trusts: then C(ca.pem) is all there is.",
            default=["server"],
        ),
        "key_type": Key(_KEY_TYPE, "The key.", default="ec-p256"),
        "lifetime_days": Key(_DAYS, "Days it is valid; less when its CA ends sooner.", default=397),
        "formats": Key(
            Items(Choice(("pem", "pkcs12"))), "PEM is always there; V(pkcs12) adds a bundle.", default=["pem"]
        ),
        "trust": Key(
            Items(_NAME), "Authorities whose certificates make up C(ca.pem); empty: the signing one.", default=[]
        ),
        "certificate_file": Key(
            acme.HOST_PATH,
            "Of a V(provided) authority: the file on the host that holds it, and after it what leads to its CA.",
        ),
        "key_file": Key(acme.HOST_PATH, "The file on the host that holds its key, not encrypted."),
    },
    rules=(Rule("A present certificate is described whole.", _complete),),
)

_ACME = Section(
    {
        **acme.keys(Text()),
        "address": Key(Text(format="address"), "Where the host answers; default: on all addresses."),
        "port": Key(PORT, "The port it answers on while it asks; the server comes to 80.", default=80),
        "inner_port": Key(
            PORT,
            "On loopback, a port to answer on too: then a proxy may have O(port) and lead the questions there.",
        ),
    },
    rules=(acme.HOOK,),
)


def _asked(values: Mapping[str, Any]) -> list[tuple[Path, str]]:
    """An ACME server has to be named where there is one."""
    if (values["mode"] == "acme") == ("acme" in values):
        return []
    return [(("acme",), "is what mode acme takes, and only that")]


AUTHORITY = Section(
    {
        "name": Key(_NAME, "Name of the authority.", required=True),
        "party": Key(_NAME, "The party it belongs to.", required=True),
        "mode": Key(
            Choice(("ownca", "external", "csr", "provided", "acme")),
            "V(ownca) signs on the control node, for V(csr) somebody else does, certificates of V(provided) lie on the "
            "host, V(external) is only trusted; of an V(acme) server the host asks for them.",
            default="ownca",
        ),
        "common_name": Key(_COMMON_NAME, "The CA's common name; it keeps the one it was made with."),
        "lifetime_days": Key(_DAYS, "Days a CA is valid when it is made.", default=3650),
        "ca": Key(
            Text(),
            "Unless V(ownca), the file on the control node that holds its certificates, as absolute path; otherwise "
            "C(public/<party>/<name>.pem).",
        ),
        "crl": Key(
            Text(),
            "With V(csr), V(provided) and V(external), the file on the control node with what it withdrew: a list "
            "(CRL) for each certificate of O(ca).",
        ),
        "published": Key(
            Items(Text()),
            "With V(ownca), other files that may hold its certificate: where one does, it is made already and its key "
            "has to be brought.",
            default=[],
        ),
        "permitted_names": Key(
            Items(Text(format="dns_name")),
            "With V(ownca), the DNS names it may certify, each with all below; empty: any. They stand in its own "
            "certificate, from when it is made.",
            default=[],
        ),
        "permitted_networks": Key(
            Items(Text(format="network")), "The networks of the addresses it may certify; empty: any.", default=[]
        ),
        "acme": Key(_ACME, "How an V(acme) authority is asked; to name a server here is to accept its terms."),
        "revoked": Key(
            Items(_SERIAL),
            "With V(ownca), serial numbers to withdraw, besides those of certificates that are absent.",
            default=[],
        ),
    },
    rules=(Rule("An ACME server is named.", _asked),),
)


def check(certificates: Any) -> list[dict[str, Any]]:
    """``pki_certificates`` with defaults. Raises RoleValueError."""
    checked: list[dict[str, Any]] = check_value("pki_certificates", without_nulls(certificates), Items(CERTIFICATE))
    return checked


def check_authorities(authorities: Any) -> list[dict[str, Any]]:
    """``pki_authorities`` with defaults. Raises RoleValueError."""
    checked: list[dict[str, Any]] = check_value("pki_authorities", without_nulls(authorities), Items(AUTHORITY))
    return checked


VARIABLES: Mapping[str, Key] = {
    "pki_certificates": Key(Items(CERTIFICATE), "The certificates of this host.", default=[]),
    "pki_authorities": Key(Items(AUTHORITY), "The authorities that certificates name.", default=[]),
    "pki_remove_absent": Key(
        Boolean(),
        "Remove absent certificates; V(false) leaves them, while services that read them still run.",
        default=True,
    ),
    "pki_renew": Key(
        Boolean(), "Renew every certificate, with a new key, though those that are there would do.", default=False
    ),
    "pki_keep": Key(
        Boolean(),
        "Leave each valid certificate as it is, whatever is described, and bring only what is trusted in line: in step "
        "V(begin) of a change, when the former CA signs still.",
        default=False,
    ),
    "pki_change_step": Key(
        Choice(("begin", "switch", "end", "finish")), "Which step C(tasks_from: change) takes.", default="begin"
    ),
    "pki_state_directory": Key(
        Text(pattern=r"[^\x00-\x1f\x7f]+", pattern_name="the path of a folder on the control node"),
        "Folder on the control node that holds CA keys (.ca/), CA certificates (public/) and secrets (.secrets/).",
        default="{{ fedlearn_state | default(inventory_dir) | fedlearn.infra.state_directory }}",
    ),
    "pki_packages": Key(
        Items(Text(), min_items=1),
        "What makes keys and requests; C(NAME=VERSION) pins.",
        default=["openssl"],
    ),
    "pki_acme_packages": Key(
        Items(Text(), min_items=1),
        "What asks an ACME server, with an authority of mode C(acme); C(NAME=VERSION) pins.",
        default=["dehydrated"],
    ),
}
"""All variables of the role."""


def _packages(values: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Nothing where no certificate is wanted: what is absent is removed without any program."""
    if all(one["state"] == "absent" for one in check(values["pki_certificates"])):
        return {}
    asks = any(one["mode"] == "acme" for one in check_authorities(values["pki_authorities"]))
    return {"names": values["pki_packages"] + (values["pki_acme_packages"] if asks else [])}


ROLES = {"pki": VARIABLES}
PACKAGES = {"pki": _packages}
INFRASTRUCTURE = {"pki": "base"}
INSTANCES = {"pki_authorities": check_authorities, "pki_certificates": check}
