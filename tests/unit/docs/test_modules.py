# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module says how far it supports check mode and diff mode, and whether a second run changes nothing."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
import yaml

MODULES = sorted((Path(__file__).resolve().parents[3] / "plugins" / "modules").glob("[a-z]*.py"))


def documentation(path: Path) -> dict[str, Any]:
    """A module's DOCUMENTATION, without importing the module."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "DOCUMENTATION":
            found: dict[str, Any] = yaml.safe_load(ast.literal_eval(node.value))
            return found
    raise AssertionError(f"{path.name} has no DOCUMENTATION")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_says_what_it_supports(path: Path) -> None:
    about = documentation(path)
    supported = {name: attribute.get("support") for name, attribute in about["attributes"].items()}
    assert about["extends_documentation_fragment"][0] == "fedlearn.infra.attributes"
    assert supported["check_mode"] == "full"
    assert supported["diff_mode"] in ("full", "none")
    assert supported["idempotent"] == ("none" if path.stem in ("backup", "restore") else "full")
