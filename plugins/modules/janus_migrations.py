#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: janus_migrations
short_description: Brings Janus' databases to the schema that its programs know
description:
  - Applies the migrations that came with the programs, C(NUMBER_WORDS.up.sql), each in a transaction with its record in
    C(_sqlx_migrations), which the programs look at when they start.
  - Forward only. A database that is newer than the programs, whose record has another checksum than the file, or that
    was made by something else, is left as it is.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  databases:
    description: The databases; the login owns what is in them.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: What messages call it., type: str, required: true}
      directory: {description: The folder on the host with the migrations., type: path, required: true}
      host: {description: Where PostgreSQL is., type: str, required: true}
      port: {description: Its port., type: int, required: true}
      database: {description: The database., type: str, required: true}
      user: {description: The login., type: str, required: true}
      ca: {description: CA of its certificate; without it there is no TLS., type: path}
  passwords:
    description: The login's password, by O(databases[].name).
    type: dict
    required: true
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Says what would be applied. A database that can't be reached is told in RV(ill) and is no failure.
  diff_mode:
    support: none
  idempotent:
    support: full
requirements:
  - psycopg2 (Debian's python3-psycopg2)
"""

EXAMPLES = r"""
- name: Bring the leader's database to the programs' schema
  fedlearn.infra.janus_migrations:
    databases:
      - {name: leader, directory: /opt/janus/db, host: 127.0.0.1, port: 5432, database: janus, user: program_a}
    passwords: {leader: "{{ lookup('fedlearn.infra.secret', 'survey_leader_database') }}"}
  become: true
"""

RETURN = r"""
pending:
  description: The migrations that were or would be applied, by database.
  returned: always
  type: dict
  sample: {leader: ["1 initial schema"]}
ill:
  description: What is wrong with each database that isn't well.
  returned: always
  type: dict
"""

import hashlib
import os
import re
import time

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.fedlearn.infra.plugins.module_utils._janus.database import OPTIONS, PSYCOPG2_TROUBLE, connect

if PSYCOPG2_TROUBLE is None:
    import psycopg2

FILE = re.compile(r"([0-9]+)_(.+)\.up\.sql")
LOCK = 0x6665646C6561726E
"""Of PostgreSQL's advisory locks the one that migrations take: two runs don't meet."""
EXTENSIONS = ("pgcrypto", "btree_gist")
RECORDS = """
    CREATE TABLE _sqlx_migrations (
        version BIGINT PRIMARY KEY, description TEXT NOT NULL, installed_on TIMESTAMPTZ NOT NULL DEFAULT now(),
        success BOOLEAN NOT NULL, checksum BYTEA NOT NULL, execution_time BIGINT NOT NULL
    )
"""
WITHOUT_TRANSACTION = "-- no-transaction"


class MigrationError(Exception):
    """Why a database is left as it is."""


class Migration:
    """A file, as sqlx reads it."""

    def __init__(self, version: int, description: str, content: bytes) -> None:
        self.version, self.description, self.content = version, description, content
        self.checksum = hashlib.sha384(content).digest()

    def __str__(self) -> str:
        return f"{self.version} {self.description}"


def found(directory: str) -> list:
    """The migrations of a folder, in order."""
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise MigrationError(f"{directory} can't be read: {error.strerror}") from None
    matches = [(name, FILE.fullmatch(name)) for name in names]
    migrations = []
    for name, match in matches:
        if match:
            with open(os.path.join(directory, name), "rb") as file:
                migrations.append(Migration(int(match[1]), match[2].replace("_", " "), file.read()))
    if not migrations and "schema.sql" in names:
        raise MigrationError(
            f"{directory}/schema.sql is a schema of generation A: it lacks tables and columns that B and C want, and "
            "no program starts on it. Give the migrations of the programs' own revision, NUMBER_WORDS.up.sql"
        )
    if not migrations:
        raise MigrationError(f"{directory} has no migration: there is no NUMBER_WORDS.up.sql")
    return sorted(migrations, key=lambda one: one.version)


def pending(migrations: list, records: dict | None, tables: list) -> list:
    """What is still to be applied. Raises MigrationError where the records don't fit the files."""
    if records is None:
        if tables:
            raise MigrationError(
                f"has tables ({', '.join(tables[:3])}) and no record of migrations: it was made by something else, "
                "perhaps schema.sql. Name an empty database"
            )
        return migrations
    known = {one.version: one for one in migrations}
    for version, (success, checksum) in sorted(records.items()):
        if version not in known:
            raise MigrationError(
                f"has version {version}, and the programs know up to {max(known)}: it is newer than they are. "
                "Bring newer programs, or restore a backup of before"
            )
        if not success:
            raise MigrationError(f"migration {known[version]} failed half-way: restore a backup of before")
        if bytes(checksum) != known[version].checksum:
            raise MigrationError(
                f"migration {known[version]} was applied from another file than the one that is there: bring the "
                "programs whose db/ has the file that was applied, or restore a backup made with these"
            )
    last = max(records, default=0)
    skipped = [one for one in migrations if one.version not in records and one.version < last]
    if skipped:
        raise MigrationError(f"migration {skipped[0]} was passed over: {last} is applied already")
    return [one for one in migrations if one.version not in records]


class Database:
    """One database, by its owner's login."""

    def __init__(self, given: dict, password: str) -> None:
        self.given, self.password = given, password
        self.migrations = found(given["directory"])

    def connect(self) -> object:
        """A connection whose statements are transactions of their own."""
        connection = connect(self.given, self.password)
        connection.autocommit = True
        return connection

    @staticmethod
    def look(cursor: object) -> tuple:
        """The records, None without their table, and the tables of somebody's."""
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        tables = [row[0] for row in cursor.fetchall()]
        if "_sqlx_migrations" not in tables:
            return None, tables
        cursor.execute("SELECT version, success, checksum FROM _sqlx_migrations")
        return {version: (success, checksum) for version, success, checksum in cursor.fetchall()}, tables

    def converge(self, check: bool) -> list:
        """What was or would be applied."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
                records, tables = self.look(cursor)
                wanted = pending(self.migrations, records, tables)
                if not check:
                    if wanted and records is None:
                        cursor.execute(RECORDS)
                    for migration in wanted:
                        apply(cursor, migration)
                    check_extensions(cursor)
        finally:
            connection.close()
        return [str(one) for one in wanted]


def apply(cursor: object, migration: Migration) -> None:
    """A migration and its record, both or neither; one that can't be in a transaction says so in its first line."""
    text = migration.content.decode()
    together = not text.startswith(WITHOUT_TRANSACTION)
    began = time.monotonic_ns()
    if together:
        cursor.execute("BEGIN")
    try:
        cursor.execute(text)
        cursor.execute(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)"
            " VALUES (%s, %s, true, %s, %s)",
            (migration.version, migration.description, migration.checksum, time.monotonic_ns() - began),
        )
        if together:
            cursor.execute("COMMIT")
    except psycopg2.Error as error:
        if together:
            cursor.execute("ROLLBACK")
        raise MigrationError(f"migration {migration} failed, nothing of it was kept: {str(error).strip()}") from None


