# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""objects.yml beside the roles of infra.aap_configuration that take it: its variables, their keys, and the keys' types.

The collection is looked for in FEDLEARN_AAP_CONFIGURATION_DIR, a checkout of it or an installed one.
"""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fedlearn.infra.plugins.plugin_utils._awx import forms
from ansible_collections.fedlearn.infra.plugins.plugin_utils._awx.objects import Settings, Side, objects
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading
from tests.unit.conftest import CHECKOUT

THERE = os.environ.get("FEDLEARN_AAP_CONFIGURATION_DIR", "")
pytestmark = pytest.mark.skipif(
    not THERE, reason="infra.aap_configuration isn't here: FEDLEARN_AAP_CONFIGURATION_DIR names its folder"
)
DOCUMENTS = ["demo/federation.yml", "neursafe/federation.yml", "dpsa-leader/federation.yml"]
STATES = ["/var/lib/state", "git@git.example:{federation}-{party}.git"]
SAID_OTHERWISE = {"notification_configuration": "dict", "notification_templates_error": "list"}
"""Where specs say `str`, and the defaults of the same role's tasks are {} and []."""
TYPES = {"bool": bool, "dict": dict, "int": int, "list": list, "str": str}


class _Loader(yaml.SafeLoader):
    """Reads what Ansible is told to leave alone."""


_Loader.add_constructor("!unsafe", lambda loader, node: node.value)


class Role:
    """What a role does with the list that it loops over."""

    def __init__(self, folder: Path) -> None:
        self.tasks = (folder / "tasks" / "main.yml").read_text()
        self.specs = (folder / "meta" / "argument_specs.yml").read_text()

    def loops_over(self, variable: str) -> bool:
        return re.search(rf"^ *loop: .*\b{variable}\b", self.tasks, re.MULTILINE) is not None

    def reads(self) -> set[str]:
        """The keys of an item that its tasks read."""
        names = re.findall(r"^ *loop_var: \"?(\w+)", self.tasks, re.MULTILINE)
        return {key for name in names for key in re.findall(rf"\b{name}\.(\w+)", self.tasks)}

    def types(self) -> dict[str, str]:
        """Of keys the types that its argument specs say; these stand there as comments."""
        lines = re.findall(r"^        # ?(.*)$", self.specs, re.MULTILINE)
        told = yaml.safe_load("\n".join(lines)) or {}
        return {name: each["type"] for name, each in told.get("options", {}).items() if "type" in (each or {})}


def roles() -> dict[str, Role]:
    found = sorted(Path(THERE, "roles").glob("*/meta/argument_specs.yml"))
    return {path.parts[-3]: Role(path.parents[1]) for path in found if (path.parents[1] / "tasks/main.yml").exists()}


@cache
def held() -> dict[str, list[dict[str, Any]]]:
    """The lists of objects.yml, of several documents and with all that can be asked for."""
    found: dict[str, list[dict[str, Any]]] = {}
    for document in DOCUMENTS:
        federation = loading.load(str(CHECKOUT / "inventories" / document))
        party = federation.viewpoint or next(name for name, each in federation.parties.items() if not each.external)
        for state in STATES:
            more = {"branch": "main", "webhook": "https://hooks.example/x", "ca_passphrase": True}
            settings = Settings("git@git.example:a.git", "registry.example/a:1", state, "awx", "0.1.0", **more)  # type: ignore[arg-type]
            made = forms.configuration(objects([Side(party, federation, "federation.yml")], settings))
            for name, items in yaml.load(made, _Loader).items():
                found.setdefault(name, []).extend(items)
    return found


@pytest.mark.parametrize("variable", forms.VARIABLES.values())
def test_a_list_is_one_that_a_role_takes(variable: str) -> None:
    takes = [name for name, role in roles().items() if role.loops_over(variable)]
    assert takes
    items = held()[variable]
    assert items
    read = set.union(*(roles()[name].reads() for name in takes))
    assert {key for item in items for key in item} - read == set()


@pytest.mark.parametrize("variable", forms.VARIABLES.values())
def test_what_is_said_by_a_key_is_of_the_type_that_it_takes(variable: str) -> None:
    takes = [role for role in roles().values() if role.loops_over(variable)]
    known = {key: kind for role in takes for key, kind in role.types().items()} | SAID_OTHERWISE
    compared = [(key, value) for item in held()[variable] for key, value in item.items() if known.get(key) in TYPES]
    assert compared
    assert [(key, value) for key, value in compared if not isinstance(value, TYPES[known[key]])] == []
