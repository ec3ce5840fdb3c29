# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the pods' containers do with Neursafe's own library, read from the manifests, against a real PostgreSQL.

The library is looked for below FEDLEARN_UPSTREAM_DIR, as neursafe/; PostgreSQL is Debian's. Only its part for databases
is loaded, on this machine's Python and not on 3.7: the package itself would bring TensorFlow's interface along.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.catalogue import MANIFESTS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.neursafe import check_servers

CHECKOUT = Path(__file__).resolve().parents[2]
UPSTREAM = os.environ.get("FEDLEARN_UPSTREAM_DIR", "")
LIBRARY = Path(UPSTREAM) / "neursafe"
WITHOUT = "the library isn't here: FEDLEARN_UPSTREAM_DIR names no folder with a checkout of it as neursafe/"
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
NEEDED = ("absl-py==2.3.1", "psycopg2-binary==2.9.10", "pymongo==4.10.1")
PASSWORD = "only for the test"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


PORT = _free_port()
BARE = """\
import sys, types
for name in ("neursafe_fl", "neursafe_fl.python", "neursafe_fl.python.libs"):
    sys.modules[name] = module = types.ModuleType(name)
    module.__path__ = [sys.argv[1] + "/" + name.replace(".", "/")]
"""
"""Packages without what their __init__ would import."""


@pytest.fixture(scope="session")
def python() -> str:
    """An environment with what the library's part for databases needs."""
    room = CHECKOUT / "build" / "neursafe-upstream"
    program = room / "bin" / "python"
    if not (room / "whole").exists():
        venv.create(room, with_pip=True, clear=True)
        install = [str(program), "-m", "pip", "install", "--quiet", "--only-binary=:all:"]
        subprocess.run([*install, *NEEDED], check=True)
        (room / "whole").touch()
    return str(program)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A PostgreSQL on a socket and a port of loopback; the folder of its programs."""
    if not UPSTREAM:
        pytest.skip(WITHOUT)
    if not SERVERS:
        pytest.skip("there is no PostgreSQL on this machine")
    programs, room = SERVERS[-1].parent, tmp_path_factory.mktemp("postgresql")
    (room / "password").write_text(PASSWORD)
    room.chmod(0o755)
    room.parent.chmod(0o755)
    room.parent.parent.chmod(0o755)
    shutil.chown(room, "postgres")
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    login = ["--username=neursafe", f"--pwfile={room}/password", "--auth=scram-sha-256"]
    subprocess.run([*as_user, str(programs / "initdb"), "-D", f"{room}/data", *login], check=True, capture_output=True)
    options = f"-c listen_addresses=127.0.0.1 -c port={PORT} -c unix_socket_directories={room}"
    control = [*as_user, str(programs / "pg_ctl"), "-D", f"{room}/data", "-l", f"{room}/log", "-w"]
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True)
    yield programs
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)


def told(postgresql: Path, statement: str) -> str:
    command = ["psql", "-XAtq", "-h", "127.0.0.1", "-p", str(PORT), "-U", "neursafe", "-d", "postgres", "-c", statement]
    done = subprocess.run(
        command, env={**os.environ, "PGPASSWORD": PASSWORD}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def table_container() -> dict[str, Any]:
    """The container of the job scheduler's pod that makes its table."""
    database = {"address": f"127.0.0.1:{PORT}", "username": "neursafe", "secret": "d", "name": "postgres"}
    instance = {"name": "n", "images": {"tag": "1"}, "storage": {"type": "posix"}, "database": database, "token": "t"}
    made = MANIFESTS["neursafe_server"].objects(check_servers([instance])[0], lambda _name: PASSWORD, str)
    (one,) = [one for one in made if one["kind"] == "Deployment" and one["metadata"]["name"] == "nsfl-job-scheduler"]
    containers = one["spec"]["template"]["spec"]["initContainers"]
    (found,) = [container for container in containers if container["name"] == "table"]
    return dict(found)


def test_the_library_makes_its_table_once_and_as_its_guide_has_it(python: str, postgresql: Path) -> None:
    container = table_container()
    values = {one["name"]: one.get("value", "") for one in container["env"]}
    values |= {"DB_USERNAME": "neursafe", "DB_PASSWORD": PASSWORD}
    for _time in range(2):
        program = BARE + container["command"][2]
        done = subprocess.run(
            [python, "-c", program, str(LIBRARY)], env=values, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        columns = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'jobs' ORDER BY 1"
        assert told(postgresql, columns) == "data|jsonb\nid|integer"
    told(postgresql, 'INSERT INTO jobs (data) VALUES (\'{"id": "kept"}\')')
    subprocess.run([python, "-c", BARE + container["command"][2], str(LIBRARY)], env=values, check=True)
    assert told(postgresql, "SELECT data->>'id' FROM jobs") == "kept"
