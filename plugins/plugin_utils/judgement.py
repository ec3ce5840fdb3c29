# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Judges what hosts reported: a round against its known numbers, a status against what should be.

Pure functions over plain data, so that a verdict can be tested without a host.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

from . import clock

Check = dict[str, Any]


class Result(TypedDict, total=False):
    """What a participant of a round writes into result.json, whole, at its end; it may say more."""

    values: list[float]
    """What it ended with: compared with the known numbers."""
    own: list[float]
    """What its own data alone would have given, to show that only all together are right."""
    samples: int
    """How many samples it trained on."""
    missed: str
    """Why it took no part: it has no values then."""


class Row(TypedDict, total=False):
    """How waiting for one participant ended: a row of the module round_results."""

    instance: str
    outcome: Literal["finished", "failed", "timeout"]
    detail: str
    seconds: float
    content: Result
    """Only when it finished."""


VERDICTS = ("ok", "drift", "unhealthy", "unreachable")  # from best to worst

STATES = ("stopped", "ill", "differing", "failed")
"""How something isn't well: it is to run and doesn't; it runs and its health checks fail; a deploy would change it; or
the look at it failed."""


def check(name: str, passed: bool, detail: str = "") -> Check:
    """One row of a report."""
    return {"name": name, "passed": bool(passed), "detail": detail}


@dataclass
class Round:
    """What is expected of one round, and the rows of its participants from all hosts."""

    kind: str
    mode: str
    real: bool
    expected: Sequence[float]
    max_error: float
    seed: int | None
    participants: int
    rows: list[Row] = field(default_factory=list)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    """What else the report tells of it."""


def distance(expected: Sequence[float], observed: object) -> float:
    """The largest absolute difference; infinite when ``observed`` isn't as many finite numbers."""
    if not isinstance(observed, list | tuple) or len(observed) != len(expected):
        return math.inf
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in observed):
        return math.inf
    return max((abs(want - got) for want, got in zip(expected, observed, strict=True)), default=0.0)


def participant_check(row: Row, expected: Sequence[float], max_error: float) -> Check:
    """Whether one participant ended with the known numbers; a time-out is told as one, not as a wrong number."""
    name = f"result of {row['instance']}"
    if row["outcome"] != "finished":
        word = "timed out" if row["outcome"] == "timeout" else "failed"
        return check(name, False, f"the round {word}: {row['detail']}")
    if row["content"].get("missed"):
        return check(name, False, f"it has none: {row['content']['missed']}")
    observed = row["content"].get("values")
    error = distance(expected, observed)
    if error > max_error:
        return check(
            name, False, f"expected {list(expected)} within {max_error}, observed {observed}: off by {error:.4g}"
        )
    return check(name, True, f"observed {observed}: off by {error:.4g}, at most {max_error} is right")


def worker_row(row: Row) -> dict[str, Any]:
    """What verify.json says of one participant: its own data's answer, and what it ended with."""
    content: Result = row.get("content", {})
    return {
        "instance": row["instance"],
        "outcome": row["outcome"],
        "own": content.get("own"),
        "final": content.get("values"),
        "samples": content.get("samples"),
    }


def counted(passed: bool, real: bool) -> bool | None:
    """Whether a stack passed; None where a double did, and proves nothing. What fails with a double has failed."""
    return passed if real or not passed else None


def judge_round(known: Round, checks: Iterable[Check]) -> dict[str, Any]:
    """A stack's entry of verify.json."""
    rows = list(checks)
    rows.append(
        check(
            "every participant answered",
            len(known.rows) == known.participants > 0,
            f"{len(known.rows)} of {known.participants} participants reported",
        )
    )
    rows += [participant_check(row, known.expected, known.max_error) for row in known.rows]
    contents = [row["content"] for row in known.rows if row["outcome"] == "finished"]
    finished = [content.get("values") for content in contents if "missed" not in content]
    errors = [distance(known.expected, values) for values in finished]
    passed = all(row["passed"] for row in rows)
    return {
        "kind": known.kind,
        "mode": known.mode,
        "passed": counted(passed, known.real),
        "real": known.real,
        "expected": list(known.expected),
        "observed": finished[0] if finished else None,
        "max_error": max((error for error in errors if math.isfinite(error)), default=None),
        "max_error_allowed": known.max_error,
        "seed": known.seed,
        "conditions": dict(known.conditions),
        "seconds": max((row["seconds"] for row in known.rows), default=None),
        "workers": [worker_row(row) for row in known.rows],
        "checks": rows,
    }


