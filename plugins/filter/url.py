# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A URL from its parts."""

from __future__ import annotations

DOCUMENTATION = r"""
name: url
short_description: A URL from its parts
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Puts a URL together. IPv6 addresses get brackets, the scheme's own port is left out, reserved characters are
    encoded.
positional: scheme, port, path
options:
  _input:
    description: The host, a name or an address without brackets.
    type: str
    required: true
  scheme:
    description: What stands before C(://).
    type: str
    default: https
  port:
    description: The port; without one it is the scheme's own.
    type: int
  path:
    description: The path, not encoded.
    type: str
    default: ''
  query:
    description: Names and values of the query, not encoded.
    type: dict
    default: {}
  user:
    description: The user, not encoded.
    type: str
  password:
    description: The password, not encoded. The URL is then a secret too.
    type: str
"""

EXAMPLES = r"""
- name: Say where the interface is
  ansible.builtin.debug:
    msg: "{{ 'fd00::11' | fedlearn.infra.url('https', 8443, '/api/v1', query={'job': 'a b'}) }}"
"""

RETURN = r"""
_value:
  description: C(https://[fd00::11]:8443/api/v1?job=a%20b)
  type: str
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import network
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.arguments import (
    expect,
    expect_texts,
    without_none,
)

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")


def url(
    value: str,
    scheme: str = "https",
    port: int | None = None,
    path: str = "",
    query: Mapping[str, Any] | None = None,
    user: str | None = None,
    password: str | None = None,
) -> str:
    """The URL."""
    try:
        expect_texts(host=value, scheme=scheme, path=path, **without_none(user=user, password=password))
        expect(Mapping, "a dict", query=query or {})
        if not value or not _SCHEME.fullmatch(scheme):
            raise ValueError(f"'{scheme}://{value}' begins no URL: it needs a scheme such as https, and a host")
        pairs = tuple((str(name), str(one)) for name, one in (query or {}).items())
        return str(network.Url(scheme, value, port, path, pairs, user, password))
    except ValueError as error:
        raise AnsibleFilterError(f"fedlearn.infra.url: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"url": url}
