# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The roles neursafe_server and neursafe_client against a real API server: what is applied, who may do what, refusals.

The API server, its admission, controllers and scheduler are the programs; that pods run is simulated.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import re
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster import kubeconfig
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.api import Api
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.converge import Cluster, Scope
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.catalogue import MANIFESTS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.neursafe import check_servers
from tests.support import recorded_schemas
from tests.support.control_plane import ControlPlane

SCENARIO = Path(__file__).parents[1]
CHECKOUT = SCENARIO.parents[1]
VARIABLES: dict[str, Any] = yaml.safe_load((SCENARIO / "vars.yml").read_text())
(INSTANCE,) = VARIABLES["neursafe_server_instances"]
NAME = INSTANCE["name"]
(CLIENT,) = VARIABLES["neursafe_client_instances"]
CLUSTER = ControlPlane(Path(os.environ["FEDLEARN_ROLE_STATE"]) / "cluster")
DEPLOYMENTS = ("nsfl-client-selector", "nsfl-job-scheduler", "nsfl-model-manager", "nsfl-proxy")
CANARIES = [value for name, value in VARIABLES.items() if name.startswith("canary_")]
SCHEDULER = f"system:serviceaccount:{NAME}:nsfl-job-scheduler"
KINDS = (
    "namespaces,serviceaccounts,secrets,configmaps,persistentvolumes,persistentvolumeclaims,roles,rolebindings,"
    "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings,networkpolicies,services,deployments,ingresses"
)
OURS = "app.kubernetes.io/managed-by=fedlearn.infra"
OF_SERVER = f"{OURS},fedlearn.infra/role=neursafe_server"
# Molecule has Ansible colour what it says, and the recap is read here
PLAIN = {**os.environ, "ANSIBLE_FORCE_COLOR": "false", "ANSIBLE_NOCOLOR": "true"}
_RECAP = re.compile(r"^cluster-test\s+: ok=\d+\s+changed=(\d+)\s+unreachable=\d+\s+failed=(\d+)", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """How a playbook ended."""

    text: str
    changed: int
    failed: int

    @property
    def words(self) -> str:
        return re.sub(r"\s+", " ", self.text)


def play(entry: str = "main", *options: str, role: str = "neursafe_server", **variables: Any) -> Run:
    """Run an entry point of the role, with these variables instead of the scenario's."""
    included = {"name": f"fedlearn.infra.{role}", "tasks_from": entry}
    tasks = [{"name": "Run", "ansible.builtin.include_role": included}]
    room = CLUSTER.folder.parent
    (room / "play.yml").write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    (room / "variables.yml").write_text(yaml.safe_dump(VARIABLES | variables))
    command = ["ansible-playbook", "-i", str(SCENARIO / "hosts.ini"), "-e", f"@{room}/variables.yml", *options]
    done = subprocess.run([*command, str(room / "play.yml")], env=PLAIN, capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    found = _RECAP.search(text)
    assert found, text
    return Run(text, int(found[1]), int(found[2]))


def instance(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's instance, changed."""
    return [copy.deepcopy(INSTANCE) | changed]


def kubectl(*arguments: str, given: Any = None) -> str:
    """What kubectl says; it has to succeed."""
    done = CLUSTER.kubectl(*arguments, given=None if given is None else json.dumps(given))
    assert done.returncode == 0, done.stderr
    return done.stdout


def refused(*arguments: str, given: Any = None) -> str:
    """Why kubectl failed, as it has to."""
    done = CLUSTER.kubectl(*arguments, given=None if given is None else json.dumps(given))
    assert done.returncode != 0, done.stdout
    return done.stderr


def ours(selector: str = OURS) -> dict[str, str]:
    """The version of each object that is ours."""
    found = json.loads(kubectl("get", KINDS, "-A", f"-l={selector}", "-o=json"))["items"]
    return {
        f"{one['kind']} {one['metadata'].get('namespace', '')}/{one['metadata']['name']}": one["metadata"][
            "resourceVersion"
        ]
        for one in found
    }


def generations() -> dict[str, int]:
    found = json.loads(kubectl("get", "deployments", "-n", NAME, "-o=json"))["items"]
    return {one["metadata"]["name"]: one["metadata"]["generation"] for one in found}


@pytest.fixture
def afterwards() -> Iterator[None]:
    """The scenario's own state is there again after the test."""
    yield
    assert play().failed == 0


def test_every_component_is_ready() -> None:
    found = json.loads(kubectl("get", "deployments", "-n", NAME, "-o=json"))["items"]
    assert {one["metadata"]["name"]: one["status"].get("availableReplicas") for one in found} == dict.fromkeys(
        DEPLOYMENTS, 1
    )
    assert kubectl("get", "pvc", "-n", NAME, "shared", "-o=jsonpath={.status.phase}") == "Bound"


def test_the_recorded_shapes_are_what_this_api_declares() -> None:
    declared = recorded_schemas.declared(lambda path: dict(json.loads(kubectl("get", "--raw", f"/openapi/v3/{path}"))))
    if os.environ.get("FEDLEARN_RECORD"):
        recorded_schemas.write(declared)
    assert recorded_schemas.read() == declared


def test_a_second_run_changes_nothing() -> None:
    before = ours()
    assert len(before) > 30
    run = play()
    assert (run.changed, run.failed) == (0, 0)
    assert ours() == before


def test_a_check_finds_nothing() -> None:
    assert play("check").failed == 0
    run = play("main", "--check")
    assert (run.changed, run.failed) == (0, 0)


def test_a_change_rolls_out_one_deployment(afterwards: None) -> None:
    before = generations()
    run = play(neursafe_server_instances=instance(settings={"job_scheduler": {"options": {"REPORT_PERIOD": 6}}}))
    assert (run.changed, run.failed) == (1, 0)
    assert {name for name, number in generations().items() if number != before[name]} == {"nsfl-job-scheduler"}


def test_another_password_rolls_out_who_has_it(afterwards: None) -> None:
    before = generations()
    assert play(canary_storage="CANARY-SECOND").failed == 0
    assert {name for name, number in generations().items() if number != before[name]} == {"nsfl-model-manager"}


def test_what_is_wanted_no_more_goes(afterwards: None) -> None:
    before = set(ours())
    settings = {**INSTANCE["settings"], "api_server": {"external": False}, "proxy": {"external": False}}
    assert play(neursafe_server_instances=instance(settings=settings)).failed == 0
    assert before - set(ours()) == {
        f"Ingress {NAME}/nsfl-job-scheduler",
        f"Ingress {NAME}/nsfl-model-manager",
        f"Service {NAME}/nsfl-proxy-nodes",
    }


def test_what_others_changed_of_ours_is_told_and_put_right(afterwards: None) -> None:
    kubectl("-n", NAME, "set", "image", "deployment/nsfl-proxy", "nsfl-proxy=elsewhere.example/proxy:1")
    kubectl("-n", NAME, "delete", "networkpolicy", "closed")
    told = play("check")
    assert told.failed == 1
    assert f"Deployment {NAME}/nsfl-proxy differs" in told.words
    assert f"NetworkPolicy {NAME}/closed is missing" in told.words
    assert (play("main", "--check").changed, play().changed, play().changed) == (1, 1, 0)
    image = kubectl("-n", NAME, "get", "deployment", "nsfl-proxy", "-o=jsonpath={..containers[0].image}")
    assert image.startswith("registry.example:5000/nsfl-proxy:1.0@sha256:")


def test_what_others_put_into_our_pods_is_told_and_goes(afterwards: None) -> None:
    more = {
        "containers": [
            {"name": "evil", "image": "evil:1"},
            {"name": "nsfl-job-scheduler", "env": [{"name": "LD_PRELOAD", "value": "/evil.so"}]},
        ]
    }
    patch = json.dumps({"spec": {"template": {"spec": more}}})
    kubectl("-n", NAME, "patch", "deployment", "nsfl-job-scheduler", "-p", patch)
    told = play("check")
    assert told.failed == 1
    theirs = "containers[evil], containers[nsfl-job-scheduler].env[LD_PRELOAD]"
    assert f"Deployment {NAME}/nsfl-job-scheduler differs: {theirs} is of somebody else" in told.words
    assert (play("main", "--check").changed, play().changed, play().changed) == (1, 1, 0)
    names = kubectl("-n", NAME, "get", "deployment", "nsfl-job-scheduler", "-o=jsonpath={..containers[*].name}")
    assert names == "nsfl-job-scheduler"


def _in_program(**more: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "nsfl-proxy", **more}]}}}}


