# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A wrong document ends the real commands with exit code 4 and its mistakes; a right one is an inventory."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from ansible_collections.fedlearn.infra.plugins.inventory.federation import InventoryModule
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.first_files import first_files
from tests.unit.conftest import CHECKOUT, DOCUMENT, run

WRONG = DOCUMENT.replace("redis: {host: ms1}", "redis: {host: ms9}").replace(
    "hosts: [ms2]", "hosts: [ms2], ports: 1", 1
)
MISTAKES = (
    ":9:19: stacks.lenet.redis.host: no party has a host named 'ms9' (did you mean 'ms2'?)",
    ":11:29: stacks.lenet.servers.ports: unknown key 'ports' (did you mean 'port'?)",
)
PLAYBOOK = """\
- hosts: all
  gather_facts: false
  tasks:
    - ansible.builtin.debug: {msg: "went on with {{ inventory_hostname }}"}
"""
COMMANDS = {
    "ansible-inventory": ["ansible-inventory", "--list"],
    "ansible-playbook": ["ansible-playbook", "play.yml"],
    "ansible": ["ansible", "all", "-m", "ansible.builtin.debug"],
}


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory to call commands in, with a right and a wrong inventory and what lies beside a document."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"right": DOCUMENT, "wrong": WRONG}.items():
        for folder in ("files", "public/clinic-b"):
            (tmp_path / name / folder).mkdir(parents=True)
        (tmp_path / name / "federation.yml").write_text(text)
        (tmp_path / name / "files/kc.kubeconfig").write_text("apiVersion: v1\n")
        (tmp_path / name / "public/clinic-b/ca.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "play.yml").write_text(PLAYBOOK)
    (tmp_path / "more.ini").write_text("[others]\nhost9 ansible_connection=local\n")
    return tmp_path


def assert_refused(ended: subprocess.CompletedProcess[str], file: str, mistakes: Sequence[str] = MISTAKES) -> None:
    assert ended.returncode == 4, ended
    assert ended.stderr.splitlines() == [f"[ERROR]: {file}{mistake}" for mistake in mistakes]
    assert "went on" not in ended.stdout


@pytest.mark.parametrize("command", ["ansible-inventory", "ansible-playbook"])
def test_a_wrong_document_ends_the_command(room: Path, command: str) -> None:
    assert_refused(run(room, *COMMANDS[command], "-i", "wrong/federation.yml"), "wrong/federation.yml")


SOURCES = {
    "directory": (["-i", "wrong"], "wrong/federation.yml"),
    "second source": (["-i", "right/federation.yml", "-i", "wrong/federation.yml"], "wrong/federation.yml"),
    "before another source": (["-i", "wrong/federation.yml", "-i", "more.ini"], "wrong/federation.yml"),
    "limit to a host": (["-i", "wrong/federation.yml", "--limit", "ms2"], "wrong/federation.yml"),
    "limit to another source": (["-i", "more.ini", "-i", "wrong", "--limit", "host9"], "wrong/federation.yml"),
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("source", SOURCES)
def test_however_it_is_given(room: Path, command: str, source: str) -> None:
    arguments, file = SOURCES[source]
    assert_refused(run(room, *COMMANDS[command], *arguments), file)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_also_under_a_viewpoint_by_the_line_of_the_file_that_is_wrong(room: Path, command: str) -> None:
    (room / "right/parties/lab").mkdir(parents=True)
    viewpoint = "plugin: fedlearn.infra.federation\ndocument: ../../federation.yml\nparty: lab\noverlay: over.yml\n"
    (room / "right/parties/lab/federation.yml").write_text(viewpoint)
    (room / "right/parties/lab/over.yml").write_text("# ours\nstacks: {lenet: {tls: 'true'}}\n")
    mistake = ":2:23: stacks.lenet.tls: expected true or false, found the text 'true': leave out the quotes"
    ended = run(room, *COMMANDS[command], "-i", "right/parties/lab/federation.yml")
    assert_refused(ended, "right/parties/lab/over.yml", [mistake])


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_without_our_ansible_cfg_too(room: Path, command: str) -> None:
    """Core's own settings reach the plugin through ``auto``."""
    (room / "empty.cfg").write_text("[defaults]\n")
    ended = run(room, *COMMANDS[command], "-i", "wrong/federation.yml", config=room / "empty.cfg")
    assert_refused(ended, "wrong/federation.yml")


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        (DOCUMENT + "  x: [\n", ":14:1: is no YAML: while parsing a flow node, did not find expected node content"),
        (
            DOCUMENT + "  x: !vault y\n",
            ":13:6: stacks.x: a YAML tag (!vault): a document is plain data: "
            "secrets go by name, their values into the vault",
        ),
    ],
    ids=["no YAML", "a tag that Ansible knows"],
)
def test_a_file_that_only_begins_as_a_document_is_no_other_kind_of_source(
    room: Path, command: str, text: str, mistake: str
) -> None:
    (room / "wrong/federation.yml").write_text(text)
    assert_refused(run(room, *COMMANDS[command], "-i", "wrong/federation.yml"), "wrong/federation.yml", [mistake])


