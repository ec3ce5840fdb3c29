# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What verbs write on the control node, in a git repository: its branch is what counts, the folder here is a copy.

A write is done on the copy and pushed before anybody relies on it. The push is the lock: where another run pushed
first it is refused, the copy becomes what the repository has then, and the write is done again on that. So a write says
what is to be there, and doesn't mind what is there already; nothing is merged. What was never pushed never happened.

Forks of one run share the copy. Each commits under one lock, and pushes under another one all that is committed by
then: while one pushes the others write, and the next push has all of theirs.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.contents import ignored, in_clear
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.errors import StateError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.git import Access, Git, paths, told
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.location import FILES, room_of, rooms

T = TypeVar("T")

BRANCH = "refs/heads/fedlearn-state"
HERE = "refs/fedlearn/here"
"""What the copy has."""
KEPT = "refs/fedlearn/kept"
"""What the repository had when it was asked last."""

PATIENCE = 600.0
"""How long a write is tried, and waited for, before it is given up."""

_NOTHING = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""git's name of an empty folder."""
_ACCESS = "access.json"
_ASIDE = "aside-"


class Repository:
    """The working copy of a repository, in a room of its own."""

    def __init__(self, room: Path) -> None:
        self._room = room
        self.directory = room / FILES
        try:
            self._access = Access(**json.loads((room / _ACCESS).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            raise StateError(
                f"{room} is no working copy that this run has opened: fedlearn.infra.state opens it, which playbooks "
                "of the collection call first"
            ) from None
        self._git = Git(self._access, room / "git", self.directory)
        self._exclude = room / "git" / "info" / "exclude"

    @classmethod
    def open(cls, access: Access) -> Repository:
        """The repository's working copy as the repository is now, made where there is none."""
        access.check()
        room = room_of(access.url)
        try:
            base = rooms().parent.parent
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name in (FILES, "git"):
                files.directory(str(base), *(room / name).relative_to(base).parts, create=True, mode=0o700)
            files.write(str(room / _ACCESS), json.dumps(asdict(access)).encode(), 0o600)
            opened = cls(room)
            with opened._pushing(), opened._writing():
                opened._begin()
                opened._take_over(opened._fetched())
                opened._git("-c", "gc.auto=5000", "gc", "--auto", "--quiet")
        except OSError as error:
            raise StateError(f"{access.url}: {error.filename or room} can't be written: {error.strerror}") from None
        return opened

    def prove_writable(self) -> None:
        """StateError unless this could push now; nothing of the repository changes."""
        here = self._commit_of(HERE)
        tree = self._git("rev-parse", f"{here}^{{tree}}").decode().strip() if here else self._git("mktree").decode()
        parents = ("-p", here) if here else ()
        probe = self._git("commit-tree", tree.strip(), *parents, "-m", "never pushed").decode().strip()
        ended = self._git.ended("push", "--quiet", "--dry-run", self._access.url, f"{probe}:{BRANCH}")
        if ended.returncode != 0 and self._newest() == self._commit_of(KEPT):
            raise StateError(
                f"{self._access.url} can be read and not written to, so nothing that this run makes would outlive it: "
                f"{told(ended)}"
            )

    def keep(self, why: str, write: Callable[[], T]) -> T:
        """Do a write, and give what it returns once it is in the repository."""
        begun = time.monotonic()
        while True:
            with self._writing():
                result = write()
                mine = self._commit(why)
            with self._pushing():
                if self._holds(KEPT, mine) or (self._holds(HERE, mine) and self._push()):
                    return result
            if time.monotonic() - begun > PATIENCE:
                raise StateError(
                    f"{self._access.url}: others pushed before this run for {PATIENCE:.0f} seconds, and nothing was "
                    "written: run it again when fewer are at work"
                )
            time.sleep(random.uniform(0.0, 0.3))  # noqa: S311 - nobody is to guess it

    def look(self, read: Callable[[], T]) -> T:
        """What a reader finds, once all that it may have seen is in the repository."""
        with self._writing():
            result = read()
            if self._commit_of(HERE) == self._commit_of(KEPT):
                return result
        return self.keep("looks", read)

    # ... with the lock of those who write

    def _commit(self, why: str) -> str:
        """What the copy has, as a commit: the one before where that says the same, and none where there is nothing."""
        # not `git add`, which minds what a file .gitignore says
        differing = self._git("diff-files", "-z", "--name-only") + self._others()
        self._git("update-index", "-z", "--add", "--remove", "--replace", "--stdin", feed=differing)
        here = self._commit_of(HERE)
        tree = self._git("write-tree").decode().strip()
        if tree == (self._git("rev-parse", f"{here}^{{tree}}").decode().strip() if here else _NOTHING):
            return here
        self._refuse_secrets(here)
        parents = ("-p", here) if here else ()
        made = self._git("commit-tree", tree, *parents, "-m", why).decode().strip()
        self._git("update-ref", HERE, made)
        return made

    def _refuse_secrets(self, before: str) -> None:
        changed = self._git("diff-index", "--cached", "-z", "--name-only", "--diff-filter=d", before or _NOTHING)
        for path in paths(changed):
            wrong = in_clear(path, (self.directory / path).read_bytes())
            if wrong:
                raise StateError(f"{self._access.url}: {wrong} ({self.directory / path})")

    def _begin(self) -> None:
        """What git needs here; what a killed one left is in nobody's way."""
        for left in self._git.own.rglob("*.lock"):
            left.unlink()
        for left in self._room.glob(f"{_ASIDE}*"):
            shutil.rmtree(left)
        if not (self._git.own / "HEAD").exists():
            self._git("init", "--quiet", "--template=")
        self._exclude.parent.mkdir(exist_ok=True)
        self._exclude.write_text(ignored(), encoding="utf-8")
        # whatever a file .gitattributes says
        self._exclude.with_name("attributes").write_text(
            "* -text -ident -filter -working-tree-encoding\n", encoding="utf-8"
        )

    def _take_over(self, commit: str) -> None:
        """Make the copy what the repository has; what was written here and isn't there is gone."""
        self._git("read-tree", commit or "--empty")
        self._git.ended("update-index", "--refresh", "-q")
        for path in paths(self._others()):
            (self.directory / path).unlink()
        self._lay(self._git("diff-files", "-z", "--name-only"))
        for name in (HERE, KEPT):
            self._git("update-ref", *((name, commit) if commit else ("-d", name)))

    def _others(self) -> bytes:
        """Names of what is kept and isn't known to git yet."""
        return self._git("ls-files", "-z", "--others", f"--exclude-from={self._exclude}")

    def _lay(self, names: bytes) -> None:
        """Put files of the index in place; each is old or new for who reads it meanwhile."""
        if not names:
            return
        with tempfile.TemporaryDirectory(dir=self._room, prefix=_ASIDE) as aside:
            self._git("checkout-index", "-z", "--stdin", f"--prefix={aside}/", feed=names)
            for path in paths(names):
                target = self.directory / path
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                with contextlib.suppress(FileNotFoundError):  # no file: a repository within this one
                    Path(aside, path).replace(target)

    # ... with the lock of those who push

    def _push(self) -> bool:
        """Push what is committed. False where another run was first: the copy is as the repository is now."""
        here = self._commit_of(HERE)
        ended = self._git.ended("push", "--quiet", self._access.url, f"{here}:{BRANCH}")
        if ended.returncode != 0:
            newest = self._newest()
            if newest == self._commit_of(KEPT):
                raise StateError(f"{self._access.url}: git push failed: {told(ended)}")
            if newest != here:  # else it was pushed, and the answer got lost
                fetched = self._fetched()
                with self._writing():
                    self._take_over(fetched)
                return False
        self._git("update-ref", KEPT, here)
        return True

    def _fetched(self) -> str:
        """The repository's newest commit, once it is here; empty where it has none."""
        newest = self._newest()
        if newest and newest != self._commit_of(KEPT):
            self._git("fetch", "--quiet", "--depth=1", "--no-tags", self._access.url, f"+{BRANCH}:{KEPT}")
            return self._commit_of(KEPT)
        return newest

    def _newest(self) -> str:
        """The name of the repository's newest commit; empty where it has none."""
        return self._git("ls-remote", self._access.url, BRANCH).decode().partition("\t")[0].strip()

    # ... what is asked of git here

    def _commit_of(self, name: str) -> str:
        """The commit of a reference; empty where there is none."""
        return self._git.ended("rev-parse", "--quiet", "--verify", name).stdout.decode().strip()

    def _holds(self, name: str, commit: str) -> bool:
        """Whether a commit is part of what a reference names. One that was cut off by a fetch isn't found: then the
        write is done once more, and finds it done.
        """
        if not commit or commit == self._commit_of(name):
            return True
        return self._git.ended("merge-base", "--is-ancestor", commit, name).returncode == 0

    def _writing(self) -> AbstractContextManager[None]:
        return files.lock(str(self._room / "writing.lock"), PATIENCE)

    def _pushing(self) -> AbstractContextManager[None]:
        return files.lock(str(self._room / "pushing.lock"), PATIENCE)
