# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a host asks an ACME server: when, with what configuration, and what becomes of an answer that won't do.

dehydrated is a program of ours here, which asks for its challenge's answer as a server would. The real one and a real
server are in molecule/pki_acme.
"""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import acme
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import (
    Description,
    DescriptionError,
    describe_authority,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.facts import Anchors
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.installed import Layout
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.outcome import Outcome, RefusedError
from ansible_collections.fedlearn.infra.plugins.module_utils._pki.removal import remove
from tests.unit.plugins.module_utils.test_provided import Organisation

WEB = Description("web", "demo", "present", "public", "web", ("www.lab.example",), trust=("public",))
FAKE = f"""#!{sys.executable}
import json, pathlib, shlex, sys, urllib.request

here = pathlib.Path(__file__).parent
config = pathlib.Path(sys.argv[sys.argv.index("--config") + 1])
said = dict(line.partition("=")[::2] for line in config.read_text().splitlines())
said = {{name: shlex.split(value)[0] for name, value in said.items()}}
names, _arrow, alias = (config.parent / "domains.txt").read_text().strip().rpartition(" > ")[0:3]
calls = here / "calls.json"
calls.write_text(json.dumps([*json.loads(calls.read_text() if calls.exists() else "[]"), [sys.argv[1:], said, names]]))
if said["CHALLENGETYPE"] == "http-01":
    (pathlib.Path(said["WELLKNOWN"]) / "tok-en").write_text("answer")
    url = f"http://127.0.0.1:{{(here / 'port').read_text()}}/.well-known/acme-challenge/tok-en"
    assert urllib.request.urlopen(url, timeout=5).read() == b"answer"
if (here / "refuses").exists():
    print((here / "refuses").read_text() or "  + it is refused")
    sys.exit(1)
forgotten = here / "forgotten"
if forgotten.exists():
    forgotten.rename(here / "remembered")
    print("urn:ietf:params:acme:error:badNonce")
    sys.exit(1)
made = config.parent / "certs" / alias
made.mkdir(parents=True, exist_ok=True)
for name in ("fullchain.pem", "privkey.pem"):
    (made / name).write_bytes((here / name).read_bytes())
"""


class Host:
    """A host, with dehydrated and the port that it answers on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bin = folder, folder / "bin"
        self.layout = Layout(*(str(folder / name) for name in ("etc", "lib", "run")))
        for name in ("etc", "lib", "run", "bin"):
            (folder / name).mkdir()
        program = self.bin / "dehydrated"
        program.write_text(FAKE)
        program.chmod(0o755)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        (self.bin / "port").write_text(str(self.port))
        self.organisation = Organisation()
        self.anchors = Anchors(self.organisation.root, 1 << 33, b"", self.organisation.root, foreign=True)
        self.server = acme.Server("https://acme.example/directory", "A CA\n", address="127.0.0.1", port=self.port)
        self.place = folder / "lib/fedlearn/demo/acme/web"
        self.pki = folder / "etc/fedlearn/demo/pki/web"

    def answers(self, *names: str) -> None:
        """What the server signs from now on."""
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (self.bin / "privkey.pem").write_bytes(pem)
        (self.bin / "fullchain.pem").write_bytes(self.organisation.issue(key, names=[f"DNS:{name}" for name in names]))

    def obtain(self, wanted: Description = WEB, check: bool = False, renew: bool = False) -> Outcome:
        return acme.obtain(self.layout, wanted, self.anchors, self.server, time.time(), check, renew)

    @property
    def calls(self) -> list[tuple[list[str], dict[str, str], str]]:
        path = self.bin / "calls.json"
        return json.loads(path.read_text()) if path.exists() else []


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setenv("PATH", f"{made.bin}:/usr/bin:/bin")
    made.answers("www.lab.example")
    return made


def test_it_is_asked_for_once_and_taken_over(host: Host) -> None:
    foreseen = host.obtain(check=True)
    assert (foreseen.action, foreseen.changed, host.calls) == ("issued", True, [])
    assert not host.place.exists()
    done = host.obtain()
    assert (done.action, done.changed, done.reasons[0]) == ("issued", True, "there is no certificate yet")
    assert (host.pki / "key.pem").read_bytes() == (host.bin / "privkey.pem").read_bytes()
    assert (host.pki / "chain.pem").read_bytes() == (host.bin / "fullchain.pem").read_bytes()
    assert not host.obtain().changed
    assert not host.obtain(check=True).changed
    [(words, said, names)] = host.calls
    assert words == ["--cron", "--accept-terms", "--config", str(host.place / "config")]
    assert names == "www.lab.example"
    assert said == {
        "BASEDIR": str(host.place),
        "ACCOUNTDIR": str(host.place.parent / ".accounts"),
        "WELLKNOWN": str(host.place / "challenges"),
        "CA": "https://acme.example/directory",
        "CHALLENGETYPE": "http-01",
        "KEY_ALGO": "prime256v1",
        "KEYSIZE": "4096",
        "CURL_OPTS": f"--cacert {host.place}/server.pem",
        "AUTO_CLEANUP": "yes",
    }
    assert (host.place / "server.pem").read_text() == "A CA\n"
    for path in (host.place.parent, host.place):
        assert path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("key_type", "algorithm", "size"),
    [("ec-p384", "secp384r1", "4096"), ("rsa-3072", "rsa", "3072")],
)
def test_another_kind_of_key_is_asked_for_anew(host: Host, key_type: str, algorithm: str, size: str) -> None:
    host.obtain()
    host.answers("www.lab.example")
    assert host.obtain(replace(WEB, key_type=key_type), check=True).changed
    assert host.obtain(replace(WEB, key_type=key_type)).action == "renewed"
    words, said, _names = host.calls[-1]
    assert words[-1] == "--force"
    assert (said["KEY_ALGO"], said["KEYSIZE"]) == (algorithm, size)


