# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The dc_federated roles on one host, as an unprivileged sudo user."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shlex
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from role_host import RoleHost

VARIABLES = yaml.safe_load((Path(__file__).parents[1] / "vars.yml").read_text())
OF_NEITHER = {key: value for key, value in VARIABLES.items() if not key.startswith("dc_federated_")}
SAFE, OPEN = "fedlearn-safe-server.service", "fedlearn-open-server.service"
SERVERS = (SAFE, OPEN)
WORKER = "fedlearn-open-worker.service"
DOUBLE = Path(__file__).resolve().parents[3] / "tests" / "doubles" / "dc_federated"
UPSTREAM = os.environ.get("FEDLEARN_UPSTREAM_DIR", "")
LIBRARY = Path(UPSTREAM) / "dc_federated" / "src" if UPSTREAM else DOUBLE
STATE = os.environ["FEDLEARN_ROLE_STATE"]
KEYS = (
    "PYTHONPATH=$(ls -d /opt/fedlearn/dc_federated-launcher/*/ | tail -n1) "
    "$(ls -d /opt/fedlearn/dc_federated-python/*/bin/python | tail -n1) -B -m fedlearn_dc_federated.keys"
)
CANARIES = (VARIABLES["canary_safe_admin"], VARIABLES["canary_open_admin"])


def of(role: str) -> dict[str, Any]:
    return {**OF_NEITHER, **{key: value for key, value in VARIABLES.items() if key.startswith(f"{role}_")}}


@pytest.fixture
def servers(host: Any) -> RoleHost:
    return RoleHost(host, "dc_federated_server", of("dc_federated_server"))


@pytest.fixture
def workers(host: Any) -> RoleHost:
    return RoleHost(host, "dc_federated_worker", of("dc_federated_worker"))


def instances(**changed: Any) -> list[dict[str, Any]]:
    """The scenario's servers, the first one changed."""
    first, *rest = VARIABLES["dc_federated_server_instances"]
    return [{**first, **changed}, *rest]


def asked(role: RoleHost, path: str, *more: str) -> str:
    """The status that the safe server answers with."""
    script = (
        "import ssl, sys, urllib.request, urllib.error\n"
        "context = ssl.create_default_context(cafile='/etc/role-test/ca.pem')\n"
        "try:\n    print(urllib.request.urlopen(sys.argv[1], context=context).status)\n"
        "except urllib.error.HTTPError as error:\n    print(error.code)\n"
    )
    return role.sh(f'python3 -c "{script}" https://{role.address}:5000{path}').strip()


def test_a_worker_ends_with_the_known_numbers(workers: RoleHost) -> None:
    assert workers.result("safe-worker") == {"values": [1025.5, 2.0], "own": [1.5, 2.5], "samples": 1}


def test_listens_on_its_addresses_only(servers: RoleHost) -> None:
    lines = servers.sh("ss -Hltnp | grep python").splitlines()
    assert sorted(line.split()[3] for line in lines) == sorted([f"{servers.address}:5000", "127.0.0.1:5000"])


def test_administrators_need_the_password(servers: RoleHost) -> None:
    assert (asked(servers, "/"), asked(servers, "/workers")) == ("404", "401")


@pytest.mark.parametrize("unit", [*SERVERS, WORKER])
def test_hardened(servers: RoleHost, unit: str) -> None:
    assert servers.exposure(unit) <= 2.5
    user = servers.sh(f"stat -c %u /proc/$(systemctl show -p MainPID --value {unit})").strip()
    assert 61184 <= int(user) <= 65519  # a dynamic user


def test_a_key_is_for_root_alone_and_only_its_public_half_travels(workers: RoleHost) -> None:
    key = "/var/lib/fedlearn/safe/keys/safe-worker/worker.key"
    assert workers.sh(f"stat -c '%a %U' {key} $(dirname {key})").split("\n")[:2] == ["600 root", "700 root"]
    public = workers.sh(f"cat {key}.pub")
    assert [len(workers.sh(f"cat {key}")), len(public)] == [64, 64]
    assert public == workers.sh("grep -v '^#' /etc/fedlearn/safe/safe-server/workers.pub").strip()
    assert workers.try_sh(f"grep -rlFf {key} /etc /var/log /run/systemd")[1] == ""
    assert workers.sh(f"grep -rlFf {key} {key.rpartition('/')[0]}").strip() == key  # it would be found


