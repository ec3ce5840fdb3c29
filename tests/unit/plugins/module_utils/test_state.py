# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host's lock where holding it isn't enough."""

from __future__ import annotations

import re
from pathlib import Path
from threading import Timer

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError
from ansible_collections.fedlearn.infra.plugins.module_utils._service.state import Lock


def test_a_lock_is_left_to_others_as_long_as_it_is_not_free(tmp_path: Path) -> None:
    path = str(tmp_path / "run/lock")
    answers = iter([False, True])  # whether nobody has yet to confirm
    with Lock("waits", 5, path, lambda: next(answers)), pytest.raises(ServiceError, match=r"process .*, waits"):
        Lock("comes too", 0, path).__enter__()
    with Lock("comes after", 0, path):
        pass


def test_who_was_waited_for_is_told(tmp_path: Path) -> None:
    path, told = str(tmp_path / "lock"), list[str]()
    first = Lock("works", 5, path, tell=told.append)
    first.__enter__()
    assert told == []
    Timer(0.3, first.__exit__).start()
    with Lock("waits", 5, path, tell=told.append):
        pass
    (text,) = told
    assert re.fullmatch(
        r"waited \d\.\d s for another run, which held this host's lock \(.*/lock\): process \d+ since .*, works", text
    )


def test_who_waits_for_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="another run holds this host's lock"):
        Lock("waits", 0.2, str(tmp_path / "lock"), lambda: False).__enter__()
