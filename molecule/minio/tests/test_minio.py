# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The minio role on one host, as an unprivileged sudo user. Clients are the control node's, over the network."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from role_host import RoleHost
from shared_tests import Secretive, Store

from ansible_collections.fedlearn.infra.plugins.module_utils._minio.client import (
    Client,
    MinioError,
    UnansweredError,
    plain_tree,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._minio.objects import encrypted

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
FULL, PLAIN = VARIABLES["minio_instances"]
UNITS = ("fedlearn-s3-full.service", "fedlearn-s3-plain.service")
PASSWORDS = {name: VARIABLES[f"canary_{name}"] for name in ("first", "second", "reader")}
MAY_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["*"]}]}


@pytest.fixture
def role(host: Any) -> RoleHost:
    return RoleHost(host, "minio", VARIABLES)


class Clients:
    """Whoever comes to the full instance, by name."""

    def __init__(self, role: RoleHost, ca: str) -> None:
        self.role, self.ca = role, ca

    def __call__(self, name: str, secret: str) -> Client:
        return Client(9000, name, PASSWORDS.get(secret, secret), self.ca, host=self.role.address)

    @property
    def admin(self) -> Client:
        return self("administrator", self.role.sh("cat /var/lib/fedlearn-s3-full/administrator").strip())


@contextmanager
def coming(role: RoleHost) -> Iterator[Clients]:
    """Those who believe the scenario's CA."""
    with NamedTemporaryFile("w", suffix=".pem") as ca:
        ca.write(role.sh("cat /etc/role-test/ca.pem"))
        ca.flush()
        yield Clients(role, ca.name)


@pytest.fixture
def clients(role: RoleHost) -> Iterator[Clients]:
    with coming(role) as those:
        yield those


