# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mongodb role on one host, as an unprivileged sudo user: FerretDB twice, and an external server."""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml
from role_host import RoleHost
from shared_tests import Secretive, Store

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
FULL, STORE, THEIRS = VARIABLES["mongodb_instances"]
UNITS = ("fedlearn-mdb-full.service", "fedlearn-mdb-store.service")
POSTGRESQL = "fedlearn-mdb-pg.service"
PASSWORDS = {name: VARIABLES[f"canary_{name}"] for name in ("first", "second", "third")}
STRANGER = {"certificate": "/etc/role-test/stranger.pem", "key": "/etc/role-test/stranger.key"}
CLIENT = {
    "client_ca": "/etc/role-test/ca.pem",
    "client_certificate": "/etc/role-test/client.pem",
    "client_key": "/etc/role-test/client.key",
}

CLIENT_PROGRAM = """
import json, sys, hashlib
import pymongo
given = json.load(sys.stdin)
client = pymongo.MongoClient(given["host"], serverSelectionTimeoutMS=4000, directConnection=True, **given["options"])
db = client["jobs"]
try:
    answer = [eval(given["ask"]), ""]
except pymongo.errors.PyMongoError as error:
    answer = [None, type(error).__name__ + ": " + str(error)]
print(json.dumps(answer, default=str))
"""
"""A client that runs on the host: a question on standard input, the answer, or what went wrong, on standard output."""


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "mongodb", VARIABLES, ["mdb-full", "mdb-store", "mdb-third"])


