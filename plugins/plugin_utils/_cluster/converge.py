# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A cluster is looked at and, where it differs, changed: what is there as asked isn't touched.

Ours is what has our labels, of federation and party: parties of one federation may have one cluster, and each sees its
own inventory only. What has the name of something of ours and not its labels is somebody else's, and refused
before anything changes; so is what who asks may not do. Every object is first applied without effect (``dryRun``),
which is how the API itself says what would change; only that is then applied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from . import discovery, nodes, strange
from .accounts import beside_theirs, without
from .api import FORBIDDEN, INVALID, KINDS, NOT_FOUND, PODS, WRONG, Api, ApiError, Kind, Object

OLDEST = (1, 30)
"""ValidatingAdmissionPolicy is in this version for good, and containers that come before others and stay."""

MANAGED = "app.kubernetes.io/managed-by"
FEDERATION = "fedlearn.infra/federation"
PARTY = "fedlearn.infra/party"
ROLE = "fedlearn.infra/role"
INSTANCE = "fedlearn.infra/instance"
PRODUCT = "fedlearn.infra"
VERBS = ("get", "create", "patch", "delete")
ENFORCED = "pod-security.kubernetes.io/enforce"
VOLUMES = ("PersistentVolume", "PersistentVolumeClaim")

IN_EVERY_NAMESPACE = {
    ("ServiceAccount", "default"),
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "istio-ca-root-cert"),
    ("ConfigMap", "openshift-service-ca.crt"),
}
"""What clusters put there by themselves."""

Key = tuple[str, str, str]
"""Kind, namespace and name."""

Right = tuple[str, Kind, str | None]
"""Verb, kind and namespace, or all of them."""


class RefusedError(Exception):
    """Why nothing was changed; a line for each reason."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose objects: those of one role of one party in one federation."""

    federation: str
    party: str
    role: str
    alone: bool = False
    """Whether a cluster takes one instance of the role only, whosever it is."""

    @property
    def labels(self) -> dict[str, str]:
        return {MANAGED: PRODUCT, FEDERATION: self.federation, PARTY: self.party, ROLE: self.role}

    @property
    def selector(self) -> str:
        """Of the role in the federation, whichever party's: what a former release made bears none."""
        return f"{MANAGED}={PRODUCT},{FEDERATION}={self.federation},{ROLE}={self.role}"

    def may_have(self, labels: Mapping[str, str]) -> bool:
        """Whether nothing says that it is another federation's or another party's."""
        return labels.get(FEDERATION) == self.federation and labels.get(PARTY, self.party) == self.party

    def owned(self, instance: str, wanted: Object) -> Object:
        """The object with the labels of what is ours; what was there before us keeps its own."""
        if is_others(wanted):
            return wanted
        metadata = dict(wanted["metadata"])
        metadata["labels"] = {**metadata.get("labels", {}), **self.labels, INSTANCE: instance}
        return {**wanted, "metadata": metadata}


def is_others(wanted: Object) -> bool:
    """Whether it is the cluster's own, of which a part is ours."""
    return (wanted["kind"], wanted["metadata"]["name"]) in (("Namespace", "default"), ("ServiceAccount", "default"))


def key_of(found: Object) -> Key:
    metadata = found["metadata"]
    return found["kind"], metadata.get("namespace", ""), metadata["name"]


def _namespace(found: Object) -> str:
    namespace: str = found["metadata"].get("namespace", "")
    return namespace


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
    strange: dict[Key, list[str]] = field(default_factory=dict)
    """Of what is changed, what others put into it."""
    opening: list[Key] = field(default_factory=list)
    """Policies of others, by which more is let in or out of namespaces of ours."""
    instances: dict[Key, str] = field(default_factory=dict)
    """Whose it is, of what is wanted."""
    freed: dict[Key, Object] = field(default_factory=dict)
    """Services that give up ports of nodes which others of ours get."""

    @property
    def differs(self) -> bool:
        return bool(self.created or self.changed or self.removed)


