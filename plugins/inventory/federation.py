# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ansible's door to the library: a document or a viewpoint as an inventory source."""

from __future__ import annotations

DOCUMENTATION = r"""
name: federation
short_description: One document that says who takes part in a federation and what runs where
version_added: 0.1.0
author:
  - fedlearn.infra contributors (@fedlearn)
description:
  - Reads a document that names parties, their hosts, and the stacks of federated learning systems that run on them, and
    derives every host's groups and role variables from it. C(docs/federation.md) is its reference.
  - A viewpoint is a second form of source. It names a document and one party of it, and gives that party's hosts only.
  - The document is data. Templates, YAML tags and secrets in clear are mistakes; its strings are never templates.
  - Every mistake is printed as C(file:line:column). A wrong document ends every command with exit code 4.
  - Hosts are in the groups C(federation_hosts), C(party_<name>), C(stack_<name>), C(kind_<name>) and one for each of
    their roles. C(-) and C(.) become C(_). A Kubernetes cluster is a host C(cluster-<name>) with a local connection, in
    C(federation_clusters) and the groups of what runs in it.
notes:
  - Enable it before the plugin P(ansible.builtin.auto#inventory), and let sources that don't parse be failures, as in
    the C(ansible.cfg) that C(fedlearn.infra.init) writes.
  - What is set on hosts is stronger than group_vars. To change one component use its C(settings) in the document, or
    host_vars. C(ansible_python_interpreter) and C(ansible_pipelining) are set on C(federation_hosts).
  - The C(vars) of a host in the document take C(ansible_user) and C(ansible_port) only.
options:
  plugin:
    description: Says that the file is for this plugin.
    type: str
    required: true
    choices: [fedlearn.infra.federation]
  version:
    description: The version of the document's form, in a document.
    type: int
    choices: [1]
  federation:
    description: The federation's name, in a document. It becomes part of unit and path names.
    type: str
  parties:
    description: Who takes part, with hosts, in a document.
    type: dict
  clusters:
    description: Kubernetes clusters of the parties, in a document.
    type: dict
  stacks:
    description: The systems that run, in a document.
    type: dict
  document:
    description: The document a viewpoint looks at, from the viewpoint's directory.
    type: str
  party:
    description: The party whose hosts a viewpoint gives. Without it all hosts are given.
    type: str
  overlay:
    description:
      - A file beside the viewpoint that is merged over the document.
      - Mappings are merged key by key, lists are replaced, null deletes.
    type: str
  state_directory:
    description:
      - Where playbooks keep what they write on the control node, the CAs, C(.secrets/) and C(public/).
      - Never read from the document. By default it is the directory of the file given with C(-i).
      - The extra variable C(fedlearn_state) is stronger.
    type: path
    env:
      - name: FEDLEARN_STATE_DIRECTORY
    ini:
      - section: fedlearn
        key: state_directory
  state_repository:
    description:
      - The URL of a git repository to keep that in, in place of O(state_directory), by ssh or C(file://).
      - Reading a document fetches nothing; M(fedlearn.infra.state) does, which playbooks call first.
    type: str
    env:
      - name: FEDLEARN_STATE_REPOSITORY
    ini:
      - section: fedlearn
        key: state_repository
"""

EXAMPLES = r"""
# federation.yml, a document: one party with three hosts, and MindSpore Federated on them
plugin: fedlearn.infra.federation
version: 1
federation: demo
parties:
  lab:
    hosts:
      ms1: 10.20.0.11
      ms2: {address: 10.20.0.12, vars: {ansible_user: ops}}
      "w[01:40].lab.example": {first_address: 10.20.1.1}
stacks:
  lenet:
    kind: mindspore
    redis: {host: ms1}
    scheduler: {host: ms1}
    servers: {hosts: [ms2]}
    workers: {hosts: ["w*.lab.example"]}

---
# clinic-a.yml, a viewpoint: only the hosts of clinic-a
plugin: fedlearn.infra.federation
document: ../federation.yml
party: clinic-a
overlay: files/production.yml
"""

import difflib
import pathlib
import re
import traceback
from typing import Any