def instances(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's instances, the first one changed."""
    return [{**FULL, **changed}, STORE, THEIRS]


def third(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's instances, and one more."""
    users = [{"name": "c", "database": "jobs", "secret": "third"}]
    return [FULL, STORE, {"name": "mdb-third", "federation": "mdb-one", "port": 27019, "users": users, **changed}]


class Client:
    """One login, the full one's first unless told otherwise."""

    def __init__(self, role: RoleHost, user: str = "jobs_a", secret: str = "first", place: str = "", **options: Any):
        login = {"username": user, "password": PASSWORDS[secret], "authSource": "jobs"} if user else {}
        tls = {} if place else {"tls": True, "tlsCAFile": "/etc/role-test/ca.pem"}
        self.role, self.place = role, place or f"{role.address}:27017"
        self.options = {**login, **tls, **options}

    def tell(self, ask: str) -> tuple[Any, str]:
        """The answer, and what went wrong."""
        given = json.dumps({"host": self.place, "options": self.options, "ask": ask})
        told = json.loads(self.role.sh(f"printf %s {quote(given)} | python3 -c {quote(CLIENT_PROGRAM)}"))
        return told[0], told[1]

    def ask(self, ask: str) -> Any:
        """The answer."""
        answer, wrong = self.tell(ask)
        assert not wrong, wrong
        return answer


def store(role: RoleHost) -> Client:
    """The one client of the server on PostgreSQL."""
    return Client(role, "program", "third", "127.0.0.1:27018")


def main_pid(role: RoleHost, unit: str) -> str:
    return role.sh(f"systemctl show -p MainPID --value {unit}").strip()


def test_listens_on_its_addresses_only(role: RoleHost) -> None:
    lines = role.sh("ss -Hltnp | grep ferretdb").splitlines()
    wanted = [f"{role.address}:27017", "127.0.0.1:37017", "127.0.0.1:27018", "127.0.0.1:37018"]
    assert sorted(line.split()[3] for line in lines) == sorted(wanted)


def test_each_login_reads_what_the_other_wrote(role: RoleHost) -> None:
    first, second = Client(role), Client(role, "jobs_b", "second")
    assert first.ask("db.c.insert_many([{'n': n} for n in range(10)]).acknowledged") is True
    assert second.ask("db.c.count_documents({'n': {'$gte': 4}})") == 6
    assert second.ask("db.drop_collection('c')")["ok"] == 1


def test_it_is_ferretdb_and_says_so(role: RoleHost) -> None:
    for client in (Client(role), store(role)):
        assert client.ask("client.admin.command('buildInfo')['ferretdbVersion']") == "v1.24.0"
    assert role.play("-v", entry="check").words.count("FerretDB v1.24.0") == 3


@pytest.mark.parametrize(
    ("user", "secret", "reason"),
    [
        ("", "first", "requires authentication"),
        ("jobs_a", "second", "Authentication failed"),
        ("program", "third", "Authentication failed"),
        ("fedlearn", "first", "Authentication failed"),
    ],
)
def test_everybody_else_is_refused(role: RoleHost, user: str, secret: str, reason: str) -> None:
    assert reason in Client(role, user, secret).tell("db.list_collection_names()")[1]


def test_nobody_is_spoken_to_in_plain(role: RoleHost) -> None:
    told = Client(role, place=f"{role.address}:27017").tell("db.list_collection_names()")[1]
    assert "ServerSelectionTimeoutError" in told or "AutoReconnect" in told


def test_certificates_of_its_client_ca_only_when_it_has_one(role: RoleHost) -> None:
    strict = instances(tls={**FULL["tls"], **CLIENT})
    strict[2] = {
        **THEIRS,
        "external": {
            **THEIRS["external"],
            "tls": {
                "ca": "/etc/role-test/ca.pem",
                "certificate": CLIENT["client_certificate"],
                "key": CLIENT["client_key"],
            },
        },
    }
    role.sh("cd /etc/role-test && for who in client stranger; do cat $who.pem $who.key >/run/$who.both; done")
    try:
        run = role.play(mongodb_instances=strict)
        assert run.code == 0, run.text
        assert Client(role, tlsCertificateKeyFile="/run/client.both").ask("db.list_collection_names()") is not None
        assert Client(role, tlsCertificateKeyFile="/run/stranger.both").tell("db.list_collection_names()")[1]
        assert Client(role).tell("db.list_collection_names()")[1]
    finally:
        role.sh("rm /run/client.both /run/stranger.both")
        assert role.play().code == 0


def test_a_postgresql_that_is_not_the_one_asked_for_is_told_no_password(role: RoleHost) -> None:
    known = role.sh("cat /etc/hosts")
    other = {**STORE, "postgresql": {**STORE["postgresql"], "host": "elsewhere.test"}}
    role.sh(f"echo {role.address} elsewhere.test >>/etc/hosts")
    try:
        run = role.play(mongodb_instances=[FULL, other, THEIRS], mongodb_health_timeout_seconds=10)
    finally:
        role.sh(f"printf %s {quote(known)} >/etc/hosts")
    assert run.failed == 1, run.text
    assert "not elsewhere.test" in run.words, run.text
    assert role.play().code == 0
    assert role.play(entry="check").code == 0


def test_a_public_name_is_what_its_certificate_is_checked_for(role: RoleHost) -> None:
    assert role.play(mongodb_instances=instances(public_name="server.test")).code == 0
    wrong = role.play(mongodb_instances=instances(public_name="other.test"), mongodb_health_timeout_seconds=5)
    assert wrong.code == 2
    assert "ostname mismatch" in wrong.words, wrong.text
    assert role.play().code == 0


@pytest.mark.parametrize("unit", UNITS)
def test_hardened(role: RoleHost, unit: str) -> None:
    assert role.exposure(unit) <= 2.5
    assert 61184 <= int(role.sh(f"stat -c %u /proc/{main_pid(role, unit)}")) <= 65519  # a dynamic user


def test_a_server_that_was_taken_leads_root_nowhere(role: RoleHost) -> None:
    """What root remembers of the logins is written with that server's rights."""
    home, aim = "/var/lib/private/fedlearn-mdb-full", "/root/of-root"
    ids = role.sh(f"stat -c '--reuid=%u --regid=%g' {home}").strip()
    role.sh(f"umask 077; echo of root >{aim}")
    before = role.sh(f"stat -c '%a %u %Y %i' {aim}; cat {aim}")
    lay = f"rm -f logins; ln -s {aim} logins.new"
    role.sh(f"cd {home} && setpriv {ids} --clear-groups sh -c {quote(lay)}")
    try:
        assert role.play().code == 0
        assert role.sh(f"stat -c '%a %u %Y %i' {aim}; cat {aim}") == before
        assert role.sh(f"stat -c %F {home}/logins").strip() == "regular file"
    finally:
        role.sh(f"rm -f {home}/logins.new {aim}")
    assert role.play(most=3).changed == 0


class TestMongodb(Secretive, Store):
    units, owned, most = UNITS, 7, 3
    changed = {"mongodb_instances": instances(port=27020)}
    package = ("mongodb_packages", "age")
    unfit = "/etc/role-test/server.key is not the key of /etc/role-test/server.pem"
    serves_at = 27017
    name, space = "mdb-third", "mongodb_space_mb"
    loopback = {"address": "::1"}
    refused = (
        ({"tls": {**FULL["tls"], "key": STRANGER["key"]}}, "stranger.key is not the key of /etc/role-test/server.pem"),
        ({"tls": {**FULL["tls"], "certificate": "/etc/role-test/nowhere.pem"}}, "nowhere.pem isn't there, or is empty"),
        ({"tls": {**FULL["tls"], "ca": "/etc/role-test/other.pem"}}, "unable to get local issuer certificate"),
        (
            {"tls": {**FULL["tls"], "certificate": "/etc/role-test/expired.pem"}},
            "expired.pem: the certificate has expired, on 2020-02-01T00:00:00Z: renew it",
        ),
        (
            {"tls": {**FULL["tls"], "ca": "/etc/role-test/ended-ca.pem"}},
            "ended-ca.pem: the CA's certificate has expired, on 2020-02-01T00:00:00Z: clients",
        ),
    )
    # every wrong value has its exact message in tests/unit/plugins/plugin_utils/roles/test_catalogue.py
    wrong = (
        ({"port": "27017"}, "mongodb_instances[0]: port: expected a whole number from 1 to 65535, found the text"),
        ({"tls": None}, "is reached by others, and without tls all it is sent can be read on the way: give tls, or"),
        ({"name": "mdb-store"}, "mongodb_instances[1]: name: 'mdb-store' is also the name of [0]"),
        ({"users": [{"name": "x", "database": "jobs", "secret": "nothing"}]}, "canary_nothing"),
        ({"external": {"hosts": ["10.0.0.1:27017"]}}, "external: has no tls: give tls, or say allow_unencrypted"),
        ({"adress": "x"}, "Supported parameters include: address"),
    )

    def with_(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        return {"mongodb_instances": instances(**changed)}

    def with_more(self, **changed: Any) -> dict[str, Any]:
        return {"mongodb_instances": third(**changed)}

    def serves(self, role: RoleHost) -> bool:
        return Client(role).ask("db.list_collection_names()") is not None

    meant = ("/etc/fedlearn/mdb-one/mdb-store/postgresql-url", "/var/lib/fedlearn-mdb-full/administrator")

    def lose(self, role: RoleHost) -> None:
        Client(role).ask("db.command('dropUser', 'jobs_b')")
        role.sh("rm /etc/fedlearn/mdb-one/mdb-store/postgresql-url")

    def own(self, role: RoleHost) -> list[str]:
        return [role.sh("cat /var/lib/fedlearn-mdb-full/administrator").split()[1]]

    def test_two_executions_are_enough_where_none_is_external(self, role: RoleHost) -> None:
        assert role.play(most=2, mongodb_instances=[FULL, STORE]).changed == 0


def test_one_that_is_stopped_by_hand_is_named_and_started(role: RoleHost) -> None:
    role.sh(f"systemctl stop {UNITS[0]}")
    named = role.play(entry="check").words
    assert f"mdb-full: stopped: {UNITS[0]} is inactive (dead)" in named
    assert role.play().changed == 1


def test_logins_changed_by_hand_are_named_and_repaired(role: RoleHost) -> None:
    client = Client(role)
    client.ask("db.command('updateUser', 'jobs_b', pwd='by hand')")
    store(role).ask("db.command('dropUser', 'program')")
    named = role.play(entry="check").words
    assert "mdb-full: differing: login jobs_b of jobs: password" in named
    assert "mdb-store: differing: login program of jobs: made" in named
    assert role.play("--check").changed == 1
    assert role.play().changed == 1
    assert Client(role, "jobs_b", "second").ask("db.list_collection_names()") is not None
    assert store(role).ask("db.list_collection_names()") is not None
    assert role.play(entry="check").code == 0


def test_an_external_one_is_asked_and_left_alone(role: RoleHost) -> None:
    users = [{"name": "jobs_b", "database": "jobs", "secret": "first"}]
    wrong = [FULL, STORE, {**THEIRS, "users": users}]
    run = role.play(entry="check", mongodb_instances=wrong)
    assert run.code == 2
    assert "mdb-theirs: ill: MongoDB: login jobs_b of jobs: Authentication failed." in run.words
    assert role.play(mongodb_instances=wrong).changed == 0
    away = {**THEIRS, "external": {**THEIRS["external"], "hosts": [f"{role.address}:27099"]}}
    assert "mdb-theirs: ill: MongoDB: " in role.play(entry="check", mongodb_instances=[FULL, STORE, away]).words
    assert "mdb-theirs" not in role.sh("cat /var/lib/fedlearn/*/owned.json")


def test_without_its_postgresql_it_is_ill_and_well_again_with_it(role: RoleHost) -> None:
    pid = main_pid(role, UNITS[1])
    role.sh(f"systemctl stop {POSTGRESQL}")
    try:
        named = role.play("-e", "fedlearn_check_waits=false", entry="check").words
    finally:
        role.sh(f"systemctl start {POSTGRESQL}")
    assert "mdb-store: ill: GET http://127.0.0.1:37018/debug/readyz: answered 500 instead of 200" in named
    assert "mdb-full: " not in named
    assert role.play(entry="check").code == 0
    assert main_pid(role, UNITS[1]) == pid


def test_another_program_is_refused(role: RoleHost) -> None:
    before = role.state(units=UNITS)
    run = role.play(mongodb_program="/bin/true")
    assert run.code == 2
    assert "/bin/true is no FerretDB 1.24" in run.words
    assert role.state(units=UNITS) == before


def test_a_password_that_scram_forbids_is_refused(role: RoleHost) -> None:
    before = role.state(units=UNITS)
    run = role.play(canary_second="CANARY-2\ntwo lines")
    assert (run.code, run.changed) == (2, 0)
    assert "login jobs_b of jobs: its password has characters that SCRAM doesn't allow" in run.words
    assert "two lines" not in run.text
    assert role.state(units=UNITS) == before
    assert Client(role, "jobs_b", "second").ask("db.list_collection_names()") is not None


def gone(role: RoleHost) -> None:
    absent = [{"name": "mdb-third", "federation": "mdb-one", "state": "absent"}]
    assert role.play(mongodb_instances=absent, mongodb_remove_data=True).code == 0


def test_a_program_that_is_there_already_is_used(role: RoleHost) -> None:
    own = role.sh("ls -d /opt/fedlearn/ferretdb/*/ferretdb").strip()
    role.sh(f"install -m 755 {own} /usr/local/bin/ferretdb")
    try:
        run = role.play(mongodb_program="/usr/local/bin/ferretdb")
        assert run.code == 0, run.text
        assert role.sh(f"readlink /proc/{main_pid(role, UNITS[0])}/exe").strip() == "/usr/local/bin/ferretdb"
    finally:
        assert role.play().changed >= 1
        role.sh("rm /usr/local/bin/ferretdb")


def test_two_logins_in_turn_change_a_password_without_a_refusal(role: RoleHost) -> None:
    first, second = FULL["users"]
    before = main_pid(role, UNITS[0])
    again = [first, {**second, "secret": "third"}]
    assert role.play(mongodb_instances=instances(users=again)).changed == 2
    assert Client(role, "jobs_b", "third").ask("db.list_collection_names()") is not None
    assert Client(role, "jobs_b", "second").tell("db.list_collection_names()")[1]
    less = instances(users=[{**first, "state": "absent"}, again[1]])
    less[2] = {**THEIRS, "users": []}
    assert role.play(mongodb_instances=less).changed == 2
    assert "Authentication failed" in Client(role).tell("db.list_collection_names()")[1]
    assert Client(role, "jobs_b", "third").ask("db.list_collection_names()") is not None
    assert role.play(mongodb_instances=less).changed == 0
    assert role.play().changed == 2
    assert main_pid(role, UNITS[0]) == before


ASKING = """
import json, sys, time, pathlib
import pymongo
wanted, answers = pathlib.Path(sys.argv[1]), pathlib.Path("/run/answers")
known = ""
while True:
    said = wanted.read_text()
    if said != known:
        given, known = json.loads(said), said
        client = pymongo.MongoClient(
            given["host"], serverSelectionTimeoutMS=4000, directConnection=True, **given["options"]
        )
    try:
        client["jobs"]["asked"].insert_one({})
        said = "ok"
    except pymongo.errors.PyMongoError as error:
        said = str(error)
    with answers.open("a") as stream:
        print(said, file=stream)
    time.sleep(0.1)
"""
"""A program that comes by the login a file says, by the next one when that says another, and writes all along."""


def test_a_password_is_replaced_with_its_client_connected_all_along(role: RoleHost) -> None:
    """By the very steps of the playbook `rotate`."""
    given = {"fedlearn_secret_backend": {}, "fedlearn_state": os.environ["FEDLEARN_ROLE_STATE"]}
    users = [{"name": "turning", "database": "jobs", "secret": "turning", "in_turn": True}]
    wanted = {**given, "mongodb_instances": [{**FULL, "users": users}]}
    first = role.secrets("turning")["turning"]
    assert role.play(**wanted).changed == 2

    def told(turn: str, password: str) -> str:
        client = Client(role)
        client.options |= {"username": f"turning_{turn}", "password": password}
        return client.tell("db.list_collection_names()")[1]

    def moves_over(turn: str, password: str) -> None:
        """What whoever deploys the program does to it."""
        client = Client(role)
        client.options |= {"username": f"turning_{turn}", "password": password}
        wants = json.dumps({"host": client.place, "options": client.options})
        role.sh(f"printf %s {quote(wants)} >/run/login.new && mv /run/login.new /run/login")

    moves_over("a", first)
    role.sh(f"systemd-run --quiet --unit asking python3 -c {quote(ASKING)} /run/login")
    try:
        second = role.secrets("turning", turn="begin")["turning.2"]
        assert role.play(**wanted).changed == 2
        assert role.play(**wanted).changed == 0
        assert [told("a", first), told("b", second)] == ["", ""]
        moves_over("b", second)
        role.sh("sleep 1")
        assert role.play(entry="withdraw", **wanted).changed == 2
        assert "Authentication failed" in told("a", first)
        assert told("b", second) == ""
        assert "turning" not in role.secrets("turning", turn="end")
        assert role.play(**wanted).changed == 0
        answers = role.sh("sleep 1; systemctl stop asking; cat /run/answers").splitlines()
        assert set(answers) == {"ok"}
        assert len(answers) > 100
    finally:
        role.sh("systemctl stop asking 2>/dev/null || true; rm -f /run/answers /run/login")
        assert role.play().failed == 0


def test_it_follows_when_its_login_at_postgresql_comes_in_turn(role: RoleHost) -> None:
    """The login of the store is postgresql's to make and withdraw; here it is given by hand."""
    given = {"fedlearn_secret_backend": {}, "fedlearn_state": os.environ["FEDLEARN_ROLE_STATE"]}
    store_in_turn = {**STORE["postgresql"], "user": "turning", "secret": "store_turning", "in_turn": True}
    wanted = {**given, "mongodb_instances": [{**STORE, "users": [], "postgresql": store_in_turn}]}
    url = "cut -d@ -f1 /etc/fedlearn/mdb-one/mdb-store/postgresql-url"
    psql = "psql -XAtq -h /run/fedlearn-mdb-pg -U postgres -v ON_ERROR_STOP=1 ferretdb"
    first = role.secrets("store_turning")["store_turning"]
    hba = "/etc/fedlearn/mdb-one/mdb-pg/pg_hba.conf"
    grants = "GRANT ferretdb TO turning_{0}; ALTER ROLE turning_{0} IN DATABASE ferretdb SET role = ferretdb"
    for turn, password in (("a", first), ("b", role.secrets("store_turning", turn="begin")["store_turning.2"])):
        role.sh(f"echo \"CREATE ROLE turning_{turn} LOGIN PASSWORD '{password}'; {grants.format(turn)}\" | {psql}")
    role.sh(f'cp -p {hba} {hba}.kept; sed \'s/"ferretdb_a"/"turning_a","turning_b"/\' {hba}.kept >{hba}')
    role.sh(f"systemctl reload {POSTGRESQL}")
    try:
        assert role.play(**wanted).changed == 1
        assert role.sh(url).startswith("postgresql://turning_b:")
        assert (
            role.sh(f"echo \"SELECT DISTINCT usename FROM pg_stat_activity WHERE usename LIKE 'turn%'\" | {psql}")
            == "turning_b\n"
        )
    finally:
        role.sh(f"mv {hba}.kept {hba}; systemctl reload {POSTGRESQL}")
        assert role.play().failed == 0
        for turn in "ab":
            role.sh(f"echo 'DROP OWNED BY turning_{turn}; DROP ROLE turning_{turn}' | {psql}")


def test_a_new_certificate_is_taken_up(role: RoleHost) -> None:
    before, other = main_pid(role, UNITS[0]), main_pid(role, UNITS[1])
    role.sh("cd /etc/role-test && cp -p server.pem server.old && cat server.old ca.pem > server.pem")
    assert role.play().changed == 1
    assert main_pid(role, UNITS[0]) != before
    assert main_pid(role, UNITS[1]) == other
    role.sh("cd /etc/role-test && mv server.old server.pem")
    assert role.play().changed == 1


NEW_PAIR = """
cd /etc/role-test && cp -p server.pem server.old && cp -p server.key key.old
printf 'subjectAltName=DNS:server.test,IP:%s,IP:127.0.0.1\\nextendedKeyUsage=serverAuth\\n' {address} >new.ext
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout new.key -subj /CN=server |
    openssl x509 -req -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile new.ext -out new.pem
cat new.pem >server.pem && cat new.key >server.key
"""


def test_rotate_restarts_it_for_a_new_certificate_and_tells_how_long_it_was_away(role: RoleHost) -> None:
    """FerretDB reads it at its start only. Who is connected loses what is asked at that moment, and comes again."""
    others = main_pid(role, UNITS[1])
    wants = json.dumps({"host": Client(role).place, "options": Client(role).options})
    role.sh(f"printf %s {quote(wants)} >/run/login")
    role.sh(f"systemd-run --quiet --unit asking python3 -c {quote(ASKING)} /run/login; sleep 1")
    try:
        role.sh(NEW_PAIR.format(address=role.address))
        run = role.playbook("rotate", "-e", "what=certificates")
        assert run.code == 0, run.text
        assert re.findall(r"(mdb-\S+) was restarted, and back after [0-9.]+ s", run.words) == ["mdb-full"], run.text
        answers = role.sh("sleep 1; systemctl stop asking; cat /run/answers").splitlines()
        assert len([said for said in answers if said != "ok"]) <= 1, answers
        assert (answers[-1], len(answers) > 50) == ("ok", True)
        assert main_pid(role, UNITS[1]) == others
    finally:
        role.sh("systemctl stop asking 2>/dev/null || true; rm -f /run/answers /run/login")
        role.sh("cd /etc/role-test && mv server.old server.pem && mv key.old server.key && rm -f new.*")
        assert role.play().failed == 0


def test_data_stay_until_told(role: RoleHost) -> None:
    assert role.play(mongodb_instances=third()).code == 0
    client = Client(role, "c", "third", "127.0.0.1:27019")
    client.ask("db.kept.insert_one({'_id': 'yes'}).acknowledged")
    role.sh(f"kill -9 {main_pid(role, 'fedlearn-mdb-third')}; sleep 6")
    assert client.ask("db.kept.find_one()") == {"_id": "yes"}
    absent = [{"name": "mdb-third", "federation": "mdb-one", "state": "absent"}]
    assert role.play(mongodb_instances=absent).changed == 1
    assert role.try_sh("test -e /etc/systemd/system/fedlearn-mdb-third.service")[0] == 1
    assert role.play(mongodb_instances=third()).changed == 1
    assert client.ask("db.kept.find_one()") == {"_id": "yes"}
    gone(role)
    assert role.try_sh("ls -d /var/lib/fedlearn-mdb-third /var/lib/private/fedlearn-mdb-third")[0] != 0


DIGEST = (
    "hashlib.sha256(json.dumps([sorted(db.list_collection_names()), "
    "list(db.kept.find().sort('_id', 1)), sorted(db.kept.index_information())], default=str).encode()).hexdigest()"
)


def test_a_new_host_gets_the_data_back(role: RoleHost, tmp_path: Path) -> None:
    client = Client(role)
    client.ask("db.kept.insert_many([{'_id': n, 'text': 'number %d' % n} for n in range(500)]).acknowledged")
    client.ask("db.kept.create_index('text', unique=True)")
    before = client.ask(DIGEST)
    told = role.sh("age-keygen 2>/dev/null").split()
    public, private = (next(word for word in told if word.startswith(start)) for start in ("age1", "AGE-"))
    run = role.play(entry="backup", mongodb_backup_directory=str(tmp_path), mongodb_backup_recipient=public)
    assert (run.code, run.changed) == (0, 1), run.text
    (file,) = tmp_path.glob("host/mongodb-*.tar.age")
    assert file.read_bytes().startswith(b"age-encryption.org/v1")
    assert tmp_path.joinpath("host").stat().st_mode & 0o777 == 0o700
    assert role.sh("ls /var/tmp | grep ^fedlearn || true") == ""
    client.ask("db.kept.delete_many({'_id': {'$gte': 100}}).deleted_count")
    assert client.ask(DIGEST) != before

    # of the one on PostgreSQL the data stay there, as they would on another host
    store(role).ask("db.there.insert_one({'_id': 'still'}).acknowledged")
    assert role.play(entry="remove", mongodb_remove_data=True).changed >= 1
    own = [FULL, {**STORE, "state": "stopped"}, THEIRS]
    assert role.play(mongodb_instances=own).code == 0
    assert client.ask("db.list_collection_names()") == []
    assert role.play().code == 0
    assert (
        "mongodb_backup_secret: which secret is the key"
        in role.play(entry="restore", mongodb_restore_from=str(file)).words
    )
    keys = {"mongodb_backup_secret": "backup", "canary_backup": private}
    run = role.play("-vvv", entry="restore", mongodb_restore_from=str(file), **keys)
    assert run.code == 0, run.text
    assert private not in run.text
    assert role.sh("ls /var/tmp /var/lib/fedlearn | grep -e ^fedlearn -e restore || true") == ""
    assert client.ask(DIGEST) == before
    assert store(role).ask("db.there.find_one()") == {"_id": "still"}
    assert role.play().changed == 0
    assert role.play(entry="check").code == 0
    client.ask("db.drop_collection('kept')")


def test_a_destroyed_host_comes_back_with_the_postgresql_that_holds_its_data(
    role: RoleHost, host: Any, tmp_path: Path
) -> None:
    """Both are backed up and restored, each by its role."""
    postgresql = RoleHost(host, "postgresql", VARIABLES, ["mdb-pg"])
    clients = (Client(role), store(role))
    for number, client in enumerate(clients):
        texts = f"{{'_id': n, 'text': 'number %d of {number}' % n}}"
        client.ask(f"db.kept.insert_many([{texts} for n in range(500)]).acknowledged")
        client.ask("db.kept.create_index('text', unique=True)")
    before = [client.ask(DIGEST) for client in clients]
    assert len(set(before)) == 2
    files = {}
    for one in (postgresql, role):
        run = one.play(entry="backup", **{f"{one.role}_backup_directory": str(tmp_path)})
        assert run.code == 0, run.text
        (files[one.role],) = tmp_path.glob(f"host/{one.role}-*.tar")

    role.lose()
    for one in (postgresql, role):
        run = one.play()
        assert run.code == 0, run.text
    assert [client.ask("db.list_collection_names()") for client in clients] == [[], []]
    for one in (postgresql, role):
        run = one.play(entry="restore", **{f"{one.role}_restore_from": str(files[one.role])})
        assert run.code == 0, run.text
    assert [client.ask(DIGEST) for client in clients] == before
    for one in (postgresql, role):
        assert one.play(entry="check").code == 0
        assert one.play().changed == 0
    for client in clients:
        client.ask("db.drop_collection('kept')")


def test_a_damaged_backup_is_not_restored(role: RoleHost, tmp_path: Path) -> None:
    assert "which file of" in role.play(entry="restore").words
    client = Client(role)
    client.ask("db.kept.insert_one({'_id': 'yes'}).acknowledged")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "jobs.sqlite").write_text("no database " * 500)
    (tmp_path / "administrator").write_text("fedlearn_0 x")
    with tarfile.open(tmp_path / "damaged.tar", "w") as archive:
        for name in ("mdb-full", "mdb-store"):
            archive.add(tmp_path / "data", f"{name}/data")
            archive.add(tmp_path / "administrator", f"{name}/administrator")
    before = role.state(units=UNITS)
    run = role.play(entry="restore", mongodb_restore_from=str(tmp_path / "damaged.tar"))
    assert run.code == 2
    assert "a file is damaged: nothing was restored" in run.words
    assert role.state(units=UNITS) == before
    assert client.ask("db.kept.find_one()") == {"_id": "yes"}
    client.ask("db.drop_collection('kept')")


def test_remove_leaves_nothing_and_a_clean_host_can_be_checked(role: RoleHost) -> None:
    assert role.play(entry="remove", mongodb_remove_data=True).changed >= 1
    assert role.play(entry="remove", mongodb_remove_data=True).changed == 0
    left = role.sh("find /etc /var/lib /run /opt | grep -e mdb-full -e mdb-store -e ferretdb || true")
    assert left == "", left
    assert role.try_sh("ss -Hltnp | grep -q ferretdb")[0] == 1
    # the external one is the first of ours here, and it is gone
    clean = role.play("--check", mongodb_instances=[FULL, STORE])
    assert (clean.code, clean.failed) == (0, 0), clean.text
    assert role.owned() == []
    assert role.play().changed >= 1
