# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the folder with which machines of others take part; runs once, on the control node, and touches no host."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible.template import trust_as_template

from ansible_collections.fedlearn.infra.plugins.module_utils._artifact import builders
from ansible_collections.fedlearn.infra.plugins.module_utils._artifact.store import ArtifactError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._service import description
from ansible_collections.fedlearn.infra.plugins.plugin_utils.folders import LeadsOutError, files_of

SUMS = "SHA256SUMS"
"""The list of a kit's files: who gets the folder can prove it by it, and we know it again."""

PLAIN, RUN = 0o644, 0o755
ORIGINS = {"template", "source", "archive"}


class KitError(ValueError):
    """Why there is no kit; the message says what to do about it."""


Files = dict[str, tuple[bytes, int]]


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.worker_kit)."""

    BYPASS_HOST_LOOP = True
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Render the role's description of a kit, and bring the folder in line with it."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "directory": {"type": "path", "required": True},
                "kit": {"type": "str", "required": True},
                "instance": {"type": "dict", "required": True},
            }
        )
        directory = Path(arguments["directory"]).resolve()
        try:
            files = self._files(arguments["kit"], {**(task_vars or {}), "instance": arguments["instance"]})
            former = found(directory)
            if not self._task.check_mode:
                write(directory, files, former)
        except (KitError, LeadsOutError, ArtifactError, description.DescriptionError, OSError) as error:
            raise AnsibleActionFail(str(error)) from None
        result.update(
            changed=files != former, directory=str(directory), files=sorted(files), diff=differences(files, former)
        )
        return result

    def _files(self, kit: str, variables: dict[str, Any]) -> Files:
        """The kit's files: what its description lists, and their sums."""
        source = self._text_of(kit)
        description.check_interpolations(source, kit)
        files: Files = {}
        changeable: set[str] = set()
        for entry in listed(description.load(self._rendered(kit, source, variables), kit), kit):
            if "template" in entry:
                text = self._rendered(entry["template"], self._text_of(entry["template"]), variables)
                files[entry["path"]] = (text.encode(), RUN if entry.get("run") else PLAIN)
                changeable |= {entry["path"]} if entry.get("changeable") else set()
            elif "source" in entry:
                files |= below(entry["path"], self._found(entry["source"]))
            else:
                files |= self._unpacked(entry)
        proven = {path: file for path, file in files.items() if path not in changeable}
        return {**files, SUMS: (sums(proven), PLAIN)}

    def _unpacked(self, entry: Mapping[str, str]) -> Files:
        """The files of an archive, as a host gets them of the module artifact."""
        name, path = entry["archive"], entry["path"]
        with tempfile.TemporaryDirectory() as room:
            file, folder = Path(room, "archive"), Path(room, "files")
            folder.mkdir()
            if "://" in name:
                builders.download(name, str(file), entry["sha256"])
            else:
                file = self._found(name)
                builders.check_sum(str(file), entry["sha256"], name)
            builders.build_archive(str(file), str(folder), name)
            return below(path, folder)

    def _found(self, name: str) -> Path:
        try:
            return Path(self._find_needle("files", name))
        except AnsibleError:
            raise KitError(f"there is no {name} on the control node") from None

    def _text_of(self, template: str) -> str:
        text: str = self._loader.get_text_file_contents(self._find_needle("templates", template))
        return text

    def _rendered(self, name: str, text: str, variables: dict[str, Any]) -> str:
        """Only the template's text is trusted: variables' strings stay data."""
        search = [str(folder) for folder in variables.get("ansible_search_path", [])]
        folders = [*(str(Path(folder, "templates")) for folder in search), *search]
        templar = self._templar.copy_with_new_env(searchpath=folders, available_variables=variables)
        rendered = templar.template(trust_as_template(text), escape_backslashes=False, overrides={"trim_blocks": True})
        if not isinstance(rendered, str):
            raise KitError(f"{name} renders to {type(rendered).__name__} and not to text")
        return rendered


def below(path: str, source: Path) -> Files:
    """A file of the control node, or those of a folder, at a path of the kit."""
    return {f"{path}/{inside}" if inside else path: (file.read_bytes(), PLAIN) for inside, file in files_of(source)}


def listed(described: Any, kit: str) -> list[dict[str, Any]]:
    """The files that a description lists, looked at: each a path in the kit, and one place it comes from."""
    entries = described.get("files") if isinstance(described, dict) else None
    if not isinstance(entries, list):
        raise KitError(f"{kit}: has a list `files`")
    seen: set[str] = set()
    for entry in entries:
        path = PurePosixPath(str(entry.get("path", "")))
        inside = entry.get("path") and not path.is_absolute() and ".." not in path.parts
        if not inside or len(ORIGINS & entry.keys()) != 1:
            raise KitError(f"{kit}: {entry}: a file has a `path` in the kit, and one of {', '.join(sorted(ORIGINS))}")
        if str(path) in seen:
            raise KitError(f"{kit}: {path} stands there twice")
        seen.add(str(path))
    return entries


def sums(files: Mapping[str, tuple[bytes, int]]) -> bytes:
    """As sha256sum writes and checks them."""
    lines = [f"{hashlib.sha256(content).hexdigest()}  {path}\n" for path, (content, _mode) in sorted(files.items())]
    return "".join(lines).encode()


def found(directory: Path) -> Files:
    """The kit that is there; none in a folder that isn't there, or is empty. KitError where it holds anything else."""
    if directory.exists() and not directory.is_dir():
        raise KitError(f"{directory} is no folder")
    files = {path.relative_to(directory).as_posix(): path for path in directory.rglob("*") if not path.is_dir()}
    if files and SUMS not in files:
        raise KitError(f"{directory} holds something else: name a folder that is empty, or isn't there")
    return {name: (path.read_bytes(), path.stat().st_mode & 0o777) for name, path in files.items()}


def write(directory: Path, files: Files, former: Files) -> None:
    """Bring the folder in line. The sums come first: what a killed run leaves is known again, and is no whole kit."""
    for name in sorted(former.keys() - files.keys()):
        (directory / name).unlink()
    for name in sorted(files, key=lambda name: (name != SUMS, name)):
        if former.get(name) != files[name]:
            content, mode = files[name]
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            path.chmod(mode)


def differences(files: Files, former: Files) -> list[dict[str, str]]:
    """What came and went, by name; contents may be wheels."""
    return [
        {
            "before": "" if name not in former else hashlib.sha256(former[name][0]).hexdigest() + "\n",
            "after": "" if name not in files else hashlib.sha256(files[name][0]).hexdigest() + "\n",
            "before_header": name,
            "after_header": name,
        }
        for name in sorted(files.keys() | former.keys())
        if files.get(name) != former.get(name)
    ]