@pytest.mark.slow
@pytest.mark.parametrize("source", ["right/federation.yml", "right"])
def test_a_right_document_is_an_inventory(room: Path, source: str) -> None:
    listed = run(room, *COMMANDS["ansible-inventory"], "-i", source)
    assert (listed.returncode, listed.stderr) == (0, "")
    shown = json.loads(listed.stdout)
    assert shown["federation_hosts"]["hosts"] == ["ms1", "ms2"]
    assert shown["mindspore_server"]["hosts"] == ["ms2"]
    # no text of a document is a template: core marks those it doesn't trust
    assert shown["_meta"]["hostvars"]["ms2"]["ansible_host"] == {"__ansible_unsafe": "10.20.0.12"}

    played = run(room, *COMMANDS["ansible-playbook"], "-i", source, "--limit", "ms2")
    assert (played.returncode, played.stderr) == (0, "")
    assert "went on with ms2" in played.stdout
    assert "went on with ms1" not in played.stdout


HOST_LINE = "planted ansible_connection=local x={{ lookup('ansible.builtin.pipe', 'touch planted') }}\n"
BESIDE = ("model.npz", "model.ckpt", "data.csv", "app/train.py", "app/hosts", "wheels/a.whl", "public/ca.pem", "README")


@pytest.mark.slow
@pytest.mark.parametrize("config", ["shipped", "of init"])
def test_what_documents_name_and_partners_send_is_no_source_of_a_directory(room: Path, config: str) -> None:
    """A model is not text; what is would be read as hosts, with templates and connections of its own."""
    (room / "init.cfg").write_text(first_files("mindspore")["ansible.cfg"])
    for name in BESIDE:
        (room / "right" / name).parent.mkdir(exist_ok=True)
        (room / "right" / name).write_bytes(b"PK\x03\x04\xff\x00" if "model" in name else HOST_LINE.encode())
    file = CHECKOUT / "ansible.cfg" if config == "shipped" else room / "init.cfg"
    played = run(room, *COMMANDS["ansible-playbook"], "-i", "right", config=file)
    assert (played.returncode, played.stderr) == (0, "")
    assert "went on with ms2" in played.stdout
    assert "planted" not in played.stdout


FIRST = "plugin: fedlearn.infra.federation\n"
MISSPELT = ":1:9: plugin: expected fedlearn.infra.federation, found the text 'fedlearn.infra.federaton' (did you mean "
ODD = {
    "misspelt": ("federation.yml", FIRST.replace("tion", "ton"), f"{MISSPELT}'fedlearn.infra.federation'?)"),
    "misspelt, under another name": (
        "lab.yml",
        FIRST.replace("tion", "ton"),
        f"{MISSPELT}'fedlearn.infra.federation'?)",
    ),
    "another plugin's": (
        "federation.yml",
        "plugin: ansible.builtin.constructed\n",
        ":1:9: plugin: expected fedlearn.infra.federation, found the text 'ansible.builtin.constructed'",
    ),
    "misspelt key": (
        "federation.yml",
        FIRST.replace("plugin", "plugn"),
        ":1:1: plugn: unknown key 'plugn' (did you mean 'plugin'?)",
    ),
    "no plugin, under another name": (
        "hospital.yml",
        "",
        ":1:1: the key 'plugin' is missing: write plugin: fedlearn.infra.federation",
    ),
    "no plugin": ("federation.yaml", "", ":1:1: the key 'plugin' is missing: write plugin: fedlearn.infra.federation"),
}


@pytest.mark.slow
@pytest.mark.parametrize("odd", ODD)
def test_a_document_that_does_not_say_whose_it_is_or_says_it_wrongly(room: Path, odd: str) -> None:
    name, first, mistake = ODD[odd]
    (room / name).write_text(DOCUMENT.replace(FIRST, first))
    assert_refused(run(room, *COMMANDS["ansible-inventory"], "-i", name), name, [mistake])


@pytest.mark.slow
@pytest.mark.parametrize(
    "first",
    [
        "plugin : fedlearn.infra.federation\n",
        "'plugin': \"fedlearn.infra.federation\"  # ours\n",
        "plugin:\n  fedlearn.infra.federation\n",
    ],
)
def test_however_yaml_lets_one_write_it(room: Path, first: str) -> None:
    (room / "federation.yml").write_text(DOCUMENT.replace(FIRST, first))
    assert run(room, *COMMANDS["ansible-inventory"], "-i", "federation.yml").returncode == 0


