# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The generation `poc` on three hosts, where things go wrong; each ends with a training whose numbers are exact.

What is refused before anything changes is in molecule/xain_poc: classes, ports, programs. The last of these tests
deploys the examples of docs/examples/xain.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy
import pytest
from by_hand import HEARTBEAT_OF_NOBODY, OTHERS_HAVE_SENT
from houses_data import EXAMPLES, example, split_data
from places import X1, X2
from standing_demo import CHECKOUT, HOSTS_PY, until
from training import HOSTS, Counts

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain.known_adds import adds, answer

KILLS = 20
PORTS = {"x1": 50050, "x2": 50052}
"""Where both programs answer, which they do only once they have each other."""

ADDRESSES = {"x1": X1, "x2": X2}
SLOW = """
import time
from xain_aggregators.weighted_average import Aggregator
class Mean(Aggregator):
    def add_weights(self, data):
        time.sleep(4)
        return super().add_weights(data)
"""
"""A mean that takes its time with each one's weights, while the others' wait."""

HOUSES = {"x1": 120, "x2": 200, "x3": 280}


def well(counts: Counts) -> bool:
    """Whether both programs answer, and both deployed participants run."""
    running = [counts.run(host, f"systemctl is-active {counts.participant} || true") for host in ("x2", "x3")]
    answering = [counts.run(host, f"ss -Hltn 'sport = :{port}'") for host, port in PORTS.items()]
    return running == ["active\n"] * 2 and all(answering)


def becomes_well(counts: Counts) -> None:
    assert until(120, partial(well, counts), bool) is True


def verdict(counts: Counts) -> tuple[int, str]:
    done = counts.playbook("fedlearn.infra.status")
    found = json.loads((CHECKOUT / "build" / "counts" / "status.json").read_text())
    return done.returncode, str(found["verdict"])


def test_twenty_kills_are_healed(counts: Counts) -> None:
    """Both programs, participants and nginx in turn; then a training is as if nobody had been killed."""
    counts.anew()
    becomes_well(counts)
    units = (
        ("x1", counts.coordinator), ("x2", counts.aggregator), ("x2", counts.participant), ("x1", "nginx"),
        ("x3", counts.participant), ("x2", "nginx"),
    )  # fmt: skip
    counts.kill(KILLS, units, partial(becomes_well, counts))
    assert verdict(counts) == (0, "ok")
    counts.anew()
    counts.complete()


def test_a_heartbeat_of_nobody_s_after_the_end_costs_a_restart_and_no_model(counts: Counts) -> None:
    """nginx knows no participant's number, so who has a certificate can do it; the last models stay."""
    models = counts.run("x2", f"ls /var/lib/{counts.aggregator}/models").split()
    assert [name.rpartition("-")[2] for name in models] == ["1", "2", "3"]
    former = counts.pid("x1", counts.coordinator)
    counts.python("x3", HEARTBEAT_OF_NOBODY)
    again = until(60, lambda: counts.pid("x1", counts.coordinator), lambda pid: pid not in (former, 0))
    assert again not in (former, 0)
    assert until(60, lambda: counts.run("x1", "ss -Hltn 'sport = :50050'"), bool)
    journal = counts.run("x1", f"journalctl -o cat --no-pager -n 200 -u {counts.coordinator}")
    assert "panicked" in journal
    assert "status=101" in journal
    assert counts.run("x2", f"ls /var/lib/{counts.aggregator}/models").split() == models
    assert verdict(counts) == (0, "ok")


def test_an_aggregator_that_is_killed_in_a_round_is_back_and_a_new_training_is_exact(counts: Counts) -> None:
    counts.anew()
    assert counts.python("x3", OTHERS_HAVE_SENT) == "round"
    assert (counts.training("x1"), counts.training("x2")) == ("round 1 of 3", "round 1 of 3")
    counts.run("x2", f"systemctl kill --signal=KILL {counts.aggregator}")
    becomes_well(counts)
    # what the others had sent is lost, and the coordinator counts on without it
    assert (counts.training("x1"), counts.training("x2")) == ("round 1 of 3", "")
    counts.anew()
    counts.complete()


def test_participants_that_are_restarted_in_a_training_go_on_as_the_same(counts: Counts) -> None:
    """As others they would leave two behind that are waited for, and the coordinator ends when these have sent."""
    counts.anew()
    becomes_well(counts)
    former = counts.pid("x1", counts.coordinator)
    assert counts.python("x3", OTHERS_HAVE_SENT) == "round"
    for host in ("x2", "x3"):
        counts.run(host, f"systemctl restart {counts.participant}")
    counts.run("x1", "sleep 45")  # a heartbeat is waited for 30 s
    assert counts.pid("x1", counts.coordinator) == former
    counts.complete()


