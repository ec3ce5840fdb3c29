# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files on a host, named by absolute paths, without ever following a link that somebody else than root could have laid.

Every operation works relative to an open directory, so what a path meant when it was judged is what is written to.
"""

from __future__ import annotations

import errno
import grp
import hashlib
import os
import pwd
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import IO

STAGED_PREFIX = ".fedlearn-new."
_LINKS_FOLLOWED = 16
MOUNTS = "/proc/self/mountinfo"
KEPT = "  # kept"
"""What a line has at its end that stays for a while; see `with_kept_lines`."""


class ServiceError(Exception):
    """A reason, in words for the operator, why a service could not be converged."""


@dataclass
class File:
    """One file as it is to be."""

    path: str
    sha256: str
    size: int
    mode: int
    owner: str
    group: str
    content: bytes | None = None  # None: large, transferred only when the host's differs
    secret: bool = False
    validate: list[str] = field(default_factory=list)
    change: str = "restart"
    restore: bool = True
    keeps: str | None = None  # lines that stay while what they lead to may still be there; see `with_kept_lines`
    modified_ns: int | None = None  # None: now

    def digest(self) -> str:
        """One word for content, mode and owner together."""
        return digest_of(f"{self.sha256} {self.mode:o} {self.owner} {self.group}".encode())


@dataclass
class Found:
    """One file as it is. `kind`: absent, file, link (content: where it leads), other."""

    kind: str
    sha256: str = ""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    modified_ns: int = 0
    size: int = 0


def with_kept_lines(file: File, there: bytes) -> File:
    """The file with those lines of the one in place that it `keeps`, below their like; itself where there are none.

    For each line that is new a former one of the same group stays, marked, and what a cut-off run had marked. So a port
    that changes is led to further, and one that is given up for good isn't.
    """
    if file.keeps is None or file.content is None:
        return file
    pattern = re.compile(file.keeps)
    wanted, former = file.content.decode().splitlines(), there.decode("utf-8", "replace").splitlines()
    groups = [(number, found.group(1)) for number, line in enumerate(wanted) if (found := pattern.match(line))]
    new = [group for number, group in groups if wanted[number] not in former]
    kept = []
    for line in former:
        found, plain = pattern.match(line), line.removesuffix(KEPT)
        if not found or plain in wanted or found.group(1) not in [group for _number, group in groups]:
            continue
        if plain == line and found.group(1) not in new:
            continue
        if plain == line:
            new.remove(found.group(1))
        kept.append(plain + KEPT)
    if not kept:
        return file
    last = groups[-1][0] + 1
    content = "".join(f"{line}\n" for line in [*wanted[:last], *kept, *wanted[last:]]).encode()
    return replace(file, content=content, sha256=digest_of(content), size=len(content))


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def explain(error: OSError, path: str) -> ServiceError:
    """An OSError in words, naming the path and, where there is one, the way out."""
    hints = {
        errno.ENOSPC: " (the file system is full)",
        errno.EPERM: " (is it immutable? see lsattr)",
        errno.EBUSY: " (is it a mount point?)",
    }
    hint = f" ({read_only(path)})" if error.errno == errno.EROFS else hints.get(error.errno or 0, "")
    return ServiceError(f"{path}: {os.strerror(error.errno or 0)}{hint}")


def read_only(path: str) -> str:
    """Which mount nobody can write to there, and how that is changed."""
    place, mount, whole = "", "", ""
    with open(MOUNTS, encoding="utf-8", errors="replace") as stream:
        for words in (line.split() for line in stream):
            where = re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), words[4])
            # of several mounts on one place the last one counts
            if len(where) >= len(place) and f"{path}/".startswith(where.rstrip("/") + "/"):
                place, mount, whole = where, words[5], words[-1]
    if "ro" in whole.split(","):
        return f"{place} is mounted read-only: mount -o remount,rw {place}; dmesg says whether its disk has errors"
    if "ro" in mount.split(","):
        return f"{place} is mounted read-only: mount -o remount,bind,rw {place}"
    return "the file system is mounted read-only"


def uid_of(owner: str) -> int:
    try:
        return int(owner) if owner.isdigit() else pwd.getpwnam(owner).pw_uid
    except KeyError:
        raise ServiceError(f"there is no user '{owner}' on this host") from None


def gid_of(group: str) -> int:
    try:
        return int(group) if group.isdigit() else grp.getgrnam(group).gr_gid
    except KeyError:
        raise ServiceError(f"there is no group '{group}' on this host") from None


def _others_may_change(status: os.stat_result) -> bool:
    """Whether somebody else than root could rename or replace entries of this directory."""
    return status.st_uid != 0 or bool(status.st_mode & 0o022)


def _enter(directory: int, name: str, create: bool) -> int:
    """Opens one component below `directory`; makes it with `create`."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=directory)
    except FileNotFoundError:
        if not create:
            raise
        os.mkdir(name, 0o755, dir_fd=directory)
        made = os.open(name, flags, dir_fd=directory)
        os.fchmod(made, 0o755)
        os.fchown(made, 0, 0)
        return made


