# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images: what is asked of the operator's command, what a registry answers, and what is recorded of both."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
import types
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.task import Task

from ansible_collections.fedlearn.infra.plugins.action import images as action
from ansible_collections.fedlearn.infra.plugins.plugin_utils._images import building, record
from ansible_collections.fedlearn.infra.plugins.plugin_utils._images.building import BuildError, Order
from ansible_collections.fedlearn.infra.plugins.plugin_utils._images.record import Record, RecordError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._images.registry import Login, Registry, RegistryError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.neursafe import check_servers
from tests.unit.conftest import CHECKOUT

STAND_IN = CHECKOUT / "tests" / "images" / "stand_in_build.py"
PASSWORD = "CANARY-PUSH"
LOGIN = Login("ci", PASSWORD)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Double(ThreadingHTTPServer):
    """A double of a registry, in memory: it takes pushes, and gives manifests to who has the login."""

    def __init__(self, bearer: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bearer = bearer
        self.stored: dict[tuple[str, str], bytes] = {}
        self.asked: list[str] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def digest(self, image: str, tag: str) -> str:
        return f"sha256:{hashlib.sha256(self.stored[image, tag]).hexdigest()}"


class _Handler(BaseHTTPRequestHandler):
    server: Double

    def log_message(self, *_arguments: object) -> None:
        pass

    def _answer(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def _let_in(self) -> bool:
        shown, basic = self.headers.get("Authorization", ""), f"Basic {LOGIN.basic}"
        if shown == (f"Bearer {self.server.bearer and 'a-token'}" if self.server.bearer else basic):
            return True
        realm = self.server.bearer.replace("PLACE", self.server.place)
        told = f'Bearer realm="{realm}",service="store",scope="pull"' if self.server.bearer else 'Basic realm="store"'
        refused = json.dumps({"errors": [{"message": "authentication required"}]}).encode()
        self._answer(401, refused, WWW_Authenticate=told)
        return False

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path.startswith("/token"):
            well = self.headers.get("Authorization") == f"Basic {LOGIN.basic}"
            wanted = {"service": ["store"], "scope": ["pull"]}
            well = well and parse_qs(urlsplit(self.path).query) == wanted
            return self._answer(200 if well else 401, json.dumps({"token": "a-token"} if well else {}).encode())
        if not self._let_in():
            return None
        image, _word, reference = self.path.removeprefix("/v2/").rpartition("/manifests/")
        found = [
            content
            for (name, tag), content in self.server.stored.items()
            if name == image and reference in (tag, self.server.digest(name, tag))
        ]
        return self._answer(200, found[0]) if found else self._answer(404)

    def do_POST(self) -> None:
        if self._let_in():
            self._answer(202, Location=f"{self.path}one")

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        if self._let_in():
            image, word, tag = self.path.removeprefix("/v2/").rpartition("/manifests/")
            if word:
                self.server.stored[image, tag] = content
            self._answer(201)


@pytest.fixture
def double() -> Iterator[Double]:
    server = Double()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with a command, a file, a link and what git has of it."""
    folder = tmp_path / "checkout"
    (folder / ".git").mkdir(parents=True)
    program(folder, "build.py", STAND_IN.read_text(), "/usr/bin/env python3")
    (folder / "content").write_text("first")
    (folder / "link").symlink_to("content")
    return folder


@pytest.fixture
def order(checkout: Path) -> Order:
    return Order("r.example:5000", "1.0", action.WORDS, checkout, ("./build.py",), "none", (), False, {})


# -- the registry


def test_a_tag_s_digest_is_that_of_what_the_registry_answers(double: Double) -> None:
    double.stored["nsfl-proxy", "1.0"] = b"a manifest"
    found = Registry(double.place, LOGIN).digest("nsfl-proxy", "1.0")
    assert found == f"sha256:{hashlib.sha256(b'a manifest').hexdigest()}"
    assert Registry(double.place, LOGIN).digest("nsfl-proxy", found) == found
    assert Registry(double.place, LOGIN).digest("nsfl-proxy", "2.0") is None


def test_a_registry_s_path_is_part_of_its_images_names(double: Double) -> None:
    double.stored["team/fl/nsfl-proxy", "1.0"] = b"a manifest"
    assert Registry(f"{double.place}/team/fl", LOGIN).digest("nsfl-proxy", "1.0")


@pytest.mark.parametrize("login", [None, Login("ci", "wrong")])
def test_who_isn_t_let_in_is_told(double: Double, login: Login | None) -> None:
    who = "the login ci" if login else "who has no login"
    with pytest.raises(RegistryError, match=rf"refuses {who} \(401\): authentication required"):
        Registry(double.place, login).digest("nsfl-proxy", "1.0")


def test_a_token_is_fetched_where_the_registry_wants_one() -> None:
    double = Double("http://PLACE/token")
    double.stored["nsfl-proxy", "1.0"] = b"a manifest"
    assert Registry(double.place, LOGIN).digest("nsfl-proxy", "1.0")
    with pytest.raises(RegistryError, match=r"gives no token for 127\.0\.0\.1:\d+ \(401\)"):
        Registry(double.place, Login("ci", "wrong")).digest("nsfl-proxy", "1.0")
    double.shutdown()


def test_no_password_is_sent_where_it_could_be_read() -> None:
    double = Double("http://tokens.example/token")
    with pytest.raises(RegistryError, match=r"gives its tokens at http://tokens\.example/token, which isn't by TLS"):
        Registry(double.place, LOGIN).digest("nsfl-proxy", "1.0")
    double.shutdown()


def test_beyond_loopback_it_is_asked_by_tls() -> None:
    assert Registry("r.example:5000")._tls is not None
    assert Registry("127.0.0.1:5000")._tls is None


def test_whoever_doesn_t_answer_is_named(double: Double) -> None:
    place = double.place
    double.shutdown()
    double.server_close()
    with pytest.raises(RegistryError, match=rf"{place} can't be asked: .*Connection refused"):
        Registry(place).digest("nsfl-proxy", "1.0")


def test_a_file_that_is_no_ca_is_named(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("nothing")
    for name in ("ca.pem", "absent.pem"):
        with pytest.raises(RegistryError, match=rf"{name}: is no file with a CA"):
            Registry("r.example", None, str(tmp_path / name))


# -- the record

RECORDED = Record("r.example:5000", "1.0", "sha256:made", {"proxy": f"sha256:{'a' * 64}"})
IMAGES = {"registry": "r.example:5000", "tag": "1.0", "record": "images/imaging.json"}


def test_a_record_is_read_as_it_was_written() -> None:
    assert record.parse(RECORDED.text(), "file") == RECORDED
    assert record.digests_for(IMAGES, RECORDED.text()) == RECORDED.digests


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "not JSON",
        RECORDED.text().replace("sha256:a", "sha256:x"),
        RECORDED.text().replace('"1.0"', "1.0"),
        RECORDED.text().replace("digests", "digest"),
    ],
)
def test_what_is_no_record_is_named(text: str) -> None:
    with pytest.raises(RecordError, match=r"imaging\.json is no record of images: fedlearn\.infra\.images writes it"):
        record.parse(text, "images/imaging.json")


@pytest.mark.parametrize("other", [{"tag": "1.1"}, {"registry": "other.example"}])
def test_a_record_of_something_else_is_told(other: dict[str, str]) -> None:
    with pytest.raises(RecordError, match=r"is of r\.example:5000, tag 1\.0, and .* is asked for: run fedlearn\.infra"):
        record.digests_for({**IMAGES, **other}, RECORDED.text())


# -- what is built of what


@pytest.mark.parametrize(
    ("proxies", "more"),
    [
        ({}, []),
        ({"https": "p:1"}, ["--https_proxy", "p:1"]),
        ({"http": "p:1", "none": ["a", "b"]}, ["--http_proxy", "p:1", "--no_proxy", "a,b"]),
        ({"https": "p:1", "http": "p:2"}, ["--https_proxy", "p:1", "--http_proxy", "p:2"]),
    ],
)
def test_the_command_has_upstream_s_parameters(order: Order, proxies: dict[str, Any], more: list[str]) -> None:
    found = replace(order, command=("bash", "build.sh"), proxies=proxies).whole_command
    assert found == ["bash", "build.sh", "--registry", "r.example:5000", "--tag", "1.0", *more]


def test_the_same_checkout_and_parameters_are_the_same(order: Order, tmp_path: Path) -> None:
    before = building.made_of(order)
    os.utime(order.checkout / "content", (1, 1))
    (order.checkout / ".git" / "index").write_text("git's own")
    assert building.made_of(order) == before
    copied = tmp_path / "elsewhere"
    shutil.copytree(order.checkout, copied, symlinks=True)
    assert building.made_of(replace(order, checkout=copied)) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "content").write_text("other"),
        lambda folder: (folder / "content").rename(folder / "renamed"),
        lambda folder: (folder / "content").chmod(0o755),
        lambda folder: (folder / "sub").mkdir() or (folder / "sub" / "more").touch(),
        lambda folder: (folder / "link").unlink() or (folder / "link").symlink_to("build.py"),
        lambda folder: (folder / "folder").symlink_to("/"),
    ],
)
def test_another_checkout_is_told(order: Order, change: Any) -> None:
    before = building.made_of(order)
    change(order.checkout)
    assert building.made_of(order) != before


@pytest.mark.parametrize("other", [{"tag": "1.1"}, {"command": ("./other",)}, {"proxies": {"http": "p:1"}}])
def test_other_parameters_are_told(order: Order, other: dict[str, Any]) -> None:
    assert building.made_of(replace(order, **other)) != building.made_of(order)


# -- what is lacking


def program(folder: Path, name: str, script: str, interpreter: str = "/bin/sh") -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!{interpreter}\n{script}\n")
    (folder / name).chmod(0o755)


ENGINE = """echo "$@" >>"$(dirname "$0")/asked"
case $1 in
    version) exit 0 ;;
    image) [ "$3" = here:1 ] ;;
    pull) [ "$3" = there:1 ] || { echo "no such host" >&2; exit 1; } ;;
