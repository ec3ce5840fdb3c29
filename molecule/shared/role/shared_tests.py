# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked of every role alike: a scenario's class inherits these tests, and says what they mean for its role.

A subclass is collected by its own name, `Test...`, where it stands in its file.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from shlex import quote
from typing import Any

import pytest
from role_host import RoleHost

DAMAGES = ("printf '# by hand\\n' >> {0}", "chmod 604 {0}", "rm {0}")
HOLDER = (
    "import fcntl, time; lock = open('/var/lib/dpkg/lock-frontend', 'w'); fcntl.lockf(lock, fcntl.LOCK_EX); "
    "print('held', flush=True); time.sleep(600)"
)
PORT = 5599
"""Of somebody else's program."""
COMES = """
import socket, ssl
context = ssl.create_default_context(cafile="/etc/role-test/ca.pem")
context.load_cert_chain("/etc/role-test/client.pem", "/etc/role-test/client.key")
with context.wrap_socket(socket.create_connection(({address!r}, {port!r})), server_hostname={name!r}):
    pass
"""
"""A client that verifies whom it speaks with."""


@contextmanager
def unit(role: RoleHost, name: str, command: str, until: str) -> Iterator[str]:
    """A program of somebody else's, up and running for the time of the block; its process."""
    role.sh(f"systemd-run --quiet --collect --unit {name} {command}")
    try:
        role.sh(f"for _ in $(seq 100); do {until} && exit 0; sleep 0.1; done; exit 1")
        yield role.sh(f"systemctl show -p MainPID --value {name}").strip()
    finally:
        role.sh(f"systemctl stop {name}")


@contextmanager
def read_only(role: RoleHost, folder: str) -> Iterator[None]:
    """A folder that nobody can write to, root neither."""
    role.sh(f"mount --bind {folder} {folder} && mount --make-private {folder} && mount -o remount,bind,ro {folder}")
    try:
        assert role.try_sh(f"touch {folder}/written")[0] != 0
        yield
    finally:
        role.sh(f"umount --lazy {folder}")


@contextmanager
def ipv6(role: RoleHost) -> Iterator[None]:
    """A host that can talk to itself by IPv6."""
    switch = "/proc/sys/net/ipv6/conf/lo/disable_ipv6"
    former = role.sh(f"cat {switch}; echo 0 >{switch}").strip()
    try:
        yield
    finally:
        role.sh(f"echo {former} >{switch}")


@contextmanager
def withdrawing(role: RoleHost) -> Iterator[Callable[[str], None]]:
    """/etc/role-test/crl.pem, what `ca` has withdrawn: nothing, until this is called with a certificate's name."""
    said = "[ca]\ndefault_ca=d\n[d]\ndatabase=/run/crl/index\ndefault_md=sha256\ndefault_crl_days=30\n"
    signing = "openssl ca -batch -config /run/crl/conf -keyfile /etc/role-test/ca.key -cert /etc/role-test/ca.pem"
    lists = f"{signing} -gencrl -out /etc/role-test/crl.pem"
    role.sh(f"mkdir -p /run/crl && cd /run/crl && touch index && printf %s {quote(said)} >conf && {lists}")

    def withdraw(name: str) -> None:
        role.sh(f"cd /run/crl && {signing} -revoke /etc/role-test/{name}.pem && {lists}")

    try:
        yield withdraw
    finally:
        role.sh("rm -r /run/crl /etc/role-test/crl.pem")