def test_no_password_is_where_others_can_read_it(servers: RoleHost) -> None:
    for number, canary in enumerate(CANARIES):
        name = ("safe", "open")[number]
        where = servers.sh(f"grep -rlF 'CANARY-{number + 1}' /etc /run /var/lib/fedlearn* 2>/dev/null || true").split()
        assert f"/etc/fedlearn/{name}/{name}-server/admin.password" in where, canary
        # a credential's 440 is 400 and the mask of an access list, by which Debian 13's systemd lets its unit in
        modes = servers.sh(f"stat -L -c '%a %G' {' '.join(where)}").splitlines()
        assert [mode for mode in modes if mode[1:3] != "00" and mode != "440 root"] == [], modes
    assert "CANARY" not in servers.sh("cat /proc/*/cmdline | tr '\\0' ' '; journalctl --no-pager -u 'fedlearn-*'")


def test_second_run_changes_nothing(servers: RoleHost, workers: RoleHost) -> None:
    for role, units, most in ((servers, SERVERS, 3), (workers, (WORKER,), 4)):
        before = role.state(units=units)
        again = role.play(most=most)
        assert (again.code, again.changed) == (0, 0), again.text
        assert role.state(units=units) == before


def test_check_mode_reports_nothing_and_check_is_content(servers: RoleHost, workers: RoleHost) -> None:
    for role in (servers, workers):
        checked = role.play("--check")
        assert (checked.code, checked.changed) == (0, 0), checked.text
        assert role.play(entry="check").code == 0
        assert role.play(entry="precheck").code == 0


def test_what_is_changed_by_hand_is_reported_and_repaired(servers: RoleHost) -> None:
    owned = servers.owned()
    assert len(owned) == 7  # two units, two launchers, two passwords, one list of keys
    damages = itertools.cycle(("printf '# by hand\\n' >> {0}", "chmod 640 {0}", "rm {0}"))
    for path, damage in zip(owned, damages, strict=False):
        before = servers.sh(f"cat {path}; stat -c '%a %U' {path}")
        servers.sh(damage.format(path))
        assert servers.play("--check").changed == 1, (path, damage)
        repaired = servers.play()
        assert repaired.changed == 1, (path, damage, repaired.text)
        assert servers.sh(f"cat {path}; stat -c '%a %U' {path}") == before, (path, damage)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"application": {"callable": "no.such:build"}}, "application no.such:build: ModuleNotFoundError"),
        ({"application": {"callable": "fedlearn_dc_federated.mean:nothing"}}, "has no callable 'nothing'"),
        ({"library": {"preinstalled": "/opt/nowhere"}}, "/opt/nowhere"),
    ],
    ids=["module", "callable", "library"],
)
def test_what_can_not_be_imported_never_replaces_what_runs(
    servers: RoleHost, changed: dict[str, Any], reason: str
) -> None:
    before = servers.state(units=SERVERS)
    run = servers.play(dc_federated_server_instances=instances(**changed))
    assert run.failed == 1
    assert reason in run.words, run.text
    assert servers.state(units=SERVERS) == before


