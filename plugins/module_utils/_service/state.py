# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is remembered on a host: what we own, what each service was last healthy with, what is being changed.

/var/lib/fedlearn/<federation>/owned.json               units, files, ports, data of each service
/var/lib/fedlearn/<federation>/services/<name>.json     record: digests of the last healthy state, or what is pending
/var/lib/fedlearn/<federation>/services/<name>.former/  what a change replaced, until the service is healthy with it
/run/fedlearn/lock                                      one run at a time
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from typing import Any

from ansible_collections.fedlearn.infra.plugins.module_utils._service import files
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError

ROOT = "/var/lib/fedlearn"
LOCK = "/run/fedlearn/lock"
TEST_HOOK = "/run/fedlearn-test-kill"
VERSION = 1
_UNIT = re.compile(r"[A-Za-z0-9_\\][A-Za-z0-9_.@\\-]*")
_NOBODYS_DATA = ("/var/lib", "/var/lib/private", "/usr/lib", "/usr/share", "/etc/systemd", "/var/log")


def point(step: str, name: str = "") -> None:
    """A named step of a transaction, where tests can kill or hold this very process.

    Only when root itself laid the file TEST_HOOK, `kill|hold <step> [<instance>]`, writable by nobody else. Whoever can
    write that could as well send the signal, so in production the hook gives nobody anything; it costs one lstat.
    """
    try:
        status = os.lstat(TEST_HOOK)
    except OSError:
        return
    if status.st_uid != 0 or not stat.S_ISREG(status.st_mode) or status.st_mode & 0o022:
        return
    with open(TEST_HOOK, encoding="ascii", errors="replace") as stream:
        words = stream.read().split()
    if words[1:2] != [step] or (len(words) > 2 and words[2] != name):
        return
    if words[0] == "kill":
        os.unlink(TEST_HOOK)
        os.kill(os.getpid(), 9)
    until = time.monotonic() + 60
    while words[0] == "hold" and os.path.exists(TEST_HOOK) and time.monotonic() < until:
        time.sleep(0.05)


class Lock:
    """A lock of the host. It dies with the process that holds it, so a killed run never leaves it behind.

    ``free`` is what has to be so, too: nobody holds the lock while a run has yet to confirm what it changed. ``tell``
    hears who was waited for.
    """

    def __init__(
        self,
        who: str,
        seconds: float,
        path: str = LOCK,
        free: Callable[[], bool] = lambda: True,
        tell: Callable[[str], object] = lambda _text: None,
    ) -> None:
        self._who, self._seconds, self._path, self._free, self._descriptor = who, seconds, path, free, -1
        self._tell = tell

    def __enter__(self) -> Lock:
        os.makedirs(os.path.dirname(self._path), mode=0o755, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        began, holder = time.monotonic(), ""
        while not self._is_ours():
            holder = os.pread(self._descriptor, 400, 0).decode("utf-8", "replace").strip() or "unknown"
            if time.monotonic() >= began + self._seconds:
                raise ServiceError(
                    f"another run holds this host's lock ({self._path}): {holder}; "
                    f"waited {self._seconds:.0f} s. "
                    "Let it end, or end that process, and run again"
                )
            time.sleep(0.1)
        if holder:
            waited = time.monotonic() - began
            self._tell(f"waited {waited:.1f} s for another run, which held this host's lock ({self._path}): {holder}")
        text = f"process {os.getpid()} since {time.strftime('%Y-%m-%d %H:%M:%S %Z')}, {self._who}\n"
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text.encode(), 0)
        return self

    def _is_ours(self) -> bool:
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if self._free():
            return True
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)
        return False

    def __exit__(self, *_error: object) -> None:
        os.close(self._descriptor)


def load(path: str) -> dict[str, Any] | None:
    """What we once wrote there, None where nothing is. Refuses what is damaged: taken for nothing, it would be lost."""
    content = files.read(path)
    if not content and not os.path.lexists(path):
        return None
    try:
        value = json.loads(content)
        version = value["version"]
    except (ValueError, LookupError, TypeError):
        version = None
    if isinstance(version, int) and version > VERSION:
        raise ServiceError(f"{path}: was written by a newer release (version {version}): run that one")
    if version != VERSION:
        raise ServiceError(f"{path}: is damaged; restore it, or move it away and run again")
    return dict(value)


def _store(path: str, value: dict[str, Any], mode: int) -> None:
    files.write_atomically(path, (json.dumps(value, indent=1, sort_keys=True) + "\n").encode(), mode)


