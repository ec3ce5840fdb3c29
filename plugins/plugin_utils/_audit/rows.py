# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an audit says, row by row: of one side by itself, and of both when their reports are joined. Pure functions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

Status = Literal["proved", "violated", "not checked"]
STATUSES = ("proved", "violated", "not checked")

FORM = "fedlearn.infra audit 2"
REPORT = "audit.json"
STALE = timedelta(days=7)
"""A partner's report that is older proves nothing any more."""

DIFFER = {
    "hosts": "the hosts' own ssh keys",
    "addresses": "addresses of hosts",
    "CAs": "keys of CAs",
    "ssh keys": "keys that may log in",
    "machine-ids": "machine-ids",
    "database servers": "numbers of PostgreSQL's clusters",
    "vault files": "secrets, and the files with them",
    "backup destinations": "places of backups",
    "package sources": "places of packages that aren't signed by the distribution",
}
"""What has to differ between parties: by rows, in words."""
OF_HOSTS = ("hosts", "addresses", "ssh keys", "machine-ids", "database servers", "package sources")
"""Those of them that hosts tell."""
SOUGHT = {
    "secrets on hosts": "hosts",
    "secrets on the control node": "the control node",
    "secrets in backups": "backups",
    "secrets in git": "git's history",
}
"""Where nothing of the other party may be."""
OWN = {
    "parties": "leader and helper are of different parties",
    "reach": "a run reaches hosts, vaults and keys of one party only",
    "clocks": "clocks are within what the programs bear",
    "document": "both sides accepted this document",
    "software": "programs are what the document's archives have",
    "configuration": "files, units and processes are what the document says",
    "inner paths": "nobody but the leader gets through to the inner paths",
    "logs": "no log says a token or a secret",
}
"""What each side says of itself."""
ROWS = ("parties", "reach", *DIFFER, *SOUGHT, "clocks", "document", "software", "configuration", "inner paths", "logs")

HEAD = (
    "Each party looked at its own side, by its own means, and signed what it said. That shows honest parties that they",
    "are separate. It proves nothing against one that lies: a report says what its party wants it to. It can't see",
    "what a party has elsewhere, who else has root there, copies that nobody told of, what was there before it looked,",
    "people who work for both, or what both took from the same supplier with its signature. Encrypted files are known",
    "by their sums only, and told where they lie. Where that matters, have somebody else look.",
)
_HEX = re.compile(r"[0-9a-f]{64}")
_MOST = 20_000


class AuditError(Exception):
    """A partner's report can't be used; the text says why."""


@dataclass(frozen=True)
class Row:
    """One row: what is known, and by what."""

    status: Status
    evidence: tuple[str, ...] = ()

    def told(self) -> dict[str, Any]:
        """As it is written."""
        return {"status": self.status, "evidence": list(self.evidence)}

    def public(self) -> dict[str, Any]:
        """As others get it: where and by what it is violated is the party's own to know.

        Else what is looked for would be a question that others may ask of every file here.
        """
        return {"status": self.status, "evidence": list(self.evidence[:1]) if self.status == "proved" else []}


@dataclass(frozen=True)
class Side:
    """What one party says. ``identity``: kind, then keyed hash, then what it is of (empty where that is not told).

    ``sought`` is by what others can recognise what is only its own, ``unseen`` hosts of it that nobody looked at.
    """

    federation: str
    party: str
    document: str
    made: datetime
    rows: Mapping[str, Row]
    identity: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    sought: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    unseen: tuple[str, ...] = ()

    def public(self) -> bytes:
        """What others get. Of secrets and keys nothing leads back; what can be guessed, as addresses, they can try."""
        told = {
            "form": FORM,
            "federation": self.federation,
            "party": self.party,
            "document": self.document,
            "made": self.made.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "rows": {name: row.public() for name, row in self.rows.items()},
            "identity": {kind: sorted(found) for kind, found in self.identity.items()},
            "sought": {kind: dict(sorted(found.items())) for kind, found in self.sought.items()},
            "unseen": sorted(self.unseen),
        }
        return as_json(told).encode()


def as_json(told: Mapping[str, Any]) -> str:
    """As reports are written."""
    return json.dumps(told, indent=1, sort_keys=True) + "\n"


def row(wrong: Iterable[str], proof: str, unchecked: str = "", more: Iterable[str] = ()) -> Row:
    """Violated by what is wrong; else not checked where there is a reason, else proved. ``more`` stays here."""
    found = tuple(wrong)
    if found:
        return Row("violated", (*found, *more))
    return Row("not checked", (unchecked, *more)) if unchecked else Row("proved", (proof, *more))