esac"""
"""A double of a container engine: it has one image, and can fetch another."""


@pytest.mark.parametrize(
    ("engine", "asked", "message"),
    [
        (None, {"checkout": Path("/no/checkout")}, r"^there is no checkout in /no/checkout on the control node$"),
        (None, {"command": ("./absent.sh",)}, r"^there is no program \./absent\.sh in .*/checkout$"),
        (None, {"command": ("./content",)}, r"^there is no program \./content in .*/checkout$"),
        (None, {"command": ("absent-program",)}, r"^there is no program absent-program on the control node$"),
        (
            None,
            {"engine": "docker"},
            r"^there is no container engine: no program docker on the control node$",
        ),
        (
            None,
            {"engine": "docker", "command": ("./absent.sh",)},
            r"^there is no program \./absent\.sh in .*; there is no container engine: no program docker",
        ),
        (
            "echo 'Cannot connect to the daemon' >&2; exit 1",
            {"engine": "docker"},
            r"^the container engine docker doesn't answer: Cannot connect to the daemon$",
        ),
        ("exit 3", {"engine": "docker"}, r"^the container engine docker doesn't answer: it ended with 3$"),
        (
            ENGINE,
            {"engine": "docker", "base_images": ("here:1", "absent:1", "there:1", "absent:2")},
            r"^the base image absent:1 is missing, and docker can't fetch it: no such host; the base image absent:2 is",
        ),
    ],
)
def test_what_a_build_lacks_is_named(
    order: Order,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    engine: str | None,
    asked: dict[str, Any],
    message: str,
) -> None:
    (tmp_path / "bin").mkdir()
    if engine:
        program(tmp_path / "bin", "docker", engine)
        (tmp_path / "bin" / "dirname").symlink_to(shutil.which("dirname") or "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(BuildError, match=message):
        building.look(replace(order, **asked))


def test_with_all_of_it_nothing_is_lacking(order: Order, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin", "docker", ENGINE)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    building.look(order)
    building.look(replace(order, engine="docker", base_images=("here:1", "there:1")))
    asked = (tmp_path / "bin" / "asked").read_text().splitlines()
    assert asked == ["version", "image inspect here:1", "image inspect there:1", "pull --quiet there:1"]


# -- the build

TELLS = """#!/bin/sh
tr '\\0' ' ' </proc/$$/cmdline; echo
env
cat "$DOCKER_CONFIG/config.json"; echo
ls -l "$DOCKER_CONFIG"
stat -c '%a %n' "$DOCKER_CONFIG" "$REGISTRY_AUTH_FILE"
touch left-behind
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "imaging.log"


