# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a role of a stack is reached."""

from __future__ import annotations

DOCUMENTATION = r"""
name: endpoint
short_description: Where a role of a stack is reached
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Gives an address with its port, or a URL, from what the inventory says of a stack (C(fedlearn_endpoints)).
  - Fails when the role has several endpoints and O(purpose) and O(host) don't choose one of them.
positional: role, view
options:
  _input:
    description: The stack's entry of C(fedlearn_endpoints).
    type: dict
    required: true
  role:
    description: The role, by its word in the document.
    type: str
    required: true
  view:
    description:
      - V(bind) is what it listens on, V(internal) how other components reach it, V(public) how clients and other
        parties do.
      - In V(public) view a port that its party keeps to itself (health) is no endpoint where others are told of one.
    type: str
    choices: [bind, internal, public]
    default: internal
  purpose:
    description: Which of the role's endpoints, when it has several.
    type: str
  host:
    description: On which host, when the role runs on several.
    type: str
"""

EXAMPLES = r"""
- name: Say where devices connect
  ansible.builtin.debug:
    msg: "{{ fedlearn_endpoints.lenet | fedlearn.infra.endpoint('proxy', 'public') }}"

- name: Say where the server of one host exchanges checkpoints
  ansible.builtin.debug:
    msg: "{{ fedlearn_endpoints.lenet | fedlearn.infra.endpoint('servers', purpose='checkpoints', host='ms2') }}"
"""

RETURN = r"""
_value:
  description: C(10.20.0.11:6666), C([fd00::11]:6666), or a URL.
  type: str
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import network
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.arguments import expect_texts, without_none


def endpoint(
    value: Mapping[str, Sequence[Mapping[str, str]]],
    role: str,
    view: str = "internal",
    purpose: str | None = None,
    host: str | None = None,
) -> str:
    """The role's endpoint in a view."""
    try:
        expect_texts(role=role, view=view, **without_none(purpose=purpose, host=host))
        return network.endpoint_of(value, role, view, purpose=purpose, host=host)
    except (AttributeError, KeyError, TypeError):
        message = "this is no stack's entry of fedlearn_endpoints, such as fedlearn_endpoints.lenet"
        raise AnsibleFilterError(f"fedlearn.infra.endpoint: {message}") from None
    except ValueError as error:
        raise AnsibleFilterError(f"fedlearn.infra.endpoint: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"endpoint": endpoint}