def instances(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's instances, the first one changed."""
    return [{**FULL, **changed}, PLAIN]


def third(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's instances, and one more."""
    return [FULL, PLAIN, {"name": "s3-third", "federation": "s3-one", "port": 9020, **changed}]


def refusal(client: Client, method: str, path: str, body: bytes = b"", query: Mapping[str, str] | None = None) -> str:
    """The code of what a server refuses."""
    with pytest.raises(MinioError) as caught:
        client.ask(method, path, query, body)
    return caught.value.code


class Asking:
    """Somebody who writes and reads all along, and what was refused or broke off."""

    def __init__(self, client: Client) -> None:
        self.client, self.asked = client, 0
        self.failures: list[str] = []
        self.ends = threading.Event()

    def __call__(self) -> None:
        while not self.ends.wait(0.2):
            try:
                self.client.ask("PUT", f"/imaging/{self.client.access}", body=b"1")
                self.client.ask("GET", f"/imaging/{self.client.access}")
            except (MinioError, UnansweredError, AssertionError) as error:
                self.failures.append(str(error))
            self.asked += 1


@contextmanager
def asked_all_along(client: Client) -> Iterator[Asking]:
    asking = Asking(client)
    thread = threading.Thread(target=asking)
    thread.start()
    try:
        yield asking
    finally:
        asking.ends.set()
        thread.join()


def main_pid(role: RoleHost, unit: str) -> str:
    return role.sh(f"systemctl show -p MainPID --value {unit}").strip()


def fill(client: Client, bucket: str) -> None:
    """Objects of several sizes, with names and descriptions of all sorts; whatever was there goes."""
    for key in client.objects(bucket):
        client.ask("DELETE", f"/{bucket}/{key}")
    for key in ("plain", "deep/er/ü and + %25", "folder/", "empty"):
        client.ask("PUT", f"/{bucket}/{key}", body=b"" if key == "empty" else key.encode() * 99)
    client.ask("PUT", f"/{bucket}/large", body=os.urandom(12_000_000), headers={"x-amz-meta-mode": "33188"})


def content(client: Client, bucket: str) -> dict[str, tuple[str, str | None, str | None]]:
    """Each object's hash, and what was said of it."""
    found = {}
    for key in client.objects(bucket):
        with client.send("GET", f"/{bucket}/{key}") as answer:
            digest = hashlib.sha256(answer.read()).hexdigest()
            found[key] = (digest, answer.getheader("content-type"), answer.getheader("x-amz-meta-mode"))
    return found


def test_listens_on_its_address_and_loopback_only(role: RoleHost) -> None:
    found = {line.split()[3] for line in role.sh("ss -Hltnp | grep '\"minio\"'").splitlines()}
    wanted = {f"{role.address}:9000", "127.0.0.1:9000", "127.0.0.1:9010"}
    assert wanted <= found <= {*wanted, "[::1]:9000", "[::1]:9010"}


def test_it_says_what_was_built(role: RoleHost) -> None:
    program = role.sh(f"readlink /proc/{main_pid(role, UNITS[0])}/exe").strip()
    assert program.startswith("/opt/fedlearn/minio/v0.0.0-20260212201848-7aac2a2c5b7c-")
    assert "RELEASE.2026-02-12T20-18-48Z (commit-id=7aac2a2c5b7c)" in role.sh(f"HOME=/nowhere {program} --version")


def test_clients_reach_their_bucket_and_no_other(clients: Clients) -> None:
    writer = clients("imaging_a", "first")
    writer.ask("PUT", "/imaging/one", body=b"1")
    assert clients("imaging_b", "second").ask("GET", "/imaging/one") == b"1"
    reader = clients("reader", "reader")
    assert reader.ask("GET", "/imaging/one") == b"1"
    assert list(reader.objects("imaging")) == ["one"]
    assert refusal(reader, "PUT", "/imaging/two", b"2") == "AccessDenied"
    assert refusal(reader, "DELETE", "/imaging/one") == "AccessDenied"
    assert refusal(writer, "GET", "/models") == "AccessDenied"
    assert refusal(writer, "PUT", "/another") == "AccessDenied"
    assert refusal(clients("models", "second"), "GET", "/imaging/one") == "AccessDenied"
    assert refusal(clients("imaging_a", "second"), "GET", "/imaging/one") == "SignatureDoesNotMatch"
    assert refusal(clients("nobody", "second"), "GET", "/imaging/one") == "InvalidAccessKeyId"
    writer.ask("DELETE", "/imaging/one")


def test_clients_administer_nothing(clients: Clients) -> None:
    for name, secret in (("imaging_a", "first"), ("watcher", "reader")):
        for what in ("info", "list-users", "export-iam"):
            assert refusal(clients(name, secret), "GET", f"/minio/admin/v3/{what}") == "AccessDenied", what
        another = {"secretKey": "another one", "status": "enabled"}
        for what, query, body in (("add-service-account", {}, {}), ("add-user", {"accessKey": name}, another)):
            text = json.dumps(body).encode()
            sealed = encrypted(PASSWORDS[secret], text, lambda key, *rest: AESGCM(key).encrypt(*rest))
            assert refusal(clients(name, secret), "PUT", f"/minio/admin/v3/{what}", sealed, query) == "AccessDenied"


class Temporary(Client):
    """Whoever made a key of a password that is for some time."""

    def __init__(self, maker: Client) -> None:
        body = b"Action=AssumeRole&Version=2011-06-15&DurationSeconds=31536000"
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%dT%H%M%SZ")
        summed = hashlib.sha256(body).hexdigest()
        headers = {"host": f"{maker.host}:{maker.port}", "x-amz-content-sha256": summed, "x-amz-date": stamp}
        names = ";".join(sorted(headers))
        request = "\n".join(["POST", "/", "", *(f"{key}:{headers[key]}" for key in sorted(headers)), "", names, summed])
        scope = f"{stamp[:8]}/us-east-1/sts/aws4_request"
        said = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(request.encode()).hexdigest()])
        key = ("AWS4" + maker.password).encode()
        for part in [*scope.split("/"), said]:
            key = hmac.digest(key, part.encode(), "sha256")
        login = f"Credential={maker.access}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
        headers["authorization"] = f"AWS4-HMAC-SHA256 {login}"
        headers["content-type"] = "application/x-www-form-urlencoded"
        connection = maker._connection()
        connection.request("POST", "/", body=body, headers=headers)
        tree = plain_tree(connection.getresponse().read())
        found = {one.tag: str(one.text) for one in tree.iter()}
        super().__init__(maker.port, found["AccessKeyId"], found["SecretAccessKey"], None, maker.host)
        self._context, self._token = maker._context, {"x-amz-security-token": found["SessionToken"]}

    def send(self, method: str, path: str, query: Any = None, body: Any = b"", headers: Any = None) -> Any:
        return super().send(method, path, query, body, {**(headers or {}), **self._token})


