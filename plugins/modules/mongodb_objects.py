#!/usr/bin/python
# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: mongodb_objects
short_description: Logins of MongoDB's protocol, made and tried, in one execution
description:
  - Brings the logins of the servers of the role C(mongodb) to what their instances say. It comes as root by each
    server's own socket, C(/run/fedlearn-NAME/mongodb.sock), with the password that the server made for itself.
  - Then it comes as clients do. Who has no login has to be refused, each login has to be accepted, and the first one
    writes a document and reads it back, in the database C(fedlearn_health).
  - The host then remembers the logins, so that the role asks again only where they differ.
  - Of an external server only the logins are tried; nothing is made or written there.
  - Logins that are listed no more stay as they are.
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
options:
  servers:
    description:
      - Instances of the role, complete with their defaults, as P(fedlearn.infra.checked#filter) gives them.
    type: list
    elements: dict
    required: true
  passwords:
    description: The password of each secret that users name.
    type: dict
    default: {}
  turns:
    description:
      - Of each secret of logins with C(turn) the values that are valid, of C(a), of C(b) or of both, as
        P(fedlearn.infra.secret#lookup) gives them with C(turns=true). A login whose turn has none is taken away.
    type: dict
    default: {}
extends_documentation_fragment:
  - fedlearn.infra.attributes
attributes:
  check_mode:
    support: full
    details: Logins are tried, but nothing is written. A server that doesn't answer is named in RV(unanswered).
  diff_mode:
    support: full
    details: Shows what changes in words; never a password.
  idempotent:
    support: full
requirements:
  - pymongo 3.11 or later (Debian's python3-pymongo)
"""

EXAMPLES = r"""
- name: Converge the logins of the servers, and try them
  fedlearn.infra.mongodb_objects:
    servers: "{{ mongodb_instances | fedlearn.infra.checked('mongodb_instances') }}"
    passwords:
      jobs_database: "{{ lookup('fedlearn.infra.secret', 'jobs_database') }}"
  become: true
"""

RETURN = r"""
changes:
  description: What was or would be changed in each server, in words; only servers in which something was.
  returned: always
  type: dict
  sample: {store: ["login jobs_a of jobs: made"]}
ill:
  description: What is wrong with each server that isn't well.
  returned: always
  type: dict
  sample: {store: "FerretDB v1.24.0: login jobs_a of jobs: Authentication failed."}
unanswered:
  description: In check mode, servers of this host that don't answer.
  returned: always
  type: list
  elements: str
programs:
  description: What each server that answered says it is.
  returned: always
  type: dict
  sample: {store: FerretDB v1.24.0}
"""

import base64
import glob
import hashlib
import hmac
import os
import secrets
import tempfile
from urllib.parse import quote

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ansible_collections.fedlearn.infra.plugins.module_utils._turns import settled

try:
    import pymongo
    from pymongo.errors import OperationFailure, PyMongoError
    from pymongo.saslprep import saslprep

    PYMONGO = True
except ImportError:
    PYMONGO = False

ADMINISTRATOR = "fedlearn"
MECHANISM = "SCRAM-SHA-256"
UNAUTHORIZED = 13
REFUSED = 18
MILLISECONDS = 10_000
SOCKET = "/run/fedlearn-{}/mongodb.sock"
ADMINISTRATION = "/var/lib/fedlearn-{}/administrator"


class TroubleError(Exception):
    """What is wrong with a server, in words."""


def fits(password: str, kept: dict) -> bool:
    """Whether what a server keeps of a login is of this password (RFC 5802)."""
    salted = hashlib.pbkdf2_hmac(
        "sha256", password.encode(), base64.b64decode(kept["salt"]), int(kept["iterationCount"])
    )
    client = hmac.new(salted, b"Client Key", "sha256").digest()
    return hmac.compare_digest(hashlib.sha256(client).digest(), base64.b64decode(kept["storedKey"]))


def told(error: Exception) -> str:
    """An error's first sentence: what pymongo adds is the answer once more."""
    return " ".join(str(error).partition(", full error:")[0].split())


class Server:
    """One server: what is wanted of it, and what was changed."""

    def __init__(self, wanted: dict, passwords: dict, turns: dict, foresee: bool, certificate: str) -> None:
        self.wanted, self.name, self.external = wanted, wanted["name"], wanted.get("external")
        users = settled(wanted["users"], passwords, turns)
        self.users = [user for user in users if user["state"] == "present"]
        self.leaving = [user for user in users if user["state"] == "absent"]
        self.foresee, self.certificate = foresee, certificate
        self.changes: list[str] = []
        self.answered = False
        self.program = "MongoDB" if self.external else "FerretDB"

    @property
    def tls(self) -> dict:
        """How it is spoken to by TLS."""
        given = (self.external or self.wanted).get("tls")
        if not given:
            return {}
        # the name is what the service's own health check looks at: it knows what clients call it
        options = {"tls": True, "tlsCAFile": given["ca"], "tlsAllowInvalidHostnames": not self.external}
        return {**options, "tlsCertificateKeyFile": self.certificate} if self.certificate else options

    def connect(self, user: dict | None) -> pymongo.MongoClient:
        """A session as clients have one."""
        hosts = (
            self.external["hosts"] if self.external else [f"{bracketed(self.wanted['address'])}:{self.wanted['port']}"]
        )
        options = {**self.tls, "directConnection": len(hosts) == 1}
        if user:
            login = {"username": user["name"], "password": user["password"]}
            options.update(login, authSource=user["database"], authMechanism=MECHANISM)
        return pymongo.MongoClient([*hosts], serverSelectionTimeoutMS=MILLISECONDS, **options)

    def administrate(self) -> pymongo.MongoClient:
        """A session of the administrator, by the socket."""
        with open(ADMINISTRATION.format(self.name), encoding="ascii") as stream:
            database, password = stream.read().split()
        login = {"username": ADMINISTRATOR, "password": password, "authSource": database, "authMechanism": MECHANISM}
        place = f"mongodb://{quote(SOCKET.format(self.name), safe='')}"
        return pymongo.MongoClient(place, serverSelectionTimeoutMS=MILLISECONDS, directConnection=True, **login)

    def change(self, what: str, session: pymongo.MongoClient, database: str, command: dict) -> None:
        """Changes something, or foresees it."""
        self.changes.append(what)
        if not self.foresee:
            try:
                session[database].command(command)
            except PyMongoError as error:
                raise TroubleError(f"{what}: {told(error)}") from None

    def converge(self) -> None:
        """The logins."""
        with self.administrate() as session:
            about = session.admin.command("buildInfo")
            self.answered, self.program = True, f"FerretDB {about.get('ferretdbVersion', '')}".strip()
            for user in self.users:
                self.converge_login(session, user)
            for user in self.leaving:
                if session[user["database"]].command({"usersInfo": user["name"]})["users"]:
                    self.change(f"{spoken(user)}: dropped", session, user["database"], {"dropUser": user["name"]})

    def converge_login(self, session: pymongo.MongoClient, user: dict) -> None:
        """A login and its password."""
        database, password = user["database"], user["password"]
        try:
            prepared = saslprep(password)
        except ValueError:
            raise TroubleError(f"{spoken(user)}: its password has characters that SCRAM doesn't allow") from None
        found = session[database].command({"usersInfo": user["name"], "showCredentials": True})["users"]
        if not found:
            wanted = {"createUser": user["name"], "pwd": password, "roles": []}
            self.change(f"{spoken(user)}: made", session, database, wanted)
        elif not fits(prepared, found[0]["credentials"][MECHANISM]):
            wanted = {"updateUser": user["name"], "pwd": password}
            self.change(f"{spoken(user)}: password", session, database, wanted)

    def probe(self) -> None:
        """Comes as clients do."""
        with self.connect(None) as stranger:
            try:
                stranger.list_database_names()
            except OperationFailure as error:
                if error.code != UNAUTHORIZED:
                    raise
            else:
                raise TroubleError("who has no login isn't refused")
        for user in self.users:
            with self.connect(user) as session:
                try:
                    session[user["database"]].list_collection_names()
                    about = session.admin.command("buildInfo")
                    if self.external:
                        self.program = f"MongoDB {about['version']}"
                    if "ferretdbVersion" in about:
                        self.program = f"FerretDB {about['ferretdbVersion']}"
                    if user is self.users[0] and not self.external and not self.foresee:
                        write_and_read(session)
                except PyMongoError as error:
                    raise TroubleError(f"{spoken(user)}: {told(error)}") from None


def write_and_read(session: pymongo.MongoClient) -> None:
    """A document that is there once, however often; another value each time."""
    document = {"_id": "probe", "value": secrets.token_hex(8)}
    collection = session["fedlearn_health"]["probe"]
    collection.replace_one({"_id": "probe"}, document, upsert=True)
    if collection.find_one({"_id": "probe"}) != document:
        raise TroubleError("what was read isn't what was written")


def spoken(user: dict) -> str:
    """A login in messages."""
    return f"login {user['name']} of {user['database']}"


def bracketed(address: str) -> str:
    """An address before its port."""
    return f"[{address}]" if ":" in address else address


def certificate_of(wanted: dict, folder: str) -> str:
    """Certificate and key in one file, as pymongo wants them; empty where none is shown."""
    given = (wanted.get("external") or wanted).get("tls") or {}
    pair = [given.get("client_certificate"), given.get("client_key")]
    if wanted.get("external"):
        pair = [given.get("certificate"), given.get("key")]
    if not all(pair):
        return ""
    path = os.path.join(folder, f"{wanted['name']}.pem")
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
        for part in pair:
            with open(part, encoding="ascii") as read:
                stream.write(read.read() + "\n")
    return path


def look_at(server: Server, module: AnsibleModule, result: dict) -> None:
    """One server, from its logins to a document."""
    try:
        if not server.external:
            server.converge()
        if server.external or not (server.changes and server.foresee):
            server.probe()
        if not server.external and not server.foresee:
            agree(server, module)
    except (PyMongoError, TroubleError, OSError, ValueError) as error:
        if module.check_mode and not server.answered and not server.external:
            result["unanswered"].append(server.name)
        elif isinstance(error, OperationFailure) and error.code == REFUSED:
            kept = ADMINISTRATION.format(server.name)
            result["ill"][server.name] = f"{server.program}: its administrator's password isn't the one in {kept}"
        else:
            result["ill"][server.name] = f"{server.program}: {told(error)}"
    if server.changes:
        result["changes"][server.name] = server.changes
    if server.answered or server.external:
        result["programs"][server.name] = server.program


def agree(server: Server, module: AnsibleModule) -> None:
    """Has the host remember the logins, so that a later run asks only where others were made."""
    for script in glob.glob(f"/etc/fedlearn/*/{server.name}/ferretdb.sh"):
        code, output, errors = module.run_command(["/bin/sh", script, "agreed"])
        if code != 0:
            raise TroubleError(" ".join((output + errors).split()))


def main() -> None:
    """Looks at each server; what goes wrong with one leaves the others alone."""
    module = AnsibleModule(
        argument_spec={
            "servers": {"type": "list", "elements": "dict", "required": True},
            "passwords": {"type": "dict", "default": {}, "no_log": True},
            "turns": {"type": "dict", "default": {}, "no_log": True},
        },
        supports_check_mode=True,
    )
    wanted = module.params["servers"]
    result: dict = {"changes": {}, "ill": {}, "unanswered": [], "programs": {}}
    if not PYMONGO and module.check_mode:
        served = [one["name"] for one in wanted if not one.get("external")]
        module.exit_json(**{**result, "changed": bool(served), "unanswered": served})
    if not PYMONGO:
        module.fail_json(msg=missing_required_lib("pymongo"))
    with tempfile.TemporaryDirectory() as folder:
        for one in wanted:
            try:
                certificate = certificate_of(one, folder)
            except OSError as error:
                result["ill"][one["name"]] = f"{error.filename}: {error.strerror}"
                continue
            secrets = module.params["passwords"], module.params["turns"]
            look_at(Server(one, *secrets, module.check_mode, certificate), module, result)
    result["changed"] = bool(result["changes"] or result["unanswered"])
    if module._diff:
        lines = [f"{name}: {one}\n" for name, changes in result["changes"].items() for one in changes]
        result["diff"] = {"before": "", "after": "".join(lines)}
    module.exit_json(**result)


if __name__ == "__main__":
    main()
