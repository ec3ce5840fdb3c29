# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""managed_service on a real systemd host: what it makes, what it leaves alone, and what becomes of a run that fails."""

from __future__ import annotations

import base64
import json
import re
import zlib
from pathlib import Path
from typing import Any

import pytest
from service_host import FEDERATION, HOOK, Seen, ServiceHost, folder, thing, unit

from ansible_collections.fedlearn.infra.plugins.module_utils._service.transaction import (
    REMOVAL_STEPS,
    STEPS,
    UNDO_STEPS,
)

OWNED = f"/var/lib/fedlearn/{FEDERATION}/owned.json"


def test_what_a_first_run_makes(host: ServiceHost) -> None:
    ran = host.converge(thing())
    assert ran.result["changed"] is True
    assert ran.service("thing") == {
        "changed": True,
        "action": "started",
        "deferred": False,
        "kept": False,
        "healthy": True,
        "pause": 0.0,
        "rolled_back": False,
        "reason": "",
        "journal": [],
        "overrides": [],
        "inside": "",
        "files": sorted(
            [f"{folder('thing')}/{name}" for name in ("thing.conf", "notes", "password")] + [unit("thing")]
        ),
    }
    seen = host.look()
    assert seen.answers == {"thing": "first"}
    assert seen.units["fedlearn-thing.service"]["UnitFileState"] == "enabled"
    modes = {path: (entry["mode"], entry["owner"]) for path, entry in seen.files.items() if entry["kind"] == "file"}
    assert modes == {
        f"{folder('thing')}/thing.conf": ("0644", "root:root"),
        f"{folder('thing')}/notes": ("0644", "root:root"),
        f"{folder('thing')}/password": ("0600", "root:root"),
        unit("thing"): ("0644", "root:root"),
        OWNED: ("0644", "root:root"),
        f"/var/lib/fedlearn/{FEDERATION}/services/thing.json": ("0600", "root:root"),
    }
    assert seen.owned[OWNED] == {
        "version": 1,
        "federation": FEDERATION,
        "left_data": {},
        "services": {
            "thing": {
                "units": ["fedlearn-thing.service"],
                "unit": None,
                "type": "service",
                "files": [unit("thing")]
                + [f"{folder('thing')}/{name}" for name in ("thing.conf", "notes", "password")],
                "ports": [{"address": "127.0.0.1", "port": 18001, "protocol": "tcp"}],
                "data": ["/var/lib/fedlearn-thing"],
                "validate": [],
                "transient": False,
                "directories": ["/etc/fedlearn", f"/etc/fedlearn/{FEDERATION}", folder("thing")],
            }
        },
    }


def test_a_second_run_touches_nothing(host: ServiceHost, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(range(256)) * 2000)
    job = thing("job", 0, type="job")
    instances = (thing(), thing("two", 18002, big=str(large), sysusers=True), job)
    host.converge(*instances)
    before = host.look()
    assert before.answers == {"thing": "first", "two": "first", "job": None}
    assert before.files[f"{folder('two')}/owned"]["owner"] == "fedthing:fedthing"
    assert host.shell(f"sha256sum < {folder('two')}/big").split()[0] == before.files[f"{folder('two')}/big"]["content"]
    second = host.converge(*instances)
    assert second.result["changed"] is False
    assert {name: found["action"] for name, found in second.result["services"].items()} == dict.fromkeys(
        ("thing", "two", "job"), "none"
    )
    assert host.look() == before


def test_check_mode_changes_nothing_and_tells_what_a_run_would(host: ServiceHost) -> None:
    clean = host.look()
    for how in ({"arguments": ("--check",)}, {"plan": True}):
        foreseen = host.converge(thing(), **how)
        assert foreseen.service("thing")["action"] == "started"
        assert foreseen.result["changed"] is True
        assert host.look() == clean
    done = host.converge(thing())
    assert done.service("thing")["files"] == foreseen.service("thing")["files"]
    before = host.look()
    again = host.converge(thing(), arguments=("--check", "--diff"))
    assert again.result["changed"] is False
    assert again.service("thing")["healthy"] is True
    changed = host.converge(thing(text="second"), arguments=("--check", "--diff"))
    assert changed.service("thing")["action"] == "restarted"
    assert changed.service("thing")["files"] == [f"{folder('thing')}/thing.conf"]
    assert host.look() == before


