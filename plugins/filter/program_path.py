# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where an instance's launcher finds code."""

from __future__ import annotations

DOCUMENTATION = r"""
name: program_path
short_description: The folders in which a launcher finds what it imports
author: fedlearn.infra contributors (@fedlearn)
version_added: 0.1.0
description:
  - Joins the folders of an instance's artifacts as C(PYTHONPATH) has them; one that it doesn't have is left out.
positional: artifacts, folders
options:
  _input:
    description: The instance's name.
    type: str
    required: true
  artifacts:
    description: What M(fedlearn.infra.artifact) returned as RV(fedlearn.infra.artifact#module:artifacts).
    type: dict
    required: true
  folders:
    description: Artifacts of the instance, V(library) for C(<instance>/library), or folders in one, V(library/src).
    type: list
    elements: str
    required: true
"""

EXAMPLES = r"""
- name: Say where the application is imported from
  ansible.builtin.debug:
    msg: "{{ 'demo-vision-server' | fedlearn.infra.program_path(found.artifacts, ['library/src', 'application']) }}"
"""

RETURN = r"""
_value:
  description: The folders, with C(:) between them.
  type: str
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any


def program_path(instance: str, artifacts: Mapping[str, Mapping[str, Any]], folders: Sequence[str]) -> str:
    """The folders, with ``:`` between them."""
    return ":".join(_found(instance, artifacts, folders))


def _found(instance: str, artifacts: Mapping[str, Mapping[str, Any]], folders: Sequence[str]) -> Iterator[str]:
    for folder in folders:
        artifact, slash, inside = folder.partition("/")
        if f"{instance}/{artifact}" in artifacts:
            yield f"{artifacts[f'{instance}/{artifact}']['path']}{slash}{inside}"


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"program_path": program_path}
