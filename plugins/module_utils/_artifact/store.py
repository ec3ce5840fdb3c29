# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Software below /opt/fedlearn: one folder a program and version, complete or absent.

A version is built in a sibling folder, gets a manifest, and is renamed into place. What the manifest says of its files
(size and modification time) is compared on every run, so one that was changed by hand is built anew.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator
from typing import Any

MANIFEST = ".fedlearn-artifact.json"
NAMED_IN = (
    "/etc/systemd/system/fedlearn-*",
    "/run/systemd/system/fedlearn-*",
    "/etc/fedlearn/**",
    "/var/lib/fedlearn/*/services/*.former/*",
)
"""Files that name what services run and read: units, configurations, and those that a roll-back would put back."""
NAMING_BYTES = 4 << 20
"""Larger files are no configuration."""
FULL_BYTES = 32 << 20
"""With less than this left, what a failed builder says of itself is seldom the reason: venv asks for a package then."""


class ArtifactError(Exception):
    """What is wrong with an artifact, in words for the operator."""


def fingerprint(root: str) -> str:
    """A digest over names, sizes, modes and modification times of a tree, but for compiled Python and the manifest."""
    total = hashlib.sha256()
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            path = os.path.join(folder, name)
            if name == MANIFEST or name.endswith(".pyc"):
                continue
            status = os.lstat(path)
            line = (os.path.relpath(path, root), status.st_size, status.st_mode, status.st_mtime_ns)
            total.update(json.dumps(line).encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def read_manifest(root: str) -> dict[str, Any]:
    """What a version says of itself; {} where there is none, or no complete one."""
    try:
        with open(os.path.join(root, MANIFEST), encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


class Store:
    """The folder all programs lie in."""

    def __init__(self, root: str, named_in: tuple[str, ...] = NAMED_IN, spared: Collection[str] = frozenset()) -> None:
        """`spared`: paths of versions that are needed though no service's files name them yet."""
        self.root = root
        self._named_in = named_in
        self._spared = spared

    def path(self, program: str, version: str) -> str:
        return os.path.join(self.root, program, version)

    def complete(self, program: str, version: str, digest: str) -> bool:
        """Whether a version is there as it was built."""
        path = self.path(program, version)
        manifest = read_manifest(path)
        return manifest.get("digest") == digest and manifest.get("fingerprint") == fingerprint(path)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """One builder at a time. What a killed one left half done is removed, and an empty folder at the end."""
        lock = self._lock()
        try:
            for left in glob.glob(os.path.join(glob.escape(self.root), "*", ".partial-*")):
                shutil.rmtree(left, ignore_errors=True)
            yield
        finally:
            with contextlib.suppress(OSError):
                os.rmdir(self.root)
            os.close(lock)

    def _lock(self) -> int:
        """A descriptor that locks the folder itself, so that no file has to stay for it."""
        while True:
            with contextlib.suppress(FileExistsError):
                os.makedirs(self.root, mode=0o755)
            with contextlib.suppress(FileNotFoundError):
                lock = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                fcntl.flock(lock, fcntl.LOCK_EX)
                if self._is_root(lock):
                    return lock
                os.close(lock)

    def _is_root(self, descriptor: int) -> bool:
        """Whether it is still the folder's: who held the lock before may have removed it."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.stat(self.root))
        except FileNotFoundError:
            return False

    @contextlib.contextmanager
    def building(self, program: str, version: str, digest: str, about: dict[str, Any]) -> Iterator[str]:
        """Gives a sibling folder to build in; it becomes the version once the body ends without an exception."""
        folder = os.path.join(self.root, program)
        os.makedirs(folder, mode=0o755, exist_ok=True)
        partial = tempfile.mkdtemp(prefix=".partial-", dir=folder)
        try:
            os.chmod(partial, 0o755)  # noqa: S103 - services of any user run it
            yield partial
            self._seal(partial, {**about, "program": program, "version": version, "digest": digest})
            self._swap(partial, self.path(program, version))
        except (ArtifactError, OSError) as error:
            space = os.statvfs(partial)
            left = space.f_bavail * space.f_frsize
            if left < FULL_BYTES:
                raise ArtifactError(
                    f"{folder}: the file system is full, {left >> 10} KiB are left; nothing was changed: {error}"
                ) from error
            raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)

    def _seal(self, partial: str, manifest: dict[str, Any]) -> None:
        for folder, folders, files in os.walk(partial):
            for name in folders + files:
                path = os.path.join(folder, name)
                if not os.path.islink(path):
                    os.chown(path, 0, 0) if os.geteuid() == 0 else None
                    os.chmod(path, os.stat(path).st_mode & 0o755 | (0o555 if os.path.isdir(path) else 0o444))
        manifest["fingerprint"] = fingerprint(partial)
        with open(os.path.join(partial, MANIFEST), "w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        os.sync()

    @staticmethod
    def _swap(partial: str, path: str) -> None:
        """Puts a new folder where an old one may be; processes that run from that keep what they have open."""
        old = None
        if os.path.lexists(path):
            old = tempfile.mkdtemp(prefix=".partial-old-", dir=os.path.dirname(path))
            os.rename(path, os.path.join(old, "old"))
        os.rename(partial, path)
        if old:
            shutil.rmtree(old, ignore_errors=True)

    def prune(self, program: str, needed: set[str], keep: int) -> list[str]:
        """Removes former versions but for the newest `keep - 1`; never one that is needed now or that services name.

        With none to keep, fingerprints of preinstalled folders go, too.
        """
        folder = os.path.join(self.root, program)
        former = [name for name in self._versions(folder) if name not in needed]
        former.sort(key=lambda name: os.stat(os.path.join(folder, name, MANIFEST)).st_mtime, reverse=True)
        gone = [name for name in former[max(keep - 1, 0) :] if not self._used(os.path.join(folder, name))]
        for name in gone:
            shutil.rmtree(os.path.join(folder, name))
        records = [] if keep else self._records(program)
        for record in records:
            os.unlink(record)
        with contextlib.suppress(OSError):
            os.rmdir(folder)
        return [os.path.join(folder, name) for name in gone] + records

    def unused(self, program: str) -> list[str]:
        """The versions of a program that no service names, and what is kept of preinstalled ones."""
        folder = os.path.join(self.root, program)
        versions = [
            os.path.join(folder, name) for name in self._versions(folder) if not self._used(os.path.join(folder, name))
        ]
        return versions + self._records(program)

    def record(self, program: str, digest: str) -> str:
        """Where the fingerprint of a preinstalled folder is kept."""
        return os.path.join(self.root, program, f"preinstalled-{digest[:12]}.json")

    def _records(self, program: str) -> list[str]:
        """Those of folders that no service names."""
        found = []
        for path in sorted(glob.glob(os.path.join(glob.escape(self.root), program, "preinstalled-*.json"))):
            with open(path, encoding="utf-8") as file:
                if not self._used(json.load(file)["path"]):
                    found.append(path)
        return found

    @staticmethod
    def _versions(folder: str) -> list[str]:
        if not os.path.isdir(folder):
            return []
        return sorted(name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name, MANIFEST)))

    def _used(self, path: str) -> bool:
        if path in self._spared:
            return True
        # a version may be named for itself, or for a file in it, and its name may begin as another's does
        wanted = re.compile(re.escape(path.encode()) + rb"(?![\w.+-])")
        if any(wanted.search(text) for text in self._naming()):
            return True
        return any(self._within(manifest, path) for manifest in self._manifests())

    def _naming(self) -> Iterator[bytes]:
        for place in (name for pattern in self._named_in for name in glob.glob(pattern, recursive=True)):
            with contextlib.suppress(OSError):
                status = os.stat(place)
                if stat.S_ISREG(status.st_mode) and status.st_size <= NAMING_BYTES:
                    with open(place, "rb") as file:
                        yield file.read()

    def _manifests(self) -> list[dict[str, Any]]:
        return [
            read_manifest(os.path.dirname(name))
            for name in glob.glob(os.path.join(glob.escape(self.root), "*", "*", MANIFEST))
        ]

    @staticmethod
    def _within(manifest: dict[str, Any], path: str) -> bool:
        """An environment needs the Python it was made with."""
        return str(manifest.get("python", "")).startswith(path + "/")
