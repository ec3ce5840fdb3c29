# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said of a machine that allows less than was asked for."""

from __future__ import annotations

import pytest
from ansible.module_utils.testing import patch_module_args

from ansible_collections.fedlearn.infra.plugins.modules import limits


def test_a_warning_names_host_and_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Core shows a module's warnings without the host they come from."""
    warnings: list[str] = []
    monkeypatch.setattr(limits.AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    monkeypatch.setattr(limits, "allowed", lambda number: min(number, 1024))
    monkeypatch.setattr(limits, "usual_hard", lambda _module: 0)
    monkeypatch.setattr(limits, "read", lambda _path: None)
    arguments = {"nofile": 65535, "host": "ms1", "_ansible_check_mode": True}
    with patch_module_args(arguments), pytest.raises(SystemExit) as ended:
        limits.main()
    assert ended.value.code == 0
    assert warnings == [
        "ms1: nofile: 65535 was asked for, this machine allows 1024: raise fs.nr_open, in a container its own limit "
        "(--ulimit nofile=), or ask for less (limits_nofile)"
    ]
