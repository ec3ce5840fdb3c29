# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why nginx wouldn't start again, in its own words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._nginx import refusal

WHY = 'open() "/nowhere" failed (2: No such file or directory) in /etc/nginx/conf.d/zz.conf:1'


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"nginx: [emerg] {WHY}\nnginx: configuration file /etc/nginx/nginx.conf test failed\n", WHY),
        (f"2026/11/28 20:28:40 [emerg] 405#405: {WHY}\nnginx: configuration file test failed\n", WHY),
        ("nginx: [alert] something else\n", "nginx: [alert] something else"),
    ],
    ids=["without a log", "as its log has it", "no emergency"],
)
def test_what_it_refuses_is_told_without_time_and_process(tmp_path: Path, said: str, told: str) -> None:
    program = tmp_path / "nginx"
    program.touch(0o755)
    module = SimpleNamespace(run_command=lambda _argv: (1, "", said))
    assert refusal(module, str(program)) == f"nginx refuses the files it would start with: {told}"


def test_nothing_is_told_of_files_that_it_takes_or_of_no_nginx(tmp_path: Path) -> None:
    program = tmp_path / "nginx"
    module = SimpleNamespace(run_command=lambda _argv: (0, "", "nginx: [warn] conflicting server name\n"))
    assert refusal(module, None) == refusal(module, str(program)) == ""
    program.touch(0o755)
    assert refusal(module, str(program)) == ""
