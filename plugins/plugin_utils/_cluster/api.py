# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster's API: the few calls that applying manifests takes, on one connection, with the standard library."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from .kubeconfig import Access

Object = dict[str, Any]

MANAGER = "fedlearn.infra"
SECONDS = 30
OK, WRONG, FORBIDDEN, NOT_FOUND, INVALID = 200, 400, 403, 404, 422


class ApiError(Exception):
    """What the API, or the way to it, refused."""

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of objects: in which group of the API, under which word, and whether they lie in namespaces."""

    version: str
    plural: str
    namespaced: bool = True

    @property
    def group(self) -> str:
        return self.version.partition("/")[0] if "/" in self.version else ""

    @property
    def resource(self) -> str:
        """As people name it: deployments.apps."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Of one object, of a namespace's, or of all."""
        steps = ["apis" if self.group else "api", *self.version.split("/")]
        if self.namespaced and namespace is not None:
            steps += ["namespaces", namespace]
        steps += [self.plural, *([name] if name is not None else [])]
        return "/" + "/".join(quote(step, safe="") for step in steps)


KINDS: Mapping[str, Kind] = {
    "Namespace": Kind("v1", "namespaces", namespaced=False),
    "ServiceAccount": Kind("v1", "serviceaccounts"),
    "Secret": Kind("v1", "secrets"),
    "ConfigMap": Kind("v1", "configmaps"),
    "PersistentVolume": Kind("v1", "persistentvolumes", namespaced=False),
    "PersistentVolumeClaim": Kind("v1", "persistentvolumeclaims"),
    "Role": Kind("rbac.authorization.k8s.io/v1", "roles"),
    "RoleBinding": Kind("rbac.authorization.k8s.io/v1", "rolebindings"),
    "ClusterRole": Kind("rbac.authorization.k8s.io/v1", "clusterroles", namespaced=False),
    "ClusterRoleBinding": Kind("rbac.authorization.k8s.io/v1", "clusterrolebindings", namespaced=False),
    "ValidatingAdmissionPolicy": Kind(
        "admissionregistration.k8s.io/v1", "validatingadmissionpolicies", namespaced=False
    ),
    "ValidatingAdmissionPolicyBinding": Kind(
        "admissionregistration.k8s.io/v1", "validatingadmissionpolicybindings", namespaced=False
    ),
    "NetworkPolicy": Kind("networking.k8s.io/v1", "networkpolicies"),
    "Service": Kind("v1", "services"),
    "Deployment": Kind("apps/v1", "deployments"),
    "Ingress": Kind("networking.k8s.io/v1", "ingresses"),
}
"""Every kind that manifests here have, in the order they are made in; they go the other way."""

PODS = Kind("v1", "pods")