def _in_pod(**more: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": more}}}


ONLY_NEVER = [{"name": "never", "expression": "false"}]


@pytest.mark.parametrize(
    ("kind", "name", "patch", "where"),
    [
        ("deployment", "nsfl-proxy", _in_program(args=["--evil"]), "containers[nsfl-proxy].args"),
        (
            "deployment",
            "nsfl-proxy",
            _in_program(lifecycle={"postStart": {"exec": {"command": ["x"]}}}),
            "containers[nsfl-proxy].lifecycle",
        ),
        (
            "deployment",
            "nsfl-client-selector",
            _in_pod(hostAliases=[{"ip": "10.9.9.9", "hostnames": ["x"]}]),
            "hostAliases",
        ),
        ("deployment", "nsfl-proxy", _in_pod(dnsConfig={"nameservers": ["10.9.9.9"]}), "dnsConfig"),
        ("deployment", "nsfl-proxy", {"spec": {"paused": True}}, "spec.paused"),
        ("service", "nsfl-proxy", {"spec": {"externalIPs": ["10.9.9.9"]}}, "spec.externalIPs"),
        ("service", "nsfl-proxy-nodes", {"spec": {"externalTrafficPolicy": "Local"}}, "spec.externalTrafficPolicy"),
        ("configmap", "nsfl-proxy", {"data": {"evil.lua": "x"}}, "data.evil.lua"),
        (
            "validatingadmissionpolicy",
            f"{NAME}.nsfl-job-scheduler",
            {"spec": {"matchConditions": ONLY_NEVER}},
            "spec.matchConditions[never]",
        ),
        (
            "ingress",
            "nsfl-job-scheduler",
            {"metadata": {"annotations": {"nginx.ingress.kubernetes.io/configuration-snippet": "x"}}},
            "annotations[nginx.ingress.kubernetes.io/configuration-snippet]",
        ),
    ],
)
def test_what_others_set_of_ours_is_told_and_goes(kind: str, name: str, patch: dict[str, Any], where: str) -> None:
    merge = "merge" if kind in ("configmap", "service") else "strategic"
    if kind == "validatingadmissionpolicy":  # a merge patch would replace the whole list
        found = json.loads(kubectl("get", kind, name, "-o=json"))["spec"]["matchConditions"]
        merge, patch = "merge", {"spec": {"matchConditions": [*found, *ONLY_NEVER]}}
    try:
        kubectl("-n", NAME, "patch", kind, name, f"--type={merge}", "-p", json.dumps(patch))
        told = play("check")
        assert told.failed == 1
        assert re.search(rf"{name} differs: [^:]*{re.escape(where)}[^:]* is of somebody else", told.words), told.words
    finally:
        run = play()
    assert (run.changed, run.failed, play().changed, play("check").failed) == (1, 0, 0, 0)


@pytest.mark.parametrize(
    ("kind", "name", "patch"),
    [
        ("serviceaccount", "nsfl-proxy", {"automountServiceAccountToken": True}),
        ("persistentvolume", NAME, {"spec": {"mountOptions": ["ro"]}}),
        ("namespace", NAME, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce-version": "v1.20"}}}),
    ],
)
def test_what_others_set_where_the_cluster_writes_too_is_told_and_goes(
    kind: str, name: str, patch: dict[str, Any]
) -> None:
    kubectl("-n", NAME, "patch", kind, name, "--type=merge", "-p", json.dumps(patch))
    told = play("check")
    run = play()
    assert (told.failed, f"{name} differs" in told.words) == (1, True)
    assert (run.changed, run.failed, play().changed, play("check").failed) == (1, 0, 0, 0)


def test_a_policy_of_somebody_else_s_that_opens_what_ours_close_is_told() -> None:
    metadata = {"name": "theirs", "namespace": NAME}
    spec = {"podSelector": {}, "ingress": [{}]}
    kubectl(
        "apply",
        "-f",
        "-",
        given={"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec},
    )
    try:
        told = play("check")
        assert told.failed == 1
        assert f"NetworkPolicy {NAME}/theirs is of somebody else, and opens what ours close" in told.words
        assert play().changed == 0
    finally:
        kubectl("-n", NAME, "delete", "networkpolicy", "theirs")


def test_what_was_ours_is_not_told_as_somebody_else_s(afterwards: None) -> None:
    ca = {**INSTANCE["database"], "engine": "mongodb", "ca": str(CLUSTER.authority.certificate_file)}
    assert play(neursafe_server_instances=instance(database=ca)).failed == 0
    spec = f"deployment/nsfl-job-scheduler -n {NAME} -o=jsonpath={{..initContainers[*].name}}".split()
    assert "tunnel" in kubectl("get", *spec)
    told = play("check")
    assert (told.failed, "is of somebody else" in told.words) == (1, False)
    assert play().failed == 0
    assert "tunnel" not in kubectl("get", *spec)


class _Webhook(BaseHTTPRequestHandler):
    """Puts a container into each deployment, as service meshes and vaults do."""

    def log_message(self, *_arguments: object) -> None:
        pass

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
        spec = asked["object"]["spec"]["template"]["spec"]
        bare = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}  # or the namespace takes no pod
        mesh = {"name": "mesh", "image": "mesh:1", "securityContext": bare}
        steps = [{"op": "add", "path": "/spec/template/spec/containers/-", "value": mesh}]
        there = any(one["name"] == "mesh" for one in spec["containers"])
        patch = base64.b64encode(json.dumps([] if there else steps).encode()).decode()
        answer = {"uid": asked["uid"], "allowed": True, "patchType": "JSONPatch", "patch": patch}
        text = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@pytest.fixture
def webhook(tmp_path: Path) -> Iterator[None]:
    """One that is asked about deployments of the scenario's namespace."""
    certificate, key = CLUSTER.authority.issue("webhook")
    (tmp_path / "webhook.pem").write_bytes(certificate + key)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "webhook.pem")
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Webhook)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["deployments"],
    }
    authority = base64.b64encode(CLUSTER.authority.certificate_file.read_bytes()).decode()
    told = {
        "name": "mesh.example.org",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Fail",
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAME}},
        "clientConfig": {"url": f"https://127.0.0.1:{server.server_address[1]}/", "caBundle": authority},
    }
    head = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration"}
    kubectl("apply", "-f", "-", given={**head, "metadata": {"name": "mesh"}, "webhooks": [told]})
    mesh = ("-n", NAME, "annotate", "--overwrite", "--dry-run=server", "-o=json", "deployment/nsfl-proxy", "x=y")
    for _attempt in range(30):  # the API server looks for webhooks now and then
        if '"mesh"' in kubectl(*mesh):
            break
        time.sleep(1)
    try:
        yield
    finally:
        CLUSTER.kubectl("delete", "mutatingwebhookconfiguration", "mesh")
        time.sleep(3)
        server.shutdown()
        server.server_close()


