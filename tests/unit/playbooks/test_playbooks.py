# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What -e stack= and --limit leave out: playbooks as they are written, and as the real command runs them."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ansible_collections.fedlearn.infra.plugins.module_utils._pki.description import AuthorityDescription
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki import revocation
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.authority import Authority
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.register import Issued
from tests.unit.conftest import CHECKOUT, DOCUMENT, run

sys.path.insert(0, str(CHECKOUT / "tests" / "support"))

from models import npz

PLAYBOOKS = CHECKOUT / "playbooks"
INNER = {
    "agreed.yml",
    "change_ca.yml",
    "choose.yml",
    "datastore_keys.yml",
    "everybody.yml",
    "federation.yml",
    "move_over.yml",
    "partners.yml",
    "prepare.yml",
    "proxies.yml",
    "round.yml",
    "round_stage.yml",
    "sources.yml",
    "stage.yml",
    "state.yml",
    "waits.yml",
}
"""Parts of the others."""
OUTER = sorted({path.name for path in PLAYBOOKS.glob("*.yml")} - INNER - {"init.yml"})

# shared_ roles are part of others' checks
CHECKS = sorted(path for path in (CHECKOUT / "roles").glob("*/tasks/check.yml") if "shared_" not in str(path))
BACKUPS = sorted((CHECKOUT / "roles").glob("*/tasks/backup.yml"))


