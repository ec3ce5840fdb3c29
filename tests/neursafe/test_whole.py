# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a stack brings on hosts: who comes to the database and the store as whom, what nodes mount, and its client.

Database, store, mounts and the cluster's API are the programs, and so are client and selector where they are given;
else these are doubles. Pods are simulated: what they would do is tried by their logins, from the node they come from.
"""

from __future__ import annotations

import base64
import json
import re
import shlex
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from deployment import CONTAINERS, NODE, REAL, ROOM, STORE, Document, Whole
from managers import Managers

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.neursafe.placements import (
    CLIENT_USER,
    SERVER_USER,
)

CREATE = "CREATE TABLE {} (id serial PRIMARY KEY, data jsonb)"
"""As the program's own code makes it (libs/db/postgre/postgre.py)."""
INSERT = 'INSERT INTO {} (data) VALUES (\'{{"id": "a"}}\')'
UPDATE = 'UPDATE {} SET data = data || \'{{"done": true}}\' WHERE data @> \'{{"id": "a"}}\''
SERVER = "whole-imaging-server"
FOLDERS = ("coordinator_configs", "models", "default", "radiology")


def test_a_second_run_changes_nothing(whole: Whole) -> None:
    before = whole.files()
    again = whole.site()
    assert set(re.findall(r"changed=(\d+)", again.output)) == {"0"}, again.output[-4000:]
    assert whole.files() == before


# -- the database


def test_the_program_s_tables_are_made_by_their_owner_and_written_by_the_server(whole: Whole) -> None:
    for table in ("jobs", "models"):
        whole.sql("n1", "tables", "neursafe_fl", f"DROP TABLE IF EXISTS {table}")
        assert whole.sql("n1", "tables", "neursafe_fl", CREATE.format(table)) == (True, "")
        assert whole.sql("n1", "server", "neursafe_fl", INSERT.format(table)) == (True, "")
        assert whole.sql("n1", "server", "neursafe_fl", UPDATE.format(table)) == (True, "")
        found = f"SELECT data->>'done' FROM {table} WHERE data @> '{{\"id\": \"a\"}}'"
        assert whole.sql("n1", "server", "neursafe_fl", found) == (True, "true")
        # the programs take every row for one of theirs
        assert whole.sql("n1", "server", "neursafe_fl", f"DELETE FROM {table}") == (True, "")
    columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'jobs' ORDER BY 1"
    assert whole.sql("n1", "server", "neursafe_fl", columns) == (True, "data|jsonb\nid|integer")


def test_the_server_makes_and_drops_no_tables(whole: Whole) -> None:
    for statement in (CREATE.format("more"), "DROP TABLE jobs", "CREATE ROLE other", "TRUNCATE jobs"):
        well, said = whole.sql("n1", "server", "neursafe_fl", statement)
        assert (well, "permission denied" in said or "must be owner" in said) == (False, True), said


def test_a_client_has_a_database_of_its_own_and_reaches_no_other(whole: Whole) -> None:
    assert whole.sql("n1", "tables-near", "neursafe_fl_near", "DROP TABLE IF EXISTS tasks")[0]
    assert whole.sql("n1", "tables-near", "neursafe_fl_near", CREATE.format("tasks")) == (True, "")
    assert whole.sql("n1", "client-near", "neursafe_fl_near", INSERT.format("tasks")) == (True, "")
    for login, database in (("client-near", "neursafe_fl"), ("server", "neursafe_fl_near")):
        well, said = whole.sql("n1", login, database, "SELECT 1")
        assert (well, "no pg_hba.conf entry" in said) == (False, True), said


def test_who_isn_t_a_node_doesn_t_come_in(whole: Whole) -> None:
    whole.run("s1", "command -v psql >/dev/null")
    well, said = whole.sql("s1", "server", "neursafe_fl", "SELECT 1")
    assert (well, f'no pg_hba.conf entry for host "{STORE}"' in said) == (False, True), said


def test_nobody_comes_in_plain(whole: Whole) -> None:
    well, said = whole.sql("n1", "server", "neursafe_fl", "SELECT 1", options="sslmode=disable")
    assert (well, "no pg_hba.conf entry" in said) == (False, True), said


