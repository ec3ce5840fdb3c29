# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with the models that MindSpore's servers are to begin with."""

from __future__ import annotations

DOCUMENTATION = r"""
name: models
short_description: What keeps MindSpore's servers from beginning with their models, one line each
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Reads the files of initial models on the control node, C(.ckpt) and C(.npz). They have to be complete, hold float32
    tensors of finite values and, where C(shapes) stands beside C(source), those that the workers train.
  - A file that isn't there is for M(fedlearn.infra.artifact) to tell.
  - Touches no host, and needs neither MindSpore nor NumPy.
options:
  _terms:
    description: Instances of the role P(fedlearn.infra.mindspore_server#role); those without a file are well.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Refuse models that no server can begin with
  ansible.builtin.assert:
    that: mindspore_server_models == []
    fail_msg: "{{ mindspore_server_models }}"
  vars:
    mindspore_server_models: "{{ query('fedlearn.infra.models', *mindspore_server_instances) }}"
"""

RETURN = r"""
_list:
  description: One line for each file that won't do, with the reason.
  type: list
  elements: str
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils.mindspore_model import mistake


class LookupModule(LookupBase):
    """Ansible's door to :func:`mistake`."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """One line for each model that won't do; several instances mostly share one."""
        self.set_options(var_options=variables, direct=kwargs)
        models = [term.get("initial_model") or {} for term in terms if term.get("state", "present") != "absent"]
        files = {str(model["source"]): model.get("shapes") for model in models if "source" in model}
        paths = {source: self.find_file_in_search_path(variables, "files", source, True) for source in files}
        found = {source: mistake(Path(path), files[source]) for source, path in paths.items() if path}
        return [f"{source}: {told}" for source, told in found.items() if told]
