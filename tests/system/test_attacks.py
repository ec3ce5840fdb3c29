# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""managed_service against what others, accidents and wrong roles do to it on a real host."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest
from service_host import FEDERATION, HOOK, ServiceHost, folder, thing, unit

OWNED = f"/var/lib/fedlearn/{FEDERATION}/owned.json"
CANARY = "/opt/watched/canary"  # a file of root's that nothing of ours names
THEIRS = "/opt/watched/theirs"  # a directory that belongs to somebody else


# -- files ------------------------------------------------------------------------------------------------------------


def test_a_directory_somebody_could_exchange_is_not_followed(host: ServiceHost) -> None:
    host.shell(f"install -d -o daemon {THEIRS}; mkdir /opt/watched/target")
    host.shell(f"sudo -u daemon ln -s /opt/watched/target {THEIRS}/folder")
    ran = host.fail(thing(paths=[f"{THEIRS}/folder/file"]))
    assert ran.service("thing")["reason"] == (
        f"{THEIRS}/folder: is a symbolic link that others than root could have laid; not followed; nothing was changed"
    )
    assert host.shell("ls -A /opt/watched/target") == ""


@pytest.mark.parametrize("name", ["file", ".fedlearn-new.file"])
@pytest.mark.parametrize("how", ["ln -s", "ln"])
def test_what_lies_at_a_path_is_replaced_and_never_written_through(host: ServiceHost, name: str, how: str) -> None:
    host.shell(f"install -d -o daemon {THEIRS}; echo precious > {CANARY}; chmod 0640 {CANARY}")
    host.shell(f"{how} {CANARY} {THEIRS}/{name}; chown -h daemon {THEIRS}/{name}; chown root {CANARY}")
    before = host.shell(f"stat -c '%a %u %Y' {CANARY}; cat {CANARY}")
    host.converge(thing(paths=[f"{THEIRS}/file"]))
    assert host.shell(f"stat -c '%a %u %Y' {CANARY}; cat {CANARY}") == before
    assert host.shell(f"stat -c '%F %a %U %h' {THEIRS}/file; cat {THEIRS}/file") == "regular file 644 root 1\nfirst"
    assert host.shell(f"ls -A {THEIRS}") == "file\n"


def test_a_staged_secret_is_as_private_as_it_will_be(host: ServiceHost) -> None:
    host.hook("hold validated thing")
    running = host.begin(thing())
    staged = f"{folder('thing')}/.fedlearn-new.password"
    try:
        host.shell(f"for i in $(seq 600); do [ -s {staged} ] && exit 0; sleep 0.1; done; exit 1")
        seen = host.shell(f"stat -c '%a %U:%G' {staged}")
    finally:
        host.shell(f"rm -f {HOOK}")
    assert running.wait().code == 0
    assert seen == "600 root:root\n"


def test_large_files_bytes_and_names_with_spaces(host: ServiceHost, tmp_path: Path) -> None:
    large, small = tmp_path / "large file", tmp_path / "no text"
    large.write_bytes(b"\xff\x00 0123456789\n" * 800_000)  # above 10 MB
    small.write_bytes(bytes(range(256)))
    things = (
        thing(big=str(large), paths=[f"{folder('thing')}/with space, 'quote' and ü"]),
        thing("two", 18002, big=str(small)),
    )
    ran = host.converge(*things, arguments=("--diff",))
    assert "(11200000 bytes)" in ran.output
    assert "(256 bytes, not text)" in ran.output
    digest = hashlib.sha256(large.read_bytes()).hexdigest()
    assert host.shell(f"sha256sum < {folder('thing')}/big").split()[0] == digest
    digest = hashlib.sha256(small.read_bytes()).hexdigest()
    assert host.shell(f"sha256sum < {folder('two')}/big").split()[0] == digest
    assert host.shell(f"cat {folder('thing')}/with*") == "first"
    assert host.converge(*things).result["changed"] is False
    host.converge({"name": "thing", "state": "absent"}, {"name": "two", "state": "absent"}, remove_data=True)
    assert host.look().files == {}


