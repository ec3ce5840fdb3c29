# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a cluster is reached, and what is done there, against a small double of its API.

The double keeps objects as they are applied and defaults nothing; the scenario neursafe_server has the real one.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml

from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster import kubeconfig, rendered, strange
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.api import KINDS, Api, ApiError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.converge import (
    INSTANCE,
    PARTY,
    Cluster,
    RefusedError,
    Scope,
    orphans,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._cluster.readiness import Readiness
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.parts import (
    Home,
    admission,
    local_volume,
    shared_volume,
)
from tests.unit.conftest import CHECKOUT, run


class Double(ThreadingHTTPServer):
    """Keeps what is applied, but for what is called bad."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.objects: dict[str, dict[str, Any]] = {}
        self.version: Any = {"major": "1", "minor": "34"}
        self.denied: set[tuple[str, str]] = set()
        self.status = 0
        self.applied: list[str] = []
        self.number = 0
        self.changes_left = 1_000
        self.no_pods = ""
        self.others = ["statefulsets"]
        """Kinds that no manifest of ours has, of the group apps."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one packet
    server: Double

    def log_message(self, *_arguments: object) -> None:
        pass

    def _answer(self, value: Any, status: int = 200) -> None:
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _body(self) -> Any:
        return json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")

    def _missing(self) -> None:
        self._answer({"message": "not found"}, 404)

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if self.server.status:
            return self._answer({"message": "no"}, self.server.status)
        if url.path == "/version":
            return self._answer(self.server.version)
        if url.path in ("/api", "/apis"):
            return self._answer({"items": self._kinds(url.path)})
        if "labelSelector" in parse_qs(url.query):
            wanted = dict(each.split("=") for each in parse_qs(url.query)["labelSelector"][0].split(","))
            kind = url.path.rsplit("/", 1)[1]
            found = [
                one
                for path, one in self.server.objects.items()
                if path.rsplit("/", 2)[1] == kind and wanted.items() <= one["metadata"].get("labels", {}).items()
            ]
            return self._answer({"items": found})
        folder, kind = url.path.rsplit("/", 1)
        if ("list", kind) in self.server.denied:
            return self._answer({"message": "forbidden"}, 403)
        if kind in {*(one.plural for one in KINDS.values()), *self.server.others}:
            inside = f"{url.path}/" if "/namespaces/" in url.path else folder
            there = {path: one for path, one in self.server.objects.items() if path.startswith(inside)}
            return self._answer({"items": [one for path, one in there.items() if path.rsplit("/", 2)[1] == kind]})
        found = self.server.objects.get(url.path)
        return self._answer(found) if found else self._missing()

    def _kinds(self, root: str) -> list[dict[str, Any]]:
        """Groups as the API tells them: one version each."""
        groups: dict[str, list[dict[str, Any]]] = {}
        told = [(name, one.version, one.plural, one.namespaced) for name, one in KINDS.items()]
        told += [(name, "apps/v1", name, True) for name in self.server.others]
        for name, version, plural, namespaced in told:
            if version.count("/") == (root == "/apis"):
                scope = "Namespaced" if namespaced else "Cluster"
                kind = {"resource": plural, "responseKind": {"kind": name}, "scope": scope, "verbs": ["list"]}
                groups.setdefault(version, []).append(kind)
        return [
            {
                "metadata": {"name": version.rpartition("/")[0]},
                "versions": [{"version": version.rpartition("/")[2], "resources": kinds}],
            }
            for version, kinds in groups.items()
        ]

    def do_POST(self) -> None:
        if not urlsplit(self.path).path.endswith("selfsubjectaccessreviews"):
            return self._tried()
        asked = self._body()["spec"]["resourceAttributes"]
        verb, kind = asked["verb"], asked["resource"]
        allowed = not self.server.denied if kind == "*" else (verb, kind) not in self.server.denied
        return self._answer({"status": {"allowed": allowed}})

    def _tried(self) -> None:
        """Only whether it would be taken."""
        assert parse_qs(urlsplit(self.path).query)["dryRun"] == ["All"]
        asked = self._body()
        if asked["kind"] == "Pod" and self.server.no_pods:
            return self._answer({"message": self.server.no_pods}, 403)
        if asked["metadata"]["name"].startswith("bad"):
            return self._answer({"message": "spec.x: is wrong"}, 422)
        return self._answer(asked)

    def _stepped(self, live: dict[str, Any], steps: list[dict[str, Any]]) -> dict[str, Any]:
        """What a JSON patch of these tests makes of it."""
        made = json.loads(json.dumps(live))
        for step in steps:
            *way, last = step["path"].strip("/").split("/")
            place = made
            for key in way:
                place = place[key]
            if step["op"] == "add":
                place[last] = step["value"]
            elif step["op"] == "remove":
                place.pop(int(last) if isinstance(place, list) else last)
            else:
                assert place[last] == step["value"]
        return dict(made)

    def do_PATCH(self) -> None:
        url, body = urlsplit(self.path), self._body()
        if isinstance(body, list):
            made = self._stepped(self.server.objects[url.path], body)
            if "dryRun" not in parse_qs(url.query):
                self.server.objects[url.path] = made
            return self._answer(made)
        if body["metadata"]["name"].startswith("bad"):
            return self._answer({"message": "spec.x: is wrong"}, 422)
        live = self.server.objects.get(url.path, {})
        metadata = {**live.get("metadata", {}), **body["metadata"]}
        made = {**live, **body, "metadata": metadata}
        wrote = {"manager": "fedlearn.infra", "operation": "Apply", "fieldsV1": {"f:spec": {}}}
        metadata["managedFields"] = [*metadata.get("managedFields", [wrote])]
        if "dryRun" not in parse_qs(url.query):
            if self._ended():
                return None
            self.server.number += 1
            metadata["resourceVersion"] = str(self.server.number)
            self.server.objects[url.path] = made
            self.server.applied.append(body["metadata"]["name"])
        return self._answer(made)

    def _ended(self) -> bool:
        """Whether the run is to end here, before this change."""
        self.server.changes_left -= 1
        if self.server.changes_left >= 0:
            return False
        self._answer({"message": "ended"}, 500)
        return True

    def do_DELETE(self) -> None:
        self._body()
        if self._ended():
            return
        gone = self.server.objects.pop(urlsplit(self.path).path, None)
        self._answer({"status": "Success"}) if gone else self._missing()


@pytest.fixture
def double() -> Iterator[Double]:
    server = Double()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def written(folder: Path, server: Any, user: dict[str, Any] | None = None, **cluster: Any) -> str:
    """A kubeconfig."""
    values = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": server, **cluster}}],
        "users": [{"name": "u", "user": user or {}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(values))
    return str(folder / "kubeconfig")


@pytest.fixture
def cluster(double: Double, tmp_path: Path) -> Cluster:
    file = written(tmp_path, f"http://127.0.0.1:{double.server_address[1]}")
    return Cluster(Api(kubeconfig.read(file)), Scope("demo", "lab", "server"))


def config(name: str, text: str = "a", namespace: str = "ns") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"x": text}}


