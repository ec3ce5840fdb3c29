# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate that somebody else keeps on the host: taken over when it will do, refused with the reason when not."""

from __future__ import annotations

import hashlib
import ipaddress
import json
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import openssl, taking, watching
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import Description
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.facts import Anchors
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.installed import MODES, Layout
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.outcome import Outcome, RefusedError
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.provided import provide
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.removal import remove
from ansible_collections.fedlearn.infra.plugins.modules import certificates

DAY = 86400
NAMES = ["DNS:www.lab.example", "IP:10.20.0.11"]
Key = ec.EllipticCurvePrivateKey


class Organisation:
    """Somebody's CA with an intermediate, neither as strict as X.509 asks."""

    def __init__(self) -> None:
        self.root_key, self.key = (ec.generate_private_key(ec.SECP256R1()) for _turn in range(2))
        self.root = _signed("root", self.root_key, "root", self.root_key, ca=True)
        self.intermediate = _signed("issuing", self.key, "root", self.root_key, ca=True)

    def issue(self, key: Key, name: str = "web.h1", names: list[str] | None = None, days: float = 90) -> bytes:
        leaf = _signed(name, key, "issuing", self.key, NAMES if names is None else names, days)
        return leaf + self.intermediate


def _signed(
    name: str, key: Key, issuer: str, by: Key, names: list[str] | None = None, days: float = 3650, ca: bool = False
) -> bytes:
    begin = datetime.now(UTC) - timedelta(days=30)
    subject, signer = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in (name, issuer))
    builder = x509.CertificateBuilder(signer, subject, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=days))
    builder = builder.add_extension(x509.BasicConstraints(ca, None), True)
    if names is not None:
        kinds: list[x509.GeneralName] = [
            x509.DNSName(text[4:]) if text.startswith("DNS:") else x509.IPAddress(ipaddress.ip_address(text[3:]))
            for text in names
        ]
        usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.EMAIL_PROTECTION]
        builder = builder.add_extension(x509.SubjectAlternativeName(kinds), False)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usages), False)
    return builder.sign(by, hashes.SHA256()).public_bytes(Encoding.PEM)


def _pem(key: Key, password: bytes = b"") -> bytes:
    encryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)