class Owned:
    """owned.json of one federation on this host. Keys other than `services` and `left_data` are kept as they are."""

    def __init__(self, federation: str) -> None:
        self.federation = federation
        self.path = f"{ROOT}/{federation}/owned.json"
        self._content = load(self.path) or {"version": VERSION, "federation": federation}
        self.services: dict[str, Any] = self._content.setdefault("services", {})
        self.left_data: dict[str, Any] = self._content.setdefault("left_data", {})
        for key in ("services", "left_data"):
            entries = self._content[key]
            for name, entry in entries.items() if isinstance(entries, dict) else [(key, None)]:
                if not _is_sound(entry):
                    raise ServiceError(f"{self.path}: what it says of {name} is damaged; restore it, or take that out")

    def save(self) -> None:
        """Writes the file; removes it, and the directories of ours, when nothing is owned any more."""
        for name, entry in list(self.left_data.items()):
            if not any(map(data_exists, entry.get("data", []))):  # somebody removed them
                del self.left_data[name]
        others = set(self._content) - {"version", "federation", "services", "left_data"}
        if not self.services and not self.left_data and not any(self._content[key] for key in others):
            files.remove(self.path)
            for directory in (f"{ROOT}/{self.federation}/services", f"{ROOT}/{self.federation}", ROOT):
                files.remove_empty(directory)
            return
        _store(self.path, self._content, 0o644)


def _is_sound(entry: Any) -> bool:
    """Whether an entry names what a service can own: it is what removal goes by, and root may have edited it."""
    if not isinstance(entry, dict):
        return False
    lists = {key: entry.get(key, []) for key in ("units", "files", "data", "directories")}
    if not all(isinstance(values, list) and all(isinstance(one, str) for one in values) for values in lists.values()):
        return False
    paths = lists["files"] + lists["data"] + lists["directories"]
    return all(_UNIT.fullmatch(name) for name in lists["units"]) and all(
        path.startswith("/") and os.path.normpath(path) == path for path in paths
    )


def federations() -> list[str]:
    """The federations that own something on this host."""
    try:
        return sorted(name for name in os.listdir(ROOT) if os.path.isfile(f"{ROOT}/{name}/owned.json"))
    except OSError:
        return []


def directories() -> list[str]:
    """All directories of this host that were made for services of ours."""
    entries = [entry for federation in federations() for entry in Owned(federation).services.values()]
    return sorted({directory for entry in entries for directory in entry.get("directories", [])})


def claims(path: str) -> Iterator[tuple[str, str]]:
    """Each (federation, service) that owns a file, over all federations of this host."""
    for federation in federations():
        for name, entry in Owned(federation).services.items():
            if path in entry["files"]:
                yield federation, name


class Record:
    """What one service was last healthy with, and what is pending. `content` is None when nothing is known."""

    def __init__(self, federation: str, name: str) -> None:
        self._directory = f"{ROOT}/{federation}/services"
        self.path = f"{self._directory}/{name}.json"
        self.former = f"{self._directory}/{name}.former"
        self.content = load(self.path)

    def save(self, content: dict[str, Any]) -> None:
        content["version"] = VERSION
        if content != self.content:
            self.ready()
            _store(self.path, content, 0o600)
            self.content = content

    def ready(self) -> None:
        """Makes the directory, readable by root only: digests of short secrets could be guessed from."""
        os.makedirs(self._directory, mode=0o755, exist_ok=True)
        os.chmod(self._directory, 0o700)

    def forget(self) -> None:
        self.drop_former()
        files.remove(self.path)
        files.remove_empty(self._directory)

    @property
    def stale(self) -> bool:
        """Whether a run was killed after it had noted its end: what it replaced, secrets among it, is still there."""
        return not (self.content or {}).get("pending") and os.path.lexists(self.former)

    @property
    def foreign(self) -> list[str]:
        """Where the change that is under way found somebody else's where its data are to lie."""
        return list(self.manifest().get("foreign", []))

    # What a change replaced. The manifest names each path once: what the first of several killed runs saw is kept.

    def manifest(self) -> dict[str, Any]:
        return load(f"{self.former}/manifest.json") or {"version": VERSION, "entries": {}, "was_running": False}

    def keep_former(self, paths: list[tuple[str, bool]], about: dict[str, Any]) -> None:
        """Copies what lies at each path, before it is replaced. `(path, restore)`: with False no copy is kept, and only
        what is new goes again.

        `about` goes into the manifest: was_running, enabled (units), owned (the entry of owned.json), foreign (data).
        """
        begun = os.path.exists(f"{self.former}/manifest.json")
        manifest = self.manifest()
        if not begun:
            self.drop_former()
            self.ready()
            os.mkdir(self.former, 0o700)
            manifest.update(about)
        for path, restore in paths:
            if path not in manifest["entries"]:
                kept = not restore and os.path.lexists(path)
                manifest["entries"][path] = {"kind": "kept"} if kept else self._keep(path, len(manifest["entries"]))
        _store(f"{self.former}/manifest.json", manifest, 0o600)

    def _keep(self, path: str, number: int) -> dict[str, Any]:
        found = files.look(path)
        entry: dict[str, Any] = {"kind": found.kind}
        if found.kind == "link":
            entry["target"] = found.sha256
        elif found.kind == "file":
            entry.update(
                copy=f"{self.former}/{number}",
                sha256=found.sha256,
                size=found.size,
                mode=found.mode,
                uid=found.uid,
                gid=found.gid,
                modified_ns=found.modified_ns,
            )
            content = files.read(path) if found.size < 1 << 20 else None
            self._copy(path, entry, content)
        return entry

    @staticmethod
    def _copy(path: str, entry: dict[str, Any], content: bytes | None) -> None:
        copy = files.File(entry["copy"], entry["sha256"], entry["size"], 0o600, "0", "0", content)
        files.stage(copy, path)
        files.place(copy.path)

    def put_back(self) -> list[str]:
        """Puts all that was replaced back into place. Returns the paths that were touched."""
        touched = []
        for path, entry in self.manifest()["entries"].items():
            files.remove(files.staged_path(path))
            if entry["kind"] == "kept" or self._is_back(path, entry):
                continue
            if entry["kind"] == "absent":
                files.remove(path)
            elif entry["kind"] == "link":
                files.link(entry["target"], path)
            elif entry["kind"] == "file":
                file = files.File(
                    path,
                    entry["sha256"],
                    entry["size"],
                    entry["mode"],
                    str(entry["uid"]),
                    str(entry["gid"]),
                    modified_ns=entry["modified_ns"],
                )
                files.stage(file, entry["copy"])
                files.place(path)
            touched.append(path)
        return touched

    @staticmethod
    def _is_back(path: str, entry: dict[str, Any]) -> bool:
        found = files.look(path)
        if found.kind != entry["kind"]:
            return False
        if found.kind == "link":
            return found.sha256 == str(entry["target"])
        return found.kind == "absent" or all(
            getattr(found, key) == entry[key] for key in ("sha256", "mode", "uid", "gid", "modified_ns")
        )

    def former_secrets(self) -> list[str]:
        """Where copies lie of files that only root and their owner could read."""
        entries = self.manifest()["entries"].values()
        return [entry["copy"] for entry in entries if entry["kind"] == "file" and not entry["mode"] & 0o004]

    def drop_former(self) -> None:
        shutil.rmtree(self.former, ignore_errors=True)


