# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Chooses among the instances that the inventory plugin gave a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: instances
short_description: Role variables of a host, narrowed to a stack, a source or a state
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Returns one dictionary from the names of a host's role variables (C(fedlearn_variables)) to their lists of
    instances.
  - Playbooks hand it to M(ansible.builtin.set_fact), so that the roles see only what C(-e stack=), a verify round or a
    removal is about. It reads variables only and touches no host.
options:
  stack:
    description:
      - Only instances of this stack; empty means all. What is no stack's is there as well, unless O(state) is given.
    type: str
    default: ''
  source:
    description:
      - V(deployed) are the instances the document asks for, V(verify) the transient ones of the verify round.
    type: str
    choices: [deployed, verify]
    default: deployed
  state:
    description: Give every instance this state; empty leaves each its own.
    type: str
    choices: ['', present, absent]
    default: ''
  without:
    description:
      - Names of CAs that aren't there yet. Certificates that trust one of them, and instances that read these, are left
        out; C(pki_authorities) is without the CAs, and C(fedlearn_set_aside) has the names of what was left out.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: See only what belongs to one stack
  ansible.builtin.set_fact: "{{ lookup('fedlearn.infra.instances', stack='lenet') }}"
"""

RETURN = r"""
_raw:
  description: A single dictionary, role variable to list of instances.
  type: list
  elements: dict
"""

import secrets
from collections.abc import Collection, Mapping
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase


def choose(given: Mapping[str, list[Mapping[str, Any]]], stack: str, state: str) -> dict[str, list[dict[str, Any]]]:
    """Of each variable's instances those of ``stack`` (all when empty), in ``state`` (their own when empty).

    What is no stack's but its host's is there with each of them, and goes with none.
    """
    change = {"state": state} if state else {}
    chosen = {stack} if state else {stack, None}
    return {
        name: [{**instance, **change} for instance in instances if not stack or instance.get("stack") in chosen]
        for name, instances in given.items()
    }


def new_round(given: Mapping[str, list[Mapping[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    """The instances under a ``round`` of their own, lest results of a round that was cut off count as this one's."""
    identity = secrets.token_hex(8)
    return {name: [{**instance, "round": identity} for instance in instances] for name, instances in given.items()}


def set_aside(given: Mapping[str, list[Mapping[str, Any]]], missing: Collection[str]) -> dict[str, list[Any]]:
    """What is left when everything goes that reads a certificate's files which need one of the missing CAs."""
    waiting = [each for each in given.get("pki_certificates", ()) if _names(each) & set(missing)]
    folders = tuple(f"/etc/fedlearn/{each['federation']}/pki/{each['name']}/" for each in waiting)
    left: dict[str, list[Any]] = {}
    aside: dict[str, None] = {}
    for variable, instances in given.items():
        gone = [each for each in instances if each in waiting or (folders and _reads(each, folders))]
        left[variable] = [each for each in instances if each not in gone]
        aside.update(dict.fromkeys(each["name"] for each in gone))
    return {**left, "fedlearn_set_aside": list(aside)}


def _names(certificate: Mapping[str, Any]) -> set[str]:
    """The CAs that a certificate which is to be there needs."""
    if certificate.get("state", "present") == "absent":
        return set()
    return {*certificate.get("trust", ()), certificate.get("authority", "")}


def _reads(value: Any, folders: tuple[str, ...]) -> bool:
    """Whether something in a value is a path below one of the folders."""
    if isinstance(value, Mapping):
        return any(_reads(each, folders) for each in value.values())
    if isinstance(value, (list, tuple)):
        return any(_reads(each, folders) for each in value)
    return isinstance(value, str) and value.startswith(folders)


class LookupModule(LookupBase):
    """Ansible's door to :func:`choose`."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """The narrowed role variables of the current host.

        Raises AnsibleLookupError when the host comes from no federation document.
        """
        self.set_options(var_options=variables, direct=kwargs)
        variables = variables or {}
        if "fedlearn_variables" not in variables:
            raise AnsibleLookupError(
                "fedlearn_variables is not set: this host comes from no federation document; "
                "run the playbook with -i and a document read by fedlearn.infra.federation"
            )
        names = self._templar.template(variables["fedlearn_variables"])
        given = (
            self._verify(variables, names)
            if self.get_option("source") == "verify"
            else self._deployed(variables, names)
        )
        missing = self.get_option("without")
        if missing:
            authorities = self._templar.template(variables.get("pki_authorities", []))
            here = [each for each in authorities if each["name"] not in missing]
            given = {**set_aside(given, missing), "pki_authorities": here}
        return [choose(given, self.get_option("stack"), self.get_option("state"))] if not missing else [given]

    def _deployed(self, variables: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
        return {name: self._templar.template(variables[name]) for name in names}

    def _verify(self, variables: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
        """All variables, so that a role without a part in the round sees none of its deployed instances."""
        rounds = self._templar.template(variables.get("fedlearn_verify", {}))
        given: dict[str, Any] = {name: [] for name in names}
        for each in rounds.values():
            for name, instances in each["variables"].items():
                given[name] = given.get(name, []) + instances
        return new_round(given)
