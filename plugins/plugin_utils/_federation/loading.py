# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A document, seen from one party or by everybody, becomes a ``Federation``, or a list of all its mistakes."""

from __future__ import annotations

import contextlib
import dataclasses
import os.path
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from .._roles.catalogue import SHARED
from .._state.location import directory_of, is_repository
from . import acme, certificates, document, formats, network, own_affairs, stages
from .grammar import VIEWPOINT, document_section
from .hosts import Hosts, known_names
from .kinds import kinds
from .model import (
    MAX_CERTIFICATE_NAME,
    MAX_INSTANCE_NAME,
    Cluster,
    Component,
    Expansion,
    Federation,
    Host,
    Party,
    Path,
    Placement,
    Position,
    Stack,
    gone,
)
from .nodes import Mistake, Node, Report, TooManyMistakesError, did_you_mean, shorten
from .schema import WRONG, Checker, Names, has_userinfo, looks_secret
from .unknown import UNKNOWN, UnknownValueError, attempt, known

RESERVED_GROUPS = ("all", "ungrouped", "federation_hosts", "federation_clusters")

MAX_COMPONENTS = 200_000
"""So many a document may make: a few words (64 on each of 100000 hosts) would take all of the control node's memory."""


class WrongDocumentError(Exception):
    """A document with mistakes: one line each."""

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("\n".join(str(mistake) for mistake in mistakes))
        self.mistakes = mistakes


def load(file: str, *, state: str | None = None) -> Federation:
    """The federation that a document or viewpoint describes, each stack expanded.

    ``state`` is where playbooks keep what they write on the control node, a folder or the URL of a repository; default:
    beside the file.
    Raises WrongDocumentError with every mistake there is.
    """
    report = Report()
    loader = _Loader(file, report, state)
    federation = None
    with contextlib.suppress(TooManyMistakesError):
        federation = loader.load()
    if federation is None or len(report):
        raise WrongDocumentError(report.mistakes)
    return federation


def group_name(text: str) -> str:
    """A name as part of a group's name."""
    return text.replace("-", "_").replace(".", "_")


