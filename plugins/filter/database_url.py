# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The URL of a database."""

from __future__ import annotations

DOCUMENTATION = r"""
name: database_url
short_description: The URL of a database
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Puts the URL of a database together as its clients take it. Reserved characters in user, password and name are
    encoded.
positional: engine, name
options:
  _input:
    description:
      - The host, or a list of hosts. A host that begins with C(/) is the directory of PostgreSQL's socket.
    type: raw
    required: true
  engine:
    description: The kind of database; V(rediss) is Redis with TLS.
    type: str
    choices: [mongodb, postgresql, redis, rediss]
    required: true
  name:
    description: The database on the server.
    type: str
    default: ''
  port:
    description: The port; without one it is the engine's own.
    type: int
  user:
    description: The user, not encoded.
    type: str
  password:
    description: The password, not encoded. The URL is then a secret too.
    type: str
  options:
    description: Names and values of the query, such as C(sslmode).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Put together what goes into a configuration
  ansible.builtin.set_fact:
    janus_url: "{{ 'fd00::5' | fedlearn.infra.database_url('postgresql', 'janus', user='janus', options={'sslmode':
      'verify-full'}) }}"
"""

RETURN = r"""
_value:
  description: C(postgresql://janus@[fd00::5]/janus?sslmode=verify-full)
  type: str
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import network
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.arguments import (
    expect,
    expect_texts,
    without_none,
)


def database_url(
    value: str | Iterable[str],
    engine: str,
    name: str = "",
    port: int | None = None,
    user: str | None = None,
    password: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> str:
    """The URL."""
    try:
        expect((str, Iterable), "a text or a list of texts", host=value)
        hosts = [value] if isinstance(value, str) else list(value)
        expect_texts(**{f"host {place + 1}": host for place, host in enumerate(hosts)})
        expect_texts(engine=engine, name=name, **without_none(user=user, password=password))
        expect(Mapping, "a dict", options=options or {})
        pairs = {str(key): str(one) for key, one in (options or {}).items()}
        return network.database_url(engine, hosts, name, port=port, user=user, password=password, options=pairs)
    except ValueError as error:
        raise AnsibleFilterError(f"fedlearn.infra.database_url: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"database_url": database_url}
