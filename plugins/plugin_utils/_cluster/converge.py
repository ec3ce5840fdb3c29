# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster is looked at and, where it differs, changed: what is there as asked isn't touched.

Ours is what has our labels. What has the name of something of ours and not its labels is somebody else's, and refused
before anything changes; so is what who asks may not do. Every object is first applied without effect (``dryRun``),
which is how the API itself says what would change; only that is then applied.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .api import KINDS, NOT_FOUND, PODS, Api, ApiError, Kind, Object
from .strange import Strange, strange

OLDEST = (1, 30)
"""ValidatingAdmissionPolicy is in this version for good, and containers that come before others and stay."""

MANAGED = "app.kubernetes.io/managed-by"
FEDERATION = "fedlearn.infra/federation"
ROLE = "fedlearn.infra/role"
INSTANCE = "fedlearn.infra/instance"
PRODUCT = "fedlearn.infra"
VERBS = ("get", "create", "patch", "delete")
ENFORCED = "pod-security.kubernetes.io/enforce"
PAUSE = 0.5

IN_EVERY_NAMESPACE = {
    ("ServiceAccount", "default"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "istio-ca-root-cert"),
    ("ConfigMap", "openshift-service-ca.crt"),
}
"""What clusters put there by themselves."""

Told = TypeVar("Told")

Key = tuple[str, str, str]
"""Kind, namespace and name."""


class RefusedError(Exception):
    """Why nothing was changed; a line for each reason."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose objects: those of one role in one federation."""

    federation: str
    role: str
    alone: bool = False
    """Whether a cluster takes one instance of the role only, whosever it is."""
    privileged: str = ""
    """The namespace, not ours, where its pods make others that have files of their node."""

    @property
    def labels(self) -> dict[str, str]:
        return {MANAGED: PRODUCT, FEDERATION: self.federation, ROLE: self.role}

    @property
    def selector(self) -> str:
        return ",".join(f"{key}={value}" for key, value in self.labels.items())

    def owned(self, instance: str, wanted: Object) -> Object:
        """The object with the labels of what is ours; a namespace that was there before us keeps its own."""
        if is_others(wanted):
            return wanted
        metadata = dict(wanted["metadata"])
        metadata["labels"] = {**metadata.get("labels", {}), **self.labels, INSTANCE: instance}
        return {**wanted, "metadata": metadata}


def is_others(wanted: Object) -> bool:
    """Whether it is the cluster's own, of which a part is ours."""
    return (wanted["kind"], wanted["metadata"]["name"]) == ("Namespace", "default")


def key_of(found: Object) -> Key:
    metadata = found["metadata"]
    return found["kind"], metadata.get("namespace", ""), metadata["name"]


def words(key: Key) -> str:
    """An object as people name it."""
    kind, namespace, name = key
    return f"{kind} {namespace}/{name}" if namespace else f"{kind} {name}"


@dataclass(slots=True)
class Found:
    """What a look brought: of all that is wanted what differs, and what is ours and wanted no more."""

    live: dict[Key, Object] = field(default_factory=dict)
    created: list[Key] = field(default_factory=list)
    changed: list[Key] = field(default_factory=list)
    removed: list[Key] = field(default_factory=list)
    orphans: list[Key] = field(default_factory=list)
    strange: dict[Key, list[Strange]] = field(default_factory=dict)
    """Of what is changed, what others put into it."""

    @property
    def differs(self) -> bool:
        return bool(self.created or self.changed or self.removed)


