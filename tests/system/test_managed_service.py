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

from service_host import FEDERATION, ServiceHost, folder, thing, unit

OWNED = f"/var/lib/fedlearn/{FEDERATION}/owned.json"


def test_what_a_first_run_makes(host: ServiceHost) -> None:
    ran = host.converge(thing())
    assert ran.result["changed"] is True
    assert ran.service("thing") == {
        "changed": True,
        "action": "started",
        "deferred": False,
        "healthy": True,
        "rolled_back": False,
        "reason": "",
        "journal": [],
        "overrides": [],
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
