# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host may ask the party's CA for: the certificates that are described for it, and no word more."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ansible_collections.fedlearn.infra.plugins.action.certificates import (
    ActionModule,
    _anchors,
    _exchange,
    _fingerprint,
    _revoked,
    _sign,
    _told,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import (
    AuthorityDescription,
    Description,
    DescriptionError,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.openssl import challenge
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority, Trust
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.register import Issued
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.requests import Desk, Waiting
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import AuthorityError

NONCE = "0" * 32
WEB = Description("web", "demo", "present", "lab", "web.host1", ("web",), (), ("server",))


def request(name: str, nonce: str = NONCE) -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, challenge(nonce, name))])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.fixture
def authorities(tmp_path: Path) -> dict[str, Authority]:
    made = Authority(AuthorityDescription("lab", "lab", "ownca", "demo lab CA"), str(tmp_path), lambda: "p" * 64)
    made.make()
    return {"lab": made}


def test_what_partners_compare_is_what_openssl_tells(authorities: dict[str, Authority]) -> None:
    path = authorities["lab"].certificate_path
    told = subprocess.run(
        ["openssl", "x509", "-in", path, "-noout", "-fingerprint", "-sha256"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert told.stdout.strip().partition("=")[2] == _fingerprint(authorities["lab"])


def test_what_is_described_is_signed(authorities: dict[str, Authority]) -> None:
    issued = _sign({"web": request("web")}, {"web": WEB}, authorities, NONCE, "host1")
    certificate = x509.load_pem_x509_certificate(issued["web"].encode())
    assert certificate.subject.rfc4514_string() == "CN=web.host1"
    [known] = authorities["lab"].register.issued("host1")
    assert (int(known.serial, 16), known.certificate) == (certificate.serial_number, "web")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"web": request("web"), "store": request("store")}, "asks for a certificate 'store' that isn't described"),
        ({"web": request("store")}, "certificate web: .* was not made in this run for this certificate"),
        ({"web": request("web", "1" * 32)}, "certificate web: .* was not made in this run for this certificate"),
        ({"web": None}, "certificate web: .* is no text of at most 16384 characters"),
        ({5: request("web")}, "asks for a certificate '5' that isn't described for it"),
        ([request("web")], "the host's signing requests are no mapping of names to requests"),
        (request("web"), "the host's signing requests are no mapping of names to requests"),
    ],
    ids=["one more", "for another", "an earlier run's", "none", "a number", "a list", "a text"],
)
def test_a_host_gets_nothing_that_is_not_described_for_it(
    authorities: dict[str, Authority], asked: Any, message: str
) -> None:
    with pytest.raises(AuthorityError, match=message):
        _sign(asked, {"web": WEB}, authorities, NONCE, "host1")


def test_lists_are_given_where_each_of_those_trusted_has_one(authorities: dict[str, Authority]) -> None:
    lab, partner = authorities["lab"].trust(), Trust(None, "partner's")
    assert lab.crl
    for trust, crl in ((("lab",), lab.crl), (("lab", "other"), lab.crl + lab.crl), (("lab", "partner"), "")):
        trusts = {"lab": lab, "other": lab, "partner": partner}
        assert _anchors(replace(WEB, trust=trust), trusts, authorities)["crl"] == crl


def test_a_ca_elsewhere_has_the_lists_that_it_gave(authorities: dict[str, Authority], tmp_path: Path) -> None:
    """Here it is our own, as its partner sees it."""
    lab = authorities["lab"]
    seen = AuthorityDescription("lab", "lab", "csr", "", ca=lab.certificate_path, crl=lab.crl_path)
    authority = Authority(seen, str(tmp_path), str)
    without = Authority(replace(seen, crl=None), str(tmp_path), str)
    for each, crl in ((authority, lab.trust().crl), (without, "")):
        given = _anchors(replace(WEB, trust=("lab",)), {"lab": each.trust()}, {"lab": each})
        assert (given["crl"], given["foreign"]) == (crl, True)


def test_a_host_is_told_which_numbers_its_certificates_must_not_have(authorities: dict[str, Authority]) -> None:
    lab, mail = authorities["lab"], replace(WEB, name="mail")
    rows = [("0A", "host1", "web"), ("0B", "host2", "web"), ("0C", "", ""), ("0D", "host1", "mail")]
    lab.register.revoke([Issued(number, 1 << 33, host, "demo", name) for number, host, name in rows], 1)
    told = {item.name: numbers for item, numbers in _revoked([WEB, mail], authorities, "host1")}
    assert told == {"web": ["0A", "0C"], "mail": ["0D", "0C"]}


def test_without_the_group_nobody_is_taken_for_gone(authorities: dict[str, Authority]) -> None:
    module = object.__new__(ActionModule)
    given = {"inventory_hostname": "host1", "groups": {"all": ["host1"]}}
    with pytest.raises(DescriptionError, match="there is no group pki in the inventory"):
        module._withdraw([], authorities, {"group": "pki", "group_size": None, "expected": []}, given)


