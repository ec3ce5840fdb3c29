# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The nginx role on one host, as an unprivileged sudo user. curl and the upstreams run on the host itself."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import role_host
import yaml
from role_host import RoleHost
from shared_tests import Certified, Listening, ipv6, withdrawing

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
UNITS = ("nginx.service",)
UPSTREAMS = {"one": ("{address} 7001", True), "two": ("{address} 7002", True), "plain": ("127.0.0.1 7009", False)}


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "nginx", VARIABLES)


@pytest.fixture
def upstreams(role: RoleHost) -> Iterator[None]:
    """Two servers that speak TLS and a plain one."""
    program = base64.b64encode((Path(role_host.__file__).parent / "upstream.py").read_bytes()).decode()
    role.sh(f"echo {program} | base64 -d > /root/upstream.py")
    for name, (place, tls) in UPSTREAMS.items():
        pair = "/etc/role-test/server.pem /etc/role-test/server.key" if tls else ""
        role.sh(
            f"systemd-run -q --unit up-{name} python3 /root/upstream.py {place.format(address=role.address)} {pair}"
        )
    role.sh("sleep 1")
    yield
    role.try_sh("systemctl stop up-one up-two up-plain; systemctl reset-failed 'up-*'")


def sites(which: str, **changed: Any) -> list[dict[str, Any]]:
    """The scenario's sites, one of them changed."""
    return [{**site, **changed} if site["name"] == which else site for site in VARIABLES["nginx_sites"]]


SCRIPT = """
import ssl, urllib.error, urllib.request
context = ssl.create_default_context(cafile="/etc/role-test/ca.pem")
if {certificate!r}:
    context.load_cert_chain("/etc/role-test/{certificate}.pem", "/etc/role-test/{certificate}.key")
request = urllib.request.Request({url!r}, data={size!r} and b"x" * {size!r}, headers={headers!r})
for _ in range({times!r}):
    try:
        with urllib.request.urlopen(request, context=context, timeout=120) as answer:
            print(answer.status, answer.read().decode(), flush=True)
    except urllib.error.HTTPError as error:
        print(error.code, flush=True)
"""


def command(
    url: str,
    size: int = 0,
    host: str = "",
    certificate: str = "",
    times: int = 1,
    more: Mapping[str, str] | None = None,
) -> str:
    """A shell command that asks for a URL, from the host itself and by its own Python; ``more`` headers go with it."""
    headers = {**({"Host": host} if host else {}), **(more or {})}
    script = SCRIPT.format(url=url, size=size or None, headers=headers, certificate=certificate, times=times)
    return f"echo {base64.b64encode(script.encode()).decode()} | base64 -d | python3 -"


def ask(role: RoleHost, url: str, size: int = 0, **more: Any) -> tuple[int, str]:
    """Status and body of a request; ``size`` is that of the body sent, 0 for GET."""
    code, _blank, body = role.sh(command(url, size, **more)).strip().partition(" ")
    return int(code), body


def pid(role: RoleHost) -> str:
    return role.sh("systemctl show -p MainPID -p ExecMainStartTimestampMonotonic nginx.service")


@pytest.mark.usefixtures("upstreams")
def test_upstreams_are_asked_in_turn_over_verified_tls(role: RoleHost) -> None:
    ports = {json.loads(ask(role, f"https://{role.address}:6666/startFLJob", 3)[1])["port"] for _turn in range(4)}
    assert ports == {7001, 7002}


@pytest.mark.usefixtures("upstreams")
def test_a_killed_servers_posts_go_to_the_other(role: RoleHost) -> None:
    role.sh("systemctl kill --signal KILL up-one")
    url = f"https://{role.address}:6666/updateModel"
    answers = [ask(role, url, 4000000)[0] for _turn in range(6)]
    assert answers == [200] * 6
    last = logged(role, "nginx-proxy")[-1]
    assert (last["path"], last["status"]) == ("/", 200)


def logged(role: RoleHost, site: str) -> list[dict[str, Any]]:
    return [json.loads(row) for row in role.sh(f"cat /var/log/nginx/fedlearn-{site}.access.log").splitlines()]


@pytest.mark.usefixtures("upstreams")
def test_no_token_of_a_request_is_logged(role: RoleHost) -> None:
    """Neither where a request goes well, nor where it is refused, nor where nginx has no room to lay its body aside."""
    paths = [{"path": "/jobs/*/state"}, {"path": "/updates/", "prefix": True}]
    assert role.play(nginx_sites=sites("nginx-plain", paths=paths)).changed == 1
    role.sh("sleep 1")
    token, before = "CANARY-token", len(logged(role, "nginx-plain"))
    asked = (f"/jobs/{token}/state", f"/updates/{token}")
    urls = [f"http://127.0.0.1:8080{path}?key={token}" for path in asked]
    role.sh("chown root /var/lib/nginx/body")
    try:
        answers = [ask(role, url, host="a.test")[0] for url in urls]
        answers += [ask(role, f"http://127.0.0.1:8080/{token}", host=name)[0] for name in ("a.test", "b.test")]
        answers += [ask(role, urls[1], size, host="a.test")[0] for size in (900_000, 2_000_000)]
    finally:
        role.sh("chown www-data /var/lib/nginx/body")
        again = role.play()
    assert answers == [200, 200, 404, 421, 500, 413]
    rows = logged(role, "nginx-plain")[before:]
    told = ["/jobs/*/state", "/updates/", "", "", "/updates/", ""]
    assert [(row["path"], row["status"]) for row in rows] == list(zip(told, answers, strict=True))
    assert role.try_sh("grep -r CANARY /var/log/nginx")[1] == ""
    assert "CANARY" not in role.sh("journalctl -u nginx --no-pager")
    assert again.changed == 1


