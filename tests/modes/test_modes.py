# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each server_mode and each encryption is proven by, with devices that speak the program's own protocol."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from deployment import INITIAL, Modes, get, look
from device import NOT_READY, SUCCEED, Answer, Device
from standing_demo import until

REST = "10.98.13.11:21202"
SCHEDULER = "modes/pki/modes-device-scheduler"


def cluster_state(modes: Modes) -> str:
    said = look(modes, "m1", REST, get("/state"), authority=SCHEDULER, certificate=SCHEDULER)
    if not said.startswith("HTTP/1.1 200 "):
        return said
    return str(json.JSONDecoder().raw_decode(said[said.index("{") :])[0]["cluster_state"])


def window(modes: Modes) -> int:
    """How long an iteration waits for participants, as the cluster has it in force."""
    said = look(modes, "m1", REST, get("/queryInstance"), authority=SCHEDULER, certificate=SCHEDULER)
    assert said.startswith("HTTP/1.1 200 "), said
    return int(re.findall(r'start_fl_job_time_window\\*"?:? *(\d+)', said)[0])


def begin(*devices: tuple[Device, int]) -> list[Answer]:
    """All take part in one iteration, each with its number of samples."""

    def take_part(device: Device, samples: int) -> Answer:
        answer: Answer = until(90, lambda: device.start(samples), lambda found: found.code == SUCCEED)
        return answer

    answers = [take_part(device, samples) for device, samples in devices]
    assert [answer.code for answer in answers] == [SUCCEED] * len(devices), answers
    return answers


def round_of_two(modes: Modes) -> tuple[Answer, dict[str, list[float]]]:
    """Two devices and one iteration: what they were told, and the model after it.

    One hands in ones with 10 samples, the other threes with 30: the mean over all samples is 2.5.
    """
    devices = [(modes.device("one"), 10), (modes.device("two"), 30)]
    begun = begin(*devices)
    assert begun[0].iteration == begun[1].iteration
    for (device, samples), value in zip(devices, (1.0, 3.0), strict=True):
        weighted = {name: [value * samples] * len(values) for name, values in INITIAL.items()}
        handed_in = device.update(begun[0].iteration, weighted)
        assert handed_in.code == SUCCEED, handed_in
    after = until(60, lambda: devices[0][0].model(begun[0].iteration), lambda found: found.code != NOT_READY)
    assert after.code == SUCCEED, after
    return begun[0], after.weights


@pytest.mark.parametrize("stack", ["cloud", "device"])
def test_a_round_of_known_numbers_beside_each_stack(modes: Modes, stack: str) -> None:
    """The verify round trains in CLOUD_TRAINING whatever the stack's own mode is."""
    modes.deploy_devices()
    options = ("-e", "verify=round", "-e", f"stack={stack}", "-e", f"fedlearn_build={modes.inventory / 'build'}")
    judged = modes.playbook("fedlearn.infra.verify", *options)
    assert judged.returncode == 0, judged.output[-3000:]
    report = json.loads((modes.inventory / "build" / "modes" / "verify.json").read_text())
    assert report["stacks"][stack]["max_error"] <= 0.05
    port = 11202 if stack == "cloud" else 21202
    rest = f"m1: modes-{stack}-rest at 10.98.13.11 port {port} refuses"
    refused = {row["name"] for row in report["stacks"][stack]["checks"] if row["passed"]}
    assert {f"{rest} clients without a certificate", f"{rest} TLS below 1.2"} <= refused


def test_a_cluster_for_devices_is_ready(modes: Modes) -> None:
    assert until(60, lambda: cluster_state(modes), lambda state: state == "CLUSTER_READY") == "CLUSTER_READY"


def test_a_changed_setting_is_in_force_and_an_operators_outlives_a_restart(modes: Modes) -> None:
    """The program itself would go on with what Redis remembers, and with the file once Redis forgets."""

    def longer(stack: dict[str, Any]) -> None:
        stack["settings"]["round"]["start_fl_job_time_window"] = 31000

    modes.deploy_devices(longer)
    assert window(modes) == 31000
    body = json.dumps({"start_fl_job_time_window": 29000})
    request = (
        f"POST /newInstance HTTP/1.1\r\nHost: there\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    )
    said = look(modes, "m1", REST, request, authority=SCHEDULER, certificate=SCHEDULER)
    assert said.startswith("HTTP/1.1 200 "), said
    modes.run("m2", "systemctl restart fedlearn-modes-device-server-1.service")
    assert until(60, lambda: cluster_state(modes), lambda state: state == "CLUSTER_READY") == "CLUSTER_READY"
    assert window(modes) == 29000
    modes.deploy_devices()
    assert window(modes) == 30000


def test_a_server_refuses_what_is_no_request_of_a_device(modes: Modes) -> None:
    """So an answer to startFLJob is one to its content."""
    said = look(
        modes,
        "m3",
        "10.98.13.12:16666",
        "POST /startFLJob HTTP/1.1\r\nHost: there\r\nContent-Length: 4\r\nConnection: close\r\n\r\n????",
        authority="modes/pki/modes-cloud-worker",
    )
    assert "The schema of RequestFLJob is invalid" in said


def test_devices_train_a_round(modes: Modes) -> None:
    told, model = round_of_two(modes)
    assert told.plan == {"server_mode": "FEDERATED_LEARNING", "fl_name": "device", "encryption": "NOT_ENCRYPT"}
    assert model == {"fc.weight": [2.5] * 3, "fc.bias": [2.5]}


def test_a_model_is_not_given_before_it_is_there(modes: Modes) -> None:
    device = modes.device("early")
    begun = begin((device, 10))[0]
    assert device.model(begun.iteration).code == NOT_READY


def encrypted(kind: str) -> Any:
    def change(stack: dict[str, Any]) -> None:
        stack["settings"]["fl_name"] = "device"
        stack["settings"]["encrypt"] = {"encrypt_train_type": kind}

    return change


@pytest.mark.parametrize("kind", ["DP_ENCRYPT", "SIGNDS", "PW_ENCRYPT", "STABLE_PW_ENCRYPT"])
def test_every_encryption_is_taken_by_servers_and_told_to_devices(modes: Modes, kind: str) -> None:
    modes.deploy_devices(encrypted(kind))
    told = begin((modes.device("one"), 10))[0]
    assert told.plan["encryption"] == kind


def test_dp_encrypt_servers_take_the_mean(modes: Modes) -> None:
    """The noise is the device's part: what servers do with it is the mean, as without encryption."""
    modes.deploy_devices(encrypted("DP_ENCRYPT"))
    told, model = round_of_two(modes)
    assert told.plan["encryption"] == "DP_ENCRYPT"
    assert model == {"fc.weight": [2.5] * 3, "fc.bias": [2.5]}


def test_hybrid_training_starts(modes: Modes) -> None:
    def hybrid(stack: dict[str, Any]) -> None:
        stack["settings"]["server_mode"] = "HYBRID_TRAINING"

    modes.deploy_devices(hybrid)
    assert until(60, lambda: cluster_state(modes), lambda state: state == "CLUSTER_READY") == "CLUSTER_READY"
    assert begin((modes.device("one"), 10))[0].plan["server_mode"] == "HYBRID_TRAINING"
