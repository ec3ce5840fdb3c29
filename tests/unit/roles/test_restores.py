# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A restore that is killed after any of its steps leaves all of the former data, or all of the restored ones."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import tarfile
from pathlib import Path

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

ROLES = Path(__file__).resolve().parents[3] / "roles"
STEPS = ("chown", "cp", "install", "mkdir", "mv", "python3", "rm", "sha256sum", "tar")
STEP = """#!/bin/sh
{program} "$@"
code=$?
echo {name} >>{room}/steps
[ "$(wc -l <{room}/steps)" != "$LAST" ] || kill -KILL 0
exit $code
"""
"""A program of the script's, after which all of it is killed when it is the last one."""


class Script:
    """A role's script of one instance, on folders of the test's, with a unit that is started by its own command."""

    def __init__(self, room: Path, role: str, name: str, start: str) -> None:
        self.room, self.home, self.start = room, room / "home", start
        for folder in ("home", "run", "etc", "bin", "backup"):
            (room / folder).mkdir()
        instance = {"name": "one", "federation": "demo", "address": "127.0.0.1", "port": 1, "debug_port": 2}
        others = {"users": [], "collect_garbage": "never", "addresses": ["127.0.0.1"], "persistence": "aof"}
        programs = dict.fromkeys(("mongodb_serves", "redis_program", "redis_client"), "/bin/true")
        variables = {"instance": {**instance, **others}, **programs}
        template = ROLES / role / "templates/etc/fedlearn/federation/instance" / f"{name}.j2"
        text = str(Templar(DataLoader(), variables=variables).template(trust_as_template(template.read_text())))
        homes = {"/var/lib/$name": "home", "/var/lib/fedlearn-one": "home"}
        lies = {**homes, "/run/$unit": "run", "/run/fedlearn": "run/of"}
        for path, ours in lies.items():
            text = text.replace(path, f"{room}/{ours}")
        self.path = room / name
        self.path.write_text(text.replace("/etc/fedlearn/demo/one", str(room / "etc")))
        (room / "run/of-one").mkdir()
        (room / "etc/htpasswd").write_text("")
        for step in STEPS:
            self._program(step, STEP.format(program=shutil.which(step), name=step, room=room))
        self._program("systemctl", STEP.format(program="true", name="systemctl", room=room))

    def _program(self, name: str, text: str) -> None:
        (self.room / "bin" / name).write_text(text)
        (self.room / "bin" / name).chmod(0o755)

    def run(self, *arguments: str, last: int = 0) -> int:
        """How a command of the script ends, killed after so many steps of its unless that is 0."""
        (self.room / "steps").write_text("")
        environment = {**os.environ, "PATH": f"{self.room}/bin:{os.environ['PATH']}", "LAST": str(last or "none")}
        command = ["/bin/sh", str(self.path), *arguments]
        return subprocess.run(command, env=environment, start_new_session=True, check=False).returncode

    def restore(self, last: int = 0) -> int:
        """Ends with 0 unless it was killed."""
        return self.run("restore", str(self.room / "backup"), last=last)

    def heal(self) -> None:
        """What the unit does when it starts."""
        assert self.run(self.start) == 0


class Documents(Script):
    """FerretDB's: files, and the login that they know."""

    def __init__(self, room: Path) -> None:
        super().__init__(room, "mongodb", "ferretdb.sh", "serve")
        self.lay(room / "backup", "restored")

    @staticmethod
    def lay(folder: Path, mark: str) -> None:
        """Data that say whose they are."""
        shutil.rmtree(folder)
        (folder / "data").mkdir(parents=True)
        with sqlite3.connect(folder / "data/jobs.sqlite") as database:
            database.execute("CREATE TABLE marks AS SELECT ? AS mark", [mark])
        (folder / "administrator").write_text(f"fedlearn_1 {mark}\n")

    def found(self) -> set[str]:
        """Whose the data are that a start serves."""
        self.heal()
        with sqlite3.connect(self.home / "data/jobs.sqlite") as database:
            marks = {str(row[0]) for row in database.execute("SELECT mark FROM marks")}
        return {*marks, (self.home / "administrator").read_text().split()[1]}


class Images(Script):
    """The registry's."""

    def __init__(self, room: Path) -> None:
        super().__init__(room, "registry", "registry.sh", "lay")
        self.lay(room / "pack", "restored")
        with tarfile.open(room / "backup/images.tar", "w") as archive:
            archive.add(room / "pack/docker", "docker")

    @staticmethod
    def lay(folder: Path, mark: str) -> None:
        """A layer, and a name for it."""
        shutil.rmtree(folder, ignore_errors=True)
        digest = hashlib.sha256(mark.encode()).hexdigest()
        blob = folder / "docker/registry/v2/blobs/sha256" / digest[:2] / digest / "data"
        blob.parent.mkdir(parents=True)
        blob.write_text(mark)
        (folder / "docker/registry/v2/repositories").mkdir()
        (folder / "docker/registry/v2/repositories/link").write_text(mark)

    def found(self) -> set[str]:
        """Whose the images are that a start serves."""
        self.heal()
        files = [path for path in (self.home / "docker").rglob("*") if path.is_file()]
        assert len(files) == 2
        return {path.read_text() for path in files}


class Snapshots(Script):
    """Redis': one file, under the name by which a server begins with it."""

    def __init__(self, room: Path) -> None:
        super().__init__(room, "redis", "server.sh", "lay")
        (room / "backup/dump.rdb").write_text("restored")
        # nobody else's user is needed to see what is left
        self._program("setpriv", '#!/bin/sh\nwhile [ "${1#--}" != "$1" ]; do shift; done\nexec "$@"\n')
        self._program("install", "#!/bin/sh\n")

    @staticmethod
    def lay(folder: Path, mark: str) -> None:
        """A log of writes, as a server has it."""
        shutil.rmtree(folder)
        (folder / "appendonlydir").mkdir(parents=True)
        (folder / "appendonlydir/appendonly.aof.1.base.rdb").write_text(mark)

    def found(self) -> set[str]:
        """Whose the data are that a start serves."""
        self.heal()
        files = [path for path in self.home.rglob("*") if path.is_file() and path.parent.name != "restoring"]
        assert len(files) == 1
        return {files[0].read_text()}


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Documents, Images, Snapshots])
def test_a_restore_killed_after_any_step_leaves_all_of_one(
    tmp_path: Path, kind: type[Documents] | type[Images] | type[Snapshots]
) -> None:
    script = kind(tmp_path)
    script.lay(script.home, "former")
    assert script.found() == {"former"}
    assert script.restore() == 0
    steps = (tmp_path / "steps").read_text().split()
    assert script.found() == {"restored"}
    assert steps.count("systemctl") == 2
    assert len(steps) > 8

    served = []
    for last in range(1, len(steps) + 1):
        script.lay(script.home, "former")
        assert script.restore(last) == -9, steps[:last]
        served += script.found()
        assert len(served) == last, f"after {steps[:last]} there is some of both"
        # and another one ends it
        assert script.restore() == 0
        assert script.found() == {"restored"}
        assert not {"restoring", "restored"} & {path.name for path in script.home.iterdir()}
    # up to some step it is the former data, from then on the others
    assert served == sorted(served)
    assert set(served) == {"former", "restored"}