def test_what_the_dns_is_changed_for_needs_no_port(host: Host) -> None:
    host.server = replace(
        host.server, challenge="dns-01", hook="/usr/local/sbin/dns", port=1, contact="ops@lab.example"
    )
    assert host.obtain().changed
    [(_words, said, _names)] = host.calls
    assert (said["CHALLENGETYPE"], said["HOOK"], said["CONTACT_EMAIL"]) == (
        "dns-01",
        "/usr/local/sbin/dns",
        "ops@lab.example",
    )


def test_more_names_are_asked_for_and_a_renewal_that_is_wanted(host: Host) -> None:
    host.obtain()
    both = replace(WEB, dns_names=("www.lab.example", "lab.example"))
    host.answers(*both.dns_names)
    assert host.obtain(both).action == "renewed"
    assert host.calls[-1][2] == "www.lab.example lab.example"
    host.answers(*both.dns_names)
    asked = host.obtain(both, renew=True)
    assert (asked.action, asked.reasons[0]) == ("renewed", "its renewal was asked for")
    assert host.calls[-1][0][-1] == "--force"


def test_who_gets_nothing_is_told_why_and_keeps_what_there_is(host: Host) -> None:
    (host.bin / "refuses").touch()
    with pytest.raises(RefusedError, match=r"^dehydrated ended with 1: \+ it is refused$"):
        host.obtain()
    assert not host.pki.exists()
    (host.bin / "refuses").unlink()
    host.obtain()
    kept = (host.pki / "cert.pem").read_bytes()
    (host.bin / "refuses").touch()
    # that it is to be asked otherwise from now on is no reason to be without one today
    host.server = replace(host.server, contact="ops@lab.example")
    told = host.obtain()
    assert [line.partition(":")[0] for line in told.warnings] == ["certificate web"]
    with pytest.raises(RefusedError, match="it is refused"):
        host.obtain(replace(WEB, dns_names=("other.example",)))
    assert (host.pki / "cert.pem").read_bytes() == kept


def test_of_what_a_server_says_the_reason_is_told(host: Host) -> None:
    reason = r'"Get \"http://www\": no such host"'
    said = f'["status"]\t"invalid"\n["error","detail"]\t{reason}\n{{"detail": {reason}}}\n'
    (host.bin / "refuses").write_text(said)
    with pytest.raises(RefusedError, match=r'^dehydrated ended with 1: Get "http://www": no such host$'):
        host.obtain()


def test_a_server_that_has_forgotten_what_it_gave_out_is_asked_once_more(host: Host) -> None:
    (host.bin / "forgotten").touch()
    assert host.obtain().action == "issued"
    assert len(host.calls) == 2
    (host.bin / "refuses").write_text("urn:ietf:params:acme:error:badNonce")
    assert len(acme.renew(host.layout, "demo")) == 1
    assert len(host.calls) == 5


def test_an_answer_that_will_not_do_is_refused(host: Host) -> None:
    host.answers("another.example")
    with pytest.raises(RefusedError, match=r"dns_names: lacks www\.lab\.example \(has another\.example\)"):
        host.obtain()
    assert not (host.pki / "cert.pem").exists()
    host.answers("www.lab.example")
    assert host.obtain().action == "issued"
    assert host.calls[-1][0][-1] == "--force"


def test_one_that_begins_while_it_is_asked_for_is_taken(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1000, 20))
    monkeypatch.setattr(acme.time, "monotonic", lambda: next(clock))
    begins = time.time() - 30 * 86400  # see Organisation
    assert acme.obtain(host.layout, WEB, host.anchors, host.server, begins - 10).action == "issued"


def test_a_port_that_is_taken_is_named(host: Host) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", host.port))
        other.listen()
        with pytest.raises(RefusedError, match=rf"Address already in use .*\(port {host.port}\)"):
            host.obtain()
    assert host.calls == []


