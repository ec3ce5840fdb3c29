# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the templates of Neursafe's roles for hosts say of an instance."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles import neursafe_ctl, neursafe_standalone
from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import packages
from ansible_collections.fedlearn.infra.plugins.plugin_utils._service import description

ROLES = Path(__file__).resolve().parents[5] / "roles"
CLIENT = {"name": "clinic", "listen": {"address": "10.30.0.11"}, "server": "10.20.0.12:30091"}
WAY = {
    "port": 22091,
    "connect": {"host": "10.20.0.21", "port": 30093, "name": "demo-imaging-gateway"},
    "tls": {"ca": "/ca.pem", "certificate": "/chain.pem", "key": "/key.pem"},
}
CTL = {"name": "imaging", "api": "127.0.0.1:8088"}
DATA = {"url": "https://10.20.0.11:9000", "user": "operators", "secret": "store", "ca": "/ca.pem"}


def rendered(role: str, check: Callable[[Any], list[dict[str, Any]]], template: str, given: dict[str, Any]) -> str:
    (instance,) = check([given])
    key = hashlib.sha256(json.dumps(instance.get("program")).encode()).hexdigest()
    variables = {
        "instance": {"federation": "one", **instance},
        f"{role}_artifacts": {"artifacts": {key: {"path": "/opt/program"}}},
        f"{role}_health_timeout_seconds": 60,
        "neursafe_standalone_tasks_max": 64,
        "neursafe_standalone_memory_max": "1G",
    }
    source = (ROLES / role / "templates" / template).read_text()
    return str(Templar(DataLoader(), variables=variables).template(trust_as_template(source)))


def client(template: str, **given: Any) -> str:
    return rendered("neursafe_standalone", neursafe_standalone.check, template, {**CLIENT, **given})


def ctl(template: str, **given: Any) -> str:
    return rendered("neursafe_ctl", neursafe_ctl.check, template, {**CTL, **given})


def service(text: str) -> dict[str, Any]:
    return description.describe(description.load(text, "service.yml.j2"), "service")


FILES = "etc/fedlearn/federation/instance"
UNIT = "etc/systemd/system/fedlearn-instance.service.j2"


def test_a_client_is_asked_at_its_port_and_whether_the_selector_hears_of_it() -> None:
    found = service(client("service.yml.j2", settings={"options": {"REPORT_HEARTBEAT": 30}}))
    tcp, registered = found["health"]["checks"]
    assert tcp == {"tcp": {"address": "10.30.0.11", "port": 22000}}
    assert registered["command"][-2:] == ["fedlearn-clinic.service", "120"]
    assert [each["name"] for each in found["units"]] == ["fedlearn-clinic.service"]
    assert found["validate"][0] == "/opt/program/bin/python3.7"


@pytest.mark.parametrize("settings", [{"registration": False}, {"log_level": "warning"}])
def test_where_it_tells_nothing_its_port_has_to_do(settings: dict[str, Any]) -> None:
    assert len(service(client("service.yml.j2", settings=settings))["health"]["checks"]) == 1


def test_its_setup_file_has_every_path_in_its_own_state() -> None:
    settings = {"label": "ward", "resource": {"cpu": 2}}
    assert json.loads(client(f"{FILES}/setup.json.j2", settings=settings)) == {
        "datasets": "/etc/fedlearn/one/clinic/datasets.json",
        "external_address": "10.30.0.11:22000",
        "host": "10.30.0.11",
        "label": "ward",
        "lmdb_path": "/var/lib/fedlearn-clinic/lmdb",
        "log_level": "info",
        "platform": "linux",
        "port": 22000,
        "registration": "true",
        "resource": {"cpu": 2},
        "runtime": "tensorflow,pytorch",
        "server": "10.20.0.12:30091",
        "storage_quota": 10240,
        "task_config_entry": "/var/lib/fedlearn-clinic/task_configs",
        "workspace": "/var/lib/fedlearn-clinic/workspace",
    }
    assert json.loads(client(f"{FILES}/datasets.json.j2", datasets={"mnist": "/srv/mnist"})) == {"mnist": "/srv/mnist"}


