# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Datastore keys, and which migrations a database still needs."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ansible_collections.fedlearn.infra.plugins.module_utils._janus import keyring, sealed
from ansible_collections.fedlearn.infra.plugins.modules import janus_keys, janus_migrations

KEY = "Qoj3fugWbEGvQNEWr1Waqw"


@pytest.fixture
def ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(keyring, "path_of", lambda name: str(tmp_path / name / "datastore-keys"))
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
    assert keyring.commitment(KEY) == hashlib.sha256(keyring.LABEL + raw).hexdigest()


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
    with pytest.raises(keyring.KeyringError) as error:
        janus_keys.converge(["leader"], False)
    assert message in str(error.value)
    assert ring.read_text() == text
    assert not text or text not in str(error.value)


def keys_in(ring: Path) -> list[str]:
    return ring.read_text().strip().split(",")


def test_a_key_is_added_then_seals_and_the_old_one_still_opens(ring: Path) -> None:
    janus_keys.converge(["leader"], False)
    (old,) = keys_in(ring)
    added = janus_keys.converge(["leader"], False, "add")
    assert (added["changed"], keys_in(ring)[0], len(keys_in(ring))) == (True, old, 2)
    new = keys_in(ring)[1]
    assert janus_keys.converge(["leader"], False, "promote")["commitments"]["leader"] == [
        keyring.commitment(new),
        keyring.commitment(old),
    ]
    assert keys_in(ring) == [new, old]
    assert janus_keys.converge(["leader"], False, "promote")["changed"] is False
    assert sorted(path.name for path in ring.parent.iterdir()) == ["datastore-keys"]


def test_steps_look_only_when_asked_to(ring: Path) -> None:
    janus_keys.converge(["leader"], False)
    before = ring.read_text()
    assert janus_keys.converge(["leader"], True, "add")["changed"] is True
    assert (ring.read_text(), [path.name for path in ring.parent.iterdir()]) == (before, ["datastore-keys"])


@pytest.mark.parametrize("killed", ["before the keyring", "after it", "after promoting"])
def test_a_killed_rotation_is_finished_by_the_next(ring: Path, monkeypatch: pytest.MonkeyPatch, killed: str) -> None:
    janus_keys.converge(["leader"], False)
    (old,) = keys_in(ring)
    if killed == "before the keyring":
        (ring.parent / "adding").write_text(keyring.commitment(KEY))
    else:
        janus_keys.converge(["leader"], False, "add")
    if killed == "after promoting":
        monkeypatch.setattr(keyring.os, "unlink", lambda path: None)
        janus_keys.converge(["leader"], False, "promote")
        assert keys_in(ring)[1] == old
        return
    janus_keys.converge(["leader"], False, "add")
    janus_keys.converge(["leader"], False, "promote")
    assert (len(keys_in(ring)), keys_in(ring)[1]) == (2, old)


def test_a_key_that_is_being_added_is_no_key_to_withdraw(ring: Path) -> None:
    janus_keys.converge(["leader"], False)
    janus_keys.converge(["leader"], False, "add")
    with pytest.raises(keyring.KeyringError, match="a key is being added"):
        janus_keys.converge(["leader"], False, "withdraw")