class Cluster:
    """A cluster, as far as it is ours."""

    def __init__(self, api: Api, scope: Scope) -> None:
        self.api = api
        self.scope = scope

    # -- looking

    def look(self, wanted: Mapping[str, Iterable[Object]], absent: Iterable[str] = (), *, prune: bool = False) -> Found:
        """Compare instances' objects with what is there. Raises RefusedError, ApiError."""
        self._check_version()
        asked = [self.scope.owned(instance, one) for instance, objects in wanted.items() for one in objects]
        self._check_rights(asked)
        if self.scope.alone and wanted:
            self._check_alone({*wanted, *absent}, prune)
        if self.scope.privileged and wanted:
            self._check_level(self.scope.privileged)
        ours = {key_of(one): one for kind in KINDS for one in self.api.labelled(kind, self.scope.selector)}
        found = Found()
        self._compare(asked, ours, found)
        known = {*wanted, *absent}
        keys = {key_of(one) for one in asked}
        for key, one in ours.items():
            if key not in keys and not one["metadata"].get("deletionTimestamp"):
                mine = one["metadata"]["labels"].get(INSTANCE) in known
                (found.removed if mine else found.orphans).append(key)
        return found

    def check_losses(self, going: Iterable[Key], switch: str) -> None:
        """Refuse to have data go, or what isn't ours with its namespace. Raises RefusedError, ApiError.

        ``switch`` is the variable by which it goes all the same.
        """
        threatened = {
            key_of(one): one
            for kind, namespace, name in going
            for one in (self._within(name) if kind == "Namespace" else self._claim(kind, namespace, name))
        }
        lost = [f"{words(key)} ({why})" for key, why in ((key, _lost(one)) for key, one in threatened.items()) if why]
        if lost:
            raise RefusedError(f"this would go as well: {', '.join(lost)}. Move it, or say -e {switch}=true")

    def _claim(self, kind: str, namespace: str, name: str) -> list[Object]:
        found = self.api.get(kind, namespace, name) if kind == "PersistentVolumeClaim" else None
        return [{"kind": kind, **found}] if found else []

    def _within(self, namespace: str) -> Iterator[Object]:
        """What manifests could have brought into a namespace."""
        for name, kind in KINDS.items():
            if kind.namespaced:
                yield from self.api.listed(name, namespace)

    def _check_version(self) -> None:
        version = self.api.version()
        if version < OLDEST:
            told, oldest = (".".join(str(number) for number in each) for each in (version, OLDEST))
            raise RefusedError(f"{self.api.server} is Kubernetes {told}: {oldest} or newer is needed")

    def _check_rights(self, asked: list[Object]) -> None:
        """Refuse where the kubeconfig's user lacks a right; who may do everything is asked once."""
        if self.api.may("*", "*", "*", None):
            return
        places = dict.fromkeys((one["kind"], one["metadata"].get("namespace")) for one in asked)
        needed: list[tuple[str, Kind, str | None]] = [("list", kind, None) for kind in KINDS.values()]
        needed += [(verb, KINDS[kind], namespace) for kind, namespace in places for verb in VERBS]
        # what deployments wait for
        needed += [("list", PODS, namespace) for kind, namespace in places if kind == "Deployment"]
        lacking = [
            f"{verb} {kind.resource}{f' in namespace {namespace}' if namespace else ''}"
            for verb, kind, namespace in needed
            if not self.api.may(verb, kind.group, kind.plural, namespace)
        ]
        if lacking:
            told = ", ".join(lacking)
            raise RefusedError(f"the user of {self.api.access.file} lacks rights: {told}")

    def _check_alone(self, known: set[str], prune: bool) -> None:
        """Refuse beside another instance of the role, unless it is ours and goes with this run."""
        for found in self.api.labelled("Namespace", f"{MANAGED}={PRODUCT},{ROLE}={self.scope.role}"):
            labels = found["metadata"]["labels"]
            federation, instance = labels.get(FEDERATION), labels.get(INSTANCE)
            if federation == self.scope.federation and (instance in known or prune):
                continue
            raise RefusedError(
                f"federation '{federation}' has '{instance}' in this cluster already: jobs of both would run in one "
                "namespace, and be mixed up. Remove it, or take another cluster"
            )

    def _check_level(self, namespace: str) -> None:
        """Refuse where the pods that pods of ours make would be refused, each by itself and late."""
        live = self.api.get("Namespace", None, namespace) or {"metadata": {}}
        level = (live["metadata"].get("labels") or {}).get(ENFORCED, "privileged")
        if level != "privileged":
            raise RefusedError(
                f"the namespace {namespace} takes pods of the level '{level}' only, and jobs' pods have files of their "
                f"node: `kubectl label --overwrite namespace {namespace} {ENFORCED}=privileged`, or another cluster"
            )

    def _check_ports(self, coming: list[Object]) -> None:
        """Refuse ports of nodes that others have: of Services in a namespace that is to come the API tells it late."""
        asked = {port: key_of(one) for one in coming for port in _node_ports(one)}
        taken = [
            f"{port} of {words(asked[port])} is that of {words(key_of(one))}"
            for one in (self.api.listed("Service") if asked else [])
            for port in _node_ports(one)
            if port in asked
        ]
        if taken:
            raise RefusedError(f"ports of nodes that are taken: {', '.join(taken)}. Take others")

    def _compare(self, asked: list[Object], ours: Mapping[Key, Object], found: Found) -> None:
        there = {key_of(one): ours.get(key_of(one)) or self._there(one) for one in asked}
        foreign = [
            key_of(one) for one in asked if there[key_of(one)] and key_of(one) not in ours and not is_others(one)
        ]
        if foreign:
            told = ", ".join(words(key) for key in foreign)
            raise RefusedError(
                f"somebody else's, by our names: {told}. Remove them, or give the stack or the federation another name"
            )
        to_come = {name for (kind, _namespace, name), live in there.items() if kind == "Namespace" and live is None}
        self._check_ports([one for one in asked if key_of(one)[1] in to_come])
        for one in asked:
            key, live = key_of(one), there[key_of(one)]
            # of what lies in a namespace that isn't there the API says so only, each time after a while
            applied = None if key[1] in to_come else self._try(one)
            if live is None:
                found.created.append(key)
            else:
                found.live[key] = live
                theirs = strange(one, live)
                if theirs:
                    found.strange[key] = theirs
                if theirs or applied is None or _content(live) != _content(applied):
                    found.changed.append(key)

    def _there(self, one: Object) -> Object | None:
        kind, namespace, name = key_of(one)
        return self.api.get(kind, namespace or None, name)

    def _try(self, one: Object) -> Object | None:
        """What the API would make of it; in a namespace that isn't there yet nobody can say."""
        try:
            return self.api.apply(one, dry_run=True)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise RefusedError(f"{words(key_of(one))}: {error}") from None

    # -- changing

    def change(self, wanted: Mapping[str, Iterable[Object]], found: Found, *, prune: bool) -> None:
        """Make it so: what is new or differs is applied, what isn't wanted goes."""
        differing = {*found.created, *found.changed}
        for instance, objects in wanted.items():
            for one in objects:
                if key_of(one) in differing:
                    try:
                        applied = self.api.apply(self.scope.owned(instance, one), dry_run=False)
                        # not before: a mount of ours may name a volume of theirs until then
                        theirs = strange(one, applied)
                        if theirs:
                            self.api.take_away(applied, [each.path for each in theirs])
                    except ApiError as error:
                        raise ApiError(f"{words(key_of(one))}: {error}", error.status) from None
        self.remove([*found.removed, *(found.orphans if prune else [])])

    def remove(self, keys: Iterable[Key]) -> None:
        """Have objects go, in the order in which nothing misses them; what lies in a namespace goes with it."""
        order = list(KINDS)
        going = sorted(keys, key=lambda key: order.index(key[0]), reverse=True)
        for kind, namespace, name in going:
            self.api.delete(kind, namespace or None, name)

    def wait_gone(self, keys: Iterable[Key], seconds: float) -> list[Key]:
        """What is still there after that time."""
        return _wait(lambda: [key for key in keys if self.api.get(key[0], key[1] or None, key[2]) is not None], seconds)

    def wait_ready(self, wanted: Mapping[str, Iterable[Object]], seconds: float) -> dict[str, dict[str, str]]:
        """Of each instance what isn't ready after that time, and why."""
        return _wait(lambda: self.unready(wanted), seconds)

    def unready(self, wanted: Mapping[str, Iterable[Object]]) -> dict[str, dict[str, str]]:
        """Of each instance the deployments and claims that aren't ready, and why."""
        found: dict[str, dict[str, str]] = {}
        for instance, objects in wanted.items():
            for one in objects:
                kind, namespace, name = key_of(one)
                if kind in ("Deployment", "PersistentVolumeClaim"):
                    why = self._why_not(kind, namespace, name)
                    if why:
                        found.setdefault(instance, {})[name] = why
        return found

    def simulated(self, wanted: Mapping[str, Iterable[Object]]) -> list[str]:
        """Deployments whose pods are said to run and have no container: a node that runs any tells its id."""
        names = [key_of(one) for objects in wanted.values() for one in objects if one["kind"] == "Deployment"]
        return [
            name
            for _kind, namespace, name in names
            if any(map(has_no_container, self.api.pods(namespace, f"app={name}")))
        ]

    def _why_not(self, kind: str, namespace: str, name: str) -> str:
        live = self.api.get(kind, namespace, name)
        if live is None:
            return f"there is no {kind} {namespace}/{name}"
        status = live.get("status", {})
        if kind == "PersistentVolumeClaim":
            phase = status.get("phase", "Pending")
            return "" if phase == "Bound" else f"the claim is {phase}: `kubectl -n {namespace} describe pvc {name}`"
        replicas = live["spec"].get("replicas", 1)
        seen = status.get("observedGeneration", 0) >= live["metadata"]["generation"]
        if seen and status.get("updatedReplicas", 0) == replicas == status.get("availableReplicas", 0):
            return ""
        return self._why_no_pod(namespace, name, status)

    def _why_no_pod(self, namespace: str, name: str, status: Mapping[str, Any]) -> str:
        """What the deployment's pods wait for, or why there is none."""
        said = [words for pod in self.api.pods(namespace, f"app={name}") for words in _waiting(pod)]
        said += [
            condition["message"]
            for condition in status.get("conditions", ())
            if condition["type"] == "ReplicaFailure" and condition.get("message")
        ]
        return f"{name}: {'; '.join(dict.fromkeys(said)) or 'no pod of it is ready'}"


