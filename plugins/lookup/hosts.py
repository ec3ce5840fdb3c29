# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts a play of ours is about."""

from __future__ import annotations

DOCUMENTATION = r"""
name: hosts
short_description: The hosts a play is about
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Returns what a play's C(hosts) takes, those of the federation or of one of its stages. Where C(-e stack=) was given,
    only that stack's hosts; where C(-e fedlearn_render=) was, only what stands for clusters, since nothing is deployed
    then. It reads variables only and touches no host.
options:
  stage:
    description: Only hosts that have a role of this stage; empty means all.
    type: str
    default: ''
  clusters:
    description: Without a stage, also the hosts that stand for clusters, which are no machines.
    type: bool
    default: false
  round:
    description: Only hosts to which the verify round brings a role of this stage.
    type: bool
    default: false
  where:
    description: Only hosts that have a variable of this name, and not an empty one.
    type: str
    default: ''
  left:
    description: Only hosts on which a role of the stage left something for later in this run, restarts (V(deferred)) or
      lines in its files (V(kept)).
    type: str
    choices: [deferred, kept]
"""

EXAMPLES = r"""
- name: Restart, one host after the other, what put it off
  hosts: "{{ lookup('fedlearn.infra.hosts', stage='service', left='deferred') }}"
  serial: 1
"""

RETURN = r"""
_raw:
  description: A pattern, or a list of names of hosts.
  type: list
  elements: raw
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    """Ansible's door to groups that the inventory plugin made."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """One pattern, or one list of hosts."""
        self.set_options(var_options=variables, direct=kwargs)
        given = variables or {}
        stage, stack = self.get_option("stage"), given.get("stack")
        everybody = "federation_hosts:federation_clusters" if self.get_option("clusters") else "federation_hosts"
        renders = bool(self._templar.template(given.get("fedlearn_render")))
        if renders and not stage and not self.get_option("clusters"):
            return [[]]
        groups = [f"{'round' if self.get_option('round') else 'stage'}_{stage}" if stage else everybody]
        if stack:
            groups.append("stack_" + str(self._templar.template(stack)).replace("-", "_"))
        if renders:
            groups.append("federation_clusters")
        where, left = self.get_option("where"), self.get_option("left")
        if not where and not left:
            return [":&".join(groups)]
        known = given.get("hostvars", {})  # of --list-hosts nobody's
        found = sorted(host for host in self._members(groups, given["groups"]) if host in known)
        if where:
            return [[host for host in found if known[host].get(where)]]
        return [[host for host in found if self._left(known[host], stage, left)]]

    @staticmethod
    def _members(groups: list[str], members: Mapping[str, list[str]]) -> set[str]:
        """Hosts that are in each; of one written as ``a:b``, in either."""
        each = ({host for one in group.split(":") for host in members.get(one, [])} for group in groups)
        return set.intersection(*each)

    @staticmethod
    def _left(variables: Mapping[str, Any], stage: str, what: str) -> bool:
        """Whether what a role of the stage registered on a host names instances of which something was left."""
        roles = variables["fedlearn_stages"].get(stage, [])
        return any(variables.get(f"{role}_converged", {}).get(what) for role in roles)
