# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What manifests are made of, whichever role's: objects as plain data, in the words of the Kubernetes API.

Pods here are what the level ``restricted`` lets in: nobody is root, nothing is gained, the root file system is read
only. A pod that reads a ConfigMap or a Secret carries a digest of what stands in it, so that a change rolls out.
"""

from __future__ import annotations

import base64
import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Protocol

Object = dict[str, Any]


class Secrets(Protocol):
    """What secrets are, by their names."""

    def __call__(self, name: str) -> str:
        """The value, of one that comes in turns the newest."""

    def turn(self, name: str) -> str:
        """Whose turn that value is: what the name of its login ends with."""


class _Unseen:
    """Stands for secrets where no value of one is told."""

    def __call__(self, name: str) -> str:
        return ""

    def turn(self, name: str) -> str:
        return "a"


UNSEEN: Secrets = _Unseen()

CONTENT = "fedlearn.infra/content"
"""The annotation of a pod with the digest of what it reads."""

SCRATCH = "scratch"
ACCOUNT_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"
DNS = ({"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"})


@dataclass(frozen=True, slots=True)
class Home:
    """The namespace that a role's objects lie in."""

    namespace: str

    def metadata(self, name: str, namespace: str | None = None) -> Object:
        return {"name": name, "namespace": self.namespace if namespace is None else namespace}


def environment(values: Mapping[str, Any], secrets: Mapping[str, tuple[str, str]]) -> list[Object]:
    """Variables of a container: every value a text, and those of secrets by the Secret's name and its key."""
    plain = [{"name": name, "value": str(value)} for name, value in values.items()]
    hidden = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for name, (secret, key) in secrets.items()
    ]
    return plain + hidden


def opaque(home: Home, name: str, values: Mapping[str, str]) -> Object:
    """A Secret of these texts."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": home.metadata(name), "type": "Opaque", "data": data}


def pull_secret(home: Home, name: str, registry: str, username: str, password: str) -> Object:
    """The Secret that nodes log in to a registry with."""
    token = base64.b64encode(f"{username}:{password}".encode()).decode()
    login = {"auths": {registry: {"username": username, "password": password, "auth": token}}}
    data = {".dockerconfigjson": base64.b64encode(json.dumps(login, sort_keys=True).encode()).decode()}
    kind = "kubernetes.io/dockerconfigjson"
    return {"apiVersion": "v1", "kind": "Secret", "metadata": home.metadata(name), "type": kind, "data": data}


def pulling_account(home: Home, name: str, secret: str) -> Object:
    """What of an account that is there already is ours: that pods of it are pulled with a Secret of its namespace."""
    metadata = home.metadata(name)
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "imagePullSecrets": [{"name": secret}]}


_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----\n.*?-----END \1-----\n?", re.DOTALL)


class NoCertificatesError(Exception):
    """A file isn't what a ConfigMap may tell everybody."""


def certificates(path: str, text: str) -> str:
    """Those of a file, and nothing that stands beside them; none of one that comes to be later in the run."""
    blocks = [(found[1], found[0]) for found in _BLOCK.finditer(text)]
    strange = sorted({kind for kind, _block in blocks} - {"CERTIFICATE"})
    if strange:
        raise NoCertificatesError(
            f"{path} has a {strange[0]}, and all in the cluster could read it: leave certificates alone"
        )
    if text and not blocks:
        raise NoCertificatesError(f"{path} has no certificate: it is to hold those of a CA, as PEM")
    return "".join(f"{block.strip()}\n" for _kind, block in blocks)


def config_map(home: Home, name: str, files: Mapping[str, str]) -> Object:
    """A ConfigMap of these files."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": home.metadata(name), "data": dict(files)}


def digest(objects: Iterable[Object]) -> str:
    """Of what stands in ConfigMaps and Secrets."""
    told = [[one["kind"], one["metadata"]["name"], one.get("data", {})] for one in objects]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:32]


def pull_policy(image: str) -> str:
    """What has a digest is the same everywhere; a registry's tag is asked for, since it may have moved."""
    return "IfNotPresent" if "@sha256:" in image or "/" not in image else "Always"