@pytest.mark.usefixtures("afterwards")
def test_what_a_webhook_puts_into_ours_is_told_once_and_goes_with_the_webhook(webhook: None) -> None:
    told = "the cluster itself puts in containers[mesh]"
    run = play(**CHANGED)
    assert (run.changed, run.failed, told in run.words) == (1, 0, True)
    assert f"exempt the namespace {NAME}" in run.words
    again = play(**CHANGED)
    assert (again.changed, again.failed, told in again.words) == (0, 0, False)
    assert play("check", **CHANGED).failed == 0
    kubectl("delete", "mutatingwebhookconfiguration", "mesh")
    time.sleep(3)
    assert (play(**CHANGED).changed, play(**CHANGED).changed) == (1, 0)
    names = kubectl("-n", NAME, "get", "deployment", "nsfl-proxy", "-o=jsonpath={..containers[*].name}")
    assert names == "nsfl-proxy"


# -- what jobs' pods are pulled with


def _pulls() -> list[str]:
    account = json.loads(kubectl("get", "serviceaccount", "default", "-n", "default", "-o=json"))
    return [each["name"] for each in account.get("imagePullSecrets", ())]


def test_jobs_pods_log_in_to_the_registry_and_others_secrets_stay(afterwards: None) -> None:
    assert _pulls() == [NAME]
    made = json.loads(kubectl(*MAKE, "-o=json", given=job("/mnt/neursafe_fl")))
    assert made["spec"]["imagePullSecrets"] == [{"name": NAME}]
    kind = kubectl("get", "secret", "-n", "default", NAME, "-o=jsonpath={.type}")
    assert kind == "kubernetes.io/dockerconfigjson"
    account = ("-n", "default", "patch", "serviceaccount", "default", "--type=merge", "-p")
    kubectl(*account, json.dumps({"imagePullSecrets": [{"name": "theirs"}]}))
    told = play("check")
    assert (told.failed, "ServiceAccount default/default differs" in told.words) == (1, True)
    assert (play().changed, play().changed) == (1, 0)
    assert _pulls() == ["theirs", NAME]
    images = {key: value for key, value in INSTANCE["images"].items() if key != "pull"}
    assert play(neursafe_server_instances=instance(images=images)).failed == 0
    assert _pulls() == ["theirs"]
    assert "not found" in refused("get", "secret", "-n", "default", NAME)
    assert play().failed == 0
    assert play("remove").failed == 0
    assert _pulls() == ["theirs"]
    kubectl(*account, json.dumps({"imagePullSecrets": None}))


def test_what_others_add_stays() -> None:
    kubectl("-n", NAME, "annotate", "deployment/nsfl-proxy", "example.org/note=theirs")
    assert play().changed == 0
    note = kubectl(
        "-n", NAME, "get", "deployment", "nsfl-proxy", r"-o=jsonpath={.metadata.annotations.example\.org/note}"
    )
    assert note == "theirs"


# -- who may do what

MAY = [(verb, kind, "default") for kind in ("pods", "services") for verb in ("create", "get", "delete")]
MAY_NOT = [
    ("list", "pods", "default"),
    ("update", "pods", "default"),
    ("create", "pods --subresource=exec", "default"),
    ("get", "secrets", "default"),
    ("create", "deployments.apps", "default"),
    ("create", "pods", NAME),
    ("get", "secrets", NAME),
    ("create", "pods", "kube-system"),
    ("list", "nodes", ""),
]


def may(account: str, verb: str, kind: str, namespace: str) -> str:
    where = ["-n", namespace] if namespace else []
    return CLUSTER.kubectl("auth", "can-i", verb, *kind.split(), f"--as={account}", *where).stdout.strip()


@pytest.mark.parametrize(("verb", "kind", "namespace"), MAY)
def test_the_job_scheduler_may_make_jobs(verb: str, kind: str, namespace: str) -> None:
    assert may(SCHEDULER, verb, kind, namespace) == "yes"


@pytest.mark.parametrize(("verb", "kind", "namespace"), MAY_NOT)
def test_it_may_do_nothing_else(verb: str, kind: str, namespace: str) -> None:
    assert may(SCHEDULER, verb, kind, namespace) == "no"


@pytest.mark.parametrize("name", [name for name in DEPLOYMENTS if name != "nsfl-job-scheduler"])
@pytest.mark.parametrize(("verb", "kind", "namespace"), [*MAY, ("get", "secrets", NAME), ("list", "nodes", "")])
def test_the_others_may_do_nothing_at_all(name: str, verb: str, kind: str, namespace: str) -> None:
    assert may(f"system:serviceaccount:{NAME}:{name}", verb, kind, namespace) == "no"


def job(path: str, **spec: Any) -> dict[str, Any]:
    """A pod as the programs make it."""
    mounted = [{"name": "scripts", "mountPath": "/fl"}]
    container = {"name": "job", "image": "nsfl-coordinator:1.0", "volumeMounts": mounted}
    container |= spec.pop("container", {})
    volumes = [{"name": "scripts", "hostPath": {"path": path}}]
    metadata = {"name": "default-job", "namespace": "default"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"restartPolicy": "Never", "containers": [container], "volumes": volumes, **spec},
    }


MAKE = ("create", "--dry-run=server", f"--as={SCHEDULER}", "-f", "-")
ASKS = {"httpGet": {"host": "169.254.169.254", "path": "/", "port": 80}}


