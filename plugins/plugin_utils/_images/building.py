# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images are built on the control node by the operator's own command, in a copy of the checkout that is given."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .registry import Login

PREFIX = "nsfl-"
"""What images' names begin with."""

_LINES = 12
_HIDDEN = "********"
_VCS = ".git"


class BuildError(Exception):
    """Why images can't be built, in words for the operator."""


@dataclass(frozen=True, slots=True)
class Order:
    """What the operator asks for; ``words`` are the components whose images are to be in the registry then."""

    registry: str
    tag: str
    words: tuple[str, ...]
    checkout: Path
    command: tuple[str, ...]
    engine: str
    base_images: tuple[str, ...]
    push: bool
    proxies: Mapping[str, Any]

    @property
    def whole_command(self) -> list[str]:
        """The command with the parameters that upstream's takes."""
        parameters = {"registry": self.registry, "tag": self.tag}
        parameters |= {f"{key}_proxy": self.proxies[key] for key in ("https", "http") if key in self.proxies}
        if "none" in self.proxies:
            parameters["no_proxy"] = ",".join(self.proxies["none"])
        return [*self.command, *(word for key, value in parameters.items() for word in (f"--{key}", value))]

    @property
    def program(self) -> str | None:
        """The command's program; None where there is none. With a slash in its name it is the checkout's."""
        name = self.command[0]
        if "/" not in name:
            return shutil.which(name)
        path = self.checkout / name
        return str(path) if path.is_file() and os.access(path, os.X_OK) else None

    def reference(self, word: str) -> str:
        """The image of a component, as engines name it."""
        return f"{self.registry}/{PREFIX}{word}:{self.tag}"


def order(images: Mapping[str, Any], words: tuple[str, ...]) -> Order:
    """What the key ``build`` of an instance's ``images`` asks for."""
    build = images["build"]
    return Order(
        registry=images["registry"],
        tag=images["tag"],
        words=words,
        checkout=Path(build["checkout"]),
        command=tuple(build["command"]),
        engine=build["engine"],
        base_images=tuple(build["base_images"]),
        push=build["push"],
        proxies=build["proxies"],
    )


# -- what it is made of


def made_of(asked: Order) -> str:
    """The digest of the checkout's files and of all parameters; without a checkout BuildError."""
    _look_at_checkout(asked)
    parameters = [asked.whole_command, asked.words, asked.engine, asked.base_images, asked.push]
    found = hashlib.sha256(json.dumps(parameters).encode())
    for path in _files(asked.checkout):
        found.update(json.dumps([path.relative_to(asked.checkout).as_posix(), *_content(path)]).encode())
    return f"sha256:{found.hexdigest()}"


def _look_at_checkout(asked: Order) -> None:
    if not asked.checkout.is_dir():
        raise BuildError(f"there is no checkout in {asked.checkout} on the control node")


def _files(folder: Path) -> Iterator[Path]:
    """All but git's own, always in the same order."""
    for here, folders, names in os.walk(folder):
        # a link to a folder is what it says, not what it leads to
        links = [name for name in folders if Path(here, name).is_symlink()]
        folders[:] = sorted(set(folders) - set(links) - {_VCS})
        yield from (Path(here, name) for name in sorted([*names, *links]))


def _content(path: Path) -> list[str]:
    state = path.lstat()
    if stat.S_ISLNK(state.st_mode):
        return ["link", str(path.readlink())]
    if not stat.S_ISREG(state.st_mode):
        return ["other"]
    with path.open("rb") as stream:
        return [
            "program" if state.st_mode & stat.S_IXUSR else "file",
            hashlib.file_digest(stream, "sha256").hexdigest(),
        ]


# -- what it takes