# -- the store, and what nodes mount


def test_each_folder_is_mounted_for_the_pods_user(whole: Whole) -> None:
    for folder in FOLDERS:
        path = f"/mnt/neursafe_fl/{folder}"
        assert whole.run("n1", f"findmnt -no FSTYPE --mountpoint {path}").strip() == "fuse.s3fs"
        as_pod = f"setpriv --reuid={SERVER_USER} --regid={SERVER_USER} --clear-groups sh -c"
        whole.run("n1", f"{as_pod} 'echo {folder} >{path}/canary && mkdir -p {path}/job && cat {path}/canary'")
        assert whole.run("n1", f"stat -c '%u:%g %a' {path}").strip() == f"{SERVER_USER}:{SERVER_USER} 770"


def test_who_logs_in_first_on_a_node_has_nothing_of_it(whole: Whole) -> None:
    whole.run("n1", "id 1000 >/dev/null 2>&1 || useradd --create-home --uid 1000 --shell /bin/bash first")
    for number in (1000, CLIENT_USER):
        for does in ("cat {}/canary", "ls {}", "touch {}/mine"):
            path = "/mnt/neursafe_fl/models"
            as_other = f"setpriv --reuid={number} --regid={number} --clear-groups sh -c"
            said = whole.run("n1", f"{as_other} '{does.format(path)}' 2>&1 || true").strip()
            assert said.endswith("Permission denied"), said
        said = whole.run("n1", f"setpriv --reuid={number} --clear-groups touch /mnt/neursafe_fl/mine 2>&1 || true")
        assert said.strip().endswith("Permission denied"), said


def test_a_number_that_somebody_logs_in_with_is_refused(whole: Whole) -> None:
    whole.run("n1", "id 1000 >/dev/null 2>&1 || useradd --create-home --uid 1000 --shell /bin/bash first")
    name = whole.run("n1", "id --user --name 1000").strip()
    whole.write(lambda document: document["stacks"]["imaging"]["server"].update(user=1000))
    try:
        done = whole.playbook("fedlearn.infra.precheck")
        assert done.returncode == 2
        told = f"/mnt/neursafe_fl/models is kept for user and group 1000, and {name} would have what lies there"
        assert told in done.output, done.output[-3000:]
    finally:
        whole.write()
    assert whole.playbook("fedlearn.infra.precheck").returncode == 0


def test_the_model_manager_copies_from_a_namespace_to_the_models_by_s3(whole: Whole) -> None:
    whole.run("n1", "echo weights >/mnt/neursafe_fl/default/trained.h5")
    said = whole.s3(
        "models",
        "source = {'Bucket': 'default', 'Key': 'trained.h5'}\n"
        # the program's own key begins so
        "client.copy(source, 'models', '/default/net/V0/trained.h5')\n"
        "there = client.head_object(Bucket='models', Key='/default/net/V0/trained.h5')\n"
        "print(json.dumps(there['ContentLength']))\n",
    )
    assert said == len("weights\n")
    assert whole.run("n1", "cat /mnt/neursafe_fl/models/default/net/V0/trained.h5") == "weights\n"


DONE, DENIED = "done", "AccessDenied"


@pytest.mark.parametrize(
    ("login", "call", "bucket", "end"),
    [
        ("models", "put_object", "models", DONE),
        ("models", "put_object", "default", DENIED),
        ("models", "list_objects_v2", "radiology", DONE),
        ("models", "list_objects_v2", "coordinator-configs", DENIED),
        ("nodes", "put_object", "coordinator-configs", DONE),
        ("operators", "put_object", "radiology", DONE),
        ("operators", "put_object", "models", DONE),
        ("operators", "list_objects_v2", "coordinator-configs", DENIED),
        ("operators", "create_bucket", "mine", DENIED),
        ("nodes", "delete_bucket", "models", DENIED),
    ],
)
def test_each_purpose_has_its_own_rights_in_the_store(
    whole: Whole, login: str, call: str, bucket: str, end: str
) -> None:
    more = ", Key='canary-of-rights', Body=b'x'" if call == "put_object" else ""
    assert whole.s3(login, f"print(json.dumps(tried({call!r}, Bucket={bucket!r}{more})))") == end


