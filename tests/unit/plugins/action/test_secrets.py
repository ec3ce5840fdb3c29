# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Secrets are made once, encrypted, and bad input changes no file."""

from __future__ import annotations

import base64
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from ansible.errors import AnsibleActionFail
from ansible.parsing.dataloader import DataLoader
from ansible.parsing.vault import VaultLib, VaultSecret
from ansible.playbook.task import Task

from ansible_collections.fedlearn.infra.plugins.action.secrets import ActionModule
from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.vaultfile import turns

NO_CONNECTION = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
LAB = {"name": "ca_lab", "party": "lab", "kind": "passphrase"}
CLINIC = {"name": "ca_clinic-a", "party": "clinic-a"}


def make(
    state: Path,
    *secrets: dict[str, Any],
    passwords: tuple[str, ...] = ("known",),
    check: bool = False,
    turn: str = "none",
) -> dict[str, Any]:
    """The task with these secrets, run with these vault passwords."""
    task = Task.load({"action": "fedlearn.infra.secrets", "args": {}})
    task.args = {"secrets": list(secrets), "state_directory": str(state), "turn": turn}
    task.check_mode = check
    loader = DataLoader()
    loader._vault = VaultLib([("default", VaultSecret(password.encode())) for password in passwords])
    action = ActionModule(
        task=task,
        connection=NO_CONNECTION,
        play_context=None,
        loader=loader,
        templar=None,
        shared_loader_obj=None,
    )
    result: dict[str, Any] = action.run(task_vars={})
    return result


def values(state: Path, party: str, password: str = "known") -> dict[str, str]:
    vault = VaultLib([("default", VaultSecret(password.encode()))])
    found: dict[str, str] = yaml.safe_load(vault.decrypt((state / f".secrets/{party}.yml").read_bytes()))
    return found


def written(state: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in state.rglob("*") if path.is_file()}


def test_each_party_has_its_own_encrypted_file(tmp_path: Path) -> None:
    result = make(tmp_path, LAB, CLINIC)
    assert result["added"] == {"lab": ["ca_lab"], "clinic-a": ["ca_clinic-a"]}
    assert (len(values(tmp_path, "lab")["ca_lab"]), len(values(tmp_path, "clinic-a")["ca_clinic-a"])) == (64, 32)
    for party in ("lab", "clinic-a"):
        file = tmp_path / f".secrets/{party}.yml"
        assert file.read_bytes().startswith(b"$ANSIBLE_VAULT;")
        assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / ".secrets").stat().st_mode & 0o777 == 0o700


def test_no_value_is_in_the_result(tmp_path: Path) -> None:
    shown = str(make(tmp_path, LAB))
    assert values(tmp_path, "lab")["ca_lab"] not in shown


def test_what_is_there_stays_byte_for_byte(tmp_path: Path) -> None:
    make(tmp_path, LAB)
    before = written(tmp_path)
    assert not make(tmp_path, LAB)["changed"]
    assert written(tmp_path) == before


def test_a_secret_more_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    make(tmp_path, LAB)
    before = values(tmp_path, "lab")
    assert make(tmp_path, LAB, {"name": "store", "party": "lab"})["added"] == {"lab": ["store"]}
    assert values(tmp_path, "lab").items() > before.items()


def test_check_mode_names_what_is_missing_and_writes_nothing(tmp_path: Path) -> None:
    assert make(tmp_path, LAB, check=True)["added"] == {"lab": ["ca_lab"]}
    assert list(tmp_path.iterdir()) == []


def test_the_file_keeps_the_password_it_was_opened_with(tmp_path: Path) -> None:
    make(tmp_path, LAB, passwords=("second",))
    make(tmp_path, LAB, {"name": "store", "party": "lab"}, passwords=("first", "second"))
    assert set(values(tmp_path, "lab", "second")) == {"ca_lab", "store"}