def check_extensions(cursor: object) -> None:
    """Those that Janus' statements use."""
    cursor.execute("SELECT extname FROM pg_extension")
    there = {row[0] for row in cursor.fetchall()}
    missing = [name for name in EXTENSIONS if name not in there]
    if missing:
        raise MigrationError(f"lacks the extension {' and '.join(missing)}, which its first migration makes")


def converge(databases: list, passwords: dict, check: bool) -> dict:
    """Each database; what is wrong with one leaves the others alone."""
    applied: dict = {}
    ill: dict = {}
    for given in databases:
        name = given["name"]
        try:
            applied[name] = Database(given, passwords.get(name, "")).converge(check)
        except (MigrationError, psycopg2.Error) as error:
            ill[name] = f"database '{given['database']}': {str(error).strip()}"
    return {"changed": any(applied.values()), "pending": applied, "ill": ill}


def main() -> None:
    """Applies what is missing."""
    directory = {"type": "path", "required": True}
    module = AnsibleModule(
        argument_spec={
            "databases": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {**OPTIONS, "directory": directory},
            },
            "passwords": {"type": "dict", "required": True, "no_log": True},
        },
        supports_check_mode=True,
    )
    if PSYCOPG2_TROUBLE is not None:
        missing = missing_required_lib("psycopg2")
        if module.check_mode:
            names = [one["name"] for one in module.params["databases"]]
            module.exit_json(changed=bool(names), pending={}, ill=dict.fromkeys(names, missing))
        module.fail_json(msg=missing, exception=PSYCOPG2_TROUBLE)
    result = converge(module.params["databases"], module.params["passwords"], module.check_mode)
    if result["ill"] and not module.check_mode:
        module.fail_json(msg="\n".join(f"{name}: {reason}" for name, reason in result["ill"].items()), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