@pytest.mark.usefixtures("upstreams")
def test_an_upstream_of_another_ca_is_not_asked(role: RoleHost) -> None:
    wrong = sites("nginx-proxy")[0]["upstream"] | {"tls": {"ca": "/etc/role-test/other.pem", "name": "server.test"}}
    assert role.play(nginx_sites=sites("nginx-proxy", upstream=wrong)).changed == 1
    assert ask(role, f"https://{role.address}:6666/", 1)[0] == 502
    wrong = sites("nginx-proxy")[0]["upstream"] | {"tls": {"ca": "/etc/role-test/ca.pem", "name": "somebody.test"}}
    assert role.play(nginx_sites=sites("nginx-proxy", upstream=wrong)).changed == 1
    assert ask(role, f"https://{role.address}:6666/", 1)[0] == 502
    assert role.play().changed == 1
    assert ask(role, f"https://{role.address}:6666/", 1)[0] == 200


@pytest.mark.usefixtures("upstreams")
def test_bodies_beyond_the_limit_are_refused(role: RoleHost) -> None:
    assert ask(role, f"https://{role.address}:6666/", 8 * 1024 * 1024)[0] == 200
    assert ask(role, "http://127.0.0.1:8080/", 2 * 1024 * 1024, host="a.test")[0] == 413


@pytest.mark.usefixtures("upstreams")
@pytest.mark.parametrize(("certificate", "status"), [("client", 200), ("server", 403), ("stranger", 400), ("", 400)])
def test_clients_by_exact_subject(role: RoleHost, certificate: str, status: int) -> None:
    assert ask(role, f"https://{role.address}:11202/state", certificate=certificate)[0] == status


@pytest.mark.usefixtures("upstreams")
def test_subjects_are_exact(role: RoleHost) -> None:
    tls = sites("nginx-rest")[1]["tls"]
    for names, status in ((["CLIENT"], 403), (["clien."], 403), (["client2", "CN=client"], 200), (["clien"], 403)):
        assert role.play(nginx_sites=sites("nginx-rest", tls=tls | {"client_names": names})).changed == 1
        role.sh("sleep 1")
        assert ask(role, f"https://{role.address}:11202/", certificate="client")[0] == status, names
    assert role.play(nginx_sites=sites("nginx-rest", allow=["10.255.255.0/24"])).changed == 1
    role.sh("sleep 1")
    assert ask(role, f"https://{role.address}:11202/", certificate="client")[0] == 403
    assert role.play().changed == 1


@pytest.mark.usefixtures("upstreams")
def test_another_host_is_refused(role: RoleHost) -> None:
    assert ask(role, "http://127.0.0.1:8080/", 1, host="A.test")[0] == 200
    assert ask(role, "http://127.0.0.1:8080/", 1, host="b.test")[0] == 421
    assert ask(role, "http://127.0.0.1:8080/", 1)[0] == 421


LINE = """
import socket
with socket.create_connection(("127.0.0.1", 8080), 10) as stream:
    stream.sendall({request!r}.encode())
    print(stream.recv(4096).decode().split()[1])
"""


@pytest.mark.usefixtures("upstreams")
@pytest.mark.parametrize(
    ("target", "header", "status"),
    [
        ("/ HTTP/1.1", "a.test", 200),
        ("/ HTTP/1.1", "a.test:8080", 200),
        ("http://a.test/ HTTP/1.1", "a.test", 200),
        ("http://a.test/ HTTP/1.1", "b.test", 421),
        ("http://b.test/ HTTP/1.1", "a.test", 421),
        ("/ HTTP/1.1", "a.test.b.test", 421),
        ("/ HTTP/1.0", "", 421),
        ("http://a.test/ HTTP/1.0", "", 421),
    ],
)
def test_a_name_before_the_path_hides_no_other(role: RoleHost, target: str, header: str, status: int) -> None:
    """nginx chooses a site by the former, and the server would get the latter."""
    named = f"Host: {header}\r\n" if header else ""
    script = LINE.format(request=f"GET {target}\r\n{named}Connection: close\r\n\r\n")
    assert int(role.sh(f"echo {base64.b64encode(script.encode()).decode()} | base64 -d | python3 -")) == status


@pytest.mark.usefixtures("upstreams")
def test_the_server_is_told_the_subject_by_nginx_alone(role: RoleHost) -> None:
    tls = sites("nginx-rest")[1]["tls"] | {"client_names": [], "subject_header": "X-Subject"}
    paths = [{"path": "/open", "without_certificate": True}, {"path": "/known"}]
    assert role.play(nginx_sites=sites("nginx-rest", tls=tls, paths=paths)).changed == 1
    role.sh("sleep 1")
    told = {}
    for path, certificate in (("known", "client"), ("open", "")):
        url = f"https://{role.address}:11202/{path}"
        forged = {"X-Subject": "CN=admin", "X_Subject": "CN=admin", "X-Forwarded-For": "192.0.2.9"}
        status, body = ask(role, url, certificate=certificate, more=forged)
        assert status == 200
        told[path] = json.loads(body)["headers"]
    assert "admin" not in json.dumps(told)
    assert [found.get("X-Subject") for found in told.values()] == ["CN=client", None]
    assert {found["X-Forwarded-For"] for found in told.values()} == {role.address}
    assert role.play().changed == 1


