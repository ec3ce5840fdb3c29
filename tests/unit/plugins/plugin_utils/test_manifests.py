# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What instances of neursafe_server and neursafe_client are in a cluster."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import threading
import types
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.api import KINDS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.neursafe.placements import COMPONENTS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.neursafe.settings import RESERVED
from ansible_collections.fedlearn.infra.plugins.plugin_utils._images.record import Record, RecordError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests import neursafe_looks, neursafe_round, parts
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.catalogue import MANIFESTS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.neursafe import check_clients, check_servers
from tests.support import recorded_schemas

REQUIRED = (
    "DB_ADDRESS DB_USERNAME DB_PASSWORD DB_TYPE DB_NAME DB_COLLECTION_NAME HTTP_PORT SELECTOR_ADDRESS "
    "JOB_SCHEDULER_ADDRESS MODEL_MANAGER_ADDRESS SOURCE_MOUNT_PATH TEMP_DIR COORDINATOR_IMAGE PROXY_ADDRESS K8S_ADDRESS"
)
"""What the job scheduler looks for before it starts (REQUIRED_ENV_VARIABLES)."""

INSTANCE: dict[str, Any] = {
    "name": "demo-imaging-server",
    "images": {"registry": "registry.example:5000", "tag": "1.0"},
    "storage": {"type": "posix"},
    "database": {"address": "10.20.0.13:5432", "username": "neursafe", "secret": "database"},
    "token": "token",
}
OLD = dict.fromkeys(("token", "database", "owner"), "old")
DEPLOYMENTS = ("nsfl-job-scheduler", "nsfl-model-manager", "nsfl-client-selector", "nsfl-proxy")


class Known:
    """Secrets whose values are told, or made of their names; those that come in turns are of the turn that is told."""

    def __init__(self, values: dict[str, str] | None = None, turn: str = "a") -> None:
        self.values, self.newest = values, turn

    def __call__(self, name: str) -> str:
        return f"value of {name}" if self.values is None else self.values[name]

    def turn(self, _name: str) -> str:
        return self.newest


def text_of(path: str) -> str:
    """A file of certificates."""
    return f"-----BEGIN CERTIFICATE-----\n{path}\n-----END CERTIFICATE-----\n"


def objects(secrets: Known | None = None, **more: Any) -> list[dict[str, Any]]:
    (instance,) = check_servers([INSTANCE | more])
    return MANIFESTS["neursafe_server"].objects(instance, secrets or Known(), text_of)


