# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate's way on its host, with a CA beside it: asked for, installed, repaired, renewed, removed."""

from __future__ import annotations

import re
import stat
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import converge, openssl
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import (
    AuthorityDescription,
    Description,
    DescriptionError,
    describe,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.facts import Anchors
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.installed import MODES, Layout, recorded
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.outcome import Outcome, RefusedError
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.removal import remove
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.register import Issued, Leaving
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import proven_key

LAB = AuthorityDescription("lab", "lab", "ownca", "demo lab CA")
STORE = Description(
    "store",
    "demo",
    "present",
    "lab",
    "store.host1",
    ("store",),
    ("10.20.0.11",),
    ("server",),
    formats=("pem", "pkcs12"),
)
HERE = {"key.pem", "cert.pem", "chain.pem", "ca.pem", "crl.pem", "bundle.p12", "bundle.password"}


class Host:
    """A host below a folder, and the CA that signs for it."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(*(str(folder / name) for name in ("etc", "lib", "run")))
        for name in ("etc", "lib", "run"):
            (folder / name).mkdir()
        self.pki = folder / "etc/fedlearn/demo/pki/store"
        self.record = folder / "lib/fedlearn/demo/certificates/store.json"
        self.authority = Authority(LAB, str(folder / "state"), lambda: "p" * 64)
        self.authority.make()
        trust = self.authority.trust()
        assert trust.issuer_pem
        self.anchors = Anchors(
            trust.issuer_pem.encode(), trust.issuer_not_after, b"", trust.bundle.encode(), trust.crl.encode()
        )

    def inspect(
        self, wanted: Description = STORE, later: float = 0.0, check: bool = False, renew: bool = False
    ) -> Outcome:
        now = time.time() + later
        return converge.inspect(self.layout, wanted, self.anchors, "nonce", now, check, renew=renew)

    def sign(self, request: str | None, wanted: Description = STORE) -> bytes:
        key = proven_key(request, openssl.challenge("nonce", "store"), wanted)
        return self.authority.sign(wanted, key, datetime.now(UTC).replace(microsecond=0)).public_bytes(Encoding.PEM)

    def install(self, certificate: bytes, wanted: Description = STORE, later: float = 0.0) -> Outcome:
        return converge.install(self.layout, wanted, self.anchors, certificate, time.time() + later)

    def modes(self) -> dict[str, int]:
        return {path.name: stat.S_IMODE(path.stat().st_mode) for path in self.pki.iterdir()}

    def key(self) -> bytes | None:
        """Its public half."""
        return openssl.public_key((self.pki / "key.pem").read_bytes())


@pytest.fixture
def empty(tmp_path: Path) -> Host:
    """A host that has nothing yet."""
    return Host(tmp_path)


@pytest.fixture
def host(empty: Host) -> Host:
    """A host with its certificate."""
    empty.install(empty.sign(empty.inspect().request))
    return empty


def test_a_host_asks_with_a_key_of_its_own_and_installs_what_was_signed(empty: Host) -> None:
    asked = empty.inspect()
    assert (asked.action, asked.reasons) == ("issued", ["there is no certificate yet"])
    assert empty.modes() == {"key.next.pem": 0o600}
    done = empty.install(empty.sign(asked.request))
    assert (done.changed, done.action) == (True, "issued")
    assert empty.modes() == {name: MODES[name] for name in HERE}
    assert recorded(empty.layout, "demo") == ["store"]
    again = empty.inspect()
    assert (again.changed, again.files, again.after) == (False, [], done.after)


def test_a_run_killed_before_the_installation_is_finished_with_the_same_key(empty: Host) -> None:
    empty.inspect()
    key = (empty.pki / "key.next.pem").read_bytes()
    (empty.pki / ".cert.pem.0a.fedlearn-new").write_text("x")
    empty.install(empty.sign(empty.inspect().request))
    assert (empty.pki / "key.pem").read_bytes() == key
    assert set(empty.modes()) == HERE
    assert not empty.inspect().changed


DAMAGE: dict[str, tuple[Callable[[Host], object], str]] = {
    "chain gone": (lambda host: (host.pki / "chain.pem").unlink(), "chain.pem: is missing"),
    "another CA": (lambda host: (host.pki / "ca.pem").write_text("x"), "ca.pem: has other content"),
    "key readable": (lambda host: (host.pki / "key.pem").chmod(0o644), "key.pem: mode 0644, owner "),
    "bundle gone": (lambda host: (host.pki / "bundle.p12").unlink(), "bundle.p12: is missing, or its password is"),
    "bundle broken": (
        lambda host: (host.pki / "bundle.p12").write_text("x"),
        "bundle.p12: doesn't open with its password",
    ),
    "next key left": (
        lambda host: (host.pki / "key.next.pem").write_text("x"),
        "key.next.pem: isn't needed any more",
    ),
    "half written": (
        lambda host: (host.pki / ".cert.pem.0a.fedlearn-new").write_text("x"),
        ".cert.pem.0a.fedlearn-new: isn't needed any more",
    ),
    "no record": (lambda host: host.record.unlink(), "the record of what was verified is missing"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_told_first_and_then_repaired_without_a_new_certificate(host: Host, damage: str) -> None:
    hurt, reason = DAMAGE[damage]
    certificate = (host.pki / "cert.pem").read_bytes()
    hurt(host)
    told, repaired = host.inspect(check=True), host.inspect()
    for outcome in (told, repaired):
        assert (outcome.action, outcome.request) == ("repaired", None)
        assert [text.startswith(reason) for text in outcome.reasons] == [True]
    assert host.modes() == {name: MODES[name] for name in HERE}
    assert (host.pki / "cert.pem").read_bytes() == certificate
    assert not host.inspect().changed


def test_a_secret_that_others_could_read_is_repaired_with_a_warning(host: Host) -> None:
    (host.pki / "key.pem").chmod(0o640)
    assert ["could be read by others than root" in text for text in host.inspect().warnings] == [True]


def test_one_that_was_withdrawn_is_renewed_and_another_ones_number_is_nothing(host: Host) -> None:
    [facts] = [host.inspect().after]
    assert facts
    host.anchors = replace(host.anchors, revoked=("00AB",))
    assert not host.inspect().changed
    host.anchors = replace(host.anchors, revoked=("00AB", facts.serial))
    asked = host.inspect()
    assert asked.reasons == [f"it was withdrawn (serial number {facts.serial})"]
    assert (asked.request is not None, asked.usable) == (True, False)
    host.install(host.sign(asked.request))
    assert not host.inspect().changed


@pytest.mark.parametrize(("days", "told"), [(-1, "begins on"), (4000, "has ended on")])
def test_a_clock_that_is_off_takes_none_and_says_what_it_reads(host: Host, days: int, told: str) -> None:
    before = {path.name: path.read_bytes() for path in host.pki.iterdir()}
    asked = host.inspect(later=days * 86400)
    clock = rf"it {told} \S+, and this host's clock says \S+"
    assert re.match(clock, asked.reasons[0])
    with pytest.raises(RefusedError, match=rf"so nothing was put in place: {clock}"):
        host.install(host.sign(asked.request), later=days * 86400)
    assert {path.name: path.read_bytes() for path in host.pki.iterdir()} == before


def test_one_that_is_to_be_kept_stays_whatever_is_described_while_it_is_valid(host: Host) -> None:
    def inspected(later: float = 0.0) -> Outcome:
        other, now = replace(STORE, dns_names=("other",)), time.time() + later
        return converge.inspect(host.layout, other, host.anchors, "nonce", now, check=True, keep=True)

    assert not inspected().changed
    assert not inspected(later=300 * 86400).changed  # it is for the next CA to renew it
    assert inspected(later=400 * 86400).reasons[0].startswith("it has ended on")
    host.anchors = replace(host.anchors, trust=host.anchors.trust * 2)
    assert inspected().reasons == ["ca.pem: has other content"]


def test_a_new_list_is_put_in_place_and_one_that_cannot_be_whole_goes(host: Host) -> None:
    before = host.inspect()
    assert before.lists_end == host.anchors.issuer_not_after
    host.authority.withdraw(Leaving("host1", absent={("demo", "store")}), datetime.now(UTC))
    gone = Issued("00AB", 1 << 33, "host1", "demo", "store")
    host.authority.register.add("host1", [gone], 0)
    host.authority.withdraw(Leaving("host1", absent={("demo", "store")}), datetime.now(UTC))
    host.anchors = replace(host.anchors, crl=host.authority.trust().crl.encode())
    assert host.inspect(check=True).reasons == ["crl.pem: has other content"]
    assert (host.inspect().files, host.inspect().changed) == (["crl.pem"], False)
    assert b"X509 CRL" in (host.pki / "crl.pem").read_bytes()
    host.anchors = replace(host.anchors, crl=b"")
    found = host.inspect()
    assert (found.reasons, found.lists_end) == (["crl.pem: isn't needed any more"], None)
    assert set(host.modes()) == HERE - {"crl.pem"}


def test_a_bundle_nobody_wants_any_more_goes(host: Host) -> None:
    plain = replace(STORE, formats=("pem",))
    assert sorted(host.inspect(plain).files) == ["bundle.p12", "bundle.password"]
    assert set(host.modes()) == HERE - {"bundle.p12", "bundle.password"}


def test_a_certificate_is_renewed_with_its_key_when_a_third_is_left(host: Host) -> None:
    key, day = host.key(), 86400
    assert host.inspect(later=264 * day).request is None
    asked = host.inspect(later=265 * day)
    assert asked.action == "renewed"
    assert [text.startswith("a third of its lifetime is left") for text in asked.reasons] == [True]
    former = (host.pki / "cert.pem").read_bytes(), (host.pki / "bundle.p12").read_bytes()
    assert host.install(host.sign(asked.request)).action == "renewed"
    assert host.key() == key
    assert (host.pki / "cert.pem").read_bytes() != former[0]
    assert (host.pki / "bundle.p12").read_bytes() != former[1]
    assert not host.inspect().changed


def test_a_renewal_that_was_asked_for_brings_a_new_key_and_one_that_was_cut_off_leaves_the_former(host: Host) -> None:
    key = host.key()
    assert host.inspect(check=True, renew=True).reasons == ["its renewal was asked for"]
    assert set(host.modes()) == HERE
    first = host.inspect(renew=True).request
    assert host.key() == key
    asked = host.inspect(renew=True)
    assert asked.action == "renewed"
    assert proven_key(asked.request, openssl.challenge("nonce", "store"), STORE) == proven_key(
        first, openssl.challenge("nonce", "store"), STORE
    )
    host.install(host.sign(asked.request))
    assert host.key() != key
    assert set(host.modes()) == HERE
    assert not host.inspect().changed


def test_another_kind_of_key_is_a_new_key_which_takes_the_former_s_place(host: Host) -> None:
    wanted, former = replace(STORE, key_type="ec-p384"), host.key()
    asked = host.inspect(wanted)
    assert asked.reasons == ["key_type: is ec-p256, to be ec-p384"]
    assert host.key() == former
    host.install(host.sign(asked.request, wanted), wanted)
    assert host.key() != former
    assert host.modes() == {name: MODES[name] for name in HERE}
    assert not host.inspect(wanted).changed


def test_what_was_signed_for_another_key_or_name_is_refused_and_nothing_changes(host: Host) -> None:
    before = {path.name: path.read_bytes() for path in host.pki.iterdir()}
    other = replace(STORE, common_name="other.host1")
    foreign = host.pki.parent / "foreign.pem"
    foreign.write_bytes(openssl.generate_key("ec-p256"))
    with pytest.raises(RefusedError, match="don't belong together"):
        host.install(host.sign(openssl.request(str(foreign), openssl.challenge("nonce", "store"))))
    asked = host.inspect(other)
    with pytest.raises(RefusedError, match=r"common_name: is other\.host1, to be store\.host1"):
        host.install(host.sign(asked.request, other))
    assert {path.name: path.read_bytes() for path in host.pki.iterdir()} == before


def test_removal_takes_all_that_is_ours_and_tells_what_is_not(host: Host) -> None:
    (host.pki / "notes").write_text("not ours")
    gone = replace(STORE, state="absent")
    foreseen = remove(host.layout, gone, check=True)
    assert set(host.modes()) == HERE | {"notes"}
    outcome = remove(host.layout, gone)
    assert (foreseen.action, foreseen.files) == (outcome.action, outcome.files)
    assert set(host.modes()) == {"notes"}
    assert ["it holds files that aren't ours (notes)" in text for text in outcome.warnings] == [True]
    assert recorded(host.layout, "demo") == []
    assert not remove(host.layout, gone).changed
    (host.pki / "notes").unlink()
    assert remove(host.layout, gone).changed
    assert not host.pki.exists()
    assert not remove(host.layout, gone).changed


def _elsewhere(host: Host) -> Host:
    """The host, its certificates being signed by somebody else."""
    host.anchors = replace(host.anchors, foreign=True)
    return host


def _answered(host: Host, request: str | None, days: int = 397) -> bytes:
    """What somebody else signs, seen with our own CA: of the request only the key counts here."""
    key = x509.load_pem_x509_csr(str(request).encode()).public_key()
    now = datetime.now(UTC).replace(microsecond=0)
    wanted = replace(STORE, lifetime_days=days, dns_names=("store", "more.example"))
    return host.authority.sign(wanted, key, now).public_bytes(Encoding.PEM)  # type: ignore[arg-type]


def test_what_others_are_to_sign_says_all_and_asks_with_the_same_key_until_it_is_signed(empty: Host) -> None:
    host = _elsewhere(empty)
    asked = host.inspect()
    assert (asked.action, asked.usable) == ("issued", False)
    request = x509.load_pem_x509_csr(str(asked.request).encode())
    assert request.subject.rfc4514_string() == "CN=store.host1"
    names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["store"]
    again = host.inspect()
    assert x509.load_pem_x509_csr(str(again.request).encode()).public_key() == request.public_key()
    host.install(_answered(host, again.request, days=200))
    assert set(host.modes()) == HERE
    assert not host.inspect().changed


def test_one_that_others_signed_is_asked_for_anew_in_time_and_will_do_until_then(empty: Host) -> None:
    host, day = _elsewhere(empty), 86400
    host.install(_answered(host, host.inspect().request))
    key = host.key()
    asked = host.inspect(later=265 * day)
    assert (asked.usable, len(asked.reasons)) == (True, 1)
    assert not host.inspect(later=398 * day).usable
    host.install(_answered(host, asked.request))
    assert host.key() == key


def test_a_new_key_that_others_have_not_signed_for_yet_stays_until_they_have(empty: Host) -> None:
    host = _elsewhere(empty)
    host.install(_answered(host, host.inspect().request))
    key = host.key()
    asked = host.inspect(renew=True)
    for _later in range(2):
        waiting = host.inspect()
        assert (waiting.usable, host.key()) == (True, key)
    host.install(_answered(host, waiting.request))
    public = x509.load_pem_x509_csr(str(asked.request).encode()).public_key()
    assert host.key() == public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo) != key
    assert not host.inspect().changed


def test_what_others_signed_otherwise_is_refused(empty: Host) -> None:
    host = _elsewhere(empty)
    lacking = replace(STORE, dns_names=("store", "other"))
    request = host.inspect(lacking).request
    with pytest.raises(RefusedError, match=r"dns_names: lacks other \(has store, more\.example\)"):
        host.install(_answered(host, request), lacking)
    assert set(host.modes()) == {"key.next.pem"}


MISSING = ["ca.pem: is missing", "crl.pem: is missing"]
TRUSTED = Description("store", "demo", "present", usages=(), trust=("lab",))


def test_what_only_trusts_gets_the_cas_and_no_key(empty: Host) -> None:
    foreseen, done = empty.inspect(TRUSTED, check=True), empty.inspect(TRUSTED)
    for outcome in (foreseen, done):
        assert (outcome.action, outcome.reasons, outcome.request) == ("repaired", MISSING, None)
    assert empty.modes() == {"ca.pem": 0o644, "crl.pem": 0o644}
    assert (empty.pki / "ca.pem").read_bytes() == empty.anchors.trust
    assert recorded(empty.layout, "demo") == ["store"]
    assert not empty.inspect(TRUSTED).changed
    (empty.pki / "ca.pem").write_text("x")
    assert empty.inspect(TRUSTED).reasons == ["ca.pem: has other content"]
    assert remove(empty.layout, replace(TRUSTED, state="absent")).changed
    assert not empty.pki.exists()


def test_what_had_a_certificate_and_only_trusts_now_keeps_no_key(host: Host) -> None:
    assert set(host.inspect(TRUSTED).files) == HERE - {"ca.pem", "crl.pem"}
    assert set(host.modes()) == {"ca.pem", "crl.pem"}
    assert not host.inspect(TRUSTED).changed
    asked = host.inspect()
    assert asked.reasons == ["there is no certificate yet"]
    host.install(host.sign(asked.request))
    assert set(host.modes()) == HERE


ASKED = {"name": "store", "federation": "demo", "state": "present", "usages": [], "trust": ["lab", "lab", "partner"]}


def test_without_usages_only_authorities_to_trust_are_described() -> None:
    assert describe(ASKED).trust == ("lab", "partner")
    for wrong in ({"trust": []}, {"authority": "lab"}):
        with pytest.raises(
            DescriptionError, match="certificate store: usages is empty; say server, client or both, or"
        ):
            describe({**ASKED, **wrong})