def test_its_unit_shows_it_empty_folders_of_control_groups() -> None:
    lines = client(UNIT).splitlines()
    assert "TemporaryFileSystem=/sys/fs/cgroup:ro" in lines
    (bound,) = [line for line in lines if line.startswith("BindReadOnlyPaths=")]
    own = "/var/lib/fedlearn-clinic/cgroup"
    assert bound.partition("=")[2].split() == [f"{own}:/sys/fs/cgroup/cpu", f"{own}:/sys/fs/cgroup/memory"]
    assert "StateDirectory=fedlearn-clinic " + " ".join(
        f"fedlearn-clinic/{name}" for name in ("lmdb", "workspace", "task_configs", "cgroup")
    ) in "\n".join(lines)
    assert "Environment=PLATFORM=linux REPORT_HEARTBEAT=150 WAIT_WORKER_FINISHED_TIMEOUT=300" in lines
    assert "PrivateUsers=yes" in lines
    grouped = client(UNIT, groups=["images", "video"])
    assert ("SupplementaryGroups=images video" in grouped, "PrivateUsers=no" in grouped) == (True, True)


IMAGE = f"registry.example:5000/nsfl-client-cpu@sha256:{64 * 'a'}"


def test_a_container_is_an_image_by_its_digest_with_no_rights_in_the_host_s_network() -> None:
    given = {"container": {"image": IMAGE}, "datasets": {"mnist": "/srv/mnist"}, "groups": ["images"]}
    text = client(f"{FILES}/container.sh.j2", **given)
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    assert text.startswith("#!/bin/sh\n")
    assert f"image={IMAGE}\n" in text
    for words in (
        "--network host",
        "--read-only",
        "--cap-drop ALL --security-opt no-new-privileges",
        "--pids-limit 64 --memory 1g",
        "--cgroup-parent fedlearn-clinic.slice",
        "--mount type=bind,readonly,src=/srv/mnist,dst=/srv/mnist",
        "getent group images",
        "--env REPORT_HEARTBEAT=150",
    ):
        assert words in text
    unit = client(UNIT, **given).splitlines()
    script = "/bin/sh /etc/fedlearn/one/clinic/container.sh"
    assert [line for line in unit if line.startswith("Exec")] == [
        f"ExecStartPre={script} end",
        f"ExecStart={script} run",
        f"ExecStopPost={script} end",
    ]
    bounds = ("SupplementaryGroups=docker", "PrivateNetwork=yes", "SuccessExitStatus=143")
    assert [line for line in bounds if line not in unit] == []
    found = service(client("service.yml.j2", **given))
    assert found["validate"] == ["/bin/sh", "/etc/fedlearn/one/clinic/container.sh", "ready"]
    assert [each["path"] for each in found["files"] if each["secret"]] == []


def test_podman_runs_a_container_by_its_socket_which_is_root_s() -> None:
    given = {"container": {"image": IMAGE, "engine": "podman", "pull": {"username": "puller", "secret": "pull"}}}
    text = client(f"{FILES}/container.sh.j2", **given)
    subprocess.run(["sh", "-n"], input=text, text=True, check=True)
    # it would want a login's file in that folder, whether or not there is one
    assert ("docker " in text, "DOCKER_CONFIG" in text) == (False, False)
    for words in (
        "export CONTAINER_HOST=unix:///run/podman/podman.sock",
        'export REGISTRY_AUTH_FILE="${CREDENTIALS_DIRECTORY:-$directory/docker}/config.json"',
        "exec podman run --entrypoint",
        '--ulimit "nofile=$(ulimit -Hn)" --ulimit nproc=64',
        "--cap-drop ALL --security-opt no-new-privileges",
        '--user "$user"',
        "owner=$(stat -c %u:%g /var/lib/private/fedlearn-clinic)\n",
    ):
        assert words in text
    unit = client(UNIT, **given).splitlines()
    script = "!/bin/sh /etc/fedlearn/one/clinic/container.sh"
    assert [line for line in unit if line.startswith("Exec")] == [
        f"ExecStartPre={script} end",
        f"ExecStart={script} run",
        f"ExecStopPost={script} end",
    ]
    bounds = ("PrivateNetwork=yes", "PrivateUsers=yes", "CapabilityBoundingSet=", "DynamicUser=yes")
    assert [line for line in bounds if line not in unit] == []
    assert [line for line in unit if line.startswith("SupplementaryGroups")] == []


