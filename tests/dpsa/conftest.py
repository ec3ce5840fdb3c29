# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lets the tests find what they share, and deploys both sides for all of them."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import parties
from parties import HELPER, LEADER, PARTIES, digest, front, running


@pytest.fixture(scope="session", autouse=True)
def deployed() -> None:
    """By the steps of docs/systems/dpsa.md; the helper begins, when nothing of the leader is there yet.

    With FEDLEARN_DPSA_STANDING they are tried on what a former run left (``KEEP=1 tests/tools/dpsa.sh``).
    """
    if os.environ.get("FEDLEARN_DPSA_STANDING"):
        return
    parties.begin()
    for party in PARTIES:
        assert party.playbook("secrets").code == 0
        refused = party.playbook("site", most=0)
        assert refused.code != 0
        assert f"the shared document is {digest()}, and nobody accepted one here yet" in refused.words
        shown = party.playbook("accept")
        assert (shown.code, "this is the first document that is accepted here" in shown.words) == (0, True)
        assert party.playbook("accept", "-e", f"digest={digest()}").code == 0
        signed = party.playbook("exchange")
        assert signed.code == 0, signed.text
    early = HELPER.playbook("site")
    assert early.code == 0, early.text
    assert "party clinic-a: public/clinic-a isn't there" in early.words
    assert "this host waits with" in early.words
    assert running(HELPER) >= {"helper-aggregator", "helper-database", "helper-manager"}
    assert front(HELPER) == ""
    proven = HELPER.playbook("verify")
    assert (proven.code, "it comes with what the party signs and hands over" in proven.words) == (2, True)
    for party, other in ((LEADER, HELPER), (HELPER, LEADER)):
        other.publish(party)
        party.signers(other)
    for party in (HELPER, LEADER):
        ended = party.playbook("site")
        assert ended.code == 0, ended.text
        assert "waits with" not in ended.text