def test_a_mount_whose_program_was_killed_comes_back(whole: Whole) -> None:
    whole.run("n1", "echo before >/mnt/neursafe_fl/default/kept && pkill -KILL -f 's3fs default '")
    again = "for _ in $(seq 60); do cat /mnt/neursafe_fl/default/kept 2>/dev/null && exit 0; sleep 1; done; exit 1"
    assert whole.run("n1", again) == "before\n"


@pytest.mark.parametrize(("propagation", "seen"), [("slave", "again\n"), ("private", "")])
def test_a_container_that_has_the_mounts_parent_sees_a_mount_again_by_the_propagation_that_pods_have(
    whole: Whole, propagation: str, seen: str
) -> None:
    """HostToContainer is `slave`; with another a pod would have lost its files for good."""
    spec = whole.kubectl("get", "deployment", "nsfl-model-manager", "-n", SERVER)["spec"]["template"]["spec"]
    (mount,) = [one for one in spec["containers"][0]["volumeMounts"] if one["name"] == "shared"]
    assert mount["mountPropagation"] == "HostToContainer"
    path = "/mnt/neursafe_fl/default/again"
    whole.run("n1", f"echo again >{path}")
    unit = f"--unit pod-{propagation} --property MountFlags={propagation}"
    whole.run("n1", f"systemd-run --quiet {unit} sleep 600")
    inside = f"nsenter --mount --target $(systemctl show --property MainPID --value pod-{propagation}) cat {path}"
    try:
        assert whole.run("n1", inside) == "again\n"
        whole.run("n1", "pkill -KILL -f 's3fs default '")
        outside = f"for _ in $(seq 60); do cat {path} 2>/dev/null && exit 0; sleep 1; done; exit 1"
        assert whole.run("n1", outside) == "again\n"
        assert whole.run("n1", f"{inside} 2>/dev/null || true") == seen
    finally:
        whole.run("n1", f"systemctl stop pod-{propagation}")


# -- the cluster


def test_pods_are_told_who_they_are_and_where_the_database_is(whole: Whole) -> None:
    secrets = whole.secrets()
    for name, login in (("pgsecret", "server"), ("pgowner", "tables"), ("miniosecret", "models")):
        data = whole.kubectl("get", "secret", name, "-n", SERVER)["data"]
        told = {key: base64.b64decode(value).decode() for key, value in data.items()}
        key = f"imaging_{login}_{'storage' if login == 'models' else 'database'}"
        assert told == {"username": f"{login}_a", "password": secrets[key]}
    trust = whole.kubectl("get", "configmap", "trust", "-n", SERVER)["data"]
    ca = (ROOM / "public" / "lab" / "lab.pem").read_text()
    assert trust == {"database.pem": ca, "storage.pem": ca}
    spec = whole.kubectl("get", "deployment", "nsfl-job-scheduler", "-n", SERVER)["spec"]["template"]["spec"]
    assert spec["hostAliases"] == [{"ip": STORE, "hostnames": ["whole-imaging-database"]}]


def test_clients_on_hosts_are_known_to_the_selector(whole: Whole) -> None:
    said = whole.known_clients()
    if REAL:
        assert "Update client Type single" in said
    else:
        places = {f"{NODE}:22000": "ward", f"{STORE}:22000": "boxed", f"{NODE}:22002": "podded"}
        assert json.loads(said) == {
            place: {"address": place, "data": [], "label": label} for place, label in places.items()
        }


HEARD = "Register client success|Report client to server success"
in_containers = pytest.mark.parametrize("name", CONTAINERS)


def unit_of(name: str) -> str:
    return f"fedlearn-whole-imaging-client-{name}"


def boxed(whole: Whole, name: str) -> dict[str, Any]:
    """The container of a client that has one, as its engine knows it."""
    host, engine, _lay = CONTAINERS[name]
    (found,) = json.loads(whole.run(host, f"{engine} inspect {unit_of(name)}"))
    return dict(found)