def test_a_key_made_of_a_password_ends_with_it(role: RoleHost, clients: Clients) -> None:
    """No policy keeps a client from making one that is for a year."""
    replaced = Temporary(clients("imaging_a", "first"))
    removed = Temporary(clients("imaging_b", "second"))
    replaced.ask("PUT", "/imaging/temporary", body=b"1")
    assert removed.ask("GET", "/imaging/temporary") == b"1"
    less = [{**one, "state": "absent"} if one["name"] == "imaging_b" else one for one in FULL["clients"]]
    try:
        run = role.play(minio_instances=instances(clients=less), canary_first="CANARY-5 another")
        assert (run.code, run.changed) == (0, 1), run.text
        assert refusal(replaced, "GET", "/imaging/temporary") == "InvalidAccessKeyId"
    finally:
        assert role.play().changed == 1
    assert refusal(removed, "GET", "/imaging/temporary") == "InvalidAccessKeyId"
    clients("imaging_a", "first").ask("DELETE", "/imaging/temporary")


def test_the_server_writes_to_no_folder_that_root_lays_keys_in(role: RoleHost) -> None:
    """It would lead root astray by a link."""
    pid = main_pid(role, UNITS[0])
    words = role.sh(f"tr '\\0' '\\n' </proc/{pid}/cmdline").splitlines()
    folder = Path(words[words.index("--certs-dir") + 1])
    look = " ".join(str(one) for one in (folder, *folder.parents))
    lines = role.sh(f"stat -L -c '%u %A %n' {look}").splitlines()
    assert [line for line in lines if not line.startswith("0 ") or line[7] == "w" or line[10] == "w"] == []
    assert role.sh(f"stat -c '%u %a' {folder}/private.key").split() == [
        role.sh(f"stat -c %u /proc/{pid}").strip(),
        "400",
    ]


def token(user: str, password: str) -> str:
    """The bearer token of the role's README."""

    def encoded(raw: bytes) -> bytes:
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    claims = {"exp": int(time.time()) + 600, "sub": user, "iss": "prometheus"}
    said = encoded(b'{"alg":"HS512","typ":"JWT"}') + b"." + encoded(json.dumps(claims).encode())
    return (said + b"." + encoded(hmac.digest(password.encode(), said, "sha512"))).decode()


def metrics(role: RoleHost, bearer: str) -> str:
    """What a scraper without any signature sees."""
    script = (
        "import ssl,sys,urllib.request as u;"
        "c=ssl.create_default_context(cafile='/etc/role-test/ca.pem');c.verify_flags&=~ssl.VERIFY_X509_STRICT;"
        f"r=u.Request('https://{role.address}:9000/minio/v2/metrics/cluster',headers={{}});"
        f"r.add_header('Authorization','Bearer {bearer}') if {bool(bearer)} else None;"
        "print(u.urlopen(r,context=c).read().decode())"
    )
    return role.try_sh(f'python3 -c "{script}"')[1]


def test_metrics_need_the_token_of_their_client(role: RoleHost) -> None:
    assert "minio_node_process_uptime_seconds" in metrics(role, token("watcher", PASSWORDS["reader"]))
    assert "HTTP Error 403" in metrics(role, "")
    assert "HTTP Error 403" in metrics(role, token("watcher", "another"))
    assert "HTTP Error 403" in metrics(role, token("imaging_b", PASSWORDS["second"]))