def _walk(path: str, create: bool) -> int:
    """An open descriptor of the directory `path`. Follows links only where root alone could have made them."""
    todo = path.split("/")
    walked = "/"
    here = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    followed = 0
    try:
        while todo:
            name = todo.pop(0)
            if name in ("", "."):
                continue
            try:
                below = _enter(here, name, create)
            except OSError as error:
                if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                    raise
                followed += 1
                target = _trusted_link(here, name, os.path.join(walked, name), followed)
                todo = os.path.normpath(os.path.join(walked, target)).split("/") + todo
                below, walked = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), "/"
            else:
                walked = os.path.join(walked, name)
            os.close(here)
            here = below
        return here
    except BaseException:
        os.close(here)
        raise


def _trusted_link(directory: int, name: str, path: str, followed: int) -> str:
    """Where a link leads that root laid, in a directory nobody else can write to."""
    status = os.stat(name, dir_fd=directory, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        raise ServiceError(f"{path}: is not a directory")
    if status.st_uid != 0 or _others_may_change(os.fstat(directory)) or followed > _LINKS_FOLLOWED:
        raise ServiceError(f"{path}: is a symbolic link that others than root could have laid; not followed")
    return os.readlink(name, dir_fd=directory)


@contextmanager
def parent(path: str, create: bool = False) -> Iterator[tuple[int, str]]:
    """The open directory a path lies in, and its name there. With `create`, missing directories are made."""
    directory, name = os.path.split(path)
    descriptor = _walk(directory, create)
    try:
        yield descriptor, name
    finally:
        os.close(descriptor)


def _open(directory: int, name: str) -> int:
    """Opens a regular file for reading; never waits on a pipe, never follows."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ServiceError(f"{name}: is not a regular file")
    return descriptor


def look(path: str) -> Found:
    """What lies at `path`."""
    try:
        with parent(path) as (directory, name):
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            found = Found(
                "file",
                "",
                stat.S_IMODE(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                status.st_size,
            )
            if stat.S_ISLNK(status.st_mode):
                found.kind, found.sha256 = "link", os.readlink(name, dir_fd=directory)
            elif stat.S_ISREG(status.st_mode):
                with os.fdopen(_open(directory, name), "rb") as stream:
                    found.sha256 = _digest_stream(stream)
            else:
                found.kind = "other"
            return found
    except FileNotFoundError:
        return Found("absent")
    except OSError as error:
        raise explain(error, path) from None


def _digest_stream(stream: IO[bytes]) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: stream.read(1 << 20), b""):
        digest.update(block)
    return digest.hexdigest()


def read(path: str) -> bytes:
    """The content of a regular file; b"" where there is none."""
    try:
        with parent(path) as place, os.fdopen(_open(*place), "rb") as stream:
            return bytes(stream.read())
    except OSError:
        return b""


def digest_tree(path: str) -> str:
    """The digest of a file, or of all files of a directory. Reads through links, as the service does."""
    if not os.path.isdir(path):
        if not os.path.isfile(path):
            return "other" if os.path.lexists(path) else "absent"
        try:
            with open(path, "rb") as stream:
                return _digest_stream(stream)
        except OSError as error:
            raise explain(error, path) from None
    parts = []
    for folder, folders, names in os.walk(path):
        folders.sort()
        parts += [f"{os.path.join(folder, name)} {digest_tree(os.path.join(folder, name))}" for name in sorted(names)]
    return digest_of("\n".join(parts).encode("utf-8", "surrogateescape"))


def _copy(source: str, target: int, sha256: str) -> None:
    """Copies a transferred file, and refuses one whose content isn't the one announced."""
    digest = hashlib.sha256()
    with parent(source) as place, os.fdopen(_open(*place), "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
            _write_all(target, block)
    if digest.hexdigest() != sha256:
        raise ServiceError("what arrived on the host is not the file that was sent (sha256 differs)")


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def staged_path(path: str) -> str:
    """Where a file waits beside its place. The leading dot keeps it out of every *.conf include."""
    directory, name = os.path.split(path)
    return os.path.join(directory, STAGED_PREFIX + name)


def stage(file: File, uploaded: str | None = None) -> str:
    """Writes the file beside its place with its final mode and owner, synced to disk. Returns the staged path."""
    try:
        uid, gid = uid_of(file.owner), gid_of(file.group)
        with parent(file.path, create=True) as (directory, name):
            _refuse_other(directory, name, file.path)
            waiting = STAGED_PREFIX + name
            _unlink(directory, waiting)
            descriptor = os.open(
                waiting, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory
            )
            try:
                if file.content is not None:
                    _write_all(descriptor, file.content)
                elif uploaded is not None:
                    _copy(uploaded, descriptor, file.sha256)
                else:
                    _copy(file.path, descriptor, file.sha256)
                os.fchown(descriptor, uid, gid)
                os.fchmod(descriptor, file.mode)
                if file.modified_ns is not None:
                    os.utime(descriptor, ns=(file.modified_ns, file.modified_ns))
                os.fsync(descriptor)
            except BaseException:
                _unlink(directory, waiting)
                raise
            finally:
                os.close(descriptor)
        return staged_path(file.path)
    except OSError as error:
        raise explain(error, file.path) from None


def _refuse_other(directory: int, name: str, path: str) -> None:
    try:
        mode = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise ServiceError(f"{path}: something that is neither file nor link lies there; move it away")


def _unlink(directory: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)  # a read-only file system refuses before it looks
        os.unlink(name, dir_fd=directory)
        return True
    except FileNotFoundError:
        return False


def place(path: str) -> None:
    """Renames the staged file into its place."""
    try:
        with parent(path) as (directory, name):
            os.rename(STAGED_PREFIX + name, name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
    except OSError as error:
        raise explain(error, path) from None


def remove(path: str) -> bool:
    """Removes a file or link. Returns whether there was one."""
    try:
        with parent(path) as (directory, name):
            return _unlink(directory, name)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise explain(error, path) from None


def link(target: str, path: str) -> None:
    """Lays a symbolic link, atomically (used to put a former one back)."""
    with parent(path, create=True) as (directory, name):
        _unlink(directory, STAGED_PREFIX + name)
        os.symlink(target, STAGED_PREFIX + name, dir_fd=directory)
    place(path)


def missing_directories(path: str) -> list[str]:
    """The directories above `path` that don't exist yet, outermost first."""
    missing: list[str] = []
    directory = os.path.dirname(path)
    while directory != "/" and not os.path.lexists(directory):
        missing.insert(0, directory)
        directory = os.path.dirname(directory)
    return missing


def remove_empty(directory: str) -> None:
    """Removes a directory of ours when nothing lies in it any more."""
    try:
        with parent(directory) as (above, name):
            os.rmdir(name, dir_fd=above)
    except OSError:
        return


def write_atomically(path: str, content: bytes, mode: int) -> None:
    """Writes a root-owned file of the collection's own state."""
    file = File(path, digest_of(content), len(content), mode, "0", "0", content)
    stage(file)
    place(path)


def names_of(found: Found) -> dict[str, str]:
    """Mode, owner and group of a found file in words."""
    try:
        owner = pwd.getpwuid(found.uid).pw_name
    except KeyError:
        owner = str(found.uid)
    try:
        group = grp.getgrgid(found.gid).gr_name
    except KeyError:
        group = str(found.gid)
    return {"mode": f"{found.mode:04o}", "owner": owner, "group": group}