def orphans(api: Api, federation: str, expected: Collection[str]) -> dict[str, list[Key]]:
    """A federation's objects in a cluster by instances that are not `expected`, whatever role they are of."""
    found: dict[str, list[Key]] = {}
    for kind in KINDS:
        for one in api.labelled(kind, f"{MANAGED}={PRODUCT},{FEDERATION}={federation}"):
            instance = one["metadata"]["labels"].get(INSTANCE, "")
            if instance not in expected and not one["metadata"].get("deletionTimestamp"):
                found.setdefault(instance, []).append(key_of(one))
    return found


def _lost(found: Object) -> str:
    """Why somebody would miss it with its namespace; empty where nobody would."""
    metadata = found["metadata"]
    if metadata.get("labels", {}).get(MANAGED) == PRODUCT:
        dynamic = found["kind"] == "PersistentVolumeClaim" and found["spec"].get("storageClassName")
        return "data" if dynamic else ""
    its_own = (found["kind"], metadata["name"]) in IN_EVERY_NAMESPACE
    return "" if its_own or metadata.get("ownerReferences") else "not ours"


def has_no_container(pod: Object) -> bool:
    """Whether it is said to run, by something that runs no containers."""
    states = pod.get("status", {}).get("containerStatuses") or []
    return any("running" in each.get("state", {}) and not each.get("containerID") for each in states)