def namespace(name: str, level: str) -> Object:
    """A namespace that takes pods of this level of pod security only."""
    prefix = "pod-security.kubernetes.io"
    modes = ("enforce", "warn", "audit")
    # the version is told, too: an older one, by whoever, lets more in
    labels = {
        f"{prefix}/{mode}{word}": value for mode in modes for word, value in (("", level), ("-version", "latest"))
    }
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def account(home: Home, name: str) -> Object:
    """An account whose token only those pods get that mount it.

    Of Secrets to pull with it says nothing: some distributions write theirs into each account, and would for ever.
    """
    own = {"automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": home.metadata(name), **own}


RBAC = "rbac.authorization.k8s.io"


def role(home: Home, name: str, namespace: str, rules: Mapping[str, Iterable[str]], user: str) -> list[Object]:
    """A Role in a namespace, and its binding to an account: resource, then verbs, of the core API."""
    metadata = home.metadata(name, namespace)
    told = [{"apiGroups": [""], "resources": [kind], "verbs": list(verbs)} for kind, verbs in rules.items()]
    reference = {"apiGroup": RBAC, "kind": "Role", "name": name}
    subject = {"kind": "ServiceAccount", "name": user, "namespace": home.namespace}
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": "Role", "metadata": metadata, "rules": told},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "RoleBinding",
            "metadata": dict(metadata),
            "roleRef": reference,
            "subjects": [subject],
        },
    ]


def cluster_role(home: Home, name: str, rules: Mapping[str, Iterable[str]], user: str) -> list[Object]:
    """A ClusterRole, and its binding to an account."""
    told = [{"apiGroups": [""], "resources": [kind], "verbs": list(verbs)} for kind, verbs in rules.items()]
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}
    subject = {"kind": "ServiceAccount", "name": user, "namespace": home.namespace}
    own = {"name": name}
    return [
        {"apiVersion": f"{RBAC}/v1", "kind": "ClusterRole", "metadata": own, "rules": told},
        {
            "apiVersion": f"{RBAC}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": dict(own),
            "roleRef": reference,
            "subjects": [subject],
        },
    ]


def local_volume(home: Home, name: str, node: str, path: str, capacity: str) -> list[Object]:
    """A folder of one node's own disk, which keeps the pod on that node, and its claim."""
    spec = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeMode": "Filesystem"}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": name, "namespace": home.namespace}
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
    volume = {
        **spec,
        "capacity": {"storage": capacity},
        "persistentVolumeReclaimPolicy": "Retain",
        "mountOptions": [],  # nobody else's either
        "local": {"path": path},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        "claimRef": claim,
    }
    own = f"{home.namespace}.{name}"
    asked = {**spec, "volumeName": own, "resources": {"requests": {"storage": capacity}}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": own}, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": home.metadata(name), "spec": asked},
    ]


def class_volume(home: Home, name: str, storage_class: str | None, capacity: str) -> Object:
    """A claim to a volume that a class makes, the cluster's default one where none is told."""
    spec: Object = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": capacity}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": home.metadata(name), "spec": spec}


FOLDER, USER = "fedlearn.infra/folder", "fedlearn.infra/user"
"""What a PersistentVolume says: which part of it is the instance's, and by which user."""


def shared_volume(home: Home, name: str, folder: str, user: int, capacity: str) -> list[Object]:
    """What a folder that every node has lies in, as a PersistentVolume that nobody but its own claim gets."""
    spec = {"accessModes": ["ReadWriteMany"], "storageClassName": "", "volumeMode": "Filesystem"}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": name, "namespace": home.namespace}
    volume = {
        **spec,
        "capacity": {"storage": capacity},
        "persistentVolumeReclaimPolicy": "Retain",
        "mountOptions": [],  # nobody else's either
        "hostPath": {"path": posixpath.dirname(folder), "type": "Directory"},
        "claimRef": claim,
    }
    asked = {**spec, "volumeName": home.namespace, "resources": {"requests": {"storage": capacity}}}
    own = {"name": home.namespace, "annotations": {FOLDER: folder, USER: str(user)}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": own, "spec": volume},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": home.metadata(name), "spec": asked},
    ]