@pytest.mark.parametrize("path", ["/mnt/neursafe_fl", "/mnt/neursafe_fl/default/scripts"])
def test_jobs_have_files_of_the_shared_directory(path: str) -> None:
    kubectl(*MAKE, given=job(path))


@pytest.mark.parametrize(
    "spec",
    [
        {"nodeSelector": {"kubernetes.io/hostname": "fake-1"}},  # the programs choose nodes by it
        {"tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}]},  # the cluster may put it in by itself
        {"container": {"livenessProbe": {"httpGet": {"path": "/", "port": 80}}}},
    ],
)
def test_jobs_have_what_harms_nobody(spec: dict[str, Any]) -> None:
    kubectl(*MAKE, given=job("/mnt/neursafe_fl", **spec))


@pytest.mark.parametrize("path", ["/", "/etc", "/mnt", "/mnt/neursafe_fl2", "/var/lib/kubelet"])
def test_jobs_have_no_other_files_of_a_node(path: str) -> None:
    assert "pods have those below /mnt/neursafe_fl only" in refused(*MAKE, given=job(path))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"hostNetwork": True}, "no part of a node's network"),
        ({"hostPID": True}, "no part of a node's network"),
        ({"container": {"securityContext": {"privileged": True}}}, "no container is privileged"),
        (
            {"container": {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}},
            "no container has more capabilit",
        ),
        (
            {"hostUsers": False, "container": {"securityContext": {"procMount": "Unmasked"}}},
            "no container has more capabilit",
        ),
        ({"container": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}}, "no container is unconfined"),
        ({"securityContext": {"seccompProfile": {"type": "Unconfined"}}}, "no container is unconfined"),
        ({"securityContext": {"seLinuxOptions": {"type": "spc_t"}}}, "no container is unconfined"),
        ({"securityContext": {"sysctls": [{"name": "net.core.somaxconn", "value": "1"}]}}, "more of the kernel"),
        ({"container": {"ports": [{"containerPort": 22, "hostPort": 22}]}}, "no part of a node's network"),
        ({"container": {"envFrom": [{"secretRef": {"name": "x"}}]}}, "no variables of Secrets"),
        (
            {"container": {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}]}},
            "no variables of Secrets",
        ),
        (
            {"initContainers": [{"name": "a", "image": "b", "envFrom": [{"configMapRef": {"name": "x"}}]}]},
            "no variables of Secrets",
        ),
        ({"volumes": [{"name": "scripts", "secret": {"secretName": "x"}}]}, "no volumes but files of the node"),
        (
            {"volumes": [{"name": "scripts", "persistentVolumeClaim": {"claimName": "x"}}]},
            "no volumes but files of the node",
        ),
        (
            {"volumes": [{"name": "scripts", "projected": {"sources": [{"secret": {"name": "x"}}]}}]},
            "no volumes but files of the node",
        ),
        ({"serviceAccountName": "deployer"}, "no other account than default"),
        ({"imagePullSecrets": [{"name": "theirs"}]}, "no Secrets but those of the account default"),
        ({"resourceClaims": [{"name": "gpu", "resourceClaimName": "theirs"}]}, "no claims to devices"),
        ({"nodeName": "fake-1"}, "where the scheduler puts pods of everybody"),
        ({"priorityClassName": "system-node-critical"}, "where the scheduler puts pods of everybody"),
        ({"tolerations": [{"operator": "Exists"}]}, "where the scheduler puts pods of everybody"),
        (
            {"tolerations": [{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists"}]},
            "where the scheduler puts pods of everybody",
        ),
        ({"container": {"livenessProbe": ASKS}}, "no probe or hook has the node ask"),
        ({"container": {"readinessProbe": {"tcpSocket": {"host": "10.20.0.1", "port": 22}}}}, "no probe or hook has"),
        ({"container": {"lifecycle": {"preStop": ASKS}}}, "no probe or hook has the node ask"),
        (
            {"initContainers": [{"name": "a", "image": "b", "restartPolicy": "Always", "startupProbe": ASKS}]},
            "no probe or hook has the node ask",
        ),
    ],
)
def test_jobs_have_no_privileges(spec: dict[str, Any], message: str) -> None:
    if "serviceAccountName" in spec:
        kubectl("-n", "default", "create", "serviceaccount", "deployer")
    try:
        assert message in refused(*MAKE, given=job("/mnt/neursafe_fl", **spec))
    finally:
        kubectl("-n", "default", "delete", "serviceaccount", "deployer", "--ignore-not-found")


@pytest.mark.parametrize(
    "spec",
    [{"type": "NodePort"}, {"externalIPs": ["10.20.0.99"]}, {"type": "ExternalName", "externalName": "x.example"}],
)
def test_jobs_services_are_reached_in_the_cluster_only(spec: dict[str, Any]) -> None:
    made: dict[str, Any] = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "default-job"}}
    made["spec"] = {"selector": {"app": "default-job"}, "ports": [{"port": 50051, "targetPort": 50051}]}
    kubectl(*MAKE, given=made)
    made["spec"] |= spec
    assert "services are reached in the cluster only" in refused(*MAKE, given=made)


def deletable(kind: str, app: str, **metadata: Any) -> dict[str, Any]:
    """A pod or a service called ``made`` whose templates' word is this."""
    if kind == "pod":
        found = job("/mnt/neursafe_fl")
        labels = {"labels": {"app": app}}
    else:
        ports = [{"port": 50051, "targetPort": 50051}]
        found = {"apiVersion": "v1", "kind": "Service", "spec": {"selector": {"app": app}, "ports": ports}}
        labels = {}
    return found | {"metadata": {"name": "made", "namespace": "default", **labels, **metadata}}


@pytest.mark.parametrize("kind", ["pod", "service"])
def test_jobs_delete_what_they_have_made_and_nothing_of_others(kind: str) -> None:
    account = json.loads(kubectl("get", "serviceaccount", "default", "-n", "default", "-o=json"))
    owner = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "default", "uid": account["metadata"]["uid"]}
    delete = ("delete", "--dry-run=server", f"--as={SCHEDULER}", "-n", "default", kind)
    for given, told in (
        (deletable(kind, "made"), ""),
        (deletable(kind, "other"), "only what the programs have made is deleted"),
        (deletable(kind, "made", ownerReferences=[owner]), "only what the programs have made is deleted"),
    ):
        kubectl("create", "-f", "-", given=given)
        try:
            if told:
                assert told in refused(*delete, "made")
            else:
                kubectl(*delete, "made")
        finally:
            kubectl("delete", "-n", "default", kind, "made", "--grace-period=0", "--force")
    assert "only what the programs have made" in refused(*delete[:-1], "service", "kubernetes")


def test_others_pods_are_no_matter_of_ours() -> None:
    kubectl("create", "--dry-run=server", "-f", "-", given=job("/etc"))


def test_the_components_namespace_takes_restricted_pods_only() -> None:
    made = job("/mnt/neursafe_fl")
    made["metadata"]["namespace"] = NAME
    assert 'violates PodSecurity "restricted:latest"' in refused("create", "--dry-run=server", "-f", "-", given=made)


