# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a job of AWX was given by its credentials."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from ansible import context
from ansible.utils.context_objects import CLIArgs

from ansible_collections.fedlearn.infra.plugins.lookup.missing_credentials import LookupModule

TEMPLATE = {"lab ssh": "Machine", "lab vault": "Vault", "lab CA passphrase": "fedlearn_ca_passphrase_file"}


@pytest.fixture(autouse=True)
def _no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(context, "CLIARGS", CLIArgs({}))


def missing(*vault: str, **variables: Any) -> list[str]:
    loader = SimpleNamespace(_vault=SimpleNamespace(secrets=list(vault)))
    return LookupModule(loader=loader).run([TEMPLATE], variables)


def test_each_that_gave_nothing_is_named() -> None:
    assert missing() == [
        f"the credential '{name}' gave this job nothing: enter its values, and see that the job's template has it"
        for name in TEMPLATE
    ]


def test_what_was_given_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    assert missing("a password", fedlearn_ca_passphrase_file="/runner/env/passphrase") == []
    assert ["lab vault" in each for each in missing(fedlearn_ca_passphrase_file="/runner/env/passphrase")] == [True]


@pytest.mark.parametrize(
    "variables",
    [{"ansible_connection": "local"}, {"ansible_password": "x"}, {"ansible_ssh_private_key_file": "/home/me/key"}],
)
def test_a_host_s_own_way_in_is_as_good(variables: dict[str, str]) -> None:
    assert ["lab ssh" in each for each in missing(**variables)] == [False, False]


def test_a_password_that_was_asked_for_is_as_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context, "CLIARGS", CLIArgs({"ask_pass": True}))
    assert ["lab ssh" in each for each in missing()] == [False, False]