class _Loader:
    """What is known of a document while it is loaded, step by step."""

    def __init__(self, file: str, report: Report, state: str | None) -> None:
        self.file = _absolute(file)
        self.directory = str(pathlib.PurePath(self.file).parent)
        self.state = _absolute(state) if state and not is_repository(state) else state or self.directory
        self.state_directory = directory_of(self.state)
        self.report = report
        self.viewpoint: Node | None = None
        self.sources = [self.file]
        self.signers: Mapping[str, list[str]] = {}
        self._seen_by: str | None = None
        self._merged: tuple[Node, Node] | None = None
        self.doubtful: dict[str, Stack] = {}
        self.wrong: dict[str, Expansion] = {}

    def load(self) -> Federation | None:
        """All steps; None when there is nothing to go on with."""
        root = self._source()
        if root is None:
            return None
        self.report.root = root
        if isinstance(root.value, dict) and not root.lost and not set(root.value) & set(document_section().keys):
            way_out = "its first line is `plugin: fedlearn.infra.federation`, docs/federation.md tells its keys"
            self.report.mistake((), f"is no federation document: {way_out}", root.position)
            return None
        names = known_names(root)
        self.checker = Checker(self.report, names)
        values = self.checker.check(document_section(), root, ())
        _find_secrets(root, self.report, self.checker.exempt)
        self._look_at_overlay(names, values)
        self._look_at_files()
        if values is WRONG:
            return None
        right = known(values)  # of stacks also what is wrong: the rest of one is looked at all the same
        federation = self._federation({**right, "stacks": values["stacks"]} if "stacks" in right else right)
        for doubt in names.doubtful if not len(self.report) else ():
            self.report.mistake(*doubt)
        expansions = {stack.name: expansion for stack, expansion in self._expand(federation)}
        self._look_at_firewalls(federation)
        self._look_at_permitted(federation, expansions)
        self._names_meet(federation, expansions)
        proofs = [component for component, _site in acme.sites(federation, expansions.values())]
        self._components_meet({**expansions, **self.wrong, "": Expansion(components=tuple(proofs))})
        return dataclasses.replace(
            federation, expansions=expansions, warnings=tuple(map(str, sorted(self.report.warnings)))
        )

    def _look_at_firewalls(self, federation: Federation) -> None:
        """Note who is said to come from somewhere and is nobody."""
        known = {"clients", acme.SERVER, *federation.parties}
        known |= {host for party in federation.parties.values() for host in party.hosts}
        for party in federation.parties.values():
            for name in party.firewall.get("sources", {}):
                if name not in known:
                    path: Path = ("parties", party.name, "firewall", "sources", name)
                    message = f"nobody that flows name is called so{did_you_mean(name, known)}"
                    self.report.mistake(path, message, self.report.key_position(path))

    def _look_at_permitted(self, federation: Federation, expansions: Mapping[str, Expansion]) -> None:
        """Note hosts that their party's CA may not certify, and stacks that need a certificate with such a name."""
        limited = {name: party for name, party in federation.parties.items() if party.pki.get("permitted")}
        outside = "is outside of what the party's CA may certify"
        for party in limited.values():
            for host in party.hosts.values():
                reached = (*(host.internal or (host.name,)), *((host.public_name,) if host.public_name else ()))
                for each in reached if host.state == "present" else ():
                    if not certificates.is_permitted(party, each):
                        self.report.mistake(host.path, f"{shorten(each)} {outside}: see pki.permitted there")
        for name, expansion in expansions.items() if limited else ():
            path = federation.stacks[name].path
            for certificate in expansion.certificates:
                signer = limited.get(certificate.authority)
                for each in (*certificate.dns_names, *certificate.addresses) if signer else ():
                    if signer and each != certificate.name and not certificates.is_permitted(signer, each):
                        message = f"the certificate {certificate.name} needs {shorten(each)}, which {outside}"
                        self.report.mistake(path, message, self.report.key_position(path))

    def _source(self) -> Node | None:
        """The document's root, with the overlay over it."""
        root = document.read(self.file, _label(self.file), self.report)
        if root is None or not isinstance(root.value, dict) or not _is_viewpoint(root.value):
            return root
        self.viewpoint = root
        self.report.root = root
        values = Checker(self.report).check(VIEWPOINT, root, ())
        if len(self.report):
            return None
        self.signers, self._seen_by = values["signers"], values.get("party")
        source = self._named_file(root, "document")
        if source is None:
            return None
        self.sources.append(source)
        base = document.read(source, _label(source), self.report)
        if base is None or "overlay" not in values:
            return base
        source = self._named_file(root, "overlay")
        if source is None:
            return None
        over = document.read(source, _label(source), self.report)
        if over is None:
            return None
        if not isinstance(over.value, dict):
            self.report.mistake((), "an overlay is a mapping", over.position)
            return None
        self._merged = base, self._without_strangers(base, over)
        return document.overlay(*self._merged, self.report)

    def _look_at_overlay(self, names: Names, values: Any) -> None:
        """Note what of a shared document a party would change for itself."""
        if self._merged is None or self._seen_by is None or values is WRONG:
            return
        base, over = self._merged
        known_before = known_names(base)
        with contextlib.suppress(TooManyMistakesError):
            before = Checker(Report(base), known_before).check(document_section(), base, ())
            was = own_affairs.Said(before if before is not WRONG else {}, known_before)
            own_affairs.look(over, base, self._seen_by, was, own_affairs.Said(values, names), self.report)

    def _without_strangers(self, base: Node, over: Node) -> Node:
        """The overlay without stacks that are neither below nor whole: their names were misspelt."""
        assert isinstance(over.value, dict)
        stacks, known = over.value.get("stacks"), _names_of(base, "stacks")
        if stacks is None or not isinstance(stacks.value, dict):
            return over
        kept = dict(stacks.value)
        for name, stack in stacks.value.items():
            if name not in known and isinstance(stack.value, dict) and "kind" not in stack.value and not stack.lost:
                missing = f"the document has no stack '{shorten(name)}'{did_you_mean(name, known)}"
                position = stacks.keys.get(name)
                self.report.mistake(("stacks", name), f"{missing}, and a new one needs its kind", position)
                del kept[name]
        return dataclasses.replace(over, value={**over.value, "stacks": dataclasses.replace(stacks, value=kept)})

    def _named_file(self, viewpoint: Node, key: str) -> str | None:
        """The file that a viewpoint names; None once it is told that there is none to read."""
        assert isinstance(viewpoint.value, dict)
        named = viewpoint.value[key]
        source = self._beside(str(named.value))
        if source == self.file or not pathlib.Path(source).is_file():
            what = "is this file itself" if source == self.file else f"is no file ({source})"
            self.report.mistake(
                (key,), f"'{shorten(str(named.value))}' {what}: paths begin beside this file", named.position
            )
            return None
        return source

    def _look_at_files(self) -> None:
        """Note what the document names and is no file, or lies elsewhere: reading that could hang, or give away what is
        no business of the document's."""
        homes = {os.path.realpath(pathlib.PurePath(path).parent) for path in self.sources}
        homes |= {str(pathlib.PurePath(os.path.realpath(path)).parent) for path in self.sources}
        for path, text in self.checker.files.items():
            file = pathlib.Path(os.path.realpath(self._beside(text)))
            within = [file.relative_to(home).as_posix() for home in homes if file.is_relative_to(home)]
            if all(formats.is_private(one) for one in within):
                message = f"'{shorten(text)}' is a link that leads away from the document: copy what it names"
                self.report.mistake(path, message)
            elif file.exists() and not (file.is_file() or file.is_dir()):
                self.report.mistake(path, f"'{shorten(text)}' is neither a file nor a folder")

    def _beside(self, path: str) -> str:
        return os.path.normpath(pathlib.PurePath(self.directory, path))

    def _federation(self, values: Mapping[str, Any]) -> Federation:
        """The model of what is right in the document."""
        hosts = Hosts(self.report)
        parties = {name: self._party(name, party, hosts) for name, party in values.get("parties", {}).items()}
        clusters = {
            name: Cluster(name, cluster["party"], cluster["kubeconfig"])
            for name, cluster in values.get("clusters", {}).items()
            if ("clusters", name) not in self.checker.faulty and cluster["party"] in parties
        }
        there = {*hosts.by_name, *(cluster.host for cluster in clusters.values())}
        return Federation(
            name=values.get("federation", ""),
            directory=self.directory,
            state=self.state,
            state_directory=self.state_directory,
            parties=parties,
            clusters=clusters,
            stacks=self._stacks(values.get("stacks", {}), there),
            viewpoint=self._seen_from(parties),
            sources=tuple(self.sources),
            signers=self._signers(parties),
            digest=self.report.digests.get(self.sources[1 if self.viewpoint else 0], ""),
        )

    def _party(self, name: str, values: Mapping[str, Any], hosts: Hosts) -> Party:
        path: Path = ("parties", name)
        made: list[Host] = []
        for key, entry in values.get("hosts", {}).items():
            if (*path, "hosts", key) not in self.checker.faulty:
                made += hosts.add(name, key, entry, (*path, "hosts", key))
        pki = values.get("pki", {})
        return Party(
            name=name,
            external=values.get("external", False),
            pki_mode=pki.get("mode", "ownca"),
            pki=pki,
            time_sync=values.get("time_sync", {}),
            firewall=values.get("firewall", {}),
            ca=values.get("ca"),
            hosts={host.name: host for host in made},
        )

    def _seen_from(self, parties: Mapping[str, Party]) -> str | None:
        """The viewpoint's party."""
        node = self.viewpoint.value.get("party") if self.viewpoint and isinstance(self.viewpoint.value, dict) else None
        if node is None or not isinstance(node.value, str):
            return None
        party = parties.get(node.value)
        if party is None:
            hint = did_you_mean(node.value, parties)
            self.report.mistake(("party",), f"there is no party named '{shorten(node.value)}'{hint}", node.position)
        elif party.external:
            self.report.mistake(("party",), f"'{party.name}' is an external party: it has no hosts here", node.position)
        return node.value

    def _signers(self, parties: Mapping[str, Party]) -> dict[str, tuple[str, ...]]:
        """The keys by which other parties sign what they hand over."""
        for name in self.signers:
            position = self._signer_position(name)
            if name not in parties:
                hint = did_you_mean(name, parties)
                self.report.mistake(("signers",), f"there is no party named '{shorten(name)}'{hint}", position)
            elif parties[name].external:
                message = f"'{name}' is an external party: its CA's file is what `ca` says, and nobody signs it"
                self.report.mistake(("signers",), message, position)
            elif self._seen_by in (None, name):
                message = "a viewpoint believes signatures of other parties only, and says by `party` which is its own"
                self.report.mistake(("signers",), message, position)
        return {name: tuple(found) for name, found in self.signers.items()}

    def _signer_position(self, name: str) -> Position | None:
        """Where the viewpoint pins keys of that party."""
        if self.viewpoint is None or not isinstance(self.viewpoint.value, dict):
            return None
        pinned = self.viewpoint.value.get("signers")
        return pinned.keys.get(name) if pinned is not None else None

    def _stacks(self, values: Mapping[str, Any], there: AbstractSet[str]) -> dict[str, Stack]:
        """The stacks without a mistake that are placed on hosts and in clusters without one; those with one are
        `doubtful`."""
        stacks = {}
        for name, entry in values.items():
            with contextlib.suppress(UnknownValueError):
                stack = _stack(name, entry)
                where = {role: place if _is_in(place, there) else UNKNOWN for role, place in stack.placements.items()}
                if ("stacks", name) in self.checker.faulty or any(place is UNKNOWN for place in where.values()):
                    self.doubtful[name] = dataclasses.replace(stack, placements=where)
                elif all(_is_in(place, there) for place in placements(stack)):
                    stacks[name] = stack
        return stacks

    def _expand(self, federation: Federation) -> Iterator[tuple[Stack, Expansion]]:
        """What each stack becomes, by its kind."""
        components = 0
        for stack in (*federation.stacks.values(), *self.doubtful.values()):
            before = len(self.report)
            expansion = self._expand_stack(stack, federation)
            components += len(expansion.components)
            if components > MAX_COMPONENTS:
                self.report.mistake(stack.path, f"with it the document makes more than {MAX_COMPONENTS} components")
                return
            if len(self.report) == before and stack.name not in self.doubtful:
                yield stack, expansion
            else:
                self.wrong[stack.name] = expansion

    def _expand_stack(self, stack: Stack, federation: Federation) -> Expansion:
        """What one becomes, and note what is wrong across its keys; of one with mistakes what can be derived."""
        before = len(self.report)
        self._check_name(stack)
        attempt(lambda: self._check_urls(stack))
        with_it = dataclasses.replace(federation, stacks={**federation.stacks, stack.name: stack})
        try:
            expansion = kinds()[stack.kind].expand(stack, with_it, self.report)
            self._check_room(stack, expansion)
            self._check_ports(expansion)
            # what can't be told meets nothing
            places = attempt(lambda: f"{[(part.name, part.host, part.endpoints) for part in expansion.components]}")
        except Exception:
            # a kind has only to bear what is right
            if len(self.report) == before and stack.name not in self.doubtful:
                raise
            return Expansion()
        return Expansion() if places is UNKNOWN else expansion

    def _check_name(self, stack: Stack) -> None:
        """Note a name that would meet a verify round's."""
        if stack.name.startswith("verify-"):
            message = "a stack's name cannot begin with 'verify-': the verify rounds have these names"
            self.report.mistake(stack.path, message)

    def _check_room(self, stack: Stack, expansion: Expansion) -> None:
        """Note the longest name that roles wouldn't take."""
        certificates = (certificate.name for certificate in expansion.certificates)
        for what, names, room in (
            ("instances", _instance_names(expansion), MAX_INSTANCE_NAME),
            ("certificates", certificates, MAX_CERTIFICATE_NAME),
        ):
            longest = max(names, key=len, default="")
            if len(longest) > room:
                message = f"'{longest}' has {len(longest)} characters, and {what} have room for {room}"
                way_out = "give the federation or the stack a shorter name"
                self.report.mistake(stack.path, f"{message}: {way_out}", self.report.key_position(stack.path))

    def _check_ports(self, expansion: Expansion) -> None:
        """Note ports that were counted beyond the last one, each where its first is said."""
        last = network.MAX_PORT
        for component in (*expansion.components, *expansion.transient):
            for port, path in ((endpoint.port, endpoint.path) for endpoint in component.endpoints):
                if port is not None and port > last:
                    message = f"{component.name} would listen on {port}, the last port is {last}: choose a lower one"
                    self.report.mistake(path, message)

    def _check_urls(self, stack: Stack) -> None:
        """Note what leads to a stack that has TLS and would be reached without."""
        for placement in placements(stack) if stack.tls else ():
            for key, url in (("internal_url", placement.internal_url), ("public_url", placement.public_url)):
                if url and url.startswith("http://"):
                    way_out = f"write {url.replace('http', 'https', 1)}, or tls: false"
                    message = f"leads there unencrypted, and the stack has tls: {way_out}"
                    self.report.mistake((*placement.path, key), message)

    def _names_meet(self, federation: Federation, expansions: Mapping[str, Expansion]) -> None:
        """Note groups that would be one, and hosts that are called like a group or a cluster's host."""
        groups = {**dict.fromkeys(RESERVED_GROUPS, "a group of Ansible's or of ours"), **stages.groups()}
        for what, word, path in _groups(federation, expansions):
            name, origin = group_name(what), f"the group of {word}"
            if groups.setdefault(name, origin) != origin:
                self.report.mistake(path, f"the group '{name}' is {groups[name]} already: choose another name")
        clusters = {cluster.host for cluster in federation.clusters.values()}
        for party in federation.parties.values():
            for host in party.hosts.values():
                if host.name in groups:
                    self._bad_host_name(host, f"is {groups[host.name]} too")
                elif host.name in clusters:
                    self._bad_host_name(host, "is the host that stands for a cluster too")

    def _bad_host_name(self, host: Host, message: str) -> None:
        name = f"'{shorten(host.name)}'"
        self.report.mistake(host.path, f"{name} {message}: choose another name", self.report.key_position(host.path))

    def _components_meet(self, expansions: Mapping[str, Expansion]) -> None:
        """Note components of one name on one host, and of one address and port."""
        seen: dict[tuple[str, str], Component] = {}
        for component in (component for expansion in expansions.values() for component in expansion.components):
            other = seen.setdefault((component.host, component.name), component)
            if other is not component:
                path: Path = ("stacks", component.stack)
                message = f"host '{component.host}' has a '{component.name}' of stack '{other.stack}' too: rename one"
                self.report.mistake(path, message, self.report.key_position(path))
        for collision in network.collisions((*_held(expansions), *_all_components(expansions)), SHARED):
            other_place = self.report.where(collision.first_endpoint.path)
            self.report.mistake(collision.second_endpoint.path, f"{collision}, placed at {other_place}")