def named(found: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (one,) = [one for one in found if one["kind"] == kind and one["metadata"]["name"] == name]
    return one


def pod(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return dict(named(found, "Deployment", name)["spec"]["template"]["spec"])


def containers(found: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for name in DEPLOYMENTS:
        spec = pod(found, name)
        yield from (*spec.get("initContainers", ()), *spec["containers"])


def variables(found: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (program,) = pod(found, name)["containers"]
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in program["env"]}


def digests(found: list[dict[str, Any]]) -> dict[str, str]:
    metadata = {name: named(found, "Deployment", name)["spec"]["template"]["metadata"] for name in DEPLOYMENTS}
    return {name: one["annotations"][parts.CONTENT] for name, one in metadata.items()}


def rolled_out(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> set[str]:
    """The deployments whose pods differ."""
    return {name for name in DEPLOYMENTS if named(before, "Deployment", name) != named(after, "Deployment", name)}


def test_every_kind_is_one_that_is_applied_and_every_name_is_one() -> None:
    found = objects()
    assert {one["kind"] for one in found} <= KINDS.keys()
    assert all(KINDS[one["kind"]].version == one["apiVersion"] for one in found)
    assert all(("namespace" in one["metadata"]) == KINDS[one["kind"]].namespaced for one in found)
    keys = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in found]
    assert len(set(keys)) == len(keys)


def test_no_service_can_have_the_name_of_anything_else() -> None:
    database = {**INSTANCE["database"], "engine": "mongodb", "ca": "/ca.pem"}
    stacks = objects(database=database), client_objects(database=database, images={"tag": "1.0"})
    names = {"default"}  # the account that Kubernetes makes
    for found in stacks:
        own = [one["metadata"]["name"] for one in found if one["kind"] == "Deployment"]
        known = [
            one["metadata"]["name"] for one in found if one["metadata"].get("namespace") and one["kind"] != "Secret"
        ]
        for name in own:
            spec = pod(found, name)
            known += [one["name"] for key in ("containers", "initContainers", "volumes") for one in spec.get(key, ())]
        names |= {*known} - {*own, *(f"{name}-nodes" for name in own), found[0]["metadata"]["name"]}
    assert names == set(RESERVED)


def test_the_job_scheduler_has_all_that_it_asks_for() -> None:
    found = variables(objects(), "nsfl-job-scheduler")
    assert [name for name in (*REQUIRED.split(), "TOKEN") if name not in found] == []
    inside = "demo-imaging-server.svc.cluster.local"
    assert found["MODEL_MANAGER_ADDRESS"] == f"nsfl-model-manager.{inside}:50057"
    assert found["PROXY_ADDRESS"] == f"nsfl-proxy.{inside}:8092"
    assert (found["K8S_ADDRESS"], found["K8S_API_PROTOCOL"]) == ("127.0.0.1:8001", "http")
    assert (found["SOURCE_MOUNT_PATH"], found["WORKSPACE"]) == ("/mnt/neursafe_fl", "/shared/neursafe_fl")
    assert found["COORDINATOR_IMAGE"] == "registry.example:5000/nsfl-coordinator:1.0"
    assert found["DB_TYPE"] == "postgreSQL"


def test_every_value_of_an_environment_is_a_text() -> None:
    found = objects(settings={"job_scheduler": {"options": {"REPORT_PERIOD": 10}}})
    assert variables(found, "nsfl-job-scheduler")["REPORT_PERIOD"] == "10"
    values = [one["value"] for each in containers(found) for one in each["env"] if "value" in one]
    assert values
    assert [value for value in values if not isinstance(value, str)] == []


def test_no_container_may_do_anything_but_its_work() -> None:
    found = objects()
    for each in containers(found):
        assert each["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert each["resources"]["limits"]["memory"] == each["resources"]["requests"]["memory"]
    for name in DEPLOYMENTS:
        spec = pod(found, name)
        assert (spec["securityContext"]["runAsNonRoot"], spec["automountServiceAccountToken"]) == (True, False)
        assert [one for one in spec["volumes"] if "hostPath" in one] == []
        assert named(found, "Deployment", name)["spec"]["strategy"] == {"type": "Recreate"}


def test_only_the_sidecar_has_the_account_s_token() -> None:
    spec = pod(objects(), "nsfl-job-scheduler")
    mounted = [
        each["name"]
        for each in (*spec["initContainers"], *spec["containers"])
        if any(mount["name"] == "account" for mount in each["volumeMounts"])
    ]
    assert mounted == ["kubectl-proxy"]
    (sidecar,) = [each for each in spec["initContainers"] if each["name"] == "kubectl-proxy"]
    assert sidecar["restartPolicy"] == "Always"
    assert "--address=127.0.0.1" in sidecar["args"]


def test_the_selector_is_asked_by_tcp_and_all_others_by_their_health() -> None:
    asked = {name: pod(objects(), name)["containers"][0]["readinessProbe"] for name in DEPLOYMENTS}
    assert asked["nsfl-client-selector"]["tcpSocket"] == {"port": 50055}
    paths = {name: probe["httpGet"]["path"] for name, probe in asked.items() if "httpGet" in probe}
    assert paths == dict.fromkeys(set(DEPLOYMENTS) - {"nsfl-client-selector"}, "/api/v1/health")


def test_the_shared_directory_is_seen_again_when_it_is_mounted_anew() -> None:
    found = objects(shared_directory="/srv/federated/files")
    assert named(found, "PersistentVolume", "demo-imaging-server")["spec"]["hostPath"]["path"] == "/srv/federated"
    mount = {"name": "shared", "mountPath": "/shared", "mountPropagation": "HostToContainer"}
    for name in ("nsfl-job-scheduler", "nsfl-model-manager"):
        assert mount in pod(found, name)["containers"][0]["volumeMounts"]
    (folders, _table, _sidecar) = pod(found, "nsfl-job-scheduler")["initContainers"]
    assert folders["command"] == [
        "mkdir",
        "-p",
        "-m",
        "0770",
        "--",
        *(f"/shared/files/{name}" for name in ("coordinator_configs", "models", "default")),
    ]


@pytest.mark.parametrize(
    ("images", "image", "policy"),
    [
        ({"tag": "1.0"}, "nsfl-proxy:1.0", "IfNotPresent"),
        ({"registry": "r.example", "tag": "1.0"}, "r.example/nsfl-proxy:1.0", "Always"),
        (
            {"registry": "r.example/a", "tag": "1.0", "digests": {"proxy": f"sha256:{'a' * 64}"}},
            f"r.example/a/nsfl-proxy:1.0@sha256:{'a' * 64}",
            "IfNotPresent",
        ),
    ],
)
def test_a_digest_is_pulled_once_and_a_tag_asked_for(images: dict[str, Any], image: str, policy: str) -> None:
    (program,) = pod(objects(images=images), "nsfl-proxy")["containers"]
    assert (program["image"], program["imagePullPolicy"]) == (image, policy)


def test_what_was_built_is_pinned_by_the_digests_that_were_recorded() -> None:
    digests = {word: f"sha256:{number * 64}" for number, word in enumerate_words()}
    record = Record("r.example/fl", "1.0", "sha256:made", digests)
    images = {"registry": "r.example/fl", "tag": "1.0", "record": "/images.json"}
    (instance,) = check_servers([INSTANCE | {"images": images}])
    assert MANIFESTS["neursafe_server"].files(instance) == ["/images.json"]
    found = MANIFESTS["neursafe_server"].objects(instance, Known(), {"/images.json": record.text()}.__getitem__)
    told = {each["image"] for each in containers(found)}
    told.add(variables(found, "nsfl-job-scheduler")["COORDINATOR_IMAGE"])
    assert told - {"registry.k8s.io/kubectl:v1.34.4"} == {
        f"r.example/fl/nsfl-{word}:1.0@{digests[word]}" for word in COMPONENTS
    }


def enumerate_words() -> Iterator[tuple[str, str]]:
    return ((str(number), word) for number, word in enumerate(COMPONENTS, start=1))


def test_a_record_of_another_tag_is_refused() -> None:
    record = Record("r.example", "1.0", "sha256:made", {})
    (instance,) = check_servers([INSTANCE | {"images": {"registry": "r.example", "tag": "1.1", "record": "/i.json"}}])
    with pytest.raises(RecordError, match=r"/i\.json is of r\.example, tag 1\.0, and r\.example, tag 1\.1 is"):
        MANIFESTS["neursafe_server"].objects(instance, Known(), lambda _path: record.text())


def test_an_own_image_wins() -> None:
    found = objects(settings={"proxy": {"image": "own.example/proxy:7"}, "coordinator": {"image": "own.example/c:7"}})
    assert pod(found, "nsfl-proxy")["containers"][0]["image"] == "own.example/proxy:7"
    assert variables(found, "nsfl-job-scheduler")["COORDINATOR_IMAGE"] == "own.example/c:7"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("client-key-data: LS0tLS1CRUdJTg==\n", "r.pem has no certificate: it is to hold those of a CA, as PEM"),
        (
            text_of("r.pem") + "-----BEGIN PRIVATE KEY-----\na\n-----END PRIVATE KEY-----\n",
            "r.pem has a PRIVATE KEY, and all in the cluster could read it: leave certificates alone",
        ),
    ],
)
def test_what_is_no_certificate_is_told_to_nobody(text: str, message: str) -> None:
    settings = {"client_selector": {"auth_client": True, "root_cert": "r.pem"}}
    (instance,) = check_servers([INSTANCE | {"root_cert": "r.pem", "settings": settings}])
    with pytest.raises(parts.NoCertificatesError, match=re.escape(message)):
        MANIFESTS["neursafe_server"].objects(instance, Known(), lambda _path: text)


def test_what_stands_beside_certificates_stays_where_it_is() -> None:
    assert parts.certificates("r.pem", f"Issuer: us\n{text_of('a')}note\n{text_of('b')}") == text_of("a") + text_of("b")


def test_with_s3_the_model_manager_asks_it_with_its_key() -> None:
    storage = {"type": "s3", "address": "https://s3.example", "username": "models", "secret": "s3", "ca": "s3.pem"}
    found = objects(storage=storage)
    asked = variables(found, "nsfl-model-manager")
    assert (asked["STORAGE_TYPE"], asked["STORAGE_ENDPOINT"]) == ("s3", "https://s3.example")
    assert asked["SECRET_KEY"] == {"secretKeyRef": {"name": "miniosecret", "key": "password"}}
    assert asked["AWS_CA_BUNDLE"] == "/trust/storage.pem"
    assert named(found, "ConfigMap", "trust")["data"] == {"storage.pem": text_of("s3.pem")}
    data = named(found, "Secret", "miniosecret")["data"]
    assert {key: base64.b64decode(value) for key, value in data.items()} == {
        "username": b"models",
        "password": b"value of s3",
    }


def test_with_a_ca_the_database_is_reached_by_tls_only() -> None:
    found = objects(database=INSTANCE["database"] | {"ca": "db.pem"})
    for name in ("nsfl-job-scheduler", "nsfl-model-manager"):
        asked = variables(found, name)
        assert (asked["PGSSLMODE"], asked["PGSSLROOTCERT"]) == ("verify-full", "/trust/database.pem")


OWNED = INSTANCE["database"] | {
    "address": "demo-imaging-database:5432",
    "at": "10.20.0.13",
    "ca": "db.pem",
    "owner": {"username": "tables", "secret": "owner"},
}


def test_who_makes_tables_is_not_who_writes_them() -> None:
    found = objects(database=OWNED)
    for name in ("nsfl-job-scheduler", "nsfl-model-manager"):
        (table,) = [each for each in pod(found, name)["initContainers"] if each["name"] == "table"]
        made = {one["name"]: one["valueFrom"]["secretKeyRef"]["name"] for one in table["env"] if "valueFrom" in one}
        assert made == {"DB_USERNAME": "pgowner", "DB_PASSWORD": "pgowner"}
        assert variables(found, name)["DB_USERNAME"] == {"secretKeyRef": {"name": "pgsecret", "key": "username"}}
    assert base64.b64decode(named(found, "Secret", "pgowner")["data"]["username"]) == b"tables"


def test_a_name_that_no_dns_knows_is_told_to_pods() -> None:
    found = objects(database=OWNED)
    for name in ("nsfl-job-scheduler", "nsfl-model-manager"):
        assert pod(found, name)["hostAliases"] == [{"ip": "10.20.0.13", "hostnames": ["demo-imaging-database"]}]
        rules = named(found, "NetworkPolicy", name)["spec"]["egress"]
        assert {"to": [{"ipBlock": {"cidr": "10.20.0.13/32"}}], "ports": [{"port": 5432, "protocol": "TCP"}]} in rules
    assert "hostAliases" not in pod(found, "nsfl-proxy")


def test_another_owner_s_password_rolls_out_who_makes_tables() -> None:
    (instance,) = check_servers([INSTANCE | {"database": OWNED}])
    before = MANIFESTS["neursafe_server"].objects(instance, Known(OLD), text_of)
    after = MANIFESTS["neursafe_server"].objects(instance, Known(OLD | {"owner": "new"}), text_of)
    assert rolled_out(before, after) == {"nsfl-job-scheduler", "nsfl-model-manager"}


def test_a_login_that_comes_in_turns_has_the_name_of_the_newest() -> None:
    turned = {**OWNED, "in_turn": True, "owner": {**OWNED["owner"], "in_turn": True}}
    storage = {"type": "s3", "address": "https://s3", "username": "models", "secret": "s3", "in_turn": True}
    before, after = (objects(Known(turn=turn), database=turned, storage=storage) for turn in "ab")
    for name, login in (("pgsecret", "neursafe"), ("pgowner", "tables"), ("miniosecret", "models")):
        told = [base64.b64decode(named(found, "Secret", name)["data"]["username"]) for found in (before, after)]
        assert told == [f"{login}_a".encode(), f"{login}_b".encode()]
    assert rolled_out(before, after) == {"nsfl-job-scheduler", "nsfl-model-manager"}


MONGODB = {**OWNED, "engine": "mongodb", "address": "demo-imaging-database:27018"}
del MONGODB["owner"]


def test_a_mongodb_with_tls_is_reached_by_a_sidecar_on_loopback() -> None:
    found = objects(database=MONGODB)
    for name in ("nsfl-job-scheduler", "nsfl-model-manager"):
        first = pod(found, name)["initContainers"][0]
        assert (first["name"], first["restartPolicy"]) == ("tunnel", "Always")
        assert first["image"] == "registry.example:5000/nsfl-proxy:1.0"
        asked = variables(found, name)
        assert (asked["DB_ADDRESS"], "PGSSLMODE" in asked) == ("127.0.0.1:27017", False)
        assert {"name": "tunnel", "configMap": {"name": "tunnel"}} in pod(found, name)["volumes"]
    setup = named(found, "ConfigMap", "tunnel")["data"]["nginx.conf"]
    assert "proxy_pass demo-imaging-database:27018;" in setup
    assert "proxy_ssl_verify on;" in setup
    assert "@" not in setup
    assert [one for one in objects() if one["metadata"]["name"] == "tunnel"] == []


def test_another_way_to_mongodb_rolls_out_who_goes_it() -> None:
    other = objects(database={**MONGODB, "address": "demo-imaging-database:27019"})
    assert digests(objects(database=MONGODB)) != digests(other)
    assert rolled_out(objects(database=MONGODB), other) == {"nsfl-job-scheduler", "nsfl-model-manager"}


def test_jobs_pods_are_pulled_as_ours_are_by_their_own_account() -> None:
    """The programs name no Secret in them, and no account but the namespace's own."""
    images = INSTANCE["images"] | {"pull": {"username": "puller", "secret": "pull"}}
    for found in (objects(images=images), client_objects(images={**images, "tag": "1.0"})):
        there = {
            (one["kind"], one["metadata"]["name"]): one
            for one in found
            if one["metadata"].get("namespace") == "default"
        }
        account = there["ServiceAccount", "default"]
        (named,) = account["imagePullSecrets"]
        secret, own = there["Secret", named["name"]], named_secret(found)
        assert (secret["type"], secret["data"]) == (own["type"], own["data"])
        assert named["name"] == found[0]["metadata"]["name"]
    assert not [one for one in objects() if one["kind"] == "ServiceAccount" and one["metadata"]["name"] == "default"]


def named_secret(found: list[dict[str, Any]]) -> dict[str, Any]:
    return named(found, "Secret", "registry-secret")


def test_nodes_log_in_to_a_registry_that_wants_it() -> None:
    found = objects(images=INSTANCE["images"] | {"pull": {"username": "puller", "secret": "pull"}})
    login = json.loads(base64.b64decode(named(found, "Secret", "registry-secret")["data"][".dockerconfigjson"]))
    assert login["auths"]["registry.example:5000"]["password"] == "value of pull"
    assert all(pod(found, name)["imagePullSecrets"] == [{"name": "registry-secret"}] for name in DEPLOYMENTS)


@pytest.mark.parametrize(
    ("settings", "who"),
    [
        ({"client_selector": {"optimal_select": False}}, {"nsfl-client-selector"}),
        ({"model_manager": {"options": {"RETRY_TIMES": 9}}}, {"nsfl-model-manager"}),
        ({"proxy": {"http_port": 30099}}, {"nsfl-proxy"}),
        ({"job_scheduler": {"options": {"REPORT_PERIOD": 9}}}, {"nsfl-job-scheduler"}),
        ({"api_server": {"http_port": 30099}}, set()),
    ],
)
def test_a_change_rolls_out_whom_it_is_about(settings: dict[str, Any], who: set[str]) -> None:
    assert rolled_out(objects(), objects(settings=settings)) == who


def test_another_password_rolls_out_who_has_it() -> None:
    (instance,) = check_servers([INSTANCE])
    before = MANIFESTS["neursafe_server"].objects(instance, Known(OLD), text_of)
    token = MANIFESTS["neursafe_server"].objects(instance, Known(OLD | {"token": "new"}), str)
    database = MANIFESTS["neursafe_server"].objects(instance, Known(OLD | {"database": "new"}), str)
    assert rolled_out(before, token) == {"nsfl-job-scheduler", "nsfl-proxy"}
    assert rolled_out(before, database) == {"nsfl-job-scheduler", "nsfl-model-manager"}
    assert digests(before) == digests(MANIFESTS["neursafe_server"].objects(instance, Known(OLD), text_of))


def test_routes_are_taken_from_the_job_scheduler_alone() -> None:
    found = objects()
    incoming = named(found, "NetworkPolicy", "nsfl-proxy")["spec"]["ingress"]
    (internal,) = [rule for rule in incoming if {"port": 8092, "protocol": "TCP"} in rule["ports"]]
    assert internal["from"] == [{"podSelector": {"matchLabels": {"app": "nsfl-job-scheduler"}}}]
    nodes = named(found, "Service", "nsfl-proxy-nodes")["spec"]["ports"]
    assert [(one["name"], one["nodePort"]) for one in nodes] == [("grpc", 30091), ("http", 30092)]
    setup = named(found, "ConfigMap", "nsfl-proxy")["data"]["nginx.conf"]
    assert "@" not in setup
    assert "env TOKEN;" in setup
    public = setup[setup.index("listen 30092") : setup.index("listen 8092")]
    assert "internal" not in public


def test_the_api_is_reached_at_the_ports_that_are_told() -> None:
    def ports(found: list[dict[str, Any]], name: str) -> set[int]:
        policy = named(found, "NetworkPolicy", name)["spec"]["egress"]
        return {port["port"] for way in policy if "to" not in way for port in way["ports"]}

    assert {443, 6443} <= ports(objects(), "nsfl-job-scheduler")
    assert {443, 16443} <= ports(objects(api_ports=[443, 16443]), "nsfl-job-scheduler")
    assert 6443 not in ports(objects(api_ports=[443, 16443]), "nsfl-job-scheduler")
    assert 16443 in ports(client_objects(api_ports=[16443]), MANAGER)


def test_an_account_makes_pods_with_files_of_the_shared_directory_only() -> None:
    found = objects(shared_directory='/srv/a"b')
    policy = named(found, "ValidatingAdmissionPolicy", "demo-imaging-server.nsfl-job-scheduler")["spec"]
    assert r"'/srv/a" not in policy["validations"][0]["expression"]
    assert r'startsWith("/srv/a\"b/")' in policy["validations"][0]["expression"]
    (condition,) = policy["matchConditions"]
    account = "system:serviceaccount:demo-imaging-server:nsfl-job-scheduler"
    assert condition["expression"] == f"request.userInfo.username == '{account}'"


def test_what_pods_are_pulled_with_is_what_the_account_default_has() -> None:
    """Also where others' documents put theirs into it."""
    name = "demo-imaging-server.nsfl-job-scheduler"
    policy = named(objects(), "ValidatingAdmissionPolicy", name)["spec"]
    given = named(objects(), "ValidatingAdmissionPolicyBinding", name)["spec"]["paramRef"]
    assert policy["paramKind"] == {"apiVersion": "v1", "kind": "ServiceAccount"}
    assert given == {"name": "default", "namespace": "default", "parameterNotFoundAction": "Deny"}


@pytest.mark.parametrize("kind", ["pods", "services"])
def test_an_account_that_deletes_is_looked_at(kind: str) -> None:
    name = f"demo-imaging-server.nsfl-job-scheduler.{kind}.deleted"
    policy = named(objects(), "ValidatingAdmissionPolicy", name)["spec"]
    (rule,) = policy["matchConstraints"]["resourceRules"]
    assert (rule["resources"], rule["operations"]) == ([kind], ["DELETE"])
    assert "nsfl-job-scheduler'" in policy["matchConditions"][0]["expression"]


def test_what_is_not_external_has_neither_ports_of_nodes_nor_an_ingress() -> None:
    found = objects(settings={"proxy": {"external": False}, "api_server": {"external": False}})
    assert [one for one in found if one["kind"] == "Ingress"] == []
    assert [one for one in found if one["kind"] == "Service" and one["spec"]["type"] == "NodePort"] == []


def test_nginx_on_nodes_leads_to_a_port_of_the_proxy() -> None:
    found = objects(ingress={"controller": "nginx_host"})
    assert [one for one in found if one["kind"] == "Ingress"] == []
    ports = named(found, "Service", "nsfl-proxy-nodes")["spec"]["ports"]
    assert [(one["name"], one["nodePort"]) for one in ports] == [("grpc", 30091), ("http", 30092), ("api", 30083)]
    setup = named(found, "ConfigMap", "nsfl-proxy")["data"]["nginx.conf"]
    users = setup[setup.index("listen 30083") :]
    assert "@" not in setup
    assert "server nsfl-job-scheduler.demo-imaging-server.svc.cluster.local:8088;" in setup
    paths = [re.compile(path) for path in re.findall(r"location ~ (\S+) {", users)]
    asked = {
        "/api/v1/namespaces/default/jobs": 0,
        "/api/v1/namespaces/default/jobs/a:start": 0,
        "/api/v1/health": 0,
        "/api/v1/namespaces/default/models/net": 1,
        "/api/v1/models": 1,
        "/api/v1/internal/routers": None,
        "/api/v1/namespaces/default/pods": None,
    }
    told = {path: next((i for i, each in enumerate(paths) if each.match(path)), None) for path in asked}
    assert told == asked
    for name in ("nsfl-job-scheduler", "nsfl-model-manager"):
        rules = named(found, "NetworkPolicy", name)["spec"]["ingress"]
        assert {"podSelector": {"matchLabels": {"app": "nsfl-proxy"}}} in rules[0]["from"]
    assert "@USERS@" not in named(objects(), "ConfigMap", "nsfl-proxy")["data"]["nginx.conf"]


def test_an_ingress_is_of_the_class_that_is_told() -> None:
    options = {"class_name": "traefik", "annotations": {}, "host": "api.example", "tls_secret": "api-tls"}
    found = named(objects(ingress=options), "Ingress", "nsfl-model-manager")
    assert found["spec"]["ingressClassName"] == "traefik"
    assert found["spec"]["tls"] == [{"secretName": "api-tls", "hosts": ["api.example"]}]
    types = {path["pathType"] for rule in found["spec"]["rules"] for path in rule["http"]["paths"]}
    assert types == {"ImplementationSpecific"}


def test_the_selector_knows_its_clients_certificates() -> None:
    settings = {"client_selector": {"auth_client": True, "root_cert": "roots.pem", "strategy": {"data": 2}}}
    found = named(objects(settings=settings, root_cert="/srv/roots.pem"), "ConfigMap", "nsfl-client-selector")["data"]
    assert found["root_cert.pem"] == text_of("/srv/roots.pem")
    assert json.loads(found["client_selector_setup.json"]) == {
        "auth_client": "true",
        "log_level": "info",
        "optimal_select": "true",
        "port": 50055,
        "root_cert": "/nsfl/config/root_cert.pem",
        "strategy": {"data": 2},
    }


@pytest.mark.parametrize(
    ("there", "late", "tables"), [([], False, ["jobs"]), (["jobs"], False, ["jobs"]), ([], True, ["jobs"])]
)
def test_a_table_is_made_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch, there: list[str], late: bool, tables: list[str]
) -> None:
    """By a double of the program's own library; in tests/upstream is the library itself."""
    made: list[Any] = []
    errors = types.ModuleType("errors")
    errors.CollectionNotExisting = type("CollectionNotExisting", (Exception,), {})  # type: ignore[attr-defined]
    errors.CollectionAlreadyExisting = type("CollectionAlreadyExisting", (Exception,), {})  # type: ignore[attr-defined]

    class Database:
        def get_collection(self, name: str) -> None:
            if name not in there:
                raise errors.CollectionNotExisting

        def create_collection(self, name: str) -> None:
            if late:  # somebody else was faster
                there.append(name)
            if name in there:
                raise errors.CollectionAlreadyExisting
            there.append(name)

    factory = types.ModuleType("db_factory")
    factory.create_db = lambda kind, **given: made.append((kind, given)) or Database()  # type: ignore[attr-defined]
    package = types.ModuleType("db")
    package.errors = errors  # type: ignore[attr-defined]
    names = {"": package, ".errors": errors, ".db_factory": factory}
    for name, module in names.items():
        monkeypatch.setitem(sys.modules, f"neursafe_fl.python.libs.db{name}", module)
    for name in ("neursafe_fl", "neursafe_fl.python", "neursafe_fl.python.libs"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    (container,) = [each for each in pod(objects(), "nsfl-job-scheduler")["initContainers"] if each["name"] == "table"]
    given = {one["name"]: one.get("value", f"secret {one['name']}") for one in container["env"]}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    exec(container["command"][2], {})
    assert there == tables
    login = {"user": "secret DB_USERNAME", "pass_word": "secret DB_PASSWORD"}
    assert made == [("postgreSQL", {"db_server": "10.20.0.13:5432", "db_name": "neursafe_fl", **login})]


# -- clients

CLIENT: dict[str, Any] = {
    "name": "demo-imaging-client-a",
    "images": {"registry": "registry.example:5000", "tag": "1.0"},
    "server": "10.20.0.12:30091",
    "external_address": "10.30.0.12:30090",
    "directory": "/srv/fl/a",
    "lmdb": {"node": "n1", "path": "/var/lib/lmdb"},
    "database": {"address": "10.20.0.13:5432", "username": "neursafe", "secret": "database"},
}
MANAGER = "nsfl-task-manager"


def client_objects(**more: Any) -> list[dict[str, Any]]:
    (instance,) = check_clients([CLIENT | more])
    return MANIFESTS["neursafe_client"].objects(instance, Known(), text_of)


def test_a_client_s_kinds_and_names_are_ones_that_are_applied() -> None:
    found = client_objects()
    assert all(KINDS[one["kind"]].version == one["apiVersion"] for one in found)
    assert all(("namespace" in one["metadata"]) == KINDS[one["kind"]].namespaced for one in found)
    keys = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in found]
    assert len(set(keys)) == len(keys)


def test_a_client_is_set_up_by_a_file() -> None:
    settings = {"task_manager": {"label": "hospital", "registration": False}}
    data = named(client_objects(settings=settings), "ConfigMap", MANAGER)["data"]
    assert json.loads(data["task_manager_setup.json"]) == {
        "datasets": "/srv/fl/a/datasets/datasets.json",
        "external_address": "10.30.0.12:30090",
        "host": "0.0.0.0",
        "label": "hospital",
        "lmdb_path": "/lmdb",
        "log_level": "info",
        "platform": "k8s",
        "port": 30090,
        "registration": "false",
        "runtime": "tensorflow,pytorch",
        "server": "10.20.0.12:30091",
        "storage_quota": 1024,
        "task_config_entry": "/srv/fl/a/task_configs",
        "workspace": "/srv/fl/a/workspace",
    }


def test_a_client_is_run_by_a_name_that_it_keeps() -> None:
    found = client_objects()
    pod = named(found, "Deployment", MANAGER)["spec"]["template"]["spec"]
    (program,) = [one for one in pod["containers"] if one["name"] == MANAGER]
    assert program["command"] == [
        "python3.7", "/nsfl/config/named.py", "--config_file", "/nsfl/config/task_manager_setup.json",
    ]  # fmt: skip
    (mount,) = [one for one in program["volumeMounts"] if one["mountPath"] == "/nsfl/config"]
    (volume,) = [one for one in pod["volumes"] if one["name"] == mount["name"]]
    assert volume["configMap"]["name"] == MANAGER
    assert 'run_module("neursafe_fl.python.client.app"' in named(found, "ConfigMap", MANAGER)["data"]["named.py"]


def test_a_client_looks_at_its_cluster_s_resources() -> None:
    found = variables(client_objects(), MANAGER)
    assert (found["PLATFORM"], found["K8S_ADDRESS"]) == ("k8s", "127.0.0.1:8001")
    assert found["CONTAINER_EXECUTOR_IMAGE"] == "registry.example:5000/nsfl-client-cpu:1.0"
    assert [value for value in found.values() if not isinstance(value, (str, dict))] == []


def test_a_client_goes_to_mongodb_by_the_image_that_is_told() -> None:
    found = client_objects(database=MONGODB, images={"digests": {"client-cpu": f"sha256:{'a' * 64}"}, "tunnel": "n:1"})
    (first, *_others) = pod(found, MANAGER)["initContainers"]
    assert (first["name"], first["image"]) == ("tunnel", "n:1")
    assert variables(found, MANAGER)["DB_ADDRESS"] == "127.0.0.1:27017"


@pytest.mark.parametrize(
    ("told", "there", "found"),
    [
        ({"mnist": "/srv/fl/a/datasets/mnist"}, None, {"mnist": "/srv/fl/a/datasets/mnist"}),
        ({"mnist": "/srv/fl/a/datasets/mnist"}, {"old": "/x"}, {"mnist": "/srv/fl/a/datasets/mnist"}),
        (None, {"old": "/x"}, {"old": "/x"}),
        (None, None, {}),
    ],
)
def test_the_list_of_data_sets_lies_where_tasks_see_it(tmp_path: Path, told: Any, there: Any, found: Any) -> None:
    """The container's own script, on this machine."""
    made = client_objects(**({} if told is None else {"datasets": told}))
    (folders,) = [each for each in pod(made, MANAGER)["initContainers"] if each["name"] == "folders"]
    config, shared = tmp_path / "config", tmp_path / "fl" / "a"
    config.mkdir()
    for name, text in named(made, "ConfigMap", MANAGER)["data"].items():
        (config / name).write_text(text)
    if there is not None:
        (shared / "datasets").mkdir(parents=True)
        (shared / "datasets" / "datasets.json").write_text(json.dumps(there))
    command = [one.replace("/nsfl/config", str(config)).replace("/srv/fl/a", str(shared)) for one in folders["command"]]
    subprocess.run(command, check=True)
    assert json.loads((shared / "datasets" / "datasets.json").read_text()) == found
    assert sorted(path.name for path in shared.iterdir()) == ["datasets", "task_configs", "workspace"]


def test_other_data_sets_roll_out_who_lists_them() -> None:
    before, after = (client_objects(datasets={"mnist": f"/srv/fl/a/{name}"}) for name in ("one", "other"))
    assert named(before, "Deployment", MANAGER) != named(after, "Deployment", MANAGER)


def test_tasks_have_a_client_s_files_by_the_same_path_as_it() -> None:
    found = client_objects()
    assert named(found, "PersistentVolume", "demo-imaging-client-a")["spec"]["hostPath"]["path"] == "/srv/fl"
    mounts = pod(found, MANAGER)["containers"][0]["volumeMounts"]
    assert {"name": "shared", "mountPath": "/srv/fl", "mountPropagation": "HostToContainer"} in mounts


def test_lmdb_keeps_a_client_on_its_node() -> None:
    volume = named(client_objects(), "PersistentVolume", "demo-imaging-client-a.lmdb")["spec"]
    assert volume["local"] == {"path": "/var/lib/lmdb"}
    (term,) = volume["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"][0]["values"] == ["n1"]


def test_lmdb_may_lie_on_a_volume_of_a_class() -> None:
    found = client_objects(lmdb={"storage_class": "local-path"})
    assert named(found, "PersistentVolumeClaim", "lmdb")["spec"]["storageClassName"] == "local-path"
    assert "storageClassName" not in named(client_objects(lmdb={}), "PersistentVolumeClaim", "lmdb")["spec"]


def test_a_client_s_sidecar_lets_nodes_through_too() -> None:
    (sidecar,) = [each for each in pod(client_objects(), MANAGER)["initContainers"] if each["name"] == "kubectl-proxy"]
    (paths,) = [argument for argument in sidecar["args"] if argument.startswith("--accept-paths=")]
    assert paths.endswith(",^/api/v1/nodes$")
    assert named(client_objects(), "ClusterRole", "demo-imaging-client-a")["rules"] == [
        {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]}
    ]


