# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Jobs in the image as AWX runs them: by ansible-runner, in folders laid out so, each in a container of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jinja2
import yaml

from tests.unit.conftest import BIN, CHECKOUT

IMAGE = os.environ["FEDLEARN_EXECUTION_ENVIRONMENT"]
"""Its name: tests/tools/execution_environment.sh makes it."""

VAULT, PASSPHRASE = "canary-of-the-vault", "canary-of-the-CAs"
STATE = "/var/lib/fedlearn-state"
USER = 1000
ALONE = ("--network", "none")
IMPORTS = """
import importlib, sys
from pathlib import Path
from ansible.plugins.loader import init_plugin_loader
init_plugin_loader()
import ansible_collections.fedlearn.infra as collection
(folder,) = collection.__path__
count = 0
for path in sorted(Path(folder, "plugins").rglob("*.py")):
    parts = path.relative_to(folder).with_suffix("").parts
    importlib.import_module(".".join(["ansible_collections.fedlearn.infra", *(p for p in parts if p != "__init__")]))
    count += 1
print(count)
"""
"""Imports every plugin of the collection, and prints how many these are."""


def command(
    *words: str, folders: Mapping[Path, str] | None = None, options: Sequence[str] = ALONE, **variables: str
) -> list[str]:
    """What runs something in a fresh container, as nobody in particular; by default it reaches nobody."""
    mounts = [word for place, target in (folders or {}).items() for word in ("--volume", f"{place}:{target}")]
    given = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
    return ["docker", "run", "--rm", *options, "--user", str(USER), *mounts, *given, IMAGE, *words]


def inside(*words: str, **how: Any) -> subprocess.CompletedProcess[str]:
    """The same, to its end."""
    return subprocess.run(command(*words, **how), capture_output=True, text=True, check=False, timeout=900)


def generate(folder: Path, state: str = STATE, document: str = "federation.yml") -> None:
    """Lay into a project what AWX is to hold for its document."""
    words = {
        "awx_url": "https://git.example/a.git",
        "awx_image": IMAGE,
        "awx_state": state,
        "awx_ca_passphrase": "true",
    }
    given = [word for name, value in words.items() for word in ("-e", f"{name}={value}")]
    environment = {**os.environ, "ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg"), "ANSIBLE_HOME": str(folder / "home")}
    playbook = [str(BIN / "ansible-playbook"), "-i", document, "fedlearn.infra.awx", *given]
    subprocess.run(playbook, cwd=folder, env=environment, check=True, capture_output=True)
    shutil.rmtree(folder / "home", ignore_errors=True)
    let_in(folder)


def let_in(folder: Path) -> None:
    """Let the container's user in."""
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER)
        path.chmod(0o700 if path.is_dir() else 0o600)


def configuration(project: Path) -> dict[str, Any]:
    """What AWX holds."""
    found: dict[str, Any] = yaml.load((project / "awx" / "objects.yml").read_text(), _Loader)
    return found


class _Loader(yaml.SafeLoader):
    """Reads what Ansible is told to leave alone."""


_Loader.add_constructor("!unsafe", lambda loader, node: node.value)


def sync(project: Path) -> subprocess.CompletedProcess[str]:
    """A sync of the inventory source."""
    (source,) = configuration(project)["controller_inventory_sources"]
    words = ("ansible-inventory", "--list", "--export", "-i", f"/runner/project/{source['source_path']}")
    return inside(*words, folders={project: "/runner/project:ro"}, **source["source_vars"])


def synced(project: Path) -> str:
    """What it keeps."""
    kept = sync(project)
    assert kept.returncode == 0, kept.stderr
    return kept.stdout


def as_awx_writes(templates: Mapping[str, Any], answers: Mapping[str, Any]) -> str:
    """The variables of a job: texts that somebody typed are tagged, so that nothing in them is evaluated."""
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in templates.items()]
    for name, value in answers.items():
        lines.append(f"{json.dumps(name)}: {'!unsafe ' * isinstance(value, str)}{json.dumps(value)}")
    return "\n".join(lines) + "\n"