def archived(folder: Path, name: str, inside: str, room: Path) -> dict[str, str]:
    """A folder packed as releases are, below a folder of its own."""
    file = room / f"{name}.tar.gz"
    with tarfile.open(file, "w:gz") as tar:
        tar.add(folder, f"{name}-1.0/{inside}", filter=lambda one: None if "__pycache__" in one.name else one)
    return {"source": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


def wheel(room: Path) -> dict[str, str]:
    """An application as pip would be given it."""
    file = room / "ours-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("ours/__init__.py", "")
        packed.writestr("ours/server.py", "from fedlearn_dc_federated.mean import build\n")
        packed.writestr("ours-1.0.dist-info/METADATA", "Name: ours\n")
    return {"source": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}


SIX = "six==1.17.0 --hash=sha256:4721f391ed90541fddacab5acf947aa0d3dc7d27b2e1e8eda2be8970586c3274\n"
"""What an application may need beyond the requirements."""


def locked(room: Path) -> dict[str, Any]:
    """An application, and the requirements with one more that it imports."""
    ours = Path(__file__).resolve().parents[3] / "roles" / "shared_dc_federated" / "files" / "requirements.txt"
    (room / "requirements.txt").write_text(ours.read_text() + SIX)
    (room / "needing.py").write_text("import six\nfrom fedlearn_dc_federated.mean import build\n")
    settings = {"own": [1024.0, -0.5], "workers": 1}
    application = {"callable": "needing:build", "source": str(room / "needing.py"), "settings": settings}
    return {"application": application, "runtime": {"requirements": str(room / "requirements.txt")}}


@pytest.mark.parametrize("way", ["archive", "preinstalled", "wheel", "requirements"])
def test_library_and_application_come_from_where_they_are(servers: RoleHost, tmp_path: Path, way: str) -> None:
    double = {"double": True} if LIBRARY == DOUBLE else {}
    archive = archived(LIBRARY / "dc_federated", "library", "dc_federated", tmp_path)
    changed: dict[str, Any] = {"library": {"archive": archive, **double}}
    if way == "preinstalled":
        found = "$(ls -d /opt/fedlearn/dc_federated-library/*/ | tail -n1)"
        servers.sh(f"rm -rf /opt/by-hand; cp -r {found} /opt/by-hand")
        changed = {"library": {"preinstalled": "/opt/by-hand", **double}}
    if way == "wheel":
        settings = {"own": [1024.0, -0.5], "workers": 1}
        changed = {"application": {"callable": "ours.server:build", "archive": wheel(tmp_path), "settings": settings}}
    if way == "requirements":
        changed = locked(tmp_path)
        without = servers.play(dc_federated_server_instances=instances(application=changed["application"]))
        assert "No module named 'six'" in without.words, without.text
    run = servers.play(dc_federated_server_instances=instances(**changed))
    assert run.code == 0, run.text
    assert asked(servers, "/") == "404"
    unit = servers.sh(f"systemctl show -p Environment --value {SAFE}")
    named = {"archive": "-library/", "preinstalled": "/opt/by-hand"}.get(way, "-application/")
    assert named in unit
    assert servers.play(dc_federated_server_instances=instances(**changed)).changed == 0
    assert servers.play().code == 0


def test_an_application_s_files_run_as_nobody_and_take_no_module_s_place(servers: RoleHost, tmp_path: Path) -> None:
    """Root looks whether it can be imported."""
    code = tmp_path / "code"
    code.mkdir()
    for name in ("sitecustomize", "json", "ours"):
        (code / f"{name}.py").write_text(f"import os\nos.close(os.open('/tmp/{name}', os.O_CREAT))\n")
    with (code / "ours.py").open("a") as file:
        file.write("from fedlearn_dc_federated.mean import build\n")
    packed = archived(code, "code", "", tmp_path)
    application = {"callable": "ours:build", "archive": packed, "settings": {"own": [1024.0, -0.5], "workers": 1}}
    servers.sh("rm -f /tmp/sitecustomize /tmp/json /tmp/ours")
    run = servers.play(dc_federated_server_instances=instances(application=application))
    assert run.code == 0, run.text
    assert (
        servers.sh("stat -c '%n %U' /tmp/sitecustomize /tmp/json /tmp/ours 2>/dev/null || true") == "/tmp/ours nobody\n"
    )
    servers.sh("rm -f /tmp/ours")
    assert servers.play().code == 0


def test_an_archive_with_another_sum_changes_nothing(servers: RoleHost, tmp_path: Path) -> None:
    before = servers.state(units=SERVERS)
    wrong = {**wheel(tmp_path), "sha256": "0" * 64}
    run = servers.play(
        dc_federated_server_instances=instances(application={"callable": "ours.server:build", "archive": wrong})
    )
    assert run.failed == 1
    assert "not 0000000000" in run.words
    assert servers.state(units=SERVERS) == before


def test_an_application_that_makes_another_server_is_rolled_back(servers: RoleHost, tmp_path: Path) -> None:
    """It can be imported, so only its start tells."""
    (tmp_path / "wrong.py").write_text(
        "def build(arguments, settings):\n"
        "    from fedlearn_dc_federated.mean import build as right\n"
        "    return right({**arguments, 'server_port': 5999}, {'own': [0.0]})\n"
    )
    application = {"callable": "wrong:build", "source": str(tmp_path / "wrong.py")}
    run = servers.play(dc_federated_server_instances=instances(application=application))
    assert run.failed == 1
    assert "its server has server_port 5999, not 5000: pass it on" in run.words, run.text
    assert asked(servers, "/") == "404"
    assert servers.play().code == 0


def test_an_empty_list_of_keys_is_refused_unless_it_is_meant(servers: RoleHost) -> None:
    before = servers.state(units=SERVERS)
    run = servers.play(dc_federated_server_instances=instances(key_files=[]))
    assert run.failed == 1
    assert "the list is empty, which locks out all 1 workers" in run.words
    assert servers.state(units=SERVERS) == before
    meant = {"dc_federated_server_allow_empty_key_list": True, "dc_federated_server_instances": instances(key_files=[])}
    assert servers.play(**meant).failed == 0
    assert servers.sh("grep -v '^#' /etc/fedlearn/safe/safe-server/workers.pub || true") == ""
    assert servers.play().failed == 0


@pytest.fixture
def others() -> Iterator[Path]:
    """The list of others' keys, which isn't there otherwise."""
    path = Path(VARIABLES["dc_federated_server_instances"][0]["key_files"][1].replace("{{ state }}", STATE))
    yield path
    path.unlink(missing_ok=True)


def known(servers: RoleHost) -> set[str]:
    """The keys in the safe server's database."""
    database = json.loads(servers.sh("cat /var/lib/fedlearn-safe-server/keys_db.json"))
    return {row["public_key_str"] for row in database["_default"].values()}


def administered(role: RoleHost, method: str, path: str, body: str = "") -> str:
    """What the safe server answers its administrator."""
    script = (
        "import base64, ssl, sys, urllib.request\n"
        "url, method, body, password = sys.argv[1:]\n"
        "context = ssl.create_default_context(cafile='/etc/role-test/ca.pem')\n"
        "request = urllib.request.Request(url, body.encode() or None, method=method)\n"
        "request.add_header('Content-Type', 'application/json')\n"
        "request.add_header('Authorization', 'Basic ' + base64.b64encode(b'admin:' + password.encode()).decode())\n"
        "print(urllib.request.urlopen(request, context=context).read().decode())\n"
    )
    url = f"https://{role.address}:5000{path}"
    return role.sh(f"python3 -c {shlex.quote(script)} {url} {method} {shlex.quote(body)} {shlex.quote(CANARIES[0])}")


def test_state_comes_back_but_not_who_was_revoked_since(servers: RoleHost, others: Path, tmp_path: Path) -> None:
    by_hand, revoked = (
        servers.sh(f"{KEYS} make /root/key-{name}/worker.key >/dev/null; cat /root/key-{name}/worker.key.pub")
        for name in ("by-hand", "revoked")
    )
    others.write_text(f"{revoked}\n")
    assert servers.play().changed == 1
    administered(servers, "POST", "/workers", json.dumps({"public_key_str": by_hand, "registered": False}))
    servers.sh("echo model >/var/lib/fedlearn-safe-server/of-the-application")
    ours = known(servers) - {by_hand, revoked}
    assert len(ours) == 1
    told = servers.sh("age-keygen 2>/dev/null").split()
    public, private = (next(word for word in told if word.startswith(start)) for start in ("age1", "AGE-"))
    before = servers.state(units=SERVERS)
    to = {"dc_federated_server_backup_directory": str(tmp_path), "dc_federated_server_backup_recipient": public}
    run = servers.play(entry="backup", **to)
    assert run.code == 0, run.text
    assert servers.state(units=SERVERS) == before
    (file,) = tmp_path.glob("host/dc_federated_server-*.tar.age")
    assert file.read_bytes().startswith(b"age-encryption.org/v1")

    others.write_text("")
    assert servers.play().changed == 1
    administered(servers, "DELETE", f"/workers/{by_hand}")
    servers.sh("rm /var/lib/fedlearn-safe-server/of-the-application")
    assert known(servers) == ours
    keys = {"dc_federated_server_backup_secret": "backup", "canary_backup": private}
    run = servers.play("-vvv", entry="restore", dc_federated_server_restore_from=str(file), **keys)
    assert run.code == 0, run.text
    assert private not in run.text
    assert known(servers) == {*ours, by_hand}
    assert servers.sh("cat /var/lib/fedlearn-safe-server/of-the-application") == "model\n"
    assert (
        servers.sh("ls -A /var/tmp /var/lib/private /var/lib/fedlearn | grep -e former -e dc_federated || true") == ""
    )
    administered(servers, "DELETE", f"/workers/{by_hand}")
    assert servers.play().changed == 0
    assert servers.play(entry="check").code == 0


@pytest.mark.parametrize("damage", ["cut off", "of others", "database"])
def test_a_damaged_backup_is_not_restored(servers: RoleHost, tmp_path: Path, damage: str) -> None:
    assert "which file of" in servers.play(entry="restore").words
    for name in ("safe-server", "open-server")[: 1 if damage == "of others" else 2]:
        (tmp_path / "room" / name).mkdir(parents=True)
        (tmp_path / "room" / name / "keys_db.json").write_text("{" if damage == "database" else "{}")
    with tarfile.open(tmp_path / "damaged.tar", "w") as archive:
        archive.add(tmp_path / "room", ".")
    if damage == "cut off":
        (tmp_path / "damaged.tar").write_bytes((tmp_path / "damaged.tar").read_bytes()[:700])
    before = servers.state(units=SERVERS)
    run = servers.play(entry="restore", dc_federated_server_restore_from=str(tmp_path / "damaged.tar"))
    assert run.code == 2
    assert "nothing was restored" in run.words, run.text
    assert servers.state(units=SERVERS) == before


def test_what_no_server_runs_on_is_not_restored(servers: RoleHost, tmp_path: Path) -> None:
    """A file that the launcher reads is a folder."""
    for name in ("safe-server", "open-server"):
        (tmp_path / "room" / name / "applied.pub").mkdir(parents=True)
    with tarfile.open(tmp_path / "strange.tar", "w") as archive:
        archive.add(tmp_path / "room", ".")
    before = known(servers)
    quick = {"dc_federated_server_health_timeout_seconds": 8}
    run = servers.play(entry="restore", dc_federated_server_restore_from=str(tmp_path / "strange.tar"), **quick)
    assert run.code == 2
    assert known(servers) == before
    assert servers.play(entry="check").code == 0


def test_a_killed_server_is_back_with_its_keys(servers: RoleHost) -> None:
    servers.sh(f"systemctl kill -s KILL {SAFE}; sleep 8")
    assert asked(servers, "/") == "404"
    database = json.loads(servers.sh("cat /var/lib/fedlearn-safe-server/keys_db.json"))
    assert len(database["_default"]) == 1


def test_removal_leaves_data_only(servers: RoleHost, workers: RoleHost) -> None:
    assert workers.play(entry="remove").code == 0
    assert servers.play(entry="remove").code == 0
    assert (
        servers.sh(
            "ls /etc/fedlearn /opt/fedlearn /etc/systemd/system | grep -c -e dc_federated -e safe || true"
        ).strip()
        == "0"
    )
    assert servers.try_sh("pgrep -f '[f]edlearn_dc_federated'")[0] == 1
    assert servers.sh("ls -d /var/lib/private/fedlearn-* /var/lib/fedlearn/safe/keys").split() == [
        "/var/lib/fedlearn/safe/keys",
        *(f"/var/lib/private/fedlearn-{name}" for name in ("open-server", "open-worker", "safe-server", "safe-worker")),
    ]
    gone = {"dc_federated_server_remove_data": True, "dc_federated_worker_remove_data": True}
    assert workers.play(entry="remove", **gone).code == 0
    assert servers.play(entry="remove", **gone).code == 0
    assert servers.sh("ls -d /var/lib/private/fedlearn-* /var/lib/fedlearn/safe/keys/* 2>/dev/null || true") == ""