class Cluster:
    """A cluster, as far as it is ours."""

    def __init__(self, api: Api, scope: Scope) -> None:
        self.api = api
        self.scope = scope

    # -- looking

    def look(
        self,
        wanted: Mapping[str, Iterable[Object]],
        absent: Iterable[str] = (),
        *,
        prune: bool = False,
        made: Collection[Object] = (),
    ) -> Found:
        """Compare instances' objects with what is there; ``made`` are pods as those of ours make them.

        Raises RefusedError, ApiError.
        """
        self._check_version()
        objects = [(instance, one) for instance, told in wanted.items() for one in told]
        self._check_rights(_to_make([one for _instance, one in objects], made))
        if self.scope.alone and wanted:
            self._check_alone({*wanted, *absent}, prune)
        self._check_made(made)
        found = Found(instances={key_of(one): instance for instance, one in objects})
        asked = [self._asked(instance, one) for instance, one in objects]
        self._check_nodes(asked, {*wanted, *absent}, prune)
        labelled = [one for kind in KINDS for one in self.api.labelled(kind, self.scope.selector)]
        ours = {key_of(one): one for one in labelled if self.scope.may_have(one["metadata"]["labels"])}
        self._part({key: one for key, one in ours.items() if key not in found.instances}, {*wanted, *absent}, found)
        going = [*found.removed, *(found.orphans if prune else [])]
        self.check_removal(going)
        taking = self._ports(asked, ours, going, found)
        self._compare(asked, ours, taking, found)
        found.opening = self._opening(asked)
        return found

    def _part(self, unwanted: Mapping[Key, Object], known: Collection[str], found: Found) -> None:
        """What goes with its instance, and what no instance has; what may be another party's is neither."""
        for key, one in unwanted.items():
            labels = one["metadata"]["labels"]
            if one["metadata"].get("deletionTimestamp"):
                continue
            if labels.get(INSTANCE) in known:
                found.removed.append(key)
            elif PARTY in labels:
                found.orphans.append(key)

    def check_removal(self, going: Collection[Key]) -> None:
        """Refuse where who asks may not remove these. Raises RefusedError, ApiError."""
        if going:
            accounts = [account for account, _paths in self._pulling(going)]
            self._check_rights(_to_remove(going, accounts))

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

    def _asked(self, instance: str, one: Object) -> Object:
        """As it is applied: ours with our labels, what is the cluster's own with what others have in it."""
        return beside_theirs(one, self._there(one)) if is_others(one) else self.scope.owned(instance, one)

    def _claim(self, kind: str, namespace: str, name: str) -> list[Object]:
        found = self.api.get(kind, namespace, name) if kind == "PersistentVolumeClaim" else None
        return [{"kind": kind, **found}] if found else []

    def _within(self, namespace: str) -> Iterator[Object]:
        """All that lies in a namespace, of whatever kind."""
        for name, kind in self._kinds:
            try:
                yield from self.api.all_of(name, kind, namespace)
            except ApiError as error:
                if error.status == FORBIDDEN:
                    # who can't see it can't say that nothing is lost
                    yield {"kind": kind.resource, "metadata": {"name": "(can't be listed)", "namespace": namespace}}
                elif error.status != NOT_FOUND:
                    raise

    @cached_property
    def _kinds(self) -> list[tuple[str, Kind]]:
        return list(discovery.namespaced(self.api))

    def _check_version(self) -> None:
        version = self.api.version()
        if version < OLDEST:
            told, oldest = (".".join(str(number) for number in each) for each in (version, OLDEST))
            raise RefusedError(f"{self.api.server} is Kubernetes {told}: {oldest} or newer is needed")

    def _check_rights(self, needed: Iterable[Right]) -> None:
        """Refuse where the kubeconfig's user lacks a right; who may do everything is asked once."""
        if self._may_all:
            return
        lacking = [
            f"{verb} {kind.resource}{f' in namespace {namespace}' if namespace else ''}"
            for verb, kind, namespace in dict.fromkeys(needed)
            if not self.api.may(verb, kind.group, kind.plural, namespace)
        ]
        if lacking:
            told = ", ".join(lacking)
            raise RefusedError(f"the user of {self.api.access.file} lacks rights: {told}")

    @cached_property
    def _may_all(self) -> bool:
        return self.api.may("*", "*", "*", None)

    def _check_alone(self, known: set[str], prune: bool) -> None:
        """Refuse beside another instance of the role, unless it is ours and goes with this run."""
        for found in self.api.labelled("Namespace", f"{MANAGED}={PRODUCT},{ROLE}={self.scope.role}"):
            labels = found["metadata"]["labels"]
            federation, instance = labels.get(FEDERATION), labels.get(INSTANCE)
            if self._goes(labels, known, prune):
                continue
            raise RefusedError(
                f"federation '{federation}' has '{instance}' in this cluster already: jobs of both would run in one "
                "namespace, and be mixed up. Remove it, or take another cluster"
            )

    def _check_nodes(self, asked: list[Object], known: set[str], prune: bool) -> None:
        """Refuse folders, disks and users that another instance has, of whatever document or role."""
        own = [one for one in asked if one["kind"] == "PersistentVolume"]
        others = self.api.labelled("PersistentVolume", f"{MANAGED}={PRODUCT}") if own else []
        staying = [one for one in others if not self._goes(one["metadata"]["labels"], known, prune)]
        told = list(dict.fromkeys(nodes.meetings(own, staying, (FEDERATION, INSTANCE))))
        if told:
            raise RefusedError(f"in this cluster already: {'; '.join(told)}. Say others, or take another cluster")

    def _goes(self, labels: Mapping[str, str], known: set[str], prune: bool) -> bool:
        """Whether it is of this run: what is wanted of it, or that it goes."""
        if not self.scope.may_have(labels):
            return False
        return labels.get(INSTANCE) in known or (prune and PARTY in labels and labels.get(ROLE) == self.scope.role)

    def _check_made(self, made: Iterable[Object]) -> None:
        """Refuse where the pods that pods of ours make would be refused, each by itself and late."""
        for pod in made:
            try:
                self.api.try_creation(PODS, pod)
            except ApiError as error:
                # a webhook that can't be asked without effect says nothing about pods
                if "does not support dry run" in str(error):
                    continue
                namespace = _namespace(pod)
                raise RefusedError(
                    f"the namespace {namespace} would take no pods of jobs, which are root and have files of their "
                    f"node: {error}. Where it is pod security `kubectl label --overwrite namespace {namespace} "
                    f"{ENFORCED}=privileged` lets them in; otherwise exempt the namespace, or take another cluster"
                ) from None

    def _opening(self, asked: list[Object]) -> list[Key]:
        """Policies of others that let in or out what ours don't; those that only close are no matter of ours."""
        homes = {one["metadata"]["name"] for one in asked if one["kind"] == "Namespace" and not is_others(one)}
        policies = self.api.listed("NetworkPolicy") if homes else []
        return [
            key_of(one)
            for one in policies
            if _namespace(one) in homes
            and (one["metadata"].get("labels") or {}).get(MANAGED) != PRODUCT
            and (one["spec"].get("ingress") or one["spec"].get("egress"))
        ]

    def _ports(
        self, asked: Iterable[Object], ours: Mapping[Key, Object], going: Collection[Key], found: Found
    ) -> set[int]:
        """Ports of nodes that ours take over from ours, which free them before; those of others are refused.

        Of Services in a namespace that is to come the API tells it late, and of ours that go it never gives any.
        """
        wanted = {key_of(one): _node_ports(one) for one in asked}
        taken = {port: key for key, ports in wanted.items() for port in ports if port not in _node_ports(ours.get(key))}
        others: list[str] = []
        way_out = "Take others"
        for one in self.api.listed("Service") if taken else ():
            key = key_of(one)
            meets = [port for port in _node_ports(one) if taken.get(port, key) != key]
            if meets and (key in going or (key in ours and not {*meets} & {*wanted.get(key, ())})):
                found.freed[key] = one
                continue
            if meets and _whose(one):
                way_out = "Take others, or run first for what has them, which goes or gets others"
            others += [f"{port} of {words(taken[port])} is that of {words(key)}{_whose(one)}" for port in meets]
        if others:
            raise RefusedError(f"ports of nodes that are taken: {', '.join(others)}. {way_out}")
        return {port for one in found.freed.values() for port in _node_ports(one) if port in taken}

    def _compare(self, asked: list[Object], ours: Mapping[Key, Object], taking: Collection[int], found: Found) -> None:
        there = {key_of(one): ours.get(key_of(one)) or self._there(one) for one in asked}
        foreign = {key_of(one): there[key_of(one)] for one in asked if key_of(one) not in ours and not is_others(one)}
        told = ", ".join(f"{words(key)}{_whose(live)}" for key, live in foreign.items() if live)
        if told:
            raise RefusedError(
                f"somebody else's, by our names: {told}. Remove them, or give the stack or the federation another name"
            )
        to_come = {name for (kind, _namespace, name), live in there.items() if kind == "Namespace" and live is None}
        for one in asked:
            key, live = key_of(one), there[key_of(one)]
            # of what lies in a namespace that isn't there the API says so only, each time after a while
            if key[1] in to_come:
                self._try_elsewhere(_without_ports(one, taking))
                found.created.append(key)
                continue
            tried = _without_ports(one, taking)
            applied = self._try(tried, live)
            if live is None:
                found.created.append(key)
                continue
            found.live[key] = live
            theirs = self._strange(tried, applied) if applied else []
            if theirs:
                found.strange[key] = theirs
            differs = bool(theirs) or applied is None or tried != one or _content(live) != _content(applied)
            if differs and key not in found.changed:
                found.changed.append(key)

    def _there(self, one: Object) -> Object | None:
        kind, namespace, name = key_of(one)
        return self.api.get(kind, namespace or None, name)

    def _try(self, one: Object, live: Object | None) -> Object | None:
        """What the API would make of it; in a namespace that isn't there yet nobody can say."""
        try:
            return self.api.apply(one, dry_run=True)
        except ApiError as error:
            if error.status == NOT_FOUND:
                return None
            if live and one["kind"] in VOLUMES and error.status in (FORBIDDEN, INVALID):
                raise RefusedError(
                    f"{words(key_of(one))} can't become that while it is there ({str(error).splitlines()[0]}): take "
                    f"'{one['metadata']['labels'][INSTANCE]}' `state: absent`, run site, and take it back. Files of "
                    "nodes stay, those of a class's volume don't"
                ) from None
            raise RefusedError(f"{words(key_of(one))}: {error}") from None

    def _try_elsewhere(self, one: Object) -> None:
        """Whether the API takes what is in it, asked in a namespace that is there; what that refuses is its own."""
        metadata = {**one["metadata"], "namespace": "default"}
        try:
            self.api.try_creation(KINDS[one["kind"]], {**one, "metadata": metadata})
        except ApiError as error:
            if error.status in (WRONG, INVALID):
                raise RefusedError(f"{words(key_of(one))}: {error}") from None

    def _strange(self, one: Object, there: Object) -> list[str]:
        """What others put into it that is left there by an apply."""
        theirs = [f"annotations[{key}]" for key in strange.steering(one, there)]
        if not theirs and not strange.may_have(there):
            return []
        try:
            made = self.api.patch(there, strange.alone(one, there), dry_run=True)
            return [*theirs, *strange.beyond(there, made)]
        except ApiError as error:
            raise RefusedError(f"{words(key_of(one))}: {error}") from None

    # -- changing

    def change(self, wanted: Mapping[str, Iterable[Object]], found: Found, *, prune: bool) -> dict[Key, list[str]]:
        """Make it so: what is new or differs is applied, what isn't wanted goes.

        Gives what the cluster itself puts into ours, where it does so for the first time.
        """
        differing = {*found.created, *found.changed}
        for one in found.freed.values():
            # with its type its ports of nodes go at once, while one that is deleted has them until it is gone
            self.api.patch(one, [{"op": "add", "path": "/spec/type", "value": "ClusterIP"}], dry_run=False)
        put_in: dict[Key, list[str]] = {}
        for instance, objects in wanted.items():
            for one in objects:
                key = key_of(one)
                if key in differing:
                    try:
                        made = self._made(self._asked(instance, one))
                    except ApiError as error:
                        raise ApiError(f"{words(key)}: {error}", error.status) from None
                    before = strange.put_in(one, found.live.get(key, one))
                    told = [] if is_others(one) else [each for each in strange.put_in(one, made) if each not in before]
                    put_in |= {key: told} if told else {}
        self.remove([*found.removed, *(found.orphans if prune else [])])
        return put_in

    def _made(self, one: Object) -> Object:
        """What comes of it, without what others put in."""
        applied = {"kind": one["kind"], **self.api.apply(one, dry_run=False)}
        if self._strange(one, applied):
            return self.api.patch(applied, strange.alone(one, applied), dry_run=False)
        return applied

    def back(self, wanted: Mapping[str, Iterable[Object]], found: Found) -> dict[Key, list[str]]:
        """What others put into ours anew, right after it was taken away."""
        asked = {key_of(one): self._asked(instance, one) for instance, told in wanted.items() for one in told}
        looks = {key: self._there(asked[key]) for key in found.strange}
        told = {key: self._strange(asked[key], {"kind": key[0], **live}) for key, live in looks.items() if live}
        return {key: theirs for key, theirs in told.items() if theirs}

    def remove(self, keys: Iterable[Key]) -> None:
        """Have objects go, in the order in which nothing misses them; what lies in a namespace goes with it."""
        order = list(KINDS)
        going = sorted(keys, key=lambda key: order.index(key[0]), reverse=True)
        self._withdraw(going)
        for kind, namespace, name in going:
            self.api.delete(kind, namespace or None, name)

    def _withdraw(self, going: Collection[Key]) -> None:
        """Accounts pull with no Secret that goes."""
        for account, paths in self._pulling(going):
            self.api.take_away(account, paths)

    def _pulling(self, going: Collection[Key]) -> Iterator[tuple[Object, list[str]]]:
        """Accounts that stay and pull with Secrets that go, and where they name these."""
        whole = {name for kind, _namespace, name in going if kind == "Namespace"}
        names: dict[str, set[str]] = {}
        for kind, namespace, name in going:
            if kind == "Secret" and namespace not in whole:
                names.setdefault(namespace, set()).add(name)
        for namespace, secrets in names.items():
            for account in self.api.listed("ServiceAccount", namespace):
                paths = without(account, secrets)
                if paths:
                    yield account, paths