def test_a_change_of_settings_leaves_nobody_behind_that_would_be_counted(counts: Counts) -> None:
    """Two of three are there when site restarts the coordinator, and then both of them: no training begins."""
    counts.anew()
    becomes_well(counts)

    def slower(document: dict[str, Any]) -> None:
        document["stacks"]["first"]["settings"]["federated_learning"]["heartbeat_timeout"] = 33

    counts.write(slower)
    try:
        counts.site()
        becomes_well(counts)
        counts.run("x1", "sleep 15")
        assert counts.training("x1") == ""
        assert "selecting" not in counts.said("x1")
        counts.complete()
    finally:
        counts.write()
        counts.site()


@contextmanager
def apart(counts: Counts) -> Iterator[None]:
    """Nothing goes between the hosts of both programs."""
    ways = (("x1", ADDRESSES["x2"]), ("x2", ADDRESSES["x1"]))
    try:
        for host, address in ways:
            counts.run(host, f"ip route add blackhole {address}/32")
        yield
    finally:
        for host, address in ways:
            counts.run(host, f"ip route del blackhole {address}/32")


def test_a_peer_that_is_away_for_a_minute_costs_nothing(counts: Counts) -> None:
    counts.anew()
    becomes_well(counts)
    programs = {host: counts.pid(host, counts.program(host)) for host in PORTS}
    with apart(counts):
        counts.run("x1", "sleep 60")
    becomes_well(counts)
    counts.complete()
    assert {host: counts.pid(host, counts.program(host)) for host in PORTS} == programs


@pytest.fixture(scope="module")
def slow(counts: Counts) -> Iterator[None]:
    """The aggregator's class takes its time; nobody is taken for gone in an outage of 20 s after a heartbeat."""
    (counts.inventory / "slow.py").write_text(SLOW)

    def slower(document: dict[str, Any]) -> None:
        added = {"python_class": "slow:Mean", "class_artifact": {"source": "slow.py"}}
        document["stacks"]["first"]["aggregator"].update(added)
        document["stacks"]["first"]["settings"]["federated_learning"]["heartbeat_timeout"] = 60

    counts.write(slower)
    counts.site("-e", "fedlearn_disrupt=first")
    yield
    counts.write()
    counts.site("-e", "fedlearn_disrupt=first")


@pytest.fixture(scope="module")
def impatient(counts: Counts) -> Iterator[None]:
    """Participants wait for half a minute where a release has them wait for ten."""

    def wait(former: int, now: int) -> None:
        for host in ("x2", "x3"):
            named = f"systemctl show -P Environment {counts.participant} | tr ' ' '\\n' | sed -n 's/^PYTHONPATH=//p'"
            change = f"s/^UNHEARD_SECONDS = {former}$/UNHEARD_SECONDS = {now}/"
            program = f"$({named})/fedlearn_xain/poc_participant.py"
            counts.run(host, f"sed -i '{change}' {program} && grep -q '^UNHEARD_SECONDS = {now}$' {program}")

    wait(600, 30)
    yield
    wait(30, 600)


@pytest.mark.parametrize("outage", [0, 15], ids=["restarted", "a peer away"])
def test_who_has_sent_counts_once_whatever_happens_before_the_coordinator_hears_of_it(
    counts: Counts, slow: None, impatient: None, outage: int
) -> None:
    """Participants are started again while their weights wait to be added, and of an outage that is longer than what
    the aggregator tells the coordinator is good for (10 s).
    """
    counts.anew()
    becomes_well(counts)
    counts.run("x3", "rm -f /tmp/third/sent")
    with ThreadPoolExecutor(1) as pool:
        third = pool.submit(counts.complete)
        # which is no unit, and wouldn't be back
        counts.run("x3", "timeout 60 sh -c 'until [ -e /tmp/third/sent ]; do sleep 0.2; done'")
        with apart(counts) if outage else nullcontext():
            for host in ("x2", "x3"):
                counts.run(host, f"systemctl restart {counts.participant}")
            counts.run("x1", f"sleep {outage}")
        third.result()


@pytest.mark.parametrize("hard", [(), ("--hard",)], ids=["rebooted", "power lost"])
def test_hosts_that_go_down_together_need_no_ansible(counts: Counts, hard: tuple[str, ...]) -> None:
    counts.anew()
    becomes_well(counts)
    before = counts.files()
    subprocess.run([*HOSTS_PY, "restart", *hard, counts.host_set], check=True)
    becomes_well(counts)
    assert counts.files() == before
    assert verdict(counts) == (0, "ok")
    counts.complete()


def test_who_is_no_host_of_the_document_takes_part_by_a_kit(counts: Counts, tmp_path: Path) -> None:
    """By what its README says; as the third, whose numbers are known, it completes the training."""
    counts.anew()
    becomes_well(counts)
    (take_part,) = counts.kit(tmp_path)
    counts.run("x1", f"cd /root/kit\n{take_part}")
    found = json.loads(counts.run("x1", "cat /root/kit/state/result.json"))
    assert found["values"] == pytest.approx(list(answer([adds(index) for index in range(3)], 3)), abs=1e-9)