PATHS = [
    {"path": "/open", "without_certificate": True},
    {"path": "/admin", "client_names": ["client"], "allow": ["{address}/32"]},
    {"path": "/data/", "prefix": True, "body_size_mb": 3, "read_timeout_seconds": 86400},
    {"path": "/jobs/*/state"},
]
ASKED = [
    ("/open", "", 200),
    ("/open", "stranger", 400),
    ("/open/more", "", 404),
    ("/admin", "client", 200),
    ("/%61dmin", "client", 200),
    ("/admin", "server", 403),
    ("/admin", "", 403),
    ("/admin/more", "client", 404),
    ("/data/x", "server", 200),
    ("/data/x", "", 403),
    ("/data/../admin", "server", 403),
    ("/open/../admin", "", 403),
    ("//admin", "", 403),
    ("/open/%2e%2e/data/x", "", 403),
    ("/jobs/1/state", "client", 200),
    ("/jobs/1/state", "", 403),
    ("/jobs/1/2/state", "client", 404),
    ("/jobs/1/state%0a", "client", 404),
    ("/", "client", 404),
]


@pytest.mark.usefixtures("upstreams")
def test_paths_have_clients_of_their_own_and_nothing_else_is_served(role: RoleHost) -> None:
    tls = sites("nginx-rest")[1]["tls"] | {"client_names": []}
    paths = json.loads(json.dumps(PATHS).replace("{address}", role.address))
    assert role.play(nginx_sites=sites("nginx-rest", tls=tls, paths=paths)).changed == 1
    role.sh("sleep 1")
    url = f"https://{role.address}:11202"
    found = [(path, who, ask(role, url + path, certificate=who)[0]) for path, who, _status in ASKED]
    assert found == ASKED
    assert ask(role, f"{url}/data/x", 2 * 1024 * 1024, certificate="client")[0] == 200
    assert ask(role, f"{url}/open", 2 * 1024 * 1024)[0] == 413
    elsewhere = [path | ({"allow": ["10.255.255.0/24"]} if path["path"] == "/admin" else {}) for path in paths]
    assert role.play(nginx_sites=sites("nginx-rest", tls=tls, paths=elsewhere)).changed == 1
    role.sh("sleep 1")
    assert ask(role, f"{url}/admin", certificate="client")[0] == 403
    assert ask(role, f"{url}/open")[0] == 200
    assert role.play().changed == 1


@pytest.mark.usefixtures("upstreams")
def test_beyond_the_limits_is_refused(role: RoleHost) -> None:
    one = command(f"https://{role.address}:6666/slow")
    for limits, status in (({"clients": 2}, 503), ({"clients_per_address": 2}, 503)):
        assert role.play(nginx_sites=sites("nginx-proxy", limits=limits)).changed == 1
        role.sh("sleep 1")
        said = role.sh(
            f"rm -f /root/said; for turn in 1 2 3 4; do ({one} >> /root/said 2>&1) & done; wait; cat /root/said"
        )
        assert sorted(line.split()[0] for line in said.splitlines()) == ["200", "200", str(status), str(status)]
    for limits in ({"requests_per_second": 1, "burst": 1}, {"total_requests_per_second": 1}):
        assert role.play(nginx_sites=sites("nginx-proxy", limits=limits)).changed == 1
        role.sh("sleep 1")
        said = [line.split()[0] for line in role.sh(command(f"https://{role.address}:6666/", times=4)).splitlines()]
        assert said[:2] == ["200", "200"]
        assert "429" in said
    assert role.play().changed == 1


@pytest.mark.usefixtures("upstreams")
def test_a_poll_that_lasts_is_watched_and_not_cut_off(role: RoleHost) -> None:
    listen = [{"address": role.address, "port": 6666, "find_dead_peers": True}]
    assert role.play(nginx_sites=sites("nginx-proxy", listen=listen, read_timeout_seconds=86400)).changed == 1
    role.sh("sleep 1")
    before = pid(role)
    poll = command(f"https://{role.address}:6666/sleep/75")
    role.sh(f"rm -f /root/poll; ({poll} > /root/poll 2>&1) > /dev/null 2>&1 &")
    role.sh("sleep 2")
    assert "timer:(keepalive," in role.sh("ss -Htno state established '( sport = :6666 )'")
    assert role.play(nginx_sites=sites("nginx-plain", body_size_mb=5)).changed > 0  # nginx reloads under it
    role.sh("for turn in $(seq 90); do [ -s /root/poll ] && break; sleep 1; done")
    assert role.sh("cat /root/poll").split()[0] == "200"
    assert pid(role) == before
    role.play()


def test_nginx_bears_the_connections_its_sites_are_for(role: RoleHost) -> None:
    def number() -> int:
        return int(role.sh("sed -n 's/.*worker_connections \\([0-9]*\\);.*/\\1/p' /etc/nginx/nginx.conf"))

    before = pid(role)
    assert number() == 4096
    role.sh("cd /etc/nginx; cp -p nginx.conf /root/kept; sed -i 's/connections 4096/connections 768/' nginx.conf")
    assert role.play("--check").changed > 0
    assert number() == 768
    workers = role.sh("pgrep -P $(cat /run/nginx.pid)").split()
    assert role.play().failed == 0
    assert number() == 4096
    role.sh("cmp /etc/nginx/nginx.conf /root/kept")
    role.sh("sed -i 's/worker_connections 4096/worker_connections 9999/' /etc/nginx/nginx.conf")
    assert role.play().failed == 0
    assert number() == 9999
    role.sh("sed -i 's/worker_connections 9999;//' /etc/nginx/nginx.conf")
    told = role.play()
    assert "there is no line 'worker_connections NUMBER;': add one with at least 4096" in told.words
    role.sh("mv /root/kept /etc/nginx/nginx.conf")
    assert role.play().failed == 0
    assert pid(role) == before
    role.sh("for turn in $(seq 20); do pgrep -P $(cat /run/nginx.pid) > /root/now; sleep 0.5; done")
    assert not set(workers) & set(role.sh("cat /root/now").split())


