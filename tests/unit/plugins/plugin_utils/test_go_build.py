# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Go program is built once, only when it is asked for, and a version of another making is another one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.action.artifact import MistakeError, prepare
from ansible_collections.fedlearn.infra.plugins.plugin_utils.control_build import BuildError
from ansible_collections.fedlearn.infra.plugins.plugin_utils.go_build import GoProgram

GO = """#!/bin/sh
echo "$GOTOOLCHAIN $CGO_ENABLED $@" >>{log}
{then}
"""
MAKES = 'sleep 0.2; echo program >"$GOBIN/server"'
ITEM = {
    "name": "",
    "program": "server",
    "version": "v1.2.3",
    "source": "go",
    "sha256": "",
    "python_artifact": "",
    "keep": 2,
    "package": "example.org/it/server",
    "ldflags": "-s -w",
    "toolchain": "local",
    "module": "",
    "add": {},
}


def item(folder: Path, then: str = MAKES, **changed: Any) -> dict[str, Any]:
    """An artifact whose Go is a script that notes how it was called."""
    go = folder / "go"
    go.write_text(GO.format(log=folder / "log", then=then))
    go.chmod(0o755)
    return {**ITEM, "go": str(go), "cache": str(folder / "cache"), **changed}


def program(described: dict[str, Any]) -> GoProgram:
    sources: dict[str, Any] = {}
    prepare([described], Path, sources)
    found = next(iter(sources.values()))
    assert isinstance(found, GoProgram)
    return found


def test_it_is_built_once_for_all_who_ask_at_once(tmp_path: Path) -> None:
    wanted = program(item(tmp_path))
    assert not (tmp_path / "cache").exists()
    with ThreadPoolExecutor(4) as several:
        built = list(several.map(lambda _number: wanted.built(), range(4)))
    assert {path.read_text() for path in built} == {"program\n"}
    assert (tmp_path / "log").read_text() == "local 0 install -trimpath -ldflags=-s -w example.org/it/server@v1.2.3\n"
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.name.startswith(".partial")] == []


IN_A_COPY = (
    """if [ "$1" = mod ]; then echo '{{"Dir": "{module}"}}'; else cp added/file "$5"; ls -l main.go >>{log}; fi"""
)


def test_with_a_module_it_is_built_in_a_copy_to_which_files_are_added(tmp_path: Path) -> None:
    module = tmp_path / "module"
    (module / "added").mkdir(parents=True)
    (module / "main.go").write_text("package main\n")
    (module / "main.go").chmod(0o444)
    (module / "added").chmod(0o555)
    then = IN_A_COPY.format(module=module, log=tmp_path / "log")
    changed = {"module": "example.org/it", "package": "example.org/it/cmd/server", "add": {"added/file": "v1.2.3\n"}}
    wanted = program(item(tmp_path, then=then, **changed))
    assert wanted.built().read_text() == "v1.2.3\n"
    calls = (tmp_path / "log").read_text().splitlines()
    assert calls[0] == "local 0 mod download -json example.org/it@v1.2.3"
    assert calls[1].startswith("local 0 build -trimpath -ldflags=-s -w -o ")
    assert calls[1].endswith("/server ./cmd/server")
    assert calls[2].startswith("-rw-r--r--")
    assert not (module / "added" / "file").exists()
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {wanted.digest[:12], f".lock-{wanted.digest[:12]}"}


def test_what_goes_wrong_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    wanted = program(item(tmp_path, then="echo no such version >&2; exit 3"))
    with pytest.raises(BuildError, match=r"example.org/it/server v1.2.3: go install ended with 3:\nno such version"):
        wanted.built()
    assert not wanted.path.exists()


def test_without_go_only_what_is_not_built_is_missed(tmp_path: Path) -> None:
    wanted = program(item(tmp_path, go="/nowhere/go"))
    with pytest.raises(BuildError, match="is built by Go, and there is no '/nowhere/go' on the control node"):
        wanted.look()
    wanted.path.parent.mkdir(parents=True)
    wanted.path.write_text("program\n")
    wanted.look()
    assert wanted.built() == wanted.path


@pytest.mark.parametrize(
    "changed",
    [
        {"version": "v1.2.4"},
        {"ldflags": ""},
        {"toolchain": "go1.26.8"},
        {"module": "example.org/it"},
        {"module": "example.org/it", "add": {"file": "text"}},
    ],
)
def test_another_making_is_another_version(tmp_path: Path, changed: dict[str, str]) -> None:
    assert program(item(tmp_path, **changed)).digest != program(item(tmp_path)).digest
    assert program(item(tmp_path, go="/nowhere/go")).digest == program(item(tmp_path)).digest


def test_a_program_is_called_as_go_calls_it(tmp_path: Path) -> None:
    assert program(item(tmp_path, package="example.org/it/server/v2", version="v2.0.0")).name == "server"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"version": "latest"}, "version 'latest' is none of Go's; versions are exact"),
        ({"version": "main"}, "version 'main' is none of Go's"),
        ({"module": "example.org/its"}, "example.org/it/server is no package of module example.org/its"),
        ({"add": {"file": "text"}}, "`add` needs `module`"),
        ({"module": "example.org/it", "add": {"../file": "text"}}, "'../file' isn't a path below the artifact"),
        ({"package": "-toolexec=x"}, "package '-toolexec=x' is none of Go's"),
        ({"package": "example.org/../x"}, "package 'example.org/../x' is none of Go's"),
    ],
)
def test_what_is_no_package_or_version_is_refused(tmp_path: Path, changed: dict[str, str], message: str) -> None:
    with pytest.raises(MistakeError, match=message):
        program(item(tmp_path, **changed))