# -- clients

MANAGER_NAME = "nsfl-task-manager"
MANAGER = f"system:serviceaccount:{CLIENT['name']}:{MANAGER_NAME}"


def test_a_client_is_ready_on_its_node() -> None:
    found = json.loads(kubectl("get", "pods", "-n", CLIENT["name"], "-o=json"))["items"]
    assert [(one["status"]["phase"], one["spec"]["nodeName"]) for one in found] == [("Running", "fake-1")]
    phases = kubectl("get", "pvc", "-n", CLIENT["name"], "-o=jsonpath={.items[*].status.phase}")
    assert phases == "Bound Bound"


def test_a_second_run_changes_nothing_of_a_client() -> None:
    before = ours()
    run = play(role="neursafe_client")
    assert (run.changed, run.failed) == (0, 0)
    assert play("check", role="neursafe_client").failed == 0
    assert ours() == before


@pytest.mark.parametrize(
    ("verb", "kind", "namespace"), [*MAY, *((verb, "nodes", "") for verb in ("get", "list", "watch"))]
)
def test_a_client_may_make_tasks_and_look_at_nodes(verb: str, kind: str, namespace: str) -> None:
    assert may(MANAGER, verb, kind, namespace) == "yes"


@pytest.mark.parametrize(
    ("verb", "kind", "namespace"),
    [*(one for one in MAY_NOT if one[1] != "nodes"), ("delete", "nodes", ""), ("get", "secrets", CLIENT["name"])],
)
def test_a_client_may_do_nothing_else(verb: str, kind: str, namespace: str) -> None:
    assert may(MANAGER, verb, kind, namespace) == "no"


def test_a_client_s_tasks_have_its_own_files_only() -> None:
    make = ("create", "--dry-run=server", f"--as={MANAGER}", "-f", "-")
    kubectl(*make, given=job("/mnt/neursafe_client/workspace"))
    assert "those below /mnt/neursafe_client only" in refused(*make, given=job("/mnt/neursafe_fl/models"))


def test_a_client_that_is_absent_leaves_the_server_alone() -> None:
    before = ours()
    gone = [{"name": CLIENT["name"], "state": "absent"}]
    assert play(role="neursafe_client", neursafe_client_instances=gone).failed == 0
    left = ours()
    assert [name for name in left if CLIENT["name"] in name] == []
    assert {name for name in before if NAME in name} == set(left)
    assert play(role="neursafe_client").failed == 0
    assert ours().keys() == before.keys()


# -- what is refused


def unchanged(run: Run, before: dict[str, str], *words: str) -> None:
    assert run.failed == 1
    for word in words:
        assert word in run.words, run.text
    assert ours() == before


CHANGED = {"neursafe_server_instances": instance(settings={"others": {"log_level": "debug"}})}


def test_who_lacks_rights_is_told_which(afterwards: None) -> None:
    before = ours()
    config = CLUSTER.kubeconfig("nobody", "nobody")
    unchanged(
        play(fedlearn_kubeconfig=str(config), **CHANGED),
        before,
        "lacks rights:",
        f"create deployments.apps in namespace {NAME}",
        "patch roles.rbac.authorization.k8s.io in namespace default",
        "list secrets",
    )


def test_credentials_that_have_expired_are_told() -> None:
    before = ours()
    config = CLUSTER.kubeconfig("expired", "admin", "system:masters", days=-1)
    unchanged(play(fedlearn_kubeconfig=str(config), **CHANGED), before, "expired.kubeconfig are wrong or have expired")


def test_a_cluster_that_isn_t_there_is_told() -> None:
    config = CLUSTER.kubeconfig("nowhere", "admin", server="https://127.0.0.1:9")
    unchanged(play(fedlearn_kubeconfig=str(config)), ours(), "127.0.0.1:9", "doesn't answer", "refused")


def test_what_is_somebody_else_s_is_left_alone() -> None:
    kubectl("create", "namespace", "theirs-server")
    try:
        before = ours()
        gone = {"name": NAME, "state": "absent"}
        unchanged(
            play(neursafe_server_instances=[gone, *instance(name="theirs-server")]),
            before,
            "somebody else's, by our names: Namespace theirs-server",
        )
        assert kubectl("get", "all", "-n", "theirs-server") == ""
    finally:
        kubectl("delete", "namespace", "theirs-server")


def test_a_volume_that_is_to_be_another_changes_nothing_and_the_way_out_is_told() -> None:
    for changed in ({"capacity": "3Gi"}, {"shared_directory": "/srv/neursafe/fl"}):
        unchanged(
            play(neursafe_server_instances=instance(**changed)),
            ours(),
            "can't become that while it is there",
            f"take '{NAME}' `state: absent`, run site, and take it back",
        )


def _proxy(**changed: Any) -> list[dict[str, Any]]:
    return instance(settings={**INSTANCE["settings"], "proxy": changed})


def test_a_service_by_another_name_gets_the_ports_of_the_former_one() -> None:
    names = {"nsfl-other-nodes": {"proxy": {"service_name": "nsfl-other"}}, "nsfl-proxy-nodes": {}}
    for name, settings in names.items():
        for entry in ("precheck", "main"):
            run = play(entry, neursafe_server_instances=instance(settings={**INSTANCE["settings"], **settings}))
            assert (run.changed, run.failed) == (int(entry == "main"), 0), run.text
        found = json.loads(kubectl("get", "services", "-n", NAME, "-o=json"))["items"]
        ports = {one["metadata"]["name"]: [port.get("nodePort") for port in one["spec"]["ports"]] for one in found}
        assert ports[name] == [30091, 30092]
        assert len([one for one in ports.values() if 30091 in one]) == 1
    assert (play().changed, play("check").failed) == (0, 0)


def test_ports_that_another_role_of_ours_has_are_told_with_the_way_out() -> None:
    unchanged(
        play(neursafe_server_instances=_proxy(grpc_port=30090, http_port=30093)),
        ours(),
        f"30090 of Service {NAME}/nsfl-proxy-nodes is that of Service {CLIENT['name']}/nsfl-task-manager",
        "run first for what has them",
    )


def test_clients_ports_change_places_in_one_run() -> None:
    def clients(first: int, second: int) -> list[dict[str, Any]]:
        other = {
            "name": "trial-imaging-client-b",
            "directory": "/srv/neursafe_other",
            "user": 71002,
            "lmdb": {"node": "fake-1", "path": "/var/lib/neursafe-lmdb-b"},
        }
        return [
            CLIENT | {"settings": {"task_manager": {"port": first}}},
            CLIENT | other | {"settings": {"task_manager": {"port": second}}},
        ]

    def converge(instances: list[dict[str, Any]]) -> tuple[int, int]:
        run = play(role="neursafe_client", neursafe_client_instances=instances, neursafe_client_timeout_seconds=60)
        return run.changed, run.failed

    try:
        assert converge(clients(30090, 30094)) == (1, 0)
        assert converge(clients(30094, 30090)) == (1, 0)
        assert converge(clients(30094, 30090)) == (0, 0)
        assert kubectl("get", "service", "-n", CLIENT["name"], "-o=jsonpath={..nodePort}") == "30094"
    finally:
        assert converge([CLIENT, {"name": "trial-imaging-client-b", "state": "absent"}]) == (1, 0)


