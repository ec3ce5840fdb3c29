# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The registry role on one host, as an unprivileged sudo user."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import pytest
import yaml
from role_host import RoleHost
from shared_tests import Secretive, Store

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
FULL, PLAIN = VARIABLES["registry_instances"]
UNITS = ("fedlearn-reg-full.service", "fedlearn-reg-plain.service")
COLLECT = "fedlearn-reg-full-collect.service"
PASSWORDS = {name: VARIABLES[f"canary_{name}"] for name in ("first", "second", "third")}
STRANGER = {"certificate": "/etc/role-test/stranger.pem", "key": "/etc/role-test/stranger.key"}
CLIENT = {
    "client_ca": "/etc/role-test/ca.pem",
    "client_certificate": "/etc/role-test/client.pem",
    "client_key": "/etc/role-test/client.key",
}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGES = "/var/lib/fedlearn-reg-full/docker/registry/v2"

CURL = """
import base64, json, ssl, sys, urllib.error, urllib.request
method, url, login, kind, body, pair = json.load(sys.stdin)
context = ssl.create_default_context(cafile="/etc/role-test/ca.pem")
context.verify_flags &= ~ssl.VERIFY_X509_STRICT
if pair:
    context.load_cert_chain(*pair)
headers = {"Content-Type": kind, "Accept": kind} if kind else {}
if login:
    headers["Authorization"] = "Basic " + base64.b64encode(":".join(login).encode()).decode()
request = urllib.request.Request(url, data=body.encode() if body else None, method=method, headers=headers)
try:
    with urllib.request.urlopen(request, context=context, timeout=20) as answer:
        told = answer.status, answer.headers.get("Location", ""), answer.read().decode()
except urllib.error.HTTPError as error:
    told = error.code, "", error.read().decode()
except OSError as error:
    told = 0, "", str(error)
print(json.dumps(told))
"""
"""A client of a registry that runs on its host: a request on standard input, the answer on standard output."""


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "registry", VARIABLES)


def instances(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's instances, the first one changed."""
    return [{**FULL, **changed}, PLAIN]


def third(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's instances, and one more."""
    users = [{"name": "ci", "secret": "second"}]
    more = {"name": "reg-third", "federation": "reg-one", "port": 5003, "collect_garbage": "never", "users": users}
    return [FULL, PLAIN, {**more, **changed}]


class Client:
    """One login of a registry, the full one's first unless told otherwise."""

    def __init__(self, role: RoleHost, user: str = "ci_a", secret: str = "first", url: str = "", **more: Any) -> None:
        self.role, self.login = role, [user, PASSWORDS[secret]] if user else None
        self.url, self.pair = url or f"https://{role.address}:5000", more.get("pair")

    def ask(self, method: str, path: str, kind: str = "", body: str = "") -> tuple[int, str, str]:
        """Status, location and content of an answer; status 0 where there is none, with the reason."""
        url = path if "://" in path else self.url + path
        given = json.dumps([method, url, self.login, kind, body, self.pair])
        told = json.loads(self.role.sh(f"printf %s {quote(given)} | python3 -c {quote(CURL)}"))
        return told[0], told[1], told[2]

    def status(self) -> int:
        return self.ask("GET", "/v2/")[0]

    def layer(self, repository: str, content: str) -> dict[str, Any]:
        """Pushes a layer."""
        status, place, told = self.ask("POST", f"/v2/{repository}/blobs/uploads/")
        assert status == 202, told
        digest = f"sha256:{hashlib.sha256(content.encode()).hexdigest()}"
        place += ("&" if "?" in place else "?") + f"digest={digest}"
        status, _place, told = self.ask("PUT", place, "application/octet-stream", content)
        assert status == 201, told
        return {"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": len(content)}

    def push(self, repository: str, tag: str, content: str) -> str:
        """Pushes an image of one layer; its digest."""
        layer = self.layer(repository, content)
        config = {**layer, "mediaType": "application/vnd.oci.image.config.v1+json"}
        image = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer]})
        status, _place, told = self.ask("PUT", f"/v2/{repository}/manifests/{tag}", MANIFEST, image)
        assert status == 201, told
        return f"sha256:{hashlib.sha256(image.encode()).hexdigest()}"

    def pull(self, repository: str, tag: str) -> str:
        """The one layer of an image."""
        status, _place, image = self.ask("GET", f"/v2/{repository}/manifests/{tag}", MANIFEST)
        assert status == 200, image
        status, _place, content = self.ask("GET", f"/v2/{repository}/blobs/{json.loads(image)['layers'][0]['digest']}")
        assert status == 200, content
        return content