# -- secrets ----------------------------------------------------------------------------------------------------------


def test_a_secret_the_program_tells_is_masked_in_any_form(host: ServiceHost) -> None:
    secret = 'canary/"one"+1'
    ran = host.fail(thing(secret=secret, bad=True), arguments=("--diff", "-vvv"))
    told = [line for line in ran.service("thing")["journal"] if "in a URL" in line or "Basic" in line]
    assert {line.replace("user:", "") for line in told} >= {
        'in a URL ******** in JSON {"secret": "********"}',
    }
    assert any(line.startswith("Authorization: Basic ") and line.endswith(" in hex ********") for line in told)
    for form in (secret, "canary%2F", json.dumps(secret)[1:-1], "Y2FuYXJ5", "dXNlcjpjYW5hcnk", secret.encode().hex()):
        assert form not in ran.output + json.dumps(ran.result)


def test_a_private_file_is_not_shown_although_nobody_called_it_secret(host: ServiceHost) -> None:
    for text in ("private-canary-1", "private-canary-2"):
        ran = host.converge(thing(private=text), arguments=("--diff",))
        assert "(new content, not shown)" in ran.output
        assert "private-canary" not in ran.output


@pytest.mark.parametrize("fault", ["json", "date", "number", "key", "filter", "undefined"])
def test_a_template_that_fails_on_a_secret_does_not_tell_it(host: ServiceHost, fault: str) -> None:
    secret = "canary-in-a-template"
    ran = host.run(thing(secret=secret, fault=fault), service="faulty.yml.j2", arguments=("-vvv",))
    assert ran.code == 2
    assert "thing: faulty.yml.j2: " in ran.result["msg"]
    assert secret not in ran.result["msg"] + json.dumps(ran.result)
    assert secret not in ran.output
    assert base64.b64encode(secret.encode()).decode() not in ran.output


# -- what is remembered -----------------------------------------------------------------------------------------------