def unpacked(output: str) -> str:
    """Whatever compressed payloads an output shows."""
    found = ""
    for text in re.findall(r"[A-Za-z0-9+/]{80,}={0,2}", output):
        try:
            found += zlib.decompress(base64.b64decode(text + "==")).decode()
        except (ValueError, zlib.error):
            continue
    return found


def test_no_secret_is_shown(host: ServiceHost) -> None:
    first, second, third = ("canary/one+1", "canary/two+2", "canary/three+3")
    runs = [
        host.converge(thing(secret=first), arguments=("--diff", "-vvv")),
        host.converge(thing(secret=second, text="shown"), arguments=("--diff", "-vvv", "--check")),
        host.converge(thing(secret=second, text="shown"), arguments=("--diff", "-vvv")),
        host.fail(thing(secret=third, bad=True), arguments=("--diff", "-vvv")),
    ]
    assert '"text": "shown"' in runs[1].output.replace("\\", "")
    assert "refused, my secret is ********" in runs[3].output  # it is the program that told it
    for ran in runs:
        for secret in (first, second, third):
            for text in (ran.output, json.dumps(ran.result), unpacked(ran.output)):
                assert secret not in text
                assert base64.b64encode(secret.encode()).decode() not in text
    journal = host.shell("journalctl --no-pager --output cat _UID=0")  # all but what the program itself told
    assert "Invoked with" in journal
    assert not [line for line in journal.splitlines() if first in line or second in line]
    assert unpacked(journal) == ""


# -- what fails -------------------------------------------------------------------------------------------------------


def test_a_refused_configuration_leaves_the_old_service(host: ServiceHost) -> None:
    host.converge(thing(), thing("two", 18002))
    before = host.look()
    ran = host.fail(
        thing(broken="is no JSON"),
        thing("two", 18002, text="second", validate=["/bin/sh", "-c", "echo no >&2; exit 1"]),
    )
    first, second = (line for line in ran.result["msg"].splitlines() if not line.startswith(" "))
    assert first.startswith("h1: thing: /usr/bin/python3 -c ")
    assert f"refused the new {folder('thing')}/thing.conf" in first
    assert "json.decoder.JSONDecodeError" in ran.result["msg"]
    assert second == (
        "h1: two: /bin/sh -c echo no >&2; exit 1 refused the new configuration: no; "
        "rolled back, the former service is running"
    )
    after = host.look()
    assert after.end_state() == before.end_state()
    for path, entry in before.files.items():  # also the times, but of what is noted of the change
        assert path.startswith("/var/lib/fedlearn") or after.files[path] == entry
    for name in ("thing", "two"):
        assert after.pid(name) == before.pid(name)


def test_what_hangs_and_was_disabled_is_told_and_enabled(host: ServiceHost) -> None:
    host.converge(thing(timeout=2))
    before = host.look()
    host.shell("systemctl kill --kill-who=main -s STOP fedlearn-thing; systemctl disable fedlearn-thing")
    ran = host.fail(thing(timeout=2))
    assert ran.service("thing")["changed"] is True
    assert ran.service("thing")["reason"].endswith(
        "timed out; nothing of it differs, so it was left running: if it hangs, `systemctl restart "
        "fedlearn-thing.service`; enabled again: fedlearn-thing.service"
    )
    assert host.look().pid("thing") == before.pid("thing")
    host.shell("systemctl restart fedlearn-thing")
    host.converge(thing(timeout=2))
    assert host.look().end_state() == before.end_state()


@pytest.mark.parametrize("wrong", [{"broken": "is no JSON"}, {"bad": True}], ids=["refused", "unhealthy"])
def test_what_was_disabled_is_enabled_though_the_change_fails(host: ServiceHost, wrong: dict[str, Any]) -> None:
    host.converge(thing())
    before = host.look()
    host.shell("systemctl disable fedlearn-thing")
    reason = host.fail(thing(**wrong)).service("thing")["reason"]
    assert reason.endswith("; enabled again: fedlearn-thing.service")
    assert host.look().end_state() == before.end_state()