def test_listens_on_its_addresses_only(role: RoleHost) -> None:
    lines = role.sh("ss -Hltnp | grep nginx").splitlines()
    wanted = [f"{role.address}:6666", f"{role.address}:11202", "127.0.0.1:8080"]
    assert sorted(line.split()[3] for line in lines) == sorted(wanted)  # Debian's port 80 isn't among them


def test_the_unit_is_hardened_and_has_its_files(role: RoleHost) -> None:
    assert role.exposure("nginx.service") <= 2.8  # roles/nginx/README.md says why not 2.5
    allowed = min(65535, int(role.sh("awk '/open files/ {print $5}' /proc/1/limits")))
    limits = role.sh("for p in $(pgrep nginx); do awk '/open files/ {print $4}' /proc/$p/limits; done").split()
    assert set(limits) == {str(allowed)}
    assert role.sh("stat -c %a /var/log/nginx/fedlearn-nginx-proxy.access.log").strip() == "640"


class TestNginx(Listening, Certified):
    units, owned = UNITS, 4
    changed = {"nginx_sites": sites("nginx-plain", body_size_mb=3)}
    package = ("nginx_packages", "nginx")
    unfit, serves_at, ended = "key values mismatch", 6666, " has ended on 2020-02-01T00:00:00Z"
    name, loopback = "nginx-third", {"address": "::1"}
    wrong = (
        (
            {"listen": [{"address": "127.0.0.1", "port": "80"}]},
            "nginx_sites[2]: listen[0].port: expected a whole number from 1 to 65535",
        ),
        ({"listen": [{"address": "0.0.0.0", "port": 80}]}, "listen[0].address: '0.0.0.0' is no address of one host"),
        ({"listen": []}, "nginx_sites[2]: listen: expected"),
        ({"upstream": {"servers": ["back_end:80"]}}, "upstream.servers[0]: 'back_end:80' is no DNS name"),
        ({"upstream": {"servers": ["fd00::1:80"]}}, "write [ADDRESS]:PORT"),
        ({"allow": ["10.0.0.1/8"]}, "allow[0]: '10.0.0.1/8' has host bits set: write 10.0.0.0/8"),
        ({"server_names": ["a b; }"]}, "server_names[0]: 'a b; }' is no DNS name"),
        ({"tls": {"certificate": "x", "key": "/k"}}, "tls.certificate: 'x' is no absolute path"),
        (
            {"tls": {"certificate": "/c", "key": "/k", "client_names": ["x"]}},
            "needs client_ca: the CA that vouches for them",
        ),
        ({"upstream": {"servers": ["127.0.0.1:1"], "tls": {"ca": "/c"}}}, "missing required arguments: name"),
        ({"body_size_mb": 0}, "body_size_mb: expected a whole number from 1"),
        ({"paths": [{"path": "admin"}]}, "paths[0].path: 'admin' is not a path without query"),
        ({"paths": [{"path": "/a"}, {"path": "/a"}]}, "paths[1].path: '/a' stands there twice"),
        ({"paths": [{"path": "/a", "client_names": ["x"]}]}, "paths[0].client_names: needs tls.client_ca"),
        ({"limits": {"clients": 0}}, "limits.clients: expected a whole number from 1"),
        (
            {"limits": {"clients": 40000}},
            "nginx_open_files: 65535 are too few, since the sites' limits.clients ask for 82560 connections",
        ),
        (
            {"upstream": {"servers": ["127.0.0.1:1"], "connect_timeout_seconds": 76}},
            "upstream.connect_timeout_seconds: expected a whole number from 1 to 75, found the number 76",
        ),
        ({"name": "nginx-rest"}, "nginx_sites[2]: name: 'nginx-rest' is also the name of [1]"),
        ({"server_name": ["x"]}, "Supported parameters include"),
    )

    def with_(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        return {"nginx_sites": sites("nginx-plain", **changed)}

    def with_more(self, port: int = 8081, address: str = "127.0.0.1", **changed: Any) -> dict[str, Any]:
        more = {"name": self.name, "federation": "nginx-one", "upstream": {"servers": ["127.0.0.1:7009"]}}
        listen = [{"address": address, "port": port}]
        return {"nginx_sites": [*VARIABLES["nginx_sites"], {**more, "listen": listen, **changed}]}

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def room(cls, host: Any) -> None:
        """For a third site: nginx' connections are only ever raised, since other federations share them."""
        role, test = RoleHost(host, "nginx", VARIABLES), cls()
        added = role.play(**test.with_more())
        assert added.code == 0, added.text
        test.without_more(role)


def test_a_port_that_a_service_of_a_former_document_holds_is_named_with_the_way_out(role: RoleHost) -> None:
    role.sh("systemd-run --quiet --unit=fedlearn-orphan python3 -m http.server --bind 127.0.0.1 8999")
    try:
        role.sh("for i in $(seq 300); do ss -Hltn 'sport = :8999' | grep -q . && exit 0; sleep 0.1; done; exit 1")
        run = role.play(nginx_sites=sites("nginx-plain", listen=[{"address": "127.0.0.1", "port": 8999}]))
    finally:
        role.sh("systemctl stop fedlearn-orphan.service")
    assert run.failed == 1
    told = "fedlearn-orphan.service): give one of the two another port or, if no document has it any more"
    assert told in run.words


@pytest.mark.usefixtures("upstreams")
def test_addresses_are_names_too(role: RoleHost) -> None:
    """Of IPv6 in brackets, wherever they are said."""
    six = {"name": "nginx-six", "federation": "nginx-one", "upstream": {"servers": ["127.0.0.1:7009"]}}
    six |= {"listen": [{"address": "::1", "port": 8083}], "server_names": ["::1"]}
    both = [*sites("nginx-proxy", server_names=[role.address]), six]
    with ipv6(role):
        try:
            run = role.play(nginx_sites=both)
            assert (run.code, run.changed) == (0, 1), run.text
            role.sh("sleep 1")
            told = [ask(role, "http://[::1]:8083/", host=name)[0] for name in ("", "[::2]", "b.test")]
            told += [ask(role, f"https://{role.address}:6666/", host=name)[0] for name in ("", "b.test")]
            assert told == [200, 421, 421, 200, 421]
            assert role.play(nginx_sites=both).changed == 0
            looked = role.play(entry="check", nginx_sites=both)
            assert looked.code == 0, looked.text
            late = {**six, "name": "a-late-one", "federation": "nginx-two"}
            told_first = role.play(entry="precheck", nginx_sites=[late]).words
            assert "a-late-one: ::1 port 8083: another site is there for the same names" in told_first
        finally:
            gone = {"name": "nginx-six", "federation": "nginx-one", "state": "absent"}
            assert role.play(nginx_sites=[*VARIABLES["nginx_sites"], gone], nginx_remove_data=True).changed == 1
    run = role.play(nginx_sites=sites("nginx-proxy", server_names=["192.0.2.7"]))
    assert run.failed == 1
    assert "/etc/role-test/server.pem isn't for 192.0.2.7, by which clients ask here" in run.words
    assert role.play().changed == 0


NAMED = """
import socket, ssl
context = ssl.create_default_context(cafile="/etc/role-test/ca.pem")
context.check_hostname = False
context.load_cert_chain("/etc/role-test/{certificate}.pem", "/etc/role-test/{certificate}.key")
with socket.create_connection(({address!r}, 11203), 10) as plain:
    with context.wrap_socket(plain, server_hostname={sni!r} or None) as stream:
        stream.sendall(b"GET / HTTP/1.0\\r\\nHost: {host}\\r\\n\\r\\n")
        print(stream.recv(4096).decode().split()[1])
"""


def named(role: RoleHost, sni: str, host: str, certificate: str) -> int:
    """The status where TLS and the request each have a name."""
    script = NAMED.format(address=role.address, sni=sni, host=host, certificate=certificate)
    return int(role.sh(f"echo {base64.b64encode(script.encode()).decode()} | base64 -d | python3 -"))


@pytest.mark.usefixtures("upstreams")
def test_another_site_s_ca_lets_nobody_in_here(role: RoleHost) -> None:
    """Two at one port: nginx asks for certificates by the name in TLS, and chooses a site by that of the request."""
    role.sh(
        "cd /etc/role-test && cp server.key other-site.key && echo subjectAltName=DNS:other.test >other-site.ext &&"
        " openssl req -new -key server.key -subj /CN=other-site | openssl x509 -req -CA ca.pem -CAkey ca.key"
        " -CAcreateserial -days 2 -out other-site.pem -extfile other-site.ext"
    )
    listen = [{"address": role.address, "port": 11203}]
    common = {"federation": "nginx-one", "listen": listen, "upstream": {"servers": ["127.0.0.1:7009"]}}
    tls = {"certificate": "/etc/role-test/other-site.pem", "key": "/etc/role-test/other-site.key"}
    first = {
        **common,
        "name": "a-first",
        "server_names": ["other.test"],
        "tls": tls | {"client_ca": "/etc/role-test/other.pem"},
    }
    own = {"certificate": "/etc/role-test/server.pem", "key": "/etc/role-test/server.key"}
    own |= {"client_ca": "/etc/role-test/ca.pem", "client_names": ["client"]}
    second = {**common, "name": "nginx-second", "server_names": ["server.test"], "tls": own}
    run = role.play(nginx_sites=[*VARIABLES["nginx_sites"], first, second])
    assert run.code == 0, run.text
    role.sh("sleep 1")
    try:
        asked = {
            ("server.test", "server.test", "client"): 200,
            ("SERVER.test", "server.test:11203", "client"): 200,
            ("server.test", "server.test", "stranger"): 400,
            ("other.test", "other.test", "stranger"): 200,
            ("", "server.test", "stranger"): 421,
            ("nobody.test", "server.test", "stranger"): 421,
            ("other.test", "server.test", "stranger"): 421,
            ("server.test", "other.test", "client"): 421,
        }
        assert {each: named(role, *each) for each in asked} == asked
        by_address = {**second, "server_names": ["server.test", role.address]}
        assert role.play(nginx_sites=[*VARIABLES["nginx_sites"], first, by_address]).code == 0
        role.sh("sleep 1")
        asked = {
            ("", role.address, "client"): 200,
            ("", role.address, "stranger"): 400,
            ("nobody.test", role.address, "stranger"): 400,
            ("other.test", role.address, "stranger"): 421,
            ("server.test", "server.test", "client"): 200,
            ("other.test", "other.test", "stranger"): 200,
        }
        assert {each: named(role, *each) for each in asked} == asked
        assert role.play(entry="check", nginx_sites=[*VARIABLES["nginx_sites"], first, by_address]).code == 0
    finally:
        gone = [{"name": name, "federation": "nginx-one", "state": "absent"} for name in ("a-first", "nginx-second")]
        assert role.play(nginx_sites=[*VARIABLES["nginx_sites"], *gone], nginx_remove_data=True).code == 0


WAY_OUT = {
    "name": "nginx-out",
    "federation": "nginx-one",
    "listen": [{"address": "127.0.0.1", "port": 8082}],
    "body_size_mb": 1,
}


@pytest.mark.usefixtures("upstreams")
@pytest.mark.parametrize(("certificate", "status"), [("client", 200), ("server", 403), ("", 400)])
def test_plain_on_loopback_goes_out_to_a_peer_that_asks_for_a_certificate(
    role: RoleHost, certificate: str, status: int
) -> None:
    shown = {key: f"/etc/role-test/{certificate}.{end}" for key, end in (("certificate", "pem"), ("key", "key"))}
    tls = {"ca": "/etc/role-test/ca.pem", "name": "server.test", **(shown if certificate else {})}
    upstream = {"servers": [f"{role.address}:11202"], "host": "server.test", "tls": tls, "retries": 0}
    assert role.play(nginx_sites=[*VARIABLES["nginx_sites"], {**WAY_OUT, "upstream": upstream}]).changed == 1
    role.sh("sleep 1")
    try:
        assert ask(role, "http://127.0.0.1:8082/state")[0] == status
        assert [line.split()[3] for line in role.sh("ss -Hltn sport = :8082").splitlines()] == ["127.0.0.1:8082"]
    finally:
        gone = {"name": "nginx-out", "federation": "nginx-one", "state": "absent"}
        assert role.play(nginx_sites=[*VARIABLES["nginx_sites"], gone], nginx_remove_data=True).changed == 1


@pytest.mark.usefixtures("upstreams")
@pytest.mark.parametrize("protocol", ["http", "tcp"])
def test_an_upstream_whose_certificate_was_withdrawn_is_not_asked(role: RoleHost, protocol: str) -> None:
    tls = {"ca": "/etc/role-test/ca.pem", "crl": "/etc/role-test/crl.pem", "name": "server.test"}
    way = {key: value for key, value in WAY_OUT.items() if key != "body_size_mb"}
    way |= {"protocol": protocol, "upstream": {"servers": [f"{role.address}:7001"], "tls": tls}}
    listed = [*VARIABLES["nginx_sites"], way]

    def said_behind() -> str:
        return role.try_sh(command("http://127.0.0.1:8082/") + " 2>/dev/null")[1][:3]

    with withdrawing(role) as withdraw:
        try:
            began = role.play(nginx_sites=listed)
            assert began.code == 0, began.text
            assert said_behind() == "200"
            withdraw("server")
            # nginx reads the list anew, since another one lies there
            assert role.play(nginx_sites=listed).changed == 1
            assert said_behind() == ("502" if protocol == "http" else "")
        finally:
            gone = {"name": "nginx-out", "federation": "nginx-one", "state": "absent"}
            assert role.play(nginx_sites=[*VARIABLES["nginx_sites"], gone], nginx_remove_data=True).changed == 1


def servers_of(role: RoleHost, site: str) -> list[str]:
    """Where a site leads to."""
    return role.sh(rf"sed -n 's/^    server \([^ ]*\) .*/\1/p' /etc/nginx/conf.d/fedlearn-{site}.conf").split()


@pytest.mark.usefixtures("upstreams")
def test_a_server_s_former_port_is_led_to_until_a_call_that_defers_nothing(role: RoleHost) -> None:
    former = servers_of(role, "nginx-plain")
    moved = {"nginx_sites": sites("nginx-plain", upstream={"servers": ["127.0.0.1:7999"]})}
    for _again in range(2):  # as after a run that was cut off
        assert role.play(fedlearn_restart="deferred", **moved).failed == 0
        assert servers_of(role, "nginx-plain") == ["127.0.0.1:7999", *former]
    answers = [ask(role, "http://127.0.0.1:8080/", host="a.test")[0] for _turn in range(4)]
    assert answers == [200] * 4
    assert role.play(**moved).changed == 1
    assert servers_of(role, "nginx-plain") == ["127.0.0.1:7999"]
    assert role.play().changed == 1


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"listen": [{"address": "192.0.2.1", "port": 81}]}, "Cannot assign requested address"),
        ({"tls": {"certificate": "/etc/role-test/nowhere.pem", "key": "/etc/role-test/server.key"}}, "No such file"),
        (
            {"tls": {"certificate": "/etc/role-test/client.pem", "key": "/etc/role-test/server.key"}},
            "key values mismatch",
        ),
        (
            {"tls": {"certificate": "/etc/role-test/server.pem", "key": "/etc/role-test/server.key"}},
            "/etc/role-test/server.pem isn't for a.test, by which clients ask here: take one that is",
        ),
    ],
    ids=["address of another host", "no certificate", "key of another", "certificate for another name"],
)
@pytest.mark.usefixtures("upstreams")
def test_one_sites_mistake_takes_no_site_away(role: RoleHost, changed: dict[str, Any], reason: str) -> None:
    before = role.state(units=UNITS)
    run = role.play(nginx_sites=sites("nginx-plain", **changed))
    assert run.failed == 1
    assert "nginx-plain" in run.words
    assert "nginx refused the new configuration" in run.words
    assert reason in run.words
    assert role.state(units=UNITS) == before
    assert ask(role, f"https://{role.address}:6666/", 1)[0] == 200
    # another site's change goes through beside it
    both = [
        site | {"body_size_mb": 9} if site["name"] == "nginx-proxy" else site
        for site in sites("nginx-plain", **changed)
    ]
    assert role.play(nginx_sites=both).failed == 1
    assert "client_max_body_size 9m" in role.sh("cat /etc/nginx/conf.d/fedlearn-nginx-proxy.conf")
    assert role.play().changed == 1


