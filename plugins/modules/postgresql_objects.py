#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: postgresql_objects
short_description: Databases, owners, logins, extensions and grants of PostgreSQL servers, in one execution
description:
  - Brings what is in the servers of the role C(postgresql) to what their instances say. It comes as root by each
    server's own socket, C(/run/fedlearn-NAME), where no password is asked for.
  - Each database has an owner that nobody logs in as. Logins with V(access=owner) are members of it and act as it from
    the first statement on, so that two logins used in turn can change what the other made. Those with V(access=read)
    and V(access=write) are members of C(<database>_read) and C(<database>_write), which have grants on the tables of
    schema public, also on those the owner makes later.
  - Passwords reach the server as their scram-sha-256 verifier only, so that none can stand in its log.
  - A client with C(turn) is one of the two logins of a client whose password is replaced while it is connected. It is
    there while its secret has a value for that turn (O(turns)).
  - Databases and logins that are listed no more stay as they are.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  servers:
    description:
      - Instances of the role with C(name), C(port), C(databases) and C(clients), complete with their defaults.
      - A client with C(state=absent) can't log in any more, and is dropped once no session of it is left.
    type: list
    elements: dict
    required: true
  passwords:
    description: The password of each secret that clients name.
    type: dict
    default: {}
  turns:
    description:
      - Of each secret that clients with C(turn) name the values that are valid, of C(a), of C(b) or of both, as
        P(fedlearn.infra.secret#lookup) gives them with C(turns=true).
    type: dict
    default: {}
  newest:
    description: Of each of these secrets whose turn it is.
    type: dict
    default: {}
  end_turns:
    description:
      - Of logins with two valid values withdraw the former one. One that has sessions after O(wait_seconds) is
        not shut out, and the module fails.
    type: bool
    default: false
  wait_seconds:
    description: How long to wait with O(end_turns) for sessions to end.
    type: int
    default: 0
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: A server that doesn't answer, as before its first start, is named in RV(unanswered).
  diff_mode:
    support: full
    details: Shows what changes in words; never a password.
  idempotent:
    support: full
requirements:
  - psycopg2 (Debian's python3-psycopg2)
"""

EXAMPLES = r"""
- name: Converge what is in the servers
  fedlearn.infra.postgresql_objects:
    servers: "{{ postgresql_instances | fedlearn.infra.checked('postgresql_instances') }}"
    passwords:
      survey_database: "{{ lookup('fedlearn.infra.secret', 'survey_database') }}"
  become: true
"""

RETURN = r"""
changes:
  description: What was or would be changed in each server, in words; only servers in which something was.
  returned: always
  type: dict
  sample: {store: ["database survey: made", "login survey_a: password"]}
busy:
  description: Logins that are to go and have sessions yet, by server, each with where these come from.
  returned: always
  type: dict
  sample: {store: {survey_a: [10.20.0.11]}}
unanswered:
  description: In check mode, servers that don't answer.
  returned: always
  type: list
  elements: str
"""

import base64
import hashlib
import hmac
import os
import re
import time
from contextlib import closing

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.fedlearn.infra.plugins.module_utils._saslprep import saslprep

try:
    import psycopg2
    from psycopg2 import sql

    PSYCOPG2 = True
except ImportError:
    PSYCOPG2 = False

ITERATIONS = 4096
VERIFIER = re.compile(r"SCRAM-SHA-256\$(\d+):([A-Za-z0-9+/=]+)\$.*")
SESSION = {
    # nothing that is said here is to stand in the server's log
    "log_statement": "none",
    "log_min_error_statement": "panic",
    "log_min_duration_statement": "-1",
    # a superuser is in databases of others here, and mustn't find their functions first, nor act by what their owners
    # have said for all sessions
    "search_path": "pg_catalog",
    "role": "none",
    "local_preload_libraries": "",
    "default_transaction_read_only": "off",
    "statement_timeout": "0",
    "lock_timeout": "0",
    "standard_conforming_strings": "on",
}
POWERLESS = "NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
ATTRIBUTES = f"LOGIN INHERIT {POWERLESS}"
RIGHTS = {
    "read": {"tables": ["SELECT"], "sequences": ["SELECT"]},
    "write": {"tables": ["SELECT", "INSERT", "UPDATE", "DELETE"], "sequences": ["SELECT", "USAGE"]},
}
LACKING = """
    SELECT 1 FROM pg_class, unnest(%s) AS wanted WHERE relnamespace = 'public'::regnamespace AND CASE
    WHEN relkind = 'S' THEN %s = 'sequences' AND NOT has_sequence_privilege(%s, pg_class.oid, wanted)
    WHEN relkind IN ('r', 'v', 'm', 'f', 'p') THEN %s = 'tables' AND NOT has_table_privilege(%s, pg_class.oid, wanted)
    ELSE false END LIMIT 1
"""


def prepared(password: str) -> str:
    """A password as clients prepare it before they use it (SASLprep, RFC 4013); as it is where that forbids it."""
    if password.isascii():
        return password
    try:
        return saslprep(password)
    except ValueError:
        return password


def verifier(password: str, salt: bytes, iterations: int = ITERATIONS) -> str:
    """What PostgreSQL keeps of a password (RFC 5803)."""
    salted = hashlib.pbkdf2_hmac("sha256", prepared(password).encode(), salt, iterations)
    client = hmac.digest(salted, b"Client Key", "sha256")
    server = hmac.digest(salted, b"Server Key", "sha256")
    parts = (base64.b64encode(part).decode() for part in (salt, hashlib.sha256(client).digest(), server))
    return "SCRAM-SHA-256${}:{}${}:{}".format(iterations, *parts)


def fits(password: str | None, kept: str | None) -> bool:
    """Whether what PostgreSQL keeps is of this password; None is no password."""
    if password is None or kept is None:
        return password == kept
    found = VERIFIER.fullmatch(kept)
    return bool(found) and hmac.compare_digest(kept, verifier(password, base64.b64decode(found[2]), int(found[1])))


class Server:
    """One server: what is in it, what is wanted, and what was changed."""

    def __init__(
        self, wanted: dict, secrets: dict, end_turns: bool = False, wait: int = 0, foresee: bool = False
    ) -> None:
        self.name, self.port = wanted["name"], wanted["port"]
        self.databases = {one["name"]: one for one in wanted["databases"]}
        self.passwords, self.turns, self.newest = (secrets.get(one, {}) for one in ("passwords", "turns", "newest"))
        self.foresee = foresee
        clients = wanted["clients"]
        over = [one["name"] for one in clients if end_turns and self.turn_is_over(one)]
        self.clients = [one for one in clients if one["name"] not in over and self.is_wanted(one)]
        self.leaving = [one["name"] for one in clients if not self.is_wanted(one)]
        self.over, self.wait = over, wait
        self.changes: list[str] = []
        self.busy: dict[str, list[str]] = {}
        self.doing = "connecting"

    def valid(self, client: dict) -> dict:
        """The values of a secret that comes in turns; empty for another client."""
        return self.turns[client["secret"]] if client.get("turn") else {}

    def is_wanted(self, client: dict) -> bool:
        """Whether a login is to be there."""
        return client["state"] == "present" and (not client.get("turn") or client["turn"] in self.valid(client))

    def turn_is_over(self, client: dict) -> bool:
        """Whether a login is one whose password has been replaced."""
        return self.is_wanted(client) and self.newest.get(client.get("secret")) not in (None, client.get("turn"))

    def connect(self, database: str):
        """A session of the administrator, in which every statement is a transaction."""
        options = " ".join(f"-c {name}={value}" for name, value in SESSION.items())
        connection = psycopg2.connect(
            host=f"/run/fedlearn-{self.name}", port=self.port, user="postgres", dbname=database, options=options
        )
        connection.autocommit = True
        return connection

    def ask(self, connection, question: str, *values: object) -> list[tuple]:
        """The rows of an answer."""
        with connection.cursor() as cursor:
            cursor.execute(question, values)
            return cursor.fetchall()

    def change(self, connection, what: str, statement: str, *names: str, **values: object) -> None:
        """Changes something, or foresees it. ``{}`` in the statement are names, ``{name}`` are values."""
        self.doing = what
        self.changes.append(what)
        if not self.foresee:
            literals = {name: sql.Literal(value) for name, value in values.items()}
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL(statement).format(*map(sql.Identifier, names), **literals))

    def owner(self, database: str) -> str:
        """The role that owns a database."""
        return self.databases[database].get("owner") or database

    def group(self, client: dict) -> str:
        """The role whose rights a client has."""
        name = client["database"]
        return self.owner(name) if client["access"] == "owner" else f"{name}_{client['access']}"

    def converge(self) -> None:
        """All of it: roles and databases first, then what is in each database."""
        with closing(self.connect("postgres")) as connection:
            self.make_groups(connection)
            self.make_databases(connection)
            for client in self.clients:
                self.converge_login(connection, client)
            there = [name for (name,) in self.ask(connection, "SELECT datname FROM pg_database")]
        for name in self.databases:
            if name in there:
                with closing(self.connect(name)) as connection:
                    self.converge_inside(connection, name)
        with closing(self.connect("postgres")) as connection:
            for login in self.leaving:
                self.withdraw(connection, login)
            for login in self.over:
                self.end_turn(connection, login, time.monotonic() + (0 if self.foresee else self.wait))

    def make_groups(self, connection) -> None:
        """Owners, and the roles that carry grants: nobody logs in as these."""
        found = self.ask(
            connection,
            "SELECT rolname, rolcanlogin, rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls"
            " FROM pg_roles",
        )
        there = {role: (can_login, is_mighty) for role, can_login, is_mighty in found}
        wanted = {self.owner(name) for name in self.databases} | {self.group(one) for one in self.clients}
        for role in sorted(wanted):
            can_login, is_mighty = there.get(role, (False, False))
            if role not in there:
                self.change(connection, f"role {role}: made", "CREATE ROLE {} NOLOGIN", role)
            if can_login:
                self.change(connection, f"role {role}: nobody logs in as it", "ALTER ROLE {} NOLOGIN", role)
            if is_mighty:
                self.change(connection, f"role {role}: attributes", "ALTER ROLE {} " + POWERLESS, role)
            # logins act as it, so what it is a member of, they are
            for other in self.memberships(connection, role):
                self.change(connection, f"role {role}: no longer {other}", "REVOKE {} FROM {}", other, role)

    def memberships(self, connection, role: str) -> list[str]:
        """The roles that one is a member of."""
        found = self.ask(
            connection,
            "SELECT DISTINCT g.rolname FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid"
            " JOIN pg_roles l ON l.oid = m.member WHERE l.rolname = %s",
            role,
        )
        return sorted(name for (name,) in found)

    def make_databases(self, connection) -> None:
        """The databases, each with its owner and closed to everybody else."""
        found = self.ask(
            connection,
            "SELECT datname, rolname, has_database_privilege('public', d.oid, 'CONNECT')"
            " FROM pg_database d JOIN pg_roles r ON r.oid = datdba",
        )
        there = {name: (owner, is_open) for name, owner, is_open in found}
        for name in self.databases:
            owner, is_open = there.get(name, (self.owner(name), True))
            if name not in there:
                made = "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'"
                self.change(connection, f"database {name}: made", made, name, self.owner(name))
            if owner != self.owner(name):
                owned = "ALTER DATABASE {} OWNER TO {}"
                self.change(connection, f"database {name}: owner", owned, name, self.owner(name))
            if is_open:
                self.change(connection, f"database {name}: closed", "REVOKE ALL ON DATABASE {} FROM PUBLIC", name)

    def converge_login(self, connection, client: dict) -> None:
        """A login: its attributes, its password, and whose rights it has."""
        login, password = client["name"], None
        if client.get("secret"):
            password = self.valid(client)[client["turn"]] if client.get("turn") else self.passwords[client["secret"]]
        found = self.ask(
            connection,
            "SELECT rolcanlogin AND rolinherit AND NOT (rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication"
            " OR rolbypassrls), rolconnlimit, rolpassword FROM pg_authid WHERE rolname = %s",
            login,
        )
        plain, connections, kept = found[0] if found else (False, -1, None)
        if not found:
            self.change(connection, f"login {login}: made", "CREATE ROLE {} " + ATTRIBUTES, login)
        elif not plain:
            self.change(connection, f"login {login}: attributes", "ALTER ROLE {} " + ATTRIBUTES, login)
        if connections != client["connections"]:
            limit = "ALTER ROLE {} CONNECTION LIMIT {limit}"
            self.change(connection, f"login {login}: connections", limit, login, limit=client["connections"])
        if not fits(password, kept):
            secret = None if password is None else verifier(password, os.urandom(16))
            self.change(connection, f"login {login}: password", "ALTER ROLE {} PASSWORD {secret}", login, secret=secret)
        self.converge_membership(connection, client)

    def converge_membership(self, connection, client: dict) -> None:
        """A login is a member of one role, and where that is an owner it acts as this from its first statement on."""
        login, group = client["name"], self.group(client)
        there = set(self.memberships(connection, login))
        for other in sorted(there - {group}):
            self.change(connection, f"login {login}: no longer {other}", "REVOKE {} FROM {}", other, login)
        if group not in there:
            self.change(connection, f"login {login}: member of {group}", "GRANT {} TO {}", group, login)
        settings = self.ask(
            connection,
            "SELECT datname, unnest(setconfig) FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase"
            " JOIN pg_roles r ON r.oid = setrole WHERE rolname = %s",
            login,
        )
        acts = {name: value[len("role=") :] for name, value in settings if value.startswith("role=")}
        wanted = {client["database"]: group} if client["access"] == "owner" else {}
        for name in sorted(set(acts) - set(wanted)):
            self.change(
                connection,
                f"login {login}: as itself in {name}",
                "ALTER ROLE {} IN DATABASE {} RESET role",
                login,
                name,
            )
        for name, role in wanted.items():
            if acts.get(name) != role:
                told = f"login {login}: acts as {role}"
                self.change(connection, told, "ALTER ROLE {} IN DATABASE {} SET role = {role}", login, name, role=role)

    def converge_inside(self, connection, name: str) -> None:
        """What is in a database: schema public, extensions, grants."""
        if connection.server_version < 150000:  # from 15 on this is how a database is born
            self.close_public(connection, name)
        there = {extension for (extension,) in self.ask(connection, "SELECT extname FROM pg_extension")}
        for extension in self.databases[name]["extensions"]:
            if extension not in there:
                made = "CREATE EXTENSION {} SCHEMA public"
                self.change(connection, f"database {name}: extension {extension}", made, extension)
        for access in sorted({one["access"] for one in self.clients if one["database"] == name} - {"owner"}):
            group = f"{name}_{access}"
            if self.ask(connection, "SELECT 1 FROM pg_roles WHERE rolname = %s", group):
                self.grant(connection, name, group, access)

    def close_public(self, connection, name: str) -> None:
        """Schema public is the owner's, and nobody else makes anything in it."""
        found = self.ask(
            connection,
            "SELECT pg_get_userbyid(nspowner), has_schema_privilege('public', oid, 'CREATE')"
            " FROM pg_namespace WHERE nspname = 'public'",
        )
        for owner, is_open in found:
            if owner != self.owner(name):
                owned = "ALTER SCHEMA public OWNER TO {}"
                self.change(connection, f"database {name}: owner of schema public", owned, self.owner(name))
            if is_open:
                closed = "REVOKE CREATE ON SCHEMA public FROM PUBLIC"
                self.change(connection, f"database {name}: schema public closed", closed)

    def grant(self, connection, name: str, group: str, access: str) -> None:
        """What a role may do with the tables and sequences of schema public, present and future."""
        may = "SELECT has_database_privilege(%s, %s, 'CONNECT'), has_schema_privilege(%s, 'public', 'USAGE')"
        connects, uses = self.ask(connection, may, group, name, group)[0]
        if not connects:
            self.change(connection, f"role {group}: connects", "GRANT CONNECT ON DATABASE {} TO {}", name, group)
        if not uses:
            self.change(connection, f"role {group}: schema public", "GRANT USAGE ON SCHEMA public TO {}", group)
        for what, rights in RIGHTS[access].items():
            lacking = self.ask(connection, LACKING, rights, what, group, what, group)
            said = ", ".join(rights)
            if lacking:
                granted = f"GRANT {said} ON ALL {what} IN SCHEMA public TO {{}}"
                self.change(connection, f"role {group}: {what}", granted, group)
            future = self.ask(
                connection,
                "SELECT privilege_type FROM pg_default_acl d, aclexplode(defaclacl) a WHERE defaclobjtype = %s"
                " AND defaclnamespace = 'public'::regnamespace AND pg_get_userbyid(defaclrole) = %s"
                " AND pg_get_userbyid(grantee) = %s",
                "r" if what == "tables" else "S",
                self.owner(name),
                group,
            )
            if not set(rights) <= {right for (right,) in future}:
                granted = f"ALTER DEFAULT PRIVILEGES FOR ROLE {{}} IN SCHEMA public GRANT {said} ON {what} TO {{}}"
                self.change(connection, f"role {group}: {what} to come", granted, self.owner(name), group)

    def withdraw(self, connection, login: str) -> None:
        """Shuts a login out at once; drops it when no session of it is left. What it owns becomes the owner's."""
        found = self.ask(connection, "SELECT rolcanlogin FROM pg_roles WHERE rolname = %s", login)
        if not found:
            return
        if found[0][0]:
            self.change(connection, f"login {login}: shut out", "ALTER ROLE {} NOLOGIN", login)
        if self.sessions(connection, login):
            return
        if not self.foresee:
            for name in self.databases:
                self.disown(login, name)
        self.change(connection, f"login {login}: dropped", "DROP ROLE {}", login)

    def end_turn(self, connection, login: str, deadline: float) -> None:
        """Withdraws a login when nobody uses it any more; whoever still does at the deadline isn't shut out."""
        while self.sessions(connection, login):
            if time.monotonic() >= deadline:
                return
            time.sleep(1)
        self.withdraw(connection, login)
        if login in self.busy:  # it came meanwhile, and may come again
            self.change(connection, f"login {login}: let in again", "ALTER ROLE {} LOGIN", login)

    def sessions(self, connection, login: str) -> bool:
        """Whether there are sessions of a login that is to go; notes where they come from."""
        come = "SELECT DISTINCT coalesce(host(client_addr), 'this host') FROM pg_stat_activity WHERE usename = %s"
        found = sorted(place for (place,) in self.ask(connection, come, login))
        self.busy.pop(login, None)
        if found:
            self.busy[login] = found
        return bool(found)

    def still_used(self) -> list[str]:
        """A sentence for each login whose turn could not be ended."""
        return [
            f"{self.name}: login {login}: stays valid, for there are sessions of it from {', '.join(places)}"
            for login, places in self.busy.items()
            if login in self.over and not self.foresee
        ]

    def disown(self, login: str, name: str) -> None:
        """What a login owns in a database becomes the owner's, and its grants go: only then can it be dropped."""
        names = sql.Identifier(login), sql.Identifier(self.owner(name))
        with closing(self.connect(name)) as inside, inside.cursor() as cursor:
            cursor.execute(sql.SQL("REASSIGN OWNED BY {} TO {}").format(*names))
            cursor.execute(sql.SQL("DROP OWNED BY {}").format(names[0]))


def main() -> None:
    """Converges each server; what goes wrong in one leaves the others alone."""
    module = AnsibleModule(
        argument_spec={
            "servers": {"type": "list", "elements": "dict", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "turns": {"type": "dict", "default": {}, "no_log": True},
            "newest": {"type": "dict", "default": {}},
            "end_turns": {"type": "bool", "default": False},
            "wait_seconds": {"type": "int", "default": 0},
        },
        supports_check_mode=True,
    )
    wanted = module.params["servers"]
    result: dict = {"changed": False, "changes": {}, "busy": {}, "unanswered": []}
    if not PSYCOPG2 and module.check_mode:
        module.exit_json(**{**result, "changed": bool(wanted), "unanswered": [one["name"] for one in wanted]})
    if not PSYCOPG2:
        module.fail_json(msg=missing_required_lib("psycopg2"), **result)
    wrong = []
    given = [module.params, module.params["end_turns"], module.params["wait_seconds"], module.check_mode]
    for server in [Server(one, *given) for one in wanted]:
        try:
            server.converge()
            wrong += server.still_used()
        except psycopg2.Error as error:
            if module.check_mode and server.doing == "connecting":
                result["unanswered"].append(server.name)
            else:
                wrong.append(f"{server.name}: {server.doing}: {' '.join(str(error).split())}")
        if server.changes:
            result["changes"][server.name] = server.changes
        if server.busy:
            result["busy"][server.name] = server.busy
    result["changed"] = bool(result["changes"] or result["unanswered"])
    if module._diff:
        told = [f"{name}: {one}\n" for name, changes in result["changes"].items() for one in changes]
        result["diff"] = {"before": "", "after": "".join(told)}
    if wrong:
        module.fail_json(msg="\n".join(wrong), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
