# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is tested is this checkout, not a copy that was once installed somewhere."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.unit.conftest import CHECKOUT, run


@pytest.mark.parametrize(
    "name",
    [
        "inventory.federation",
        "filter.endpoint",
        "lookup.secret",
        "modules.managed_service",
        "module_utils._service.transaction",
        "plugin_utils._federation.loading",
        "plugin_utils._federation.kinds.mindspore",
    ],
)
def test_what_python_imports_is_this_checkout(name: str) -> None:
    module = importlib.import_module(f"ansible_collections.fedlearn.infra.plugins.{name}")
    assert module.__file__ is not None
    place = CHECKOUT / "plugins" / name.replace(".", "/")
    assert Path(module.__file__).resolve() in (place.with_suffix(".py"), place / "__init__.py")


@pytest.mark.slow
@pytest.mark.parametrize(("type_", "name"), [("inventory", "federation"), ("module", "managed_service")])
def test_what_ansible_loads_is_this_checkout(tmp_path: Path, type_: str, name: str) -> None:
    listed = run(tmp_path, "ansible-doc", "--type", type_, "--list_files", "fedlearn.infra")
    assert listed.returncode == 0, listed.stderr
    found = dict(line.split(maxsplit=1) for line in listed.stdout.splitlines())
    folder = {"inventory": "inventory", "module": "modules"}[type_]
    assert Path(found[f"fedlearn.infra.{name}"]).resolve() == CHECKOUT / "plugins" / folder / f"{name}.py"
