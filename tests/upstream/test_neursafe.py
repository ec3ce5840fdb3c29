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
import http.server
import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests import neursafe_looks
from ansible_collections.fedlearn.infra.plugins.plugin_utils._manifests.catalogue import MANIFESTS
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.neursafe import check_servers
from tests.support import neursafe_programs

CHECKOUT = Path(__file__).resolve().parents[2]
UPSTREAM = os.environ.get("FEDLEARN_UPSTREAM_DIR", "")
LIBRARY = Path(UPSTREAM) / "neursafe"
WITHOUT = "the library isn't here: FEDLEARN_UPSTREAM_DIR names no folder with a checkout of it as neursafe/"
SERVERS = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
FERRETDB = sorted((CHECKOUT / "build" / "go").glob("*/ferretdb"))
"""As role mongodb built it, or nothing."""
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
def postgresql() -> Iterator[Path]:
    """A PostgreSQL on a socket and a port of loopback; the folder of its programs."""
    if not UPSTREAM:
        pytest.skip(WITHOUT)
    if not SERVERS:
        pytest.skip("there is no PostgreSQL on this machine")
    # not in pytest's own folder: each run of it closes that to other users, also while another one goes on
    programs, room = SERVERS[-1].parent, Path(tempfile.mkdtemp(prefix="postgresql-"))
    (room / "password").write_text(PASSWORD)
    room.chmod(0o755)
    shutil.chown(room, "postgres")
    as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    login = ["--username=neursafe", f"--pwfile={room}/password", "--auth=scram-sha-256"]
    subprocess.run([*as_user, str(programs / "initdb"), "-D", f"{room}/data", *login], check=True, capture_output=True)
    options = f"-c listen_addresses=127.0.0.1 -c port={PORT} -c unix_socket_directories={room}"
    control = [*as_user, str(programs / "pg_ctl"), "-D", f"{room}/data", "-l", f"{room}/log", "-w", "-t", "300"]
    subprocess.run([*control, "-o", options, "start"], check=True, capture_output=True)
    yield programs
    subprocess.run([*control, "-m", "immediate", "stop"], check=True, capture_output=True)
    shutil.rmtree(room)