def test_an_expired_certificate_is_told_and_site_renews_it(counts: Counts) -> None:
    counts.anew()
    becomes_well(counts)
    journal = f"journalctl -o cat --no-pager -n 60 -u {counts.participant}"
    counts.renew_an_expired("certificate has expired", journal)
    becomes_well(counts)
    counts.complete()


def test_who_has_finished_a_training_takes_part_in_one_of_other_rounds(counts: Counts) -> None:
    counts.anew()
    becomes_well(counts)
    counts.complete()
    for host in ("x2", "x3"):
        counts.run(host, f"rm /var/lib/{counts.participant}/result.json")

    def longer(document: dict[str, Any]) -> None:
        document["stacks"]["first"]["settings"]["federated_learning"]["rounds"] = 4

    counts.write(longer)
    try:
        counts.site()
        becomes_well(counts)
        counts.complete(4)
    finally:
        counts.write()
        counts.site()


def taught(counts: Counts, aggregated: str, rounds: int, rate: float) -> list[float]:
    """What the houses of all three teach in so many rounds."""
    houses, each = example("houses"), []
    for host in HOSTS:
        each.append(houses.Houses({"data": str(counts.inventory / f"{host}.csv"), "rate": rate}))
    model = numpy.zeros(1 + len(houses.FEATURES))
    for _round in range(rounds):
        steps = numpy.array([one.train_round(model) for one in each])
        mean = numpy.average(steps, axis=0, weights=[len(one.prices) for one in each])
        model = numpy.median(steps, axis=0) if aggregated == "medians:Median" else mean
    found: list[float] = model.tolist()
    return found


@pytest.fixture(scope="module")
def houses(counts: Counts) -> Iterator[None]:
    """Each host's houses, and the examples beside the document."""
    for host, text in zip(HOSTS, split_data(list(HOUSES.values())), strict=True):
        (counts.inventory / f"{host}.csv").write_text(text, newline="")
        counts.run(host, f"mkdir -p /srv/houses; cat >/srv/houses/train.csv <<'END-OF-FILE'\n{text}END-OF-FILE\n")
        # where the hosts stand since a former run of these tests
        counts.run(host, f"rm -rf /var/lib/{counts.participant}/* /var/lib/{counts.aggregator}/*")
    for path in EXAMPLES.glob("*.py"):
        shutil.copy(path, counts.inventory)
    counts.forget()
    yield
    counts.write()


@pytest.mark.parametrize(
    ("aggregated", "rounds", "rate"),
    [("xain_aggregators.weighted_average:Aggregator", 12, 0.3), ("medians:Median", 9, 0.2)],
)
def test_the_examples_learn_what_all_houses_together_teach(
    counts: Counts, houses: None, aggregated: str, rounds: int, rate: float
) -> None:
    """Other rounds are another training: after the end of one nobody is taken in any more."""

    def learning(document: dict[str, Any]) -> None:
        stack = document["stacks"]["first"]
        stack["aggregator"] = {"host": "x2", "python_class": aggregated, "keep_models": 1}
        if aggregated == "medians:Median":
            stack["aggregator"]["class_artifact"] = {"source": "medians.py"}
        stack["aggregator"]["model_archive"] = {"seconds": 1}
        stack["participants"] = {
            "hosts": list(HOSTS),
            "application": "houses:Houses",
            "application_artifact": {"source": "houses.py"},
            "application_settings": {"data": "/srv/houses/train.csv", "rate": rate},
        }
        stack["settings"]["federated_learning"] |= {"rounds": rounds, "heartbeat_timeout": 6}

    counts.write(learning)
    # until their turn comes those of the former training would take part in this one
    for host in HOSTS:
        counts.run(host, f"systemctl stop {counts.participant} 2>/dev/null || true")
    counts.site("-e", "fedlearn_disrupt=first")
    last = f"ls /var/lib/{counts.aggregator}/models/*-{rounds} 2>/dev/null || true"
    model = until(180, lambda: counts.run("x2", last).strip(), bool)
    read = "import numpy; print(json.dumps(numpy.load(given['path']).tolist()))"
    assert counts.python("x2", read, path=model) == pytest.approx(taught(counts, aggregated, rounds, rate), abs=1e-9)
    for host in HOSTS:
        own = f"/var/lib/{counts.participant}/result.json"
        counts.run(host, f"for i in $(seq 60); do test -e {own} && break; sleep 1; done")
        assert json.loads(counts.run(host, f"cat {own}"))["samples"] == HOUSES[host]
    assert int(counts.run("x2", f"ls /var/lib/{counts.aggregator}/archive | wc -l")) > 1
