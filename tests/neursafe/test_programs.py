# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The server's own programs on Python 3.7, with the deployed manifests' environment, against what the stack brought.

The database, the store and the API server are real, and so are job scheduler, model manager, selector and a client. A
double takes the proxy's routes, and what the job scheduler makes in the cluster is a pod that is simulated.
"""

from __future__ import annotations

import base64
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from deployment import NETWORK, NODE, PROGRAM, Whole
from programs import SERVER, Programs

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.neursafe.placements import SERVER_USER
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.neursafe import LOOKS
from tests.support import neursafe_programs

OWNER = (("DB_USERNAME", "username"), ("DB_PASSWORD", "password"))
JOB = {
    "id": "tiny",
    "runtime": "tensorflow",
    "output": "/tiny/output",
    "model_path": "/tiny/model.h5",
    "task_entry": "tiny",
    "hyper_parameters": {"max_round_num": 1, "client_num": 1, "threshold_client_num": 1},
}


@pytest.fixture(scope="module")
def programs(whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programs]:
    if neursafe_programs.missing():
        pytest.skip(neursafe_programs.missing())
    found = Programs(whole, tmp_path_factory.mktemp("programs"))
    try:
        found.begin()
        yield found
    finally:
        found.end()


def test_the_programs_made_their_tables_and_are_well(whole: Whole, programs: Programs) -> None:
    for table in ("jobs", "models"):
        columns = (
            "SELECT column_name, data_type, tableowner FROM information_schema.columns JOIN pg_tables ON table_name = "
            f"tablename WHERE table_name = '{table}' ORDER BY 1"
        )
        well, said = whole.sql("n1", "server", "neursafe_fl", columns)
        assert (well, said) == (True, "data|jsonb|neursafe_fl\nid|integer|neursafe_fl")
    assert [programs.ask(word, "GET", "/api/v1/health")[0] for word in ("scheduler", "models")] == [200, 200]


def test_what_verify_tries_inside_of_pods_holds(whole: Whole, programs: Programs) -> None:
    """But for the proxy, which a double stands in for here (tests/upstream has the real one)."""
    folder = str(programs.workspace / "coordinator_configs")
    reached = {word: f"127.0.0.1:{programs.ports[word]}" for word in ("scheduler", "models", "client")}
    assert programs.looked(
        "nsfl-job-scheduler",
        ("health", "answers", [reached["scheduler"], "/api/v1/health"]),
        ("the model manager's", "answers", [reached["models"], "/api/v1/health"]),
        ("the selector", "speaks_grpc", ["127.0.0.1:50055"]),
        ("a client", "speaks_grpc", [reached["client"]]),
        ("no gRPC", "speaks_grpc", [reached["scheduler"]]),
        ("rows", "writes_rows", [True]),
        ("files", "writes_files", [folder]),
    ) == {
        "health": None,
        "the model manager's": None,
        "the selector": None,
        "a client": None,
        "no gRPC": "doesn't speak HTTP/2",
        "rows": None,
        "files": None,
    }
    rows = ("rows", "writes_rows", [True])
    said = programs.looked("nsfl-job-scheduler", rows, DB_PASSWORD="wrong")["rows"]
    assert "password authentication failed" in str(said)
    owner = whole.kubectl("get", "secret", "pgowner", "-n", SERVER)["data"]
    login = {key: base64.b64decode(owner[word]).decode() for key, word in OWNER}
    assert programs.looked("nsfl-job-scheduler", rows, **login) == {"rows": "it may make tables, too"}
    counted = "SELECT count(*) FROM jobs WHERE data = '{}'"
    assert whole.sql("n1", "server", "neursafe_fl", counted) == (True, "0")


def test_what_is_written_into_a_mount_comes_to_be_in_the_store(whole: Whole, programs: Programs) -> None:
    """On the node, as the pod's user, with the model manager's variables and its own library."""
    environment = programs.environment(programs.pod("nsfl-model-manager")["containers"][0])
    (trust,) = [name for name, value in environment.items() if name == "AWS_CA_BUNDLE"]
    environment |= {trust: "/tmp/store-ca.pem", "PATH": "/usr/bin:/bin"}
    ca = whole.kubectl("get", "configmap", "trust", "-n", SERVER)["data"]["storage.pem"]
    whole.run("n1", f"cat >/tmp/store-ca.pem <<'END'\n{ca}\nEND\n")
    told = " ".join(shlex.quote(f"{name}={value}") for name, value in environment.items())

    def looked(folder: str) -> str:
        looks = json.dumps([("s3", "finds_files_in_s3", [folder, "models"])])
        command = f"{PROGRAM}/bin/python3.7 -c {shlex.quote(LOOKS)} {shlex.quote(looks)}"
        as_pod = f"setpriv --reuid={SERVER_USER} --regid={SERVER_USER} --clear-groups env -i {told} {command}"
        return str(dict(json.loads(whole.run("n1", as_pod)))["s3"])

    assert looked("/mnt/neursafe_fl/models") == "None"
    assert "NoSuchKey" in looked("/mnt/neursafe_fl/default")
    assert "probe" not in whole.run("n1", "ls -A /mnt/neursafe_fl/models /mnt/neursafe_fl/default")


def test_the_model_manager_copies_a_model_from_a_namespace(whole: Whole, programs: Programs) -> None:
    whole.run("n1", "mkdir -p /mnt/neursafe_fl/default/tiny && echo weights >/mnt/neursafe_fl/default/tiny/model.h5")
    config = {"name": "net", "runtime": "tensorflow", "model_path": "default:tiny/model.h5"}
    programs.ask("models", "DELETE", "/api/v1/namespaces/default/models/net")
    status, made = programs.ask("models", "POST", "/api/v1/namespaces/default/models", config)
    assert status == 201, made
    version = made["version_info"]["version"]

    def state() -> str:
        _status, found = programs.ask("models", "GET", f"/api/v1/namespaces/default/models/net?version={version}")
        (one,) = found["models"]["net"]
        return str(one["state"])

    programs.wait(lambda: state() == "ready", "the copied model")
    path = f"/mnt/neursafe_fl/models/default/net/{version}/model.h5"
    assert whole.run("n1", f"cat {path}") == "weights\n"


def test_a_job_becomes_a_coordinator_s_pod_by_the_job_scheduler_s_own_account(whole: Whole, programs: Programs) -> None:
    (programs.workspace / "default" / "tiny").mkdir()
    (programs.workspace / "default" / "tiny" / "model.h5").write_text("weights\n")
    status, said = programs.ask("scheduler", "POST", "/api/v1/namespaces/default/jobs", JOB)
    assert status == 201, said

    programs.wait(lambda: _has_pod(whole, "default-tiny"), "the coordinator's pod")
    found = whole.kubectl("get", "pod", "default-tiny", "-n", "default")
    (container,) = found["spec"]["containers"]
    assert container["image"] == "registry.example:5000/nsfl-coordinator:1.0"
    paths = [one["hostPath"]["path"] for one in found["spec"]["volumes"] if "hostPath" in one]
    assert paths
    assert [path for path in paths if not path.startswith("/mnt/neursafe_fl/")] == []
    assert whole.kubectl("get", "service", "default-tiny", "-n", "default")["spec"]["ports"][0]["port"] == 50051
    data = whole.kubectl("get", "secret", "proxytoken", "-n", SERVER)["data"]
    assert programs.routes[0] == ("default-tiny", "default-tiny:50051", base64.b64decode(data["token"]).decode())
    well, rows = whole.sql("n1", "server", "neursafe_fl", "SELECT data->>'id' FROM jobs WHERE data->>'id' = 'tiny'")
    assert (well, rows) == (True, "tiny")

    assert programs.ask("scheduler", "DELETE", "/api/v1/namespaces/default/jobs/tiny")[0] == 200
    programs.wait(lambda: not _has_pod(whole, "default-tiny"), "the end of the coordinator's pod")


@contextmanager
def api(whole: Whole, port: int) -> Iterator[None]:
    """A port of this machine on that of the node which the proxy's pod would have."""
    at = f"--unit relay --socket-property ListenStream={NODE}:30083"
    relay = f"systemd-run --quiet {at} /lib/systemd/systemd-socket-proxyd {NETWORK}.1:{port}"
    whole.run("n1", f"systemctl stop api; {relay}")
    try:
        yield
    finally:
        whole.run("n1", "systemctl stop relay.socket relay.service")
        whole.answer_api()