def test_a_site_of_somebody_else_stays(role: RoleHost) -> None:
    foreign = "/etc/nginx/sites-enabled/theirs"
    role.sh(f"echo 'server {{ listen 127.0.0.1:8999; return 204; }}' > {foreign} && systemctl reload nginx && sleep 1")
    assert role.play(nginx_sites=sites("nginx-plain", state="absent")).changed == 1
    assert ask(role, "http://127.0.0.1:8999/")[0] == 204
    role.sh(f"echo nonsense > {foreign}")
    before = role.state(units=UNITS)
    broken = role.play()
    assert broken.failed == 1
    assert foreign in broken.words
    assert role.state(units=UNITS) == before
    role.sh(f"rm {foreign}")
    assert role.play().changed == 1


def test_another_federations_place_is_not_taken(role: RoleHost) -> None:
    """nginx itself would only warn, and give it to the site whose file comes first."""
    (proxy,) = [site for site in VARIABLES["nginx_sites"] if site["name"] == "nginx-proxy"]
    late = [{**proxy, "name": "a-late-one", "federation": "nginx-two"}]
    before = role.state(units=UNITS)
    taken = f"{role.address} port 6666: another site is there for the same names"
    assert (
        f"a-late-one: {taken} (/etc/nginx/conf.d/fedlearn-nginx-proxy.conf)"
        in role.play(entry="precheck", nginx_sites=late).words
    )
    run = role.play(nginx_sites=late)
    assert run.failed == 1
    told = f"{role.address} port 6666 is another site's for the same names: /etc/nginx/conf.d/fedlearn-nginx-proxy.conf"
    assert told in run.words, run.text
    assert role.state(units=UNITS) == before
    # nginx made its logs when it looked at the refused site
    gone = [{"name": "a-late-one", "federation": "nginx-two", "state": "absent"}]
    assert role.play(nginx_sites=gone, nginx_remove_data=True).code == 0