def test_who_lacks_rights_to_remove_is_told_before_anything_goes() -> None:
    looks = {"apiGroups": ["*"], "resources": ["*"], "verbs": ["get", "list", "create", "patch"]}
    removes = {"apiGroups": ["apps", "networking.k8s.io"], "resources": ["*"], "verbs": ["delete"]}
    head = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "ops"}}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "ops"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ops"}
    kubectl("apply", "-f", "-", given={**head, "kind": "ClusterRole", "rules": [looks, removes]})
    kubectl(
        "apply", "-f", "-", given={**head, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]}
    )
    config = str(CLUSTER.kubeconfig("ops", "ops"))
    gone = [{"name": NAME, "state": "absent"}]
    try:
        for entry, instances in (("remove", instance()), ("precheck", gone), ("main", gone)):
            run = play(entry, fedlearn_kubeconfig=config, neursafe_server_instances=instances)
            unchanged(run, ours(), "lacks rights:", "delete namespaces", f"delete secrets in namespace {NAME}")
            assert "delete deployments.apps" not in run.words
    finally:
        kubectl("delete", "clusterrole,clusterrolebinding", "ops")


TAKES_NONE = "the namespace default would take no pods of jobs"


def test_a_namespace_of_jobs_that_would_refuse_their_pods_is_told() -> None:
    kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce=baseline")
    try:
        unchanged(play(**CHANGED), ours(), TAKES_NONE, 'violates PodSecurity "baseline:latest": hostPath volumes')
        assert play("check").failed == 1
    finally:
        kubectl("label", "namespace", "default", "pod-security.kubernetes.io/enforce-")


def test_whoever_refuses_jobs_pods_is_told_whatever_the_namespace_s_label_says() -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    no_files = "!has(object.spec.volumes) || object.spec.volumes.all(v, !has(v.hostPath))"
    spec = {
        "matchConstraints": {"resourceRules": [rule]},
        "validations": [{"expression": no_files, "message": "no files of nodes here"}],
    }
    head = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": "theirs"}}
    binding = {"policyName": "theirs", "validationActions": ["Deny"]}
    kubectl("apply", "-f", "-", given={**head, "kind": "ValidatingAdmissionPolicy", "spec": spec})
    kubectl("apply", "-f", "-", given={**head, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding})
    try:
        for _attempt in range(30):  # the API server looks for policies now and then
            if play("check").failed:
                break
            time.sleep(1)
        unchanged(play(**CHANGED), ours(), TAKES_NONE, "no files of nodes here")
    finally:
        kubectl("delete", "validatingadmissionpolicybinding,validatingadmissionpolicy", "theirs")
    for _attempt in range(30):
        if not play("check").failed:
            break
        time.sleep(1)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": {"registry": "r.example"}}, "images: say 'tag', or a digest for each image"),
        ({"storage": {"type": "poisx"}}, "value of type must be one of: posix, s3, got: poisx"),
        ({"name": "Trial"}, "name: 'Trial' is not a name"),
        ({"shared_directory": "/mnt"}, "shared_directory: '/mnt' lies in the root folder"),
        ({"settings": {"proxy": {"grpc_port": 80}}}, "grpc_port: expected a whole number from 30000 to 32767"),
    ],
)
def test_wrong_values_are_refused(changed: dict[str, Any], message: str) -> None:
    unchanged(play(neursafe_server_instances=instance(**changed)), ours(), message)


# -- secrets and files


def test_no_secret_is_shown(afterwards: None) -> None:
    run = play("main", "-vvv", "--diff", canary_token="CANARY-OTHER", **CHANGED)
    assert (run.changed, run.failed) == (1, 0)
    assert f"~ Secret {NAME}/proxytoken" in run.text
    shown = [canary for canary in (*CANARIES, "CANARY-OTHER") if canary in run.text]
    assert shown == []


def test_manifests_are_written_without_a_cluster_and_without_secrets(tmp_path: Path) -> None:
    before = ours(OF_SERVER)
    variables = {"fedlearn_render": str(tmp_path / "out"), "fedlearn_kubeconfig": "/nowhere"}
    run = play(**variables)
    assert (run.changed, run.failed) == (1, 0)
    assert play(**variables).changed == 0
    files = sorted((tmp_path / "out" / NAME).iterdir())
    assert len(files) == len(before) + 1
    assert f'"value": {{"name": "{NAME}"}}' in (tmp_path / "out" / NAME / "by-hand.txt").read_text()
    text = "".join(path.read_text() for path in files)
    assert [canary for canary in CANARIES if canary in text] == []
    told = kubectl("apply", "--server-side", "--force-conflicts", "--dry-run=server", f"-f={tmp_path / 'out' / NAME}")
    assert told.count("serverside-applied") == len(before)
    assert play("remove", **variables).changed == 1
    assert list((tmp_path / "out" / NAME).iterdir()) == []
    assert ours(OF_SERVER) == before


# -- figures


SCOPE = Scope("trial", "lab", "neursafe_server", alone=True)


class Canaries:
    """The scenario's secrets, as its lookup gives them."""

    def __call__(self, name: str) -> str:
        return str(VARIABLES[f"canary_{name}"])

    def turn(self, _name: str) -> str:
        return "a"


def wanted() -> dict[str, list[dict[str, Any]]]:
    """What the role makes of the scenario's instance."""
    return {NAME: MANIFESTS["neursafe_server"].objects(CHECKED, Canaries(), lambda path: "")}


(CHECKED,) = check_servers(instance())