def _names_of(root: Node, key: str) -> list[str]:
    """The keys of a mapping of the document; none where it is no mapping."""
    node = root.value.get(key) if isinstance(root.value, dict) else None
    return list(node.value) if node is not None and isinstance(node.value, dict) else []


def _is_viewpoint(keys: Iterable[str]) -> bool:
    """Whether a file is a viewpoint, by its keys: it names a document, or was meant to."""
    known = document_section().keys
    return "document" in keys or (
        bool({"party", "overlay"} & set(keys)) and not {key for key in known if key != "plugin"} & set(keys)
    )


def _absolute(path: str) -> str:
    """The path from the root; links stay, so that what is beside a linked file is found beside the link."""
    return os.path.normpath(pathlib.Path(path).absolute())


def _label(file: str) -> str:
    """What messages call a file: its path from here, unless that leads upwards."""
    path = os.path.relpath(file)
    return file if path.startswith(os.pardir) else path


def _instance_names(expansion: Expansion) -> Iterator[str]:
    """The names of a stack's instances, and of those that its verify round brings."""
    for variables in (*expansion.variables.values(), *(part.variables for part in expansion.verify.values())):
        for instances in variables.values():
            yield from (instance["name"] for instance in instances)


def _all_components(expansions: Mapping[str, Expansion]) -> Iterator[Component]:
    for expansion in expansions.values():
        yield from expansion.components
        yield from expansion.transient