def remove_data(path: str) -> None:
    """Removes a service's data, never through a link (but systemd's own into private/) and never across a mount."""
    parts = [part for part in path.split("/") if part]
    if not path.startswith("/") or ".." in parts or len(parts) < 2 or path.rstrip("/") in _NOBODYS_DATA:
        raise ServiceError(f"{path}: is no directory of one service; not removed")
    _refuse_foreign_parents(path)
    private = os.path.join(os.path.dirname(path), "private", os.path.basename(path))
    for one in (private, path):
        _refuse_mounts(one)
    if os.path.islink(path):
        if os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path))) != private:
            raise ServiceError(f"{path}: is a symbolic link to {os.readlink(path)}; remove its data by hand")
        os.unlink(path)
    for one in (private, path):
        if os.path.isdir(one) and not os.path.islink(one):
            shutil.rmtree(one)
        else:
            files.remove(one)


def _refuse_foreign_parents(path: str) -> None:
    """Where others than root could exchange a directory on the way, somebody else's data could be removed."""
    above = os.path.dirname(path)
    while above != "/":
        try:
            status = os.lstat(above)
        except FileNotFoundError:
            status = None
        if status and (status.st_uid != 0 or status.st_mode & 0o022 or not stat.S_ISDIR(status.st_mode)):
            raise ServiceError(f"{path}: others than root could exchange {above}; remove its data by hand")
        above = os.path.dirname(above)


def _refuse_mounts(path: str) -> None:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as stream:
        mounts = [line.split()[4].encode().decode("unicode_escape") for line in stream]
    for mount in mounts:
        if mount == path or mount.startswith(path + "/"):
            raise ServiceError(f"{path}: {mount} is mounted there; unmount it first, its content is not removed")


def stranger(owned: Owned, name: str, path: str) -> str:
    """In words, why what lies at a path isn't a service's own data; empty where it is, or where there is nothing.

    Its own are those that were noted before the first start made them, so also those of a run that was cut off. Where
    owned.json was lost, the service's record still tells.
    """
    entries = [owned.services.get(name), owned.left_data.get(name)]
    if any(path in entry.get("data", []) for entry in entries if entry) or not holds_data(path):
        return ""
    if Record(owned.federation, name).content is not None:
        return ""
    others = ((other, Owned(other)) for other in federations())
    claimed = [
        f"is of {one} of federation {other}"
        for other, theirs in others
        for entries in (theirs.services, theirs.left_data)
        for one, entry in entries.items()
        if path in entry.get("data", [])
    ]
    whose = claimed[0] if claimed else "isn't this instance's"
    return f"{path} is there and {whose}: it is left alone; move it away, or name the instance otherwise"


def holds_data(path: str) -> bool:
    """Whether anything lies at a path but an empty folder, such as a disk that was mounted there."""
    for one in _places(path):
        if os.path.isdir(one):
            if set(os.listdir(one)) - {"lost+found"}:
                return True
        elif os.path.lexists(one):
            return True
    return False


def data_exists(path: str) -> bool:
    return any(map(os.path.lexists, _places(path)))


def _places(path: str) -> tuple[str, str]:
    """Where data of a service lie: at the path, or where systemd keeps those of a user that it makes for each start."""
    return path, os.path.join(os.path.dirname(path), "private", os.path.basename(path))
