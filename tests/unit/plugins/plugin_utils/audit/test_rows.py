# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rows of an audit: proved by both sides, violated by either, not checked where a report is missing or stale."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._audit.search import keyed
from ansible_collections.fedlearn.infra.plugins.plugin_utils._audit import rows
from ansible_collections.fedlearn.infra.plugins.plugin_utils._audit.rows import AuditError, Row, Side

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
KEY = "d" * 64
SAYS_ITSELF = [name for name in rows.ROWS if name not in rows.DIFFER]


def side(party: str) -> Side:
    """A party as it is when nothing is wrong."""
    return Side(
        "demo",
        party,
        KEY,
        NOW,
        {name: Row("proved", (f"{name} of {party}",)) for name in SAYS_ITSELF},
        {kind: {keyed(KEY, kind, f"{kind} {party}"): f"{kind} {party}"} for kind in rows.DIFFER},
        {
            "words": {keyed(KEY, "secret", party): f"the secret of {party}"},
            "commitments": {},
            "publics": {},
            "files": {},
        },
    )


def published(of: Side) -> Side:
    """What others get of it."""
    return rows.parse(of.public())


A, B = side("clinic-a"), side("clinic-b")


def statuses(found: dict[str, Row]) -> dict[str, str]:
    return {name: found_row.status for name, found_row in found.items()}


def test_on_clean_sides_each_row_is_proved() -> None:
    found = rows.join(A, {"clinic-b": published(B)})
    assert statuses(found) == dict.fromkeys(rows.ROWS, "proved")
    assert found["logs"].evidence == ("logs of clinic-a", "clinic-b says: logs of clinic-b")


@pytest.mark.parametrize("kind", rows.DIFFER)
def test_what_both_have_violates_its_row_and_no_other(kind: str) -> None:
    shared = keyed(KEY, kind, "the same")
    ours = dataclasses.replace(A, identity={**A.identity, kind: {**A.identity[kind], shared: "a1: the same"}})
    theirs = dataclasses.replace(B, identity={**B.identity, kind: {**B.identity[kind], shared: "b1: the same"}})
    found = rows.join(ours, {"clinic-b": published(theirs)})
    assert statuses(found) == {**dict.fromkeys(rows.ROWS, "proved"), kind: "violated"}
    assert found[kind].evidence == ("a1: the same: clinic-b has the same",)


@pytest.mark.parametrize("whose", [A, B], ids=lambda whose: whose.party)
@pytest.mark.parametrize("name", SAYS_ITSELF)
def test_what_either_side_finds_violates_its_row_and_no_other(name: str, whose: Side) -> None:
    wrong = dataclasses.replace(whose, rows={**whose.rows, name: Row("violated", ("planted",))})
    ours, theirs = (wrong, B) if whose is A else (A, wrong)
    found = rows.join(ours, {"clinic-b": published(theirs)})
    assert statuses(found) == {**dict.fromkeys(rows.ROWS, "proved"), name: "violated"}
    told = "clinic-b says: violated; its own report says by what"
    assert found[name].evidence == ("planted" if whose is A else told,)


def test_nothing_is_proved_without_the_other_s_report() -> None:
    for others in ({"clinic-b": "there is no report"}, {}):
        found = rows.join(A, others)
        assert set(statuses(found).values()) == {"not checked"}


def test_what_is_wrong_here_is_violated_whatever_the_other_says() -> None:
    wrong = dataclasses.replace(A, rows={**A.rows, "reach": Row("violated", ("planted",))})
    assert rows.join(wrong, {"clinic-b": "there is no report"})["reach"] == Row("violated", ("planted",))


def test_what_a_side_didn_t_look_at_is_not_checked() -> None:
    silent = dataclasses.replace(
        B,
        rows={name: found for name, found in B.rows.items() if name != "logs"},
        identity={**{k: v for k, v in B.identity.items() if k != "CAs"}, "machine-ids": {}},
    )
    found = rows.join(A, {"clinic-b": published(silent)})
    assert {name for name, status in statuses(found).items() if status == "not checked"} == {
        "logs",
        "CAs",
        "machine-ids",
    }


@pytest.mark.parametrize("whose", [A, B], ids=lambda whose: whose.party)
@pytest.mark.parametrize("sources", [{}, None], ids=["without sources", "with sources"])
def test_hosts_that_nobody_looked_at_prove_nothing(whose: Side, sources: dict[str, str] | None) -> None:
    alike = {} if sources is None else {"package sources": sources}
    sides = [dataclasses.replace(each, identity={**each.identity, **alike}) for each in (A, B)]
    ours, theirs = (dataclasses.replace(each, unseen=("h2",) if each.party == whose.party else ()) for each in sides)
    found = rows.join(ours, {"clinic-b": published(theirs)})
    not_checked = {name: row.evidence for name, row in found.items() if row.status == "not checked"}
    assert not_checked == dict.fromkeys(rows.OF_HOSTS, (f"nobody looked at h2 of {whose.party}",))