def _held(expansions: Mapping[str, Expansion]) -> Iterable[Component]:
    """Each once on a host, of whatever stack tells it."""
    told = (component for expansion in expansions.values() for component in expansion.held)
    found: dict[tuple[str, str], Component] = {}
    for component in told:
        found.setdefault((component.host, component.name), component)
    return found.values()


def _groups(federation: Federation, expansions: Mapping[str, Expansion]) -> Iterator[tuple[str, str, Path]]:
    """Each group's name, what it is the group of, and the path of that."""
    for name in federation.parties:
        yield f"party_{name}", f"party '{name}'", ("parties", name)
    for stack in federation.stacks.values():
        yield f"stack_{stack.name}", f"stack '{stack.name}'", stack.path
        yield f"kind_{stack.kind}", f"kind '{stack.kind}'", stack.path
        roles = {component.role: component for component in expansions.get(stack.name, Expansion()).components}
        for role, component in roles.items():
            yield role, f"role '{role}'", (*stack.path, component.placement)


def _stack(name: str, values: dict[str, Any]) -> Stack:
    """A stack from its checked values."""
    path: Path = ("stacks", name)
    own = {key: value for key, value in values.items() if key not in ("kind", "state", "tls", "settings")}
    if values["state"] == "absent":
        own = gone(own)
    return Stack(
        name=name,
        kind=values["kind"],
        state=values["state"],
        tls=values.get("tls", False),
        settings=values.get("settings", {}),
        placements={key: value for key, value in own.items() if isinstance(value, Placement) or value is UNKNOWN},
        options={key: value for key, value in own.items() if not isinstance(value, Placement)},
        path=path,
    )