def converge(
    cluster: Cluster, wanted: dict[str, list[dict[str, Any]]], absent: tuple[str, ...] = (), prune: bool = False
) -> None:
    cluster.change(wanted, cluster.look(wanted, absent), prune=prune)


# -- what is done


def test_only_what_differs_is_applied(cluster: Cluster, double: Double) -> None:
    converge(cluster, {"one": [config("a"), config("b")]})
    assert double.applied == ["a", "b"]
    converge(cluster, {"one": [config("a"), config("b", "other")]})
    assert double.applied == ["a", "b", "b"]
    converge(cluster, {"one": [config("a"), config("b", "other")]})
    assert double.applied == ["a", "b", "b"]


def test_what_lies_in_a_namespace_that_is_to_come_is_not_tried_before(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(Cluster, "_try", lambda self, one, _live: tried.append(one["metadata"]["name"]) or one)
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}}
    found = cluster.look({"one": [made, config("a"), config("b", namespace="elsewhere")]})
    assert (tried, len(found.created)) == (["ns", "b"], 3)


def test_what_an_instance_has_no_more_goes_and_others_stays(cluster: Cluster, double: Double) -> None:
    converge(cluster, {"one": [config("a"), config("b")], "two": [config("c")]})
    converge(cluster, {"one": [config("a")]})
    assert sorted(path.rsplit("/", 1)[1] for path in double.objects) == ["a", "c"]
    found = cluster.look({"one": [config("a")]})
    assert (found.removed, found.orphans) == ([], [("ConfigMap", "ns", "c")])
    converge(cluster, {"one": [config("a")]}, absent=("two",))
    assert [path.rsplit("/", 1)[1] for path in double.objects] == ["a"]


@pytest.mark.parametrize("changes", range(6))
def test_what_a_run_that_ended_early_left_the_next_one_finishes(cluster: Cluster, double: Double, changes: int) -> None:
    """After each number of changes that the run may have made: three are new, one differs, one goes."""
    converge(cluster, {"one": [config("a"), config("b"), config("gone")]})
    wanted = {"one": [config("a"), config("b", "other"), config("c"), config("d"), config("e")]}
    double.changes_left = changes
    if changes < 5:
        with pytest.raises(ApiError, match="ended"):
            converge(cluster, wanted)
    double.changes_left = 1_000
    converge(cluster, wanted)
    there = {path.rsplit("/", 1)[1]: one["data"]["x"] for path, one in double.objects.items()}
    assert there == {"a": "a", "b": "other", "c": "a", "d": "a", "e": "a"}
    assert not cluster.look(wanted).differs


def test_orphans_go_when_they_are_to(cluster: Cluster, double: Double) -> None:
    converge(cluster, {"one": [config("a")], "two": [config("c")]})
    converge(cluster, {"one": [config("a")]}, prune=True)
    assert [path.rsplit("/", 1)[1] for path in double.objects] == ["a"]


NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}}


def claim(name: str, **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": "ns"},
        "spec": spec,
    }


def losses(cluster: Cluster) -> str:
    """What is told where all of one instance is to go."""
    try:
        cluster.check_losses(cluster.look({}, ("one",)).removed, "server_remove_data")
    except RefusedError as error:
        return str(error)
    return ""


def test_what_is_not_ours_does_not_go_with_its_namespace_unasked(cluster: Cluster, double: Double) -> None:
    converge(cluster, {"one": [NAMESPACE, config("a"), claim("shared", storageClassName="")]})
    within = "/api/v1/namespaces/ns"
    own = {"metadata": {"name": "kube-root-ca.crt", "namespace": "ns"}}
    made = {"metadata": {"name": "made", "namespace": "ns", "ownerReferences": [{"kind": "ReplicaSet"}]}}
    double.objects |= {f"{within}/configmaps/kube-root-ca.crt": own, f"{within}/configmaps/made": made}
    assert losses(cluster) == ""
    double.objects[f"{within}/secrets/theirs"] = {"metadata": {"name": "theirs", "namespace": "ns"}}
    stateful = f"/apis/apps/v1/namespaces/ns/{double.others[0]}/theirs"
    double.objects[stateful] = {"metadata": {"name": "theirs", "namespace": "ns"}}
    told = losses(cluster)
    assert told == (
        "this would go as well: Secret ns/theirs (not ours), statefulsets ns/theirs (not ours). Move it, or say -e "
        "server_remove_data=true"
    )
    del double.objects[stateful], double.objects[f"{within}/secrets/theirs"]
    double.denied = {("list", "statefulsets")}
    assert "statefulsets.apps ns/(can't be listed) (not ours)" in losses(cluster)


@pytest.mark.parametrize("whole", [True, False], ids=["with its namespace", "alone"])
def test_a_claim_whose_volume_goes_does_not_go_unasked(cluster: Cluster, whole: bool) -> None:
    converge(cluster, {"one": [*([NAMESPACE] if whole else []), claim("lmdb", storageClassName="fast")]})
    assert "PersistentVolumeClaim ns/lmdb (data)" in losses(cluster)


def test_what_is_in_no_document_is_found_whatever_role_it_is_of(cluster: Cluster, double: Double) -> None:
    converge(cluster, {"one": [config("a")], "two": [config("c"), config("d")]})
    client = Cluster(cluster.api, Scope("demo", "lab", "client"))
    converge(client, {"three": [config("e")]})
    converge(Cluster(cluster.api, Scope("other", "lab", "client")), {"four": [config("f")]})
    found = orphans(cluster.api, "demo", "lab", ["one"])
    assert {name: len(keys) for name, keys in found.own.items()} == {"two": 2, "three": 1}