def becomes_known(whole: Whole, host: str, unit: str) -> None:
    start = f"$(systemctl show --property InvocationID --value {unit})"
    said = f"journalctl --quiet --output=cat _SYSTEMD_INVOCATION_ID={start} | grep -qE '{HEARD}'"
    whole.run(host, f"for _ in $(seq 60); do {said} && exit 0; sleep 1; done; exit 1")


@in_containers
def test_a_client_in_a_container_has_its_image_by_digest_and_no_rights(whole: Whole, name: str) -> None:
    (host, _engine, _lay), unit = CONTAINERS[name], unit_of(name)
    becomes_known(whole, host, unit)
    found = boxed(whole, name)
    assert found["Config"]["Image"] == whole.images[name]
    limits = found["HostConfig"]
    assert (limits["NetworkMode"], limits["ReadonlyRootfs"]) == ("host", True)
    assert limits["SecurityOpt"] == ["no-new-privileges"]
    assert (limits["Memory"], limits["PidsLimit"]) == (16 << 30, 4096)
    status = whole.run(host, f"cat /proc/{found['State']['Pid']}/status")
    assert re.findall(r"Cap(?:Prm|Eff|Bnd):\s+(\w+)", status) == 3 * [16 * "0"]
    user = whole.run(host, f"stat -c %u:%g /var/lib/private/{unit}").strip()
    assert (found["Config"]["User"], int(user.partition(":")[0]) > 61000) == (user, True)
    exposure = whole.run(host, f"systemd-analyze security --no-pager {unit}.service | tail -n 1")
    assert float(re.findall(r"[0-9]+\.[0-9]", exposure)[0]) <= 2.5
    address, port = {"s1": (STORE, 22000), "n1": (NODE, 22002)}[host]
    assert whole.run(host, f"ss -Hltn '( sport = :{port} )'").split()[3] == f"{address}:{port}"


@in_containers
def test_a_container_ends_with_its_unit_and_comes_back_when_what_asked_for_it_was_killed(
    whole: Whole, name: str
) -> None:
    (host, engine, _lay), unit = CONTAINERS[name], unit_of(name)
    first = boxed(whole, name)["Id"]
    whole.run(host, f"systemctl kill --signal KILL --kill-who main {unit}")
    now = f"now=$({engine} inspect --format '{{{{.Id}}}}' {unit} 2>/dev/null)"
    whole.run(host, f"for _ in $(seq 60); do {now} && [ $now != {first} ] && exit 0; sleep 1; done; exit 1")
    becomes_known(whole, host, unit)
    assert whole.run(host, f"{engine} ps --quiet --all | wc -l").strip() == "1"
    whole.run(host, f"systemctl stop {unit}")
    assert whole.run(host, f"{engine} ps --quiet --all") == ""
    assert whole.run(host, f"systemctl is-failed {unit} || true").strip() == "inactive"
    whole.run(host, f"systemctl start {unit}")
    becomes_known(whole, host, unit)


@in_containers
def test_an_image_that_can_t_be_pulled_leaves_the_client_as_it_is(whole: Whole, name: str) -> None:
    host = CONTAINERS[name][0]
    before = boxed(whole, name)["Id"]
    image = whole.images[name].rpartition("@")[0] + "@sha256:" + 64 * "0"
    whole.write(lambda document: document["stacks"]["imaging"]["clients"][name]["container"].update(image=image))
    try:
        done = whole.playbook("fedlearn.infra.site", "--limit", host)
        assert (done.returncode, "manifest unknown" in done.output) == (2, True), done.output[-3000:]
    finally:
        whole.write()
    assert boxed(whole, name)["Id"] == before
    assert whole.playbook("fedlearn.infra.site", "--limit", host).returncode == 0
    assert boxed(whole, name)["Id"] == before


WITHOUT_CERTIFICATE = """
import socket, ssl
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
try:
    there = context.wrap_socket(socket.create_connection((given_host, given_port)))
    there.sendall(b'{"call": "List"}\\n')
    print("came in" if there.recv(10) else "cut off")
except OSError as error:
    print("cut off")
"""


