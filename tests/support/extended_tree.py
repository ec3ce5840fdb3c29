# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A copy of the tree with a system more in it, as somebody would add one."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


def digests(tree: Path) -> dict[str, str]:
    """Every file of a tree by its path."""
    return {
        str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in tree.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@dataclass(frozen=True)
class Run:
    """How a command of the copy ended."""

    code: int
    text: str

    @property
    def changed(self) -> int:
        """How many tasks changed something on the host, of which an extension has one."""
        found = re.findall(r"^(?!localhost )\S+ +: ok=\d+ +changed=(\d+)", self.text, re.MULTILINE)
        assert len(found) == 1, self.text
        return int(found[0])

    @property
    def words(self) -> str:
        """The output with its line breaks folded, so that a message can be looked for."""
        return re.sub(r"\s+", " ", self.text)


class Tree:
    """A copy of the tree with an addition in it, the system of the same name, for the host that ssh_config reaches."""

    def __init__(self, room: Path, addition: Path, ssh_config: Path) -> None:
        self.room, self.name, self.ssh_config = room, addition.name, ssh_config
        copied = [sys.executable, str(CHECKOUT / "tests" / "tools" / "tree.py"), "copy", str(room)]
        self.path = Path(subprocess.run(copied, check=True, capture_output=True, text=True).stdout.strip())
        self.before = digests(self.path)
        shutil.copytree(addition, self.path, dirs_exist_ok=True)
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "KEEP"))
        }
        self.environment |= {
            "ANSIBLE_COLLECTIONS_PATH": str(room),
            "ANSIBLE_CONFIG": str(self.path / "ansible.cfg"),
            "ANSIBLE_HOME": str(room / "home"),
            "ANSIBLE_INJECT_FACT_VARS": "false",
            "NO_COLOR": "1",
            "PYTHONPATH": str(room),
            "MYPYPATH": str(room),
            "PATH": f"{BIN}:{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def run(self, tool: str, *arguments: str) -> Run:
        """A tool of the environment, in the copy."""
        done = subprocess.run(
            [str(BIN / tool), *arguments],
            cwd=self.path,
            env=self.environment,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return Run(done.returncode, done.stdout)

    def playbook(self, name: str, *arguments: str, document: str = "federation.yml") -> Run:
        """A playbook of the collection on the example's host; it must be the copy's."""
        given = {"ansible_ssh_common_args": f"-F {self.ssh_config}", "fedlearn_build": str(self.room / "build")}
        options = ["-v", "-i", f"inventories/{self.name}/{document}", "-e", json.dumps(given)]
        run = self.run("ansible-playbook", *options, f"fedlearn.infra.{name}", *arguments)
        assert f"{CHECKOUT}/p" not in run.text, run.text
        return run

    def report(self, name: str) -> dict[str, Any]:
        """A report of the last run."""
        (path,) = (self.room / "build").glob(f"*/{name}")
        found: dict[str, Any] = json.loads(path.read_text())
        return found