def test_versions_are_kept_and_expire(clients: Clients) -> None:
    writer = clients("imaging_a", "first")
    for text in (b"former", b"present"):
        writer.ask("PUT", "/imaging/kept", body=text)
    assert clients.admin.ask("GET", "/imaging", {"versions": "", "prefix": "kept"}).count(b"<VersionId>") == 2
    assert b"<NoncurrentDays>7</NoncurrentDays>" in clients.admin.ask("GET", "/imaging", {"lifecycle": ""})
    assert b"<Days>30</Days>" in clients.admin.ask("GET", "/models", {"lifecycle": ""})
    writer.ask("DELETE", "/imaging/kept")


def test_settings_reach_the_server(role: RoleHost) -> None:
    said = role.sh(f"tr '\\0' '\\n' </proc/{main_pid(role, UNITS[0])}/environ").splitlines()
    assert {"MINIO_API_REQUESTS_MAX=200", "MINIO_COMMENT=it has 100% #spaces ; in it", "MINIO_UPDATE=off"} <= set(said)


@pytest.mark.parametrize("unit", UNITS)
def test_hardened(role: RoleHost, unit: str) -> None:
    assert role.exposure(unit) <= 2.5
    assert role.sh(f"ps -o user= -p {main_pid(role, unit)}").strip() != "root"


def test_a_control_node_that_built_nothing_changes_nothing(role: RoleHost, tmp_path: Path) -> None:
    before = role.state(units=UNITS)
    again = role.play(minio_build_directory=str(tmp_path), minio_go="/nowhere/go")
    assert (again.code, again.changed) == (0, 0), again.text
    assert list(tmp_path.iterdir()) == []
    assert role.state(units=UNITS) == before
    told = role.play(entry="sources", minio_build_directory=str(tmp_path), minio_go="/nowhere/go")
    assert "is built by Go, and there is no '/nowhere/go' on the control node" in told.words


class TestMinio(Secretive, Store):
    units, owned, most = UNITS, 6, 3
    changed = {"minio_instances": instances(port=9009)}
    package = ("minio_packages", "age")
    unfit = "/etc/role-test/server.key is not the key of /etc/role-test/server.pem"
    serves_at = 9000
    name, space = "s3-third", "minio_space_mb"
    loopback = {"address": "::1"}
    refused = (
        (
            {"tls": {**FULL["tls"], "key": "/etc/role-test/stranger.key"}},
            "/etc/role-test/stranger.key is not the key of /etc/role-test/server.pem",
        ),
        ({"tls": {**FULL["tls"], "certificate": "/etc/role-test/no.pem"}}, "/etc/role-test/no.pem isn't there, or is"),
        ({"tls": {**FULL["tls"], "ca": "/etc/role-test/other.pem"}}, "unable to get local issuer certificate"),
        (
            {"tls": {**FULL["tls"], "certificate": "/etc/role-test/expired.pem"}},
            "expired.pem: the certificate has expired, on 2020-02-01T00:00:00Z: renew it",
        ),
        (
            {"tls": {**FULL["tls"], "ca": "/etc/role-test/ended-ca.pem"}},
            "ended-ca.pem: the CA's certificate has expired, on 2020-02-01T00:00:00Z: clients",
        ),
        ({"public_url": "https://127.0.0.3:9000"}, "IP address mismatch"),
        ({"public_url": "https://elsewhere.test:9000"}, "hostname mismatch"),
        ({"settings": {"MINIO_SERVER_URL": "ftp://store"}}, "Invalid MINIO_SERVER_URL value"),
    )
    # every wrong value has its exact message in tests/unit/plugins/plugin_utils/roles/test_catalogue.py
    wrong = (
        ({"tls": None}, "is reached by others, and without tls all they send can be read on the way: give tls"),
        ({"buckets": []}, "clients[0].bucket: no bucket of this instance is called 'imaging' (there are none)"),
        ({"name": "s3-plain"}, "minio_instances[1]: name: 's3-plain' is also the name of [0]"),
        ({"public_url": "http://store"}, "public_url: is http, and with tls the server speaks nothing but https"),
        ({"port": 9010}, "minio_instances[1]: port: 127.0.0.1 port 9010 is taken by 's3-full'"),
        ({"bukets": []}, "Supported parameters include:"),
    )

    def with_(self, changed: Mapping[str, Any]) -> dict[str, Any]:
        return {"minio_instances": instances(**changed), "minio_health_timeout_seconds": 15}

    def with_more(self, **changed: Any) -> dict[str, Any]:
        return {"minio_instances": third(**changed)}

    def serves(self, role: RoleHost) -> bool:
        with coming(role) as clients:
            return clients("imaging_a", "first").knows_me()

    # what a server keeps of its users lies in its own data, which nobody else reads
    places = Secretive.places.replace("/var/lib/fedlearn*", "/var/lib/fedlearn/")

    def lose(self, role: RoleHost) -> None:
        with coming(role) as clients:
            clients.admin.admin("DELETE", "remove-user", {"accessKey": "imaging_b"})

    def own(self, role: RoleHost) -> list[str]:
        return [role.sh("cat /var/lib/fedlearn-s3-full/administrator").strip()]

    def kept(self, role: RoleHost) -> str:
        return role.state()  # of a setting it tells only what is wrong when it starts


