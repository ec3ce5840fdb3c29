# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Images are built once, pinned by the digests that the registry has, and what moves there is told.

The registry is the program, on a host, and the cluster's API is the real one. What builds is a stand-in that makes six
images of a few bytes each, of no base image and by no engine; nothing runs in pods.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

import pytest
from pinned import CA, REGISTRY, ROOM, SOURCE, Pinned
from standing_demo import last_line

from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds.neursafe.placements import SERVER_USER

WORDS = ("client-cpu", "coordinator", "job-scheduler", "model-manager", "proxy", "selector")
RUN_BY = {
    "nsfl-job-scheduler": "job-scheduler",
    "nsfl-model-manager": "model-manager",
    "nsfl-client-selector": "selector",
    "nsfl-proxy": "proxy",
    "nsfl-task-manager": "client-cpu",
}
LOG = ROOM.parents[0] / "pinned" / "images" / "pinned-imaging-server.log"


def build(pinned: Pinned, *arguments: str) -> str:
    done = pinned.playbook("fedlearn.infra.images", *arguments)
    assert done.returncode == 0, done.output[-4000:]
    return done.output


def test_without_a_record_a_deploy_says_what_comes_first(pinned: Pinned) -> None:
    for name in ("fedlearn.infra.precheck", "fedlearn.infra.site"):
        done = pinned.playbook(name)
        assert done.returncode == 2
        assert "fedlearn.infra.images builds images, and writes down their digests" in done.output.replace("\n", " ")
    assert pinned.images() == {}


def test_without_a_checkout_nothing_is_built(pinned: Pinned) -> None:
    pinned.write(lambda images: images["build"].update(checkout="/no/checkout"))
    done = pinned.playbook("fedlearn.infra.images")
    pinned.write()
    assert done.returncode == 2
    assert "there is no checkout in /no/checkout on the control node" in done.output
    assert not pinned.record.exists()


def test_a_wrong_password_is_known_before_anything_is_built(pinned: Pinned) -> None:
    pinned.write(lambda images: images["build"]["login"].update(secret="database"))
    done = pinned.playbook("fedlearn.infra.images")
    pinned.write()
    assert done.returncode == 2
    assert f"{REGISTRY} refuses the login ci (401)" in done.output
    assert not LOG.exists()


def test_what_is_built_is_recorded_as_the_registry_has_it(pinned: Pinned) -> None:
    assert "changed=1" in build(pinned)
    assert pinned.recorded() == {word: pinned.answered(word) for word in WORDS}
    assert f"nsfl-proxy {pinned.recorded()['proxy']}" in LOG.read_text()


def test_a_second_run_builds_nothing(pinned: Pinned) -> None:
    before = pinned.record.read_bytes(), LOG.stat().st_mtime_ns
    assert "changed=0" in build(pinned)
    assert (pinned.record.read_bytes(), LOG.stat().st_mtime_ns) == before


def test_a_deploy_pins_the_digests_and_status_is_well(pinned: Pinned) -> None:
    pinned.site()
    digests = pinned.recorded()
    assert pinned.images() == {name: f"{REGISTRY}/nsfl-{word}:1.0@{digests[word]}" for name, word in RUN_BY.items()}
    done = pinned.playbook("fedlearn.infra.status")
    assert (done.returncode, last_line(done)["verdict"]) == (0, "ok"), done.output[-3000:]
    again = pinned.site()
    assert "changed=0" in again.output


@pytest.mark.parametrize("engine", ["containerd", "containers", "docker"])
def test_a_node_trusts_the_registry(pinned: Pinned, engine: str) -> None:
    assert pinned.run("r1", f"cat /etc/{engine}/certs.d/{REGISTRY}/ca.crt") == CA.read_text()


def test_a_node_where_somebody_logs_in_as_the_pods_user_is_refused(pinned: Pinned) -> None:
    """It has the shared directory already, by `posix`: nothing of it is touched there."""
    pinned.run("r1", f"useradd --uid {SERVER_USER} --shell /bin/bash stranger")
    try:
        done = pinned.playbook("fedlearn.infra.precheck")
        assert done.returncode == 2
        told = f"/mnt/neursafe_fl is kept for user and group {SERVER_USER}, and stranger would have what lies there"
        assert told in done.output, done.output[-3000:]
    finally:
        pinned.run("r1", "userdel stranger")
    assert pinned.playbook("fedlearn.infra.precheck").returncode == 0
    assert pinned.run("r1", "ls -d /mnt/neursafe_fl /etc/systemd/system/*.mount 2>/dev/null || true") == ""