def told(postgresql: Path, statement: str) -> str:
    command = ["psql", "-XAtq", "-h", "127.0.0.1", "-p", str(PORT), "-U", "neursafe", "-d", "postgres", "-c", statement]
    done = subprocess.run(
        command, env={**os.environ, "PGPASSWORD": PASSWORD}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


class _Values:
    """Secrets that are their names."""

    def __call__(self, name: str) -> str:
        return name

    def turn(self, _name: str) -> str:
        return "a"


def table_container(**database: str) -> dict[str, Any]:
    """The container of the job scheduler's pod that makes its table."""
    told = {"address": f"127.0.0.1:{PORT}", "username": "neursafe", "secret": "d", "name": "postgres", **database}
    instance = {"name": "n", "images": {"tag": "1"}, "storage": {"type": "posix"}, "database": told, "token": "t"}
    made = MANIFESTS["neursafe_server"].objects(check_servers([instance])[0], _Values(), str)
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


# -- FerretDB, which is what role mongodb brings


def in_ferretdb(python: str, port: int, login: str, password: str, database: str, script: str) -> str:
    """What a script prints that has `session`."""
    begin = (
        "import pymongo\n"
        f"session = pymongo.MongoClient('127.0.0.1', {port}, username={login!r}, password={password!r}, "
        f"authSource={database!r}, authMechanism='SCRAM-SHA-256', directConnection=True)\n"
    )
    done = subprocess.run([python, "-c", begin + script], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def of_its_time() -> str:
    """Python 3.7 with the library whole: no other has a pymongo that it can log in by."""
    if neursafe_programs.missing():
        pytest.skip(neursafe_programs.missing())
    return str(neursafe_programs.brought())


@pytest.fixture
def ferretdb(of_its_time: str, tmp_path: Path) -> Iterator[int]:
    """Its port, as role mongodb starts it but for TLS; with the login that the role makes for the server."""
    if not FERRETDB:
        pytest.skip("there is no FerretDB in build/go, where role mongodb keeps it")
    port, debug, data = _free_port(), _free_port(), tmp_path / "data"
    data.mkdir()
    setup = {"DATABASE": "administrators", "USERNAME": "fedlearn", "PASSWORD": PASSWORD}
    command = [str(FERRETDB[-1]), "--handler=sqlite", f"--sqlite-url=file:{data}/", f"--state-dir={tmp_path}"]
    command += ["--telemetry=disable", "--test-enable-new-auth", "--log-level=WARN"]
    command += [f"--listen-addr=127.0.0.1:{port}", f"--debug-addr=127.0.0.1:{debug}"]
    environment = {**os.environ, **{f"FERRETDB_SETUP_{key}": value for key, value in setup.items()}}
    with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as server:
        try:
            make = f"session['neursafe_fl'].command({{'createUser': 'server_a', 'pwd': {PASSWORD!r}, 'roles': []}})"
            in_ferretdb(of_its_time, port, "fedlearn", PASSWORD, "administrators", make)
            yield port
        finally:
            server.terminate()


def test_the_library_makes_its_collection_once_in_ferretdb(of_its_time: str, ferretdb: int) -> None:
    address = f"127.0.0.1:{ferretdb}"
    container = table_container(engine="mongo", name="neursafe_fl", address=address, username="server_a")
    values = {one["name"]: one.get("value", "") for one in container["env"]}
    values |= {"DB_USERNAME": "server_a", "DB_PASSWORD": PASSWORD}
    look = "print(session['neursafe_fl'].list_collection_names(), session['neursafe_fl']['jobs'].count_documents({}))"
    keep = "session['neursafe_fl']['jobs'].insert_one({'id': 'kept'})"
    for count in range(2):
        program = [of_its_time, "-c", container["command"][2]]
        done = subprocess.run(program, env=values, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        said = in_ferretdb(of_its_time, ferretdb, "server_a", PASSWORD, "neursafe_fl", look)
        assert said == f"['jobs'] {count}"
        in_ferretdb(of_its_time, ferretdb, "server_a", PASSWORD, "neursafe_fl", keep)
    values["DB_PASSWORD"] = "another"
    done = subprocess.run(program, env=values, capture_output=True, text=True, check=False)
    assert (done.returncode, "uthentication" in done.stderr) == (1, True), done.stderr


# -- the proxy

PACKAGES = (
    "nginx",
    "libnginx-mod-http-lua",
    "libnginx-mod-http-ndk",
    "libnginx-mod-stream",
    "lua-resty-core",
    "lua-resty-lrucache",
    "libluajit2-5.1-2",
    "libpcre3",
)
TOKEN = "the stack's own"


@pytest.fixture(scope="session")
def nginx() -> Path:
    """Debian's nginx with Lua and streams, unpacked and not installed."""
    if not UPSTREAM:
        pytest.skip(WITHOUT)
    if not shutil.which("apt-get"):
        pytest.skip("nginx with Lua comes from Debian's packages, and this machine has no apt-get")
    room = CHECKOUT / "build" / "nginx-of-debian"
    if not (room / "whole").exists():
        room.mkdir(parents=True, exist_ok=True)
        got = subprocess.run(["apt-get", "download", "-q", *PACKAGES], cwd=room, capture_output=True, check=False)
        if got.returncode:
            pytest.skip(f"Debian's packages can't be had: {got.stderr.decode()[-300:]}")
        for package in room.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(room)], check=True)
        (room / "whole").touch()
    return room


def setup(name: str, **more: Any) -> str:
    """The nginx.conf of a ConfigMap of the manifests."""
    instance = {"name": "n", "images": {"tag": "1"}, "storage": {"type": "posix"}, "token": "t"}
    database = {"address": "127.0.0.1:5432", "username": "neursafe", "secret": "d"}
    given = instance | {"database": database} | more
    made = MANIFESTS["neursafe_server"].objects(check_servers([given])[0], _Values(), str)
    (one,) = [each for each in made if each["kind"] == "ConfigMap" and each["metadata"]["name"] == name]
    return str(one["data"]["nginx.conf"])


def configured(nginx: Path, room: Path, ports: dict[str, int], behind: int) -> None:
    """The proxy's nginx.conf, but for what is another here: where modules lie, ports, and folders for what is brief."""
    text = setup("nsfl-proxy", ingress={"controller": "nginx_host"})
    modules = [
        f"load_module {nginx}/usr/lib/nginx/modules/{name};"
        for name in ("ndk_http_module.so", "ngx_http_lua_module.so")
    ]
    changes = {
        "nsfl-client-selector.n.svc.cluster.local:50055": "127.0.0.1:9",
        "nsfl-job-scheduler.n.svc.cluster.local:8088": f"127.0.0.1:{behind}",
        "nsfl-model-manager.n.svc.cluster.local:50057": "127.0.0.1:9",
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


@contextmanager
def running(nginx: Path, room: Path, there: Callable[[], bool]) -> Iterator[None]:
    """nginx by the nginx.conf of a folder, for the time of the block."""
    let_in(room)  # as root, nginx has workers that are nobody
    libraries = f"{nginx}/usr/lib/x86_64-linux-gnu:{nginx}/lib/x86_64-linux-gnu"
    command = [str(nginx / "usr/sbin/nginx"), "-p", str(room), "-c", f"{room}/conf/nginx.conf", "-g", "daemon off;"]
    with (room / "out").open("w") as out:
        process = subprocess.Popen(command, env={"TOKEN": TOKEN, "LD_LIBRARY_PATH": libraries}, stdout=out, stderr=out)
    try:
        end = time.monotonic() + 20
        while not there():
            assert process.poll() is None, (room / "out").read_text()
            assert time.monotonic() < end, (room / "out").read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def proxy(nginx: Path, tmp_path: Path) -> Iterator[dict[str, int]]:
    """The proxy as it runs in its pod, with the token in its environment; its ports by those of the manifest."""
    ports = {number: _free_port() for number in ("30091", "30092", "8092", "30083")}
    behind = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Told)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    configured(nginx, tmp_path, ports, behind.server_address[1])
    with running(nginx, tmp_path, lambda: asked(ports["30092"], "/api/v1/health") == 200):
        yield ports
    behind.shutdown()


class _Told(http.server.BaseHTTPRequestHandler):
    """A double of the job scheduler: takes everything."""

    def do_GET(self) -> None:
        self.send_response(202)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Says nothing."""


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


def test_what_verify_tries_of_the_proxy_holds(proxy: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    inside = f"127.0.0.1:{proxy['8092']}"
    monkeypatch.setitem(os.environ, "TOKEN", TOKEN)
    assert neursafe_looks.takes_the_token(inside) is None
    assert neursafe_looks.refuses_another_token(inside) is None
    assert neursafe_looks.speaks_grpc(f"127.0.0.1:{proxy['30091']}") is None
    monkeypatch.setitem(os.environ, "TOKEN", "another")
    assert neursafe_looks.takes_the_token(inside) == "answers 401 to it"


def test_ports_of_nodes_have_no_routes(proxy: dict[str, int]) -> None:
    assert asked(proxy["30092"], ROUTES, "POST", token=TOKEN, **ROUTE) == 404
    assert asked(proxy["30092"], "/api/v1/health") == 200
    assert asked(proxy["8092"], "/") == 404


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/namespaces/default/jobs", 202),
        ("/api/v1/namespaces/default/jobs/first:start", 202),
        ("/api/v1/health", 202),
        ("/api/v1/namespaces/default/models/net?version=V0", 502),  # nobody is behind it here
        ("/api/v1/models?model_id=a", 502),
        (ROUTES, 404),
        ("/api/v1/namespaces/default/pods", 404),
        ("/", 404),
    ],
)
def test_users_paths_lead_to_job_scheduler_and_model_manager(proxy: dict[str, int], path: str, status: int) -> None:
    assert asked(proxy["30083"], path) == status


# -- the way to MongoDB


def certified(room: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own for a name, and its key."""
    certificate, key = room / f"{name}.pem", room / f"{name}.key"
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    named = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made, *named, *files], check=True, capture_output=True)
    return certificate, key