def parse(text: bytes) -> Side:
    """What another party says; AuditError for what isn't of this form. Its words are shown in ASCII, and short."""
    try:
        told = json.loads(text)
        if told["form"] != FORM:
            raise AuditError(
                f"its report isn't of the form '{FORM}': both sides need the same release of this collection"
            )
        return Side(
            federation=str(told["federation"]),
            party=str(told["party"]),
            document=str(told["document"]),
            made=datetime.strptime(told["made"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
            rows={name: _row(found) for name, found in told["rows"].items() if name in ROWS},
            identity={kind: _hashes(dict.fromkeys(found, "")) for kind, found in told["identity"].items()},
            sought={
                kind: _hashes(told["sought"].get(kind, {})) for kind in ("words", "commitments", "publics", "files")
            },
            unseen=_names(told["unseen"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AuditError(f"its report can't be read: {type(error).__name__}") from None


def _row(told: Mapping[str, Any]) -> Row:
    if told["status"] not in STATUSES:
        raise ValueError("status")
    return Row(told["status"], tuple(plain(each) for each in list(told["evidence"])[:50]))


def _hashes(found: Mapping[str, Any]) -> dict[str, str]:
    if len(found) > _MOST or not all(_HEX.fullmatch(each) for each in found):
        raise ValueError("hashes")
    return {each: plain(name) for each, name in found.items()}


def _names(found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or len(found) > _MOST:
        raise ValueError("names")
    return tuple(plain(each, 100) for each in found)


def plain(text: Any, most: int = 300) -> str:
    """What somebody else wrote, as it may be shown."""
    shown = str(text)[:most].encode("ascii", "backslashreplace").decode()
    return "".join(letter if letter.isprintable() else "?" for letter in shown)


def trouble(side: Side, federation: str, document: str, now: datetime) -> str:
    """Why a partner's report proves nothing; empty where it does."""
    if side.federation != federation:
        return f"the report of {side.party} is of another federation"
    if side.document != document:
        return f"the report of {side.party} is of another document: have it accept this one, audit, and publish again"
    if now - side.made > STALE or side.made - now > timedelta(minutes=10):
        return f"the report of {side.party} is of {side.made:%Y-%m-%d %H:%M} UTC: have it audit and publish again"
    return ""


def join(own: Side, others: Mapping[str, Side | str]) -> dict[str, Row]:
    """All rows over both sides; of a party whose report is missing or stale there is the reason instead."""
    found: dict[str, Row] = {}
    for name in ROWS:
        parts = [own.rows.get(name, Row("not checked", ("nobody looked here",)))] if name not in DIFFER else []
        for party, other in others.items():
            if isinstance(other, str):
                parts.append(Row("not checked", (other,)))
            elif name in DIFFER:
                parts.append(_differ(name, own, other))
            else:
                theirs = other.rows.get(name, Row("not checked", ("it didn't look",)))
                parts.append(Row(theirs.status, tuple(f"{party} says: {each}" for each in _words(theirs, other))))
        if not others:
            parts.append(Row("not checked", ("there is no other party to compare with",)))
        found[name] = _all(parts)
    return found


def _words(found: Row, side: Side) -> tuple[str, ...]:
    """What another party says of a row; its reasons stay there, but for hosts that nobody looked at."""
    words = found.evidence or (f"{found.status}; its own report says by what",)
    return (*words, nobody_looked(side)) if side.unseen and found.status == "not checked" else words


def _differ(name: str, own: Side, other: Side) -> Row:
    """That two sides have nothing of a kind in common."""
    mine, theirs = own.identity.get(name), other.identity.get(name)
    if mine is None or theirs is None:
        return Row("not checked", (f"{own.party if mine is None else other.party} told nothing of it",))
    same = [mine[each] for each in sorted(mine.keys() & theirs.keys())]
    if same:
        return Row("violated", tuple(f"{each}: {other.party} has the same" for each in same))
    unseen = [nobody_looked(side) for side in (own, other) if name in OF_HOSTS and side.unseen]
    if unseen:
        return Row("not checked", tuple(unseen))
    if name == "package sources" and not mine and not theirs:
        return Row("proved", ("both have packages of distributions only, whose signature both believe",))
    if not mine or not theirs:
        return Row("not checked", (f"{own.party if not mine else other.party} found none",))
    return Row(
        "proved", (f"{DIFFER[name]}: {len(mine)} of {own.party}, {len(theirs)} of {other.party}, none in common",)
    )


def nobody_looked(side: Side) -> str:
    """Which hosts of a party nobody looked at."""
    return f"nobody looked at {', '.join(side.unseen)} of {side.party}"


def _all(parts: Sequence[Row]) -> Row:
    """Violated where one is; proved where all are."""
    for status in ("violated", "not checked"):
        there = [part for part in parts if part.status == status]
        if there:
            return Row(status, _evidence(there))
    return Row("proved", _evidence(parts))


def _evidence(parts: Iterable[Row]) -> tuple[str, ...]:
    """All of it, each once."""
    return tuple(dict.fromkeys(each for part in parts for each in part.evidence))


def readable(federation: str, rows: Mapping[str, Row], made: datetime) -> str:
    """The report for people."""
    words = {**DIFFER, **{name: f"nothing of the other party in {where}" for name, where in SOUGHT.items()}, **OWN}
    width = max(map(len, ROWS))
    lines = [f"Audit of {federation}, {made:%Y-%m-%d %H:%M} UTC", "", *HEAD, ""]
    for name, found in rows.items():
        lines.append(f"{name.ljust(width)}  {found.status.ljust(11)}  {words[name]}")
        lines += [f"{'':{width}}    {each}" for each in found.evidence]
    return "\n".join(lines) + "\n"
