# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Datastore keys, and which migrations a database still needs."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.modules import janus_keys, janus_migrations

KEY = "Qoj3fugWbEGvQNEWr1Waqw"


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(janus_keys, "path_of", lambda name: str(tmp_path / name / "datastore-keys"))
    return tmp_path / "leader" / "datastore-keys"


def test_a_keyring_is_made_once(ring: Path) -> None:
    assert janus_keys.converge(["leader"], True) == {"changed": True, "made": ["leader"], "commitments": {}}
    assert not ring.exists()
    made = janus_keys.converge(["leader", "leader"], False)
    key = ring.read_text().strip()
    assert (len(base64.urlsafe_b64decode(key + "==")), oct(ring.stat().st_mode & 0o777)) == (16, "0o600")
    assert oct(ring.parent.stat().st_mode & 0o777) == "0o700"
    again = janus_keys.converge(["leader"], False)
    assert again == {"changed": False, "made": [], "commitments": made["commitments"]}
    assert ring.read_text().strip() == key
    assert key not in str(made)


def test_a_commitment_is_of_the_key_s_bytes() -> None:
    raw = base64.urlsafe_b64decode(KEY + "==")
    assert janus_keys.commitment(KEY) == hashlib.sha256(janus_keys.LABEL + raw).hexdigest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vWoEFA7F+ojcF+HohGLn/Q", "key 1 is in base64's standard alphabet, as generation A has it"),
        (f"{KEY},{KEY}==", "key 2 isn't 16 bytes in unpadded base64url"),
        (f"{KEY},", "key 2 isn't 16 bytes in unpadded base64url"),
        ("", "key 1 isn't 16 bytes"),
        ("\u00fc" * 22, "there is something in it that is no key"),
    ],
)
def test_a_keyring_that_janus_would_refuse_is_left_and_never_told(ring: Path, text: str, message: str) -> None:
    ring.parent.mkdir()
    ring.write_text(text)
    with pytest.raises(janus_keys.KeyringError) as error:
        janus_keys.converge(["leader"], False)
    assert message in str(error.value)
    assert ring.read_text() == text
    assert not text or text not in str(error.value)


# -- migrations -------------------------------------------------------------------------------------------------------


def lay(folder: Path, *numbers: int) -> list[Any]:
    for number in numbers:
        (folder / f"{number:014}_step_{number}.up.sql").write_text(f"-- {number}")
        (folder / f"{number:014}_step_{number}.down.sql").write_text("-- back")
    return janus_migrations.found(str(folder))


def records(migrations: list[Any]) -> dict[int, tuple[bool, bytes]]:
    return {one.version: (True, one.checksum) for one in migrations}


def test_migrations_are_found_as_sqlx_reads_them(tmp_path: Path) -> None:
    first, second = lay(tmp_path, 2, 1)
    assert (str(first), str(second)) == ("1 step 1", "2 step 2")
    assert first.checksum == hashlib.sha384(b"-- 1").digest()


def test_what_is_pending(tmp_path: Path) -> None:
    all_of_them = lay(tmp_path, 1, 2, 3)
    assert janus_migrations.pending(all_of_them, None, []) == all_of_them
    assert janus_migrations.pending(all_of_them, {}, ["_sqlx_migrations"]) == all_of_them
    assert janus_migrations.pending(all_of_them, records(all_of_them[:1]), ["tasks"]) == all_of_them[1:]
    assert janus_migrations.pending(all_of_them, records(all_of_them), ["tasks"]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda known: known.update({4: (True, b"")}), "has version 4, and the programs know up to 3: it is newer"),
        (lambda known: known.update({2: (False, known[2][1])}), "migration 2 step 2 failed half-way"),
        (lambda known: known.update({2: (True, b"other")}), "migration 2 step 2 was applied from another file"),
        (lambda known: known.pop(2), "migration 2 step 2 was passed over: 3 is applied already"),
    ],
)
def test_a_database_that_doesn_t_fit_is_left(tmp_path: Path, change: Any, message: str) -> None:
    migrations = lay(tmp_path, 1, 2, 3)
    known = records(migrations)
    change(known)
    with pytest.raises(janus_migrations.MigrationError, match=message):
        janus_migrations.pending(migrations, known, ["tasks"])


def test_a_schema_that_was_loaded_otherwise_is_left(tmp_path: Path) -> None:
    with pytest.raises(janus_migrations.MigrationError, match=r"has tables \(tasks\) and no record"):
        janus_migrations.pending(lay(tmp_path, 1), None, ["tasks"])


def test_the_old_schema_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "schema.sql").write_text("CREATE TABLE tasks ();")
    with pytest.raises(janus_migrations.MigrationError, match=r"schema\.sql is a schema of generation A"):
        janus_migrations.found(str(tmp_path))


def test_a_folder_without_migrations_is_told(tmp_path: Path) -> None:
    with pytest.raises(janus_migrations.MigrationError, match="has no migration"):
        janus_migrations.found(str(tmp_path))
    with pytest.raises(janus_migrations.MigrationError, match="can't be read"):
        janus_migrations.found(str(tmp_path / "nowhere"))
