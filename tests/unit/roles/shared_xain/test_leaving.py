# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Before a coordinator or an aggregator goes its host is asked whether a training is under way in it."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import jinja2
import pytest

ROLES = Path(__file__).resolve().parents[4] / "roles"
NAME = "demo-counts-one"


@pytest.mark.parametrize(
    ("role", "lost"), [("xain_coordinator", "would be lost"), ("xain_aggregator", "its model would be lost")]
)
def test_one_with_a_training_under_way_goes_only_when_that_is_meant(role: str, lost: str, tmp_path: Path) -> None:
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(ROLES / role / "templates"))
    environment.filters["quote"] = shlex.quote
    instance = {"name": NAME, "stack": "counts"}
    script = environment.get_template("leaving.sh.j2").render(instance=instance).replace("/run/", f"{tmp_path}/")

    def asked() -> tuple[int, str]:
        done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    assert asked() == (0, "")
    (tmp_path / f"fedlearn-{NAME}").mkdir()
    (tmp_path / f"fedlearn-{NAME}" / "training").write_text("round 2 of 3\n")
    code, said = asked()
    told = f"a training is under way (round 2 of 3) and {lost}: wait for its end, or say -e fedlearn_disrupt=counts"
    assert (code, said.strip()) == (1, told)
    (tmp_path / f"fedlearn-disrupt-{NAME}").touch()
    assert asked() == (0, "")