class Job:
    """A job of a template; what it leaves is in `artifacts`.

    ``state`` is the folder that outlives it, where there is one. ``flags`` are the command line's, of which AWX gives
    limits, the check mode and tags; ``key`` is the Machine credential's; ``values`` are those of credentials of types
    of our own; ``answers`` those of the survey. ``without`` is a type of credential that somebody took from it.
    """

    def __init__(
        self,
        room: Path,
        project: Path,
        hosts: str,
        state: Path | None,
        verb: str,
        *flags: str,
        key: str = "",
        values: Mapping[str, str] | None = None,
        without: str = "",
        **answers: Any,
    ) -> None:
        self.room, self.state, self.project = room, state, project
        self.values = {"passphrase": PASSPHRASE, **(values or {})}
        held = configuration(project)
        (template,) = [each for each in held["controller_templates"] if each["playbook"] == f"awx/{verb}.yml"]
        asked = template.get("survey_spec", {}).get("spec", [])
        # clients of AWX may send a question that nobody answered as an empty text
        unanswered = {each["variable"]: each.get("default", "") for each in asked}
        credentials = {each["name"]: each["credential_type"] for each in held["controller_credentials"]}
        types = [credentials[name] for name in template["credentials"] if credentials[name] != without]
        for folder in ("env", "inventory", "artifacts"):
            (room / folder).mkdir()
        injected = self._inject(held, types)
        (room / "env" / "extravars").write_text(
            as_awx_writes({**template["extra_vars"], **injected}, {**unanswered, **answers})
        )
        if "Vault" in types:
            (room / "env" / "passwords").write_text(json.dumps({r"Vault password:\s*?$": VAULT}))
            flags = ("--ask-vault-pass", *flags)
        if key and "Machine" in types:
            (room / "env" / "ssh_key").write_text(key)
        if flags:
            (room / "env" / "cmdline").write_text(" ".join(flags))
        program = room / "inventory" / "hosts"
        program.write_text(f"#!/usr/bin/env python3\nprint({hosts!r})\n")
        self.playbook = template["playbook"]
        (room / "project").mkdir()
        let_in(room)
        program.chmod(0o700)

    def _inject(self, held: dict[str, Any], types: list[str]) -> dict[str, str]:
        """Files of our own types of credentials, as their injectors say, and the variables that name these."""
        given = {}
        for each in held.get("controller_credential_types", []):
            if each["name"] not in types:
                continue
            filenames = SimpleNamespace()
            for label, template in each["injectors"]["file"].items():
                (self.room / "env" / label).write_text(jinja2.Template(template).render(self.values))
                setattr(filenames, label.partition(".")[2], f"/runner/env/{label}")
            tower = {"tower": SimpleNamespace(filename=filenames)}
            for variable, template in each["injectors"]["extra_vars"].items():
                given[variable] = jinja2.Template(template).render(tower)
        return given

    def command(self, options: Sequence[str] = ALONE, more: Mapping[Path, str] | None = None, **variables: str) -> Any:
        """What runs it."""
        folders = {self.room: "/runner", self.project: "/runner/project:ro", **(more or {})}
        if self.state is not None:
            folders[self.state] = STATE
        words = ("ansible-runner", "run", "/runner", "-p", self.playbook, "--ident", "job")
        return command(*words, folders=folders, options=options, **variables)

    def run(self, **how: Any) -> Job:
        """Run it to its end."""
        self.ended = subprocess.run(self.command(**how), capture_output=True, text=True, check=False, timeout=1200)
        return self

    @property
    def rc(self) -> int:
        return int((self.room / "artifacts" / "job" / "rc").read_text())

    @property
    def went_well(self) -> bool:
        """It came to its end, and that was a good one: of one that was killed nothing says how it ended."""
        return (self.room / "artifacts" / "job" / "rc").exists() and self.rc == 0

    @property
    def stdout(self) -> str:
        return (self.room / "artifacts" / "job" / "stdout").read_text()

    def left(self) -> str:
        """Everything that the job tells: events, output, command."""
        return "".join(path.read_text() for path in (self.room / "artifacts").rglob("*") if path.is_file())

    def events(self) -> list[dict[str, Any]]:
        """What AWX shows of it, in order."""
        folder = self.room / "artifacts" / "job" / "job_events"
        # of a runner that was killed the last one may be there in part
        whole = [path for path in folder.glob("*-*.json") if not path.name.endswith("-partial.json")]
        found = [json.loads(path.read_text()) for path in whole]
        return sorted(found, key=lambda event: int(event["counter"]))