PASSED_ON = {
    "name": "nginx-passed",
    "federation": "nginx-two",
    "protocol": "tcp",
    "tls": {
        "certificate": "/etc/role-test/server.pem",
        "key": "/etc/role-test/server.key",
        "client_ca": "/etc/role-test/ca.pem",
        "client_names": ["client"],
    },
    "upstream": {"servers": ["127.0.0.1:7009"]},
    "limits": {"clients": 3},
}


def passed_on(role: RoleHost, port: int = 6443, **changed: Any) -> list[dict[str, Any]]:
    """The scenario's sites, and one whose connections are passed on."""
    own = {**PASSED_ON, "listen": [{"address": role.address, "port": port, "find_dead_peers": True}], **changed}
    return [*VARIABLES["nginx_sites"], own]


@pytest.mark.usefixtures("upstreams")
def test_connections_that_are_passed_on_are_each_clients_own_and_known_by_certificate(role: RoleHost) -> None:
    before = pid(role)
    # nginx' part for it, which Debian 11's nginx brings by itself, and the site
    there = role.try_sh("dpkg-query --show libnginx-mod-stream")[0] == 0
    assert role.play(nginx_sites=passed_on(role)).changed == (1 if there else 2)
    assert role.play(nginx_sites=passed_on(role)).changed == 0
    url = f"https://{role.address}:6443/"
    assert [ask(role, url, certificate="client")[0] for turn in (1, 2)] == [200, 200]
    for certificate in ("server", "stranger", ""):
        code, said = role.try_sh(command(url, certificate=certificate))
        assert code != 0, said
    rows = [json.loads(row) for row in role.sh("cat /var/log/nginx/fedlearn-nginx-passed.access.log").splitlines()]
    served = [row for row in rows if row["upstream"] == "127.0.0.1:7009"]
    assert [(row["subject"], row["status"]) for row in served] == [("CN=client", 200)] * 2
    assert role.play(entry="check", nginx_sites=passed_on(role)).code == 0
    assert role.play(entry="precheck", nginx_sites=passed_on(role)).code == 0
    other = passed_on(role, allow=["10.255.255.0/24"])
    assert role.play(nginx_sites=other).changed == 1
    role.sh("sleep 1")
    assert role.try_sh(command(url, certificate="client"))[0] != 0
    late = [{**passed_on(role)[-1], "name": "a-late-one", "listen": [{"address": role.address, "port": 6666}]}]
    run = role.play(nginx_sites=late)
    assert run.failed == 1
    assert f"{role.address} port 6666 is another site's, and connections that are passed on aren't" in run.words
    assert "another site is there" in role.play(entry="precheck", nginx_sites=late).words
    gone = [{"name": name, "federation": "nginx-two", "state": "absent"} for name in ("nginx-passed", "a-late-one")]
    assert role.play(nginx_sites=[*VARIABLES["nginx_sites"], *gone], nginx_remove_data=True).code == 0
    assert role.sh("ls /etc/nginx/streams.d /etc/nginx/modules-enabled | grep -c fedlearn || true").strip() == "0"
    assert pid(role) == before
    assert role.play().changed == 0