def test_the_password_is_in_one_file_and_in_no_argument_variable_or_log(
    order: Order, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    (home / ".docker").mkdir(parents=True)
    (home / ".docker" / "contexts").mkdir()
    others = {"auths": {"other.example": {"auth": "eDp5"}}, "credsStore": "desktop", "proxies": {"default": {}}}
    (home / ".docker" / "config.json").write_text(json.dumps(others))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("DOCKER_CONFIG", raising=False)
    (order.checkout / "build.py").write_text(TELLS)
    building.build(order, LOGIN, log)
    told = log.read_text()
    assert [PASSWORD in told, LOGIN.basic in told] == [False, False]
    # the planted leak: the command did print the file with the login
    shown = json.loads(next(line for line in told.splitlines() if line.startswith("{")))
    assert shown["auths"] == {"other.example": {"auth": "eDp5"}, "r.example:5000": {"auth": "********"}}
    assert (shown.get("credsStore"), shown["proxies"]) == (None, {"default": {}})
    modes = [line.split()[0] for line in told.splitlines() if line.endswith(("/engine", "/engine/config.json"))]
    assert modes[-2:] == ["700", "600"]
    assert "contexts -> " in told
    assert log.stat().st_mode & 0o777 == 0o600
    folder = next(line for line in told.splitlines() if line.startswith("DOCKER_CONFIG=")).partition("=")[2]
    assert not Path(folder).exists()


def test_the_checkout_stays_as_it_is(order: Order, log: Path) -> None:
    (order.checkout / "build.py").write_text(TELLS)
    before = building.made_of(order)
    building.build(order, LOGIN, log)
    assert building.made_of(order) == before
    assert not (order.checkout / "left-behind").exists()


def test_what_a_failing_command_said_is_told_without_the_password(order: Order, log: Path) -> None:
    (order.checkout / "build.py").write_text(f"#!/bin/sh\nseq 20\necho it has {PASSWORD} >&2\nexit 7\n")
    with pytest.raises(BuildError) as told:
        building.build(order, LOGIN, log)
    lines = str(told.value).splitlines()
    assert lines[0] == f"./build.py ended with 7, {log} has all it said:"
    assert lines[1:] == [*map(str, range(10, 21)), "it has ********"]
    assert len(log.read_text().splitlines()) == 21


def test_an_engine_pushes_where_it_is_asked_to(
    order: Order, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "docker", ENGINE)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (order.checkout / "build.py").write_text("#!/bin/sh\n")
    building.build(replace(order, engine="docker", push=True), LOGIN, log)
    asked = (tmp_path / "bin" / "asked").read_text().splitlines()
    assert asked == [f"push r.example:5000/nsfl-{word}:1.0" for word in action.WORDS]


def test_settings_of_engines_that_can_t_be_read_are_named(
    order: Order, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("[")
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    with pytest.raises(BuildError, match=r"config\.json can't be read, and container engines take their settings from"):
        building.build(order, LOGIN, log)


# -- the action

BUILD = ("checkout", "command")
INSTANCE: dict[str, Any] = {
    "name": "demo-imaging-server",
    "storage": {"type": "posix"},
    "database": {"address": "10.20.0.13:5432", "username": "neursafe", "secret": "database"},
    "token": "token",
}
NO_CONNECTION: Any = type("Connection", (), {"_shell": type("Shell", (), {"tmpdir": None})})()


class Site:
    """An instance whose images are built of a checkout, and pushed to a double of a registry."""

    def __init__(self, double: Double, checkout: Path, room: Path) -> None:
        self.double, self.checkout, self.room = double, checkout, room
        self.record = room / "public" / "lab" / "images" / "imaging.json"
        self.images: dict[str, Any] = {
            "registry": double.place,
            "tag": "1.0",
            "record": str(self.record),
            "build": {
                "checkout": str(checkout),
                "command": ["./build.py"],
                "engine": "none",
                "login": {"username": "ci", "secret": "push"},
            },
        }

    def run(self, *, plan: bool = False, check: bool = False, **changed: Any) -> dict[str, Any]:
        images = {**self.images, **{key: value for key, value in changed.items() if key not in BUILD}}
        of_build = {key: value for key, value in changed.items() if key in BUILD}
        if "build" in images:
            images["build"] = {**images["build"], **of_build}
        task = Task.load({"action": "fedlearn.infra.images", "args": {}})
        task.args = {"instances": check_servers([{**INSTANCE, "images": images}]), "logs": str(self.room / "logs")}
        task.args["plan"] = plan
        task.check_mode = check
        loader = DataLoader()
        plugin = action.ActionModule(
            task=task,
            connection=NO_CONNECTION,
            play_context=None,
            loader=loader,
            templar=None,
            shared_loader_obj=None,
        )
        result: dict[str, Any] = plugin.run(task_vars={})
        assert PASSWORD not in str(result)
        return result

    def recorded(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.record.read_text())
        return found


@pytest.fixture
def site(double: Double, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    lookup = types.SimpleNamespace(run=lambda names, **_more: [{"push": PASSWORD}[name] for name in names])
    monkeypatch.setattr(action, "lookup_loader", types.SimpleNamespace(get=lambda *_names, **_more: lookup))
    return Site(double, checkout, tmp_path)


def test_images_are_built_once_and_their_digests_recorded(site: Site) -> None:
    first = site.run()
    assert (first.get("msg"), first["changed"], first["built"]) == (None, True, ["demo-imaging-server"])
    assert site.recorded()["digests"] == {
        word: site.double.digest(f"nsfl-{word}", "1.0") for word in ("client-cpu", *action.COMPONENTS)
    }
    before = site.record.read_bytes(), site.record.stat().st_mtime_ns
    second = site.run()
    assert (second["changed"], second["built"], second["warnings"]) == (False, [], [])
    assert (site.record.read_bytes(), site.record.stat().st_mtime_ns) == before


@pytest.mark.parametrize(
    "change",
    [
        lambda site: (site.checkout / "content").write_text("second"),
        lambda site: site.double.stored.pop(("nsfl-proxy", "1.0")),
        lambda site: site.images.update(tag="1.1"),
        lambda site: site.record.unlink(),
        lambda site: site.record.write_text("{"),
    ],
    ids=["another checkout", "an image is gone", "another tag", "no record", "no legible record"],
)
def test_they_are_built_again_where_they_aren_t_what_is_asked_for(site: Site, change: Any) -> None:
    site.run()
    change(site)
    assert site.run(check=True)["built"] == ["demo-imaging-server"]
    assert site.run()["changed"]
    assert not site.run()["changed"]


def test_check_mode_tells_what_would_be_built_and_builds_nothing(site: Site) -> None:
    assert site.run(check=True)["built"] == ["demo-imaging-server"]
    assert (site.double.stored, site.record.exists(), (site.room / "logs").exists()) == ({}, False, False)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"checkout": "/no/checkout"}, "there is no checkout in /no/checkout on the control node"),
        ({"command": ["./absent"]}, "there is no program ./absent in "),
        ({"command": ["./build.py", "--leave-out", "proxy"]}, "ended well, and the registry has no 127.0.0.1:"),
        ({"command": ["false"]}, "false ended with 1, "),
    ],
)
def test_a_build_that_fails_records_nothing(site: Site, changed: dict[str, Any], message: str) -> None:
    failed = site.run(**changed)
    assert (failed["failed"], failed["changed"]) == (True, False)
    assert message in failed["msg"]
    assert not site.record.exists()