class Role:
    """What is asked of every role; its attributes are what they are for the role at hand."""

    units: tuple[str, ...] = ()
    owned: int
    """How many files of the role's own there are."""
    most = 2
    """Executions of a run that changes nothing."""
    damages = DAMAGES
    changed: Mapping[str, Any]
    """Variables with which a file would be another one, and its service restarted."""
    wrong: Sequence[tuple[Any, str]] = ()
    """Values that are wrong, and what is said of them."""

    def with_(self, changed: Any) -> dict[str, Any]:
        """The role's variables, with one of its wrong values in them."""
        return dict(changed)

    def state(self, role: RoleHost) -> str:
        """One word for what is the role's, and one for every other file of the host's configuration."""
        return f"{role.state(units=self.units)} {role.configuration()}"

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """A test for each row of a table."""
        for name in {"wrong", "refused"} & set(metafunc.fixturenames):
            rows = getattr(self, name)
            assert rows, f"{name}: a table without a row tests nothing"
            metafunc.parametrize(name, rows, ids=itertools.count())

    def test_second_run_changes_nothing_with_few_executions(self, role: RoleHost) -> None:
        before = self.state(role)
        again = role.play(most=self.most)
        assert (again.code, again.changed) == (0, 0), again.text
        assert self.state(role) == before

    def test_check_mode_reports_nothing_and_the_checks_are_content(self, role: RoleHost) -> None:
        before = self.state(role)
        assert role.play("--check").changed == 0
        for entry in ("check", "precheck"):
            looked = role.play(entry=entry)
            assert (looked.code, looked.changed) == (0, 0), looked.text
        assert self.state(role) == before

    def test_what_is_changed_by_hand_is_named_and_repaired(self, role: RoleHost) -> None:
        owned = role.owned()
        assert len(owned) == self.owned
        look = "; ".join(f"cat {quote(path)}; stat -c '%a %U' {quote(path)}" for path in owned)
        before = role.sh(look)
        for turn in range(len(self.damages)):
            damages = itertools.islice(itertools.cycle(self.damages), turn, None)
            role.sh("; ".join(damage.format(quote(path)) for path, damage in zip(owned, damages, strict=False)))
            named = role.play(entry="check").words.replace("\\\\", "\\")
            assert [path for path in owned if path not in named] == [], named
            assert ": stopped: " not in named, named
            assert role.play("--check").changed == 1
            assert role.play().changed == 1
            assert role.sh(look) == before
        assert role.play(entry="check").code == 0

    def test_wrong_values_are_told_and_touch_nothing(self, role: RoleHost, wrong: tuple[Any, str]) -> None:
        values, message = wrong
        before = self.state(role)
        run = role.play(**self.with_(values))
        assert (run.code, run.changed) == (2, 0), run.text
        assert message in run.words, run.text
        assert self.state(role) == before

    def test_a_configuration_that_is_read_only_is_told_and_nothing_changes(self, role: RoleHost) -> None:
        before = self.state(role)
        with read_only(role, "/etc"):
            run = role.play(**self.changed)
        assert run.failed == 1, run.text
        assert "Read-only file system" in run.words, run.text
        assert self.state(role) == before
        assert role.play().changed == 0


class Packaged(Role):
    """What is asked of a role that brings packages."""

    package: tuple[str, str]
    """The variable that lists them, and one of them."""
    foretold = True
    """Whether the role's own precheck looks whether they are to be had; the playbook's does for all roles."""

    @contextmanager
    def without_it(self, _role: RoleHost) -> Iterator[None]:
        """Where a role looks for a program before it installs a package: without that program for a while."""
        yield

    def test_a_version_that_is_nowhere_is_told_and_changes_nothing(self, role: RoleHost) -> None:
        variable, package = self.package
        with self.without_it(role):
            before = self.state(role), role.sh("dpkg -l")
            for entry in ("precheck", "main") if self.foretold else ("main",):
                run = role.play(entry=entry, **{variable: [f"{package}=0.0-1"]})
                assert (run.code, run.changed) == (2, 0), run.text
                message = f"{package}=0.0-1 can't be installed: E: Version '0.0-1' for '{package}' was not found"
                assert message in run.words, run.text
                there = dict.fromkeys(role.sh(f"apt-cache madison {package} | cut -d'|' -f2").split())
                assert f"of {package} there is {', '.join(there)}: pin one of these" in run.words, run.text
            assert (self.state(role), role.sh("dpkg -l")) == before
        assert role.sh("find /etc /usr/sbin -name '*.fedlearn-aside' -o -name policy-rc.d") == ""

    def test_whoever_holds_the_package_manager_is_named_and_nothing_changes(self, role: RoleHost) -> None:
        variable, package = self.package
        held = unit(role, "holder", f"python3 -c {quote(HOLDER)}", "journalctl -u holder | grep -q held")
        with self.without_it(role):
            before = self.state(role), role.sh("dpkg -l")
            with held as process:
                run = role.play(fedlearn_apt_wait_seconds=2, **{variable: [package, "hello"]})
            assert (run.code, run.changed) == (2, 0), run.text
            told = f"hello can't be installed: /var/lib/dpkg/lock-frontend is held by process {process} (python3, "
            assert f"{told}holder.service), and 2 seconds of waiting are over; wait until" in run.words, run.text
            assert (self.state(role), role.sh("dpkg -l")) == before