def test_parties_of_one_cluster_leave_each_other_s_alone(cluster: Cluster, double: Double) -> None:
    """Of one federation, one role and one cluster, each by its own viewpoint; also two documents of one name."""
    clinic = Cluster(cluster.api, Scope("demo", "clinic", "server"))
    converge(cluster, {"one": [config("a")]})
    converge(clinic, {"two": [config("b")]}, prune=True)
    converge(cluster, {"one": [config("a")]}, prune=True)
    assert [path.rsplit("/", 1)[1] for path in double.objects] == ["a", "b"]
    assert cluster.look({"one": [config("a")]}, prune=True).orphans == []
    assert orphans(cluster.api, "demo", "lab", []).own == {"one": [("ConfigMap", "ns", "a")]}
    assert orphans(cluster.api, "demo", "clinic", []).own == {"two": [("ConfigMap", "ns", "b")]}
    told = "somebody else's, by our names: ConfigMap ns/a (of 'one', federation 'demo', party 'lab')."
    with pytest.raises(RefusedError, match=re.escape(told)):
        clinic.look({"one": [config("a")]})
    converge(clinic, {}, absent=("one", "two"))
    assert [path.rsplit("/", 1)[1] for path in double.objects] == ["a"]


def test_what_a_former_release_made_is_ours_by_its_instance_and_else_stays(cluster: Cluster, double: Double) -> None:
    wanted = {"one": [config("a"), config("b")], "two": [config("c")]}
    converge(cluster, wanted)
    for one in double.objects.values():
        del one["metadata"]["labels"][PARTY]
    found = cluster.look({"one": [config("a")]}, prune=True)
    assert (found.changed, found.removed, found.orphans) == (
        [("ConfigMap", "ns", "a")],
        [("ConfigMap", "ns", "b")],
        [],
    )
    converge(cluster, {"one": [config("a")]}, prune=True)
    assert {path.rsplit("/", 1)[1]: one["metadata"]["labels"].get(PARTY) for path, one in double.objects.items()} == {
        "a": "lab",
        "c": None,
    }
    left = orphans(cluster.api, "demo", "lab", ["one"])
    assert (left.own, left.unclaimed) == ({}, {"two": [("ConfigMap", "ns", "c")]})
    converge(cluster, {}, absent=("two",))
    assert [path.rsplit("/", 1)[1] for path in double.objects] == ["a"]


def test_things_go_in_the_order_in_which_nothing_misses_them(cluster: Cluster) -> None:
    gone: list[str] = []
    cluster.api.delete = lambda kind, namespace, name: gone.append(kind)  # type: ignore[method-assign]
    cluster.remove([(kind, "", "x") for kind in KINDS])
    assert gone == list(reversed(list(KINDS)))


@pytest.mark.parametrize(("told", "simulated"), [({}, ["web"]), ({"containerID": "containerd://a"}, [])])
def test_a_pod_that_runs_without_a_container_is_simulated(
    cluster: Cluster, double: Double, told: dict[str, str], simulated: list[str]
) -> None:
    web = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "ns"}}
    for name, state in (("a", {"running": {}}), ("b", {"waiting": {"reason": "ImagePullBackOff"}})):
        states = [{"name": "web", "state": state, **told}]
        pod = {"metadata": {"name": name, "labels": {"app": "web"}}, "status": {"containerStatuses": states}}
        double.objects[f"/api/v1/namespaces/ns/pods/{name}"] = pod
    assert Readiness(cluster.api).simulated({"first": [web, config("web")]}) == simulated


def test_a_namespace_that_was_there_is_nobody_s(cluster: Cluster, double: Double) -> None:
    default = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default", "labels": {"level": "x"}}}
    double.objects["/api/v1/namespaces/default"] = {
        "kind": "Namespace",
        "apiVersion": "v1",
        "metadata": {"name": "default"},
    }
    converge(cluster, {"one": [default]})
    assert double.objects["/api/v1/namespaces/default"]["metadata"]["labels"] == {"level": "x"}
    converge(cluster, {}, absent=("one",))
    assert "/api/v1/namespaces/default" in double.objects


