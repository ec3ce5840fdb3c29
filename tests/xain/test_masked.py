# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The generation `pet` on three hosts: rounds whose model is the mean of those drawn, and what operators do."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from places import X1, X2
from proofs import check_left_alone
from standing_demo import CHECKOUT, until
from training import Masks

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.xain import known_marks

COORDINATOR = "fedlearn-masks-masked-coordinator"
REDIS, STORAGE, PARTICIPANT = (f"fedlearn-masks-masked-{word}" for word in ("redis", "storage", "participant"))
OTHERS = 6
KILLS = 20
MOST_EXECUTIONS = 10
"""The host that has store, Redis, nginx and coordinator, all of them right."""

EIGHT = """
import time
from fedlearn_xain.marks import Marks
from xaynet_sdk import spawn_participant
made = []
def make(model):
    made.append(Marks({"model": model}))
    return made[-1]
handles = [spawn_participant("http://127.0.0.1:8081", make, args=(model,)) for model in given["models"]]
end = time.monotonic() + 200
while time.monotonic() < end and not all(one.found for one in made):
    time.sleep(0.5)
[handle.stop() for handle in handles]
print(json.dumps([one.found for one in made]))
"""
"""The others that a deployed round waits for: they come by nginx on x2, with its certificate."""

ROUNDS = """
import time
from fedlearn_xain.marks import Marks
from xaynet_sdk import spawn_participant
made, seen = [], []
def make(model):
    made.append(Marks({"model": model}))
    return made[-1]
handles = [spawn_participant("http://127.0.0.1:8081", make, args=(model,)) for model in given["models"]]
end = time.monotonic() + 200
while time.monotonic() < end and len(seen) < given["rounds"]:
    for one in made:
        if one.found and one.found not in seen:
            seen.append(one.found)
    time.sleep(0.5)
[handle.stop() for handle in handles]
print(json.dumps(seen))
"""
"""The global models of several rounds; the first may be a former one's."""

ASK = """
import hashlib, ssl, urllib.error, urllib.request
pki = "/etc/fedlearn/masks/pki/masks-masked-participant"
def asked(shown, path="/params"):
    context = ssl.create_default_context(cafile=f"{pki}/ca.pem")
    if shown:
        context.load_cert_chain(f"{pki}/chain.pem", f"{pki}/key.pem")
    try:
        with urllib.request.urlopen(given["place"] + path, context=context, timeout=10) as answer:
            return [answer.status, hashlib.sha256(answer.read()).hexdigest()]
    except urllib.error.HTTPError as error:
        return [error.code, ""]
    except OSError as error:
        return [0, str(error)]
print(json.dumps({"shown": asked(True), "none": asked(False), "other": asked(True, "/x"),
                  "model": asked(True, "/model")}))
"""


def models(known: int = 2) -> list[list[float]]:
    """Those of all eight: the first, which run known numbers, such as the deployed two, and the others."""
    first = [known_marks.known(index, 4, whole=False)["model"] for index in range(known)]
    others = ([(index + 1) / 10, (index + 1) ** 2 / 100, -index / 7, 1.0] for index in range(8 - known))
    return [*first, *others]


def whose_mean(found: list[float], known: int = 2) -> list[tuple[int, ...]]:
    """Of which sets of participants this is the mean."""
    everybody = models(known)
    return [
        chosen
        for many in range(3, len(everybody))
        for chosen in itertools.combinations(range(len(everybody)), many)
        if all(
            abs(sum(column) / many - value) < 1e-9
            for column, value in zip(zip(*(everybody[index] for index in chosen), strict=True), found, strict=True)
        )
    ]


def test_a_round_ends_with_the_known_numbers_whoever_was_drawn(masks: Masks) -> None:
    code, found = masks.verify()
    assert [row for row in found["checks"] if not row["passed"]] == []
    assert (code, found["passed"], found["real"]) == (0, True, True)
    assert found["expected"] == pytest.approx(list(known_marks.answer(8)))
    assert found["max_error"] <= 1e-9
    assert len(found["workers"]) == 8


@pytest.mark.parametrize("wrong", ["other models", "other numbers of samples"])
def test_a_round_that_is_not_what_it_says_fails_by_its_number(masks: Masks, wrong: str) -> None:
    parts = masks.round_parts()
    for host in ("x2", "x3"):
        for participant in parts[host]["masked"]["variables"]["xain_participant_instances"]:
            settings = participant["application"]["settings"]
            if wrong == "other models":
                settings["model"][-1] += 0.01
            else:
                settings["scalar"] = 1.0
    code, found = masks.verify_with(parts)
    assert (code, found["passed"]) == (2, False)
    told = [row["detail"] for row in found["checks"] if not row["passed"]]
    assert len(told) == 8
    assert all("off by" in detail for detail in told), told


def test_a_round_leaves_nothing(masks: Masks) -> None:
    for host in masks.hosts:
        assert masks.run(host, "ls /run/systemd/system | grep -c verify || true").strip() == "0"
        listening = masks.run(
            host, "ss -Hltn '( sport = :10443 or sport = :8380 or sport = :52060 or sport = :10081 )'"
        )
        assert listening == ""


def test_a_second_run_changes_nothing_in_few_executions(masks: Masks) -> None:
    check_left_alone(masks, most=MOST_EXECUTIONS)


def test_a_deployed_round_is_the_mean_of_those_drawn_and_outlives_a_kill(masks: Masks) -> None:
    found = masks.python("x2", EIGHT, models=models()[2:])
    assert len(found) == OTHERS
    for model in found:
        assert whose_mean(model), model
    before = masks.python("x3", ASK, place=f"https://{X1}:8443")["model"]
    assert before[0] == 200
    masks.run("x1", f"systemctl kill -s KILL {COORDINATOR}; sleep 8")
    assert masks.python("x3", ASK, place=f"https://{X1}:8443")["model"] == before


