# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The generation `python` on three hosts: a participant by a kit, and what is killed; both end with exact numbers."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
from standing_demo import until
from training import COORDINATOR, KNOWN, PARTICIPANT, Rounds

KILLS = 20
STORAGE = "fedlearn-rounds-images-storage"
PORTS = (("x1", 443), ("x1", 50050), ("x3", 9000))


def test_who_is_no_host_of_the_document_takes_part_by_a_kit(rounds: Rounds, tmp_path: Path) -> None:
    """By what its README says; as the third, whose numbers are known, it completes the training."""
    rounds.anew()
    login, take_part = rounds.kit(tmp_path)
    assert "cat >credentials/storage.password" in login
    password = rounds.password("x2", "rounds-images-participant")
    typed = login.replace("cat >", "cat <<'END-OF-PASSWORD' >")
    rounds.run("x1", f"cd /root/kit\n{typed}{password}\nEND-OF-PASSWORD\n{take_part}")
    found = json.loads(rounds.run("x1", "cat /root/kit/state/result.json"))
    assert found["values"] == pytest.approx(KNOWN, abs=1e-9)


def well(rounds: Rounds) -> bool:
    """Whether all that listens does, and both deployed participants run."""
    running = [rounds.run(host, f"systemctl is-active {PARTICIPANT} || true") for host in ("x2", "x3")]
    answering = [rounds.run(host, f"ss -Hltn 'sport = :{port}'") for host, port in PORTS]
    return running == ["active\n"] * 2 and all(answering)


def becomes_well(rounds: Rounds) -> None:
    assert until(120, partial(well, rounds), bool) is True


def test_an_expired_certificate_is_told_and_site_renews_it(rounds: Rounds) -> None:
    rounds.anew()
    becomes_well(rounds)
    journal = f"journalctl -o cat --no-pager -n 60 -u {PARTICIPANT}"
    rounds.renew_an_expired("certificate has expired", journal)
    becomes_well(rounds)
    rounds.complete()


def test_twenty_kills_are_healed(rounds: Rounds) -> None:
    """Coordinator, store, nginx and participants in turn; then a training is as if nobody had been killed."""
    rounds.anew()
    becomes_well(rounds)
    units = (("x1", COORDINATOR), ("x3", STORAGE), ("x2", PARTICIPANT), ("x1", "nginx"), ("x3", PARTICIPANT))
    rounds.kill(KILLS, units, partial(becomes_well, rounds))
    assert rounds.playbook("fedlearn.infra.status").returncode == 0
    rounds.anew()
    rounds.complete()