def test_manifests_of_many_clients_are_as_many_times_those_of_one() -> None:
    one = len(client_objects())
    instances = check_clients(
        [
            CLIENT
            | {"name": f"c{number}", "settings": {"task_manager": {"port": 30100 + number}}, "user": 71001 + number}
            | {"directory": f"/mnt/c{number}", "lmdb": {"node": "n1", "path": f"/var/lib/c{number}"}}
            for number in range(200)
        ]
    )
    asked: list[str] = []

    def secret(name: str) -> str:
        asked.append(name)
        return "value"

    made = [MANIFESTS["neursafe_client"].objects(instance, secret, str) for instance in instances]
    assert {len(objects) for objects in made} == {one}
    assert len(asked) == 200


# -- as the API declares them


def misfits(found: list[dict[str, Any]]) -> list[str]:
    """What of objects the API's recorded shapes don't have."""
    recorded = recorded_schemas.read()
    told = []
    for one in found:
        schema = {**recorded["kinds"][one["kind"]], "definitions": recorded["definitions"]}
        errors = jsonschema.Draft202012Validator(schema).iter_errors(one)
        told += [f"{one['kind']} {one['metadata']['name']}: {error.json_path}: {error.message}" for error in errors]
    return told


EVERYTHING = {
    "images": INSTANCE["images"] | {"pull": {"username": "puller", "secret": "pull"}},
    "storage": {"type": "s3", "address": "https://s3.example", "username": "m", "secret": "s3", "ca": "s3.pem"},
    "database": INSTANCE["database"] | {"ca": "db.pem"},
    "ingress": {"host": "api.example", "tls_secret": "api-tls"},
    "settings": {"client_selector": {"auth_client": True, "root_cert": "r.pem"}},
    "root_cert": "/r.pem",
}