def test_the_log_has_what_the_command_said_and_no_login(site: Site) -> None:
    site.run()
    told = (site.room / "logs" / "demo-imaging-server.log").read_text()
    assert "nsfl-proxy sha256:" in told
    assert "login Basic ********" in told


def test_a_plan_tells_what_the_registry_s_tags_became(site: Site) -> None:
    (none,) = site.run(plan=True)["differing"]["demo-imaging-server"]
    assert none == f"there is no {site.record}: run fedlearn.infra.images"
    site.run()
    assert site.run(plan=True) == {"changed": False, "differing": {}, "ill": {}}
    recorded = site.recorded()["digests"]["proxy"]
    kept = site.double.stored["nsfl-proxy", "1.0"]
    site.double.stored |= {("nsfl-proxy", "1.0"): b"somebody else's", ("nsfl-proxy", "kept"): kept}
    moved = site.double.digest("nsfl-proxy", "1.0")
    told = f"{site.double.place}/nsfl-proxy:1.0 is {moved} in the registry, and {recorded} was recorded"
    assert site.run(plan=True)["differing"] == {"demo-imaging-server": [told]}
    # what was built is there still, so nothing is built over somebody's push
    again = site.run()
    assert (again["changed"], again["warnings"]) == (False, [told])


def test_a_plan_tells_what_nodes_would_not_get(site: Site) -> None:
    site.run()
    pull = {"username": "ci", "secret": "push"}
    assert site.run(plan=True, pull=pull)["ill"] == {}
    assert (
        "refuses the login other (401)"
        in site.run(plan=True, pull={**pull, "username": "other"})["ill"]["demo-imaging-server"]
    )
    digest = site.recorded()["digests"]["coordinator"]
    site.double.stored.pop(("nsfl-coordinator", "1.0"))
    assert (
        site.run(plan=True, pull=pull)["ill"]["demo-imaging-server"] == f"nodes would get no nsfl-coordinator@{digest}"
    )


def test_a_plan_tells_who_doesn_t_answer(site: Site) -> None:
    site.run()
    site.record.write_text("{")
    assert "is no record of images" in site.run(plan=True)["ill"]["demo-imaging-server"]
    site.record.unlink()
    site.run()
    site.double.shutdown()
    site.double.server_close()
    found = site.run(plan=True)
    assert (found["differing"], "can't be asked" in found["ill"]["demo-imaging-server"]) == ({}, True)


def test_whose_images_aren_t_built_is_left_alone(site: Site) -> None:
    del site.images["build"]
    site.images["digests"] = {}
    assert site.run() == {"changed": False, "built": [], "digests": {}, "warnings": []}


def test_without_a_login_of_its_own_it_comes_as_who_pulls(site: Site) -> None:
    del site.images["build"]["login"]
    assert "refuses who has no login (401)" in site.run()["msg"]
    assert site.run(pull={"username": "ci", "secret": "push"})["changed"]