@pytest.mark.parametrize("party", ["lab", "clinic-a"])
def test_a_file_that_can_t_be_opened_ends_it_before_any_is_changed(tmp_path: Path, party: str) -> None:
    """Whichever party comes first."""
    make(tmp_path, LAB if party == "lab" else CLINIC, passwords=("other",))
    before = written(tmp_path)
    with pytest.raises(AnsibleActionFail, match=f"{party}.yml isn't encrypted with one of the vault identities.*give"):
        make(tmp_path, LAB, CLINIC)
    assert written(tmp_path) == before


@pytest.mark.parametrize("check", [False, True])
def test_without_a_vault_identity_nothing_is_written(tmp_path: Path, check: bool) -> None:
    with pytest.raises(
        AnsibleActionFail, match=r"lab\.yml can't be written without a vault identity: give --vault-pass"
    ):
        make(tmp_path, LAB, passwords=(), check=check)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"ca_lab: clear\n", "isn't encrypted: run ansible-vault encrypt"),
        (b"$ANSIBLE_VAULT;1.1;AES256\n6162\n", "isn't encrypted with one of the vault identities"),
        (b"ca_lab: 5\n", "has to be a mapping of names to quoted texts: correct it with ansible-vault edit"),
        (b"- a\n", "has to be a mapping of names to quoted texts"),
        (b"a: [\n", "has to be a mapping of names to quoted texts"),
        (b"a: !!python/object/apply:os.system [id]\n", "has to be a mapping of names to quoted texts"),
    ],
    ids=["in clear", "damaged", "a number", "a list", "no YAML", "a tag"],
)
def test_a_file_that_is_none_of_secrets_is_told_and_stays(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / ".secrets").mkdir(mode=0o700)
    vault = VaultLib([("default", VaultSecret(b"known"))])
    clear = message.startswith("isn't encrypted")
    (tmp_path / ".secrets/lab.yml").write_bytes(content if clear else vault.encrypt(content))
    before = written(tmp_path)
    with pytest.raises(AnsibleActionFail, match=f"/.secrets/lab.yml {message}") as caught:
        make(tmp_path, LAB, CLINIC)
    assert "clear" not in str(caught.value)
    assert written(tmp_path) == before


def linked_folder(state: Path) -> None:
    (state / "elsewhere").mkdir()
    (state / ".secrets").symlink_to("elsewhere")


def linked_file(state: Path) -> None:
    (state / ".secrets").mkdir(mode=0o700)
    (state / ".secrets/lab.yml").symlink_to("../elsewhere")


def others_folder(state: Path) -> None:
    (state / ".secrets").mkdir()
    (state / ".secrets").chmod(0o777)


def a_file(state: Path) -> None:
    (state / ".secrets").touch()


def a_folder(state: Path) -> None:
    (state / ".secrets/lab.yml").mkdir(parents=True)


PLACES: dict[Callable[[Path], None], str] = {
    linked_folder: r"/\.secrets is a symbolic link; a real directory belongs there: remove the link",
    linked_file: r"lab\.yml is a symbolic link; a regular file belongs there: remove the link",
    others_folder: r"/\.secrets can be written to by others \(mode 0777\): chmod go-w",
    a_file: r"/\.secrets is no directory; move away what lies there",
    a_folder: r"lab\.yml is no regular file; move away what lies there",
}


