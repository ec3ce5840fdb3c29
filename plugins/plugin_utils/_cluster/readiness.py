# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether what was asked for is ready, what it waits for, and whether it only seems to run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from .api import Api, Object
from .converge import Key, key_of

PAUSE = 0.5

Told = TypeVar("Told")


@dataclass(frozen=True, slots=True)
class Readiness:
    """Of objects in a cluster."""

    api: Api

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


def has_no_container(pod: Object) -> bool:
    """Whether it is said to run, by something that runs no containers."""
    states = pod.get("status", {}).get("containerStatuses") or []
    return any("running" in each.get("state", {}) and not each.get("containerID") for each in states)


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