def web(**spec: Any) -> dict[str, Any]:
    own = {"name": "web", "image": "web:1", "env": [{"name": "A", "value": "1"}]}
    template = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [own], **spec}}
    metadata = {"name": "web", "namespace": "ns"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": {"template": template}}


WEB = "/apis/apps/v1/namespaces/ns/deployments/web"


def test_what_others_put_into_ours_is_where_they_put_it() -> None:
    wanted, live = web(volumes=[{"name": "own"}]), web(volumes=[{"name": "own"}, {"name": "host"}])
    live["spec"]["externalIPs"] = ["10.0.0.1"]
    pod = live["spec"]["template"]["spec"]
    pod["containers"] = [{"name": "evil"}, *pod["containers"]]
    pod["containers"][1] |= {
        "args": ["--evil"],
        "env": [{"name": "A", "value": "1"}, {"name": "LD_PRELOAD", "value": "x"}],
        "envFrom": [{"secretRef": {"name": "theirs"}}],
        "volumeMounts": [{"name": "host", "mountPath": "/host"}],
    }
    pod["hostAliases"] = [{"ip": "10.0.0.1", "hostnames": ["database"]}]
    assert sorted(strange.beyond(live, wanted)) == [
        "containers[evil]",
        "containers[web].args",
        "containers[web].envFrom",
        "containers[web].env[LD_PRELOAD]",
        "containers[web].volumeMounts",
        "hostAliases",
        "spec.externalIPs",
        "volumes[host]",
    ]
    assert strange.beyond(wanted, wanted) == []
    assert strange.put_in(wanted, live) == [
        "containers[evil]",
        "containers[web].env[LD_PRELOAD]",
        "containers[web].volumeMounts[/host]",
        "volumes[host]",
        "hostAliases[10.0.0.1]",
    ]


@pytest.mark.parametrize(
    ("manager", "operation", "subresource", "fields", "may"),
    [
        ("kubectl-edit", "Update", "", {"f:spec": {}}, True),
        ("kubectl-label", "Update", "", {"f:metadata": {}}, False),
        ("kube-controller-manager", "Update", "status", {"f:metadata": {}, "f:status": {}}, False),
        ("fedlearn.infra", "Update", "", {"f:spec": {}}, True),
    ],
)
def test_the_api_says_who_wrote_in_ours(
    manager: str, operation: str, subresource: str, fields: dict[str, Any], may: bool
) -> None:
    own = {"manager": "fedlearn.infra", "operation": "Apply", "fieldsV1": {"f:metadata": {}, "f:spec": {}}}
    other = {"manager": manager, "operation": operation, "subresource": subresource, "fieldsV1": fields}
    found = config("a")
    found["metadata"]["managedFields"] = [own]
    assert not strange.may_have(found)
    found["metadata"]["managedFields"] = [own, other]
    assert strange.may_have(found) is may
    found["metadata"]["managedFields"] = []
    assert strange.may_have(found)  # somebody took the record away
    assert strange.may_have(web() | {"metadata": {"managedFields": [own]}})  # a webhook is in no record


def test_annotations_of_others_that_steer_an_ingress_are_told_and_go() -> None:
    metadata = {"name": "web", "annotations": {"haproxy.example/timeout": "1"}}
    wanted = {"kind": "Ingress", "metadata": metadata, "spec": {"rules": []}}
    theirs = {
        "nginx.ingress.kubernetes.io/configuration-snippet": "x",
        "haproxy.example/backend-config": "x",
        "field.example.io/publicEndpoints": "[]",
        "ingress.kubernetes.io/backends": "{}",
        "note": "x",
    }
    there = {**wanted, "metadata": {"name": "web", "annotations": {**metadata["annotations"], **theirs}}}
    assert strange.steering(wanted, there) == list(theirs)[:2]
    assert strange.steering({**wanted, "kind": "Service"}, there) == []
    assert [step["path"] for step in strange.alone(wanted, there) if step["op"] == "remove"] == [
        "/metadata/annotations/nginx.ingress.kubernetes.io~1configuration-snippet",
        "/metadata/annotations/haproxy.example~1backend-config",
    ]
    assert strange.steering(wanted, wanted) == []


def test_what_others_put_into_ours_goes_and_labels_of_theirs_stay(cluster: Cluster, double: Double) -> None:
    converge(cluster, {"one": [web()]})
    live = double.objects[WEB]
    live["spec"]["paused"] = True
    live["spec"]["template"]["metadata"]["annotations"] = {"restartedAt": "now"}
    live["metadata"]["managedFields"].append({"manager": "x", "operation": "Update", "fieldsV1": {"f:spec": {}}})
    # the API leaves in place what an apply doesn't speak of, which the double doesn't
    cluster.api.apply = lambda _one, dry_run: double.objects[WEB]  # type: ignore[method-assign]
    found = cluster.look({"one": [web()]})
    assert (found.changed, found.strange) == (
        [("Deployment", "ns", "web")],
        {("Deployment", "ns", "web"): ["spec.paused"]},
    )
    cluster.change({"one": [web()]}, found, prune=False)
    assert "paused" not in double.objects[WEB]["spec"]
    assert double.objects[WEB]["spec"]["template"]["metadata"]["annotations"] == {"restartedAt": "now"}
    assert cluster.back({"one": [web()]}, found) == {}
    assert not cluster.look({"one": [web()]}).differs
    double.objects[WEB]["spec"]["paused"] = True  # something in the cluster does so each time
    assert cluster.back({"one": [web()]}, found) == {("Deployment", "ns", "web"): ["spec.paused"]}


def test_what_the_cluster_itself_puts_in_is_told_once(cluster: Cluster, double: Double) -> None:
    """A webhook's: the API answers each apply with it."""

    def injected(one: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
        made = json.loads(json.dumps(one))
        made["spec"]["template"]["spec"]["containers"].append({"name": "mesh"})
        record = {"manager": "fedlearn.infra", "operation": "Apply", "fieldsV1": {"f:spec": {}}}
        made["metadata"] |= {"managedFields": [record], "resourceVersion": "1"}
        if not dry_run:
            double.objects[WEB] = made
        return dict(made)

    def stepped(live: dict[str, Any], steps: list[dict[str, Any]], *, dry_run: bool) -> dict[str, Any]:
        assert dry_run
        return injected({**live, "spec": steps[0]["value"]}, dry_run=True)

    cluster.api.apply = injected  # type: ignore[method-assign]
    cluster.api.patch = stepped  # type: ignore[method-assign]
    found = cluster.look({"one": [web()]})
    assert cluster.change({"one": [web()]}, found, prune=False) == {("Deployment", "ns", "web"): ["containers[mesh]"]}
    assert not cluster.look({"one": [web()]}).differs
    other = web(hostname="other")
    found = cluster.look({"one": [other]})
    assert found.changed == [("Deployment", "ns", "web")]
    assert cluster.change({"one": [other]}, found, prune=False) == {}


@pytest.mark.parametrize(
    ("spec", "labels", "told"),
    [
        ({"podSelector": {}, "ingress": [{}]}, {}, True),
        ({"podSelector": {}, "egress": [{}]}, {}, True),
        ({"podSelector": {}, "policyTypes": ["Ingress"]}, {}, False),
        ({"podSelector": {}, "ingress": [{}]}, {"app.kubernetes.io/managed-by": "fedlearn.infra"}, False),
    ],
)
def test_policies_of_others_that_open_what_ours_close(
    cluster: Cluster, double: Double, spec: dict[str, Any], labels: dict[str, str], told: bool
) -> None:
    converge(cluster, {"one": [NAMESPACE]})
    for namespace in ("ns", "elsewhere"):
        policy = {"metadata": {"name": "open", "namespace": namespace, "labels": labels}, "spec": spec}
        double.objects[f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/open"] = policy
    found = cluster.look({"one": [NAMESPACE]})
    assert found.opening == ([("NetworkPolicy", "ns", "open")] if told else [])
    assert not found.differs


# -- what jobs' pods are pulled with

ACCOUNT = "/api/v1/namespaces/default/serviceaccounts/default"


def pulling(name: str) -> list[dict[str, Any]]:
    metadata = {"name": name, "namespace": "default"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": {}}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default"}}
    return [secret, {**account, "imagePullSecrets": [{"name": name}]}]


def test_an_account_of_others_pulls_with_ours_beside_theirs(cluster: Cluster, double: Double) -> None:
    own = {"kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default", "resourceVersion": "1"}}
    double.objects[ACCOUNT] = {**own, "imagePullSecrets": [{"name": "theirs"}]}

    def named() -> list[str]:
        return [one["name"] for one in double.objects[ACCOUNT]["imagePullSecrets"]]

    wanted = {"one": pulling("one"), "two": pulling("two")}
    converge(cluster, wanted)
    assert named() == ["theirs", "one", "two"]
    assert "labels" not in double.objects[ACCOUNT]["metadata"]
    assert not cluster.look(wanted).differs
    double.objects[ACCOUNT]["imagePullSecrets"] = [{"name": "theirs"}, {"name": "one"}]
    found = cluster.look(wanted)
    assert found.changed == [("ServiceAccount", "default", "default")]
    cluster.change(wanted, found, prune=False)
    converge(cluster, {"one": [], "two": pulling("two")})  # a login that is wanted no more
    assert named() == ["theirs", "two"]
    converge(cluster, {}, absent=("two",))
    assert named() == ["theirs"]
    assert list(double.objects) == [ACCOUNT]


# -- what is refused, and changes nothing


def refusal(cluster: Cluster, double: Double, *wanted: dict[str, Any]) -> str:
    before = dict(double.objects)
    with pytest.raises((RefusedError, ApiError)) as caught:
        converge(cluster, {"one": list(wanted)})
    assert double.objects == before
    return str(caught.value)


@pytest.mark.parametrize("minor", ["29", "29+"])
def test_an_old_cluster(cluster: Cluster, double: Double, minor: str) -> None:
    double.version = {"major": "1", "minor": minor}
    assert refusal(cluster, double, config("a")).endswith(" is Kubernetes 1.29: 1.30 or newer is needed")


def test_something_that_is_no_cluster(cluster: Cluster, double: Double) -> None:
    double.version = {"name": "something else"}
    assert refusal(cluster, double, config("a")).endswith(" doesn't say which version of Kubernetes it is")


def test_rights_that_are_missing_are_all_named(cluster: Cluster, double: Double) -> None:
    double.denied = {("patch", "configmaps"), ("list", "secrets")}
    assert refusal(cluster, double, config("a")).endswith(
        " lacks rights: list secrets, patch configmaps in namespace ns"
    )


def test_who_gives_a_policy_an_account_may_read_all_accounts(cluster: Cluster, double: Double) -> None:
    double.denied = {("get", "serviceaccounts")}
    policies = admission(Home("ns"), "a", ["/mnt/fl"], "default")
    assert refusal(cluster, double, *policies).endswith(" lacks rights: get serviceaccounts")


def test_the_right_to_wait_for_pods_is_needed_too(cluster: Cluster, double: Double) -> None:
    double.denied = {("list", "pods")}
    web = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "ns"}}
    assert refusal(cluster, double, web).endswith(" lacks rights: list pods in namespace ns")