def test_status_tells_a_tag_that_moved(pinned: Pinned) -> None:
    recorded = pinned.recorded()["proxy"]
    room = ROOM / "stranger"
    room.mkdir(exist_ok=True)
    (room / "content").write_text("somebody else's")
    settings = room / "config.json"
    settings.write_text(f'{{"auths": {{"{REGISTRY}": {{"auth": "{auth(pinned)}"}}}}}}')
    push = [sys.executable, str(SOURCE / "stand_in_build.py"), "--ca", str(CA), "--registry", REGISTRY, "--tag", "1.0"]
    subprocess.run(push, check=True, cwd=room, env={**os.environ, "DOCKER_CONFIG": str(room)}, capture_output=True)
    settings.unlink()
    moved = pinned.answered("proxy")
    assert moved != recorded
    done = pinned.playbook("fedlearn.infra.status")
    told = f"{REGISTRY}/nsfl-proxy:1.0 is {moved} in the registry, and {recorded} was recorded"
    assert (done.returncode, last_line(done)["verdict"], told in done.output) == (2, "drift", True), done.output[-3000:]
    # nobody's push is deployed, and nothing is built over it
    assert "changed=0" in pinned.site().output
    said = build(pinned)
    assert ("changed=0" in said, "was recorded" in said) == (True, True)


def auth(pinned: Pinned) -> str:
    return base64.b64encode(f"ci:{pinned.secrets()['push']}".encode()).decode()


def test_another_checkout_is_built_and_rolled_out(pinned: Pinned) -> None:
    before = pinned.recorded()
    (SOURCE / "content").write_text("second")
    assert "changed=1" in build(pinned)
    after = pinned.recorded()
    assert [word for word in WORDS if before[word] == after[word]] == []
    done = pinned.playbook("fedlearn.infra.status")
    assert last_line(done)["verdict"] == "drift", done.output[-3000:]
    assert "nsfl-proxy differs" in done.output
    pinned.site()
    assert pinned.images()["nsfl-proxy"] == f"{REGISTRY}/nsfl-proxy:1.0@{after['proxy']}"
    assert last_line(pinned.playbook("fedlearn.infra.status"))["verdict"] == "ok"


def test_status_tells_what_runs_and_isn_t_what_was_recorded(pinned: Pinned) -> None:
    done = pinned.cluster.kubectl(
        "-n", "pinned-imaging-server", "set", "image", "deployment/nsfl-proxy", f"nsfl-proxy={REGISTRY}/nsfl-proxy:old"
    )
    assert done.returncode == 0, done.stderr
    status = pinned.playbook("fedlearn.infra.status")
    assert (status.returncode, last_line(status)["verdict"]) == (2, "drift")
    pinned.site()
    assert last_line(pinned.playbook("fedlearn.infra.status"))["verdict"] == "ok"


def test_another_tag_needs_a_build_before_it_is_deployed(pinned: Pinned) -> None:
    pinned.write(lambda images: images.update(tag="1.1"))
    done = pinned.playbook("fedlearn.infra.site")
    assert done.returncode == 2
    assert f"is of {REGISTRY}, tag 1.0, and {REGISTRY}, tag 1.1 is asked for" in done.output
    build(pinned)
    pinned.site()
    assert pinned.images()["nsfl-proxy"] == f"{REGISTRY}/nsfl-proxy:1.1@{pinned.answered('proxy', '1.1')}"


@pytest.mark.parametrize("name", ["push", "pull"])
def test_no_password_is_in_logs_output_or_beside_the_document(pinned: Pinned, name: str) -> None:
    password = pinned.secrets()[name]
    said = pinned.playbook("fedlearn.infra.images", "-vvv", "--diff").output
    assert password not in said
    (ROOM / "planted").write_text(f"it is {password}")
    folders = (ROOM, ROOM.parents[0] / "pinned")
    found = {
        path.name
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "cluster" not in path.parts and password.encode() in path.read_bytes()
    }
    (ROOM / "planted").unlink()
    # what this test planted, and the file that the registry was given
    assert found == {"planted", "passwords.json"}


def test_a_registry_of_the_stack_s_own_is_brought_filled_trusted_and_pulled_from(pinned: Pinned) -> None:
    """As its users do it: its host first, then the build, then all of it. The last test, since it is another stack."""
    pinned.write(registry={"host": "r1", "port": 5001})
    own = f"{REGISTRY.partition(':')[0]}:5001"
    for command in (("secrets",), ("site", "--limit", "r1"), ("images",), ("site",)):
        done = pinned.playbook(f"fedlearn.infra.{command[0]}", *command[1:])
        assert done.returncode == 0, done.output[-4000:]
    digests = pinned.recorded()
    assert pinned.images() == {name: f"{own}/nsfl-{word}:1.0@{digests[word]}" for name, word in RUN_BY.items()}
    ca = (ROOM / "public" / "lab" / "lab.pem").read_text()
    assert pinned.run("r1", f"cat /etc/docker/certs.d/{own}/ca.crt") == ca
    told = pinned.cluster.kubectl(
        "-n", "pinned-imaging-server", "get", "secret", "registry-secret", "-o=jsonpath={.data.\\.dockerconfigjson}"
    )
    known = json.loads(base64.b64decode(told.stdout))["auths"][own]
    assert known["username"] == "pull"
    assert "changed=0" in build(pinned)
    status = pinned.playbook("fedlearn.infra.status")
    assert last_line(status)["verdict"] == "ok", status.output[-3000:]