def once(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


APPLY = """
import json, sys
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster import kubeconfig
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.api import Api
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.converge import Cluster, Scope
file, given, name = sys.argv[1:]
wanted = {name: json.load(open(given))}
cluster = Cluster(Api(kubeconfig.read(file)), Scope("trial", "lab", "neursafe_server", alone=True))
cluster.change(wanted, cluster.look(wanted), prune=False)
"""
"""What the role's one execution does, in a process of its own, but that it waits for nothing."""


def applied() -> bool:
    """The same in this process, as in Ansible's; whether anything differed."""
    api, given = Api(kubeconfig.read(str(CLUSTER.admin))), wanted()
    try:
        cluster = Cluster(api, SCOPE)
        found = cluster.look(given, made=[MANIFESTS["neursafe_server"].made(CHECKED)])
        cluster.change(given, found, prune=False)
        return found.differs
    finally:
        api.close()


def by_kubectl(folder: Path) -> list[str]:
    """How kubectl applies the same."""
    items = [SCOPE.owned(NAME, one) for one in wanted()[NAME]]
    (folder / "all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}))
    return ["apply", "--server-side", "--force-conflicts", "--field-manager=fedlearn.infra", f"-f={folder}/all.json"]


def told_apart(own: list[float], theirs: list[float], what: str) -> None:
    print(f"{what}: {min(own):.2f} s, kubectl {min(theirs):.2f} s")
    assert min(own) < min(theirs) + 1.5


def test_a_run_that_changes_nothing_takes_little_longer_than_one_apply_by_kubectl(tmp_path: Path) -> None:
    """The best of five each, in turn."""
    apply, own, theirs, before = by_kubectl(tmp_path), [], [], ours(OF_SERVER)
    assert not applied()
    assert ours(OF_SERVER) == before
    for _time in range(5):
        own.append(once(applied))
        theirs.append(once(lambda: kubectl(*apply)))
    told_apart(own, theirs, f"{len(before)} objects again")


def test_a_first_run_takes_little_longer_than_one_apply_by_kubectl(tmp_path: Path, afterwards: None) -> None:
    """From a cluster without the server until the API has all objects; the best of two each, in turn."""
    apply, own, theirs = by_kubectl(tmp_path), [], []
    for _time in range(2):
        assert play("remove").failed == 0
        own.append(once(applied))
        assert len(ours(OF_SERVER)) > 30
        assert play("remove").failed == 0
        theirs.append(once(lambda: kubectl(*apply)))
    told_apart(own, theirs, "all objects for the first time")


def test_twenty_runs_that_are_killed_are_finished_by_the_next(tmp_path: Path, afterwards: None) -> None:
    """Of a cluster without the server: each run is killed later than the one before, and the role makes it whole."""
    before = set(ours(OF_SERVER))
    (tmp_path / "wanted.json").write_text(json.dumps(wanted()[NAME]))
    command = [sys.executable, "-c", APPLY, str(CLUSTER.admin), str(tmp_path / "wanted.json"), NAME]
    assert play("remove").failed == 0
    whole = once(lambda: subprocess.run(command, check=True, capture_output=True))
    assert play("remove").failed == 0
    ended = 0
    for number in range(20):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as run:
            try:
                ended += run.wait(number * whole / 20) == 0
            except subprocess.TimeoutExpired:
                run.kill()
    print(f"{ended} of 20 ended before they were killed, {len(ours(OF_SERVER))} of {len(before)} objects were there")
    assert play().failed == 0
    assert set(ours(OF_SERVER)) == before
    assert play().changed == 0


# -- removal, at the end


def test_a_cluster_takes_one_server(afterwards: None) -> None:
    before = ours()
    other = instance(name="trial-other-server", settings={"proxy": {"external": False}})
    told = "has 'trial-imaging-server' in this cluster already"
    unchanged(play(neursafe_server_instances=other), before, f"federation 'trial' {told}")
    unchanged(play(neursafe_server_instances=other, fedlearn_federation="second"), before, f"federation 'trial' {told}")
    assert play(neursafe_server_instances=other, fedlearn_prune=True).failed == 0
    assert [name for name in ours() if NAME in name] == []
    gone = {"name": "trial-other-server", "state": "absent"}
    assert play(neursafe_server_instances=[*instance(), gone]).failed == 0
    assert [name for name in ours() if "trial-other-server" in name] == []


def test_what_others_put_into_the_namespace_is_not_removed_unasked(afterwards: None) -> None:
    kubectl("-n", NAME, "create", "secret", "generic", "theirs", "--from-literal=a=b")
    template = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    spec = {"replicas": 0, "serviceName": "x", "selector": {"matchLabels": {"app": "x"}}, "template": template}
    metadata = {"name": "theirs", "namespace": NAME}
    kubectl(
        "apply", "-f", "-", given={"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": metadata, "spec": spec}
    )
    unchanged(
        play("remove"),
        ours(),
        f"Secret {NAME}/theirs (not ours)",
        f"StatefulSet {NAME}/theirs (not ours)",
        "neursafe_server_remove_data=true",
    )
    assert play("remove", neursafe_server_remove_data=True).failed == 0
    assert refused("get", "namespace", NAME).strip().endswith("not found")


def test_removal_leaves_nothing_of_ours_and_all_of_others(afterwards: None) -> None:
    kubectl("-n", "default", "create", "configmap", "theirs")
    assert play("remove").failed == 0
    assert ours(OF_SERVER) == {}
    assert refused("get", "namespace", NAME).strip().endswith("not found")
    kubectl("-n", "default", "get", "configmap", "theirs")
    kubectl("-n", "default", "delete", "configmap", "theirs")
    assert play("remove").changed == 0


def test_a_clean_cluster_can_be_checked(afterwards: None) -> None:
    assert play("remove").failed == 0
    kubectl("-n", "default", "create", "service", "nodeport", "theirs", "--tcp=80", "--node-port=30091")
    try:
        told = "30091 of Service trial-imaging-server/nsfl-proxy-nodes is that of Service default/theirs"
        for entry in ("precheck", "main"):
            unchanged(play(entry), ours(), told)
        assert ours(OF_SERVER) == {}
    finally:
        kubectl("-n", "default", "delete", "service", "theirs")
    run = play("main", "--check")
    assert (run.changed, run.failed, ours(OF_SERVER)) == (1, 0, {})


# -- nodes


def placed() -> dict[str, tuple[str, str]]:
    """The phase and the node of each component's pod that isn't going."""
    found = json.loads(kubectl("get", "pods", "-A", f"-l=app in ({','.join((*DEPLOYMENTS, MANAGER_NAME))})", "-o=json"))
    return {
        one["metadata"]["labels"]["app"]: (one["status"]["phase"], one["spec"].get("nodeName", ""))
        for one in found["items"]
        if "deletionTimestamp" not in one["metadata"]
    }


def wait_for(wanted: dict[str, tuple[str, str]]) -> None:
    end = time.monotonic() + 240
    while placed() != wanted:
        assert time.monotonic() < end, placed()
        time.sleep(2)


def test_what_a_lost_node_had_runs_on_another_but_for_what_keeps_its_disk() -> None:
    server = dict.fromkeys(DEPLOYMENTS, ("Running", "fake-2"))
    CLUSTER.node("fake-2")
    kubectl("delete", "node", "fake-1")
    try:
        wait_for(server | {MANAGER_NAME: ("Pending", "")})
        told = play("check", role="neursafe_client")
        assert told.failed == 1
        assert "nsfl-task-manager: 0/1 nodes are available" in told.words
    finally:
        CLUSTER.node("fake-1")
    wait_for(server | {MANAGER_NAME: ("Running", "fake-1")})


# -- by a document, as its users do it

DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: whole
parties:
  lab: {}
clusters:
  kc: {party: lab, kubeconfig: files/kc}
stacks:
  imaging:
    kind: neursafe
    server: {cluster: kc, images: {registry: "registry.example:5000", tag: "1.0"}}
    storage: {external: {type: posix}}
    database: {external: {address: "10.20.0.13:5432", username: neursafe, secret: imaging_database}}
    clients:
      a: {cluster: kc, directory: /srv/whole/client, lmdb: {node: fake-1, path: /var/lib/lmdb}}
    settings: {proxy: {grpc_port: 30191, http_port: 30192}, task_manager: {port: 30190}}
"""


def executions(said: str) -> int:
    """How often the cluster's host was asked to run or to take something."""
    return len(re.findall(r"^<cluster-kc> (?:EXEC|PUT|FETCH) ", said, re.MULTILINE))


def test_a_document_goes_all_the_way(tmp_path: Path, afterwards: None) -> None:
    assert play("remove").failed == 0  # a cluster takes one server
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "kc").write_text(CLUSTER.admin.read_text())
    (tmp_path / "federation.yml").write_text(DOCUMENT)
    (tmp_path / "vault-pass").write_text("only for the test")
    environment = {**PLAIN, "ANSIBLE_VAULT_PASSWORD_FILE": str(tmp_path / "vault-pass")}

    def told(*command: str) -> str:
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def run(name: str, *options: str) -> str:
        said = told("ansible-playbook", "-i", "federation.yml", f"fedlearn.infra.{name}", *options)
        (changed,) = re.findall(r"^cluster-kc\s+: ok=\d+\s+changed=(\d+)", said, re.MULTILINE)
        return str(changed)

    # the scenario's own client, of another federation, has that folder
    (tmp_path / "federation.yml").write_text(DOCUMENT.replace("/srv/whole", "/mnt/neursafe_client"))
    told("ansible-playbook", "-i", "federation.yml", "fedlearn.infra.secrets")
    command = ["ansible-playbook", "-i", "federation.yml", "fedlearn.infra.precheck"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (
        "in this cluster already: '/mnt/neursafe_client/client' of 'whole-imaging-client-a'"
        in done.stdout + done.stderr
    )
    (tmp_path / "federation.yml").write_text(DOCUMENT)
    of_federation = f"{OURS},fedlearn.infra/federation=whole"
    assert [run(name) for name in ("secrets", "precheck", "site")] == ["0", "0", "2"]
    before = ours(of_federation)
    assert (run("site"), ours(of_federation)) == ("0", before)
    assert executions(told("ansible", "-i", "federation.yml", "cluster-kc", "-m", "ansible.builtin.ping", "-vvv")) > 0
    again = executions(told("ansible-playbook", "-i", "federation.yml", "fedlearn.infra.site", "-vvv"))
    print(f"{again} executions on the cluster's host")
    assert again <= 3
    for mode in ("probe", "round"):
        run("verify", "-e", f"verify={mode}")
        report = json.loads((tmp_path / "build" / "whole" / "verify.json").read_text())["stacks"]["imaging"]
        # kwok's pods only seem to run
        assert (report["mode"], report["real"], report["passed"]) == (mode, False, None)
        assert [row for row in report["checks"] if not row["passed"]] == []
    # the last client leaves the document: its role is none of the cluster's any more
    (tmp_path / "federation.yml").write_text(re.sub(r"    clients:\n.*\n", "", DOCUMENT))
    left = subprocess.run(
        ["ansible-playbook", "-i", "federation.yml", "fedlearn.infra.status"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert left.returncode == 2, left.stdout + left.stderr
    (status,) = json.loads((tmp_path / "build" / "whole" / "status.json").read_text())["stacks"]["imaging"][
        "hosts"
    ].values()
    assert [(one["kind"], one["name"]) for one in status["orphans"]] == [("in the cluster", "whole-imaging-client-a")]
    assert "`-e fedlearn_prune=true` removes them" in told(
        "ansible-playbook", "-i", "federation.yml", "fedlearn.infra.site"
    )
    run("site", "-e", "fedlearn_prune=true")
    assert [name for name in ours(of_federation) if "client-a" in name] == []
    run("remove")
    assert ours(of_federation) == {}


TWO_PARTIES = """\
plugin: fedlearn.infra.federation
version: 1
federation: shared
parties:
  lab: {hosts: {db1: 10.20.0.13}}
  clinic: {hosts: {db2: 10.30.0.13}}
clusters:
  kc: {party: lab, kubeconfig: files/kc}
  kclinic: {party: clinic, kubeconfig: files/kc}
stacks:
  imaging:
    kind: neursafe
    server: {cluster: kc, node_address: 10.20.0.12, images: {registry: "registry.example:5000", tag: "1.0"}}
    storage: {external: {type: posix}}
    database: {external: {address: "10.20.0.13:5432", username: neursafe, secret: imaging_database}}
    clients:
      a:
        cluster: kclinic
        node_address: 10.20.0.12
        directory: /srv/shared/client
        lmdb: {node: fake-1, path: /var/lib/lmdb}
        images: {registry: "registry.example:5000", tag: "1.0"}
        database: {external: {address: "10.30.0.13:5432", username: neursafe, secret: clinic_database}}
    settings: {proxy: {grpc_port: 30191, http_port: 30192}, task_manager: {port: 30190}}
"""


def test_parties_of_one_cluster_each_by_its_viewpoint_leave_each_other_s_alone(
    tmp_path: Path, afterwards: None
) -> None:
    assert play("remove").failed == 0  # a cluster takes one server
    (tmp_path / "federation.yml").write_text(TWO_PARTIES)
    (tmp_path / "vault-pass").write_text("only for the test")
    for party in ("lab", "clinic"):
        (tmp_path / party / "files").mkdir(parents=True)
        (tmp_path / party / "files" / "kc").write_text(CLUSTER.admin.read_text())
        view = {"plugin": "fedlearn.infra.federation", "document": "../federation.yml", "party": party}
        (tmp_path / party / "view.yml").write_text(yaml.safe_dump(view))
    environment = {**PLAIN, "ANSIBLE_VAULT_PASSWORD_FILE": str(tmp_path / "vault-pass")}

    def run(party: str, name: str, cluster: str, *options: str) -> str:
        command = ["ansible-playbook", "-i", "view.yml", f"fedlearn.infra.{name}", "--limit", cluster, *options]
        folder = tmp_path / party
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def of(party: str) -> dict[str, str]:
        return ours(f"{OURS},fedlearn.infra/federation=shared,fedlearn.infra/party={party}")

    for party, cluster in (("lab", "cluster-kc"), ("clinic", "cluster-kclinic")):
        run(party, "secrets", cluster)
        assert "fedlearn_prune" not in run(party, "site", cluster)
    lab, clinic = of("lab"), of("clinic")
    assert (len(lab) > 20, len(clinic) > 10) == (True, True)
    for party, cluster in (("lab", "cluster-kc"), ("clinic", "cluster-kclinic")):
        run(party, "status", cluster)
        run(party, "site", cluster, "-e", "fedlearn_prune=true")
    assert (of("lab"), of("clinic")) == (lab, clinic)
    run("clinic", "remove", "cluster-kclinic")
    assert (of("lab"), of("clinic")) == (lab, {})
    run("lab", "remove", "cluster-kc")
    assert of("lab") == {}