@dataclass(slots=True)
class Left:
    """What no instance has that is expected, by the instance that had it."""

    own: dict[str, list[Key]] = field(default_factory=dict)
    unclaimed: dict[str, list[Key]] = field(default_factory=dict)
    """What bears no party, of a former release: another party may have it."""


def orphans(api: Api, federation: str, party: str, expected: Collection[str]) -> Left:
    """A party's objects in a cluster by instances that are not `expected`, whatever role they are of."""
    left = Left()
    for kind in KINDS:
        for one in api.labelled(kind, f"{MANAGED}={PRODUCT},{FEDERATION}={federation}"):
            labels = one["metadata"]["labels"]
            instance = labels.get(INSTANCE, "")
            if instance in expected or labels.get(PARTY, party) != party or one["metadata"].get("deletionTimestamp"):
                continue
            (left.own if PARTY in labels else left.unclaimed).setdefault(instance, []).append(key_of(one))
    return left


def _to_make(asked: Sequence[Object], made: Iterable[Object]) -> Iterator[Right]:
    """What has to be allowed for looking, and for making these."""
    places = dict.fromkeys((one["kind"], one["metadata"].get("namespace")) for one in asked)
    yield from (("list", kind, None) for kind in KINDS.values())
    yield from ((verb, KINDS[kind], namespace) for kind, namespace in places for verb in VERBS)
    # what deployments wait for
    yield from (("list", PODS, namespace) for kind, namespace in places if kind == "Deployment")
    yield from (("create", PODS, _namespace(pod)) for pod in made)
    # the API wants it of who has a policy compare with an object
    given = dict.fromkeys(one["spec"]["paramKind"]["kind"] for one in asked if "paramKind" in one.get("spec", {}))
    yield from (("get", KINDS[kind], None) for kind in given)