def echoed(port: int) -> bytes:
    """What comes back through the way in; nothing where it is cut off."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as there:
            there.sendall(b"hello")
            return there.recv(5)
    except OSError:
        return b""


@pytest.mark.parametrize(("trusted", "said"), [("localhost", b"hello"), ("stranger", b""), ("elsewhere", b"")])
def test_the_way_to_mongodb_is_tls_to_whom_it_trusts_by_name(
    nginx: Path, tmp_path: Path, trusted: str, said: bytes
) -> None:
    """As `elsewhere` it is the right certificate for another name."""
    shown = "other.example" if trusted == "elsewhere" else "localhost"
    certificate, key = certified(tmp_path, shown)
    stranger, _key = certified(tmp_path, "stranger")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            connection, _address = listening.accept()
            try:
                with context.wrap_socket(connection, server_side=True) as there:
                    there.sendall(there.recv(5))
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    way, port = _free_port(), listening.getsockname()[1]
    database = {"address": f"localhost:{port}", "username": "u", "secret": "d", "engine": "mongodb", "ca": "/ca"}
    text = setup("tunnel", database=database)
    changes = {
        " /tmp/": f" {tmp_path}/",
        "127.0.0.1:27017": f"127.0.0.1:{way}",
        "/trust/database.pem": str(stranger if trusted == "stranger" else certificate),
    }
    for before, after in changes.items():
        assert before in text
        text = text.replace(before, after)
    (tmp_path / "conf").mkdir()
    (tmp_path / "logs").mkdir()
    module = f"load_module {nginx}/usr/lib/nginx/modules/ngx_stream_module.so;\n"
    (tmp_path / "conf" / "nginx.conf").write_text(module + text)

    def listens() -> bool:
        try:
            socket.create_connection(("127.0.0.1", way), timeout=1).close()
        except OSError:
            return False
        return True

    with running(nginx, tmp_path, listens):
        assert echoed(way) == said