def test_an_unhealthy_start_is_rolled_back_and_others_stand(host: ServiceHost) -> None:
    names = ("thing", "silent", "well")
    things = [thing(name, 18001 + index) for index, name in enumerate(names)]
    host.converge(*things)
    before = host.look()
    nobody = [{"tcp": {"address": "127.0.0.1", "port": 9}}]
    ran = host.fail(
        {**things[0], "bad": True, "description": "new unit", "paths": ["/etc/fedlearn/new/file"]},
        {**things[1], "text": "second", "checks": nobody, "timeout": 2},
        {**things[2], "text": "second"},
    )
    for name in ("thing", "silent"):
        assert ran.service(name)["rolled_back"] is True
        assert ran.service(name)["reason"].endswith("; rolled back, the former service is running")
    assert ran.service("thing")["journal"]
    assert "TCP 127.0.0.1 port 9" in ran.service("silent")["reason"]
    assert ran.service("well") == {**ran.service("well"), "action": "restarted", "healthy": True, "reason": ""}
    after = host.look()
    assert after.answers == {"thing": "first", "silent": "first", "well": "second"}
    mine = {path: entry for path, entry in after.files.items() if "well" not in path and path != OWNED}
    assert mine.keys() == {path for path in before.files if "well" not in path and path != OWNED}
    for path, entry in mine.items():
        if path not in after.records:  # there it says which process was proven
            assert entry == before.files[path]
    assert after.owned == before.owned
    again = host.converge(*things[:2])
    assert again.result["changed"] is False


def test_what_runs_is_not_stopped_for_a_port_that_others_hold(host: ServiceHost) -> None:
    host.converge(thing(), thing("well", 18002))
    before = host.look()
    host.shell("systemd-run --quiet --unit=taken python3 -m http.server 18003 --bind 127.0.0.1; sleep 1")
    try:
        wrong = host.fail(thing(port=18003), thing("well", 18002, text="second"))
    finally:
        host.shell("systemctl stop taken")
    told = "port 18003 is held by another program (python3, process "
    reason = wrong.service("thing")["reason"]
    assert (reason.startswith(told), reason.endswith("or choose another port; nothing was changed")) == (True, True)
    after = host.look()
    assert after.answers == {"thing": "first", "well": "second"}
    assert after.pid("thing") == before.pid("thing")
    assert {path: entry for path, entry in after.files.items() if path.startswith(folder("thing"))} == {
        path: entry for path, entry in before.files.items() if path.startswith(folder("thing"))
    }


def test_services_of_one_run_may_hand_ports_on(host: ServiceHost) -> None:
    host.converge(thing(port=18001), thing("well", 18002))
    host.converge(thing("well", 18003), thing(port=18002))
    assert host.look().answers == {"thing": "first", "well": "first"}


def test_a_first_start_that_fails_leaves_nothing(host: ServiceHost) -> None:
    clean = host.look()
    ran = host.fail(thing(bad=True))
    assert "it was not running before" in ran.service("thing")["reason"]
    left = host.look()
    assert left.units == clean.units
    assert [path for path, entry in left.files.items() if entry["kind"] == "file"] == [OWNED]
    data = {"thing": {"data": ["/var/lib/fedlearn-thing"]}}
    assert left.owned[OWNED] == {"version": 1, "federation": FEDERATION, "services": {}, "left_data": data}
    host.converge(thing())
    assert host.look().answers == {"thing": "first"}


def test_left_data_that_somebody_removed_are_remembered_no_longer(host: ServiceHost) -> None:
    host.fail(thing(bad=True))
    host.shell("rm -r /var/lib/fedlearn-thing /var/lib/private/fedlearn-thing")
    host.converge(thing("other", 18002))
    assert host.look().owned[OWNED]["left_data"] == {}


def test_a_secret_of_a_first_start_that_fails_goes_too(host: ServiceHost) -> None:
    ran = host.fail(thing(secret="first-canary", restore=False, bad=True))
    assert ran.service("thing")["rolled_back"] is True
    assert host.shell("grep -rl first-canary /etc /var/lib || true") == ""
    assert host.shell(f"test -e {folder('thing')} || echo gone").strip() == "gone"


