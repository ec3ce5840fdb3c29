# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the pods' containers do with Neursafe's own programs, as far as these run without their images.

They are looked for below FEDLEARN_UPSTREAM_DIR, as neursafe/. Of the library only the part for databases is loaded, on
this machine's Python and not on 3.7, against Debian's PostgreSQL: the package itself would bring TensorFlow's interface
along. The proxy's Lua runs in Debian's nginx, by the nginx.conf of the manifests.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import time
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


def let_in(room: Path) -> None:
    """Other users reach a folder of pytest's, which is its own user's."""
    for folder in (room, room.parent, room.parent.parent):
        folder.chmod(0o755)


@pytest.fixture(scope="session")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A PostgreSQL on a socket and a port of loopback; the folder of its programs."""
    if not UPSTREAM:
        pytest.skip(WITHOUT)
    if not SERVERS:
        pytest.skip("there is no PostgreSQL on this machine")
    programs, room = SERVERS[-1].parent, tmp_path_factory.mktemp("postgresql")
    (room / "password").write_text(PASSWORD)
    let_in(room)
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


# -- the proxy

PACKAGES = (
    "nginx",
    "libnginx-mod-http-lua",
    "libnginx-mod-http-ndk",
    "lua-resty-core",
    "lua-resty-lrucache",
    "libluajit2-5.1-2",
    "libpcre3",
)
TOKEN = "the stack's own"


@pytest.fixture(scope="session")
def nginx() -> Path:
    """Debian's nginx with Lua, unpacked and not installed."""
    if not UPSTREAM:
        pytest.skip(WITHOUT)
    if not shutil.which("apt-get"):
        pytest.skip("nginx with Lua comes from Debian's packages, and this machine has no apt-get")
    room = CHECKOUT / "build" / "nginx-lua"
    if not (room / "whole").exists():
        room.mkdir(parents=True, exist_ok=True)
        got = subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=room, capture_output=True, check=False)
        if got.returncode:
            pytest.skip(f"Debian's packages can't be had: {got.stderr.decode()[-300:]}")
        for package in room.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(room)], check=True)
        (room / "whole").touch()
    return room


def configured(nginx: Path, room: Path, ports: dict[str, int]) -> None:
    """The proxy's nginx.conf, but for what is another here: where modules lie, ports, and folders for what is brief."""
    instance = {"name": "n", "images": {"tag": "1"}, "storage": {"type": "posix"}, "token": "t"}
    database = {"address": "127.0.0.1:5432", "username": "neursafe", "secret": "d"}
    made = MANIFESTS["neursafe_server"].objects(check_servers([instance | {"database": database}])[0], str, str)
    (one,) = [each for each in made if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "nsfl-proxy"]
    text: str = one["data"]["nginx.conf"]
    modules = [
        f"load_module {nginx}/usr/lib/nginx/modules/{name};"
        for name in ("ndk_http_module.so", "ngx_http_lua_module.so")
    ]
    changes = {
        "nsfl-client-selector.n.svc.cluster.local:50055": "127.0.0.1:9",
        "lua/?.lua;;": f"lua/?.lua;{nginx}/usr/share/lua/5.1/?.lua;;",
        " /tmp/": f" {room}/",
        **{f"listen {number}": f"listen 127.0.0.1:{port}" for number, port in ports.items()},
    }
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    (room / "conf").mkdir()
    (room / "logs").mkdir()
    (room / "conf" / "nginx.conf").write_text("\n".join([*modules, text]))
    shutil.copytree(LIBRARY / "deploy" / "configs" / "proxy" / "lua", room / "lua")


@pytest.fixture
def proxy(nginx: Path, tmp_path: Path) -> Iterator[dict[str, int]]:
    """The proxy as it runs in its pod, with the token in its environment; its ports by those of the manifest."""
    ports = {number: _free_port() for number in ("30091", "30092", "8092")}
    configured(nginx, tmp_path, ports)
    let_in(tmp_path)  # as root, nginx has workers that are nobody
    libraries = f"{nginx}/usr/lib/x86_64-linux-gnu:{nginx}/lib/x86_64-linux-gnu"
    command = [
        str(nginx / "usr/sbin/nginx"),
        "-p",
        str(tmp_path),
        "-c",
        f"{tmp_path}/conf/nginx.conf",
        "-g",
        "daemon off;",
    ]
    with (tmp_path / "out").open("w") as out:
        running = subprocess.Popen(command, env={"TOKEN": TOKEN, "LD_LIBRARY_PATH": libraries}, stdout=out, stderr=out)
    end = time.monotonic() + 20
    while asked(ports["30092"], "/api/v1/health") != 200:
        assert running.poll() is None, (tmp_path / "out").read_text()
        assert time.monotonic() < end, (tmp_path / "out").read_text()
        time.sleep(0.1)
    yield ports
    running.terminate()
    running.wait()


def asked(port: int, path: str, method: str = "GET", **headers: str) -> int:
    """The status of an answer, 0 for none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


ROUTES = "/api/v1/internal/routers"
ROUTE = {"module_id": "default-job", "module_service": "default-job:50051"}


def test_the_proxy_takes_routes_with_the_stack_s_token_only(proxy: dict[str, int]) -> None:
    inside = proxy["8092"]
    assert asked(inside, ROUTES, "POST", token="Fl-ZTE", **ROUTE) == 401
    assert asked(inside, ROUTES, "POST", **ROUTE) == 401
    assert asked(inside, ROUTES, "GET", token=TOKEN, **ROUTE) == 404
    assert asked(inside, ROUTES, "POST", token=TOKEN, **ROUTE) == 200
    assert asked(inside, ROUTES, "GET", token=TOKEN, **ROUTE) == 200
    assert asked(inside, ROUTES, "DELETE", token=TOKEN, **ROUTE) == 200
    assert asked(inside, ROUTES, "GET", token=TOKEN, **ROUTE) == 404


def test_ports_of_nodes_have_no_routes(proxy: dict[str, int]) -> None:
    assert asked(proxy["30092"], ROUTES, "POST", token=TOKEN, **ROUTE) == 404
    assert asked(proxy["30092"], "/api/v1/health") == 200
    assert asked(proxy["8092"], "/") == 404