def main_pid(role: RoleHost, unit: str) -> str:
    return role.sh(f"systemctl show -p MainPID --value {unit}").strip()


def blobs(role: RoleHost) -> set[str]:
    return set(role.sh(f"find {IMAGES}/blobs -name data -printf '%P\\n'").split())


def test_listens_on_its_addresses_only(role: RoleHost) -> None:
    lines = role.sh("ss -Hltnp | grep docker-registr").splitlines()
    wanted = [f"{role.address}:5000", "127.0.0.1:5001", "127.0.0.1:5011"]
    assert sorted(line.split()[3] for line in lines) == sorted(wanted)


def test_the_package_runs_no_daemon_now_or_after_a_boot(role: RoleHost) -> None:
    assert role.try_sh("systemctl is-active docker-registry")[1].strip() == "inactive"
    assert role.try_sh("systemctl is-enabled docker-registry")[1].strip() == "disabled"
    left = "/usr/sbin/policy-rc.d /etc/systemd/system/docker-registry.service"
    assert role.sh(f"ls -d {left} 2>/dev/null || true").strip() == ""


def test_the_package_s_own_never_ran_before_ours(role: RoleHost) -> None:
    """It would have listened on every address, and let everybody in."""
    units = "-u docker-registry.service -u " + " -u ".join(UNITS)
    started = role.sh(f"journalctl --no-pager -o json {units} | head -n 1")
    first = json.loads(started)
    assert {first.get("UNIT"), first.get("_SYSTEMD_UNIT")} & set(UNITS), started


def test_each_login_pushes_and_pulls_what_the_other_did(role: RoleHost) -> None:
    first, second = Client(role), Client(role, "ci_b", "second")
    first.push("one/image", "v1", "made by the first")
    assert second.pull("one/image", "v1") == "made by the first"
    second.push("one/image", "v2", "made by the second")
    assert first.pull("one/image", "v2") == "made by the second"
    assert json.loads(first.ask("GET", "/v2/one/image/tags/list")[2])["tags"] == ["v1", "v2"]


@pytest.mark.parametrize(
    ("user", "secret"), [("", "first"), ("ci_a", "second"), ("ci_b", "third"), ("program", "third"), ("root", "first")]
)
def test_everybody_else_is_refused(role: RoleHost, user: str, secret: str) -> None:
    assert Client(role, user, secret).status() == 401


def test_nobody_is_spoken_to_in_plain(role: RoleHost) -> None:
    status, _place, told = Client(role, url=f"http://{role.address}:5000").ask("GET", "/v2/")
    assert (status, "HTTPS" in told) == (400, True), told


def test_metrics_are_there_on_loopback(role: RoleHost) -> None:
    local = Client(role, "", url="http://127.0.0.1:5011")
    assert "registry_http_requests_total" in local.ask("GET", "/metrics")[2]
    assert local.ask("GET", "/debug/health")[0] == 200


def test_certificates_of_its_client_ca_only_when_it_has_one(role: RoleHost) -> None:
    run = role.play(registry_instances=instances(tls={**FULL["tls"], **CLIENT}))
    try:
        assert (run.code, run.changed) == (0, 1), run.text
        own = [CLIENT["client_certificate"], CLIENT["client_key"]]
        assert Client(role, pair=own).status() == 200
        assert Client(role, pair=list(STRANGER.values())).status() == 0
        assert Client(role).status() == 0
        assert role.play(entry="check", registry_instances=instances(tls={**FULL["tls"], **CLIENT})).code == 0
    finally:
        assert role.play().changed == 1