def test_a_withdrawn_secret_is_not_put_back(host: ServiceHost) -> None:
    old, new = "withdrawn-canary", "following-canary"
    host.converge(thing(secret=old))
    ran = host.fail(thing(secret=new, restore=False, bad=True))
    assert ran.service("thing")["rolled_back"] is True
    seen = host.look()
    assert seen.answers == {"thing": "first"}
    assert host.shell(f"cat {folder('thing')}/password") == new
    assert host.shell(f"grep -rl {new} /etc/fedlearn /var/lib/fedlearn").split() == [f"{folder('thing')}/password"]
    assert host.shell(f"grep -rl {old} /etc/fedlearn /var/lib/fedlearn || true") == ""


# -- disks ------------------------------------------------------------------------------------------------------------


def test_read_only_and_full_disks_leave_the_old_service(host: ServiceHost) -> None:
    names = ("readonly", "pinned", "full", "well")
    things = [thing(name, 18001 + index) for index, name in enumerate(names)]
    host.converge(*things)
    before = host.look()
    host.shell(
        f"mount --bind {folder('readonly')} {folder('readonly')}; mount -o remount,bind,ro {folder('readonly')}\n"
        f"mount --bind {folder('pinned')}/notes {folder('pinned')}/notes\n"
        f"cp -a {folder('full')} /run/full; mount -t tmpfs -o size=64k,mode=0755 none {folder('full')}\n"
        f"cp -a /run/full/. {folder('full')}; rm -r /run/full\n"
        f"dd if=/dev/zero of={folder('full')}/ballast 2>/dev/null || true"
    )
    try:
        ran = host.fail(*[{**one, "text": "second", "notes": "new"} for one in things])
        after = host.look()
    finally:
        host.shell(
            "".join(f"umount {folder(name)}\n" for name in ("readonly", "full")) + f"umount {folder('pinned')}/notes"
        )
    assert ran.service("readonly")["reason"] == (
        f"{folder('readonly')}/thing.conf: Read-only file system ({folder('readonly')} is mounted read-only: "
        f"mount -o remount,bind,rw {folder('readonly')}); nothing was changed"
    )
    assert ran.service("pinned")["reason"] == (
        f"{folder('pinned')}/notes: Device or resource busy (is it a mount point?); "
        "rolled back, the former service is running"
    )
    assert ran.service("full")["reason"] == (
        f"{folder('full')}/thing.conf: No space left on device (the file system is full); nothing was changed"
    )
    assert [line.split(":")[:2] for line in ran.result["msg"].splitlines()] == [["h1", f" {one}"] for one in names[:3]]
    assert after.answers == {"readonly": "first", "pinned": "first", "full": "first", "well": "second"}
    for name in names[:3]:
        assert after.pid(name) == before.pid(name)
    assert not [path for path in after.files if ".fedlearn-new." in path or ".former" in path]
    seen = host.look()
    assert seen.files[f"{folder('pinned')}/thing.conf"] == before.files[f"{folder('pinned')}/thing.conf"]
    host.converge(*[{**one, "text": "second", "notes": "new"} for one in things])
    assert set(host.look().answers.values()) == {"second"}


def test_a_full_disk_of_our_own_state_changes_nothing(host: ServiceHost) -> None:
    host.converge(thing())
    before = host.look()
    host.shell(
        "cp -a /var/lib/fedlearn /run/kept; mount -t tmpfs -o size=64k,mode=0755 none /var/lib/fedlearn\n"
        "cp -a /run/kept/. /var/lib/fedlearn; rm -r /run/kept; dd if=/dev/zero of=/var/lib/fedlearn/ballast || true"
    )
    try:
        ran = host.fail(thing(text="second"))
        after = host.look()
    finally:
        host.shell("umount /var/lib/fedlearn")
    assert "No space left on device (the file system is full)" in ran.service("thing")["reason"]
    assert after.answers == {"thing": "first"}
    assert after.pid("thing") == before.pid("thing")
    assert host.look() == before
    host.converge(thing(text="second"))
    assert host.look().answers == {"thing": "second"}


# -- change and removal -----------------------------------------------------------------------------------------------


