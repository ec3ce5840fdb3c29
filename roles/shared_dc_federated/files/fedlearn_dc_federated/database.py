# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The library's database of workers' keys, a file of tinydb, while no server has it open."""

from __future__ import annotations

import json
import os
from collections.abc import Collection


def forget(path: str, keys: Collection[str]) -> None:
    """Takes these public keys out of the database, where there is one."""
    if not keys or not os.path.exists(path):
        return
    with open(path, encoding="utf-8") as file:
        tables = json.load(file)
    for name, table in tables.items():
        tables[name] = {number: row for number, row in table.items() if row.get("public_key_str") not in keys}
    beside = f"{path}.new"
    with open(beside, "w", encoding="utf-8") as file:
        json.dump(tables, file)
        file.flush()
        os.fsync(file.fileno())
    os.rename(beside, path)