def _to_remove(going: Iterable[Key], accounts: Iterable[Object]) -> Iterator[Right]:
    """What has to be allowed for removing these, of which those accounts know."""
    places = dict.fromkeys((kind, namespace or None) for kind, namespace, _name in going)
    yield from ((verb, KINDS[kind], namespace) for kind, namespace in places for verb in ("get", "delete"))
    # ports of nodes go before their Service does
    yield from (("patch", KINDS[kind], namespace) for kind, namespace in places if kind == "Service")
    yield from (("patch", KINDS["ServiceAccount"], _namespace(account)) for account in accounts)


def _whose(live: Object) -> str:
    """Whose it is, where that is known."""
    labels = live["metadata"].get("labels") or {}
    if labels.get(MANAGED) != PRODUCT:
        return ""
    party = f", party '{labels[PARTY]}'" if PARTY in labels else ""
    return f" (of '{labels.get(INSTANCE)}', federation '{labels.get(FEDERATION)}'{party})"


def _lost(found: Object) -> str:
    """Why somebody would miss it with its namespace; empty where nobody would."""
    metadata = found["metadata"]
    if metadata.get("labels", {}).get(MANAGED) == PRODUCT:
        dynamic = found["kind"] == "PersistentVolumeClaim" and found["spec"].get("storageClassName")
        return "data" if dynamic else ""
    its_own = (found["kind"], metadata["name"]) in IN_EVERY_NAMESPACE
    return "" if its_own or metadata.get("ownerReferences") else "not ours"


def _node_ports(one: Object | None) -> list[int]:
    ports = one["spec"].get("ports", ()) if one and one["kind"] == "Service" else ()
    return [port["nodePort"] for port in ports if port.get("nodePort")]


def _without_ports(one: Object, taking: Collection[int]) -> Object:
    """A Service without these ports of nodes, which the API gives it once they are free."""
    if not {*_node_ports(one)} & {*taking}:
        return one
    ports = [
        {key: value for key, value in port.items() if key != "nodePort" or value not in taking}
        for port in one["spec"]["ports"]
    ]
    return {**one, "spec": {**one["spec"], "ports": ports}}


_OF_THE_SERVER = ("managedFields", "resourceVersion", "generation", "uid", "creationTimestamp")


def _content(found: Object) -> Object:
    """An object without what the API itself writes down."""
    metadata = {key: value for key, value in found["metadata"].items() if key not in _OF_THE_SERVER}
    rest = {key: value for key, value in found.items() if key not in ("metadata", "status")}
    return {**rest, "metadata": metadata}