def test_who_shows_no_certificate_is_refused(masks: Masks) -> None:
    found = masks.python("x3", ASK, place=f"https://{X1}:8443")
    assert found["shown"][0] == 200
    assert found["none"][0] in (400, 403)
    assert found["other"][0] == 404


def test_program_and_redis_listen_on_loopback_only(masks: Masks) -> None:
    found = masks.run("x1", "ss -Hltn '( sport = :8443 or sport = :50060 or sport = :6380 )'")
    assert sorted(line.split()[3] for line in found.splitlines()) == [
        f"{X1}:8443",
        "127.0.0.1:50060",
        "127.0.0.1:6380",
    ]
    for host in ("x2", "x3"):
        assert masks.run(host, "ss -Hltn '( sport = :8081 )'").split()[3] == "127.0.0.1:8081"


def well(masks: Masks) -> bool:
    """Whether the coordinator answers through nginx, and both deployed participants run."""
    running = [masks.run(host, f"systemctl is-active {PARTICIPANT} || true") for host in ("x2", "x3")]
    if running != ["active\n"] * 2:
        return False
    return bool(masks.python("x3", ASK, place=f"https://{X1}:8443")["shown"][0] == 200)


def test_an_expired_certificate_is_told_and_site_renews_it(masks: Masks) -> None:
    """The SDK speaks to nginx on its host, whose log of requests has no more than that the way on failed."""
    before = masks.python("x3", ASK, place=f"https://{X1}:8443")["model"]
    log = "tail -n 5 /var/log/nginx/fedlearn-masks-masked-exit.access.log"
    masks.renew_an_expired('"status":502', log)
    assert until(120, lambda: well(masks), bool) is True
    assert masks.python("x3", ASK, place=f"https://{X1}:8443")["model"] == before


def test_twenty_kills_are_healed_and_cost_no_model(masks: Masks) -> None:
    """Coordinator, Redis, store, nginx on both sides and participants in turn; then rounds are as before."""

    def becomes_well() -> None:
        assert until(120, lambda: well(masks), bool) is True

    becomes_well()
    before = masks.python("x3", ASK, place=f"https://{X1}:8443")["model"]
    units = (
        ("x1", COORDINATOR), ("x1", REDIS), ("x2", PARTICIPANT), ("x1", STORAGE), ("x2", "nginx"), ("x1", "nginx"),
        ("x3", PARTICIPANT),
    )  # fmt: skip
    masks.kill(KILLS, units, becomes_well)
    assert masks.playbook("fedlearn.infra.status").returncode == 0
    assert masks.python("x3", ASK, place=f"https://{X1}:8443")["model"] == before
    former, *new = masks.python("x2", ROUNDS, models=models()[2:], rounds=2)
    assert whose_mean(former)
    assert [model for model in new if whose_mean(model)] == new != []


@pytest.fixture
def by_kit(masks: Masks, tmp_path: Path) -> Iterator[None]:
    """A participant on x1, by what its README says."""
    way_out, take_part = masks.kit(tmp_path)
    *prepare, run = take_part.strip().splitlines()
    masks.run("x1", "\n".join(["cd /root/kit", way_out, *prepare]))
    masks.run("x1", f"systemd-run --quiet --unit=kit --working-directory=/root/kit sh -c 'exec {run}'")
    yield
    masks.run("x1", "systemctl stop kit; rm /etc/nginx/conf.d/masks-masked-client-others.conf; systemctl reload nginx")


def test_who_is_no_host_of_the_document_takes_part_by_a_kit(masks: Masks, by_kit: None) -> None:
    """Its model is in a mean, once it is drawn for models, and not for masks."""
    for _turn in range(3):
        found = [whose_mean(one, 3) for one in masks.python("x2", ROUNDS, models=models(3)[3:], rounds=4)]
        # but for a former round's
        assert all(found[1:]), found
        if any(sets and all(2 in chosen for chosen in sets) for sets in found):
            return
    pytest.fail("in nine rounds it was in no mean")


def test_settings_that_would_lose_the_model_are_refused_and_nothing_changes(masks: Masks) -> None:
    before = masks.files(), masks.processes()

    def other(document: dict[str, object]) -> None:
        document["stacks"]["masked"]["settings"]["pet"]["sum"] = 0.4  # type: ignore[index]

    masks.write(other)
    try:
        done = masks.playbook("site.yml")
        assert done.returncode == 2
        assert "say -e fedlearn_disrupt=masked" in " ".join(done.output.split())
        assert (masks.files(), masks.processes()) == before
    finally:
        masks.write()


def test_status_and_flows_and_the_end(masks: Masks) -> None:
    done = masks.playbook("fedlearn.infra.status")
    found = json.loads((CHECKOUT / "build" / "masks" / "status.json").read_text())
    assert (done.returncode, found["verdict"]) == (0, "ok")
    assert masks.playbook("fedlearn.infra.flows").returncode == 0
    told = (CHECKOUT / "build" / "masks" / "flows.csv").read_text()
    for port in (8443, 10443):
        assert f"masked,inside,x2,{X2},x1,{X1},tcp,{port}," in told, told
    done = masks.playbook("fedlearn.infra.remove", "-e", "stack=masked")
    assert done.returncode == 0, done.output[-3000:]
    for host in masks.hosts:
        assert masks.run(host, "ls /etc/systemd/system | grep -c fedlearn-masks || true").strip() == "0"
        assert masks.run(host, "ls /etc/nginx/conf.d | grep -c masks || true").strip() == "0"
    assert masks.run("x1", "ls -d /var/lib/fedlearn-masks-masked-storage").strip() != ""
