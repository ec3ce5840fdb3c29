# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads the control node's side of artifacts; the module builds them. Documentation: the module."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils.apt_wait import seconds
from ansible_collections.fedlearn.infra.plugins.plugin_utils.archives import UnreadableArchiveError, lacking
from ansible_collections.fedlearn.infra.plugins.plugin_utils.cargo_build import CargoProgram
from ansible_collections.fedlearn.infra.plugins.plugin_utils.control_build import BuildError, ControlProgram
from ansible_collections.fedlearn.infra.plugins.plugin_utils.debian_build import WRAPPER, DebianProgram
from ansible_collections.fedlearn.infra.plugins.plugin_utils.folders import LeadsOutError, files_of
from ansible_collections.fedlearn.infra.plugins.plugin_utils.go_build import GoProgram

MODULE = "fedlearn.infra.artifact"
INLINE_BYTES = 64 * 1024
"""Larger files travel only where the host lacks them."""

ITEM: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    "program": {"type": "str", "required": True},
    "version": {"type": "str", "default": ""},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
    "source": {
        "type": "str",
        "choices": ["index", "archive", "files", "go", "cargo", "debian", "preinstalled"],
        "default": "index",
    },
    "requirements": {"type": "path"},
    "python": {"type": "path", "default": "/usr/bin/python3"},
    "python_artifact": {"type": "str"},
    "index_url": {"type": "str"},
    "wheels": {"type": "path"},
    "exclude": {"type": "list", "elements": "str", "default": []},
    "check": {"type": "str"},
    "archive": {"type": "str"},
    "sha256": {"type": "str"},
    "files": {"type": "dict"},
    "package": {"type": "str"},
    "module": {"type": "str", "default": ""},
    "add": {"type": "dict", "default": {}},
    "ldflags": {"type": "str", "default": ""},
    "toolchain": {"type": "str", "default": "local"},
    "go": {"type": "path", "default": "go"},
    "crate": {"type": "path"},
    "binary": {"type": "str"},
    "cargo": {"type": "path", "default": "cargo"},
    "suite": {"type": "str"},
    "root_packages": {"type": "list", "elements": "str", "default": []},
    "cache": {"type": "path"},
    "path": {"type": "path"},
    "keep": {"type": "int", "default": 2},
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "artifacts": {"type": "list", "elements": "dict", "required": True, "options": ITEM},
    "packages": {"type": "list", "elements": "str", "default": []},
    "lock_timeout": {"type": "int"},
    "root": {"type": "path", "default": "/opt/fedlearn"},
    "sources_only": {"type": "bool", "default": False},
    "texts": {"type": "dict", "default": {}},
    "without_text": {"type": "str", "default": "it isn't the program that is meant"},
    "also": {"type": "dict", "default": {}},
}
NEEDS = {
    "index": ["requirements"],
    "archive": ["archive", "sha256"],
    "files": ["files"],
    "go": ["package", "version", "cache"],
    "cargo": ["crate", "package", "binary", "cache"],
    "debian": ["crate", "package", "suite", "root_packages", "cache"],
    "preinstalled": ["path"],
}
BUILT = ("go", "cargo", "debian")
"""Sources that the control node builds of, where a host lacks what they make first."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
SUM = re.compile(r"[0-9a-f]{64}")
PACKAGE = re.compile(r"[a-z0-9][a-z0-9.-]*\.[a-z]+(/[A-Za-z0-9_][A-Za-z0-9_.~-]*)+")
GO_VERSION = re.compile(r"v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+incompatible)?")
GO_MAKING = ("package", "version", "ldflags", "toolchain")
GO_COPY = ("module", "add")
"""What a Go program is made of; the latter where it is built in a copy of its module."""
PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?==[A-Za-z0-9.+!_-]+(\s*;[^\\]*)?")


class MistakeError(Exception):
    """What is wrong with a description, with the artifact's name."""


