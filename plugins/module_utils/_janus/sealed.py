# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Janus seals in its database: each column, and whether given keys open what is in it.

AES-128-GCM: ciphertext, tag, then the nonce of 12 bytes. Bound to it are table, row and column, each after its length
in 8 bytes. Both generations have the same columns; of a schema that isn't known here nothing is said.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from typing import Any

try:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM
except ImportError:
    HAS_CRYPTOGRAPHY = False
else:
    HAS_CRYPTOGRAPHY = True

VERSIONS = (1, 9)
"""Of B and C: the schemas whose sealed columns are these."""

NONCE = 12
ROLES = {"LEADER": 2, "HELPER": 3}
"""As DAP writes them."""

AT_ONCE = 1000


class SealedError(Exception):
    """Why nothing can be said of a database."""


class Column:
    """A sealed column: what it is called in the database and in what is bound to it, and a row's own bytes.

    ``query`` gives the sealed value, then what ``row`` makes the row's bytes of.
    """

    def __init__(self, table: str, column: str, query: str, bound: str = "") -> None:
        self.table, self.column, self.query, self.bound = table, column, query, bound or table

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"


_TOKENS = """SELECT one.token, peer.endpoint, peer.role::text, one.ord
    FROM {} AS one JOIN taskprov_peer_aggregators AS peer ON peer.id = one.peer_aggregator_id"""

COLUMNS = (
    Column("tasks", "vdaf_verify_key", "SELECT vdaf_verify_key, task_id FROM tasks"),
    Column(
        "tasks",
        "aggregator_auth_token",
        "SELECT aggregator_auth_token, task_id FROM tasks WHERE aggregator_auth_token IS NOT NULL",
    ),
    Column(
        "task_hpke_keys",
        "private_key",
        "SELECT one.private_key, tasks.task_id, one.config_id FROM task_hpke_keys AS one"
        " JOIN tasks ON tasks.id = one.task_id",
    ),
    Column("global_hpke_keys", "private_key", "SELECT private_key, config_id FROM global_hpke_keys"),
    Column(
        "taskprov_peer_aggregators",
        "verify_key_init",
        "SELECT verify_key_init, endpoint FROM taskprov_peer_aggregators",
        bound="taskprov_peer_aggregator",
    ),
    Column("taskprov_aggregator_auth_tokens", "token", _TOKENS.format("taskprov_aggregator_auth_tokens")),
    Column("taskprov_collector_auth_tokens", "token", _TOKENS.format("taskprov_collector_auth_tokens")),
)


def row_bytes(parts: Sequence[Any]) -> bytes:
    """The bytes by which a row is known: of a configuration's number one, of a place in an order eight."""
    if len(parts) == 3:  # endpoint, role, ord
        return str(parts[0]).encode() + bytes([ROLES[parts[1]]]) + int(parts[2]).to_bytes(8, "big", signed=True)
    return b"".join(_encoded(part) for part in parts)


def _encoded(part: Any) -> bytes:
    if isinstance(part, int):
        return part.to_bytes(1, "big")
    return part.encode() if isinstance(part, str) else bytes(part)


def bound(table: str, row: bytes, column: str) -> bytes:
    """What is authenticated beside the value."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in (table.encode(), row, column.encode()))


class Keys:
    """Keys, any of which may open a value."""

    def __init__(self, keys: list[str]) -> None:
        self.ciphers = [AESGCM(base64.urlsafe_b64decode(key + "==")) for key in keys]

    def opens(self, value: bytes, additional: bytes) -> bool:
        """Whether one of them does."""
        for cipher in self.ciphers:
            try:
                cipher.decrypt(value[-NONCE:], value[:-NONCE], additional)
            except (InvalidTag, ValueError):
                continue
            return True
        return False


def rows(connection: Any, column: Column) -> Iterator[tuple[Any, ...]]:
    """Every row of a column, some at once: a database may have more than fits into memory."""
    with connection.cursor(name="sealed") as cursor:
        cursor.itersize = AT_ONCE
        cursor.execute(column.query)
        yield from cursor


def shut(connection: Any, keys: list[str]) -> dict[str, int]:
    """How many rows of each column no key opens: columns without such rows aren't in it.

    One look at everything at one moment, that can write nothing. Raises SealedError for a schema that isn't known.
    """
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True, autocommit=False)
    opener = Keys(keys)
    found: dict[str, int] = {}
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(version) FROM _sqlx_migrations WHERE success")
        (version,) = cursor.fetchone()
    if version not in VERSIONS:
        raise SealedError(f"has schema version {version}, whose sealed columns aren't known here: no key is withdrawn")
    for column in COLUMNS:
        count = sum(
            not opener.opens(bytes(value), bound(column.bound, row_bytes(parts), column.column))
            for value, *parts in rows(connection, column)
        )
        if count:
            found[str(column)] = count
    connection.rollback()
    return found