def _is_in(place: Placement, there: AbstractSet[str]) -> bool:
    """Whether a placement is known, and so are all of its hosts and clusters, each by its host."""
    return place is not UNKNOWN and {*place.places, *place.absent_places} <= there


def placements(stack: Stack) -> Iterator[Placement]:
    """Every placement of a stack, also those inside of its options and of other placements."""
    return _placements([*stack.placements.values(), *stack.options.values()])


def _placements(values: Iterable[Any]) -> Iterator[Placement]:
    for value in values:
        if isinstance(value, Placement):
            yield value
            yield from _placements(value.options.values())
        elif isinstance(value, dict):
            yield from _placements(value.values())
        elif isinstance(value, list):
            yield from _placements(value)


def _find_secrets(root: Node, report: Report, exempt: set[Path]) -> None:
    """Note what looks like a secret in clear: under a key that is called so, or in a URL."""
    waiting: list[tuple[Node, Path, bool]] = [(root, (), False)]
    while waiting:
        node, path, named = waiting.pop()
        if isinstance(node.value, dict):
            waiting += [(child, (*path, key), looks_secret(key)) for key, child in node.value.items()]
        elif isinstance(node.value, list):
            waiting += [(child, (*path, index), named) for index, child in enumerate(node.value)]
        elif isinstance(node.value, str) and has_userinfo(node.value):
            if not report.has_mistake_at(node.position):
                message = "a URL with a user or password in it: write it without, secrets go into the vault"
                report.mistake(path, message, node.position)
        elif named and path not in exempt and node.value not in (None, "") and not isinstance(node.value, bool):
            message = "a secret in clear: a document only names secrets, their values go into the vault"
            report.mistake(path, message, node.position)
