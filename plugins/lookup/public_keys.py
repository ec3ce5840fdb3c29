# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Workers' public keys, in files of the control node."""

from __future__ import annotations

DOCUMENTATION = r"""
name: public_keys
short_description: Workers' public keys in files of the control node
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Reads files of Ed25519 keys in hex, one a line, C(#) before comments, as P(fedlearn.infra.dc_federated_server#role)
    takes them.
  - Fails with all that is wrong, by file and line, and shows no key. A file that is a link is wrong, too.
  - Touches no host.
options:
  _terms:
    description: Files of one worker's key each. One that isn't there is left out, since its worker has no key so far.
    type: list
    elements: str
    required: true
  lists:
    description: Files of any number of keys, which have to be there.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Count the workers that are known
  ansible.builtin.debug:
    msg: "{{ query('fedlearn.infra.public_keys', lists=['public/clinic/vision.keys']) | length }}"
"""

RETURN = r"""
_list:
  description: The keys, in the order of the files.
  type: list
  elements: str
"""

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils.public_keys import read


class LookupModule(LookupBase):
    """Ansible's door to :func:`read`."""

    def run(self, terms: list[Any], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[str]:
        """The keys."""
        self.set_options(var_options=variables, direct=kwargs)

        def found(path: str) -> str:
            beside = None if path.startswith("/") else self.find_file_in_search_path(variables, "files", path, True)
            return str(beside or path)

        keys, wrong = read([found(path) for path in terms], [found(path) for path in self.get_option("lists")])
        if wrong:
            raise AnsibleLookupError("\n".join(wrong))
        return keys