DAMAGE = {
    "truncated": ("truncate -s 100 {}", "is damaged; restore it, or move it away and run again"),
    "emptied": ("truncate -s 0 {}", "is damaged; restore it, or move it away and run again"),
    "newer": (
        """sed -i 's/"version": 1/"version": 2/' {}""",
        "was written by a newer release (version 2): run that one",
    ),
    "path": ("sed -i 's,/etc/fedlearn/tests/thing/notes,/etc/fedlearn/../passwd,' {}", "is damaged"),
    "unit": ("sed -i 's/fedlearn-thing.service\"/*\"/' {}", "is damaged"),
    "shape": ("""sed -i 's/"services": {{/"services": {{"odd": 1,/' {}""", "is damaged"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_memory_is_refused_and_nothing_changes(host: ServiceHost, damage: str) -> None:
    how, reason = DAMAGE[damage]
    host.converge(thing())
    host.shell(f"{how.format(OWNED)}; cp {OWNED} /run/damaged; chmod 0600 {folder('thing')}/notes")
    before = host.shell("cd /; find etc/fedlearn etc/systemd/system var/lib/fedlearn -ls")
    for instances in ([thing(text="second")], [{"name": "thing", "state": "absent"}]):
        ran = host.run(*instances)
        assert ran.code == 2
        assert OWNED in ran.result["msg"]
        assert reason in ran.result["msg"]
    assert host.shell("cd /; find etc/fedlearn etc/systemd/system var/lib/fedlearn -ls") == before
    assert host.shell(f"cmp {OWNED} /run/damaged; systemctl is-active fedlearn-thing.service") == "active\n"
    host.shell(f"mv {OWNED} /run/away")
    host.converge(thing(text="second"))
    assert host.look().answers == {"thing": "second"}


def test_a_lock_nobody_holds_any_more_stops_nobody(host: ServiceHost) -> None:
    host.shell("mkdir /run/fedlearn; echo 'process 1 since long ago, started by nobody' > /run/fedlearn/lock")
    host.converge(thing(), lock_timeout=1)
    assert host.look().answers == {"thing": "first"}


def test_a_clock_that_jumped_costs_one_restart_at_most(host: ServiceHost) -> None:
    host.converge(thing())
    host.shell(f"touch -d '+1 year' {folder('thing')}/thing.conf; systemctl restart fedlearn-thing.service")
    first = host.converge(thing())
    assert first.service("thing")["action"] == "restarted"  # that process may have read another file
    assert host.converge(thing()).result["changed"] is False
    host.shell(f"touch -d '1 Jan 1980' {folder('thing')}/thing.conf")
    assert host.converge(thing()).result["changed"] is False


# -- health -----------------------------------------------------------------------------------------------------------


UNTIL = "for i in $(seq 300); do {} && exit 0; sleep 0.1; done; exit 1"


@pytest.mark.parametrize("stranger", ["other", "fedlearn-orphan"])
def test_an_answer_of_another_program_is_no_health(host: ServiceHost, stranger: str) -> None:
    host.hook("hold acted thing")
    running = host.begin(thing(program={"silent": True}, timeout=2))
    try:
        host.shell(UNTIL.format("systemctl is-active -q fedlearn-thing"))
        host.shell(f"systemd-run --quiet --unit={stranger} python3 -m http.server --bind 127.0.0.1 18001")
        host.shell(UNTIL.format("ss -Hltn 'sport = :18001' | grep -q ."))
        host.shell(f"rm {HOOK}")
        ran = running.wait()
    finally:
        host.shell(f"rm -f {HOOK}; systemctl stop {stranger}.service || true")
    assert ran.code == 2
    told = ran.service("thing")["reason"]
    assert re.search(rf"port 18001 is answered by another program \(python3, process \d+, {stranger}.service\)", told)
    assert "and not by fedlearn-thing.service" in told
    assert ("name its host under `absent`" in told) == stranger.startswith("fedlearn-")


CRASHING = {"text": "second", "program": {"crash": 2}, "checks": [], "timeout": 90}


def test_a_service_that_crashes_after_its_start_is_rolled_back(host: ServiceHost) -> None:
    host.converge(thing())
    ran = host.fail(thing(**CRASHING))
    reason = ran.service("thing")["reason"]
    assert "restarted 4 times" in reason
    assert reason.endswith("; rolled back, the former service is running")
    assert "I crashed" in ran.service("thing")["journal"]
    assert host.look().answers == {"thing": "first"}


def test_a_job_that_crashes_after_its_start_is_no_success(host: ServiceHost) -> None:
    ran = host.fail(thing("job", 0, type="job", crashing=True, **CRASHING))
    assert "restarted 4 times" in ran.service("job")["reason"]
    assert "I crashed" in ran.service("job")["journal"]


def test_a_service_that_began_to_crash_is_not_called_healthy(host: ServiceHost) -> None:
    well = thing(checks=[], timeout=90)
    host.converge(well)
    host.shell(f'sed -i \'s/"bad"/"crash": 1, "bad"/\' {folder("thing")}/thing.conf')
    crashing = thing(checks=[], timeout=90, program={"crash": 1})
    host.fail(crashing)
    host.shell("systemctl kill -s KILL fedlearn-thing.service; sleep 0.5")
    assert host.converge(well, arguments=("--check",)).service("thing")["healthy"] is not True


# -- units ------------------------------------------------------------------------------------------------------------


def test_what_others_laid_over_a_unit_is_told_and_left(host: ServiceHost) -> None:
    host.converge(thing())
    mine, all_of_us = f"{unit('thing')}.d/mine.conf", "/etc/systemd/system/fedlearn-.service.d/everyone.conf"
    for path in (mine, all_of_us):
        host.shell(f"mkdir -p {Path(path).parent}; printf '[Service]\\nNice=5\\n' > {path}")
    host.shell("systemctl daemon-reload")
    ran = host.converge(thing())
    assert ran.result["changed"] is False
    assert sorted(ran.service("thing")["overrides"]) == sorted([mine, all_of_us])