def test_manifests_have_the_shape_that_the_api_declares() -> None:
    assert misfits([*objects(), *objects(**EVERYTHING), *client_objects(), *client_objects(lmdb={})]) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"replica": 2}, "$.spec: Additional properties are not allowed ('replica' was unexpected)"),
        ({"replicas": "2"}, "$.spec.replicas: '2' is not of type 'integer'"),
        ({"template": {"spec": {"containers": [{"name": 1}]}}}, "name: 1 is not of type 'string'"),
    ],
)
def test_what_the_api_has_not_is_found(change: dict[str, Any], message: str) -> None:
    one = named(objects(), "Deployment", "nsfl-proxy")
    assert any(message in line for line in misfits([{**one, "spec": {**one["spec"], **change}}]))


# -- what is tried inside of pods


def looks_of(role: str, found: dict[str, Any]) -> dict[str, list[list[Any]]]:
    """By deployment, what is tried: the looks' own words and what they take."""
    told = MANIFESTS[role].looks(found)
    return {one.deployment: [each[1:] for each in json.loads(one.command[3])] for one in told}


def test_all_that_a_server_s_pods_are_to_be_able_to_is_tried() -> None:
    inside = "demo-imaging-server.svc.cluster.local"
    (server,) = check_servers([INSTANCE])
    found = looks_of("neursafe_server", server)
    assert found == {
        "nsfl-job-scheduler": [
            ["answers", ["127.0.0.1:8088", "/api/v1/health"]],
            ["answers", [f"nsfl-model-manager.{inside}:50057", "/api/v1/health"]],
            ["speaks_grpc", [f"nsfl-client-selector.{inside}:50055"]],
            ["takes_the_token", [f"nsfl-proxy.{inside}:8092"]],
            ["refuses_another_token", [f"nsfl-proxy.{inside}:8092"]],
            ["writes_rows", [False]],
            ["writes_files", ["/shared/neursafe_fl/coordinator_configs"]],
        ],
        "nsfl-model-manager": [["writes_rows", [False]], ["writes_files", ["/shared/neursafe_fl/models"]]],
    }
    assert {name for looks in found.values() for name, _given in looks} < neursafe_looks.LOOKS.keys()


