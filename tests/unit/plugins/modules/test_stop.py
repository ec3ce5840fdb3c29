# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stop ends of what a host remembers, and what it leaves alone."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._service import state, units
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError
from ansible_collections.fedlearn.infra.plugins.modules import stop

SERVICES = {
    "redis": {"units": ["redis.service"], "files": []},
    "server": {"units": ["server.service", "server.timer"], "files": []},
    "site": {"units": [], "unit": "nginx.service", "files": []},
}


class Host:
    """A host that remembers three services; its units are enabled and run, and those of ``stuck`` go on to."""

    def __init__(self) -> None:
        names = ("redis.service", "server.service", "server.timer", "nginx.service", "fedlearn-lost.service")
        self.units = {name: units.Unit(name, active="active", enabled="enabled") for name in names}
        self.verbs: list[tuple[str, ...]] = []
        self.stuck: tuple[str, ...] = ()

    def show(self, names: list[str]) -> dict[str, units.Unit]:
        return {name: self.units[name] for name in names}

    def verb(self, word: str, *names: str) -> tuple[int, str]:
        self.verbs.append((word, *names))
        for name in names:
            if word == "disable":
                self.units[name].enabled = "disabled"
            elif name not in self.stuck:
                self.units[name].active = "inactive"
        return 0, ""

    def stop(self, *services: str, check_mode: bool = False) -> dict[str, Any]:
        params = {"federation": "demo", "services": [*services]}
        return dict(stop.run(SimpleNamespace(params=params, check_mode=check_mode)))


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo/owned.json").write_text(json.dumps({"version": 1, "services": SERVICES}))
    (tmp_path / "units").mkdir()
    (tmp_path / "units/fedlearn-lost.service").touch()
    found = Host()
    monkeypatch.setattr(state, "ROOT", str(tmp_path))
    monkeypatch.setattr(units, "PERMANENT", str(tmp_path / "units"))
    monkeypatch.setattr(units, "show", found.show)
    monkeypatch.setattr(units, "verb", found.verb)
    return found


def test_all_units_of_what_is_named_are_disabled_and_stopped(host: Host) -> None:
    named = ("server.service", "server.timer")
    assert host.stop("server") == {"changed": True, "units": [*named]}
    assert host.verbs == [("disable", *named), ("stop", *named)]
    assert host.stop("server") == {"changed": False, "units": []}
    assert len(host.verbs) == 2


def test_a_look_ahead_stops_nothing(host: Host) -> None:
    assert host.stop("redis", check_mode=True) == {"changed": True, "units": ["redis.service"]}
    assert host.verbs == []


def test_what_others_use_too_goes_on_and_what_is_not_there_is_passed_over(host: Host) -> None:
    assert host.stop("site", "nowhere") == {"changed": False, "units": []}


def test_a_service_that_owned_json_lost_is_stopped_by_its_unit_s_name(host: Host) -> None:
    assert host.stop("lost")["units"] == ["fedlearn-lost.service"]


def test_what_cannot_be_stopped_is_named(host: Host) -> None:
    host.stuck = ("redis.service",)
    with pytest.raises(ServiceError, match=r"redis\.service can't be stopped"):
        host.stop("redis", "server")
    assert host.units["server.service"].active == "inactive"
