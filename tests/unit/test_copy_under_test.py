# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is tested is this checkout, not a copy that was once installed somewhere."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


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
    environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")}
    environment |= {"ANSIBLE_HOME": str(tmp_path), "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")}
    command = [str(Path(sys.executable).with_name("ansible-doc")), "--type", type_, "--list_files"]
    listed = subprocess.run(
        [*command, "fedlearn.infra"], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    found = dict(line.split(maxsplit=1) for line in listed.stdout.splitlines())
    folder = {"inventory": "inventory", "module": "modules"}[type_]
    assert Path(found[f"fedlearn.infra.{name}"]).resolve() == CHECKOUT / "plugins" / folder / f"{name}.py"
