# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What chrony is told, by the templates of the role time_sync."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import INSTANCES

CHECKOUT = Path(__file__).resolve().parents[5]


def time_sync(template: str, **instance: Any) -> list[str]:
    """The lines, but comments, that a template of the role makes of an instance."""
    folder = jinja2.FileSystemLoader(CHECKOUT / "roles/time_sync/templates/etc")
    environment = jinja2.Environment(loader=folder, trim_blocks=True)
    environment.tests["search"] = lambda text, pattern: pattern in text
    checked = INSTANCES["time_sync_instances"]([{"name": "lab", **instance}])[0]
    text = environment.get_template(template).render(instance=checked, time_sync_client="/usr/bin/chronyc")
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_sources_are_written_as_chrony_reads_them() -> None:
    sources = [
        {"address": "a.example"},
        {"address": "b.example", "type": "pool", "nts": True, "port": 4461, "prefer": False},
        {"address": "fd00::5", "type": "peer", "port": 124, "key_id": 7, "minpoll": 4, "maxpoll": 6},
    ]
    listen = {"addresses": ["fd00::1"]}
    assert time_sync("chrony/sources.d/fedlearn.sources.j2", sources=sources, listen=listen) == [
        "server a.example iburst prefer",
        "pool b.example ntsport 4461 iburst nts",
        "peer fd00::5 port 124 key 7 prefer minpoll 4 maxpoll 6",
    ]


def test_chrony_listens_nowhere_unless_told_and_then_there_only() -> None:
    template = "chrony/conf.d/fedlearn.conf.j2"
    assert time_sync(template) == ["cmdport 0"]
    served = {"addresses": ["10.0.0.1"], "allow": ["10.0.0.0/8", "fd00::/64"]}
    assert time_sync(template, listen=served) == [
        "cmdport 0",
        "port 123",
        "bindaddress 10.0.0.1",
        "bindaddress ::1",
        "allow 10.0.0.0/8",
        "allow fd00::/64",
    ]
    served = {"addresses": ["fd00::1"], "port": 1123, "allow": ["fd00::/64"]}
    assert time_sync(template, listen=served)[1:4] == ["port 1123", "bindaddress 127.0.0.1", "bindaddress fd00::1"]


def test_authentication_and_steps_are_told_to_chrony() -> None:
    trusted = {"sources": [{"address": "a.example", "nts": True}], "trusted_certificates": "/etc/chrony/ca.pem"}
    assert time_sync("chrony/conf.d/fedlearn.conf.j2", require_authentication=True, **trusted) == [
        "cmdport 0",
        "authselectmode require",
        "ntstrustedcerts /etc/chrony/ca.pem",
    ]
    makestep = {"threshold_seconds": 0.5, "updates": -1}
    assert time_sync("systemd/system/chrony.service.d/fedlearn-makestep.conf.j2", makestep=makestep) == [
        "[Service]",
        "ExecStartPost=/usr/bin/chronyc makestep 0.5 -1",
    ]


def test_what_stops_leaves_the_host_its_time() -> None:
    assert INSTANCES["time_sync_instances"]([{"name": "lab", "state": "stopped"}])[0]["state"] == "present"