def test_a_public_name_is_what_its_certificate_is_checked_for(role: RoleHost) -> None:
    named = instances(public_url="https://server.test:5000")
    try:
        assert role.play(registry_instances=named).code == 0
        place = Client(role).ask("POST", "/v2/one/named/blobs/uploads/")[1]
        assert place.startswith("https://server.test:5000/v2/one/named/blobs/uploads/")
        before = role.state()
        wrong = role.play(
            registry_instances=instances(public_url="https://other.test"), registry_health_timeout_seconds=5
        )
        assert wrong.code == 2
        assert "ostname mismatch" in wrong.words, wrong.text
        assert role.state() == before
    finally:
        assert role.play().changed == 1


def test_the_registry_writes_to_no_folder_that_root_lays_logins_in(role: RoleHost) -> None:
    """It would lead root astray by a link."""
    told = yaml.safe_load(role.sh("cat /etc/fedlearn/reg-one/reg-full/registry.yml"))
    file = Path(told["auth"]["htpasswd"]["path"])
    lines = role.sh(f"stat -L -c '%u %A %n' {' '.join(map(str, file.parents))}").splitlines()
    assert [line for line in lines if not line.startswith("0 ") or line[7] == "w" or line[10] == "w"] == []
    owner = role.sh(f"stat -c %u /proc/{main_pid(role, UNITS[0])}").strip()
    assert role.sh(f"stat -c '%u %a' {file}").split() == [owner, "400"]


@pytest.mark.parametrize("unit", [*UNITS, COLLECT])
def test_hardened(role: RoleHost, unit: str) -> None:
    assert role.exposure(unit) <= 2.5
    if unit != COLLECT:
        assert 61184 <= int(role.sh(f"stat -c %u /proc/{main_pid(role, unit)}")) <= 65519  # a dynamic user


