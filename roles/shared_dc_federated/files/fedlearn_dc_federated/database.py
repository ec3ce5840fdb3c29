# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The library's database of workers' keys, a file of tinydb, while no server has it open."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

from . import files


def forget(path: Path, keys: Collection[str]) -> None:
    """Takes these public keys out of the database, where there is one."""
    if not keys or not path.exists():
        return
    tables = json.loads(path.read_text(encoding="utf-8"))
    for name, table in tables.items():
        tables[name] = {number: row for number, row in table.items() if row.get("public_key_str") not in keys}
    files.write(path, json.dumps(tables))
