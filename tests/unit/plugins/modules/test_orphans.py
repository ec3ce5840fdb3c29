# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is ours and in no document any more, by what a host remembers."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.installed import Layout
from ansible_collections.fedlearn.infra.plugins.module_utils._service import state, units
from ansible_collections.fedlearn.infra.plugins.modules import orphans

pytestmark = pytest.mark.usefixtures("host")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that remembers two services and two certificates, and runs none of them."""
    ours = tmp_path / "fedlearn/demo"
    (ours / "certificates").mkdir(parents=True)
    for name in ("store", "proxy"):
        (ours / f"certificates/{name}.json").write_text("{}")
    services = {name: {"units": [f"{name}.service"], "files": [f"/etc/{name}"]} for name in ("redis", "worker")}
    (ours / "owned.json").write_text(json.dumps({"version": 1, "services": services}))
    monkeypatch.setattr(state, "ROOT", str(tmp_path / "fedlearn"))
    monkeypatch.setattr(orphans, "LAYOUT", Layout(*[str(tmp_path)] * 3))
    monkeypatch.setattr(units, "show", lambda names: {name: SimpleNamespace(running=False) for name in names})


def found(**expected: list[str]) -> dict[str, Any]:
    params = {"federation": "demo", "expected": expected, "prune": False, "remove_data": False}
    return dict(orphans.run(SimpleNamespace(params=params, check_mode=True, _diff=False)))


def test_what_is_expected_is_no_orphan() -> None:
    result = found(services=["redis"], sites=["worker"], certificates=["store", "proxy"])
    assert (result["orphans"], result["summary"], result["changed"]) == ([], "", False)


def test_services_and_certificates_that_nobody_expects_are_named_with_their_kind() -> None:
    result = found(services=["redis"], certificates=["store"])
    assert [(orphan["kind"], orphan["name"]) for orphan in result["orphans"]] == [
        ("service", "worker"),
        ("certificate", "proxy"),
    ]
    assert result["summary"] == "service worker, certificate proxy"


def test_certificates_are_looked_at_only_where_they_are_listed() -> None:
    assert found(services=["redis"])["summary"] == "service worker"