def test_what_a_watched_file_changes(host: ServiceHost) -> None:
    host.shell("mkdir /opt/watched; echo 1 > /opt/watched/restart; echo 1 > /opt/watched/reload")
    both = [{"path": f"/opt/watched/{change}", "change": change} for change in ("restart", "reload")]
    host.converge(thing(watch=both))
    first = host.look()
    host.shell("echo 2 > /opt/watched/reload")
    assert host.converge(thing(watch=both)).service("thing")["action"] == "reloaded"
    second = host.look()
    assert second.pid("thing") == first.pid("thing")
    assert host.shell("cat /var/lib/private/fedlearn-thing/reloads") == "x"
    host.shell("echo 2 > /opt/watched/restart")
    restarted = host.converge(thing(watch=both)).service("thing")
    assert (restarted["action"], restarted["pause"] > 0) == ("restarted", True)
    third = host.look()
    assert third.pid("thing") != first.pid("thing")
    assert third.files == {**first.files, **{path: third.files[path] for path in third.records}}


# By whom a file was changed by hand, and what was done to it.
DRIFT = {
    "conf": ("thing.conf", "sed -i s/first/forged/ {}"),
    "gone": ("thing.conf", "rm {}"),
    "notes": ("notes", "echo more >> {}"),
    "mode": ("notes", "chmod 0666 {}"),
    "password": ("password", "echo forged > {}"),
    "owner": ("password", "chown daemon:daemon {}"),
    "link": ("password", "cp -a {} /run/lost; ln -sf /run/lost {}"),
    "unit": (None, "echo '# by hand' >> {}"),
    "nounit": (None, "rm {}"),
}


def test_a_file_changed_by_hand_is_reported_and_repaired(host: ServiceHost) -> None:
    things = [thing(name, 18001 + index) for index, name in enumerate(DRIFT)]
    host.converge(*things, thing("well", 18050))
    before = host.look()
    changed = {name: f"{folder(name)}/{file}" if file else unit(name) for name, (file, _how) in DRIFT.items()}
    host.shell("\n".join(how.replace("{}", changed[name]) for name, (_file, how) in DRIFT.items()))
    broken = host.look()
    foreseen = host.converge(*things, thing("well", 18050), arguments=("--check",))
    assert host.look() == broken
    repaired = host.converge(*things, thing("well", 18050))
    for ran in (foreseen, repaired):
        found = {name: service["files"] for name, service in ran.result["services"].items()}
        assert found == {"well": [], **{name: [path] for name, path in changed.items()}}
        assert {name for name, service in ran.result["services"].items() if not service["changed"]} == {"well"}
    after = host.look()
    assert after.end_state() == before.end_state()
    assert after.pid("well") == before.pid("well")


def test_a_removal_leaves_nothing_but_data(host: ServiceHost) -> None:
    clean = host.look()
    assert clean.files == {}
    host.converge(thing(), thing("two", 18002))
    gone = [{"name": name, "state": "absent"} for name in ("thing", "two")]
    foreseen = host.converge(*gone, arguments=("--check",))
    assert {service["action"] for service in foreseen.result["services"].values()} == {"removed"}
    host.converge(gone[0])
    one = host.look()
    assert one.answers == {"two": "first"}
    assert not [path for path in one.files if "thing" in path.replace("thing.conf", "")]
    assert one.owned[OWNED]["left_data"] == {"thing": {"data": ["/var/lib/fedlearn-thing"]}}
    assert "/var/lib/private/fedlearn-thing" in one.data
    assert host.shell("cat /var/lib/private/fedlearn-thing/starts") == "first\n"
    assert host.converge(gone[0]).result["changed"] is False
    host.converge(*gone, remove_data=True)
    assert host.look() == clean
    assert host.converge(*gone, remove_data=True).result["changed"] is False


# -- two runs at once -------------------------------------------------------------------------------------------------