class TestRegistry(Secretive, Store):
    units, owned = UNITS, 10
    changed = {"registry_instances": instances(port=5009)}
    package = ("registry_packages", "docker-registry")
    unfit = "/etc/role-test/server.key is not the key of /etc/role-test/server.pem"
    serves_at = 5000
    name, space = "reg-third", "registry_space_mb"
    loopback = {"address": "::1"}
    refused = (
        ({"tls": {**FULL["tls"], "key": STRANGER["key"]}}, "stranger.key is not the key of /etc/role-test/server.pem"),
        ({"tls": {**FULL["tls"], "certificate": "/etc/role-test/nowhere.pem"}}, "nowhere.pem isn't there, or is empty"),
        ({"tls": {**FULL["tls"], "ca": "/etc/role-test/other.pem"}}, "unable to get local issuer certificate"),
        (
            {"tls": {**FULL["tls"], "certificate": "/etc/role-test/expired.pem"}},
            "expired.pem: the certificate has expired, on 2020-02-01T00:00:00Z: renew it",
        ),
        (
            {"tls": {**FULL["tls"], "ca": "/etc/role-test/ended-ca.pem"}},
            "ended-ca.pem: the CA's certificate has expired, on 2020-02-01T00:00:00Z: clients",
        ),
        ({"collect_garbage": "every blue moon"}, "collect_garbage: Failed to parse calendar"),
    )
    # every wrong value has its exact message in tests/unit/plugins/plugin_utils/roles/test_catalogue.py
    wrong = (
        ({"port": "5000"}, "registry_instances[0]: port: expected a whole number from 1 to 65535, found the text"),
        ({"tls": None}, "is reached by others, and without tls passwords can be read on the way: give tls, or"),
        ({"users": []}, "registry_instances[0]: users: expected a list of at least 1"),
        ({"name": "reg-plain"}, "registry_instances[1]: name: 'reg-plain' is also the name of [0]"),
        ({"users": [{"name": "ci", "secret": "nothing"}]}, "canary_nothing"),
        ({"adress": "x"}, "Supported parameters include: address"),
    )

    def with_(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        return {"registry_instances": instances(**changed)}

    def with_more(self, **changed: Any) -> dict[str, Any]:
        return {"registry_instances": third(**changed)}

    def serves(self, role: RoleHost) -> bool:
        return Client(role).status() == 200

    hashes = ("$2y$",)

    def lose(self, role: RoleHost) -> None:
        role.sh("rm /etc/fedlearn/reg-one/*/htpasswd")


def test_what_is_stopped_or_disabled_by_hand_is_named_and_repaired(role: RoleHost) -> None:
    role.sh(f"systemctl stop {UNITS[1]}; systemctl disable fedlearn-reg-full-collect.timer")
    named = role.play(entry="check").words
    assert f"reg-plain: stopped: {UNITS[1]} is inactive (dead)" in named
    assert "reg-full: differing: enablement of fedlearn-reg-full-collect.timer" in named
    assert role.play().changed == 1
    assert role.play(entry="check").code == 0


def test_the_probe_leaves_one_artifact_however_often(role: RoleHost) -> None:
    before = blobs(role)
    assert role.play(entry="check").code == 0
    assert blobs(role) == before
    assert json.loads(Client(role).ask("GET", "/v2/fedlearn-health/tags/list")[2])["tags"] == ["latest"]


def test_one_that_runs_and_takes_nothing_is_ill(role: RoleHost) -> None:
    role.sh(f"cp -a {IMAGES}/repositories /var/tmp/kept && rm -r {IMAGES}/repositories && touch {IMAGES}/repositories")
    try:
        named = role.play(entry="check").words
    finally:
        role.sh(f"rm {IMAGES}/repositories && mv /var/tmp/kept {IMAGES}/repositories")
    assert "reg-full: ill: the begin of a push was answered 500 instead of 202" in named
    assert ": differing: " not in named
    assert role.play(entry="check").code == 0


def test_a_password_that_bcrypt_would_cut_is_refused(role: RoleHost) -> None:
    before = role.state(units=UNITS)
    run = role.play(canary_second="CANARY-" + 66 * "x")
    assert (run.code, run.changed) == (2, 0)
    assert "bcrypt wants 1 to 72" in run.words, run.text
    assert "CANARY-x" not in run.text
    assert role.state(units=UNITS) == before


def gone(role: RoleHost) -> None:
    absent = [{"name": "reg-third", "federation": "reg-one", "state": "absent"}]
    assert role.play(registry_instances=absent, registry_remove_data=True).code == 0


def test_somebody_elses_registry_is_left_alone(role: RoleHost) -> None:
    role.sh(f"systemctl stop {UNITS[0]} && cp /etc/docker/registry/config.yml /var/tmp/theirs")
    role.sh("systemctl enable --quiet --now docker-registry; sleep 1")
    try:
        before = role.state("/etc/docker/registry/config.yml", units=("docker-registry.service",))
        run = role.play(entry="precheck")
        assert run.code == 2
        assert f"reg-full: {role.address} port 5000: held by docker-registry (process" in run.words
        assert "docker-registry.service" in run.words
        run = role.play(registry_instances=[{**FULL, "port": 5005}, PLAIN])
        assert run.code == 0, run.text
        assert role.state("/etc/docker/registry/config.yml", units=("docker-registry.service",)) != ""
        assert role.sh("systemctl is-enabled docker-registry; systemctl is-active docker-registry").split() == [
            "enabled",
            "active",
        ]
        assert before
    finally:
        role.sh("systemctl disable --quiet --now docker-registry; rm -rf /var/lib/docker-registry/docker")
    assert role.play().changed == 1


def test_two_logins_in_turn_change_a_password_without_a_refusal(role: RoleHost) -> None:
    users = [FULL["users"][0], {"name": "ci_b", "secret": "third"}]
    assert role.play(registry_instances=instances(users=users)).changed == 1
    assert [Client(role).status(), Client(role, "ci_b", "third").status()] == [200, 200]
    assert Client(role, "ci_b", "second").status() == 401
    assert role.play(registry_instances=instances(users=users[1:])).changed == 1
    assert [Client(role).status(), Client(role, "ci_b", "third").status()] == [401, 200]
    assert role.play().changed == 1


def test_a_password_is_replaced_with_its_client_asking_all_along(role: RoleHost) -> None:
    """By the very steps of the playbook `rotate`; the registry reads its logins anew, and no request is refused."""
    given = {"fedlearn_secret_backend": {}, "fedlearn_state": os.environ["FEDLEARN_ROLE_STATE"]}
    users = [{"name": "turning", "secret": "turning", "in_turn": True}]
    wanted = {**given, "registry_instances": [{**FULL, "users": users}]}
    first = role.secrets("turning")["turning"]
    assert role.play(**wanted).changed == 1
    pid = main_pid(role, UNITS[0])
    url = f"https://{role.address}:5000/v2/"

    def asks(turn: str, password: str) -> None:
        asked = json.dumps(["GET", url, [f"turning_{turn}", password], "", "", None])
        asking = (
            f"while sleep 0.2; do printf %s {quote(asked)} | python3 -c {quote(CURL)}; done >>/run/answers-{turn} 2>&1"
        )
        role.sh(f"systemd-run --quiet --collect --unit asking-{turn} /bin/sh -c {quote(asking)}")

    def answers(turn: str) -> list[int]:
        lines = role.sh(f"systemctl stop asking-{turn}; cat /run/answers-{turn}").splitlines()
        return [json.loads(line)[0] for line in lines]

    def status(turn: str, password: str) -> int:
        client = Client(role, "x")
        client.login = [f"turning_{turn}", password]
        return client.status()

    try:
        asks("a", first)
        second = role.secrets("turning", turn="begin")["turning.2"]
        assert role.play(**wanted).changed == 1
        assert role.play(**wanted).changed == 0
        assert [status("a", first), status("b", second), status("a", second)] == [200, 200, 401]
        former = answers("a")
        asks("b", second)
        assert role.play(entry="withdraw", **wanted).changed == 1
        assert [status("a", first), status("b", second)] == [401, 200]
        assert "turning" not in role.secrets("turning", turn="end")
        assert role.play(**wanted).changed == 0
        assert main_pid(role, UNITS[0]) == pid
        newer = answers("b")
        assert [(set(told), len(told) > 5) for told in (former, newer)] == [({200}, True), ({200}, True)]
    finally:
        role.sh("systemctl stop asking-a asking-b 2>/dev/null || true; rm -f /run/answers-*")
        assert role.play().failed == 0


def test_a_new_certificate_is_taken_up(role: RoleHost) -> None:
    before, plain = main_pid(role, UNITS[0]), main_pid(role, UNITS[1])
    role.sh("cd /etc/role-test && cp -p server.pem server.old && cat server.old ca.pem > server.pem")
    assert role.play().changed == 1
    assert main_pid(role, UNITS[0]) != before
    assert main_pid(role, UNITS[1]) == plain
    role.sh("cd /etc/role-test && mv server.old server.pem")
    assert role.play().changed == 1


def test_garbage_is_collected_and_nothing_else(role: RoleHost) -> None:
    client = Client(role)
    client.push("one/kept", "v1", "kept")
    lost = client.push("one/lost", "v1", "lost")
    client.layer("one/orphan", "named by nothing")
    assert client.ask("DELETE", f"/v2/one/lost/manifests/{lost}")[0] == 202
    before = blobs(role)
    role.sh(f"systemctl start {COLLECT}")
    names = {hashlib.sha256(text.encode()).hexdigest() for text in ("lost", "named by nothing")}
    begun = hashlib.sha256(b"named by nothing").hexdigest()
    assert {path.split("/")[2] for path in before - blobs(role)} == {*names, lost.removeprefix("sha256:")}
    assert client.pull("one/kept", "v1") == "kept"
    # whoever was between a layer and its manifest is refused, and not given a name for what isn't there any more
    layer = {"mediaType": MANIFEST.replace("manifest.v1+json", "layer.v1.tar"), "digest": f"sha256:{begun}", "size": 16}
    image = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": layer, "layers": [layer]})
    status, _place, told = client.ask("PUT", "/v2/one/orphan/manifests/v1", MANIFEST, image)
    assert (status // 100, "MANIFEST_BLOB_UNKNOWN" in told) == (4, True), told
    client.push("one/kept", "v2", "named by nothing")
    assert client.pull("one/kept", "v2") == "named by nothing"
    assert role.play().changed == 0
    assert role.play(entry="check").code == 0


def test_a_collection_that_failed_is_named(role: RoleHost) -> None:
    room = f"/run/systemd/system/{COLLECT}.d"
    role.sh(f"mkdir -p {room} && printf '[Service]\nExecStartPre=/bin/false\n' >{room}/fails.conf")
    try:
        role.sh(f"systemctl daemon-reload; ! systemctl start {COLLECT}")
        run = role.play(entry="check")
        assert "reg-full: ill: the last collection of garbage failed: journalctl -t registry-collect" in run.words
        assert "reg-plain" not in run.words.partition("TASK [fedlearn.infra.registry : Name those")[2]
        assert role.play().changed == 0
    finally:
        role.sh(f"rm -r {room}; systemctl daemon-reload; systemctl start {COLLECT}")
    assert role.play(entry="check").code == 0


def test_while_garbage_is_collected_it_is_pulled_from_and_not_pushed_to(role: RoleHost, tmp_path: Path) -> None:
    client = Client(role)
    client.push("one/kept", "v1", "kept")
    role.sh(
        f"mkdir -p /run/systemd/system/{COLLECT}.d && printf '[Service]\\nExecStart=\\nExecStart=/bin/sleep 600\\n' "
        f">/run/systemd/system/{COLLECT}.d/slow.conf && systemctl daemon-reload"
    )
    try:
        role.sh(f"systemctl start --no-block {COLLECT}; sleep 3")
        assert client.ask("POST", "/v2/one/kept/blobs/uploads/")[0] == 405
        assert client.pull("one/kept", "v1") == "kept"
        run = role.play(entry="backup", registry_backup_directory=str(tmp_path))
        assert run.code == 2
        assert role.play(entry="check").code == 0  # the probe asks for no push then
        role.sh(f"systemctl kill -s KILL {COLLECT}; sleep 3")
        assert client.ask("POST", "/v2/one/kept/blobs/uploads/")[0] == 202
        assert role.sh("ls -d /run/fedlearn-reg-full-collect 2>/dev/null || true") == ""
    finally:
        role.sh(f"systemctl stop {COLLECT}; rm -r /run/systemd/system/{COLLECT}.d; systemctl daemon-reload")
        role.sh(f"systemctl reset-failed {COLLECT} || true")
    assert role.play(entry="check").code == 0


def test_images_stay_until_told(role: RoleHost) -> None:
    assert role.play(registry_instances=third()).code == 0
    client = Client(role, "ci", "second", "http://127.0.0.1:5003")
    client.push("kept", "v1", "yes")
    role.sh(f"kill -9 {main_pid(role, 'fedlearn-reg-third')}; sleep 5")
    assert client.pull("kept", "v1") == "yes"
    absent = [{"name": "reg-third", "federation": "reg-one", "state": "absent"}]
    assert role.play(registry_instances=absent).changed == 1
    assert role.try_sh("test -e /etc/systemd/system/fedlearn-reg-third.service")[0] == 1
    assert role.play(registry_instances=third()).changed == 1
    assert client.pull("kept", "v1") == "yes"
    gone(role)
    assert role.try_sh("ls -d /var/lib/fedlearn-reg-third /var/lib/private/fedlearn-reg-third")[0] != 0


def test_a_new_host_gets_the_images_back(role: RoleHost, tmp_path: Path) -> None:
    for number in range(5):
        Client(role).push(f"one/image-{number}", "v1", f"layer {number}")
    sums = f"cd {IMAGES} && find repositories blobs -type f -not -path '*/_uploads/*' -exec sha256sum {{}} + | sort"
    before = role.sh(sums)
    assert before.count("\n") > 20
    told = role.sh("age-keygen 2>/dev/null").split()
    public, private = (next(word for word in told if word.startswith(start)) for start in ("age1", "AGE-"))
    run = role.play(entry="backup", registry_backup_directory=str(tmp_path), registry_backup_recipient=public)
    assert (run.code, run.changed) == (0, 1), run.text
    (file,) = tmp_path.glob("host/registry-*.tar.age")
    assert file.read_bytes().startswith(b"age-encryption.org/v1")
    assert tmp_path.joinpath("host").stat().st_mode & 0o777 == 0o700
    assert role.sh("ls /var/tmp | grep ^fedlearn || true") == ""

    assert role.play(entry="remove", registry_remove_data=True).changed == 1
    assert role.play().code == 0
    assert (
        "registry_backup_secret: which secret is the key"
        in role.play(entry="restore", registry_restore_from=str(file)).words
    )
    keys = {"registry_backup_secret": "backup", "canary_backup": private}
    run = role.play("-vvv", entry="restore", registry_restore_from=str(file), **keys)
    assert run.code == 0, run.text
    assert private not in run.text
    assert role.sh("ls /var/tmp /var/lib/fedlearn | grep -e ^fedlearn -e restore || true") == ""
    assert role.sh(sums) == before
    assert Client(role, "ci_b", "second").pull("one/image-3", "v1") == "layer 3"
    assert role.play().changed == 0
    assert role.play(entry="check").code == 0


def test_a_damaged_backup_is_not_restored(role: RoleHost, tmp_path: Path) -> None:
    assert "which file of" in role.play(entry="restore").words
    client = Client(role)
    client.push("one/kept", "v1", "kept")
    blob = tmp_path / "images" / "docker/registry/v2/blobs/sha256/ab" / ("ab" + 62 * "0") / "data"
    blob.parent.mkdir(parents=True)
    blob.write_text("not what its name says")
    with tarfile.open(tmp_path / "images.tar", "w") as images:
        images.add(tmp_path / "images" / "docker", "docker")
    with tarfile.open(tmp_path / "damaged.tar", "w") as archive:
        for name in ("reg-full", "reg-plain"):
            archive.add(tmp_path / "images.tar", f"{name}/images.tar")
    before = role.state(units=UNITS)
    run = role.play(entry="restore", registry_restore_from=str(tmp_path / "damaged.tar"))
    assert run.code == 2
    assert "a layer of the file is damaged: nothing was restored" in run.words
    assert role.state(units=UNITS) == before
    assert client.pull("one/kept", "v1") == "kept"


def test_remove_leaves_nothing_and_a_clean_host_can_be_checked(role: RoleHost) -> None:
    assert role.play(entry="remove", registry_remove_data=True).changed == 1
    assert role.play(entry="remove", registry_remove_data=True).changed == 0
    left = role.sh("find /etc /var/lib /run | grep -e reg-one -e fedlearn-reg -e fedlearn/registry || true")
    assert left == "", left
    assert role.try_sh("ss -Hltnp | grep -q docker-registr")[0] == 1
    clean = role.play("--check")
    assert (clean.code, clean.failed) == (0, 0), clean.text
    assert role.owned() == []
    assert role.play().changed >= 1