def test_what_is_changed_inside_is_named_and_repaired(role: RoleHost, clients: Clients) -> None:
    admin = clients.admin
    everything = json.dumps(MAY_ALL).encode()
    admin.admin("PUT", "add-canned-policy", {"name": "imaging-read"}, everything)
    admin.admin("PUT", "add-canned-policy", {"name": "by-hand"}, everything)
    set_policy = {"policyName": "by-hand,imaging-write", "userOrGroup": "imaging_a", "isGroup": "false"}
    admin.admin("PUT", "set-user-or-group-policy", set_policy)
    group = {"group": "all", "members": ["imaging_b"], "isRemove": False}
    admin.admin("PUT", "update-group-members", body=json.dumps(group).encode())
    admin.admin("PUT", "set-user-status", {"accessKey": "models", "status": "disabled"})
    admin.admin("DELETE", "remove-user", {"accessKey": "watcher"})
    suspended = b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"
    admin.ask("PUT", "/imaging", {"versioning": ""}, suspended)
    admin.ask("DELETE", "/models", {"lifecycle": ""})
    strangers = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": ["arn:aws:s3:::models/*"]}
    admin.ask("PUT", "/models", {"policy": ""}, json.dumps({**MAY_ALL, "Statement": [strangers]}).encode())
    found = role.play(entry="check")
    wanted = (
        "bucket imaging: versioning, bucket models: lifecycle, bucket models: closed to whoever has no name here, "
        "policy imaging-read, "
        "client imaging_a: may imaging-write, client imaging_b: no longer in all, client models: enabled, "
        "client watcher: made, "
        "client watcher: may fedlearn-metrics"
    )
    assert f"s3-full: differing: {wanted}" in found.words, found.text
    assert "s3-plain:" not in found.words
    assert role.play("--check").changed == 1
    assert role.play().changed == 1
    assert role.play(entry="check").code == 0
    assert refusal(clients("reader", "reader"), "PUT", "/models/x", b"x") == "AccessDenied"


def test_a_password_changes_while_two_names_are_used_in_turn(role: RoleHost, clients: Clients) -> None:
    clients("imaging_b", "second").ask("PUT", "/imaging/turn", body=b"1")
    run = role.play(canary_first="CANARY-4 another")
    assert (run.code, run.changed) == (0, 1), run.text
    assert refusal(clients("imaging_a", "first"), "GET", "/imaging/turn") == "SignatureDoesNotMatch"
    assert clients("imaging_a", "CANARY-4 another").ask("GET", "/imaging/turn") == b"1"
    assert clients("imaging_b", "second").ask("GET", "/imaging/turn") == b"1"
    less = [{**one, "state": "absent"} if one["name"] == "imaging_a" else one for one in FULL["clients"]]
    assert role.play(minio_instances=instances(clients=less)).changed == 1
    assert role.play(minio_instances=instances(clients=less)).changed == 0
    assert refusal(clients("imaging_a", "CANARY-4 another"), "GET", "/imaging/turn") == "InvalidAccessKeyId"
    assert role.play().changed == 1
    clients("imaging_a", "first").ask("DELETE", "/imaging/turn")


def test_a_password_is_replaced_with_its_client_asking_all_along(role: RoleHost, clients: Clients) -> None:
    """By the steps of the playbook `rotate`, and by itself."""
    given = {"fedlearn_secret_backend": {}, "fedlearn_state": os.environ["FEDLEARN_ROLE_STATE"]}
    server = {**FULL, "clients": [{"name": "turning", "bucket": "imaging", "secret": "turning", "in_turn": True}]}
    wanted = {**given, "minio_instances": [server]}
    first = role.secrets("turning")["turning"]
    assert role.play(**wanted).changed == 1
    with asked_all_along(clients("turning_a", first)) as former:
        second = role.secrets("turning", turn="begin")["turning.2"]
        assert role.play(**wanted).changed == 1
        assert role.play(**wanted).changed == 0
    with asked_all_along(clients("turning_b", second)) as newer:
        # goes on where the steps above were cut off
        secrets = [{"name": "turning", "party": "lab", "in_turn": True}]
        run = role.playbook("rotate", "-e", "what=passwords", fedlearn_secrets=secrets, **wanted)
        assert run.code == 0, run.text
        assert refusal(clients("turning_a", first), "GET", "/imaging") == "InvalidAccessKeyId"
        assert role.play(**wanted).changed == 0
    assert [(one.failures, one.asked > 5) for one in (former, newer)] == [([], True), ([], True)]
    gone = [{"name": f"turning_{turn}", "state": "absent"} for turn in "ab"]
    assert role.play(minio_instances=instances(clients=[*FULL["clients"], *gone])).changed == 1


def test_a_stopped_one_is_named_and_started(role: RoleHost) -> None:
    role.sh(f"systemctl stop {UNITS[1]}")
    named = role.play(entry="check").words
    assert f"s3-plain: stopped: {UNITS[1]} is inactive (dead)" in named
    assert role.play().changed == 1


def test_it_starts_without_what_a_boot_takes_away(role: RoleHost, clients: Clients) -> None:
    role.sh(f"systemctl stop {' '.join(UNITS)} && rm -rf /run/fedlearn && systemctl start {' '.join(UNITS)}")
    assert clients("imaging_a", "first").knows_me()
    assert role.play().changed == 0


def test_a_password_that_is_too_short_is_told(role: RoleHost) -> None:
    run = role.play(canary_second="short")
    assert (run.code, run.failed) == (2, 1)
    assert "s3-full: client imaging_b: password: " in run.words, run.text
    assert role.play().code == 0


class Kept(Client):
    """A client that stays on one connection."""

    def __init__(self, client: Client) -> None:
        super().__init__(client.port, client.access, client.password, client.ca, client.host)
        self.one: Any = None

    def _connection(self) -> Any:
        if self.one is None:
            self.one = super()._connection()
            self.one.connect()
            self.socket = self.one.sock
        assert self.one.sock is self.socket, "its connection was closed"
        return self.one


def test_a_new_certificate_with_a_new_key_is_loaded_while_clients_go_on(role: RoleHost, clients: Clients) -> None:
    """One that was connected all along, and one that connects for each request."""
    before = main_pid(role, UNITS[0])
    served = f"openssl s_client -connect {role.address}:9000 </dev/null 2>/dev/null | openssl x509 -noout -pubkey"
    new = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout new.key -subj /CN=server | "
    new += "openssl x509 -req -CA ca.pem -CAkey ca.key -days 9 -extfile names -out new.pem 2>/dev/null"
    names = f"echo subjectAltName=IP:{role.address},IP:127.0.0.1 >names"
    former = role.sh(served)
    role.sh(f"cd /etc/role-test && cp -p server.pem kept.pem && cp -p server.key kept.key && {names} && {new}")
    try:
        with (
            asked_all_along(Kept(clients("imaging_a", "first"))) as kept,
            asked_all_along(clients("imaging_b", "second")) as anew,
        ):
            role.sh("cd /etc/role-test && mv new.pem server.pem && mv new.key server.key")
            assert role.play().changed == 1
            assert role.sh(served) == role.sh("openssl pkey -pubout -in /etc/role-test/server.key") != former
    finally:
        role.sh("cd /etc/role-test && mv kept.pem server.pem && mv kept.key server.key && rm names")
        assert role.play().changed == 1
    assert role.sh(served) == former
    assert [(one.failures, one.asked > 5) for one in (kept, anew)] == [([], True), ([], True)]
    assert main_pid(role, UNITS[0]) == before


def test_a_program_of_the_host_is_used(role: RoleHost) -> None:
    role.sh("cp $(ls /opt/fedlearn/minio/v*/minio | head -1) /usr/local/bin/minio")
    own = third(buckets=[{"name": "own"}])[2:]
    try:
        assert role.play(minio_instances=own, minio_program="/usr/local/bin/minio", most=None).code == 0
        assert role.play(minio_instances=own, minio_program="/usr/local/bin/minio", most=3).changed == 0
        assert role.sh(f"readlink /proc/{main_pid(role, 'fedlearn-s3-third')}/exe").strip() == "/usr/local/bin/minio"
        run = role.play(minio_instances=own, minio_program="/usr/local/bin/none")
        assert "/usr/local/bin/none isn't there, or is no program" in run.words
    finally:
        gone(role)
        role.sh("rm /usr/local/bin/minio")


