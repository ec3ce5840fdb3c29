# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""By what a participant knows that it has finished: the same in each release, and another for another training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import pytest
from ansible.plugins.filter.core import get_hash, to_json

TEMPLATES = Path(__file__).resolve().parents[4] / "roles" / "xain_participant" / "templates"
TRAINING = {"rounds": 3, "participants_ratio": 1.0, "min_clients": 2}
APPLICATION = {"callable": "mine:Mine", "settings": {"step": [1.0], "samples": 10}}


def digest(code: str = "", **values: Any) -> str:
    """Of an instance whose application has this code."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), undefined=jinja2.ChainableUndefined)
    environment.filters.update(to_json=to_json, hash=get_hash)
    instance = {"name": "a", "application": APPLICATION, **values}
    artifacts = {"a/application": {"digest": code}} if code else {}
    found = environment.get_template("digest.j2").make_module().digest(instance, artifacts)
    return str(found)


@pytest.mark.parametrize(
    ("expected", "code", "values"),
    [
        ("3b1d28d41466c35b", "", {}),
        ("e9bceab4e383a5a7", "", {"training": TRAINING, "coordinator": {"host": "other"}, "heartbeat_seconds": 9}),
        ("f5f6c9ed36141f5e", "c0de", {"training": TRAINING}),
    ],
)
def test_hosts_of_former_releases_have_finished_by_these_names(
    expected: str, code: str, values: dict[str, Any]
) -> None:
    assert digest(code, **values) == expected


def test_another_training_or_application_is_another() -> None:
    others = [
        digest(training={**TRAINING, "rounds": 4}),
        digest("c0de", training=TRAINING),
        digest(training=TRAINING, round="r1"),
        digest(training=TRAINING, application={**APPLICATION, "settings": {}}),
    ]
    assert len({digest(training=TRAINING), *others}) == 1 + len(others)