def plays(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load((PLAYBOOKS / name).read_text())
    return found


def inner(play: dict[str, Any]) -> dict[str, Any]:
    """A play, or the one that is imported for it, where that is known."""
    return plays("sources.yml")[0] if play.get("ansible.builtin.import_playbook") == "sources.yml" else play


@pytest.fixture
def with_secrets(folder: Path) -> Path:
    """The folder, where the secrets were made."""
    (folder / "vault-pass").write_text("known\n")
    ended = play(folder, "secrets.yml")
    assert ended.returncode == 0, ended
    return folder


MODEL = npz({"fc.weight": ([1, 3], [1.0, 2.0, 3.0]), "fc.bias": ([1], [4.0])})


def begin_with(folder: Path, source: str, sha256: str) -> None:
    """Have the servers begin with a model of the control node."""
    model = f"initial_model: {{source: {source}, sha256: {sha256}}}"
    (folder / "federation.yml").write_text(DOCUMENT.replace("servers: {", f"servers: {{{model}, "))
    (folder / "model.npz").write_bytes(MODEL)


def play(
    folder: Path, playbook: str, *arguments: str, source: str = "federation.yml"
) -> subprocess.CompletedProcess[str]:
    """A playbook as it ended on hosts that nobody reaches."""
    unreachable = ["-e", "ansible_host=127.0.0.1", "-e", "ansible_port=1"]  # where nothing listens
    vault = ["--vault-password-file", folder / "vault-pass"] if (folder / "vault-pass").exists() else []
    return run(folder, "ansible-playbook", "-i", source, *vault, PLAYBOOKS / playbook, *unreachable, *arguments)


@pytest.mark.parametrize("name", OUTER)
def test_every_playbook_begins_with_a_look_at_the_federation(name: str) -> None:
    first = plays(name)[0]["ansible.builtin.import_playbook"]
    assert first == "federation.yml"


@pytest.mark.parametrize(
    "name", ["backup.yml", "precheck.yml", "restore.yml", "rotate.yml", "site.yml", "status.yml", "verify.yml"]
)
def test_whoever_goes_through_all_roles_chooses_the_stack_s_instances_first(name: str) -> None:
    """Else roles on a host that stacks share would look at the other's instances, too."""
    found = plays(name)
    chosen = [index for index, play in enumerate(found) if play.get("ansible.builtin.import_playbook") == "choose.yml"]
    looped = [index for index, play in enumerate(found) if "fedlearn_stages" in str(inner(play).get("tasks"))]
    assert chosen
    assert looped
    assert chosen[0] < looped[0]


@pytest.mark.parametrize("check", CHECKS, ids=lambda path: path.parents[1].name)
def test_every_role_s_check_ends_by_naming_what_is_not_well(check: Path) -> None:
    """What it fails with has the rows that status keeps: no role words them itself."""
    last = yaml.safe_load(check.read_text())[-1]
    assert "fedlearn.infra.well" in last
    assert "when" not in last


def test_a_task_that_fails_says_so_in_its_module_s_words() -> None:
    """Of a condition that failed, Ansible's line of error names the condition alone."""
    written = "".join(path.read_text() for path in CHECKOUT.glob("roles/*/tasks/*.yml"))
    assert set(re.findall(r"^ *failed_when: *(.*?)(?: +#.*)?$", written, re.MULTILINE)) <= {"false"}


def test_stop_goes_through_no_role() -> None:
    """A role's way begins with what it brings: models and secrets of the control node, packages, files."""
    text = "".join((PLAYBOOKS / name).read_text() for name in ("stop.yml", "tasks/stop.yml"))
    assert "fedlearn.infra.stop:" in text
    assert [word for word in ("include_role", "import_role", "stage.yml") if word in text] == []


@pytest.mark.parametrize("backup", BACKUPS, ids=lambda path: path.parents[1].name)
def test_every_role_with_data_is_backed_up_and_restored_by_the_same_names(backup: Path) -> None:
    """Those by which the playbooks hand it folder and file, and find out which file it brought."""
    role = backup.parents[1]
    assert (role / "tasks" / "restore.yml").exists()
    text = backup.read_text()
    assert f"register: {role.name}_backup\n" in text
    brought = f"name: {role.name}\n" in text and f'directory: "{{{{ {role.name}_backup_directory }}}}"\n' in text
    fetched = f'dest: "{{{{ {role.name}_backup_directory }}}}/{{{{ inventory_hostname }}}}/{role.name}-' in text
    assert brought or fetched
    variables = yaml.safe_load((role / "defaults" / "main.yml").read_text())
    assert {f"{role.name}_backup_directory", f"{role.name}_restore_from"} <= variables.keys()


@pytest.mark.slow
def test_a_host_that_nothing_runs_on_is_chosen_nothing_of(folder: Path) -> None:
    document = folder / "federation.yml"
    document.write_text(document.read_text().replace("ms2: 10.20.0.12}", "ms2: 10.20.0.12, spare: 10.20.0.13}"))
    chosen = {"fedlearn_instance_state": "absent"}
    book = [{"name": "Choose", "import_playbook": str(PLAYBOOKS / "choose.yml"), "vars": chosen}]
    (folder / "look.yml").write_text(json.dumps(book))
    ended = run(folder, "ansible-playbook", "-i", "federation.yml", "look.yml", "-e", "fedlearn_remove_data=true")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "skipping: [spare]" in ended.stdout


@pytest.mark.slow
def test_a_check_is_kept_as_rows_however_it_ends(folder: Path) -> None:
    """Well, or with no word of what isn't well, as where it could not even begin."""
    tasks: list[dict[str, Any]] = [
        {
            "ansible.builtin.include_tasks": {"file": str(PLAYBOOKS / "tasks" / "check.yml")},
            "loop": ["nginx", "redis"],
            "loop_control": {"loop_var": "fedlearn_role"},
        },
        {"ansible.builtin.copy": {"content": "{{ fedlearn_checks | to_json }}", "dest": "rows.json", "mode": "0600"}},
    ]
    given = {"ansible_become": False, "fedlearn_state": str(folder)}
    variables = {"redis_instances": [{"name": "store"}], "redis_program": "{{ 1 / 0 }}", **given}
    tried = {"checks": [{"name": "site refuses strangers", "passed": False, "detail": "answered"}], "ill": {}}
    tasks.insert(0, {"ansible.builtin.set_fact": {"redis_tried": tried}})
    (folder / "look.yml").write_text(
        json.dumps([{"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}])
    )
    ended = run(folder, "ansible-playbook", "look.yml", config=None)
    assert ended.returncode == 0, ended
    rows = {row["name"]: row for row in json.loads((folder / "rows.json").read_text())}
    assert list(rows) == ["nginx", "redis", "site refuses strangers"]
    assert rows["site refuses strangers"]["passed"] is False
    assert rows["nginx"] == {"name": "nginx", "passed": True, "detail": "healthy", "unwell": []}
    assert "division by zero" in rows["redis"]["detail"]
    told = {"name": "redis", "state": "failed", "reason": rows["redis"]["detail"]}
    assert rows["redis"] == {"name": "redis", "passed": False, "detail": told["reason"], "unwell": [told]}


def test_site_takes_a_certificate_away_only_when_what_reads_it_has_gone() -> None:
    """A host's `absent` servers stop in stage `service`; the certificates are made before the first stage."""
    site = plays("site.yml")
    prepares = next(play for play in site if play.get("ansible.builtin.import_playbook") == "prepare.yml")
    assert prepares["vars"]["pki_remove_absent"] is False
    stages = [index for index, play in enumerate(site) if "fedlearn_stage" in play.get("vars", {})]
    roles = [index for index, play in enumerate(site) if "fedlearn.infra.pki" in str(play.get("tasks"))]
    others = ("revoke", "proof")
    removes = [index for index in roles if not any(entry in str(site[index]["tasks"]) for entry in others)]
    orphans = [index for index, play in enumerate(site) if "fedlearn.infra.orphans" in str(play.get("tasks"))]
    assert max(stages) < removes[0] < orphans[0]


def test_site_opens_a_port_to_everybody_only_when_nothing_listens_there() -> None:
    """A service is moved, or stays where it was, after the rules were made."""
    site = plays("site.yml")
    prepares = next(play for play in site if play.get("ansible.builtin.import_playbook") == "prepare.yml")
    assert prepares["vars"]["firewall_keep_left"] is True
    forgets = [index for index, play in enumerate(site) if "fedlearn.infra.firewall" in str(play.get("tasks"))]
    orphans = [index for index, play in enumerate(site) if "fedlearn.infra.orphans" in str(play.get("tasks"))]
    assert orphans < forgets


def test_site_withdraws_for_all_hosts_before_any_of_them_gets_a_list() -> None:
    """Else one that was prepared before the other's turn would go on letting in whom that one had."""
    site = plays("site.yml")
    revokes = [index for index, play in enumerate(site) if "revoke" in str(play.get("tasks"))]
    prepares = [
        index for index, play in enumerate(site) if play.get("ansible.builtin.import_playbook") == "prepare.yml"
    ]
    assert revokes < prepares
    assert "strategy" not in site[revokes[0]]


@pytest.mark.slow
def test_no_stack_is_disrupted_that_is_not_there(folder: Path) -> None:
    ended = play(folder, "site.yml", "-e", "fedlearn_disrupt=nosuch")
    assert_refused_here(ended, "the document has no stack 'nosuch': it has lenet")
    assert play(folder, "flows.yml", "-e", "fedlearn_disrupt=lenet").returncode == 0


WITHOUT_AGREEMENT = {
    "accept": "is how one agrees",
    "audit": "refuses it when it takes over what partners published",
    "awx": "writes templates of jobs, which refuse it themselves",
    "flows": "tells what the document says, for who is to agree",
    "secrets": "makes what is missing, and is wanted before anything else",
}


def test_nothing_is_done_by_a_document_that_nobody_accepted() -> None:
    """Not even a host is asked, which a partner may have given another address."""
    asks = {
        name.removesuffix(".yml")
        for name in OUTER
        if "agreed.yml" in [play.get("ansible.builtin.import_playbook") for play in plays(name)]
    }
    assert {name.removesuffix(".yml") for name in OUTER} - asks == WITHOUT_AGREEMENT.keys()


@pytest.mark.slow
@pytest.mark.parametrize(("playbook", "stack"), [("status.yml", "nope"), ("flows.yml", "my_hall")])
def test_a_stack_that_is_not_there_is_refused_before_any_host_is_touched(
    folder: Path, playbook: str, stack: str
) -> None:
    """`my_hall` is the name of a group, not of the stack."""
    (folder / "federation.yml").write_text(DOCUMENT.replace("lenet:", "my-hall:"))
    ended = play(folder, playbook, "-e", f"stack={stack}")
    assert ended.returncode == 2, ended
    assert f"the document has no stack '{stack}': it has my-hall" in ended.stdout
    assert "UNREACHABLE" not in ended.stdout
    assert not (folder / "build").exists()


@pytest.mark.slow
def test_a_misspelt_option_is_refused_before_any_host_is_touched(folder: Path) -> None:
    """Ansible passes over a name that nobody uses: all stacks would go."""
    ended = play(folder, "remove.yml", "-e", "stak=lenet")
    assert ended.returncode == 2, ended
    assert "-e stak= is no option: write stack=" in ended.stdout
    assert "UNREACHABLE" not in ended.stdout


@pytest.mark.slow
def test_a_value_that_no_survey_lets_through_is_refused_before_any_host_is_touched(folder: Path) -> None:
    ended = play(folder, "verify.yml", "-e", "verify=ruond", "-e", "fedlearn_prune=perhaps")
    assert ended.returncode == 2, ended
    assert "-e verify=: expected one of probe, round, found the text 'ruond' (did you mean 'round'?)" in ended.stdout
    assert "-e fedlearn_prune=: expected true or false, found the text 'perhaps'" in ended.stdout
    assert "UNREACHABLE" not in ended.stdout


@pytest.mark.slow
def test_a_restore_wants_a_backup_of_who_keeps_data_and_of_no_others(folder: Path) -> None:
    """Redis keeps none unless it is told to; and a file is of one role."""
    (folder / "kept/ms1").mkdir(parents=True)
    ended = play(folder, "restore.yml", "-e", "from=kept")
    assert ended.returncode == 0, ended
    (folder / "federation.yml").write_text(DOCUMENT.replace("redis: {host: ms1", "redis: {host: ms1, persistence: aof"))
    ended = play(folder, "restore.yml", "-e", "from=kept")
    assert (ended.returncode, f"ms1: there is no backup of redis in {folder / 'kept'}" in ended.stdout) == (2, True)
    (folder / "kept/ms1/postgresql-20260101T000000Z.tar").write_text("of another host")
    ended = play(folder, "restore.yml", "-e", f"from={folder}/kept/ms1/postgresql-20260101T000000Z.tar")
    told = "20260101T000000Z.tar is of no role that has data here; --limit says whose it is"
    assert (ended.returncode, told in ended.stdout) == (2, True), ended
    (folder / "kept/ms1/redis-20260101T000000Z.tar.age").write_text("of somebody's key")
    ended = play(folder, "restore.yml", "-e", "from=kept")
    told = "redis-20260101T000000Z.tar.age is encrypted: -e fedlearn_backup_secret=NAME says which secret is the key"
    assert_refused_here(ended, told)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("playbook", "arguments", "said"),
    [
        (
            "rotate.yml",
            (),
            "rotate what? -e what=certificates, -e what=passwords, -e what=ca or -e what=datastore_keys",
        ),
        (
            "rotate.yml",
            ("-e", "what=cas"),
            "-e what=: expected one of certificates, passwords, ca, datastore_keys, found the text 'cas'",
        ),
        (
            "rotate.yml",
            ("-e", "what=ca", "-e", "stack=lenet"),
            "rotate -e what=ca is for all of them, without -e stack=",
        ),
        (
            "restore.yml",
            (),
            "restore what? -e from=FOLDER takes the newest backup of each host in it, -e from=FILE that",
        ),
        (
            "backup.yml",
            ("-e", "fedlearn_backup_recipient=AGE-SECRET"),
            "-e fedlearn_backup_recipient= is not a public key of age (age1...): `age-keygen` makes a pair",
        ),
        ("restore.yml", ("-e", "from=nowhere"), "nowhere is not there: -e from=FOLDER takes the newest backup"),
        ("worker_kit.yml", (), "a kit for which stack? -e stack=NAME: there are kits for none of this document"),
        ("worker_kit.yml", ("-e", "stack=lenet"), "a kit for which stack? -e stack=NAME, and not lenet: there are"),
    ],
)
def test_what_can_not_be_rotated_restored_or_given_is_told_before_any_host_is_touched(
    folder: Path, playbook: str, arguments: tuple[str, ...], said: str
) -> None:
    assert_refused_here(play(folder, playbook, *arguments), said)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "whose"), [((), "in the document"), (("-e", "stack=lenet"), "of stack lenet")], ids=["all", "stack"]
)
def test_where_no_password_comes_in_turns_none_is_rotated(
    with_secrets: Path, arguments: tuple[str, ...], whose: str
) -> None:
    ended = play(with_secrets, "rotate.yml", "-e", "what=passwords", *arguments)
    assert_refused_here(ended, f"nobody {whose} has two logins used in turn, so no password is replaced")


CLUSTERED = """\
all:
  vars: {ansible_connection: local, fedlearn_waits: the former ones stay}
  children:
    federation_hosts: {hosts: {ms1: {}, ms2: {}}}
    federation_clusters: {hosts: {cluster-one: {}}}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "missing"),
    [("all", ""), ("ms1,ms2", "cluster-one"), ("cluster-one,ms2", "ms1"), ("ms1", "cluster-one, ms2")],
)
def test_what_wants_everybody_goes_no_further_without_hosts_or_clusters(folder: Path, limit: str, missing: str) -> None:
    (folder / "hosts.yml").write_text(CLUSTERED)
    ended = run(folder, "ansible-playbook", "-i", "hosts.yml", PLAYBOOKS / "everybody.yml", "--limit", limit)
    said = f"the former ones stay: {missing} failed, or --limit left them out; rotate again with all"
    assert (ended.returncode, said in ended.stdout) == ((2, True) if missing else (0, False)), ended


@pytest.mark.parametrize(
    ("name", "before"), [("rotate.yml", "Withdraw what was replaced"), ("change_ca.yml", "Change CAs")]
)
def test_what_was_replaced_goes_only_with_everybody(name: str, before: str) -> None:
    found = plays(name)
    at = next(index for index, play in enumerate(found) if play["name"].startswith(before))
    assert found[at - 1]["ansible.builtin.import_playbook"] == "everybody.yml"


@pytest.mark.slow
def test_status_tells_of_hosts_of_the_run_only(folder: Path) -> None:
    ended = play(folder, "status.yml", "--limit", "ms1")
    assert ended.returncode == 4, ended
    told = json.loads((folder / "build/demo/status.json").read_text())["stacks"]["lenet"]
    assert (told["verdict"], list(told["hosts"])) == ("unreachable", ["ms1"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("model.npz", f"model.npz has the sha256 {hashlib.sha256(MODEL).hexdigest()}, not {'a' * 64}"),
        ("nowhere.npz", "nowhere.npz' on the control node"),
    ],
)
def test_site_refuses_another_model_before_any_host_is_touched(with_secrets: Path, source: str, said: str) -> None:
    begin_with(with_secrets, source, "a" * 64)
    ended = play(with_secrets, "site.yml")
    assert ended.returncode == 2, ended
    assert said in ended.stdout
    assert "UNREACHABLE" not in ended.stdout


@pytest.mark.slow
def test_site_goes_on_to_the_hosts_with_the_model_that_was_meant(with_secrets: Path) -> None:
    begin_with(with_secrets, "model.npz", hashlib.sha256(MODEL).hexdigest())
    ended = play(with_secrets, "site.yml")
    assert ended.returncode == 4, ended
    assert "UNREACHABLE" in ended.stdout


def assert_refused_here(ended: subprocess.CompletedProcess[str], *said: str) -> None:
    """Nobody was connected to, and all of this was said."""
    assert ended.returncode == 2, ended
    assert "UNREACHABLE" not in ended.stdout
    told = " ".join((ended.stdout + ended.stderr).split())
    assert [one for one in said if one not in told] == [], told


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [(), ("--limit", "ms2"), ("-e", "stack=lenet"), ("--check",)], ids=" ".join)
def test_site_tells_all_secrets_that_are_missing_before_any_host_is_touched(
    folder: Path, arguments: tuple[str, ...]
) -> None:
    ended = play(folder, "site.yml", *arguments)
    way_out = f"run ansible-playbook -i {folder}/federation.yml fedlearn.infra.secrets"
    file = folder / ".secrets/lab.yml"
    missing = f"secret: {file} isn't there, so party lab has no ca_lab and no ca_lab-lenet-store: {way_out}"
    assert_refused_here(ended, missing)


@pytest.mark.slow
def test_site_tells_of_secrets_that_it_cannot_open_and_of_those_that_the_file_lacks(with_secrets: Path) -> None:
    (with_secrets / "federation.yml").write_text(DOCUMENT.replace("lenet:", "other:"))
    file = with_secrets / ".secrets/lab.yml"
    assert_refused_here(play(with_secrets, "site.yml"), f"secret: {file} has no ca_lab-other-store: run")
    (with_secrets / "vault-pass").write_text("another\n")
    assert_refused_here(play(with_secrets, "site.yml"), f"secret: {file} isn't encrypted with one of the vault")


@pytest.mark.slow
def test_site_wants_no_secret_of_another_party(with_secrets: Path) -> None:
    """A viewpoint is one party's, and has that party's secrets only."""
    viewpoint = "plugin: fedlearn.infra.federation\ndocument: federation.yml\nparty: lab\n"
    (with_secrets / "view.yml").write_text(viewpoint)
    clinic = "  clinic: {hosts: {c1: 10.20.0.13}}\nstacks:\n"
    both = DOCUMENT.replace("stacks:\n", clinic).replace("workers: {hosts: [ms2]}", "workers: {hosts: [ms2, c1]}")
    (with_secrets / "federation.yml").write_text(both)
    (with_secrets / "public/clinic").mkdir(parents=True)
    certificate = make_ca(with_secrets / "clinic")
    (with_secrets / "public/clinic/clinic.pem").write_bytes(certificate)
    assert play(with_secrets, "site.yml", source="view.yml").returncode == 4
    assert_refused_here(play(with_secrets, "site.yml"), f"{with_secrets}/.ca/clinic/clinic.key is not: bring")


def make_ca(folder: Path) -> bytes:
    """The certificate of a CA that was made elsewhere."""
    made = Authority(AuthorityDescription("lab", "lab", "ownca", "demo lab CA"), str(folder), lambda: "p" * 64)
    made.make()
    return (folder / "public/lab/lab.pem").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("home", [".", "views/lab"])
def test_site_makes_no_second_ca_where_the_first_one_s_certificate_is_and_its_key_is_not(
    with_secrets: Path, home: str
) -> None:
    """Of a clone: public/ is in it, beside the document, and the state of a viewpoint is another folder."""
    (with_secrets / "public/lab").mkdir(parents=True)
    (with_secrets / "public/lab/lab.pem").write_bytes(make_ca(with_secrets / "elsewhere"))
    (with_secrets / "views/lab").mkdir(parents=True)
    for folder, document in ((".", "federation.yml"), ("views/lab", "../../federation.yml")):
        viewpoint = f"plugin: fedlearn.infra.federation\ndocument: {document}\nparty: lab\n"
        (with_secrets / folder / "view.yml").write_text(viewpoint)
    source = f"{home}/view.yml"
    assert play(with_secrets, "secrets.yml", source=source).returncode == 0
    state = (with_secrets / home).resolve()
    assert_refused_here(
        play(with_secrets, "site.yml", source=source),
        f"authority lab of party lab: {with_secrets}/public/lab/lab.pem is there, but its key {state}/.ca/lab/lab.key "
        f"is not: bring .ca/lab and .secrets/lab.yml together from where this CA was made into {state}, or move",
    )


@pytest.mark.slow
def test_site_looks_at_a_partner_s_certificate_before_any_host_is_touched(with_secrets: Path) -> None:
    document = DOCUMENT.replace("stacks:\n", "  partner: {external: true, ca: public/partner/ca.pem}\nstacks:\n")
    (with_secrets / "federation.yml").write_text(document)
    file = with_secrets / "public/partner/ca.pem"
    file.parent.mkdir(parents=True)
    where = f"authority partner of party partner: {file}"
    assert_refused_here(play(with_secrets, "site.yml"), f"{where} is missing: ask the party for its CA certificate")
    file.write_text("-----BEGIN CERTIFICATE-----\n")
    assert_refused_here(play(with_secrets, "site.yml"), f"{where} holds no certificate in PEM form")
    file.write_bytes(make_ca(with_secrets / "elsewhere"))
    assert play(with_secrets, "site.yml").returncode == 4


@pytest.mark.slow
def test_site_withdraws_what_is_in_no_document_any_more_though_no_host_answers(with_secrets: Path) -> None:
    opened = run(
        with_secrets, "ansible-vault", "view", "--vault-password-file", "vault-pass", ".secrets/lab.yml"
    ).stdout
    passphrase = yaml.safe_load(opened)["ca_lab"]
    lab = Authority(AuthorityDescription("lab", "lab", "ownca", "demo lab CA"), str(with_secrets), lambda: passphrase)
    lab.make()
    rows = {
        number: Issued(f"{number:02X}", 1 << 33, host, "demo", name)
        for number, (host, name) in enumerate(
            [("ms1", "demo-lenet-scheduler"), ("ms1", "demo-former"), ("w9", "demo-lenet-worker"), ("ms2", "x")], 1
        )
    }
    for row in rows.values():
        lab.register.add(row.host, [row], 0)
    assert play(with_secrets, "precheck.yml").returncode == 4
    assert play(with_secrets, "site.yml", "--check").returncode == 4
    assert lab.revoked("ms1") == {}
    ended = play(with_secrets, "site.yml", "--limit", "ms1", "-e", "stack=lenet")
    assert ended.returncode == 4, ended
    [found] = revocation.read((with_secrets / "public/lab/lab.crl.pem").read_bytes())
    assert {each.serial_number for each in found} == {2, 3}
    assert [each.certificate for each in lab.register.issued("ms1")] == ["demo-lenet-scheduler"]


@pytest.mark.slow
def test_precheck_tells_what_would_stop_each_role_of_a_host(with_secrets: Path) -> None:
    """On this very machine, which has none of the document's addresses: every role that listens says so."""
    ended = play(with_secrets, "precheck.yml", "-e", "ansible_connection=local")
    told = " ".join(ended.stdout.partition("Tell all that would stop")[2].split())
    assert ended.returncode == 2, ended
    for role in ("redis", "nginx", "mindspore_server"):
        assert f"{role}: " in told, told


@pytest.mark.slow
def test_a_round_is_brought_and_taken_away_where_it_has_a_part(folder: Path) -> None:
    """Without workers it has participants beside the servers; the front has none, since there is no proxy."""
    text = DOCUMENT.replace("    workers: {hosts: [ms2]}\n", "")
    text = text.replace("{hosts: [ms2]}", "{hosts: [ms2], initial_model: {shapes: {a: [1]}}}")
    (folder / "federation.yml").write_text(text)
    ended = play(folder, "verify.yml", "-e", "verify=round", "-e", "stack=lenet", "--list-hosts")
    assert ended.returncode == 0, ended
    assert "Could not match" not in ended.stderr
    listed = re.findall(
        r"Converge the round's stage (\w*).*\n\s+pattern: \['round_\1:&stack_lenet'\]\n\s+hosts \((\d)\)", ended.stdout
    )
    bring = [("data", "0"), ("front", "0"), ("coordinator", "1"), ("service", "1"), ("participant", "1")]
    away = [("participant", "1"), ("front", "0"), ("service", "1"), ("coordinator", "1"), ("data", "0")]
    assert listed == [*bring, *away], ended.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("playbook", "wanted"),
    [
        (
            "site.yml",
            {
                "Look at values, and at what hosts are to get of this control node, and touch no host",
                "Compare what is ours in each cluster with the document",
            },
        ),
        ("precheck.yml", {"Look for what would stop a deploy"}),
        ("verify.yml", {"Look at what is asked for", "Probe what runs", "Judge"}),
        ("status.yml", {"Compare clusters with the document", "Tell"}),
        ("remove.yml", {"Choose the instances", "Remove orphans in clusters"}),
    ],
)
def test_of_clusters_values_and_health_are_looked_at_and_nothing_that_a_machine_has(
    folder: Path, playbook: str, wanted: set[str]
) -> None:
    """Where a play for machines runs on a cluster's host, it means this control node."""
    clusters = "clusters: {kc: {party: lab, kubeconfig: files/kc}}\nstacks:\n"
    (folder / "federation.yml").write_text(DOCUMENT.replace("stacks:\n", clusters))
    ended = play(folder, playbook, "--list-hosts")
    assert ended.returncode == 0, ended
    listed = re.findall(r": ([^\n]+?)\tTAGS: .*\n.*pattern: (.*)\n.*hosts \(\d+\):((?:\n {6}\S+)*)", ended.stdout)
    on_clusters = {name for name, pattern, hosts in listed if "cluster-kc" in hosts and "localhost" not in pattern}
    # which is about no host at all
    assert on_clusters - {"Open what is kept on the control node"} == wanted, ended.stdout


@pytest.mark.slow
def test_a_role_that_can_not_encrypt_writes_nothing_in_clear(tmp_path: Path) -> None:
    """None of those that are there is such a role; one without data stands in for it."""
    book = tmp_path / "playbooks/one.yml"
    book.parent.mkdir()
    (tmp_path / "roles").symlink_to(CHECKOUT / "roles")
    told = {"that": "fedlearn_checks == [wanted]"}
    refused = "tunnel can't encrypt its backup: leave out fedlearn_backup_recipient for its hosts"
    one = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {
            "fedlearn_role": "tunnel",
            "fedlearn_backup_recipient": "age1",
            "wanted": {"name": "tunnel", "passed": False, "detail": refused},
        },
        "tasks": [
            {"ansible.builtin.include_tasks": str(PLAYBOOKS / "tasks/backup.yml")},
            {"ansible.builtin.assert": told},
        ],
    }
    book.write_text(json.dumps([one]))
    ended = run(tmp_path, "ansible-playbook", book)
    assert ended.returncode == 0, ended