@pytest.mark.parametrize(
    ("denied", "told"),
    [
        (("delete", "configmaps"), "delete configmaps in namespace ns"),
        (("get", "secrets"), "get secrets in namespace default"),
        (("patch", "serviceaccounts"), "patch serviceaccounts in namespace default"),
    ],
)
@pytest.mark.parametrize("pruned", [False, True])
def test_rights_that_are_missing_for_what_goes_are_named_before_anything_does(
    cluster: Cluster, double: Double, denied: tuple[str, str], told: str, pruned: bool
) -> None:
    own = {"kind": "ServiceAccount", "metadata": {"name": "default", "namespace": "default", "resourceVersion": "1"}}
    double.objects[ACCOUNT] = own
    converge(cluster, {"one": [config("a"), *pulling("one")]})
    double.denied = {denied}
    before = dict(double.objects)
    other = Cluster(cluster.api, cluster.scope)
    with pytest.raises(RefusedError) as caught:
        other.look({}, () if pruned else ("one",), prune=pruned)
    assert str(caught.value).endswith(f" lacks rights: {told}")
    left = orphans(cluster.api, "demo", "lab", []).own["one"]
    with pytest.raises(RefusedError, match="lacks rights"):
        Cluster(cluster.api, cluster.scope).check_removal(left)
    assert double.objects == before
    assert other.look({}).orphans  # who only looks needs no more


def test_what_is_somebody_else_s(cluster: Cluster, double: Double) -> None:
    double.objects["/api/v1/namespaces/ns/configmaps/b"] = config("b")
    assert refusal(cluster, double, config("a"), config("b")).startswith(
        "somebody else's, by our names: ConfigMap ns/b."
    )


def test_what_another_federation_has(cluster: Cluster, double: Double) -> None:
    other = Cluster(cluster.api, Scope("other", "lab", "server"))
    converge(other, {"one": [config("a")]})
    assert "somebody else's" in refusal(cluster, double, config("a"))
    assert double.objects["/api/v1/namespaces/ns/configmaps/a"]["metadata"]["labels"][INSTANCE] == "one"


def test_a_second_instance_where_a_cluster_takes_one(cluster: Cluster, double: Double) -> None:
    def space(name: str) -> dict[str, Any]:
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}

    def alone(federation: str) -> Cluster:
        return Cluster(cluster.api, Scope(federation, "lab", "server", alone=True))

    converge(alone("demo"), {"one": [space("one")]})
    converge(alone("demo"), {"one": [space("one")]})
    told = "federation 'demo' has 'one' in this cluster already"
    assert told in refusal(alone("other"), double, space("theirs"))
    with pytest.raises(RefusedError, match=told):
        alone("demo").look({"two": [space("two")]})
    assert alone("demo").look({"two": [space("two")]}, absent=("one",)).removed == [("Namespace", "", "one")]
    assert alone("demo").look({"two": [space("two")]}, prune=True).orphans == [("Namespace", "", "one")]
    converge(alone("demo"), {}, absent=("one",))
    converge(alone("other"), {"one": [space("theirs")]})


def volumes(name: str, folder: str, user: int, disk: str) -> list[dict[str, Any]]:
    """A client's: what its directory lies in, and its disk of a node."""
    home = Home(name)
    return [
        *shared_volume(home, "shared", folder, user, "1Gi"),
        *(local_volume(home, "lmdb", "n1", disk, "1Gi") if disk else ()),
    ]


@pytest.mark.parametrize(
    ("folder", "user", "disk", "told"),
    [
        ("/mnt/b", 2001, "/srv/b", ""),
        (
            "/mnt/a/b",
            2001,
            "/srv/b",
            "'/mnt/a/b' of 'b' of federation 'demo' is 'a' of federation 'other''s '/mnt/a', too",
        ),
        ("/mnt/b", 2000, "/srv/b", "2000 is the user of 'a' of federation 'other', too"),
        ("/mnt/b", 2001, "/srv/a", "'/srv/a' of node 'n1' is of 'a' of federation 'other', too"),
        ("/mnt/b", 2001, "/mnt/a/lmdb", "'/mnt/a/lmdb' is in the directory of 'a' of federation 'other'"),
        ("/srv/a", 2001, "", "lmdb.path of 'a' of federation 'other': '/srv/a/lmdb' is in the directory of"),
        ("/srv/deep/b", 2001, "/mnt", "'/mnt' has the directory of 'a' of federation 'other' in it"),
        ("/srv/a/b", 2001, "", "lmdb.path of 'a' of federation 'other': '/srv/a' has the directory of 'b' of"),
    ],
)
def test_what_another_document_s_client_has_of_the_nodes(
    cluster: Cluster, double: Double, folder: str, user: int, disk: str, told: str
) -> None:
    theirs = volumes("a", "/mnt/a", 2000, "/srv/a/lmdb" if "srv/a/lmdb" in told else "/srv/a")
    converge(Cluster(cluster.api, Scope("other", "lab", "client")), {"a": theirs})
    if not told:
        return converge(cluster, {"b": volumes("b", folder, user, disk)})
    before = dict(double.objects)
    with pytest.raises(RefusedError) as caught:
        converge(cluster, {"b": volumes("b", folder, user, disk)})
    assert str(caught.value).startswith(f"in this cluster already: {told}"), caught.value
    assert double.objects == before
    converge(Cluster(cluster.api, Scope("other", "lab", "client")), {}, absent=("a",))
    return converge(cluster, {"b": volumes("b", folder, user, disk)})


POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job", "namespace": "default"}, "spec": {}}


def test_a_namespace_that_would_refuse_jobs_pods(cluster: Cluster, double: Double) -> None:
    double.no_pods = 'pods "job" is forbidden: violates PodSecurity "baseline:latest": hostPath volumes'
    with pytest.raises(RefusedError) as caught:
        cluster.look({"one": [config("a")]}, made=[POD])
    assert str(caught.value) == (
        'the namespace default would take no pods of jobs, which are root and have files of their node: pods "job" is '
        'forbidden: violates PodSecurity "baseline:latest": hostPath volumes. Where it is pod security `kubectl label '
        "--overwrite namespace default pod-security.kubernetes.io/enforce=privileged` lets them in; otherwise exempt "
        "the namespace, or take another cluster"
    )
    converge(cluster, {}, absent=("one",))  # what goes needs it no more
    double.no_pods = 'admission webhook "x" does not support dry run'
    assert cluster.look({"one": [config("a")]}, made=[POD]).created


def test_who_asks_whether_jobs_pods_are_taken_needs_the_right(cluster: Cluster, double: Double) -> None:
    double.denied = {("create", "pods")}
    with pytest.raises(RefusedError, match="lacks rights: create pods in namespace default"):
        cluster.look({"one": [config("a")]}, made=[POD])


def nodes_service(name: str, *ports: int, namespace: str = "ns") -> dict[str, Any]:
    told = [{"port": port - 30000, "nodePort": port} for port in ports]
    metadata = {"name": name, "namespace": namespace}
    spec = {"type": "NodePort", "ports": [*told, {"port": 81}]}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def test_ports_of_nodes_that_others_have(cluster: Cluster, double: Double) -> None:
    double.objects["/api/v1/namespaces/theirs/services/web"] = nodes_service("web", 30091, namespace="theirs")
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "ns"}}
    for there in ((made,), ()):
        assert refusal(cluster, double, *there, nodes_service("own", 30091)) == (
            "ports of nodes that are taken: 30091 of Service ns/own is that of Service theirs/web. Take others"
        )
    converge(cluster, {"one": [made, nodes_service("own", 30092)]})
    client = Cluster(cluster.api, Scope("demo", "lab", "client"))
    with pytest.raises(RefusedError) as caught:
        client.look({"two": [nodes_service("task", 30092)]})
    assert str(caught.value) == (
        "ports of nodes that are taken: 30092 of Service ns/task is that of Service ns/own (of 'one', federation "
        "'demo', party 'lab'). Take others, or run first for what has them, which goes or gets others"
    )


PASSED_ON = {
    "renamed": ({"one": [nodes_service("new", 30091, 30092)]}, ()),
    "with its instance": ({"two": [nodes_service("new", 30091)]}, ("one",)),
    "from one to another": ({"one": [nodes_service("old", 30093), nodes_service("new", 30091, 30092)]}, ()),
}


