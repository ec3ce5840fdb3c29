# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scripts of instances, rendered to be tried before there are any on a host."""

from __future__ import annotations

DOCUMENTATION = r"""
name: trials
short_description: The scripts of instances, to be tried before a deploy
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Renders for each instance the script that a deploy would lay on the host, as M(fedlearn.infra.preflight) takes it
    in C(trials). To its template it is C(instance), with the federation it is in.
options:
  _terms:
    description: Instances, as the role has checked them.
    type: list
    elements: dict
    required: true
  template:
    description: The script's template, a file of the role.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Try what mounts would do
  fedlearn.infra.preflight:
    trials: "{{ query('fedlearn.infra.trials', *s3fs_present, template='etc/storage.sh.j2') }}"
"""

RETURN = r"""
_raw:
  description: C(trials) of M(fedlearn.infra.preflight).
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import Any

from ansible.plugins.loader import lookup_loader
from ansible.plugins.lookup import LookupBase


class LookupModule(LookupBase):
    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """A name and a script for each."""
        self.set_options(var_options=variables, direct=kwargs)
        given = variables or {}
        federation = self._templar.template(given.get("fedlearn_federation", "default"))

        def script(instance: Mapping[str, Any]) -> str:
            renders = lookup_loader.get("ansible.builtin.template", loader=self._loader, templar=self._templar)
            whole = {"instance": {"federation": federation, **instance}}
            (text,) = renders.run([self.get_option("template")], given, template_vars=whole)
            return str(text)

        return [{"name": instance["name"], "script": script(instance)} for instance in terms]