def test_an_operator_publishes_a_model_with_nsfl_ctl(whole: Whole, programs: Programs) -> None:
    """By its way to nginx on the node, with a certificate, to the model manager; and to the store with its password."""
    programs.ask("models", "DELETE", "/api/v1/namespaces/default/models/published")
    with api(whole, programs.ports["models"]):
        said = whole.run("s1", "nsfl-ctl health")
        assert ("api server ok" in said, "data server ok" in said) == (True, True), said
        create = "nsfl-ctl create model default published -t tf -l /root/net.h5"
        said = whole.run("s1", f"echo weights >/root/net.h5; {create} 2>&1 || (tail -n 20 /var/log/nsfl.log; exit 1)")
        assert "create model success" in said
        assert "published" in whole.run("s1", "nsfl-ctl get models default 2>&1")
    path = "/mnt/neursafe_fl/models/default/published/V0/net.h5"
    assert whole.run("n1", f"cat {path}") == "weights\n"


def test_an_operator_creates_a_job_with_nsfl_ctl(whole: Whole, programs: Programs) -> None:
    (programs.workspace / "default" / "first").mkdir()
    (programs.workspace / "default" / "first" / "model.h5").write_text("weights\n")
    config = json.dumps({**JOB, "id": "first", "model_path": "/first/model.h5", "output": "/first/output"})
    with api(whole, programs.ports["scheduler"]):
        lay = f"mkdir -p /root/first && echo {shlex.quote(config)} >/root/first/config.json"
        said = whole.run(
            "s1", f"{lay}; nsfl-ctl create job -f /root/first/config.json default 2>&1 || tail /var/log/nsfl.log"
        )
        assert "create job success" in said, said
        assert "first" in whole.run("s1", "nsfl-ctl get job default first 2>&1")
    programs.wait(lambda: _has_pod(whole, "default-first"), "the coordinator's pod")
    assert programs.ask("scheduler", "DELETE", "/api/v1/namespaces/default/jobs/first")[0] == 200
    programs.wait(lambda: not _has_pod(whole, "default-first"), "the end of the coordinator's pod")


def _has_pod(whole: Whole, name: str) -> bool:
    return name in [one["metadata"]["name"] for one in whole.kubectl("get", "pods", "-n", "default")["items"]]