class ActionModule(ActionBase):  # type: ignore[misc]
    """One execution when nothing is to be done; packages and uploads add theirs."""

    TRANSFERS_FILES = False
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """The result of the task on one host."""
        super().run(tmp, task_vars)
        self._variables = task_vars or {}
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        sources: dict[str, Path | ControlProgram] = {}
        try:
            wanted = prepare([item for item in options["artifacts"] if item["state"] == "present"], self._find, sources)
            if options["sources_only"]:
                self._look(sources)
                self._look_into_archives(options)
        except MistakeError as mistake:
            named = str(mistake).startswith("'")
            raise AnsibleActionFail(f"artifact {mistake}" if named else str(mistake)) from None
        except BuildError as error:
            raise AnsibleActionFail(str(error)) from None
        absent = sorted({item["program"] for item in options["artifacts"] if item["state"] == "absent"})
        if options["sources_only"] or not (wanted or absent):
            return {"changed": False, "artifacts": options["also"], "removed": []}
        spared = sorted(one["path"] for one in options["also"].values())
        return self._converge(options, {"artifacts": wanted, "absent": absent, "spared": spared}, sources)

    @staticmethod
    def _look(sources: dict[str, Path | ControlProgram]) -> None:
        """Whether what only a host that lacks it makes necessary could be built."""
        for source in sources.values():
            if isinstance(source, ControlProgram):
                source.look()

    def _look_into_archives(self, options: dict[str, Any]) -> None:
        """Whether programs in archives of the control node have the texts that they are told by."""
        for item in options["artifacts"] if options["texts"] else ():
            if item["state"] == "absent" or item["source"] != "archive" or "://" in item["archive"]:
                continue
            path = self._find(item["archive"])
            try:
                found = lacking(path, options["texts"])
            except UnreadableArchiveError as error:
                raise MistakeError(str(error)) from None
            for name in found:
                raise MistakeError(f"{path}: {name} has nothing of {options['texts'][name]}: {options['without_text']}")

    def _converge(
        self, options: dict[str, Any], given: dict[str, Any], sources: dict[str, Path | ControlProgram]
    ) -> dict[str, Any]:
        arguments = {
            "payload": base64.b64encode(zlib.compress(json.dumps(given).encode(), 9)).decode(),
            "packages": options["packages"],
            "root": options["root"],
        }
        answer = self._module(MODULE, arguments)
        installed = bool(answer.get("missing_packages"))
        if installed:
            self._install(answer["missing_packages"], options["lock_timeout"])
            answer = self._module(MODULE, arguments)
        if answer.get("needed"):
            uploads = {key: self._upload(key, self._file(sources[key])) for key in sorted(set(answer["needed"]))}
            answer = self._module(MODULE, {**arguments, "uploads": uploads})
        answer.pop("invocation", None)
        answer["changed"] = bool(answer.get("changed")) or installed
        if "artifacts" in answer:
            answer["artifacts"] = {**options["also"], **answer["artifacts"]}
        return answer

    def _install(self, packages: list[str], lock_timeout: int | None) -> None:
        try:
            waits = seconds(lock_timeout, self._variables, self._templar)
        except ValueError as mistake:
            raise AnsibleActionFail(str(mistake)) from None
        result = self._module("fedlearn.infra.packages", {"names": packages, "lock_timeout": waits})
        if result.get("failed"):
            hint = " (Debian 12 and later have no Python 3.9: bring one in an archive, or name its path)"
            old = any(name.startswith("python3.9") for name in packages)
            raise AnsibleActionFail(f"{result.get('msg', '')}{hint if old else ''}")

    def _module(self, name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = self._execute_module(
            module_name=name, module_args=arguments, task_vars=self._variables
        )
        return result

    @staticmethod
    def _file(source: Path | ControlProgram) -> Path:
        try:
            return source.built() if isinstance(source, ControlProgram) else source
        except BuildError as error:
            raise AnsibleActionFail(str(error)) from None

    def _upload(self, key: str, source: Path) -> str:
        if self._connection._shell.tmpdir is None:
            self._make_tmp_path()
        remote = str(self._connection._shell.join_path(self._connection._shell.tmpdir, key))
        self._transfer_file(str(source), remote)
        return remote

    def _find(self, name: str) -> Path:
        """A file or folder of the control node: absolute, or in the role's files, or beside the playbook."""
        try:
            return Path(self._find_needle("files", name))
        except AnsibleError as error:
            raise MistakeError(f"there is no '{name}' on the control node") from error


def prepare(items: list[dict[str, Any]], find: Any, sources: dict[str, Any]) -> list[dict[str, Any]]:
    """What the module is to bring, with digests and versions; `sources` takes the files that may have to travel."""
    prepared: list[dict[str, Any]] = []
    known: dict[str, dict[str, Any]] = {}
    for item in items:
        ready = _prepare_one(_checked(item), find, sources, known)
        if ready["name"] not in known:
            prepared.append(ready)
        elif known[ready["name"]]["digest"] != ready["digest"]:
            raise MistakeError(f"'{ready['name']}' is described twice, and differently: give one another name")
        known[ready["name"]] = ready
    return prepared


def _checked(item: dict[str, Any]) -> dict[str, Any]:
    name = item["name"] or item["program"]
    for key in ("program", "version"):
        if item[key] and not NAME.fullmatch(item[key].lower()):
            raise MistakeError(f"'{name}': {key} '{item[key]}' can't be a folder's name")
    for key in NEEDS[item["source"]]:
        if not item[key]:
            raise MistakeError(f"'{name}': the source {item['source']} needs `{key}`")
    if item["sha256"] and not SUM.fullmatch(item["sha256"]):
        raise MistakeError(f"'{name}': sha256 must be 64 hexadecimal digits")
    if item["source"] == "go":
        _check_go(item)
    if item["python_artifact"] and item["python"].startswith("/"):
        raise MistakeError(f"'{name}': with `python_artifact`, `python` is a path inside that artifact")
    return {**item, "name": name}


def _prepare_one(item: dict[str, Any], find: Any, sources: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    made_of: dict[str, Any] = {"source": item["source"]}
    ready = {key: item[key] for key in ("name", "program", "source", "keep")}
    ready["uploads"] = []
    if item["source"] == "index":
        made_of.update(_environment(item, ready, find, sources, known))
    elif item["source"] == "archive":
        made_of["sha256"] = item["sha256"]
        ready.update(archive=item["archive"], sha256=item["sha256"])
        if "://" not in item["archive"]:
            ready["uploads"] = [_expect(find(item["archive"]), item, sources)]
    elif item["source"] == "files":
        ready["files"] = _files(item, ready, find, sources)
        made_of["files"] = {path: file["sha256"] for path, file in ready["files"].items()}
    elif item["source"] == "go":
        made_of.update({key: item[key] for key in GO_MAKING + (GO_COPY if item["module"] else ())})
    elif item["source"] == "cargo":
        made_of.update(_crate(item, find))
    elif item["source"] == "debian":
        made_of.update(_packed_crate(item, find))
    else:
        made_of["path"] = ready["path"] = item["path"]
    ready["digest"] = hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()
    if item["source"] in BUILT:
        _built_program(item, made_of, ready, sources)
    ready["version"] = "-".join(part for part in (item["version"], ready["digest"][:12]) if part)
    return ready


def _check_go(item: dict[str, Any]) -> None:
    for key, pattern in (("package", PACKAGE), ("version", GO_VERSION)):
        if not pattern.fullmatch(item[key]):
            raise MistakeError(f"'{item['program']}': {key} '{item[key]}' is none of Go's; versions are exact")
    if item["module"] and not f"{item['package']}/".startswith(f"{item['module']}/"):
        raise MistakeError(f"'{item['program']}': {item['package']} is no package of module {item['module']}")
    if item["add"] and not item["module"]:
        raise MistakeError(f"'{item['program']}': `add` needs `module`, to a copy of which it adds")
    for path in item["add"]:
        _relative(path, item)


def _crate(item: dict[str, Any], find: Any) -> dict[str, Any]:
    """What a program of crates is made of: an empty crate that depends on the package, and its lock."""
    _check_words(item, ("package", "binary"))
    files = _crate_files(item, find, ("Cargo.toml", "Cargo.lock"))
    return {
        "manifest": files["Cargo.toml"],
        "lock": files["Cargo.lock"],
        "package": item["package"],
        "binary": item["binary"],
    }


def _packed_crate(item: dict[str, Any], find: Any) -> dict[str, Any]:
    """What programs are made of that an older Debian builds: such a crate, what packs them, and the root's packages."""
    _check_words(item, ("package", "suite"))
    for name in item["root_packages"]:
        if not NAME.fullmatch(name):
            raise MistakeError(f"'{item['program']}': root_packages: '{name}' can't be a package's name")
    files = _crate_files(item, find, ("Cargo.toml", "Cargo.lock", "pack.py"))
    wrapper = find(item["crate"]) / WRAPPER
    if wrapper.exists():
        files[WRAPPER] = wrapper.read_text(encoding="utf-8")
    return {
        "files": files,
        "package": item["package"],
        "suite": item["suite"],
        "packages": tuple(sorted(item["root_packages"])),
    }


def _check_words(item: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        if not NAME.fullmatch(item[key]):
            raise MistakeError(f"'{item['program']}': {key} '{item[key]}' is none of a crate's")


def _crate_files(item: dict[str, Any], find: Any, names: tuple[str, ...]) -> dict[str, str]:
    folder = find(item["crate"])
    try:
        return {name: (folder / name).read_text(encoding="utf-8") for name in names}
    except OSError as error:
        raise MistakeError(f"'{item['program']}': {error.filename} is missing or can't be read") from None


def _built_program(
    item: dict[str, Any], made_of: dict[str, Any], ready: dict[str, Any], sources: dict[str, Any]
) -> None:
    """Built only where a host lacks it: what it was made of says whether one has it."""
    cache, digest = Path(item["cache"]), ready["digest"]
    program: ControlProgram
    if item["source"] == "go":
        told = {key: item[key] for key in (*GO_MAKING, *GO_COPY)}
        program = GoProgram(**told, go=item["go"], cache=cache, digest=digest)
    else:
        told = {key: value for key, value in made_of.items() if key != "source"}
        kind = CargoProgram if item["source"] == "cargo" else DebianProgram
        program = kind(**told, cargo=item["cargo"], cache=cache, digest=digest)
    ready["file"], ready["uploads"] = program.name, [digest]
    sources[digest] = program


def _environment(
    item: dict[str, Any], ready: dict[str, Any], find: Any, sources: dict[str, Any], known: dict[str, Any]
) -> dict[str, Any]:
    text = find(item["requirements"]).read_text(encoding="utf-8")
    _refuse_unlocked(text, item)
    ready.update(
        {key: item[key] for key in ("python", "python_artifact", "index_url", "exclude", "check")},
        requirements=text,
        wheels={},
    )
    if item["wheels"]:
        for wheel in sorted(find(item["wheels"]).glob("*.whl")):
            key = _sum(wheel)
            if key in text:
                ready["wheels"][wheel.name] = key
                ready["uploads"].append(key)
                sources[key] = wheel
    if item["python_artifact"] and item["python_artifact"] not in known:
        raise MistakeError(
            f"'{item['name']}': its python_artifact '{item['python_artifact']}' must stand before it in the list"
        )
    python = known[item["python_artifact"]]["digest"] if item["python_artifact"] else ""
    return {"requirements": text, "exclude": item["exclude"], "python": [item["python"], python]}


def _refuse_unlocked(text: str, item: dict[str, Any]) -> None:
    """Each requirement pinned and with a hash: pip would refuse too, but only after a host was changed."""
    joined = re.sub(r"\\\n", " ", text)
    for line in (one.strip() for one in joined.splitlines()):
        if not line or line.startswith("#"):
            continue
        pin, _option, hashes = line.partition("--hash=")
        if not PIN.fullmatch(pin.strip()) or not hashes:
            raise MistakeError(
                f"'{item['name']}': {item['requirements']}: '{line.split()[0]}' isn't pinned with == and --hash"
            )


def _files(item: dict[str, Any], ready: dict[str, Any], find: Any, sources: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for relative, given in sorted(item["files"].items()):
        source = find(str(given))
        try:
            for inside, path in files_of(source):
                name = f"{relative}/{inside}" if inside else relative
                found[_relative(name, item)] = _file(path, ready, sources)
        except LeadsOutError as error:
            raise MistakeError(f"'{item['name']}': {error}") from None
    if not found:
        raise MistakeError(f"'{item['name']}': there is no file in {', '.join(map(str, item['files'].values()))}")
    if item["sha256"] and [file["sha256"] for file in found.values()] != [item["sha256"]]:
        actual = ", ".join(file["sha256"] for file in found.values())
        raise MistakeError(
            f"'{item['name']}': {', '.join(map(str, item['files'].values()))} has the sha256 "
            f"{actual}, not {item['sha256']}"
        )
    return found


def _relative(name: str, item: dict[str, Any]) -> str:
    if name.startswith("/") or any(part in ("", ".", "..") for part in name.split("/")):
        raise MistakeError(f"'{item['name']}': '{name}' isn't a path below the artifact")
    return name


def _file(path: Path, ready: dict[str, Any], sources: dict[str, Any]) -> dict[str, Any]:
    key = _sum(path)
    if path.stat().st_size <= INLINE_BYTES:
        return {"sha256": key, "content": base64.b64encode(path.read_bytes()).decode()}
    ready["uploads"].append(key)
    sources[key] = path
    return {"sha256": key}


def _expect(path: Path, item: dict[str, Any], sources: dict[str, Any]) -> str:
    key = _sum(path)
    if key != item["sha256"]:
        raise MistakeError(
            f"'{item['name']}': {item['archive']} has the sha256 {key}, not {item['sha256']}: nothing was changed"
        )
    sources[key] = path
    return key


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