@contextmanager
def by_hand(role: RoleHost, name: str) -> Iterator[None]:
    """A site of somebody else's at the proxy's port, whose file is read before all of ours."""
    path = "/etc/nginx/conf.d/a-first.conf"
    files = "ssl_certificate /etc/role-test/client.pem; ssl_certificate_key /etc/role-test/client.key"
    role.sh(
        f"echo 'server {{ listen {role.address}:6666 ssl; server_name {name}; {files}; return 200; }}' > {path}"
        " && systemctl reload nginx && sleep 1"
    )
    try:
        yield
    finally:
        role.sh(f"rm {path} && systemctl reload nginx && sleep 1")


def test_a_site_that_another_one_stands_before_is_ill(role: RoleHost) -> None:
    """Where it is asked for by name; one without a name is the first at its port, whatever is read before it."""
    with by_hand(role, "_"):
        assert role.play(entry="check").failed == 0
    called = sites("nginx-proxy", server_names=["server.test"])
    assert role.play(nginx_sites=called).changed == 1
    with by_hand(role, "server.test"):
        words = role.play(entry="check", nginx_sites=called).words
    assert f"nginx-proxy: ill: {role.address} port 6666 shows another certificate, so another site answers" in words
    assert role.play(entry="check", nginx_sites=called).failed == 0
    assert role.play().changed == 1