def service(home: Home, name: str, selector: str, ports: Mapping[str, int], node_ports: bool = False) -> Object:
    """A Service that leads to the pods of a component; a port of nodes is the same as the pod's."""
    told: list[Object] = [
        {
            "name": word,
            "port": port,
            "targetPort": port,
            "protocol": "TCP",
            **({"nodePort": port} if node_ports else {}),
        }
        for word, port in ports.items()
    ]
    spec = {"selector": {"app": selector}, "ports": told, "type": "NodePort" if node_ports else "ClusterIP"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": home.metadata(name), "spec": spec}


def http_probe(path: str, port: int) -> Object:
    return {"httpGet": {"path": path, "port": port}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3}


def tcp_probe(port: int) -> Object:
    return {"tcpSocket": {"port": port}, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3}


def container(
    name: str,
    image: str,
    *,
    env: list[Object] | None = None,
    ports: Mapping[str, int] | None = None,
    probe: Object | None = None,
    resources: Mapping[str, str],
    mounts: Iterable[Object] = (),
    command: Iterable[str] = (),
    arguments: Iterable[str] = (),
) -> Object:
    """A container without privileges; it may write to its scratch folder, /tmp."""
    found: Object = {
        "name": name,
        "image": image,
        "imagePullPolicy": pull_policy(image),
        "env": env or [],
        "ports": [{"name": word, "containerPort": port, "protocol": "TCP"} for word, port in (ports or {}).items()],
        "resources": {"requests": dict(resources), "limits": {"memory": resources["memory"]}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": SCRATCH, "mountPath": "/tmp"}, *mounts],  # noqa: S108 - the pod's own
    }
    if command:
        found["command"] = list(command)
    if arguments:
        found["args"] = list(arguments)
    if probe:
        # as long as it takes to begin; then it is asked whether it is there, and begun anew where it isn't
        found |= {"startupProbe": {**probe, "periodSeconds": 2, "failureThreshold": 60}}
        found |= {"readinessProbe": probe, "livenessProbe": {**probe, "periodSeconds": 20}}
    return found


def kubectl_proxy(image: str, paths: Iterable[str]) -> tuple[Object, Object]:
    """A sidecar that carries a pod's plain calls to the API, on loopback and under its account; and its volume.

    The pod's other containers never see the token, and no path goes through but these.
    """
    mount = {"name": "account", "mountPath": ACCOUNT_FOLDER, "readOnly": True}
    port = 8001
    ask = ["kubectl", f"--server=http://127.0.0.1:{port}", "get", "--raw=/readyz"]
    sidecar = container(
        "kubectl-proxy",
        image,
        env=[{"name": "HOME", "value": "/tmp"}],  # noqa: S108 - where kubectl keeps what it found
        resources={"cpu": "50m", "memory": "64Mi"},
        mounts=[mount],
        arguments=[
            "proxy",
            "--address=127.0.0.1",
            f"--port={port}",
            "--accept-hosts=^127\\.0\\.0\\.1$",
            f"--accept-paths=^/readyz$,{','.join(paths)}",
        ],
    )
    # before the program, and as long as it
    sidecar |= {
        "restartPolicy": "Always",
        "startupProbe": {"exec": {"command": ask}, "periodSeconds": 1, "timeoutSeconds": 5, "failureThreshold": 60},
    }
    sources = [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    return sidecar, {"name": "account", "projected": {"sources": sources}}


@dataclass(frozen=True, slots=True)
class Pod:
    """What a deployment's one pod is made of."""

    containers: list[Object]
    user: int
    account: str = "default"
    before: list[Object] = field(default_factory=list)
    volumes: list[Object] = field(default_factory=list)
    pull: str | None = None
    searches: tuple[str, ...] = ()
    aliases: Mapping[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Looks:
    """What is tried inside of a deployment's pod, by a command in the container of its name.

    The command prints a list in JSON: of each look what it looked at, and what is wrong, null where nothing is.
    """

    namespace: str
    deployment: str
    command: tuple[str, ...]
    said: str = ""
    """Beside that its log is to have something that this finds, of the last so many ``seconds``."""
    seconds: int = 0
    url: str = ""
    """Where users come to it from outside, by the cluster's controller, and the ``host`` that they ask for."""
    host: str = ""


def deployment(home: Home, name: str, pod: Pod, reads: Iterable[Object]) -> Object:
    """A Deployment of one pod, which goes before its successor comes: its state would be two's otherwise."""
    identity = {"runAsUser": pod.user, "runAsGroup": pod.user, "fsGroup": pod.user, "runAsNonRoot": True}
    spec: Object = {
        "serviceAccountName": pod.account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {**identity, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": pod.containers,
        "volumes": [{"name": SCRATCH, "emptyDir": {"sizeLimit": "1Gi"}}, *pod.volumes],
    }
    if pod.before:
        spec["initContainers"] = pod.before
    if pod.pull:
        spec["imagePullSecrets"] = [{"name": pod.pull}]
    if pod.aliases:
        spec["hostAliases"] = [{"ip": address, "hostnames": names} for address, names in pod.aliases.items()]
    if pod.searches:
        spec["dnsConfig"] = {"searches": list(pod.searches)}
    labels = {"app": name}
    metadata = {"labels": labels, "annotations": {CONTENT: digest(reads)}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": home.metadata(name),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": labels},
            "template": {"metadata": metadata, "spec": spec},
        },
    }


def files_mount(name: str, folder: str) -> Object:
    return {"name": name, "mountPath": folder, "readOnly": True}


def files_volume(name: str) -> Object:
    """The volume of a ConfigMap of the same name."""
    return {"name": name, "configMap": {"name": name}}


# -- who reaches whom

Peers = list[Object]
ANYBODY: Peers = []


def own_pods(*components: str) -> Peers:
    """Pods of components in the same namespace."""
    return [{"podSelector": {"matchLabels": {"app": name}}} for name in components]


def pods_of(namespace: str) -> Peers:
    """All pods of another namespace."""
    return [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}]


def address_block(host: str) -> Peers:
    """An address; a name may be any address."""
    try:
        return [{"ipBlock": {"cidr": f"{host}/{ip_address(host).max_prefixlen}"}}]
    except ValueError:
        return ANYBODY


def way(peers: Peers, *ports: int, towards: str) -> Object:
    """A rule of a policy: these ports ``from`` or ``to`` these peers."""
    told = [{"port": port, "protocol": "TCP"} for port in ports]
    return {towards: peers, "ports": told} if peers else {"ports": told}


def closed(home: Home) -> Object:
    """Nobody reaches anybody, but for DNS, unless another policy says so."""
    # a cache of names on the node itself is in no namespace
    spec = {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
        "egress": [{"ports": [dict(port) for port in DNS]}],
    }
    return _policy(home, "closed", spec)


def opened(home: Home, name: str, incoming: Iterable[Object], outgoing: Iterable[Object] = ()) -> Object:
    """Whom a component's pod is reached by, and whom it reaches."""
    spec = {
        "podSelector": {"matchLabels": {"app": name}},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": list(incoming),
        "egress": list(outgoing),
    }
    return _policy(home, name, spec)


def _policy(home: Home, name: str, spec: Object) -> Object:
    metadata = home.metadata(name)
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


ADMISSION = "admissionregistration.k8s.io"


_IN_POD = "object.spec.?securityContext"
_OPTIONS = "c.?securityContext"


def _pods(folders: Iterable[str]) -> list[Object]:
    """What pods may have: of the node's files these folders alone, and nothing that a pod hasn't by itself."""
    below = " || ".join(
        f"v.hostPath.path == {json.dumps(folder)} || v.hostPath.path.startsWith({json.dumps(folder + '/')})"
        for folder in folders
    )
    # beside such files, which are the account's that every pod has
    own = "has(s.serviceAccountToken) || has(s.downwardAPI) || s.?configMap.?name.orValue('') == 'kube-root-ca.crt'"
    known = (
        "has(v.hostPath) || has(v.emptyDir) || has(v.downwardAPI) || "
        f"has(v.projected) && v.projected.?sources.orValue([]).all(s, {own})"
    )
    told = ", ".join(folders)
    return [
        {
            "expression": f"variables.volumes.all(v, !has(v.hostPath) || {below})",
            "message": f"of a node's files pods have those below {told} only",
        },
        {
            "expression": f"variables.volumes.all(v, {known})",
            "message": "pods have no volumes but files of the node: no Secret, no claim, nothing else of the namespace",
        },
        {
            "expression": "variables.containers.all(c, c.?envFrom.orValue([]).size() == 0 && c.?env.orValue([]).all(e, "
            "!has(e.valueFrom) || !has(e.valueFrom.secretKeyRef) && !has(e.valueFrom.configMapKeyRef)))",
            "message": "pods have no variables of Secrets and ConfigMaps",
        },
        {
            "expression": " && ".join(
                f"!object.spec.?{key}.orValue(false)" for key in ("hostNetwork", "hostPID", "hostIPC")
            )
            + " && variables.containers.all(c, c.?ports.orValue([]).all(p, p.?hostPort.orValue(0) == 0))",
            "message": "pods have no part of a node's network or processes",
        },
        {
            "expression": f"!{_IN_POD}.?windowsOptions.?hostProcess.orValue(false) && variables.containers.all(c, "
            f"!{_OPTIONS}.?privileged.orValue(false) && !{_OPTIONS}.?windowsOptions.?hostProcess.orValue(false))",
            "message": "no container is privileged",
        },
        {
            "expression": f"{_IN_POD}.?sysctls.orValue([]).size() == 0 && variables.containers.all(c, "
            f"{_OPTIONS}.?capabilities.?add.orValue([]).size() == 0 && "
            f"{_OPTIONS}.?procMount.orValue('Default') == 'Default')",
            "message": "no container has more capabilities, or more of the kernel, than it has by itself",
        },
        {
            "expression": f"{_confined(_IN_POD)} && variables.containers.all(c, {_confined(_OPTIONS)})",
            "message": "no container is unconfined, or of another kind to SELinux",
        },
        {
            "expression": "object.spec.?serviceAccountName.orValue('') in ['', 'default']",
            "message": "pods have no other account than default",
        },
        {
            # those of the account come by themselves, and are what the policy is given
            "expression": "object.spec.?imagePullSecrets.orValue([]).all(s, "
            "params.?imagePullSecrets.orValue([]).exists(known, known.?name == s.?name))",
            "message": "pods are pulled with no Secrets but those of the account default",
        },
        {
            "expression": "object.spec.?nodeName.orValue('') == '' && "
            "!object.spec.?priorityClassName.orValue('').startsWith('system-') && "
            "object.spec.?tolerations.orValue([]).all(t, t.?key.orValue('') != '' && "
            "!t.key.startsWith('node-role.kubernetes.io/'))",
            "message": "pods go where the scheduler puts pods of everybody, and push no pods of the cluster's own away",
        },
        {
            "expression": "object.spec.?resourceClaims.orValue([]).size() == 0",
            "message": "pods have no claims to devices",
        },
        {
            "expression": f"variables.containers.all(c, {_asks_nobody()})",
            "message": "no probe or hook has the node ask somebody else",
        },
    ]


def _asks_nobody() -> str:
    """Of a container: the kubelet, which asks by the node's own network, asks the pod."""
    asked = [f"{word}Probe" for word in ("liveness", "readiness", "startup")]
    asked += [f"lifecycle.?{word}" for word in ("postStart", "preStop")]
    return " && ".join(f"c.?{one}.?{way}.?host.orValue('') == ''" for one in asked for way in ("httpGet", "tcpSocket"))


def _confined(context: str) -> str:
    profiles = (f"{context}.?{key}.?type.orValue('') != 'Unconfined'" for key in ("seccompProfile", "appArmorProfile"))
    kinds = (f"{context}.?seLinuxOptions.?{key}.orValue('') == ''" for key in ("type", "user", "role"))
    return " && ".join((*profiles, *kinds))


_SERVICES = [
    {
        "expression": "object.spec.?type.orValue('ClusterIP') == 'ClusterIP' && "
        "object.spec.?externalIPs.orValue([]).size() == 0",
        "message": "services are reached in the cluster only",
    }
]
_OWN_NAMES = {"pods": "metadata.?labels", "services": "spec.?selector"}
"""Where the programs' templates have an object's own name, by the word ``app``."""


def _deleted(resource: str) -> Object:
    """That of others, and what something else than the programs looks after, stays."""
    expression = (
        "oldObject.metadata.?ownerReferences.orValue([]).size() == 0 && "
        f"oldObject.{_OWN_NAMES[resource]}.?app.orValue('') == oldObject.metadata.name"
    )
    return {"validations": [{"expression": expression, "message": "only what the programs have made is deleted"}]}


_VARIABLES = [
    {"name": "containers", "expression": "object.spec.containers + object.spec.?initContainers.orValue([])"},
    {"name": "volumes", "expression": "object.spec.?volumes.orValue([])"},
]


def admission(home: Home, account: str, folders: Iterable[str], namespace: str) -> list[Object]:
    """What an account may have in pods and services that it makes, and which ones it may delete."""
    name, user = f"{home.namespace}.{account}", f"system:serviceaccount:{home.namespace}:{account}"
    made, accounts = ["CREATE", "UPDATE"], {"apiVersion": "v1", "kind": "ServiceAccount"}
    pods = {"paramKind": accounts, "variables": _VARIABLES, "validations": _pods(list(folders))}
    theirs = {"paramRef": {"name": "default", "namespace": namespace, "parameterNotFoundAction": "Deny"}}
    return [
        *_policy_of(user, namespace, name, {"resources": ["pods"], "operations": made}, pods, theirs),
        *_policy_of(
            user,
            namespace,
            f"{name}.services",
            {"resources": ["services"], "operations": made},
            {"validations": _SERVICES},
        ),
        *(
            each
            for kind in _OWN_NAMES
            for each in _policy_of(
                user,
                namespace,
                f"{name}.{kind}.deleted",
                {"resources": [kind], "operations": ["DELETE"]},
                _deleted(kind),
            )
        ),
    ]


def _policy_of(
    user: str, namespace: str, name: str, what: Object, rules: Object, given: Object | None = None
) -> list[Object]:
    """A policy and its binding; ``given`` is what the binding gives it."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "scope": "Namespaced", **what}
    policy = {
        "failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [rule], "matchPolicy": "Equivalent"},
        "matchConditions": [{"name": "account", "expression": f"request.userInfo.username == '{user}'"}],
        **rules,
    }
    selector = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    binding = {"policyName": name, "validationActions": ["Deny"], "matchResources": selector, **(given or {})}
    version, metadata = f"{ADMISSION}/v1", {"name": name}
    return [
        {"apiVersion": version, "kind": "ValidatingAdmissionPolicy", "metadata": metadata, "spec": policy},
        {
            "apiVersion": version,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": dict(metadata),
            "spec": binding,
        },
    ]


def ingress(home: Home, name: str, options: Mapping[str, Any], backend: str, port: int, paths: Iterable[str]) -> Object:
    """The way in by the cluster's controller: paths are regular expressions of its own kind."""
    to = {"service": {"name": backend, "port": {"number": port}}}
    rule: Object = {
        "http": {"paths": [{"path": path, "pathType": "ImplementationSpecific", "backend": to} for path in paths]}
    }
    spec: Object = {"ingressClassName": options["class_name"], "rules": [rule]}
    if "host" in options:
        rule["host"] = options["host"]
    if "tls_secret" in options:
        hosts = {"hosts": [options["host"]]} if "host" in options else {}
        spec["tls"] = [{"secretName": options["tls_secret"], **hosts}]
    metadata = {**home.metadata(name), "annotations": dict(options["annotations"])}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": metadata, "spec": spec}