def gone(role: RoleHost) -> None:
    absent = [{"name": "s3-third", "federation": "s3-one", "state": "absent"}]
    assert role.play(minio_instances=absent, minio_remove_data=True).code == 0


def test_data_stay_until_told(role: RoleHost) -> None:
    durable = third(buckets=[{"name": "kept"}])
    assert role.play(minio_instances=durable).code == 0

    def local() -> str:
        return role.sh("ls -d /var/lib/fedlearn-s3-third/data/kept").strip()

    role.sh("kill -9 $(systemctl show -p MainPID --value fedlearn-s3-third); sleep 6")
    assert role.play(minio_instances=durable).changed == 0
    absent = [{"name": "s3-third", "federation": "s3-one", "state": "absent"}]
    assert role.play(minio_instances=absent).changed == 1
    assert role.try_sh("test -e /etc/systemd/system/fedlearn-s3-third.service")[0] == 1
    assert local()
    assert role.play(minio_instances=durable).changed == 1
    assert local()
    gone(role)
    assert role.try_sh("ls -d /var/lib/fedlearn-s3-third")[0] != 0


@pytest.fixture
def keys(role: RoleHost) -> tuple[str, str]:
    """A pair of age's, public and private."""
    said = role.sh("age-keygen 2>/dev/null").split()
    return said[said.index("key:") + 1], said[-1]