def test_what_is_not_due_needs_no_port(host: Host) -> None:
    host.obtain()
    with socket.socket() as proxy:
        proxy.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        proxy.bind(("127.0.0.1", host.port))
        proxy.listen()
        (host.bin / "dehydrated").write_text("#!/bin/sh\nexit 0\n")  # which finds that nothing is due
        assert acme.renew(host.layout, "demo") == []
        (host.bin / "dehydrated").write_text("#!/bin/sh\necho '  + it is refused'; exit 1\n")
        (told,) = acme.renew(host.layout, "demo")
    assert f"Address already in use while preparing to answer the ACME server (port {host.port})" in told


def test_with_a_port_inside_another_program_may_have_the_one_outside_and_lead_there(host: Host) -> None:
    inner, host.port = host.port, host.port + 1  # the fake asks inside, where a proxy would lead it
    host.server = replace(host.server, port=host.port, inner_port=inner)
    with socket.socket() as proxy:
        proxy.bind(("127.0.0.1", host.port))
        proxy.listen()
        assert host.obtain().action == "issued"
    assert not host.obtain().changed
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", inner))
        other.listen()
        with pytest.raises(RefusedError, match=rf"Address already in use .*\(port {inner}\)"):
            host.obtain(renew=True)


def test_with_a_port_inside_it_answers_outside_too_while_nobody_has_that(host: Host) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        inner = free.getsockname()[1]
    host.server = replace(host.server, inner_port=inner)
    assert host.obtain().action == "issued"  # the fake asks outside


@pytest.mark.parametrize(
    "path", ["/", "/.well-known/acme-challenge/", "/.well-known/acme-challenge/../config", "/config", "/x?y"]
)
def test_nothing_but_challenges_is_shown(host: Host, path: str) -> None:
    host.obtain()
    with acme._answering(str(host.place)):
        shown = urllib.request.urlopen(f"http://127.0.0.1:{host.port}/.well-known/acme-challenge/tok-en", timeout=5)
        assert shown.read() == b"answer"
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{host.port}{path}", timeout=5)
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(f"http://127.0.0.1:{host.port}/", timeout=5)


def test_the_timer_asks_for_all_and_tells_what_went_wrong(host: Host) -> None:
    host.obtain()
    assert acme.renew(host.layout, "demo") == []
    assert host.calls[-1][0] == ["--cron", "--accept-terms", "--config", str(host.place / "config")]
    (host.bin / "refuses").touch()
    [line] = acme.renew(host.layout, "demo")
    assert "it is refused" in line
    assert acme.renew(host.layout, "other") == []


def test_nothing_is_left_of_one_that_goes(host: Host) -> None:
    host.obtain()
    gone = replace(WEB, state="absent")
    assert str(host.place) in remove(host.layout, gone, check=True).files
    assert host.place.exists()
    assert remove(host.layout, gone).changed
    assert [path.name for path in (host.folder / "lib").rglob("*")] == []
    assert not remove(host.layout, gone).changed


def test_what_bash_reads_is_quoted(host: Host) -> None:
    odd = replace(host.server, contact="$(touch /tmp/x)' \"")
    config = acme._configuration("/a b", WEB, odd)["config"].decode()
    done = subprocess.run(
        ["bash", "-c", f'{config}\nprintf \'%s|%s\' "$CONTACT_EMAIL" "$BASEDIR"'],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stdout == "$(touch /tmp/x)' \"|/a b"
    assert shlex.split(config)


AUTHORITY = {"name": "public", "party": "lab", "mode": "acme", "lifetime_days": 1}
ACME = {"directory": "https://acme.example/dir", "challenge": "http-01"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"acme": None}, "acme is what mode acme takes, and only that"),
        ({"mode": "csr"}, "acme is what mode acme takes, and only that"),
        ({"directory": "http://acme.example/dir"}, "acme.directory 'http://acme.example/dir' is no URL of an ACME"),
        ({"directory": "https://acme.example/$(x)"}, "is no URL of an ACME server's directory"),
        ({"contact": "x y@example"}, "acme.contact 'x y@example' is no address of mail"),
        ({"hook": "/usr/bin/x"}, "acme.hook is the program that changes the DNS for challenge dns-01"),
        ({"challenge": "dns-01"}, "acme.hook is the program that changes the DNS for challenge dns-01"),
        ({"challenge": "dns-01", "hook": "x"}, "acme.hook 'x' is no absolute path"),
        ({"address": "host"}, "'host' is no IPv4 or IPv6 address"),
    ],
)
def test_what_can_not_be_asked_is_refused(changed: dict[str, str], message: str) -> None:
    top = {key: value for key, value in changed.items() if key in ("acme", "mode")}
    inner = {key: value for key, value in changed.items() if key not in top}
    with pytest.raises(DescriptionError) as refused:
        describe_authority({**AUTHORITY, "acme": {**ACME, **inner}, **top})
    assert message in str(refused.value)


def test_how_it_is_asked_is_told(tmp_path: Path) -> None:
    told = describe_authority({**AUTHORITY, "acme": {**ACME, "port": 8089, "address": "::1", "contact": None}})
    assert told.acme == {**ACME, "port": 8089, "address": "::1"}
    assert told.elsewhere
