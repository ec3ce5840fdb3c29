# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rows of an audit that documents, and what was taken over, decide: where nobody looked at a host."""

from __future__ import annotations

import dataclasses
import json
import shutil
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.action.audit import Audit
from ansible_collections.fedlearn.infra.plugins.plugin_utils._audit import ports
from ansible_collections.fedlearn.infra.plugins.plugin_utils._audit.rows import (
    DIFFER,
    OF_HOSTS,
    SOUGHT,
    Row,
    Side,
    join,
)
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange import agreement
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.folders import Own, publish
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.manifest import digest
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.sshsig import Signer
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading, variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki import vaultfile

CHECKOUT = Path(__file__).resolve().parents[4]


class Home:
    """The leader's control node, without hosts."""

    def __init__(self, room: Path) -> None:
        shutil.copytree(CHECKOUT / "inventories" / "dpsa", room / "dpsa")
        shutil.copytree(CHECKOUT / "inventories" / "dpsa-leader", room / "leader")
        self.home, self.document = room / "leader", room / "dpsa" / "federation.yml"
        agreement.accept(str(self.home), self.document.read_bytes())

    def audit(self, source: str, groups: dict[str, list[str]], hosts: dict[str, dict[str, Any]]) -> Audit:
        path = self.home / source
        federation = loading.load(str(path))
        shared = variables.inventory(federation).groups["federation_hosts"].variables["fedlearn_exchange"]
        options = {
            "document": str(path),
            "exchange": shared,
            "state_directory": str(self.home),
            "backup_directory": str(self.home / ".backups"),
            "path": str(self.home / "build" / "audit.json"),
            "max_skew_ms": 60000,
        }
        return Audit(options, {"groups": groups, "hostvars": hosts}, None)

    def rows(self, source: str = "federation.yml", groups: dict[str, list[str]] | None = None) -> dict[str, Any]:
        self.audit(source, groups or {}, {}).report()
        told: dict[str, Any] = json.loads((self.home / "build" / "audit.json").read_text())
        return dict(told["rows"])

    def side(self, hosts: dict[str, dict[str, Any]], partners: dict[str, Side | str] | None = None) -> Side:
        """What this side says of itself, of hosts that registered this."""
        audit = self.audit("federation.yml", {"federation_hosts": list(hosts)}, hosts)
        audit.partners = partners if partners is not None else audit.partners
        return audit._side()

    def came(self, document: str) -> None:
        """The helper's folder was taken, of a party that accepted this document."""
        folder = self.home / "public" / "clinic-b"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "clinic-b.pem").write_text("none")
        signer = Signer(str(self.home / "b.key"), lambda: "known")
        signer.make()
        publish(Own(str(self.home), "dpsa", "clinic-b"), document, signer, datetime.now(UTC), 90)
        shutil.copytree(folder, self.home / ".exchange" / "clinic-b", dirs_exist_ok=True)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(vaultfile.VaultFile, "read", lambda _self: {"password": "p" * 32})
    monkeypatch.setenv("HOME", str(tmp_path))
    return Home(tmp_path)


def test_nothing_is_violated_and_nothing_proved_where_nobody_looked(home: Home) -> None:
    assert {row["status"] for row in home.rows().values()} == {"not checked"}


SEEN: dict[str, Any] = {
    "fedlearn_audited": {"identity": {"machine-ids": ["m1"], "addresses": []}, "searched": 5},
    "fedlearn_clock": {"skew_ms": 3},
    "fedlearn_checks": [{"name": "x", "passed": True, "detail": ""}],
}
OF_HOSTS_ALONE = ("secrets on hosts", "clocks", "software", "configuration", "inner paths", "logs")
HELPER = Side("dpsa", "clinic-b", "d" * 64, datetime(2026, 11, 28, tzinfo=UTC), {})


@pytest.mark.parametrize(
    ("hosts", "unseen"),
    [
        ({"a1": SEEN, "a2": {}}, ["a2"]),
        ({"a1": {}, "a2": {"fedlearn_audited": {"unreachable": True}}}, ["a1", "a2"]),
        ({}, []),
    ],
    ids=["one is down", "all are down", "there is none"],
)
def test_of_hosts_that_nobody_looked_at_nothing_is_proved(
    home: Home, hosts: dict[str, dict[str, Any]], unseen: list[str]
) -> None:
    side = home.side(hosts, {"clinic-b": HELPER})
    assert side.unseen == tuple(unseen)
    assert {side.rows[name].status for name in OF_HOSTS_ALONE} == {"not checked"}
    for name in OF_HOSTS_ALONE:
        assert (", ".join(unseen) or "this run has no host") in str(side.rows[name].evidence), name
    joined = join(side, {"clinic-b": dataclasses.replace(HELPER, identity={kind: {} for kind in DIFFER})})
    assert {joined[name].status for name in OF_HOSTS} == {"not checked"}