def test_a_second_run_waits_or_says_who_holds_the_lock(host: ServiceHost) -> None:
    host.hook("hold locked")
    first = host.begin(thing())
    try:
        host.shell("for i in $(seq 300); do [ -s /run/fedlearn/lock ] && exit 0; sleep 0.1; done; exit 1")
        host.converge(thing(), arguments=("--check",))  # looking needs no lock
        refused = host.run(thing(text="second"), lock_timeout=1)
        assert refused.code == 2
        assert re.fullmatch(
            r"h1: another run holds this host's lock \(/run/fedlearn/lock\): process \d+ since \S+ \S+ \S+, "
            r"started by \S+ on \S+ for thing : Converge things; waited 1 s\. "
            r"Let it end, or end that process, and run again",
            refused.result["msg"],
        )
        second = host.begin(thing(text="second"))
        opened = "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c ' /run/fedlearn/lock$'"
        host.shell(f'for i in $(seq 300); do [ "$({opened})" = 2 ] && exit 0; sleep 0.1; done; exit 1')
    finally:
        host.shell(f"rm -f {HOOK}")
    assert first.wait().result["services"]["thing"]["action"] == "started"
    waited = second.wait()
    assert waited.result["changed"] is True
    told = r"waited [\d.]+ s for another run, .*: process \d+ since .*, started by \S+ on \S+ for thing"
    assert re.search(told, " ".join(waited.output.split()))
    assert host.look().answers == {"thing": "second"}


# -- limits of what runs ----------------------------------------------------------------------------------------------

LIMITED = ["MemoryMax=300M", "TasksMax=50", "CPUQuota=150%"]
RAISED = ["MemoryMax=400M", "TasksMax=60", "CPUWeight=50"]
SEEN_LIMITS = """
place=$(systemctl show --value -p ControlGroup fedlearn-thing)
for file in memory/$place/memory.limit_in_bytes $place/memory.max pids/$place/pids.max $place/pids.max; do
    cat /sys/fs/cgroup/$file 2>/dev/null || true
done
"""


def test_limits_change_under_a_process_that_runs(host: ServiceHost) -> None:
    wary = {"validate": ["/bin/sh", "-c", "test ! -e /run/no-restart || { echo a training is under way; exit 1; }"]}
    host.converge(thing(limits=LIMITED, **wary))
    before, former = host.look(), host.shell(SEEN_LIMITS).split()
    assert former == [str(300 << 20), "50"]
    host.shell("touch /run/no-restart")
    try:
        foreseen = host.converge(thing(limits=RAISED, **wary), arguments=("--check", "--diff"))
        assert (foreseen.service("thing")["action"], foreseen.service("thing")["changed"]) == ("none", True)
        assert "limits of what runs, without a restart" in foreseen.output
        assert host.look() == before
        ran = host.converge(thing(limits=RAISED, **wary))
        assert (ran.service("thing")["action"], ran.service("thing")["files"]) == ("none", [unit("thing")])
        # by the kernel's word, not by systemd's
        assert host.shell(SEEN_LIMITS).split() == [str(400 << 20), "60"]
        assert host.look().pid("thing") == before.pid("thing")
        assert host.converge(thing(limits=RAISED, **wary)).result["changed"] is False
        # with something else beside it a restart is needed, which is refused and puts the limits back
        host.fail(thing(limits=LIMITED, description="another", **wary))
        assert host.shell(SEEN_LIMITS).split() == [str(400 << 20), "60"]
        assert host.look().pid("thing") == before.pid("thing")
    finally:
        host.shell("rm -f /run/no-restart")


def test_a_limit_by_hand_is_put_back_under_a_process_that_runs(host: ServiceHost) -> None:
    host.converge(thing(limits=LIMITED))
    before = host.look()
    host.shell(f"sed -i s/300M/200M/ {unit('thing')}; systemctl daemon-reload")
    assert host.converge(thing(limits=LIMITED)).service("thing")["changed"] is True
    after = host.look()
    assert (after.end_state(), after.pid("thing")) == (before.end_state(), before.pid("thing"))


