# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that must be whole or absent: directories nobody else can lead astray, atomic writes, locks.

Used on hosts (as root, below /etc and /var/lib) and on the control node (below the state directory).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import secrets
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass

TEMPORARY = (".", ".fedlearn-new")
"""What a file's name gets around it while it is written; whatever is still called so was left by a killed run."""


class FileTroubleError(Exception):
    """A file or directory isn't what it has to be; the text names it and the way out."""


@dataclass(frozen=True)
class Found:
    """A regular file as it was read."""

    content: bytes
    mode: int
    uid: int
    gid: int


def directory(base: str, *parts: str, create: bool, mode: int = 0o755, foreign_write: int = 0o022) -> str | None:
    """The path of ``parts`` below ``base``, each a real directory that only we (or root) can write to.

    Missing ones are made with ``mode`` if ``create``, otherwise None is returned. ``foreign_write`` are the permission
    bits that make a directory unacceptable.
    """
    path = base
    for part in parts:
        if part in ("", ".", "..") or "/" in part or "\0" in part:
            raise FileTroubleError(f"{part!r} can't be part of a path below {path}")
        path = os.path.join(path, part)
        try:
            found = os.lstat(path)
        except FileNotFoundError:
            if not create:
                return None
            _make(path, mode)
            found = os.lstat(path)
        _check_directory(path, found, foreign_write)
    return path


def _make(path: str, mode: int) -> None:
    try:
        os.mkdir(path, 0o700)
        os.chmod(path, mode)
    except FileExistsError:
        pass  # another run made it in between; what it is will be checked
    except FileNotFoundError:
        raise FileTroubleError(f"{path} can't be made: {os.path.dirname(path)} is missing") from None


def _check_directory(path: str, found: os.stat_result, foreign_write: int) -> None:
    if stat.S_ISLNK(found.st_mode):
        raise FileTroubleError(f"{path} is a symbolic link; a real directory belongs there: remove the link")
    if not stat.S_ISDIR(found.st_mode):
        raise FileTroubleError(f"{path} is no directory; move away what lies there")
    if found.st_uid not in (0, os.geteuid()):
        raise FileTroubleError(
            "%s belongs to UID %d; it has to belong to root or to who runs this: chown it" % (path, found.st_uid)
        )
    if stat.S_IMODE(found.st_mode) & foreign_write:
        raise FileTroubleError(
            f"{path} can be written to by others (mode {stat.S_IMODE(found.st_mode):04o}): chmod go-w {path}"
        )


def read(path: str, limit: int = 1 << 20) -> Found | None:
    """The regular file at ``path``, at most ``limit`` bytes; None when there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise FileTroubleError(
                f"{path} is a symbolic link; a regular file belongs there: remove the link"
            ) from None
        raise FileTroubleError(f"{path} can't be read: {error.strerror}") from None
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise FileTroubleError(f"{path} is no regular file; move away what lies there")
    with os.fdopen(descriptor, "rb") as handle:
        if found.st_size > limit:
            raise FileTroubleError(
                "%s has %d bytes; more than %d were never written here: move it away" % (path, found.st_size, limit)
            )
        return Found(handle.read(limit + 1), stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


class Writes:
    """Files of one directory written aside first and renamed together, so that a kill leaves each old or new.

    Nothing is visible before ``commit``; between two renames of one commit lie microseconds.
    """

    def __init__(self, path: str) -> None:
        self._directory = path
        self._staged: list[tuple[str, str]] = []

    def add(self, name: str, content: bytes, mode: int) -> None:
        """Write ``content`` aside, to become the file ``name`` with ``mode``."""
        temporary = os.path.join(self._directory, f"{TEMPORARY[0]}{name}.{secrets.token_hex(6)}{TEMPORARY[1]}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._staged.append((temporary, os.path.join(self._directory, name)))
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(content)
            handle.flush()
            os.fchmod(handle.fileno(), mode)
            os.fsync(handle.fileno())

    def commit(self) -> None:
        """Rename everything that was added, in that order."""
        while self._staged:
            temporary, final = self._staged[0]
            os.rename(temporary, final)
            del self._staged[0]
        descriptor = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def discard(self) -> None:
        """Remove what was added and not committed."""
        for temporary, _final in self._staged:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
        self._staged = []

    def __enter__(self) -> Writes:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.discard()


def write(path: str, content: bytes, mode: int) -> None:
    """Replace the file at ``path`` atomically."""
    with Writes(os.path.dirname(path)) as writes:
        writes.add(os.path.basename(path), content, mode)
        writes.commit()


def leftovers(path: str) -> list[str]:
    """Names of half-written files that killed runs left in the directory ``path``. Call it with the lock held."""
    return [name for name in os.listdir(path) if name.startswith(TEMPORARY[0]) and name.endswith(TEMPORARY[1])]


def sweep(path: str) -> None:
    """Remove what killed runs left half-written of the file ``path``. Call it with the lock held."""
    folder, name = os.path.split(path)
    for left in leftovers(folder):
        if left.startswith(f"{TEMPORARY[0]}{name}."):
            os.unlink(os.path.join(folder, left))


@contextlib.contextmanager
def lock(path: str, timeout: float = 60.0) -> Iterator[None]:
    """Hold the lock file ``path``; FileTroubleError naming the holder after ``timeout`` seconds.

    The file stays: removing it would let two hold "the" lock.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise FileTroubleError(f"the lock {path} can't be opened: {error.strerror}") from None
    try:
        _acquire(descriptor, path, timeout)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: str, timeout: float) -> None:
    end = time.monotonic() + timeout
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= end:
                holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip() or "unknown"
                raise FileTroubleError(
                    "the lock %s has been held for %d seconds by process %s: wait for that run to end, or end it"
                    % (path, timeout, holder)
                ) from None
        time.sleep(0.05)