class Certified(Packaged):
    """What is asked of a role whose instances have certificates."""

    unfit: str
    """What is said of a key that isn't its certificate's."""
    serves_at: int
    """The port where an instance shows the scenario's certificate."""
    other_name = "Hostname mismatch, certificate is not valid for 'elsewhere.test'"
    """What a client says of a server that isn't whom it asked for."""
    ended = "certificate has expired"
    """What is said of a certificate that has ended, and of one whose CA has."""

    def comes(self, role: RoleHost, name: str) -> tuple[int, str]:
        """Status and output of a client that wants the server to be this one."""
        script = COMES.format(address=role.address, port=self.serves_at, name=name)
        return role.try_sh(f"python3 -c {quote(script)}")

    def test_a_client_that_asks_for_another_name_refuses_the_server(self, role: RoleHost) -> None:
        assert self.comes(role, "server.test")[0] == 0
        code, said = self.comes(role, "elsewhere.test")
        assert code != 0
        assert self.other_name in said

    @pytest.mark.parametrize(
        ("file", "old"), [("server.pem", "expired.pem"), ("ca.pem", "ended-ca.pem")], ids=["certificate", "CA"]
    )
    def test_what_ends_while_it_serves_is_told(self, role: RoleHost, file: str, old: str) -> None:
        """The program takes it up by hand, since the role lets none that has ended through."""
        load = f"systemctl restart {self.units[0]} && sleep 1"
        role.sh(f"cd /etc/role-test && cp -p {file} kept.pem && cp {old} {file} && {load}")
        try:
            told = role.play(entry="check")
        finally:
            role.sh(f"cd /etc/role-test && mv kept.pem {file} && {load}")
        assert (told.code, told.changed) == (2, 0), told.text
        assert ": ill: " in told.words, told.text
        assert self.ended in told.words, told.text
        assert role.play(entry="check").code == 0
        assert role.play().changed == 0

    @pytest.mark.parametrize(
        ("file", "old"), [("server.pem", "expired.pem"), ("ca.pem", "ended-ca.pem")], ids=["certificate", "CA"]
    )
    def test_what_has_ended_is_not_taken_up(self, role: RoleHost, file: str, old: str) -> None:
        before = self.state(role)
        role.sh(f"cd /etc/role-test && cp -p {file} kept.pem && cp {old} {file}")
        try:
            run = role.play()
        finally:
            role.sh(f"cd /etc/role-test && mv kept.pem {file}")
        assert run.code == 2, run.text
        assert self.ended in run.words, run.text
        assert self.state(role) == before
        assert role.play().changed == 0

    def test_a_certificate_that_does_not_fit_is_not_taken_up(self, role: RoleHost) -> None:
        before = self.state(role)
        role.sh("cd /etc/role-test && cp -p server.key server.keep && cp stranger.key server.key")
        try:
            run = role.play()
        finally:
            role.sh("cd /etc/role-test && mv server.keep server.key")
        assert run.code == 2, run.text
        assert self.unfit in run.words, run.text
        assert self.state(role) == before
        assert role.play().changed == 0