def test_a_client_goes_by_its_own_way_to_nginx_on_the_node(whole: Whole) -> None:
    setup = json.loads(whole.run("n1", "cat /etc/fedlearn/whole/whole-imaging-client-k/setup.json"))
    assert (setup["server"], setup["external_address"]) == ("127.0.0.1:22091", f"{NODE}:22000")
    lines = whole.run("n1", "ss -Hltn '( sport = :22091 or sport = :30093 or sport = :30084 )'").splitlines()
    assert {line.split()[3] for line in lines} == {"127.0.0.1:22091", f"{NODE}:30093", f"{NODE}:30084"}
    script = WITHOUT_CERTIFICATE.replace("given_host", repr(NODE)).replace("given_port", "30093")
    assert whole.run("s1", f"python3 - <<'END'\n{script}END\n").strip() == "cut off"


ASK = """
import urllib.error, urllib.request
try:
    print(urllib.request.urlopen(given, timeout=20).status)
except urllib.error.HTTPError as error:
    print(error.code, error.read())
"""


def test_operators_reach_the_api_by_their_own_way(whole: Whole) -> None:
    def asked(url: str) -> str:
        return whole.run("s1", f"python3 - <<'END'\n{ASK.replace('given,', repr(url) + ',')}END\n").strip()

    assert asked("http://127.0.0.1:8088/api/v1/health").startswith("200")
    assert asked("http://127.0.0.1:8088/metrics").startswith("404 ")
    whole.run("n1", "systemctl stop api")
    try:
        assert asked("http://127.0.0.1:8088/api/v1/health").startswith("502 ")
        done = whole.playbook("fedlearn.infra.verify")
        assert (done.returncode, "nsfl-ctl health" in done.output) == (2, True), done.output[-3000:]
    finally:
        whole.answer_api()


def test_nsfl_ctl_is_set_up_for_root(whole: Whole) -> None:
    told = whole.run("s1", "nsfl-ctl get config")
    for word in ("127.0.0.1:8088", f"https://{STORE}:9000", "operators"):
        assert word in told
    assert whole.run("s1", "stat -c %a /etc/nsfl.json").strip() == "600"
    assert whole.secrets()["imaging_operators_storage"] not in whole.run("s1", "cat /etc/nsfl.json; ps axww -o args")


@pytest.mark.parametrize("mode", ["probe", "round"])
def test_verify_looks_at_all_of_it_and_takes_no_pod_that_is_simulated_for_the_program(whole: Whole, mode: str) -> None:
    done = whole.playbook("fedlearn.infra.verify", "-e", f"verify={mode}")
    assert done.returncode == 0, done.output[-4000:]
    report = json.loads((ROOM.parent / "whole" / "verify.json").read_text())["stacks"]["imaging"]
    assert (report["mode"], report["real"], report["passed"]) == (mode, False, None)


def test_a_store_that_is_away_is_told(whole: Whole) -> None:
    unit = "fedlearn-whole-imaging-storage"
    whole.run("s1", f"systemctl stop {unit}")
    try:
        done = whole.playbook("fedlearn.infra.verify")
        assert done.returncode == 2
        assert "whole-imaging-storage" in done.output
    finally:
        whole.run("s1", f"systemctl start {unit}")
    whole.becomes_healthy()


# -- changes


def test_another_namespace_is_a_bucket_and_a_mount_more(whole: Whole) -> None:
    def more(document: Document) -> None:
        document["stacks"]["imaging"]["namespaces"].append("oncology")

    whole.write(more)
    try:
        whole.site()
        assert whole.run("n1", "findmnt -no SOURCE --mountpoint /mnt/neursafe_fl/oncology").strip() != ""
        assert whole.s3("operators", "print(json.dumps(tried('list_objects_v2', Bucket='oncology')))") == DONE
    finally:
        whole.write()
        whole.site("-e", "fedlearn_prune=true")
    assert whole.run("n1", "findmnt -no SOURCE --mountpoint /mnt/neursafe_fl/oncology || true") == ""
    assert whole.s3("operators", "print(json.dumps(tried('list_objects_v2', Bucket='oncology')))") == DENIED