class Api:
    """One connection to a cluster's API."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.requests = 0
        self._connection: http.client.HTTPConnection | None = None

    @property
    def server(self) -> str:
        return f"{self.access.host}:{self.access.port}"

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        content: str = "application/json",
        accept: str = "application/json",
    ) -> Object:
        """What the API answers. Raises ApiError."""
        headers = {"Accept": accept, "Content-Type": content}
        data = None if body is None else json.dumps(body).encode()
        return self._answer(*self._told(method, path, data, query, headers))

    def text(self, path: str, query: Mapping[str, str]) -> str:
        """What the API has that is no JSON, as logs are. Raises ApiError."""
        status, text = self._told("GET", path, None, query, {"Accept": "*/*"})
        if status != OK:
            self._answer(status, text)
        return text.decode(errors="replace")

    def _told(
        self, method: str, path: str, data: bytes | None, query: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> tuple[int, bytes]:
        target = f"{self.access.prefix}{path}{'?' + urlencode(query) if query else ''}"
        self.requests += 1
        try:
            return self._exchange(method, target, data, {**self.access.headers, **headers})
        except ssl.SSLCertVerificationError as error:
            raise ApiError(
                f"{self.server}: its certificate isn't of the CA in {self.access.file}: {error.verify_message}"
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(f"{self.server} of {self.access.file} doesn't answer: {error}") from None
        except ValueError:
            # the error says what it couldn't send, credentials among it
            raise ApiError(f"{self.server} of {self.access.file} can't be asked with what that file says") from None

    def _exchange(self, method: str, target: str, data: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """On the connection that there is; on another where the API has closed that one."""
        for fresh in (self._connection is None, True):
            if fresh or self._connection is None:
                self.close()
                self._connection = self._connected()
            try:
                self._connection.request(method, target, data, dict(headers))
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.close()
                if fresh:
                    raise
        raise AssertionError("a fresh connection answers, or raises")

    def _connected(self) -> http.client.HTTPConnection:
        if self.access.tls is None:
            return http.client.HTTPConnection(self.access.host, self.access.port, timeout=SECONDS)
        return http.client.HTTPSConnection(self.access.host, self.access.port, timeout=SECONDS, context=self.access.tls)

    def _answer(self, status: int, text: bytes) -> Object:
        try:
            found = json.loads(text)
        except ValueError:
            raise ApiError(f"{self.server} answers {status} and no JSON: is it the API of a cluster?", status) from None
        if 200 <= status < 300 and isinstance(found, dict):
            return found
        if not isinstance(found, dict):
            raise ApiError(f"{self.server} answers {status} and no object: is it the API of a cluster?", status)
        said = str(found.get("message") or status)
        if status == 401:
            said = f"the API doesn't know who asks: the credentials in {self.access.file} are wrong or have expired"
        raise ApiError(said, status)

    # -- objects

    def get(self, kind: str, namespace: str | None, name: str) -> Object | None:
        """An object; None where there is none."""
        try:
            return self.ask("GET", KINDS[kind].path(namespace, name))
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    def labelled(self, kind: str, selector: str) -> list[Object]:
        """All objects of a kind that have these labels, in every namespace."""
        return self.listed(kind, query={"labelSelector": selector})

    def listed(self, kind: str, namespace: str | None = None, query: Mapping[str, str] | None = None) -> list[Object]:
        """All objects of a kind, in a namespace or in all."""
        return self.all_of(kind, KINDS[kind], namespace, query)

    def all_of(
        self, name: str, kind: Kind, namespace: str | None, query: Mapping[str, str] | None = None
    ) -> list[Object]:
        """The same, of a kind that manifests here may not have."""
        found = self.ask("GET", kind.path(namespace), query=query)
        return [{"kind": name, "apiVersion": kind.version, **one} for one in found.get("items") or []]

    def pods(self, namespace: str, selector: str) -> list[Object]:
        """A namespace's pods that have these labels."""
        found = self.ask("GET", PODS.path(namespace), query={"labelSelector": selector})
        return list(found.get("items") or [])

    def apply(self, wanted: Object, *, dry_run: bool) -> Object:
        """Server-side apply: the fields that are wanted become ours, whoever had them; all others stay."""
        metadata = wanted["metadata"]
        query = {"fieldManager": MANAGER, "force": "true", **({"dryRun": "All"} if dry_run else {})}
        path = KINDS[wanted["kind"]].path(metadata.get("namespace"), metadata["name"])
        return self.ask("PATCH", path, wanted, query, "application/apply-patch+yaml")

    def take_away(self, live: Object, paths: list[str]) -> None:
        """Have these parts of an object go, as long as it is as it was seen."""
        seen = {"op": "test", "path": "/metadata/resourceVersion", "value": live["metadata"]["resourceVersion"]}
        self.patch(live, [seen, *({"op": "remove", "path": each} for each in paths)], dry_run=False)

    def patch(self, live: Object, steps: list[Object], *, dry_run: bool) -> Object:
        """What comes of an object by the steps of a JSON patch."""
        metadata = live["metadata"]
        path = KINDS[live["kind"]].path(metadata.get("namespace"), metadata["name"])
        query = {"fieldManager": MANAGER, **({"dryRun": "All"} if dry_run else {})}
        return self.ask("PATCH", path, steps, query, "application/json-patch+json")

    def try_creation(self, kind: Kind, found: Object) -> None:
        """Ask whether the API would take a new object. Raises ApiError."""
        path = kind.path(found["metadata"].get("namespace"))
        self.ask("POST", path, found, {"fieldManager": MANAGER, "dryRun": "All"})

    def delete(self, kind: str, namespace: str | None, name: str) -> None:
        """Have an object go, and what it owns; one that is gone already is fine."""
        try:
            self.ask("DELETE", KINDS[kind].path(namespace, name), {"propagationPolicy": "Foreground"})
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise

    def may(self, verb: str, group: str, plural: str, namespace: str | None) -> bool:
        """Whether who asks may do that."""
        attributes = {"verb": verb, "group": group, "resource": plural, "namespace": namespace or ""}
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        status = self.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body).get("status")
        if not isinstance(status, dict) or "allowed" not in status:
            raise ApiError(f"{self.server} doesn't say what the user of {self.access.file} may do")
        return bool(status["allowed"])

    def version(self) -> tuple[int, int]:
        """The version of the cluster."""
        found = self.ask("GET", "/version")
        try:
            return int(found["major"]), int(str(found["minor"]).rstrip("+"))
        except (KeyError, TypeError, ValueError):
            raise ApiError(f"{self.server} doesn't say which version of Kubernetes it is") from None
