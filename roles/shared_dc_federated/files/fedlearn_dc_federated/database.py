# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The library's database of workers' keys, a file of tinydb, whatever a server is ended by.

The library writes over it in place, so a killed server or a full disk would leave what no server starts with. And when
it starts it empties the database and puts key after key back: who is killed then would forget whom an administrator let
in by hand.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from . import files

_log = logging.getLogger(__name__)


def keep_whole() -> None:
    """Databases that are opened from now on are replaced with each change, never written over."""
    from tinydb import TinyDB
    from tinydb.storages import JSONStorage

    class Replaced(JSONStorage):
        """A file that is always one state, whole."""

        def write(self, data: Mapping[str, Any]) -> None:
            path = Path(self._handle.name)
            # a start writes once for each key, and until it is over the copy counts
            files.write(path, json.dumps(data), durable=not _copy(path).exists())
            self._handle.close()
            self._handle = path.open(mode=self._mode, encoding="utf-8")

    TinyDB.default_storage_class = Replaced


def _readable(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_text(encoding="utf-8")), dict)
    except (OSError, ValueError):
        return False


def _copy(path: Path) -> Path:
    """Where the database of before a start lies until that start is over."""
    return path.with_name(f"{path.name}.before")


def begin(path: Path) -> None:
    """Before a start: what one that was cut off had taken apart is put back, and a copy kept until this one is over.

    A database that can't be read is replaced by the library's copy of its former start, or begun anew.
    """
    before, backup = _copy(path), path.with_name(f"{path.name}.bak")
    if _readable(before):
        before.replace(path)
    elif path.exists() and not _readable(path):
        _log.warning("%s can't be read: it is begun anew of %s and the list of keys", path, backup)
        backup.replace(path) if _readable(backup) else path.unlink()
    if path.exists():
        files.write(before, path.read_text(encoding="utf-8"))


def begun(path: Path) -> None:
    """The start is over: all keys are in the database again."""
    _copy(path).unlink(missing_ok=True)


def forget(path: Path, keys: Collection[str]) -> None:
    """Takes these public keys out of the database, where there is one."""
    if not keys or not path.exists():
        return
    tables = json.loads(path.read_text(encoding="utf-8"))
    for name, table in tables.items():
        tables[name] = {number: row for number, row in table.items() if row.get("public_key_str") not in keys}
    files.write(path, json.dumps(tables))