class Listening(Role):
    """What is asked of a role whose instances each listen on a port of their own."""

    name: str
    """The instance that `with_more` adds."""
    loopback: Mapping[str, Any]
    """How it is told to listen on loopback, by IPv6."""

    def with_more(self, **changed: Any) -> dict[str, Any]:
        """The role's variables with one instance more, on loopback."""
        raise NotImplementedError

    def without_more(self, role: RoleHost) -> None:
        """Takes that one away, and what it kept."""
        gone = role.play(**self.with_more(state="absent"), **{f"{role.role}_remove_data": True})
        assert gone.code == 0, gone.text

    def test_a_port_of_somebody_else_is_named_and_nothing_changes(self, role: RoleHost) -> None:
        before = self.state(role)
        listens = f"ss -Hltn | grep -q 127.0.0.1:{PORT}"
        with unit(role, "foreign", f"python3 -m http.server {PORT} --bind 127.0.0.1", listens) as process:
            run = role.play(entry="precheck", **self.with_more(port=PORT))
            holder = f"(process {process}, foreign.service): end it, or choose another port"
            told = f"{self.name}: 127.0.0.1 port {PORT}: held by python3 {holder}"
            assert (run.code, told in run.words) == (2, True), run.text
            run = role.play(**self.with_more(port=PORT))
            holder = f"(python3, process {process}, foreign.service): end it, or choose another port"
            told = f"{self.name}: port {PORT} is held by another program {holder}; nothing was changed"
            assert (run.code, told in run.words) == (2, True), run.text
        self.without_more(role)
        assert self.state(role) == before

    def test_ipv6_alone_will_do(self, role: RoleHost) -> None:
        before = self.state(role)
        wanted = self.with_more(port=PORT, **self.loopback)
        with ipv6(role):
            try:
                run = role.play(**wanted)
                assert run.code == 0, run.text
                places = {line.split()[3] for line in role.sh(f"ss -Hltn 'sport = {PORT}'").splitlines()}
                assert {f"[::1]:{PORT}"} <= places <= {f"[::1]:{PORT}", f"127.0.0.1:{PORT}"}
                assert role.play(entry="check", **wanted).code == 0
                assert role.play(**wanted).changed == 0
            finally:
                self.without_more(role)
        assert self.state(role) == before


class Service(Listening, Certified):
    """What is asked of a role whose instances are programs of their own."""

    refused: Sequence[tuple[Mapping[str, Any], str]] = ()
    """What its program can't work with, and the reason told."""

    def serves(self, role: RoleHost) -> bool:
        """Whether a client comes in."""
        raise NotImplementedError

    def kept(self, role: RoleHost) -> str:
        """One word for what stays when the program refuses something."""
        return self.state(role)

    def test_what_it_refuses_never_replaces_what_it_takes(
        self, role: RoleHost, refused: tuple[Mapping[str, Any], str]
    ) -> None:
        values, reason = refused
        before = self.kept(role)
        run = role.play(**self.with_(values))
        assert run.failed == 1, run.text
        assert reason in run.words, run.text
        assert self.kept(role) == before
        assert self.serves(role)

    def test_deferred_restarts_leave_what_runs(self, role: RoleHost) -> None:
        before = self.state(role)
        run = role.play("-e", "fedlearn_restart=deferred", **self.changed)
        assert run.code == 0, run.text
        assert self.state(role) == before


