# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All that the control node lacks is found in one look, each thing once, and the look changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import AuthorityDescription
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.signing import AuthorityError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.sources import problems

PASSPHRASE = "p" * 64


class Vault:
    """What parties have; remembers what it was asked for."""

    def __init__(self, **parties: list[str]) -> None:
        self.parties = parties
        self.asked: list[tuple[str, list[str]]] = []

    def __call__(self, party: str, names: list[str]) -> None:
        self.asked.append((party, names))
        missing = [name for name in names if name not in self.parties.get(party, [])]
        if missing:
            raise AuthorityError(f"{party} has no {' and no '.join(missing)}")


def authority(
    state: Path, name: str, party: str = "lab", mode: str = "ownca", passphrase: str = PASSPHRASE
) -> Authority:
    return Authority(AuthorityDescription(name, party, mode, f"demo {name} CA"), str(state), lambda: passphrase)


def test_nothing_is_lacking_before_the_first_run_but_secrets(tmp_path: Path) -> None:
    vault = Vault(lab=["ca_lab", "ca_store", "token"])
    own = [authority(tmp_path, "lab"), authority(tmp_path, "store")]
    assert problems(own, {"lab": ["token"]}, vault) == []
    assert vault.asked == [("lab", ["token", "ca_lab", "ca_store"])]
    assert list(tmp_path.iterdir()) == []


def test_everything_is_told_at_once(tmp_path: Path) -> None:
    authority(tmp_path, "lost").make()
    (tmp_path / ".ca/lab/lost.key").unlink()
    authority(tmp_path, "closed").make()
    looked_at = [
        authority(tmp_path, "lost"),
        authority(tmp_path, "closed", passphrase="q" * 64),
        authority(tmp_path, "partner", "partner", "external"),
        authority(tmp_path, "clinic", "clinic"),
    ]
    found = problems(looked_at, {"clinic": ["token"]}, Vault(lab=["ca_closed"]))
    assert [
        line.partition(": ")[2].replace(f"{tmp_path}/", "")[:40] for line in found if line.startswith("authority")
    ] == [
        "public/lab/lost.pem is there, but its ke",
        "public/partner/partner.pem is missing: a",
        "the secret ca_closed doesn't open .ca/la",
    ]
    assert [line for line in found if not line.startswith("authority")] == ["clinic has no token and no ca_clinic"]


@pytest.mark.parametrize("secrets", [{}, {"lab": []}])
def test_of_a_ca_that_was_made_elsewhere_no_secret_is_asked_for(tmp_path: Path, secrets: dict[str, list[str]]) -> None:
    """A new one would open nothing: what is to be brought is told instead."""
    authority(tmp_path, "lab").make()
    (tmp_path / ".ca/lab/lab.key").unlink()
    vault = Vault()
    assert len(problems([authority(tmp_path, "lab")], secrets, vault)) == 1
    assert vault.asked == []