@pytest.mark.parametrize("prepare", PLACES, ids=lambda prepare: prepare.__name__)
def test_where_somebody_else_could_lead_it_astray_nothing_is_written(
    tmp_path: Path, prepare: Callable[[Path], None]
) -> None:
    prepare(tmp_path)
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    with pytest.raises(AnsibleActionFail, match=PLACES[prepare]):
        make(tmp_path, LAB)
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_a_state_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(AnsibleActionFail, match=f"{tmp_path}/state.*: (File exists|Not a directory)"):
        make(tmp_path / "state", LAB)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"party": "../lab"}, "party '../lab' is no name of a party"),
        ({"party": "lab\n"}, r"party 'lab\\n' is no name of a party"),
        ({"name": "a/b"}, "secret 'a/b': a name has letters, digits, '-' and '_' and begins with a letter"),
        ({"name": "{{ x }}"}, "secret '{{ x }}': a name has"),
        ({"length": 8}, "secret ca_lab: length 8: 20 to 512 characters"),
        ({"length": 10**9}, "secret ca_lab: length 1000000000: 20 to 512 characters"),
        ({"length": 40}, "secret ca_lab of party lab is wanted in two forms; make kind and length the same"),
    ],
)
def test_wrong_wishes_are_told_and_change_nothing(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(AnsibleActionFail, match=message):
        make(tmp_path, CLINIC, LAB, {**LAB, **wrong})
    assert list(tmp_path.iterdir()) == []


def test_runs_that_begin_at_once_make_each_secret_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.Queue()
    runs = [
        context.Process(target=lambda: answers.put(make(tmp_path, LAB, CLINIC)["added"].get("lab", [])))
        for _count in range(6)
    ]
    for run in runs:
        run.start()
    added = [answers.get(timeout=60) for _run in runs]
    for run in runs:
        run.join()
    assert sorted(added) == [[], [], [], [], [], ["ca_lab"]]
    assert set(values(tmp_path, "lab")) == {"ca_lab"}


def test_a_write_that_is_cut_off_leaves_the_file_whole_and_its_rest_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(_writes: files.Writes) -> None:
        raise KeyboardInterrupt

    make(tmp_path, LAB)
    before = (tmp_path / ".secrets/lab.yml").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(files.Writes, "commit", cut_off)
        patch.setattr(files.Writes, "discard", lambda _writes: None)  # as with SIGKILL
        with pytest.raises(KeyboardInterrupt):
            make(tmp_path, LAB, {"name": "store", "party": "lab"})
    left = [path for path in (tmp_path / ".secrets").iterdir() if path.name.endswith("fedlearn-new")]
    assert [path.read_bytes()[:15] for path in left] == [b"$ANSIBLE_VAULT;"]
    assert (tmp_path / ".secrets/lab.yml").read_bytes() == before
    make(tmp_path, LAB, {"name": "store", "party": "lab"})
    assert sorted(path.name for path in (tmp_path / ".secrets").iterdir()) == [".lab.lock", "lab.yml"]
    assert set(values(tmp_path, "lab")) == {"ca_lab", "store"}


def test_a_full_disk_is_told_and_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, LAB)
    before = written(tmp_path)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(AnsibleActionFail, match=f"^{tmp_path} can't be written: No space left on device"):
        make(tmp_path, LAB, {"name": "store", "party": "lab"})
    assert written(tmp_path) == before


def test_keys_are_bytes_in_the_writing_that_was_asked_for(tmp_path: Path) -> None:
    make(
        tmp_path,
        {"name": "plain", "party": "lab", "kind": "hex"},
        {"name": "datastore", "party": "lab", "kind": "base64url", "length": 16},
        {"name": "verify", "party": "lab", "kind": "base64url"},
    )
    found = values(tmp_path, "lab")
    assert len(bytes.fromhex(found["plain"])) == 32
    for name, length, written_length in (("datastore", 16, 22), ("verify", 32, 43)):
        assert len(found[name]) == written_length
        assert len(base64.urlsafe_b64decode(found[name] + "==")) == length


@pytest.mark.parametrize("kind", ["hex", "base64url"])
def test_a_key_has_at_least_128_bits(tmp_path: Path, kind: str) -> None:
    with pytest.raises(AnsibleActionFail, match="secret key: length 15: 16 to 512 bytes"):
        make(tmp_path, {"name": "key", "party": "lab", "kind": kind, "length": 15})


MADE = {"name": "survey_token", "party": "lab"}
HANDED = {"name": "survey_token", "party": "clinic-a", "maker": "lab"}


@pytest.mark.parametrize("secrets", [(MADE, HANDED), (HANDED, MADE)], ids=["maker first", "maker last"])
def test_who_shares_a_secret_gets_its_maker_s(tmp_path: Path, secrets: tuple[dict[str, Any], ...]) -> None:
    assert make(tmp_path, *secrets, check=True)["added"] == {"lab": ["survey_token"], "clinic-a": ["survey_token"]}
    result = make(tmp_path, *secrets)
    assert (result["added"], result["awaited"]) == ({"lab": ["survey_token"], "clinic-a": ["survey_token"]}, {})
    assert values(tmp_path, "clinic-a") == values(tmp_path, "lab")
    assert not make(tmp_path, *secrets)["changed"]


