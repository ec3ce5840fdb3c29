# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def tried(
    folder: Path, expected: Any, template: str = "run.sh.j2", **variables: str
) -> subprocess.CompletedProcess[str]:
    """A play that renders them, and fails where they aren't these."""
    (folder / "templates").mkdir()
    (folder / "templates/run.sh.j2").write_text("mount {{ instance.path }} of {{ instance.federation }} by {{ tool }}")
    instances = [{"name": "a", "path": "/a"}, {"name": "b", "path": "/b", "federation": "other"}]
    made = f"{{{{ query('fedlearn.infra.trials', *instances, template='{template}') }}}}"
    play: dict[str, Any] = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"instances": instances, "tool": "s3fs", "made": made, **variables},
        "tasks": [{"ansible.builtin.assert": {"that": f"made == {json.dumps(expected)}"}}],
    }
    (folder / "ansible.cfg").touch()
    (folder / "play.yml").write_text(json.dumps([play]))
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "localhost,", "-c", "local", "play.yml"]
    without = {**os.environ, "ANSIBLE_CONFIG": str(folder / "ansible.cfg"), "ANSIBLE_HOME": str(folder)}
    return subprocess.run(command, cwd=folder, env=without, capture_output=True, text=True, check=False)


def scripts(federation: str) -> list[dict[str, str]]:
    return [
        {"name": "a", "script": f"mount /a of {federation} by s3fs"},
        {"name": "b", "script": "mount /b of other by s3fs"},
    ]


def test_each_instance_has_its_script(tmp_path: Path) -> None:
    done = tried(tmp_path, scripts("demo"), fedlearn_federation="{{ 'de' ~ 'mo' }}")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_play_without_a_federation_is_in_the_default_one(tmp_path: Path) -> None:
    done = tried(tmp_path, scripts("default"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_template_that_isn_t_there_is_told(tmp_path: Path) -> None:
    done = tried(tmp_path, [], "gone.j2")
    assert (done.returncode, "gone.j2 could not be found" in done.stdout + done.stderr) == (2, True), done.stderr