def test_a_limit_below_what_is_in_use_takes_a_restart_and_says_so(host: ServiceHost) -> None:
    host.converge(thing(limits=LIMITED, program={"holds_mb": 100}))
    before = host.look()
    low = thing(limits=["MemoryMax=64M", *LIMITED[1:]], program={"holds_mb": 100})
    for how in ({"arguments": ("--check",)}, {"restart": "deferred"}):
        ran = host.converge(low, **how)
        told = r"thing: fedlearn-thing.service has 1\d\d MB in use, and with MemoryMax=64M the kernel would kill it: "
        assert re.search(told + "that takes a restart", " ".join(ran.output.split()))
        assert (ran.service("thing")["action"], ran.service("thing")["deferred"]) in (
            ("restarted", False),
            ("none", True),
        )
        assert host.look() == before
    # it can't hold as much, and so it is put back
    assert host.fail(low).service("thing")["rolled_back"] is True
    after = host.look()
    assert (after.answers, after.running("thing")) == ({"thing": "first"}, True)


# -- killed runs ------------------------------------------------------------------------------------------------------

KEEP = "tar -C / -cf /run/kept.tar etc/fedlearn etc/systemd/system var/lib/fedlearn"
OLD = thing("old", 18001)
CHANGED = (
    {**OLD, "text": "second", "description": "another", "secret": "canary-of-old-1"},
    thing("new", 18002, text="second"),
)
EVERYWHERE = {"locked", "reloaded"}  # steps of a run, not of one service


@pytest.fixture(scope="module")
def undisturbed(standing: ServiceHost) -> Seen:
    """Keeps the host as it is before the change, and says how it is after one that nobody disturbed."""
    standing.wipe()
    standing.converge(OLD)
    standing.shell(KEEP)
    standing.converge(*CHANGED)
    return standing.look()


@pytest.fixture
def before_change(undisturbed: Seen, host: ServiceHost) -> ServiceHost:
    host.shell("tar -C / -xpf /run/kept.tar; systemctl daemon-reload; systemctl start fedlearn-old.service")
    host.shell("timeout 60 sh -c 'until ss -Hltn | grep -q 127.0.0.1:18001; do sleep 0.1; done'")
    return host


def killed(host: ServiceHost, step: str, name: str, *instances: dict[str, Any], **how: Any) -> None:
    """Runs until the module is killed at a step."""
    host.hook(f"kill {step}" if step in EVERYWHERE else f"kill {step} {name}")
    ran = host.run(*instances, **how)
    assert ran.code != 0, ran.output
    assert not host.hook_is_there(), f"{step} of {name} was never reached\n{ran.output}"


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("name", ["old", "new"])
def test_killed_while_changing(before_change: ServiceHost, undisturbed: Seen, step: str, name: str) -> None:
    host = before_change
    killed(host, step, name, *CHANGED)
    assert host.look().running("old")
    host.converge(*CHANGED)
    assert host.look().end_state() == undisturbed.end_state()


@pytest.mark.parametrize("step", UNDO_STEPS)
def test_killed_while_putting_back(before_change: ServiceHost, step: str) -> None:
    host, bad = before_change, {**OLD, "bad": True, "description": "another"}
    before = host.look()
    killed(host, step, "old", bad)
    host.fail(bad)
    after = host.look()
    assert after.end_state() == before.end_state()
    assert after.answers == {"old": "first"}


@pytest.mark.parametrize("step", ["locked", *REMOVAL_STEPS])
def test_killed_while_removing(before_change: ServiceHost, step: str) -> None:
    host, gone = before_change, {"name": "old", "state": "absent"}
    killed(host, step, "old", gone, remove_data=True)
    host.converge(gone, remove_data=True)
    seen = host.look()
    assert (seen.files, seen.units, seen.owned, seen.data) == ({}, {}, {}, [])


@pytest.mark.parametrize("step", ["rendered", "converged"])
def test_controller_killed(before_change: ServiceHost, undisturbed: Seen, step: str) -> None:
    host = before_change
    assert host.run(*CHANGED, kill=step).code == -9
    host.converge(*CHANGED)
    assert host.look().end_state() == undisturbed.end_state()


@pytest.mark.parametrize("step", [step for step in STEPS if step != "checked"])
def test_killed_while_limits_change(host: ServiceHost, step: str) -> None:
    host.converge(thing(limits=LIMITED))
    before = host.look()
    killed(host, step, "thing", thing(limits=RAISED))
    host.converge(thing(limits=RAISED))
    assert host.look().pid("thing") == before.pid("thing")
    assert host.shell(SEEN_LIMITS).split() == [str(400 << 20), "60"]