def summary(stacks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A line for each entry of verify.json: how it was proven, and of a round its numbers."""
    words = {True: "passed", False: "FAILED", None: "not counted, a double stands in for the system"}
    lines = []
    for name, entry in stacks.items():
        line = f"{name}: {words[entry['passed']]} ({entry['mode']})"
        if entry["expected"] is not None:
            line += f", expected {entry['expected']}, observed {entry['observed']}, largest error {entry['max_error']}"
        lines.append(line)
    return lines


def judge_probe(kind: str, real: bool, checks: Iterable[Check]) -> dict[str, Any]:
    """A stack's entry of verify.json when nothing but its health was asked for."""
    rows = list(checks)
    passed = bool(rows) and all(row["passed"] for row in rows)
    return {
        "kind": kind,
        "mode": "probe",
        "passed": counted(passed, real),
        "real": real,
        "expected": None,
        "observed": None,
        "max_error": None,
        "seed": None,
        "seconds": None,
        "checks": rows,
    }


def judge_without_round(kind: str, checks: Iterable[Check], simulated: Sequence[str] = ()) -> dict[str, Any]:
    """A stack's entry of verify.json when a round was asked for and there is none: nothing is proven.

    In a cluster whose pods are ``simulated`` there can be none, so that it proves nothing isn't the stack's failure.
    """
    if simulated:
        reason = f"there is none where pods are simulated: {', '.join(simulated)} run no containers"
        return judge_probe(kind, False, [*checks, check("round", True, reason)]) | {"mode": "round"}
    reason = (
        f"the kind '{kind}' has no round, so nothing can prove that it works: verify it without -e verify=round, "
        "or choose other stacks by -e stack=NAME"
    )
    entry = judge_probe(kind, False, [*checks, check("round", False, reason)])
    return entry | {"mode": "round", "passed": False}


def told(unwell: Iterable[Mapping[str, str]]) -> list[str]:
    """A line for each that isn't well."""
    return [f"{row['name']}: {row['state']}: {row['reason']}" for row in unwell]


def host_verdict(unwell: Iterable[Mapping[str, str]], orphans: Sequence[object]) -> str:
    """A host's verdict: what differs, or is ours and in no document any more, is no more than drift."""
    states = {row["state"] for row in unwell}
    if states - {"differing"}:
        return "unhealthy"
    return "drift" if states or orphans else "ok"


def worst(verdicts: Iterable[str]) -> str:
    """The worst of some verdicts; ok when there is none."""
    return max(verdicts, key=VERDICTS.index, default="ok")


RELEASES = {"Debian 11": "2026-08-31", "Debian 12": "2028-06-30", "Debian 13": "2030-06-30"}
"""The last day each distribution release gets security updates, LTS included (https://wiki.debian.org/LTS)."""

WARN_DAYS = 14
"""A certificate is renewed with a third of its lifetime left; one that is this close to its end was not."""


def certificate_days(certificates: Mapping[str, Mapping[str, Any]], now: datetime) -> dict[str, int]:
    """Whole days that each installed certificate has left, of what the certificates module returned."""
    return _days(certificates, "not_after", now)


def list_days(certificates: Mapping[str, Mapping[str, Any]], now: datetime) -> dict[str, int]:
    """The same of the lists of withdrawn certificates that lie beside them."""
    return _days(certificates, "crl_not_after", now)


def _days(certificates: Mapping[str, Mapping[str, Any]], key: str, now: datetime) -> dict[str, int]:
    return {name: (datetime.fromisoformat(row[key]) - now).days for name, row in certificates.items() if row.get(key)}


def _clock(status: Mapping[str, Any]) -> tuple[clock.Skew, float]:
    """How a host's clock was found, and how far it may be off, in seconds."""
    names = ("skew", "give_or_take", "jump", "max_skew")
    skew, give_or_take, jump, bound = (status[f"clock_{name}_ms"] / 1000 for name in names)
    return clock.Skew(skew, give_or_take, jump), bound


def clocks_apart(hosts: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Of hosts that work together, what is wrong with clocks that are each near enough to ours, but not to another's.

    Two may be twice the bound apart. Each is compared with those that are furthest ahead and behind.
    """
    clocks = {name: _clock(status) for name, status in hosts.items() if "clock_skew_ms" in status}
    near = {name: one for name, one in clocks.items() if not clock.trouble(*one)}
    found: dict[str, str] = {}
    for sign in (1, -1) if near else ():
        other = max(near, key=lambda name: sign * near[name][0].seconds - near[name][0].give_or_take)
        theirs, their_bound = near[other]
        for name, (own, bound) in near.items():
            apart = clock.Skew(own.seconds - theirs.seconds, own.give_or_take + theirs.give_or_take)
            wrong = clock.trouble(apart, min(bound, their_bound), f"that of {other}")
            if wrong:
                found.setdefault(name, wrong)
    return found


def warnings(status: Mapping[str, Any]) -> list[str]:
    """What an operator should look at though all is as described: certificates, clock, end of life."""
    found = [
        f"certificate {name} ends in {days} days: run site"
        for name, days in sorted(status.get("certificate_days", {}).items())
        if days < WARN_DAYS
    ]
    found += [
        f"certificate {name}: the list of what its CA has withdrawn ends in {days} days, with that CA: change the CA"
        for name, days in sorted(status.get("revocation_list_days", {}).items())
        if days < WARN_DAYS
    ]
    if "clock_skew_ms" in status:
        wrong = clock.trouble(*_clock(status))
        found += [wrong] if wrong else []
    release = status.get("release", "")
    last = RELEASES.get(release)
    if last and datetime.now(tz=UTC).date().isoformat() > last:
        found.append(f"{release} has had no security updates since {last}: plan the move to a newer release")
    return found