def test_who_pulls_an_image_is_in_a_file_for_root_alone_and_a_credential_of_the_unit() -> None:
    given = {"container": {"image": IMAGE, "pull": {"username": "puller", "secret": "pull"}}}
    (hidden,) = [each for each in service(client("service.yml.j2", **given))["files"] if each["secret"]]
    path = "/etc/fedlearn/one/clinic/docker/config.json"
    assert (hidden["path"], hidden["mode"]) == (path, "0600")
    assert f"LoadCredential=config.json:{path}" in client(UNIT, **given).splitlines()


def test_a_container_has_no_program_beside_it() -> None:
    (instance,) = neursafe_standalone.check([{**CLIENT, "container": {"image": IMAGE}}])
    assert "program" not in instance
    (instance,) = neursafe_standalone.check([CLIENT])
    assert instance["program"] == {"path": "/opt/neursafe"}


def test_a_way_is_the_role_tunnel_s_and_asks_for_its_package() -> None:
    given = {**CLIENT, "server": "127.0.0.1:22091", "way": WAY}
    (instance,) = neursafe_standalone.check([given])
    assert instance["tunnel"] == {
        "name": "clinic-way",
        "state": "present",
        "transient": False,
        "listen": {"address": "127.0.0.1", "port": 22091},
        "connect": WAY["connect"],
        "tls": WAY["tls"],
    }
    places = [(one["address"], one["port"], one["unit"]) for one in neursafe_standalone.listening([given])]
    assert places == [
        ("10.30.0.11", 22000, "fedlearn-clinic.service"),
        ("127.0.0.1", 22091, "fedlearn-clinic-way.service"),
    ]
    (gone,) = neursafe_standalone.check([{"name": "clinic", "state": "absent"}])
    assert gone["tunnel"] == {"name": "clinic-way", "state": "absent", "transient": False}
    for instances, names in (([given], ["stunnel4"]), ([CLIENT], [])):
        assert packages(["neursafe_standalone"], {"neursafe_standalone_instances": instances})["names"] == names


def test_nsfl_ctl_s_password_is_in_a_file_for_root_alone() -> None:
    found = service(ctl("service.yml.j2", data=DATA))
    modes = {each["path"]: (each["mode"], each["secret"]) for each in found["files"]}
    assert modes == {
        "/etc/fedlearn/one/imaging/told.json": ("0644", False),
        "/etc/fedlearn/one/imaging/password": ("0600", True),
        "/etc/fedlearn/one/imaging/settings.py": ("0644", False),
        "/usr/local/bin/nsfl-ctl": ("0755", False),
    }
    assert json.loads(ctl(f"{FILES}/told.json.j2", data=DATA)) == {
        "api_server": "127.0.0.1:8088",
        "certificate": "/ca.pem",
        "data_server": "https://10.20.0.11:9000",
        "user": "operators",
    }


def test_without_a_store_it_has_no_password() -> None:
    assert len(service(ctl("service.yml.j2"))["files"]) == 3
    assert json.loads(ctl(f"{FILES}/told.json.j2")) == {"api_server": "127.0.0.1:8088"}


@pytest.mark.parametrize("role", ["neursafe_standalone", "neursafe_ctl"])
def test_no_value_becomes_yaml_of_its_own(role: str) -> None:
    source = (ROLES / role / "templates" / "service.yml.j2").read_text()
    description.check_interpolations(source, f"{role}/service.yml.j2")


def test_its_command_says_whose_it_is(tmp_path: Path) -> None:
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    told = subprocess.run(
        ["/bin/sh", "-c", ctl("nsfl-ctl.j2"), "nsfl-ctl", "health"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (told.returncode, told.stderr) == (
        1,
        "nsfl-ctl: its settings, with the store's password, are root's: sudo nsfl-ctl ...\n",
    )


def test_its_command_and_its_unit_run_the_program_that_was_brought() -> None:
    command = ctl("nsfl-ctl.j2").splitlines()
    assert command[0] == "#!/bin/sh"
    assert command[-1] == 'exec /opt/program/bin/python3.7 -B -m neursafe_fl.python.cli.nsfl "$@"'
    assert "ExecStart=/opt/program/bin/python3.7 -B /etc/fedlearn/one/imaging/settings.py write" in ctl(UNIT)