@pytest.mark.parametrize(("wanted", "absent"), PASSED_ON.values(), ids=PASSED_ON.keys())
def test_ports_that_ours_give_up_are_free_for_ours(
    cluster: Cluster, double: Double, wanted: dict[str, list[dict[str, Any]]], absent: tuple[str, ...]
) -> None:
    """As the API does, the double has each port once, in a try, too, until the Service goes or is of another type."""
    converge(cluster, {"one": [nodes_service("old", 30091, 30092)]})
    apply, tried = cluster.api.apply, cluster.api.patch

    def taken(one: dict[str, Any]) -> None:
        for live in double.objects.values():
            if live["kind"] != "Service" or live["metadata"]["name"] == one["metadata"]["name"]:
                continue
            own = [port.get("nodePort") for port in one["spec"]["ports"]]
            if live["spec"]["type"] == "NodePort" and {*own} & {
                port.get("nodePort", 0) for port in live["spec"]["ports"]
            }:
                raise ApiError("provided port is already allocated", 422)

    def applied(one: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
        taken(one)
        return apply(one, dry_run=dry_run)

    def patched(live: dict[str, Any], steps: list[dict[str, Any]], *, dry_run: bool) -> dict[str, Any]:
        if any(step["path"] == "/spec" for step in steps):
            taken({**live, "spec": steps[0]["value"]})
        return tried(live, steps, dry_run=dry_run)

    cluster.api.apply = applied  # type: ignore[method-assign]
    cluster.api.patch = patched  # type: ignore[method-assign]
    before = json.dumps(double.objects)
    found = cluster.look(wanted, absent)
    assert (json.dumps(double.objects), [key[2] for key in found.freed]) == (before, ["old"])
    cluster.change(wanted, found, prune=False)
    there = {one["metadata"]["name"]: one["spec"] for one in double.objects.values()}
    assert there == {one["metadata"]["name"]: one["spec"] for told in wanted.values() for one in told}
    assert not cluster.look(wanted, absent).differs


def test_a_volume_that_cannot_become_another_is_told_with_the_way_out(cluster: Cluster, double: Double) -> None:
    converge(cluster, {"one": [claim("shared", resources={"requests": {"storage": "1Gi"}})]})

    def immutable(one: dict[str, Any], *, dry_run: bool) -> dict[str, Any]:
        raise ApiError("spec: Forbidden: spec is immutable after creation\n core.PersistentVolumeClaimSpec{", 422)

    cluster.api.apply = immutable  # type: ignore[method-assign]
    told = refusal(cluster, double, claim("shared", resources={"requests": {"storage": "2Gi"}}))
    assert told == (
        "PersistentVolumeClaim ns/shared can't become that while it is there (spec: Forbidden: spec is immutable after "
        "creation): take 'one' `state: absent`, run site, and take it back. Files of nodes stay, those of a class's "
        "volume don't"
    )


def test_what_the_api_does_not_take(cluster: Cluster, double: Double) -> None:
    assert refusal(cluster, double, config("a"), config("bad")) == "ConfigMap ns/bad: spec.x: is wrong"


def test_what_the_api_does_not_take_in_a_namespace_that_is_to_come(cluster: Cluster, double: Double) -> None:
    assert refusal(cluster, double, NAMESPACE, config("a"), config("bad")) == "ConfigMap ns/bad: spec.x: is wrong"


def test_credentials_that_nobody_knows(cluster: Cluster, double: Double) -> None:
    double.status = 401
    assert refusal(cluster, double).endswith("kubeconfig are wrong or have expired")


# -- kubeconfigs


@pytest.mark.parametrize(
    ("user", "header"),
    [
        ({"token": "t0"}, "Bearer t0"),
        ({"tokenFile": "token.txt"}, "Bearer t1"),
        ({"username": "a", "password": "b"}, f"Basic {base64.b64encode(b'a:b').decode()}"),
        ({"exec": {"command": "printf", "args": ['{"status": {"token": "t2"}}']}}, "Bearer t2"),
        ({"token": "t3\n"}, "Bearer t3"),
        ({"exec": {"command": "printf", "args": ['{"status": {"token": "t4\\\\n"}}']}}, "Bearer t4"),
    ],
)
def test_who_asks_is_shown(tmp_path: Path, user: dict[str, Any], header: str) -> None:
    (tmp_path / "token.txt").write_text("t1\n")
    access = kubeconfig.read(written(tmp_path, "http://127.0.0.1:6443/prefix/", user))
    assert (access.headers["Authorization"], access.port, access.prefix) == (header, 6443, "/prefix")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is no kubeconfig: no YAML"),
        ("[]", "has no current-context"),
        ("{current-context: c}", "has no context 'c'"),
        ("{current-context: c, contexts: [{name: c, context: {cluster: k}}]}", "has no cluster 'k'"),
    ],
)
def test_what_is_no_kubeconfig_is_told(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    with pytest.raises(kubeconfig.KubeconfigError, match=message):
        kubeconfig.read(str(tmp_path / "kubeconfig"))


@pytest.mark.parametrize(
    ("user", "cluster", "message"),
    [
        ({}, {"insecure-skip-tls-verify": True}, "whoever answers would get the secrets"),
        ({}, {"certificate-authority-data": "?"}, "certificate-authority-data is not what base64 makes"),
        ({}, {"certificate-authority-data": 5}, "certificate-authority-data is not what base64 makes"),
        ({}, {"certificate-authority": 5}, "certificate-authority is no path of a file"),
        ({}, {"certificate-authority": "none.pem"}, "none.pem: No such file"),
        ({}, {"certificate-authority-data": base64.b64encode(b"x").decode()}, "its certificates can't be read"),
        ({"as": "admin"}, {}, "user 'u': as isn't followed here"),
        ({"token": "t", "as-groups": ["system:masters"]}, {}, "user 'u': as-groups isn't followed here"),
        ({}, {"proxy-url": "http://10.0.0.1:3128"}, "cluster 'k': proxy-url isn't followed here"),
        ({"exec": {"command": "/nowhere/login"}}, {}, "`/nowhere/login` gave no credentials"),
        ({"exec": {"command": "false"}}, {}, "`false` gave no credentials"),
    ],
)
def test_what_leads_nowhere_is_told(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any], message: str
) -> None:
    with pytest.raises(kubeconfig.KubeconfigError, match=message):
        kubeconfig.read(written(tmp_path, "https://127.0.0.1:6443", user, **cluster))


SECRET = "CANARY"


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ({"token": f"{SECRET}\nX: y"}, "the token of its user has characters that no token has"),
        ({"token": f"{SECRET}\u2013"}, "the token of its user has characters that no token has"),
        ({"tokenFile": "token.txt"}, "the token of its user has characters that no token has"),
        ({"tokenFile": "a\0b"}, "tokenFile is no path of a file"),
        ({"tokenFile": 5}, "tokenFile is no path of a file"),
        ({"exec": SECRET}, "exec of its user names no command, args and env"),
        ({"exec": {}}, "exec of its user names no command, args and env"),
        ({"exec": {"command": "echo", "env": [f"A={SECRET}"]}}, "exec of its user names no command, args and env"),
        ({"exec": {"command": "echo", "args": [SECRET, 5]}}, "exec of its user has something for an argument"),
        ({"exec": {"command": "echo", "args": ["[]", SECRET]}}, "`echo` gave no credentials: what it says is no"),
        ({"exec": {"command": "printf", "args": ['{"status": null}', SECRET]}}, "`printf` gave no credentials: what"),
        ({"exec": {"command": "printf", "args": ['{"status": "x"}', SECRET]}}, "`printf` gave no credentials: what"),
        (
            {"exec": {"command": "sh", "args": ["-c", "echo run foo login >&2; exit 3", SECRET]}},
            "`sh` gave no credentials and ended with 3: run foo login$",
        ),
        ({"exec": {"command": "/nowhere/login", "args": [SECRET]}}, "gave no credentials: No such file"),
        (
            {"exec": {"command": "printf", "args": [f'{{"status": {{"token": "{SECRET} b"}}}}']}},
            "the token of its user has characters that no token has",
        ),
    ],
)
def test_credentials_that_are_none_are_told_without_them(tmp_path: Path, user: dict[str, Any], message: str) -> None:
    (tmp_path / "token.txt").write_bytes(SECRET.encode() + b"\xff")
    file = written(tmp_path, "https://127.0.0.1:6443", user)
    with pytest.raises(kubeconfig.KubeconfigError, match=message) as caught:
        kubeconfig.read(file)
    assert str(caught.value).startswith(f"{file}: ")
    assert SECRET not in str(caught.value)


def test_a_login_that_takes_too_long_is_told_without_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kubeconfig, "LOGIN_SECONDS", 0.1)
    file = written(tmp_path, "https://127.0.0.1:6443", {"exec": {"command": "sleep", "args": ["9"]}})
    with pytest.raises(kubeconfig.KubeconfigError, match=r"`sleep` gave no credentials in 0\.1 s$"):
        kubeconfig.read(file)


def test_what_no_request_can_say_is_told_without_it() -> None:
    """Whatever way it came into the access."""
    access = kubeconfig.Access("kc", "127.0.0.1", 9, headers={"Authorization": f"Bearer {SECRET}\n"})
    assert SECRET not in repr(access)
    with pytest.raises(ApiError, match="can't be asked with what that file says") as caught:
        Api(access).version()
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "server",
    ["https://h:99999", "https://h:abc", "https://[::1", "https://u:p@h", "https://h/a b", "h:6443", 5, None],
)
def test_an_address_that_is_none_is_told(tmp_path: Path, server: Any) -> None:
    with pytest.raises(kubeconfig.KubeconfigError, match="its cluster has no server such as"):
        kubeconfig.read(written(tmp_path, server))


