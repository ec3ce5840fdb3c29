# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate of a host, with the paths of its files."""

from __future__ import annotations

DOCUMENTATION = r"""
name: certificate
short_description: A certificate of a host, with the paths of its files
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Finds a certificate among those of a host (C(pki_certificates)) and adds where its files are.
positional: name
options:
  _input:
    description: The value of C(pki_certificates).
    type: list
    elements: dict
    required: true
  name:
    description: Name of the certificate.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Say which names a certificate has
  ansible.builtin.debug:
    msg: "{{ (pki_certificates | fedlearn.infra.certificate('demo-lenet-proxy')).dns_names }}"

- name: Say where its key is
  ansible.builtin.debug:
    msg: "{{ (pki_certificates | fedlearn.infra.certificate('demo-lenet-proxy')).paths.key }}"
"""

RETURN = r"""
_value:
  description:
    - What the certificate is to say (C(common_name), C(dns_names), C(addresses), C(usages), C(formats), C(trust) and
      others), and C(paths) with C(key), C(certificate), C(chain), C(ca), C(pkcs12) and C(password).
  type: dict
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import certificates
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.arguments import expect_texts


def certificate(value: Iterable[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """The certificate's description and paths."""
    try:
        expect_texts(name=name)
        return certificates.find(value, name)
    except (AttributeError, KeyError, TypeError):
        message = "this is no list like pki_certificates, whose entries have name and federation"
        raise AnsibleFilterError(f"fedlearn.infra.certificate: {message}") from None
    except ValueError as error:
        raise AnsibleFilterError(f"fedlearn.infra.certificate: {error}") from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"certificate": certificate}