class Host:
    """A host below a folder on which somebody else keeps a certificate."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(*(str(folder / name) for name in ("etc", "lib", "run")))
        for name in ("etc", "lib", "run", "theirs"):
            (folder / name).mkdir()
        self.certificate, self.key = folder / "theirs/web.pem", folder / "theirs/web.key"
        self.wanted = Description(
            "web",
            "demo",
            "present",
            "lab",
            "web.h1",
            ("www.lab.example",),
            ("10.20.0.11",),
            ("server",),
            formats=("pem", "pkcs12"),
            trust=("lab",),
            certificate_file=str(self.certificate),
            key_file=str(self.key),
        )
        self.pki = folder / "etc/fedlearn/demo/pki/web"
        self.organisation = Organisation()
        root = self.organisation.root
        self.anchors = Anchors(root, int(time.time()) + 3650 * DAY, b"", root, foreign=True)
        self.own = ec.generate_private_key(ec.SECP256R1())
        self.key.write_bytes(_pem(self.own))
        self.certificate.write_bytes(self.organisation.issue(self.own))

    def provide(self, later: float = 0.0, check: bool = False, **changed: object) -> Outcome:
        wanted = replace(self.wanted, **changed)  # type: ignore[arg-type]
        return provide(self.layout, wanted, self.anchors, time.time() + later, check)

    def installed(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.pki.iterdir()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_it_is_taken_over_once_with_what_leads_to_its_ca(host: Host) -> None:
    foreseen, done = host.provide(check=True), host.provide()
    assert (foreseen.action, foreseen.changed) == (done.action, done.changed) == ("issued", True)
    found = host.installed()
    assert set(found) == MODES.keys() - {"key.next.pem", "crl.pem"}
    assert found["chain.pem"].count(b"BEGIN") == 2
    assert (found["cert.pem"].count(b"BEGIN"), found["ca.pem"]) == (1, host.organisation.root)
    again = host.provide()
    assert (again.changed, again.action, again.warnings) == (False, "none", [])


def test_one_that_was_renewed_is_taken_over_with_its_new_key_and_bundle(host: Host) -> None:
    host.provide()
    before = host.installed()
    fresh = ec.generate_private_key(ec.SECP256R1())
    host.key.write_bytes(_pem(fresh))
    with pytest.raises(RefusedError, match="don't belong together; what was taken from there before stays"):
        host.provide()
    assert host.installed() == before
    host.certificate.write_bytes(host.organisation.issue(fresh))
    assert (host.provide().action, host.provide().changed) == ("renewed", False)
    assert all(host.installed()[name] != before[name] for name in ("key.pem", "cert.pem", "bundle.p12"))


def test_links_are_followed_and_a_wildcard_covers(host: Host) -> None:
    host.certificate.rename(host.certificate.with_name("web-1.pem"))
    host.certificate.symlink_to("web-1.pem")
    assert host.provide().action == "issued"
    host.certificate.unlink()
    host.certificate.write_bytes(host.organisation.issue(host.own, names=["DNS:*.lab.example", NAMES[1]]))
    assert host.provide().action == "renewed"


@pytest.mark.parametrize("check", [True, False])
def test_without_openssl_a_dry_run_foresees_it_and_a_run_asks_for_the_program(
    host: Host, monkeypatch: pytest.MonkeyPatch, check: bool
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    module = SimpleNamespace(check_mode=check, params={"thorough": False})
    if check:
        assert certificates._provide(module, host.layout, host.wanted, host.anchors, time.time()).action == "issued"
        return
    with pytest.raises(openssl.OpensslMissingError):
        certificates._provide(module, host.layout, host.wanted, host.anchors, time.time())


WRONG: dict[str, tuple[Callable[[Host], object], str]] = {
    "no file": (lambda host: host.certificate.unlink(), r"web\.pem can't be read: No such file or directory"),
    "no key": (lambda host: host.key.unlink(), r"web\.key can't be read: No such file or directory"),
    "no certificate": (lambda host: host.certificate.write_text("x"), "there is no certificate in PEM form"),
    "a directory": (
        lambda host: (host.certificate.unlink(), host.certificate.mkdir()),
        r"web\.pem is no file of at most",
    ),
    "an encrypted key": (
        lambda host: host.key.write_bytes(_pem(host.own, b"secret")),
        "the key and the certificate don't belong together",
    ),
    "another name": (
        lambda host: host.certificate.write_bytes(host.organisation.issue(host.own, names=["DNS:lab.example"])),
        r"dns_names: lacks www\.lab\.example \(has lab\.example\); addresses: lacks 10\.20\.0\.11 \(has none\)",
    ),
    "expired": (
        lambda host: host.certificate.write_bytes(host.organisation.issue(host.own, days=29)),
        "it has ended on ",
    ),
    "another CA": (
        lambda host: host.certificate.write_bytes(Organisation().issue(host.own)),
        "its chain doesn't end at the CA that signs now .*verify the chain",
    ),
    "no intermediate": (
        lambda host: host.certificate.write_bytes(
            host.organisation.issue(host.own).split(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n"
        ),
        "its chain doesn't end at the CA that signs now",
    ),
    "a CA's": (
        lambda host: (
            host.key.write_bytes(_pem(host.organisation.key)),
            host.certificate.write_bytes(host.organisation.intermediate),
        ),
        "it is a CA's",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_one_that_will_not_do_is_refused_with_the_reason_and_changes_nothing(host: Host, case: str) -> None:
    host.provide()
    before = host.installed()
    spoil, reason = WRONG[case]
    spoil(host)
    for check in (True, False):
        with pytest.raises(RefusedError, match=reason):
            host.provide(check=check)
    assert host.installed() == before


def test_a_client_is_known_by_its_common_name_and_has_to_be_one(host: Host) -> None:
    with pytest.raises(RefusedError, match=r"common_name: is web\.h1, to be other; usages: lacks client"):
        host.provide(common_name="other", usages=("server", "client"))


def test_one_that_nobody_renewed_in_time_is_warned_of(host: Host) -> None:
    assert host.provide(later=44 * DAY).warnings == []
    assert ["nobody has renewed it yet" in text for text in host.provide(later=46 * DAY).warnings] == [True]


@pytest.fixture
def systemctl(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """What systemctl was asked; it always succeeds."""
    asked: list[tuple[str, ...]] = []

    def ask(*words: str) -> int:
        asked.append(words)
        return 0

    for module in (taking, watching):
        monkeypatch.setattr(module, "_systemctl", ask)
    return asked


def test_files_are_watched_as_long_as_a_certificate_comes_from_them(
    host: Host, systemctl: list[tuple[str, ...]]
) -> None:
    units = Path(host.layout.configuration) / "systemd/system"
    units.mkdir(parents=True)
    assert watching.settle(host.layout, "demo") == []
    host.provide()
    foreseen = watching.settle(host.layout, "demo", check=True)
    assert sorted(path.name for path in units.iterdir()) == []
    assert watching.settle(host.layout, "demo") == foreseen
    path = (units / "fedlearn-demo-certificates.path").read_text()
    assert [line for line in path.splitlines() if "Path" in line] == [
        "[Path]",
        f"PathChanged={host.key}",
        f"PathChanged={host.certificate}",
    ]
    assert ("restart", "fedlearn-demo-certificates.path") in systemctl
    assert watching.settle(host.layout, "demo") == []
    remove(host.layout, replace(host.wanted, state="absent"))
    assert len(watching.settle(host.layout, "demo")) == 3
    assert list(units.iterdir()) == []
    assert list(Path(host.layout.state).iterdir()) == []
    assert ("disable", "--now", "fedlearn-demo-certificates.path") in systemctl


def test_with_acme_there_is_a_timer_too_while_a_certificate_comes_from_there(
    host: Host, systemctl: list[tuple[str, ...]]
) -> None:
    units = Path(host.layout.configuration) / "systemd/system"
    units.mkdir(parents=True)
    host.provide()
    asked = Path(host.layout.state) / "fedlearn/demo/acme/web"
    asked.mkdir(parents=True)
    assert len(watching.settle(host.layout, "demo")) == 5
    service = (units / "fedlearn-demo-certificates-renewal.service").read_text()
    program = Path(host.layout.state) / "fedlearn/demo/certificates.pyz"
    assert f"ExecStart=/usr/bin/python3 -I {program} demo renew\n" in service
    assert ("restart", "fedlearn-demo-certificates-renewal.timer") in systemctl
    assert watching.settle(host.layout, "demo") == []
    asked.rmdir()
    gone = watching.settle(host.layout, "demo")
    assert [Path(path).suffix for path in gone] == [".service", ".timer"]
    assert sorted(path.name for path in units.iterdir()) == [
        "fedlearn-demo-certificates.path",
        "fedlearn-demo-certificates.service",
    ]
    assert ("disable", "--now", "fedlearn-demo-certificates-renewal.timer") in systemctl
    assert program.exists()


def _services(host: Host, **changes: str) -> Callable[[str], dict[str, list[str]]]:
    """Services that loaded what there is now; the result reads what one of them remembers."""
    place = Path(host.layout.state) / "fedlearn/demo"
    (place / "services").mkdir()
    services = {name: {"unit": None, "units": [f"fedlearn-{name}.service"]} for name in changes}
    (place / "owned.json").write_text(json.dumps({"services": services}))
    for name, change in changes.items():
        watch = {str(host.pki / "chain.pem"): [change, _sha256(host.pki / "chain.pem")], "/etc/other": [change, "0"]}
        (place / "services" / f"{name}.json").write_text(json.dumps({"version": 1, "items": watch}))
    return lambda name: json.loads((place / "services" / f"{name}.json").read_text())["items"]


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_services_load_what_was_renewed_each_in_its_way_and_once(host: Host, systemctl: list[tuple[str, ...]]) -> None:
    host.provide()
    remembered = _services(host, front="reload", store="restart", quiet="none")
    assert taking.take(host.layout, "demo") == taking.load(host.layout, "demo") == []
    assert systemctl == []
    host.certificate.write_bytes(host.organisation.issue(host.own, days=120))
    assert taking.take(host.layout, "demo") == taking.load(host.layout, "demo") == []
    acted = [words for words in systemctl if words[0] != "is-active"]
    assert acted == [
        ("reload-or-restart", "fedlearn-front.service"),
        ("restart", "fedlearn-store.service"),
    ]
    assert remembered("front")[str(host.pki / "chain.pem")] == ["reload", _sha256(host.pki / "chain.pem")]
    assert remembered("front")["/etc/other"] == ["reload", "0"]
    del systemctl[:]
    assert taking.load(host.layout, "demo") == []
    assert systemctl == []


def test_a_service_that_could_not_load_it_is_told_and_not_noted(
    host: Host, systemctl: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.provide()
    remembered = _services(host, front="reload")
    before = remembered("front")
    host.certificate.write_bytes(host.organisation.issue(host.own, days=120))
    taking.take(host.layout, "demo")
    monkeypatch.setattr(taking, "_systemctl", lambda *words: int(words[0] != "is-active"))
    assert ["fedlearn-front.service couldn't reload" in line for line in taking.load(host.layout, "demo")] == [True]
    assert remembered("front") == before


def test_a_pair_that_does_not_fit_is_told_by_the_program(host: Host) -> None:
    host.provide()
    host.key.write_bytes(_pem(ec.generate_private_key(ec.SECP256R1())))
    assert ["certificate web: " in line for line in taking.take(host.layout, "demo")] == [True]
