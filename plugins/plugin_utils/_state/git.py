# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""git as it is called here: without anybody's configuration, hooks or questions, and with a time limit."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.errors import StateError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.location import is_repository, trouble

SECONDS = 120
"""How long one call may take, a fetch or a push too."""

_WRITER = {"NAME": "fedlearn.infra", "EMAIL": "fedlearn.infra@localhost"}
_SETTINGS = {
    "core.attributesFile": os.devnull,
    "core.autocrlf": "false",
    "core.fsmonitor": "false",
    "core.hooksPath": os.devnull,
    "core.quotePath": "false",
    # a link that somebody pushed is a file with a text in it
    "core.symlinks": "false",
    "gc.auto": "0",
    "gc.autoDetach": "false",
    "maintenance.auto": "false",
    "transfer.fsckObjects": "true",
}


_IN_AWX = " (in AWX a value of the credential 'state repository')"
_WAYS_OUT = {
    "error in libcrypto": "the file that fedlearn_state_key_file names has no private key, or one with a passphrase",
    "Permission denied": "give the git server the public half of the deploy key that fedlearn_state_key_file names, "
    "which is its private half and has no passphrase",
    "Host key verification failed": "fedlearn_state_known_hosts_file is to have the server's host keys, as "
    "`ssh-keyscan` prints them and somebody compared them",
}


@dataclass(frozen=True, slots=True)
class Access:
    """How a repository is reached. The deploy key and the server's host keys lie in files; nothing here is secret."""

    url: str
    key_file: str = ""
    known_hosts_file: str = ""

    def check(self) -> None:
        """StateError unless this can be used."""
        wrong = trouble(self.url) if is_repository(self.url) else "is no URL of a repository"
        if wrong:
            raise StateError(f"{self.url} {wrong}")
        if self.url.startswith("file://"):
            return
        for variable, path, what in (
            ("fedlearn_state_key_file", self.key_file, "the deploy key that may write to it"),
            ("fedlearn_state_known_hosts_file", self.known_hosts_file, "the git server's host keys, as known_hosts"),
        ):
            if not path:
                raise StateError(f"{self.url} is reached by ssh: {variable} has to name a file with {what}")
            if not os.access(path, os.R_OK) or not Path(path).is_file():
                raise StateError(f"{self.url}: {path}, named by {variable}, is no file that can be read: {what}")
            if not Path(path).read_bytes().strip():
                raise StateError(f"{self.url}: {path}, named by {variable}, is empty: {what}{_IN_AWX}")

    def ssh(self) -> str:
        """The command by which git connects: this key, these host keys, and nothing else that lies about."""
        options = {
            "BatchMode": "yes",
            "CheckHostIP": "no",
            "ConnectTimeout": "30",
            "GlobalKnownHostsFile": os.devnull,
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "IdentityFile": _quoted(self.key_file),
            "ServerAliveInterval": "15",
            "StrictHostKeyChecking": "yes",
            "UpdateHostKeys": "no",
            "UserKnownHostsFile": _quoted(self.known_hosts_file),
        }
        words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        return shlex.join(["ssh", "-F", "none", *words])


def _way_out(said: str) -> str:
    """What to look at, by the words of ssh."""
    return next((f"; {way}{_IN_AWX}" for words, way in _WAYS_OUT.items() if words in said), "")


def _quoted(path: str) -> str:
    """A path as ssh reads it in an option: percent signs stand for something there."""
    return '"' + path.replace("%", "%%") + '"'


@dataclass(frozen=True, slots=True)
class Git:
    """Git on one working copy: ``own`` is git's folder, ``files`` is that with the files."""

    access: Access
    own: Path
    files: Path

    def __call__(self, *words: str, feed: bytes = b"") -> bytes:
        """What a command prints; StateError with its words where it fails."""
        ended = self.ended(*words, feed=feed)
        if ended.returncode != 0:
            said = told(ended)
            raise StateError(f"{self.access.url}: git {words[0]} failed: {said}{_way_out(said)}")
        return ended.stdout

    def ended(self, *words: str, feed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """A command as it ended."""
        settings = [word for name, value in _SETTINGS.items() for word in ("-c", f"{name}={value}")]
        where = (f"--git-dir={self.own}", f"--work-tree={self.files}")
        try:
            return subprocess.run(
                ["git", *settings, *where, *words],
                input=feed,
                cwd=self.files,
                env=self._environment(os.environ),
                umask=0o077,
                capture_output=True,
                check=False,
                timeout=SECONDS,
            )
        except OSError as error:
            wrong = (
                "install git on this control node" if error.filename == "git" else f"{error.filename}: {error.strerror}"
            )
            raise StateError(f"{self.access.url}: git can't be run: {wrong}") from None
        except subprocess.TimeoutExpired:
            raise StateError(f"{self.access.url}: git {words[0]} didn't end within {SECONDS} seconds") from None

    def _environment(self, ours: Mapping[str, str]) -> dict[str, str]:
        writer = {f"GIT_{role}_{key}": value for role in ("AUTHOR", "COMMITTER") for key, value in _WRITER.items()}
        return {
            "PATH": ours.get("PATH", os.defpath),
            "HOME": str(self.own),
            "LC_ALL": "C",
            "GIT_ALLOW_PROTOCOL": "file:ssh",
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_SSH_COMMAND": self.access.ssh(),
            "GIT_SSH_VARIANT": "ssh",
            "GIT_TERMINAL_PROMPT": "0",
            **writer,
        }


def told(ended: subprocess.CompletedProcess[bytes]) -> str:
    """What a command said of its failure, on one line."""
    lines = (ended.stderr or ended.stdout).decode("utf-8", "replace").splitlines()
    said = [line.strip() for line in lines if line.strip() and not line.startswith("hint:")]
    return "; ".join(said)[:1000] or f"it ended with {ended.returncode}"


def paths(output: bytes) -> Sequence[str]:
    """The paths of a command's output that separates them by zero bytes."""
    return [os.fsdecode(each) for each in output.split(b"\0") if each]