class Store(Service):
    """What is asked of a role whose instances keep data."""

    alike = "install -dm 700 {0}/private {0}/private/{1} && ln -s private/{1} {0}/{1} && echo it >{0}/{1}/it"
    """Makes a directory of somebody else's look as the program's own does: below {0}, of the name {1}."""
    space = ""
    """The variable that says how much room a new instance wants."""

    @pytest.mark.parametrize("alike", [False, True])
    def test_a_directory_of_somebody_else_is_left_alone(self, role: RoleHost, alike: bool) -> None:
        unit = f"fedlearn-{self.name}"
        home = f"/var/lib/{unit}"
        before = self.state(role)
        role.sh(self.alike.format("/var/lib", unit) if alike else f"mkdir {home} && echo theirs >{home}/file")
        look = f"find {home}/ -printf '%p %y %m %u:%g %T@ %l\\n' | sort"
        theirs = role.sh(look)
        told = f"{self.name}: {home} is there and isn't this instance's: it is left alone; move it away, or name"
        try:
            for entry in ("precheck", "main"):
                run = role.play(entry=entry, **self.with_more())
                assert (run.code, run.changed) == (2, 0), run.text
                assert told in run.words, run.text
            assert self.state(role) == before
            self.without_more(role)
            assert role.sh(look) == theirs
            assert self.state(role) == before
        finally:
            role.sh(f"rm -rf {home} /var/lib/private/{unit}")

    def test_data_of_a_run_that_was_cut_off_are_its_own(self, role: RoleHost) -> None:
        before = self.state(role)
        role.sh(f"echo 'kill acted {self.name}' >/run/fedlearn-test-kill")
        try:
            assert role.play(**self.with_more()).code == 2
            assert role.try_sh("test -e /run/fedlearn-test-kill")[0] == 1
            # some have written by then, and some later
            role.sh(f"touch /var/lib/fedlearn-{self.name}/begun")
            run = role.play(**self.with_more())
            assert run.code == 0, run.text
        finally:
            role.sh("rm -f /run/fedlearn-test-kill")
            self.without_more(role)
        assert role.try_sh(f"ls -d /var/lib/fedlearn-{self.name}")[0] == 2
        assert self.state(role) == before

    def test_a_disk_that_is_too_small_is_told(self, role: RoleHost) -> None:
        if not self.space:
            pytest.skip("it asks for no room")
        before = self.state(role)
        run = role.play(entry="precheck", **self.with_more(), **{self.space: 900_000_000})
        place = f"900000000 MB in /var/lib/fedlearn-{self.name} for {self.name}"
        assert run.code == 2, run.text
        assert f"900000000 MB are needed ({place}): make room, or mount a bigger disk there" in run.words, run.text
        assert self.state(role) == before


class Secretive(Role):
    """What is asked of a role with secrets: in a scenario's variables they all begin with a word that is looked for."""

    meant: tuple[str, ...] = ()
    """The only files that may have one in clear; for root alone."""
    hashes: tuple[str, ...] = ()
    """How what passwords are compared with begins."""
    places = "/etc /run/fedlearn* /run/systemd /var/lib/fedlearn* /var/log/apt /usr/lib/systemd /tmp /var/tmp"

    def lose(self, role: RoleHost) -> None:
        """Has the next run give the host its secrets once more."""
        raise NotImplementedError

    def own(self, _role: RoleHost) -> list[str]:
        """Secrets that the host made for itself."""
        return []

    def test_no_secret_is_shown_or_lies_where_it_is_not_meant(self, role: RoleHost) -> None:
        self.lose(role)
        changed = role.play("-vvv", "--diff")
        assert changed.changed >= 1, changed.text
        told = changed.text + role.play("-vvv", entry="check").text
        journal = role.sh("journalctl --no-pager -u 'fedlearn-*' -u '*.mount'; ps axww -o args")
        for secret in ("CANARY-", *self.own(role)):
            role.sh(f"echo {quote(secret)} >/etc/planted")
            found = role.sh(f"grep -rlsF -e {quote(secret)} {self.places} || true; rm /etc/planted").split()
            assert "/etc/planted" in found
            assert set(found) <= {"/etc/planted", *self.meant}, found
            assert secret not in told
            assert secret not in journal
        for hashed in self.hashes:
            assert hashed not in told + journal
        for path in self.meant:
            assert role.sh(f"stat -Lc '%a' {path}").strip() == "600", path