def test_what_another_control_node_makes_is_awaited_and_never_made_here(tmp_path: Path) -> None:
    result = make(tmp_path, HANDED, CLINIC)
    assert (result["added"], result["awaited"]) == ({"clinic-a": ["ca_clinic-a"]}, {"clinic-a": ["survey_token"]})
    assert result["warnings"] == [
        "secret survey_token of party clinic-a is made by party lab: ask them for it, and write it down with "
        f"ansible-vault edit {tmp_path}/.secrets/clinic-a.yml"
    ]
    assert set(values(tmp_path, "clinic-a")) == {"ca_clinic-a"}
    make(tmp_path, {**HANDED, "maker": "clinic-a"})  # stands for the operator's edit
    again = make(tmp_path, HANDED, CLINIC)
    assert (again["changed"], again["awaited"], again["warnings"]) == (False, {}, [])


def test_two_values_of_a_shared_secret_are_told_and_stay(tmp_path: Path) -> None:
    make(tmp_path, MADE)
    make(tmp_path, {**HANDED, "maker": "clinic-a"})
    before = written(tmp_path)
    with pytest.raises(
        AnsibleActionFail, match="survey_token: clinic-a has another value than lab, who makes it: take it out with"
    ):
        make(tmp_path, MADE, HANDED)
    assert written(tmp_path) == before


CLERK = {"name": "clerk", "party": "lab", "in_turn": True}


def test_a_secret_that_comes_in_turns_has_two_values_while_it_is_replaced(tmp_path: Path) -> None:
    make(tmp_path, LAB, CLERK)
    before = values(tmp_path, "lab")
    assert make(tmp_path, LAB, CLERK, turn="begin")["begun"] == {"lab": ["clerk"]}
    both = values(tmp_path, "lab")
    assert (both.keys() - before.keys(), both["clerk"], both["ca_lab"]) == (
        {"clerk.2"},
        before["clerk"],
        before["ca_lab"],
    )
    assert turns(both, "clerk") == {"valid": {"a": both["clerk"], "b": both["clerk.2"]}, "newest": "b"}
    # a run that was cut off is gone on with
    for turn in ("begin", "none"):
        assert not make(tmp_path, LAB, CLERK, turn=turn)["changed"]
    assert values(tmp_path, "lab") == both
    assert make(tmp_path, LAB, CLERK, turn="end")["ended"] == {"lab": ["clerk"]}
    alone = values(tmp_path, "lab")
    assert alone == {"ca_lab": both["ca_lab"], "clerk.2": both["clerk.2"]}
    assert turns(alone, "clerk") == {"valid": {"b": both["clerk.2"]}, "newest": "b"}
    assert not make(tmp_path, LAB, CLERK, turn="end")["changed"]
    assert not make(tmp_path, LAB, CLERK)["changed"]
    make(tmp_path, CLERK, turn="begin")
    assert turns(values(tmp_path, "lab"), "clerk")["newest"] == "a"


def test_turns_are_foreseen_in_check_mode_and_no_value_is_told(tmp_path: Path) -> None:
    make(tmp_path, CLERK)
    before = written(tmp_path)
    told = make(tmp_path, CLERK, turn="begin", check=True)
    assert (told["changed"], told["begun"]) == (True, {"lab": ["clerk"]})
    assert written(tmp_path) == before
    told = make(tmp_path, CLERK, turn="begin")
    assert [value for value in values(tmp_path, "lab").values() if value in str(told)] == []


def test_what_two_parties_share_does_not_come_in_turns(tmp_path: Path) -> None:
    with pytest.raises(AnsibleActionFail, match="secret clerk: two parties share it, so one alone can't replace it"):
        make(tmp_path, {**CLERK, "maker": "clinic-a"}, turn="begin")