def test_all_that_a_client_s_pod_is_to_be_able_to_is_tried() -> None:
    (client,) = check_clients([CLIENT])
    (found,) = MANIFESTS["neursafe_client"].looks(client)
    assert re.search(found.said, "I1129 Report client to server success.")
    assert found.seconds == 300
    assert [name for name, _given in looks_of("neursafe_client", client)["nsfl-task-manager"]] == [
        "speaks_grpc",
        "speaks_grpc",
        "writes_rows",
        "writes_files",
    ]
    (alone,) = check_clients([{**CLIENT, "settings": {"task_manager": {"registration": False}}}])
    assert MANIFESTS["neursafe_client"].looks(alone)[0].said == ""


# -- verify's round


def test_a_model_of_pytorch_s_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(neursafe_round.model((1.5, -2.0, 0.25)))
    assert neursafe_round.numbers(tmp_path / "model.pth") == [1.5, -2.0, 0.25]


class Jobs(BaseHTTPRequestHandler):
    """A double of the job scheduler: what it does with the job says the test."""

    state, makes = "FINISHED", True
    noted: list[tuple[str, str]] = []
    workspace = Path()

    def log_message(self, *_arguments: object) -> None:
        pass

    def _say(self, status: int, value: Any) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.noted.append(("POST", told["id"]))
        home = self.workspace / "default" / told["id"]
        assert {path.name for path in (home / "scripts").iterdir()} == {"train.py", "evaluate.py", "task.json"}
        if self.makes:
            made = home / "output" / "fl_x_output_V0" / "checkpoints" / "checkpoint_v1"
            made.mkdir(parents=True)
            (made / "checkpoint_1.pth").write_bytes(neursafe_round.model((1.0, -2.0, 3.0, 0.5)))
        self._say(201 if self.state else 403, {"state": "SUCCEEDED"} if self.state else {"reason": "no"})

    def do_GET(self) -> None:
        there = ("DELETE", self.path) not in self.noted
        self._say(200 if there else 404, {"status": {"state": self.state, "reason": "why"}})

    def do_DELETE(self) -> None:
        self.noted.append(("DELETE", self.path))
        self._say(200, {})


