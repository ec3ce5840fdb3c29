# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What parties agreed on: the shared document as the operator accepted it, and what another one would change, in words.

``<state>/.exchange/accepted.yml`` is a copy of what was accepted. Words are in ASCII and whole: a partner wrote the
document, and nothing in it may hide another change from who reads them.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.manifest import ExchangeError, digest
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import document, loading, nodes
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.flows import flows
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.grammar import PLUGIN
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Federation, Path

MAX_BYTES = document.MAX_BYTES

MEANING: Mapping[str, str] = {
    "allow_same_party": "one party may have both sides, and then can open every report",
    "build": "what the control node runs to build images",
    "ca": "whose certificates are believed",
    "certificates": "whose certificates are believed",
    "controller": "who may open sessions, and collect",
    "escrow": "whose key opens the datastore keys that are kept elsewhere",
    "external": "whether a party's hosts are known here",
    "generation": "which programs run",
    "helper": "who has the helper's half of every report",
    "insecure_public": "reports and tokens may travel unencrypted",
    "kind": "which system",
    "leader": "who has the leader's half of every report",
    "local_ports": "where clients reach both sides, on their own machines",
    "max_epsilon": "how much a session may give away",
    "parties": "who takes part, and on which machines",
    "permitted": "what a CA may certify",
    "pki": "whose certificates are believed",
    "programs": "which software runs, and where it comes from",
    "public_url": "whom others connect to",
    "settings": "how programs work",
    "tls": "whether traffic is encrypted",
}
"""What a change below a key touches; the last of a path's keys that is here says it."""


def accepted_path(state: str) -> str:
    """The copy of what was accepted."""
    return os.path.join(state, ".exchange", "accepted.yml")


def accepted(state: str) -> bytes | None:
    """The document as it was accepted; None where nobody accepted any yet."""
    folder = files.directory(state, ".exchange", create=False, foreign_write=0o002)
    found = files.read(accepted_path(state), MAX_BYTES) if folder else None
    return found.content if found else None


def require(state: str, now: str) -> None:
    """ExchangeError unless the document of this digest is the one that was accepted."""
    found = accepted(state)
    if found is not None and digest(found) == now:
        return
    was = f"the one that was accepted here is {digest(found)}" if found is not None else "nobody accepted one here yet"
    raise ExchangeError(
        f"the shared document is {now}, and {was}: nothing is done by it. fedlearn.infra.accept shows what it "
        f"changes, and `-e digest={now}` accepts it, once the partners have the same"
    )


def accept(state: str, content: bytes) -> None:
    """Write down that the operator accepted this."""
    files.directory(state, ".exchange", create=True, mode=0o700)
    files.write(accepted_path(state), content, 0o600)


def changes(before: bytes | None, after: bytes, party: str) -> list[str]:
    """What the second document changes: of the document line by line, then what that is on the party's own hosts."""
    return [*_document_changes(before, after), *_consequences(before, after, party)]


# ... the document


def _document_changes(before: bytes | None, after: bytes) -> Iterator[str]:
    if before is None:
        yield "this is the first document that is accepted here"
    old, new = _values(before), _values(after)
    for path, was, becomes in _differences(old, new, ()):
        keys = [step for step in path if isinstance(step, str) and step in MEANING]
        meaning = f" ({MEANING[keys[-1]]})" if keys else ""
        yield f"{ascii_path(path)}{meaning}: {_change(was, becomes)}"


class _Absent:
    """What isn't there."""


_ABSENT = _Absent()


def _values(text: bytes | None) -> Any:
    """A document as plain data; nothing of one that can't be read any more."""
    if text is None:
        return {}
    root = document.parse(text.decode("utf-8-sig", "replace"), "accepted", nodes.Report())
    return nodes.plain(root) if root is not None else {}


def _differences(old: Any, new: Any, path: Path) -> Iterator[tuple[Path, Any, Any]]:
    """Each place that differs, as deep as either has something: so each is told with the words of its own key."""
    sides = [{} if isinstance(side, _Absent) else side for side in (old, new)]
    if all(isinstance(side, dict) for side in sides) and any(sides):
        for key in dict.fromkeys((*sides[0], *sides[1])):
            yield from _differences(sides[0].get(key, _ABSENT), sides[1].get(key, _ABSENT), (*path, key))
    elif old != new or type(old) is not type(new):
        yield path, old, new


def _change(was: Any, becomes: Any) -> str:
    if isinstance(was, _Absent):
        return f"new, {_shown(becomes)}"
    if isinstance(becomes, _Absent):
        return f"gone, it was {_shown(was)}"
    if isinstance(was, list) and isinstance(becomes, list):
        gone = [item for item in was if item not in becomes]
        come = [item for item in becomes if item not in was]
        words = [f"without {_shown(item)}" for item in gone] + [f"with {_shown(item)}" for item in come]
        return ", ".join(words) or f"in another order, {_shown(becomes)}"
    return f"was {_shown(was)}, becomes {_shown(becomes)}"


def _shown(value: Any) -> str:
    """A value, whole, on one line and in ASCII."""
    return json.dumps(value)


def ascii_path(path: Path) -> str:
    """A path in ASCII."""
    return nodes.path_text(path).encode("ascii", "backslashreplace").decode()


# ... what follows from it


def _consequences(before: bytes | None, after: bytes, party: str) -> Iterator[str]:
    new = _federation(after, party)
    old = _federation(before, party) if before is not None else None
    if new is None or (before is not None and old is None):
        yield "what that changes on your hosts can't be told: this release can't read the document accepted before"
        return
    yield from _compared(_components(old), _components(new), "will run", "will go")
    yield from _compared(_let_in(old), _let_in(new), "will be let in", "will be let in no more")


def _compared(old: Iterable[str], new: Iterable[str], comes: str, goes: str) -> Iterator[str]:
    was, becomes = set(old), set(new)
    yield from (f"on your side: {each} {comes}" for each in sorted(becomes - was))
    yield from (f"on your side: {each} {goes}" for each in sorted(was - becomes))


def _federation(text: bytes, party: str) -> Federation | None:
    """The document as the party sees it, without its overlay; None where it isn't right (for this release)."""
    with tempfile.TemporaryDirectory() as room:
        FilePath(room, "document.yml").write_bytes(text)
        viewpoint = {"plugin": PLUGIN, "document": "document.yml", "party": party}
        FilePath(room, "federation.yml").write_text(json.dumps(viewpoint), encoding="utf-8")
        try:
            return loading.load(str(FilePath(room, "federation.yml")))
        except loading.WrongDocumentError:
            return None


def _components(federation: Federation | None) -> Iterator[str]:
    """What runs on the party's own hosts."""
    if federation is None:
        return
    own = {host.name for host in federation.own_hosts()}
    for expansion in federation.expansions.values():
        for part in expansion.components:
            if part.host in own and part.state == "present":
                yield f"{part.name} ({part.role}) on {part.host}"


def _let_in(federation: Federation | None) -> Iterator[str]:
    """Who comes to the party's own hosts from elsewhere."""
    if federation is None:
        return
    own = {host.name for host in federation.own_hosts()}
    for flow in flows(federation):
        if flow.destination in own and flow.source not in own:
            yield f"{flow.source} to {flow.destination} port {flow.port} for {flow.purpose} ({flow.authentication})"