def test_a_key_is_withdrawn_when_every_row_opens_without_it(ring: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    janus_keys.converge(["leader"], False)
    for step in ("add", "promote"):
        janus_keys.converge(["leader"], False, step)
    new, _old = keys_in(ring)
    found: dict[str, int] = {"tasks.vdaf_verify_key": 1, "task_hpke_keys.private_key": 2}
    looked: list[list[str]] = []

    class Connection:
        def close(self) -> None:
            pass

    def shut(_connection: object, keys: list[str]) -> dict[str, int]:
        looked.append(keys)
        return found

    monkeypatch.setattr(janus_keys.database, "connect", lambda given, password: Connection())
    monkeypatch.setattr(janus_keys.sealed, "shut", shut)
    before = ring.read_text()
    given = ({"leader": {"database": "janus"}}, {"leader": "word"})
    with pytest.raises(janus_keys.ShutError, match="3 rows open with a key only that would be withdrawn") as error:
        janus_keys.converge(["leader"], False, "withdraw", *given)
    assert (error.value.shut, ring.read_text(), looked) == ({"leader": found}, before, [[new]])
    found.clear()
    assert janus_keys.converge(["leader"], False, "withdraw", *given)["changed"] is True
    assert keys_in(ring) == [new]
    assert janus_keys.converge(["leader"], False, "withdraw", *given)["changed"] is False


# -- what is sealed ---------------------------------------------------------------------------------------------------

OTHER = "AAAAAAAAAAAAAAAAAAAAAA"


def seal(key: str, table: str, row: bytes, column: str) -> bytes:
    """As Janus does, written from its source: the lengths in eight bytes, and the nonce last."""
    additional = b""
    for part in (table.encode(), row, column.encode()):
        additional += struct.pack(">Q", len(part)) + part
    nonce = os.urandom(12)
    return AESGCM(base64.urlsafe_b64decode(key + "==")).encrypt(nonce, b"a secret", additional) + nonce


class Database:
    """One that knows the queries of sealed columns, and answers with these rows."""

    def __init__(self, rows: dict[str, list[tuple[Any, ...]]], version: int = 1) -> None:
        self.rows, self.version, self.session = rows, version, {}

    def set_session(self, **given: Any) -> None:
        self.session = given

    def rollback(self) -> None:
        pass

    def cursor(self, name: str = "") -> Database:
        return self

    def __enter__(self) -> Database:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def execute(self, query: str) -> None:
        self.asked = query

    def fetchone(self) -> tuple[int]:
        return (self.version,)

    def __iter__(self) -> Any:
        (column,) = (one for one in sealed.COLUMNS if one.query == self.asked)
        return iter(self.rows.get(str(column), []))


TASK = bytes(range(32))
ROWS: dict[str, tuple[str, bytes, tuple[Any, ...]]] = {
    "tasks.vdaf_verify_key": ("tasks", TASK, (memoryview(TASK),)),
    "tasks.aggregator_auth_token": ("tasks", TASK, (memoryview(TASK),)),
    "task_hpke_keys.private_key": ("task_hpke_keys", TASK + b"\x07", (memoryview(TASK), 7)),
    "global_hpke_keys.private_key": ("global_hpke_keys", b"\xff", (255,)),
    "taskprov_peer_aggregators.verify_key_init": ("taskprov_peer_aggregator", b"https://one/", ("https://one/",)),
    "taskprov_aggregator_auth_tokens.token": (
        "taskprov_aggregator_auth_tokens",
        b"https://one/\x02" + bytes(7) + b"\x05",
        ("https://one/", "LEADER", 5),
    ),
    "taskprov_collector_auth_tokens.token": (
        "taskprov_collector_auth_tokens",
        b"https://one/\x03" + bytes(8),
        ("https://one/", "HELPER", 0),
    ),
}


def test_every_sealed_column_is_known() -> None:
    assert {str(column) for column in sealed.COLUMNS} == set(ROWS)


@pytest.mark.parametrize("column", ROWS)
def test_a_row_of_the_old_key_is_counted(column: str) -> None:
    table, row, parts = ROWS[column]
    name = column.split(".")[1]
    new, old = (memoryview(seal(key, table, row, name)) for key in (KEY, OTHER))
    database = Database({column: [(new, *parts), (old, *parts), (memoryview(b"short"), *parts)]})
    assert sealed.shut(database, [KEY]) == {column: 2}
    assert sealed.shut(database, [KEY, OTHER]) == {column: 1}
    assert database.session == {"isolation_level": "REPEATABLE READ", "readonly": True, "autocommit": False}
    moved = Database({column: [(memoryview(seal(KEY, table, b"another", name)), *parts)]})
    assert sealed.shut(moved, [KEY]) == {column: 1}


def test_of_another_schema_nothing_is_said() -> None:
    with pytest.raises(sealed.SealedError, match="has schema version 10"):
        sealed.shut(Database({}, version=10), [KEY])


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
        (
            lambda known: known.update({2: (True, b"other")}),
            "migration 2 step 2 was applied from another file .*: bring the programs",
        ),
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