@pytest.mark.slow
def test_an_empty_document_and_one_that_is_not_there(room: Path) -> None:
    (room / "federation.yml").write_text("# nothing yet\n")
    empty = ":1:1: is empty: `ansible-playbook fedlearn.infra.init -e kind=KIND` writes a first document"
    assert_refused(run(room, *COMMANDS["ansible-inventory"], "-i", "federation.yml"), "federation.yml", [empty])
    absent = "nowhere/federation.yml"
    assert_refused(
        run(room, *COMMANDS["ansible-inventory"], "-i", absent), absent, [": can't be read: No such file or directory"]
    )


@pytest.mark.parametrize(
    "text",
    [
        "plugin: acme.infra.federation\n",
        "hosts:\n  plugin: fedlearn.infra.federation\n",
        "all: {hosts: {h1: {}}}\n",
        "federation:\n  hosts: {h1: {}}\nparties:\n  children:\n    stacks:\n",
    ],
)
def test_other_sources_are_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / "other.yml").write_text(text)
    assert not InventoryModule().verify_file(str(tmp_path / "other.yml"))


@pytest.mark.slow
def test_a_document_that_is_no_utf_8_ends_the_command_too(room: Path) -> None:
    (room / "wrong/federation.yml").write_bytes(DOCUMENT.replace("demo", "demo  # \xe9t\xe9").encode("latin-1"))
    ended = run(room, *COMMANDS["ansible-inventory"], "-i", "wrong")
    assert_refused(ended, "wrong/federation.yml", [":3:21: is no UTF-8 from here on"])


@pytest.mark.parametrize("line", [" " * 2**20, "{" + " " * 2**20, "plugin" + " " * 2**20], ids=["blank", "flow", "key"])
def test_whether_a_file_is_a_document_is_seen_at_once(tmp_path: Path, line: str) -> None:
    (tmp_path / "other.yml").write_text(line)
    before = time.process_time()
    assert not InventoryModule().verify_file(str(tmp_path / "other.yml"))
    assert time.process_time() - before < 5


@pytest.mark.slow
def test_a_right_document_stands_beside_other_sources(room: Path) -> None:
    listed = run(room, *COMMANDS["ansible-inventory"], "-i", "right", "-i", "more.ini")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert sorted(json.loads(listed.stdout)["_meta"]["hostvars"]) == ["host9", "ms1", "ms2"]


@pytest.mark.slow
def test_site_ends_when_no_source_is_a_federation(room: Path) -> None:
    played = run(room, "ansible-playbook", "-i", "more.ini", str(CHECKOUT / "site.yml"))
    assert played.returncode == 2
    assert "the inventory holds no federation: give -i a federation document" in played.stdout


@pytest.mark.slow
def test_what_is_kept_lies_where_it_is_said_to(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By -e, which is stronger, or the environment: what the library derives of it follows."""
    source = str(CHECKOUT / "inventories" / "dpsa-leader" / "federation.yml")
    monkeypatch.setenv("XDG_CACHE_HOME", str(room / "cache"))
    url = "git@git.example:demo.git"

    def said(*words: str) -> tuple[str, str]:
        ended = run(room, "ansible-inventory", "-i", source, "--host", "a1", *words)
        assert ended.returncode == 0, ended
        found = json.loads(ended.stdout)
        theirs = [each["ca"] for each in found["fedlearn_authorities"] if "ca" in each]
        return found["fedlearn_state"], theirs[0].removesuffix("/.exchange/clinic-b/clinic-b.pem")

    beside = str(Path(source).parent)
    assert said() == (beside, beside)
    monkeypatch.setenv("FEDLEARN_STATE_DIRECTORY", str(room / "kept"))
    assert said() == (str(room / "kept"),) * 2
    assert said("-e", "fedlearn_state=other")[1] == str(room / "other")
    monkeypatch.setenv("FEDLEARN_STATE_REPOSITORY", url)
    ended = run(room, "ansible-inventory", "-i", source, "--host", "a1")
    assert ended.returncode == 4
    assert f"what is kept lies in one place: state_directory ({room / 'kept'}) or state_repository" in ended.stderr
    monkeypatch.delenv("FEDLEARN_STATE_DIRECTORY")
    state, copy = said()
    assert state == url
    assert copy.startswith(f"{room}/cache/fedlearn.infra/state/")
    assert said("-e", f"fedlearn_state={url}") == (url, copy)