def test_a_clock_that_was_read_and_is_wrong_violates_whatever_wasn_t_read(home: Home) -> None:
    wrong = home.side({"a1": {}, "a2": {**SEEN, "fedlearn_clock": {"skew_ms": 99000}}}).rows["clocks"]
    assert wrong == Row("violated", ("a2: 99000 ms from the control node's",))
    unread = home.side({"a1": {}, "a2": SEEN, "a3": {}}).rows["clocks"]
    assert unread == Row("not checked", ("nobody read the clock of a1, a3",))


def test_a_host_without_an_address_that_could_be_tried_isn_t_closed(home: Home) -> None:
    evidence = home.side({"a1": SEEN}).rows["inner paths"]
    assert evidence == Row("not checked", ("a1 has no address that could be tried",))


def test_addresses_beyond_those_that_are_tried_are_told(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "scan", lambda *_given: ([22], []))
    monkeypatch.setattr(Audit, "_endpoints", lambda *_given: ([22], []))
    many = {"identity": {"addresses": [f"10.0.0.{number}" for number in range(20)]}}
    evidence = home.side({"a1": {"fedlearn_audited": many}}).rows["inner paths"]
    assert evidence == Row("not checked", ("a1: of 20 addresses only 16 were tried",))


def test_secrets_of_a_partner_s_hosts_that_it_didn_t_look_at_aren_t_sought(home: Home) -> None:
    side = home.side({"a1": SEEN}, {"clinic-b": dataclasses.replace(HELPER, unseen=("b2",))})
    for name in SOUGHT:
        assert side.rows[name].status == "not checked", name
        assert "nobody looked at b2 of clinic-b" in str(side.rows[name].evidence), name


def test_one_party_for_both_sides(home: Home) -> None:
    shutil.copy(CHECKOUT / "inventories" / "dpsa-local" / "federation.yml", home.home / "local.yml")
    rows = home.rows("local.yml")
    assert rows["parties"] == {"status": "violated", "evidence": ["stack survey: leader and helper are both of lab"]}
    assert rows["reach"]["status"] == "violated"


def test_a_host_is_asked_for_the_programs_that_run_there(home: Home) -> None:
    archives = {}
    for name in ("janus", "manager"):
        archives[name] = str(home.home / f"{name}.tar")
        program = home.home / name
        program.write_text(name)
        with tarfile.open(archives[name], "w") as tar:
            tar.add(program, f"{name}-1/bin/{name}")
    instances: dict[str, dict[str, Any]] = {
        "a1": {
            "janus_instances": [{"programs": {"archive": archives["janus"]}}] * 2,
            "dpsa_manager_instances": [{"programs": {"archive": archives["manager"]}}],
        },
        "a2": {"janus_instances": [{"programs": {"archive": archives["janus"]}}, {"name": "one", "state": "absent"}]},
        "c1": {},
    }
    asked = home.audit("federation.yml", {"federation_hosts": list(instances)}, instances).prepare()["software"]
    sums = {name: {f"bin/{name}": digest(name.encode())} for name in archives}
    assert asked == {
        "a1": {"janus": sums["janus"], "dpsa-manager": sums["manager"]},
        "a2": {"janus": sums["janus"]},
        "c1": {},
    }


def test_a_run_with_hosts_of_both(home: Home) -> None:
    rows = home.rows(groups={"federation_hosts": [], "party_clinic_a": ["a1"], "party_clinic_b": ["b1"]})
    evidence = ["hosts of the group party_clinic_b are in the inventory of this run"]
    assert rows["reach"] == {"status": "violated", "evidence": evidence}
    assert home.rows(groups={"party_clinic_a": ["a1"], "party_clinic_b": []})["reach"]["status"] == "not checked"


def test_another_document_on_the_other_side(home: Home) -> None:
    home.came(digest(home.document.read_bytes()))
    assert home.rows()["document"]["status"] == "not checked"
    home.came("e" * 64)
    rows = home.rows()
    assert rows["document"] == {"status": "violated", "evidence": [f"clinic-b accepted another document: {'e' * 64}"]}


def test_a_document_that_nobody_accepted_here(home: Home) -> None:
    home.document.write_text(home.document.read_text() + "\n")
    assert "this document was not accepted here" in home.rows()["document"]["evidence"]


def test_what_is_published_names_no_secret(home: Home) -> None:
    home.rows()
    text = (home.home / "public" / "clinic-a" / "audit.json").read_text()
    assert "p" * 32 not in text
    assert "the secret password" in text
    assert json.loads(text)["party"] == "clinic-a"
