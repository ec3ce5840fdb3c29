# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The folder that machines of others get: what is in it, and what is never touched."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task
from ansible.template import Templar

from ansible_collections.fedlearn.infra.plugins.action.worker_kit import SUMS, ActionModule

NO_CONNECTION = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
KIT = """\
files:
  - {path: README.md, template: README.md.j2}
  - {path: install.sh, template: install.sh.j2, run: true}
  - {path: settings.json, template: README.md.j2, changeable: true}
  - {path: code, source: SOURCE}
"""


@pytest.fixture
def role(tmp_path: Path) -> Path:
    """A role with a kit, and a folder with code."""
    role, code = tmp_path / "role", tmp_path / "code"
    (role / "templates").mkdir(parents=True)
    (role / "templates" / "kit.yml.j2").write_text(KIT.replace("SOURCE", str(code)))
    (role / "templates" / "README.md.j2").write_text("for {{ instance.name }}\n")
    (role / "templates" / "install.sh.j2").write_text("#!/bin/sh\n")
    (code / "package" / "__pycache__").mkdir(parents=True)
    (code / "package" / "__init__.py").write_text("")
    (code / "package" / "__pycache__" / "x.pyc").write_text("")
    return role


def kit(role: Path, directory: Path, *, check: bool = False, name: str = "w {{ 1 + 1 }}") -> dict[str, Any]:
    task = Task.load({"action": "fedlearn.infra.worker_kit", "args": {}})
    task.args = {"directory": str(directory), "kit": "kit.yml.j2", "instance": {"name": name}}
    task.check_mode = check
    task.get_search_path = lambda: [str(role)]  # type: ignore[method-assign]
    loader = DataLoader()
    action = ActionModule(
        task=task,
        connection=NO_CONNECTION,
        play_context=None,
        loader=loader,
        templar=Templar(loader=loader),
        shared_loader_obj=None,
    )
    result: dict[str, Any] = action.run(task_vars={"ansible_search_path": [str(role)]})
    return result


def files(directory: Path) -> dict[str, str]:
    found = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): path.read_text() for path in found}


def test_it_holds_what_is_described_and_its_sums(role: Path, tmp_path: Path) -> None:
    made = kit(role, tmp_path / "kit")
    found = files(tmp_path / "kit")
    assert sorted(found) == made["files"]
    assert made["files"] == ["README.md", SUMS, "code/package/__init__.py", "install.sh", "settings.json"]
    assert found["README.md"] == "for w {{ 1 + 1 }}\n"  # values are data, whatever they look like
    listed = dict(reversed(line.split("  ")) for line in found[SUMS].splitlines())
    proven = {name: text for name, text in found.items() if name not in (SUMS, "settings.json")}
    assert listed == {name: hashlib.sha256(text.encode()).hexdigest() for name, text in proven.items()}
    assert (tmp_path / "kit" / "install.sh").stat().st_mode & 0o777 == 0o755


def test_a_second_one_changes_nothing_and_a_changed_one_only_what_differs(role: Path, tmp_path: Path) -> None:
    assert kit(role, tmp_path / "kit")["changed"] is True
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "kit").rglob("*")}
    assert kit(role, tmp_path / "kit")["changed"] is False
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "kit").rglob("*")} == before
    (tmp_path / "code" / "package" / "__init__.py").rename(tmp_path / "code" / "package" / "other.py")
    changed = kit(role, tmp_path / "kit")
    assert [entry["before_header"] for entry in changed["diff"]] == [
        SUMS,
        "code/package/__init__.py",
        "code/package/other.py",
    ]
    assert "code/package/__init__.py" not in files(tmp_path / "kit")


def test_check_mode_tells_and_writes_nothing(role: Path, tmp_path: Path) -> None:
    assert kit(role, tmp_path / "kit", check=True)["changed"] is True
    assert not (tmp_path / "kit").exists()


def test_a_folder_that_holds_something_else_is_never_touched(role: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    with pytest.raises(AnsibleActionFail, match=r"mine holds something else: name a folder that is empty, or isn't"):
        kit(role, tmp_path / "mine")
    assert files(tmp_path / "mine") == {"thesis.txt": "years"}


def test_a_killed_one_is_known_again(role: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chmod = Path.chmod

    def killed(path: Path, mode: int) -> None:
        chmod(path, mode)
        if path.name == "README.md":
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "chmod", killed)
    with pytest.raises(KeyboardInterrupt):
        kit(role, tmp_path / "kit")
    monkeypatch.undo()
    assert sorted(files(tmp_path / "kit")) == ["README.md", SUMS]
    kit(role, tmp_path / "kit")
    assert len(files(tmp_path / "kit")) == 5


def test_archives_are_unpacked_when_they_are_the_right_ones(role: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "code.tar", "w") as tar:
        tar.add(tmp_path / "code", "code-1.0", filter=lambda one: None if "__pycache__" in one.name else one)
    sum_ = hashlib.sha256((tmp_path / "code.tar").read_bytes()).hexdigest()
    template = role / "templates" / "kit.yml.j2"
    template.write_text(f"files:\n  - {{path: library, archive: {tmp_path}/code.tar, sha256: '{sum_}'}}\n")
    assert kit(role, tmp_path / "kit")["files"] == [SUMS, "library/package/__init__.py"]
    template.write_text(template.read_text().replace(sum_, "0" * 64))
    with pytest.raises(AnsibleActionFail, match=f"has the sha256 {sum_}, not 0000"):
        kit(role, tmp_path / "kit")


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ("files: {}\n", "has a list `files`"),
        ("files:\n  - {path: ../README.md, template: README.md.j2}\n", "a file has a `path` in the kit, and one of"),
        ("files:\n  - {path: a, template: README.md.j2, source: /etc}\n", "and one of archive, source, template"),
        ("files:\n  - {path: a, source: /no/where}\n", "there is no /no/where on the control node"),
        (
            "files:\n  - {path: a, template: README.md.j2}\n  - {path: a, template: README.md.j2}\n",
            "a stands there twice",
        ),
        ("files:\n  - {path: {{ instance.stack }}, template: README.md.j2}\n", "must end in '| to_json'"),
    ],
)
def test_what_is_no_description_is_refused(role: Path, tmp_path: Path, described: str, said: str) -> None:
    (role / "templates" / "kit.yml.j2").write_text(described)
    with pytest.raises(AnsibleActionFail, match=said.replace("|", r"\|")):
        kit(role, tmp_path / "kit")
    assert not (tmp_path / "kit").exists()


def test_a_link_that_leads_out_of_a_folder_is_refused(role: Path, tmp_path: Path) -> None:
    (tmp_path / "code" / "package" / "stolen").symlink_to("/etc/hostname")
    with pytest.raises(AnsibleActionFail, match="is a link that leads out of"):
        kit(role, tmp_path / "kit")