@pytest.mark.parametrize(("hosts", "gone"), [(["host1"], []), ([], []), (["host1", "host3"], ["host2"])])
def test_a_part_of_the_inventory_takes_nobody_for_gone(
    authorities: dict[str, Authority], hosts: list[str], gone: list[str]
) -> None:
    """As the jobs of AWX's slices have it: each knows some of the two hosts that there are."""
    lab = authorities["lab"]
    for host in ("host1", "host2"):
        lab.register.add(host, [Issued(f"0{host[-1]}", 1 << 33, host, "demo", "web")], 1)
    module = object.__new__(ActionModule)
    module._task = SimpleNamespace(check_mode=False)
    given = {"inventory_hostname": "host1", "groups": {"pki": hosts} if hosts else {}}
    options = {"group": "pki", "group_size": 2, "expected": ["web"]}
    module._withdraw([], {"lab": lab}, options, given)
    assert sorted(each.host for each in lab.register.revoked()) == gone


class Lacking(ActionModule):  # type: ignore[misc]  # Ansible has no types
    """The action on a host that lacks openssl until it is installed, and what it has executed there."""

    def __init__(self, fails: str = "") -> None:
        self.fails, self.executed, self._templar = fails, [], None

    def _execute_module(self, module_name: str = "", module_args: Any = None, **_more: Any) -> dict[str, Any]:
        self.executed.append((module_name.rpartition(".")[2], module_args.get("names")))
        if module_name == "fedlearn.infra.packages":
            return {"failed": True, "msg": self.fails} if self.fails else {"changed": True}
        if ("packages", ["openssl=3"]) in self.executed:
            return {"changed": False, "certificates": {}}
        return {"failed": True, "msg": "there is no openssl on this host", "missing": ["openssl"]}


def test_what_the_host_lacks_is_installed_where_packages_are_named_for_it() -> None:
    options = {"packages": {"openssl": ["openssl=3"], "dehydrated": ["dehydrated"]}, "lock_timeout": 7}
    action = Lacking()
    done = action._equipped({}, options, {})
    assert action.executed == [("certificates", None), ("packages", ["openssl=3"]), ("certificates", None)]
    assert (done["changed"], done["installed"]) == (True, ["openssl=3"])
    assert _told(done, {}, [])["changed"]
    without = Lacking()._equipped({}, {**options, "packages": {}}, {})
    assert (without["failed"], without["msg"]) == (True, "there is no openssl on this host")
    with pytest.raises(AnsibleActionFail, match="can't be installed"):
        Lacking("openssl=3 can't be installed")._equipped({}, options, {})


def result(*names: str, **more: Any) -> dict[str, Any]:
    """What the module said of certificates that it asked for."""
    outcome = {"action": "issued", "changed": True, "reasons": ["there is no certificate yet"], "files": []}
    rows = {name: {**outcome, "reasons": [*outcome["reasons"]]} for name in names}
    return {"changed": True, "certificates": rows, "diff": {"before": dict(rows), "after": dict(rows)}, **more}


WAITING = Waiting("/s/web.csr", "/s/web.pem", laid=False)
LINE = "certificate web waits to be signed: the request is /s/web.csr, and the certificate belongs into /s/web.pem"


def test_who_has_no_certificate_that_will_do_fails_and_says_what_it_waits_for() -> None:
    found = _told(result("web"), {"web": WAITING}, [])
    assert (found["failed"], found["msg"], found["changed"]) == (True, LINE, False)
    row = found["certificates"]["web"]
    assert (row["action"], row["changed"], row["reasons"][-1]) == ("waiting", False, LINE)
    assert found["diff"] == {"before": {}, "after": {}}
    laid = _told(result("web"), {"web": Waiting("/s/web.csr", "/s/web.pem", laid=True)}, [])
    assert laid["changed"]


def test_who_has_one_that_will_do_goes_on_with_a_warning_and_nothing_of_the_others_is_lost() -> None:
    found = _told(result("web", "store"), {"web": WAITING}, ["web"])
    assert (found.get("failed"), found["warnings"], found["changed"]) == (None, [LINE], True)
    found = _told(result("web", failed=True, msg="certificate store: no"), {"web": WAITING}, [])
    assert found["msg"] == f"certificate store: no\n{LINE}"


def test_a_refused_answer_fails_even_where_the_present_one_will_do() -> None:
    found = _told(result("web"), {"web": AuthorityError("certificate web: it is wrong")}, ["web"])
    assert (found["failed"], found["msg"]) == (True, "certificate web: it is wrong")


def test_each_request_is_answered_on_its_own(tmp_path: Path) -> None:
    desks = {name: Desk(str(tmp_path), "lab", "host1") for name in ("web", "store")}
    store = Description("store", "demo", "present", "lab", "store.host1", usages=("client",))
    issued, still_open = _exchange({"web": "x", "store": "y"}, {"web": WEB, "store": store}, desks)
    assert issued == {}
    assert [str(matter).partition(":")[0] for matter in still_open.values()] == ["certificate web", "certificate store"]