def look(asked: Order) -> None:
    """All that a build lacks in one BuildError; base images that the engine hasn't are fetched by it."""
    _look_at_checkout(asked)
    lacking = []
    if asked.program is None:
        where = f"in {asked.checkout}" if "/" in asked.command[0] else "on the control node"
        lacking.append(f"there is no program {asked.command[0]} {where}")
    engine = None if asked.engine == "none" else asked.engine
    if engine and shutil.which(engine) is None:
        lacking.append(f"there is no container engine: no program {engine} on the control node")
    elif engine and (why := _fails([engine, "version"])):
        lacking.append(f"the container engine {engine} doesn't answer: {why}")
    if not lacking and engine:
        lacking = _without_base_images(engine, asked.base_images)
    if lacking:
        raise BuildError("; ".join(lacking))


def _without_base_images(engine: str, names: tuple[str, ...]) -> list[str]:
    absent = [name for name in names if _fails([engine, "image", "inspect", name])]
    told = {name: _fails([engine, "pull", "--quiet", name]) for name in absent}
    return [
        f"the base image {name} is missing, and {engine} can't fetch it: {why}" for name, why in told.items() if why
    ]


def _fails(command: list[str]) -> str:
    """Why a command doesn't end well; empty where it does."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if not done.returncode:
        return ""
    said = (done.stderr or done.stdout).strip().splitlines()
    return said[-1] if said else f"it ended with {done.returncode}"


# -- the build


def build(asked: Order, login: Login | None, log: Path) -> None:
    """Run the command, and push what it made where that is asked for; what both say is in ``log``."""
    with tempfile.TemporaryDirectory(prefix="fedlearn-images-") as folder:
        room = Path(folder)
        # a build that leaves files where it ran would be another checkout next time
        copy = room / "checkout"
        shutil.copytree(asked.checkout, copy, symlinks=True)
        environment = {**os.environ, **(_logged_in(room, asked.registry, login) if login else {})}
        copied = Order(**{name: getattr(asked, name) for name in Order.__slots__} | {"checkout": copy})
        program = copied.program
        if program is None:
            raise BuildError(f"there is no program {asked.command[0]} in {asked.checkout}")
        with _log(log) as told:
            runner = _Runner(copy, environment, login, told, log)
            runner.run([program, *copied.whole_command[1:]], asked.command[0])
            for word in asked.words if asked.push else ():
                runner.run([asked.engine, "push", asked.reference(word)], f"{asked.engine} push")


@contextmanager
def _log(path: Path) -> Iterator[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        yield stream


def _logged_in(room: Path, registry: str, login: Login) -> dict[str, str]:
    """The variables by which engines find a login that is in no argument, and all else that the operator has there."""
    theirs = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
    own = room / "engine"
    own.mkdir(mode=0o700)
    for path in theirs.iterdir() if theirs.is_dir() else ():
        if path.name != "config.json":
            (own / path.name).symlink_to(path)
    settings = _settings(theirs / "config.json")
    # a store of credentials would be asked in place of this file
    settings.pop("credsStore", None)
    place = registry.partition("/")[0]
    settings.get("credHelpers", {}).pop(place, None)
    settings["auths"] = {**settings.get("auths", {}), place: {"auth": login.basic}}
    file = own / "config.json"
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        json.dump(settings, stream)
    return {"DOCKER_CONFIG": str(own), "REGISTRY_AUTH_FILE": str(file)}


def _settings(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise BuildError(f"{file} can't be read, and container engines take their settings from it: mend it")
    return found


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs what takes long; of what it says no secret is written down."""

    folder: Path
    environment: Mapping[str, str]
    login: Login | None
    log: Any
    path: Path

    def run(self, command: list[str], name: str) -> None:
        # whatever else the control node does comes first
        process = subprocess.Popen(
            ["nice", "-n", "10", *command],
            cwd=self.folder,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        said: list[str] = []
        try:
            for line in process.stdout or ():
                said = [*said[1 - _LINES :], self._redacted(line)]
                self.log.write(said[-1])
            ended = process.wait()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
        if ended:
            raise BuildError(f"{name} ended with {ended}, {self.path} has all it said:\n{''.join(said).rstrip()}")

    def _redacted(self, line: str) -> str:
        for secret in (self.login.password, self.login.basic) if self.login else ():
            line = line.replace(secret, _HIDDEN)
        return line