@pytest.mark.parametrize(
    ("state", "makes", "outcome", "detail", "values"),
    [
        ("FINISHED", True, "finished", "the job is FINISHED", [1.0, -2.0, 3.0, 0.5]),
        ("FINISHED", False, "failed", "ValueError: not enough values to unpack", None),
        ("FAILED", True, "failed", "the job is FAILED", None),
        ("RUNNING", True, "timeout", "the job didn't end", None),
        ("", False, "failed", "the job scheduler answers 403: {'reason': 'no'}", None),
    ],
)
def test_however_a_round_ends_it_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, makes: bool, outcome: str, detail: str, values: Any
) -> None:
    handler = type("Handler", (Jobs,), {"state": state, "makes": makes, "noted": [], "workspace": tmp_path})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setitem(os.environ, "HTTP_PORT", str(server.server_address[1]))
    monkeypatch.setitem(os.environ, "WORKSPACE", str(tmp_path))
    monkeypatch.setattr(neursafe_round, "PAUSE", 0.01)
    (tmp_path / "default").mkdir()
    row = neursafe_round.run("fedlearn-a", "default", 2, 1)
    server.shutdown()
    server.server_close()
    assert (row["outcome"], row["detail"].startswith(detail)) == (outcome, True), row
    assert row["content"].get("values") == values
    assert handler.noted[0] == ("POST", "fedlearn-a")
    assert handler.noted[-1] == ("DELETE", "/api/v1/namespaces/default/jobs/fedlearn-a")
    assert list((tmp_path / "default").iterdir()) == []


def test_a_round_is_run_in_the_job_scheduler_s_pod_in_the_first_namespace() -> None:
    (server,) = check_servers([INSTANCE | {"namespaces": ["radiology", "default"]}])
    found = MANIFESTS["neursafe_server"].trial(server, "fedlearn-a", 3, 900)
    assert (found.namespace, found.deployment) == ("demo-imaging-server", "nsfl-job-scheduler")
    assert json.loads(found.command[-1]) == {
        "name": "fedlearn-a",
        "namespace": "radiology",
        "clients": 3,
        "seconds": 900,
    }