def test_a_new_host_gets_the_objects_back(
    role: RoleHost, clients: Clients, keys: tuple[str, str], tmp_path: Path
) -> None:
    assert "for whose key is the backup encrypted?" in role.play(entry="backup").words
    fill(clients("imaging_a", "first"), "imaging")
    fill(clients("models", "second"), "models")
    before = {bucket: content(clients.admin, bucket) for bucket in ("imaging", "models")}
    assert len(before["models"]) == 5
    run = role.play(entry="backup", minio_backup_recipient=keys[0], minio_backup_directory=str(tmp_path))
    assert (run.code, run.changed) == (0, 2), run.text
    (file,) = (tmp_path / "host").iterdir()
    assert file.read_bytes()[:21] == b"age-encryption.org/v1"
    assert role.sh("ls /var/tmp | grep fedlearn-minio || true") == ""

    assert role.play(entry="remove", minio_remove_data=True).code == 0
    assert role.play().code == 0
    clients.admin.ask("PUT", "/imaging/of-the-new-host", body=b"goes")
    restored = {"minio_restore_from": str(file), "minio_backup_secret": "key"}
    assert "which file of" in role.play(entry="restore").words
    wrong = role.play(entry="restore", **restored, canary_key=role.sh("age-keygen 2>/dev/null").split()[-1])
    assert (wrong.code, "no identity matched any of the recipients" in wrong.words) == (2, True), wrong.text
    assert list(clients.admin.objects("imaging")) == ["of-the-new-host"]
    cut = tmp_path / "cut.tar.age"
    cut.write_bytes(file.read_bytes()[:-70_000])
    broken = role.play(entry="restore", **{**restored, "minio_restore_from": str(cut)}, canary_key=keys[1])
    assert (broken.code, "age: error: " in broken.words) == (2, True), broken.text
    assert list(clients.admin.objects("imaging")) == ["of-the-new-host"]
    assert list(clients.admin.objects("models")) == []
    run = role.play("-vvv", entry="restore", **restored, canary_key=keys[1])
    assert run.code == 0, run.text
    assert keys[1] not in run.text
    assert {bucket: content(clients.admin, bucket) for bucket in before} == before
    assert role.try_sh("ls /var/lib/fedlearn/minio-restore.tar.age")[0] != 0
    for bucket, name, secret in (("imaging", "imaging_a", "first"), ("models", "models", "second")):
        for key in before[bucket]:
            clients(name, secret).ask("DELETE", f"/{bucket}/{key}")