@pytest.mark.parametrize("part", ["contexts", "clusters", "users"])
@pytest.mark.parametrize("value", [5, {"a": 1}, [None], [5]])
def test_lists_that_are_none_are_told(tmp_path: Path, part: str, value: Any) -> None:
    file = Path(written(tmp_path, "https://127.0.0.1:6443"))
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {part: value}))
    with pytest.raises(kubeconfig.KubeconfigError, match=f"has no {part.removesuffix('s')} '"):
        kubeconfig.read(str(file))


@pytest.mark.parametrize("version", [None, [], "x", {"major": None, "minor": None}, {"major": "1", "minor": "30-x"}])
def test_a_version_that_is_none_is_told(cluster: Cluster, double: Double, version: Any) -> None:
    double.version = version
    assert refusal(cluster, double, config("a")).startswith("127.0.0.1:")


@pytest.mark.parametrize("answer", [{}, {"status": None}, {"status": {}}, {"status": []}])
def test_a_review_that_says_nothing_is_told(
    cluster: Cluster, double: Double, monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any]
) -> None:
    monkeypatch.setattr(_Handler, "do_POST", lambda self: self._body() is None or self._answer(answer))
    assert "doesn't say what the user of" in refusal(cluster, double, config("a"))


def test_nobody_on_the_way_reads_secrets(tmp_path: Path) -> None:
    with pytest.raises(
        kubeconfig.KubeconfigError, match=r"10\.20\.0\.11 by http: all on the way would read the secrets"
    ):
        kubeconfig.read(written(tmp_path, "http://10.20.0.11:8080"))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(kubeconfig.KubeconfigError, match="the cluster's `kubeconfig` of the document"):
        kubeconfig.read(str(tmp_path / "none"))


# -- files


def test_files_of_an_instance_that_is_in_no_document_any_more_are_found(tmp_path: Path) -> None:
    scope = Scope("demo", "lab", "client")
    rendered.write(tmp_path, {name: [scope.owned(name, config("a"))] for name in ("one", "two")})
    rendered.write(tmp_path, {"other": [Scope("demo", "lab", "server").owned("other", config("a"))]})
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "01-configmap-a.yaml").write_text(yaml.safe_dump(config("a")))
    assert rendered.orphans(tmp_path, scope.labels, ["one"]) == ["two"]
    assert rendered.orphans(tmp_path / "none", scope.labels, []) == []


def test_files_hold_no_secret_and_go_with_their_object(tmp_path: Path) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s", "namespace": "ns"},
        "data": {"k": "dmFsdWU="},
    }
    tagged = type("Tagged", (str,), {})
    first = rendered.write(tmp_path, {"one": [config("a", tagged("a")), secret]})
    assert [Path(path).name for path in first] == ["01-configmap-a.yaml", "02-secret-s.yaml"]
    shown = yaml.safe_load((tmp_path / "one" / "02-secret-s.yaml").read_text())
    assert ("data" in shown, shown["metadata"]["annotations"]) == (False, {rendered.LEFT_OUT: "k"})
    assert rendered.write(tmp_path, {"one": [config("a"), secret]}) == []
    assert [Path(path).name for path in rendered.write(tmp_path, {"one": [config("a")]}, check=True)] == [
        "02-secret-s.yaml"
    ]
    assert (tmp_path / "one" / "02-secret-s.yaml").exists()
    rendered.write(tmp_path, {"one": [config("a")]})
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["01-configmap-a.yaml"]


def test_an_account_of_others_is_no_file_but_a_note(tmp_path: Path) -> None:
    """By files of two instances each would take the other's login out of it."""
    rendered.write(tmp_path, {"one": pulling("one")})
    room = tmp_path / "one"
    assert sorted(path.name for path in room.iterdir()) == ["01-secret-one.yaml", "by-hand.txt"]
    note = (room / "by-hand.txt").read_text()
    assert """ '[{"op": "add", "path": "/imagePullSecrets/-", "value": {"name": "one"}}]'\n""" in note
    assert rendered.write(tmp_path, {"one": pulling("one")}) == []
    assert rendered.write(tmp_path, {"one": [config("a")]}, check=True)[-1].endswith("by-hand.txt")
    rendered.write(tmp_path, {"one": [config("a")]})
    assert [path.name for path in room.iterdir()] == ["01-configmap-a.yaml"]


TWO_NAMES = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab: {}
clusters:
  kc: {party: lab, kubeconfig: kubeconfig}
  kd: {party: lab, kubeconfig: kubeconfig}
stacks:
  imaging:
    kind: neursafe
    server: {cluster: kc, images: {registry: "registry.example:5000", tag: "1.0"}}
    storage: {external: {type: posix}}
    database: {external: {address: "10.20.0.13:5432", username: neursafe, secret: imaging_database}}
"""


@pytest.mark.slow
def test_what_a_cluster_has_by_another_name_of_it_is_no_orphan(double: Double, tmp_path: Path) -> None:
    written(tmp_path, f"http://127.0.0.1:{double.server_address[1]}")
    scope = Scope("demo", "lab", "neursafe_server")
    for name in ("demo-imaging-server", "demo-old-server"):
        made = scope.owned(name, config(name))
        double.objects[f"/api/v1/namespaces/ns/configmaps/{name}"] = made
    for name, party in (("theirs", "clinic"), ("former", None)):
        made = Scope("demo", party or "", "neursafe_server").owned(name, config(name))
        if party is None:
            del made["metadata"]["labels"][PARTY]
        double.objects[f"/api/v1/namespaces/ns/configmaps/{name}"] = made
    (tmp_path / "federation.yml").write_text(TWO_NAMES)
    tasks = [
        {"ansible.builtin.import_tasks": str(CHECKOUT / "playbooks/tasks/cluster_orphans.yml")},
        {"ansible.builtin.debug": {"msg": "found: {{ fedlearn_cluster_orphans.summary }}"}},
    ]
    book = [{"hosts": "federation_clusters", "gather_facts": False, "tasks": tasks}]
    (tmp_path / "look.yml").write_text(json.dumps(book))
    ended = run(tmp_path, "ansible-playbook", "-i", "federation.yml", "look.yml")
    assert ended.stdout.count("found: demo-old-server (1 objects)'") == 2, ended.stdout + ended.stderr
    warned = re.sub(r"\s+", " ", ended.stdout + ended.stderr)
    assert "former (1 objects): in the cluster, not of this document, and without the label" in warned
    assert "theirs" not in warned
