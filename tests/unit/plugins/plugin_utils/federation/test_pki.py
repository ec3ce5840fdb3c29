# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a party says its certificates come from, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import variables
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import catalogue
from tests.unit.plugins.plugin_utils.federation.conftest import Load, Mistakes

DOCUMENT = """\
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab:
    pki: SAID
    hosts: {h1: 10.20.0.11}
stacks:
  one:
    kind: mindspore
    redis: {host: h1}
    scheduler: {host: h1}
    servers: {host: h1}
    workers: {host: h1}
"""
PROVIDED = (
    "{mode: provided, ca: files/ca.pem, certificate_file: '/etc/ssl/{host}/{name}.pem', key_file: /etc/ssl/lab.key}"
)


def told(load: Load, said: str) -> dict[str, Any]:
    """What the host gets where the party says this."""
    return variables.inventory(load(DOCUMENT.replace("SAID", said))).hosts["h1"]


def test_provided_certificates_are_named_by_their_paths_and_a_store_s_are_our_own(load: Load) -> None:
    host = told(load, PROVIDED)
    found = {each["name"]: each for each in host["pki_certificates"]}
    server, store = found["demo-one-server"], found["demo-one-redis"]
    assert (server["certificate_file"], server["key_file"]) == ("/etc/ssl/h1/demo-one-server.pem", "/etc/ssl/lab.key")
    assert "certificate_file" not in store
    authorities = {each["name"]: each for each in host["pki_authorities"]}
    assert {name: each["mode"] for name, each in authorities.items()} == {"lab": "provided", "lab-one-store": "ownca"}
    assert authorities["lab"]["ca"].endswith("/files/ca.pem")
    assert catalogue.mistakes("pki", host) == []


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("{mode: acme}", "parties.lab.pki.mode: isn't there yet; there are ownca, csr and provided"),
        ("{ca: files/ca.pem}", "parties.lab.pki.ca: is for mode csr and provided, not ownca"),
        ("{mode: csr, key_file: /etc/k/k}", "parties.lab.pki.key_file: is for mode provided, not csr"),
        (
            "{mode: provided}",
            "parties.lab.pki.mode: the key 'certificate_file' is missing: where they lie on the hosts",
        ),
        (
            PROVIDED.replace("{name}", "{address}"),
            "parties.lab.pki.certificate_file: '/etc/ssl/{host}/{address}.pem' is",
        ),
        (PROVIDED.replace("{host}", ".."), "parties.lab.pki.certificate_file: '/etc/ssl/../{name}.pem' is"),
    ],
)
def test_what_does_not_fit_the_mode_is_a_mistake_of_the_document(mistakes: Mistakes, said: str, message: str) -> None:
    assert message in mistakes(DOCUMENT.replace("SAID", said))[0]