def test_of_rows_that_the_other_says_itself_its_unseen_hosts_are_named() -> None:
    theirs = dataclasses.replace(B, rows={**B.rows, "logs": Row("not checked", ("b2",))}, unseen=("b2",))
    found = rows.join(A, {"clinic-b": published(theirs)})["logs"]
    assert found.status == "not checked"
    assert found.evidence[-1] == "clinic-b says: nobody looked at b2 of clinic-b"


def test_what_was_seen_violates_its_row_whoever_wasn_t() -> None:
    shared = {keyed(KEY, "machine-ids", "the same"): "a1: the same"}
    ours, theirs = (
        dataclasses.replace(each, identity={**each.identity, "machine-ids": shared}, unseen=("h2",)) for each in (A, B)
    )
    assert rows.join(ours, {"clinic-b": published(theirs)})["machine-ids"].status == "violated"


def test_packages_of_the_distribution_alone_are_told_as_such() -> None:
    both = [dataclasses.replace(each, identity={**each.identity, "package sources": {}}) for each in (A, B)]
    found = rows.join(both[0], {"clinic-b": published(both[1])})["package sources"]
    assert (found.status, "whose signature both believe" in found.evidence[0]) == ("proved", True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"document": "e" * 64}, "of another document"),
        ({"federation": "other"}, "of another federation"),
        ({"made": NOW - timedelta(days=8)}, "have it audit and publish again"),
        ({"made": NOW + timedelta(hours=1)}, "have it audit and publish again"),
    ],
)
def test_a_stale_report_is_told(change: dict[str, Any], message: str) -> None:
    assert message in rows.trouble(dataclasses.replace(B, **change), "demo", KEY, NOW)
    assert rows.trouble(B, "demo", KEY, NOW) == ""


def test_what_is_published_says_no_value_in_clear() -> None:
    text = A.public().decode()
    for kind in rows.DIFFER:
        assert f"{kind} clinic-a" not in text.replace(f'"{kind} of clinic-a"', "")
        assert keyed(KEY, kind, f"{kind} clinic-a") in text


def test_hashes_of_one_kind_say_nothing_of_another() -> None:
    assert len({keyed(KEY, "hosts", "x"), keyed(KEY, "CAs", "x"), keyed("e" * 64, "hosts", "x")}) == 3


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.pop("form"),
        lambda told: told.update(form="2"),
        lambda told: told.update(made="today"),
        lambda told: told.update(rows=[]),
        lambda told: told["rows"]["logs"].update(status="fine"),
        lambda told: told["identity"].update(hosts=["short"]),
        lambda told: told["identity"].update(hosts=[["x"]]),
        lambda told: told["sought"].update(words={"a" * 63: "x"}),
        lambda told: told["sought"].update(words=7),
        lambda told: told.pop("unseen"),
        lambda told: told.update(unseen="b1"),
    ],
)
def test_a_report_of_another_form_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    told = json.loads(B.public())
    change(told)
    with pytest.raises(AuditError):
        rows.parse(json.dumps(told).encode())


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 9000])
def test_what_is_no_report_is_refused(text: bytes) -> None:
    with pytest.raises(AuditError):
        rows.parse(text)


def test_what_another_party_writes_can_t_pose_as_rows_of_ours() -> None:
    planted = Row("proved", ("x\nparties         violated\x1b[2J\u202e" + "y" * 5000,))
    theirs = published(dataclasses.replace(B, rows={**B.rows, "logs": planted}))
    text = rows.readable("demo", rows.join(A, {"clinic-b": theirs}), NOW)
    assert text.isascii()
    assert [line.split()[1] for line in text.splitlines() if line.startswith("parties")] == ["proved"]
    assert max(map(len, text.splitlines())) < 400


def test_what_is_looked_for_is_no_question_about_our_files() -> None:
    """A partner may look for what it likes: which file has it, or isn't read, is told here alone."""
    found = rows.row(["/home/x/diary: clinic-b: the secret y"], "")
    skipped = rows.row([], "5 files were looked at", "", ["not looked at: /home/x/film"])
    assert "diary" in str(found.told())
    assert "film" in str(skipped.told())
    told = dataclasses.replace(A, rows={"secrets on hosts": found, "logs": skipped}).public().decode()
    assert ("/home" in told, '"violated"' in told, "5 files" in told) == (False, True, True)


@pytest.mark.parametrize(("wrong", "unchecked"), [([], ""), (["planted"], ""), ([], "nobody looked")])
def test_what_couldn_t_be_looked_at_is_told_whatever_the_row_says(wrong: list[str], unchecked: str) -> None:
    assert rows.row(wrong, "5 files were looked at", unchecked, ["not wholly: x"]).evidence[-1] == "not wholly: x"


def test_it_says_what_it_can_t_prove() -> None:
    text = rows.readable("demo", rows.join(A, {"clinic-b": published(B)}), NOW)
    assert "It proves nothing against one that lies" in text
    assert text.index("proves nothing") < text.index("parties  ")
    assert all(name in text for name in rows.ROWS)