def test_a_file_of_others_that_nginx_refuses_is_told_while_it_runs_on(role: RoleHost) -> None:
    """With it nginx wouldn't start again, and all sites would be away."""
    by_hand = "/etc/nginx/conf.d/zz.conf"
    role.sh(f"echo 'include /nowhere.conf;' > {by_hand}")
    try:
        found = {entry: role.play(entry=entry) for entry in ("check", "precheck")}
    finally:
        role.sh(f"rm {by_hand}")
    for run in found.values():
        assert (run.failed, run.changed) == (1, 0), run.text
        told = 'nginx refuses the files it would start with: open() "/nowhere.conf" failed (2: No such file'
        assert told in run.words, run.text
    assert role.play(entry="check").failed == 0


@pytest.mark.usefixtures("upstreams")
def test_a_site_that_does_not_refuse_is_told(role: RoleHost) -> None:
    """By hand each site is made to serve whom it is to refuse."""
    well = role.play(entry="check")
    assert (well.code, well.changed) == (0, 0), well.text
    old = "ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ssl_ciphers ALL:@SECLEVEL=0;"
    role.sh(
        f"cd /etc/nginx/conf.d && sed -i 's/^    ssl_protocols .*/{old}/' fedlearn-nginx-proxy.conf"
        " && sed -i 's/ssl_verify_client on/ssl_verify_client off/' fedlearn-nginx-rest.conf"
        " && sed -i 's/return 421/return 200/' fedlearn-nginx-plain.conf && systemctl reload nginx && sleep 1"
    )
    told = role.play(entry="check")
    assert told.failed == 1
    rest = f"nginx-rest: ill: {role.address} port 11202 does not refuse clients without a certificate: answered"
    for line in (
        f"nginx-proxy: ill: {role.address} port 6666 does not refuse TLS below 1.2: spoke TLSv1.1",
        rest,
        "nginx-plain: ill: 127.0.0.1 port 8080 does not refuse unknown names: answered HTTP/1.1 200",
    ):
        assert line in told.words, told.text
    assert role.play().changed == 1
    assert role.play(entry="check").failed == 0


def test_logs_outlive_a_site_but_not_one_of_a_verify_round(role: RoleHost) -> None:
    def logs(name: str) -> set[str]:
        return set(role.sh(f"ls /var/log/nginx | grep -F fedlearn-{name}. || true").split())

    plain = next(site for site in VARIABLES["nginx_sites"] if site["name"] == "nginx-plain")
    of_round = {**plain, "name": "nginx-round", "transient": True, "listen": [{"address": "127.0.0.1", "port": 8081}]}
    assert role.play(nginx_sites=[of_round]).changed == 1
    role.sh("cd /var/log/nginx && touch fedlearn-nginx-round.access.log.1 fedlearn-nginx-round.error.log.14.gz")
    assert len(logs("nginx-round")) == 4
    assert role.play(nginx_sites=[{**of_round, "state": "absent"}]).changed == 1
    assert logs("nginx-round") == set()
    assert role.play(nginx_sites=[{**plain, "state": "absent"}]).changed == 1
    assert logs("nginx-plain") >= {"fedlearn-nginx-plain.access.log", "fedlearn-nginx-plain.error.log"}
    assert role.play().changed == 1


@pytest.mark.usefixtures("upstreams")
def test_changes_and_certificates_only_reload(role: RoleHost) -> None:
    before = pid(role)
    slow = command(f"https://{role.address}:6666/slow", times=12)  # a second each, under way while nginx reloads
    role.sh(f"rm -f /root/slow; ({slow} > /root/slow 2>&1) > /dev/null 2>&1 &")
    role.sh("cd /etc/role-test && cp -p server.pem server.old && cat server.old ca.pem > server.pem")
    assert role.play().changed == 1
    role.sh("cd /etc/role-test && mv server.old server.pem")
    assert role.play(nginx_sites=sites("nginx-plain", body_size_mb=3)).changed == 1
    assert role.play().changed == 1
    assert pid(role) == before
    role.sh("for i in $(seq 20); do [ $(wc -l < /root/slow) -ge 12 ] && break; sleep 1; done")
    assert [line.split()[0] for line in role.sh("cat /root/slow").splitlines()] == ["200"] * 12


def test_federations_leave_each_others_sites(role: RoleHost) -> None:
    before = pid(role)
    ours = [site for site in VARIABLES["nginx_sites"] if site["federation"] == "nginx-one"]
    assert role.play(entry="remove", nginx_sites=ours).changed == 1
    assert role.sh("ls /etc/nginx/conf.d").split() == ["fedlearn-nginx-plain.conf"]
    assert role.sh("ls /etc/systemd/system/nginx.service.d").split() == ["fedlearn.conf"]  # the other one's as well
    assert pid(role) == before
    assert role.play().changed == 1


def test_remove_leaves_nothing_and_a_clean_host_can_be_checked(role: RoleHost) -> None:
    assert role.play(entry="remove", nginx_remove_data=True).changed == 3
    assert role.play(entry="remove", nginx_remove_data=True).changed == 0
    packaged = role.sh("dpkg-query --show --showformat '${Conffiles}' nginx-common | grep ' /etc/nginx/nginx.conf '")
    assert role.sh("md5sum /etc/nginx/nginx.conf").split()[0] == packaged.split()[1]
    ours = "-e nginx-one -e nginx-two -e fedlearn-nginx -e nginx.service.d/"
    left = role.sh(f"find /etc /var/lib /var/log | grep {ours} || true")
    assert left == "", left
    assert role.try_sh("ss -Hltnp | grep nginx")[1] == ""
    clean = role.play("--check")
    assert (clean.code, clean.failed) == (0, 0), clean.text
    assert role.play().changed >= 1
