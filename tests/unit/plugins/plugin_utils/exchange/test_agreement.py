# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A shared document that changed: refused until its digest is accepted, and what it changes is told in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange import agreement
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.manifest import ExchangeError, digest

CHECKOUT = Path(__file__).resolve().parents[5]
SHARED = (CHECKOUT / "inventories" / "dpsa" / "federation.yml").read_text()


def changes(*pairs: tuple[str, str], party: str = "clinic-b") -> list[str]:
    """What is told of the shared document with texts replaced."""
    text = SHARED
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    return agreement.changes(SHARED.encode(), text.encode(), party)


def test_nothing_is_done_by_what_nobody_accepted(tmp_path: Path) -> None:
    first, second = SHARED.encode(), SHARED.encode() + b"\n"
    with pytest.raises(ExchangeError, match="nobody accepted one here yet: nothing is done by it"):
        agreement.require(str(tmp_path), digest(first))
    agreement.accept(str(tmp_path), first)
    agreement.require(str(tmp_path), digest(first))
    with pytest.raises(ExchangeError, match=f"accepted here is {digest(first)}: nothing is done by it"):
        agreement.require(str(tmp_path), digest(second))
    agreement.accept(str(tmp_path), second)
    agreement.require(str(tmp_path), digest(second))
    with pytest.raises(ExchangeError):  # as when somebody brings the former one back
        agreement.require(str(tmp_path), digest(first))


def test_nothing_changed() -> None:
    assert changes() == []
    assert changes(("federation: dpsa\n", "federation: dpsa  # a comment\n")) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (
            "max_epsilon: 1.0",
            "max_epsilon: 100.0",
            "stacks.survey.privacy.max_epsilon (how much a session may give away): was 1.0, becomes 100.0",
        ),
        (
            "    kind: dpsa\n",
            "    kind: dpsa\n    allow_same_party: true\n",
            "stacks.survey.allow_same_party (one party may have both sides, and then can open every report): new, true",
        ),
        (
            "    controller: {host: c1}\n",
            "",
            'stacks.survey.controller.host (who may open sessions, and collect): gone, it was "c1"',
        ),
        (
            "leader: {host: a1}",
            'leader: {host: a1, public_url: "https://evil.example:9991"}',
            'stacks.survey.leader.public_url (whom others connect to): new, "https://evil.example:9991"',
        ),
        (
            "helper: {host: b1}",
            "helper: {host: b1, escrow: {recipient: age1xyz}}",
            "stacks.survey.helper.escrow.recipient (whose key opens the datastore keys that are kept elsewhere): "
            'new, "age1xyz"',
        ),
        (
            "pki: {mode: ownca}",
            "pki: {mode: csr}",
            'parties.clinic-a.pki.mode (whose certificates are believed): was "ownca", becomes "csr"',
        ),
        (
            "10.98.55.22",
            "10.98.55.99",
            "parties.clinic-b.hosts.b1.address (who takes part, and on which machines): "
            'was "10.98.55.22", becomes "10.98.55.99"',
        ),
        (
            "    controller: {host: c1}\n",
            "    controller: {host: c1}\n    clients: {}\n",
            "stacks.survey.clients: new, {}",
        ),
    ],
)  # fmt: skip
def test_each_change_is_told_with_what_it_touches(old: str, new: str, told: str) -> None:
    found = changes((old, new))
    assert [line for line in found if told in line] != [], found


def test_what_it_is_on_the_own_hosts() -> None:
    found = changes(
        ("helper: {host: b1}", "helper: {host: b1, garbage_collector: true}"),
        ("privacy: {max_epsilon: 1.0}", "generation: C"),
    )
    assert "on your side: dpsa-survey-helper-garbage-collector (janus) on b1 will run" in found
    assert "on your side: dpsa-survey-helper-manager (dpsa_manager) on b1 will go" in found
    assert any(line.startswith("on your side: c1 to b1 port 9982") and line.endswith("no more") for line in found)


def test_the_first_one_is_told_whole() -> None:
    found = agreement.changes(None, SHARED.encode(), "clinic-b")
    assert found[0] == "this is the first document that is accepted here"
    assert 'stacks.survey.leader.host (who has the leader\'s half of every report): new, "a1"' in found
    assert "stacks.survey.privacy.max_epsilon (how much a session may give away): new, 1.0" in found
    assert "on your side: dpsa-survey-helper-aggregator (janus) on b1 will run" in found
    assert any("will be let in" in line for line in found)


def test_words_are_plain_and_whole() -> None:
    """What a partner writes can't paint over other lines of the terminal, nor be longer than what is shown."""
    name = "a" * 3000 + "\u0441"  # a Cyrillic letter that looks like a Latin one
    text = SHARED.replace("federation: dpsa\n", f"federation: '{name}\u202e\x1b[2J'\n")
    told = agreement.changes(SHARED.encode(), text.encode(), "clinic-b")
    assert all(line.isascii() and line.isprintable() for line in told)
    assert any(line.startswith("on your side") or "can't be told" in line for line in told)
    shown = SHARED.replace("federation: dpsa\n", f"federation: '{name}'\n")
    assert any(
        name[:3000] + "\\u0441" in line for line in agreement.changes(SHARED.encode(), shown.encode(), "clinic-b")
    )


def test_a_number_and_its_text_differ() -> None:
    assert any('was 1.0, becomes "1.0"' in line for line in changes(("max_epsilon: 1.0", 'max_epsilon: "1.0"')))
