# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is refused by what is deployed, and, each time, that the right one is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from deployment import Modes, get, look

REDIS, REST, PROXY = "10.98.13.11:23456", "10.98.13.11:11202", "10.98.13.11:6666"
SERVER, EXCHANGE = "10.98.13.12:6666", "10.98.13.12:7666"
STORE = "modes/pki/modes-cloud-scheduler-store"
SCHEDULER = "modes/pki/modes-cloud-scheduler"
CARRIED = "/run/carried"
PING = "PING\r\n"


@pytest.fixture(scope="module")
def other(modes: Modes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Another federation's certificates on the same hosts: the same document under another name."""
    folder = tmp_path_factory.mktemp("other")
    modes.beside(folder, state=False)
    # copied: a link that leads away from the document is refused
    (folder / "initial.npz").write_bytes((modes.inventory / "initial.npz").read_bytes())
    text = (modes.inventory / "federation.yml").read_text().replace("federation: modes", "federation: other")
    (folder / "federation.yml").write_text(text)
    for verb, *options in (("fedlearn.infra.secrets",), ("site.yml", "--tags", "pki")):
        done = modes.playbook(verb, *options, inventory=folder / "federation.yml")
        assert done.returncode == 0, done.output[-3000:]
    assert modes.run("m1", "ls /etc/fedlearn/other").split() == ["pki"]
    yield
    done = modes.playbook("fedlearn.infra.remove", "--tags", "pki", inventory=folder / "federation.yml")
    assert done.returncode == 0, done.output[-3000:]


@pytest.fixture(scope="module")
def carried(modes: Modes) -> Iterator[str]:
    """The scheduler's own certificate, on hosts that don't have it."""
    files = ("key.pem", "chain.pem", "ca.pem")
    contents = {file: modes.run("m1", f"cat /etc/fedlearn/{SCHEDULER}/{file}") for file in files}
    for host in ("m2", "m3"):
        modes.run(host, f"install -d -m 0700 {CARRIED}")
        for file, content in contents.items():
            modes.run(host, f"umask 077; cat > {CARRIED}/{file} <<'PEM'\n{content}PEM")
    yield CARRIED
    for host in ("m2", "m3"):
        modes.run(host, f"rm -rf {CARRIED}")


# --- Redis ------------------------------------------------------------------------------------------------------------


def test_redis_answers_its_own_stack(modes: Modes) -> None:
    assert look(modes, "m1", REDIS, PING, authority=STORE, certificate=STORE) == "+PONG"
    server_store = "modes/pki/modes-cloud-server-store"
    assert look(modes, "m2", REDIS, PING, authority=server_store, certificate=server_store) == "+PONG"


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize(
    "certificate",
    [
        pytest.param("", id="none"),
        pytest.param("modes/pki/modes-device-scheduler-store", id="another stack's"),
        pytest.param("other/pki/other-cloud-scheduler-store", id="another federation's"),
        pytest.param("modes/pki/modes-cloud-scheduler", id="the party CA's"),
    ],
)
def test_redis_refuses(modes: Modes, certificate: str) -> None:
    said = look(modes, "m1", REDIS, PING, authority=STORE, certificate=certificate)
    assert said.startswith("refused:"), said
    assert "alert" in said.lower() or "reset" in said.lower(), said


def test_the_other_stack_s_certificate_is_good_for_its_own_redis(modes: Modes) -> None:
    """So what refuses it above is not that the certificate is a bad one."""
    store = "modes/pki/modes-device-scheduler-store"
    assert look(modes, "m1", "10.98.13.11:33456", PING, authority=store, certificate=store) == "+PONG"
    assert look(modes, "m1", "10.98.13.11:33456", PING, authority=store, certificate=STORE).startswith("refused:")


def test_redis_has_no_plain_port(modes: Modes) -> None:
    assert "PONG" not in look(modes, "m1", REDIS, PING)
    asked = look(modes, "m1", REDIS, "CONFIG GET port\r\n", authority=STORE, certificate=STORE)
    assert asked.split() == ["*2", "$4", "port", "$1", "0"]


# --- the scheduler's REST interface -----------------------------------------------------------------------------------


def test_rest_answers_the_scheduler_s_own_certificate(modes: Modes) -> None:
    said = look(modes, "m1", REST, get("/state"), authority=SCHEDULER, certificate=SCHEDULER)
    assert said.startswith("HTTP/1.1 200 "), said
    assert "cluster_state" in said


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize(
    ("certificate", "status"),
    [
        pytest.param("", "400", id="none"),
        pytest.param("other/pki/other-cloud-scheduler", "400", id="another federation's"),
        pytest.param("modes/pki/modes-cloud-scheduler-store", "400", id="of the Redis' CA"),
        pytest.param("modes/pki/modes-device-scheduler", "403", id="another name"),
    ],
)
def test_rest_refuses(modes: Modes, certificate: str, status: str) -> None:
    said = look(modes, "m1", REST, get("/state"), authority=SCHEDULER, certificate=certificate)
    assert said.startswith(f"HTTP/1.1 {status} "), said
    assert "cluster_state" not in said


def test_rest_answers_networks_that_are_allowed_and_no_others(modes: Modes, carried: str) -> None:
    allowed, denied = (
        look(modes, host, REST, get("/state"), authority=carried, certificate=carried) for host in ("m2", "m3")
    )
    assert allowed.startswith("HTTP/1.1 200 "), allowed
    assert denied.startswith("HTTP/1.1 403 "), denied


def test_the_scheduler_itself_listens_on_loopback_only(modes: Modes) -> None:
    listening = [line.split() for line in modes.run("m1", "ss -ltnpH").splitlines() if ":11202 " in line]
    places = {words[3]: "nginx" if "nginx" in words[-1] else "scheduler" for words in listening}
    assert places == {"127.0.0.1:11202": "scheduler", "10.98.13.11:11202": "nginx"}


# --- servers, proxy, exchange of checkpoints --------------------------------------------------------------------------


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize("place", [SERVER, PROXY])
def test_servers_and_proxy_are_believed_by_their_own_chain_only(modes: Modes, place: str) -> None:
    right = look(modes, "m3", place, get("/health"), authority="modes/pki/modes-cloud-worker")
    assert right.startswith("HTTP/1.1 404 "), right
    for authority in ("other/pki/other-cloud-worker", "modes/pki/modes-cloud-server-store"):
        wrong = look(modes, "m3", place, get("/health"), authority=authority)
        assert wrong.startswith("refused:"), wrong
        assert "CERTIFICATE_VERIFY_FAILED" in wrong


@pytest.mark.parametrize("place", [REDIS, REST, PROXY, SERVER, EXCHANGE])
def test_plain_tcp_gets_no_answer_from_a_program(modes: Modes, place: str) -> None:
    said = look(modes, "m3", place, get("/state"))
    assert said.startswith(("closed", "refused:", "HTTP/1.1 400 Bad Request", "\x15")), said
    assert "cluster_state" not in said
    assert "checkpoints" not in said


def test_peers_are_given_checkpoints(modes: Modes) -> None:
    own = "modes/pki/modes-cloud-server"
    said = look(modes, "m3", EXCHANGE, get("/checkpoints"), authority=own, certificate=own)
    assert said.startswith("HTTP/1.1 200 "), said


@pytest.mark.usefixtures("other")
@pytest.mark.parametrize(
    ("host", "certificate", "answer"),
    [
        pytest.param("m3", "", "refused:", id="none"),
        pytest.param("m3", "other/pki/other-cloud-server", "refused:", id="another federation's"),
        pytest.param("m3", "modes/pki/modes-cloud-server-store", "refused:", id="of the Redis' CA"),
        pytest.param("m3", "modes/pki/modes-cloud-worker", "HTTP/1.1 403 ", id="a worker's"),
        pytest.param("m2", "modes/pki/modes-device-server", "HTTP/1.1 403 ", id="another stack's"),
    ],
)
def test_nobody_else_is_given_checkpoints(modes: Modes, host: str, certificate: str, answer: str) -> None:
    authority = "modes/pki/modes-cloud-server"
    said = look(modes, host, EXCHANGE, get("/checkpoints"), authority=authority, certificate=certificate)
    assert said.startswith(answer), said