def _node_ports(one: Object) -> list[int]:
    ports = one["spec"].get("ports", ()) if one["kind"] == "Service" else ()
    return [port["nodePort"] for port in ports if port.get("nodePort")]


def _waiting(pod: Object) -> Iterator[str]:
    status = pod.get("status", {})
    for condition in status.get("conditions", ()):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            yield condition.get("message", "it isn't scheduled")
    for each in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        state = each.get("state", {})
        waits, ended = state.get("waiting", {}), each.get("lastState", {}).get("terminated", {})
        if waits:
            yield f"{each['name']} waits: {waits.get('reason', '')} {waits.get('message', '')}".strip()
        if ended:
            yield f"{each['name']} ended with {ended.get('exitCode')}"


def _wait(look: Callable[[], Told], seconds: float) -> Told:
    """What is left to tell when the time is over, or nothing as soon as there is nothing."""
    end = time.monotonic() + seconds
    while True:
        told = look()
        if not told or time.monotonic() >= end:
            return told
        time.sleep(PAUSE)


_OF_THE_SERVER = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")


def _content(found: Object) -> Object:
    """An object without what the API itself writes down."""
    metadata = {key: value for key, value in found["metadata"].items() if key not in _OF_THE_SERVER}
    rest = {key: value for key, value in found.items() if key not in ("metadata", "status")}
    return {**rest, "metadata": metadata}
