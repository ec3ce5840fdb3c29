# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""servers.initial_model: another file than was meant is refused before anything starts, and rounds begin with it."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import pytest
from deployment import INITIAL, Document, Modes, lay, npz
from device import SUCCEED
from standing_demo import until


def begins_with(modes: Modes, job: str, model: Mapping[str, str]) -> dict[str, list[float]]:
    """The weights that a device is given by a job that begins with a model."""

    def change(stack: dict[str, Any]) -> None:
        stack["settings"]["fl_name"] = job
        stack["servers"]["initial_model"] = dict(model)

    modes.deploy_devices(change)
    device = modes.device("one", job)
    told = until(60, lambda: device.start(10), lambda answer: answer.code == SUCCEED)
    assert told.code == SUCCEED, told
    assert told.iteration == 1
    return dict(told.weights)


def test_a_round_begins_with_an_npz(modes: Modes) -> None:
    assert begins_with(modes, "from-npz", lay("other.npz", npz({**INITIAL, "fc.bias": [-1.5]}))) == {
        "fc.weight": [4.0, 5.0, 6.0],
        "fc.bias": [-1.5],
    }


def test_a_round_begins_with_a_ckpt(modes: Modes) -> None:
    """What the stack `cloud` has learned, as its server wrote it down."""
    folder = "/var/lib/private/fedlearn-modes-cloud-server-1/checkpoints"
    encoded = modes.run("m2", f"base64 $(ls -t {folder}/*.ckpt | head -1)")
    model = begins_with(modes, "from-ckpt", lay("learned.ckpt", base64.b64decode(encoded)))
    learned = [*model["fc.weight"], *model["fc.bias"]]
    assert max(abs(found - known) for found, known in zip(learned, (1.0, -2.0, 3.0, 0.5), strict=True)) < 0.05


def absent(document: Document) -> None:
    document["stacks"]["device"]["servers"]["initial_model"]["source"] = "nowhere.npz"


def another(document: Document) -> None:
    document["stacks"]["device"]["servers"]["initial_model"]["sha256"] = "0" * 64


@pytest.mark.parametrize(("change", "said"), [(absent, "nowhere.npz"), (another, "initial.npz")])
def test_another_file_is_refused_before_anything_changes(modes: Modes, change: Any, said: str) -> None:
    before = modes.files(), modes.processes()
    modes.write(change)
    refused = modes.playbook("site.yml")
    modes.write()
    assert refused.returncode != 0
    assert said in refused.output
    assert (modes.files(), modes.processes()) == before