def test_the_playbooks_bring_and_restore_it(
    role: RoleHost, clients: Clients, keys: tuple[str, str], tmp_path: Path
) -> None:
    fill(clients("imaging_a", "first"), "imaging")
    before = content(clients.admin, "imaging")
    place = ["-e", f"fedlearn_backup_directory={tmp_path}"]
    bare = role.playbook("backup", *place)
    assert (bare.code, "it is said by -e fedlearn_backup_recipient=" in bare.words) == (2, True), bare.text
    assert "backup failed (" in bare.words
    run = role.playbook("backup", *place, "-e", f"fedlearn_backup_recipient={keys[0]}")
    assert run.code == 0, run.text
    (file,) = tmp_path.glob("host/minio-*.tar.age")
    assert file.read_bytes()[:21] == b"age-encryption.org/v1"
    clients.admin.ask("PUT", "/imaging/later", body=b"goes")
    lacking = role.playbook("restore", "-e", f"from={tmp_path}")
    assert lacking.code == 2, lacking.text
    assert f"{file} is encrypted: -e fedlearn_backup_secret=NAME says which secret is the key" in lacking.words
    restore = ["restore", "-e", f"from={tmp_path}", "-e", "fedlearn_backup_secret=key"]
    run = role.playbook(*restore, canary_key=keys[1])
    assert run.code == 0, run.text
    assert content(clients.admin, "imaging") == before
    for key in before:
        clients("imaging_a", "first").ask("DELETE", f"/imaging/{key}")


def test_remove_leaves_nothing_and_a_clean_host_can_be_checked(role: RoleHost) -> None:
    assert role.play(entry="remove", minio_remove_data=True).changed == 2
    assert role.play(entry="remove", minio_remove_data=True).changed == 0
    left = role.sh("find /etc /var/lib /run /opt | grep -E 's3-one|fedlearn[-/](minio|s3)' || true")
    assert left == "", left
    assert role.try_sh("ss -Hltnp | grep -q '\"minio\"'")[0] == 1
    clean = role.play("--check")
    assert (clean.code, clean.failed) == (0, 0), clean.text
    assert role.owned() == []
    assert role.play().changed >= 1