def moment(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()


def changed(kind: str, events: list[dict[str, Any]]) -> dict[str, float]:
    """When each of a kind was first changed by this collection."""
    ours = [one for one in events if one["verb"] == "patch" and one["objectRef"]["resource"] == kind]
    return {one["objectRef"]["name"]: moment(one) for one in reversed(ours) if "subresource" not in one["objectRef"]}


def logins_over_time(whole: Whole) -> tuple[float, float]:
    """When the server's second login was first known to the database, and its first one no more."""
    rows = [line.split() for line in whole.run("s1", "cat /run/logins").splitlines()]
    seen = [(float(words[0]), set(words[1:])) for words in rows]
    assert seen[0][1] == {"server_a"}
    assert seen[-1][1] == {"server_b"}
    return next(at for at, who in seen if "server_b" in who), next(at for at, who in seen if "server_a" not in who)


def test_passwords_are_replaced_one_login_after_the_other(whole: Whole, tmp_path: Path) -> None:
    """Begun, let in, rolled out and mounted anew, and then withdrawn: the last in this file that comes by `a`.

    All the while two model managers are asked, and no request fails; `REAL` says whether they are the programs.
    """
    ask = "runuser -u postgres -- psql -XAtq -h /run/fedlearn-whole-imaging-database -c"
    known = "SELECT string_agg(rolname, ' ') FROM pg_roles WHERE rolcanlogin AND rolname LIKE 'server%'"
    every = f'while sleep 0.5; do echo "$(date +%s.%N) $({ask} "{known}")"; done >/run/logins'
    whole.run("s1", f"systemd-run --quiet --unit logins sh -c {shlex.quote(every)}")
    before = len(whole.cluster.audited())
    with Managers(whole, tmp_path) as managers:
        done = whole.playbook("fedlearn.infra.rotate", "-e", "what=passwords")
    whole.run("s1", "systemctl stop logins")
    assert done.returncode == 0, done.output[-6000:]
    print(f"{'programs' if REAL else 'doubles'}: {dict(managers.answers)} in {managers.replaced} replacements")
    assert set(managers.answers) == {"well"}
    assert managers.answers["well"] > 100
    assert (managers.replaced, set(managers.logins.values())) == (1, {"server_b"})
    if REAL:
        assert managers.unfinished() == "0"
    let_in, withdrawn = logins_over_time(whole)
    changes = [one for one in whole.cluster.audited()[before:] if one["objectRef"].get("namespace") == SERVER]
    told = changed("secrets", changes)
    rolled_out = changed("deployments", changes)
    assert (set(told), set(rolled_out)) == (
        {"pgsecret", "pgowner", "miniosecret"},
        {"nsfl-job-scheduler", "nsfl-model-manager"},
    )
    ready = [one for one in changes if one["objectRef"].get("subresource") == "status" and one["verb"] == "patch"]
    # the next is let in; pods are told of it and roll out; they are there; and only then the former one is withdrawn
    assert let_in < min(told.values()) <= max(told.values()) < min(rolled_out.values())
    assert max(rolled_out.values()) < max(map(moment, ready)) < withdrawn
    data = whole.kubectl("get", "secret", "pgsecret", "-n", SERVER)["data"]
    assert base64.b64decode(data["username"]) == b"server_b"
    users = "SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname LIKE 'server%'"
    well, said = whole.sql("n1", "server", "neursafe_fl", users)
    assert (well, said) == (True, "server_b"), said
    whole.run("n1", "echo after >/mnt/neursafe_fl/default/after && cat /mnt/neursafe_fl/default/after")
    assert set(re.findall(r"changed=(\d+)", whole.site().output)) == {"0"}


def test_removal_leaves_data_only(whole: Whole) -> None:
    done = whole.playbook("fedlearn.infra.remove")
    assert done.returncode == 0, done.output[-4000:]
    assert whole.run("n1", "findmnt -t fuse.s3fs || true") == ""
    for host in ("s1", "n1"):
        assert (
            whole.run(host, "ls -d /etc/systemd/system/fedlearn-* /etc/fedlearn/whole/whole-* 2>/dev/null || true")
            == ""
        )
    left = whole.cluster.kubectl("get", "namespace", SERVER)
    assert "not found" in left.stderr
    assert whole.run("s1", "ls -d /var/lib/fedlearn-whole-imaging-*").split() != []