from ansible.plugins.inventory import BaseInventoryPlugin
from ansible.utils.display import Display
from ansible.utils.vars import load_extra_vars

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.loading import WrongDocumentError, load
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.variables import Inventory
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.variables import inventory as inventory_of

WRONG_DOCUMENT = 4
"""Exit code: core would turn an exception into a warning and go on with no hosts."""

_TOP = 1_048_576
_NAMES = ("federation.yml", "federation.yaml")
_PLUGIN = re.compile(
    r"""(?P<indent>\s*+)(?:\{\s*+)?["']?plugin["']?\s*+:\s*+["']?(?P<plugin>[^\s"',}#]{1,100})""", re.I
)
_DOCUMENT_KEYS = {"federation", "parties", "stacks"}
_NEAR = 0.8
"""How like our name another is that is taken for a misspelt one (1: equal)."""

display = Display()


class InventoryModule(BaseInventoryPlugin):
    """The plugin."""

    NAME = "fedlearn.infra.federation"

    def verify_file(self, path: str) -> bool:
        """Whether the file is called as documents are, says at its top level that it is for this plugin, or has what
        only documents have.

        Also one that isn't there, or says it in a wrong way: whatever core made of it would be no federation.
        """
        if pathlib.PurePath(path).name in _NAMES:
            return not pathlib.Path(path).is_dir()
        return bool(super().verify_file(path)) and _is_ours(path)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        """Fill the inventory, or end the command."""
        super().parse(inventory, loader, path, cache)
        try:
            self.set_options(direct={"plugin": self.NAME})
            federation = load(path, state=self._state(loader))
            for line in federation.warnings:
                display.warning(line)
            _fill(inventory, inventory_of(federation, path))
        except WrongDocumentError as error:
            _end([str(mistake) for mistake in error.mistakes])
        except Exception as error:
            display.vvv(traceback.format_exc())
            _end([f"{path}: this is a mistake in fedlearn.infra, not in the document: {error!r} (-vvv shows where)"])

    def _state(self, loader: Any) -> str | None:
        """Where what is kept is said to lie; what plays are told with -e, paths derived here have to follow."""
        said = load_extra_vars(loader).get("fedlearn_state")
        if isinstance(said, str) and said and "{{" not in said:
            return str(said)
        directory, repository = self.get_option("state_directory"), self.get_option("state_repository")
        if directory and repository:
            _end([f"what is kept lies in one place: state_directory ({directory}) or state_repository ({repository})"])
        return repository or directory


def _is_ours(path: str) -> bool:
    try:
        # what is no UTF-8 further down is the library's to tell
        with pathlib.Path(path).open(encoding="utf-8-sig", errors="replace") as stream:
            lines = stream.read(_TOP).splitlines()
    except OSError:
        return False
    content = (line for line in lines if line.strip() and not line.lstrip().startswith(("#", "---", "%")))
    if {line.partition(":")[0].rstrip() for line in lines} >= _DOCUMENT_KEYS:
        return True
    flow = next(content, "").lstrip().startswith("{")
    found = (_PLUGIN.match(line) for line in lines)
    return any(match is not None and (flow or not match["indent"]) and _is_our_name(match["plugin"]) for match in found)


def _is_our_name(name: str) -> bool:
    """Whether this is our name, or one that was meant to be."""
    return bool(difflib.get_close_matches(name.lower(), [InventoryModule.NAME], cutoff=_NEAR))


def _end(lines: list[str]) -> None:
    """Say what is wrong and end the command."""
    for line in lines:
        display.error(line, wrap_text=False)
    raise SystemExit(WRONG_DOCUMENT)


def _fill(inventory: Any, derived: Inventory) -> None:
    """Hand over hosts, groups and variables.

    Variables are put into the objects themselves: ``set_variable`` copies what thousands of hosts share, and marks
    strings. Unmarked strings are what is wanted, they are never templates.
    """
    for name in derived.hosts:
        inventory.add_host(name)
    for name, group in derived.groups.items():
        inventory.add_group(name)
        inventory.groups[name].vars.update(group.variables)
        for host in group.hosts:
            inventory.add_child(name, host)
    for name, variables in derived.hosts.items():
        inventory.hosts[name].vars.update(variables)
