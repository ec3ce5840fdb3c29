# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Adding a system is one more room: `echo`, added by the steps of docs/architecture.md, with no line changed elsewhere.

tests/extension/echo/ holds the files as they would lie in the tree. They are laid into a copy of it, and only that copy
is used: its library, playbooks, tools and unit tests.
"""

from __future__ import annotations

import os
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
from extended_tree import CHECKOUT, Tree, digests

HERE = Path(__file__).resolve().parent
ROOM = CHECKOUT / "build" / "hosts" / os.environ.get("FEDLEARN_EXTENSION_SET", "echo")
URL = "http://10.98.9.11:7007/"


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return Tree(tmp_path_factory.mktemp("extension"), HERE / "echo", ROOM / "ssh_config")


def on_host(command: str) -> str:
    """What a shell command prints on e1, as root."""
    ssh = ["ssh", "-F", str(ROOM / "ssh_config"), "e1", "sudo sh"]
    done = subprocess.run(ssh, input=command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def ask(body: str | None = None) -> str:
    """What the deployed server answers."""
    with urllib.request.urlopen(URL, data=body.encode() if body else None, timeout=10) as answer:
        return str(answer.read().decode())


def left() -> list[str]:
    """What on the host bears the federation's name, or is held by its port."""
    places = "/etc /run /var/lib /opt /usr/local"
    return on_host(f"find {places} -name '*echoes*' 2>/dev/null; ss -Hltn 'sport = :7007 or sport = :7107'").split()


def test_only_files_are_added(tree: Tree) -> None:
    added = {str(path.relative_to(HERE / "echo")) for path in (HERE / "echo").rglob("*") if path.is_file()}
    now = digests(tree.path)
    assert added & tree.before.keys() == set()
    assert {path: digest for path, digest in now.items() if path not in added} == tree.before
    kinds = [path for path in added if path.startswith("plugins/")]
    assert kinds == ["plugins/plugin_utils/_federation/kinds/echo.py"]
    rooms = {"/".join(path.split("/")[:2]) for path in added if not path.startswith("plugins/")}
    assert rooms == {"docs/systems", "inventories/echo", "molecule/echo_server", "roles/echo_server"}


def test_what_runs_is_the_copy(tree: Tree) -> None:
    for type_, name in (("inventory", "federation"), ("module", "managed_service")):
        listed = tree.run("ansible-doc", "--type", type_, "--list_files", "fedlearn.infra")
        assert f"{tree.path}/plugins/" in listed.text, listed.text
        assert str(CHECKOUT) + "/plugins" not in listed.text, name
    where = "import ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds as k; print(k.__file__)"
    assert tree.run("python", "-c", where).text.startswith(str(tree.path))


def test_its_mistakes_have_positions(tree: Tree) -> None:
    document = (tree.path / "inventories/echo/federation.yml").read_text()
    wrong = tree.room / "federation.yml"
    wrong.write_text(document.replace("{greeting: hello}", "{greting: hello, max_bytes: 0}"))
    run = tree.run("ansible-inventory", "-i", str(wrong), "--list")
    assert run.code == 4
    assert (
        "federation.yml:16:16: stacks.hall.settings.greting: unknown key 'greting' (did you mean 'greeting'?)"
        in run.text
    )
    assert "stacks.hall.settings.max_bytes: expected a whole number from 1 to 1048576" in run.text


def test_reference_first_files_and_flows_know_it(tree: Tree) -> None:
    package = "ansible_collections.fedlearn.infra.plugins.plugin_utils._federation"
    written = tree.run("python", "-m", f"{package}.reference", "docs")
    assert written.code == 0, written.text
    page = (tree.path / "docs/federation.md").read_text()
    assert "Echo: one HTTP server that sends back what it is sent." in page
    assert "The longest request that is sent back. In bytes." in page
    assert "max_bytes" in (tree.path / "docs/federation.schema.json").read_text()
    run = tree.run("ansible-playbook", "fedlearn.infra.init", "-e", "kind=echo", "-e", f"directory={tree.room}/mine")
    assert run.code == 0, run.text
    first = tree.run("ansible-inventory", "-i", f"{tree.room}/mine/federation.yml", "--graph")
    assert "@kind_echo" in first.text, first.text
    assert tree.playbook("flows").code == 0
    assert "clients,,e1,10.98.9.11,tcp,7007,echo,none" in (tree.room / "build/echoes/flows.csv").read_text()


def test_lint_and_types_are_clean(tree: Tree) -> None:
    lint = ["--offline", "--profile", "production", "--strict", "--nocolor", "--project-dir", str(tree.path)]
    run = tree.run("ansible-lint", *lint, "roles/echo_server", "molecule/echo_server", "playbooks/site.yml")
    assert run.code == 0, run.text
    kinds = "ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.kinds"
    run = tree.run("mypy", "-p", kinds)
    assert run.code == 0, run.text


def test_its_scenario_passes(tree: Tree) -> None:
    """On a host of its own, which scenario.sh takes down."""
    (tree.path / ".venv").symlink_to(CHECKOUT / ".venv")
    scenario = [str(tree.path / "tests" / "tools" / "scenario.sh"), "echo_server"]
    run = tree.run("/bin/bash", *scenario)
    assert run.code == 0, run.text
    assert re.search(r"\b5 passed\b", run.text), run.text


def test_no_unit_test_minds(tree: Tree) -> None:
    run = tree.run("python", "-m", "pytest", "--quiet", "-m", "not slow", "tests/unit")
    assert run.code == 0, run.text


def test_is_deployed_proven_and_removed(tree: Tree) -> None:
    assert left() == []
    prechecked = tree.playbook("precheck")
    assert prechecked.code == 0, prechecked.text
    first = tree.playbook("site")
    assert first.code == 0, first.text
    assert first.changed > 0
    assert ask() == "hello\n"
    assert ask("what you send") == "what you send"
    exposure = on_host("systemd-analyze security --no-pager fedlearn-echoes-hall-server.service || true")
    assert float(re.search(r"exposure level for \S+: ([0-9.]+)", exposure)[1]) <= 2.5

    process = on_host("systemctl show -p MainPID --value fedlearn-echoes-hall-server")
    again = tree.playbook("site")
    assert (again.code, again.changed) == (0, 0), again.text

    proven = tree.playbook("verify", "-e", "verify=round")
    assert proven.code == 0, proven.text
    hall = tree.report("verify.json")["stacks"]["hall"]
    assert (hall["passed"], hall["real"], hall["mode"]) == (True, True, "round")
    assert (hall["expected"], hall["observed"], hall["max_error"]) == ([42.0], [42.0], 0.0)
    assert [worker["own"] for worker in hall["workers"]] == [[1, -2, 3, 40]]
    assert [line for line in left() if "verify" in line or "7107" in line] == []

    status = tree.playbook("status")
    assert status.code == 0, status.text
    assert tree.report("status.json")["stacks"]["hall"]["verdict"] == "ok"
    assert on_host("systemctl show -p MainPID --value fedlearn-echoes-hall-server") == process

    assert tree.playbook("stop").code == 0
    assert tree.playbook("status").code == 2
    (told,) = tree.report("status.json")["stacks"]["hall"]["hosts"].values()
    assert (told["verdict"], {row["name"] for row in told["unwell"]}) == ("unhealthy", {"echoes-hall-server"})
    assert {row["state"] for row in told["unwell"]} == {"stopped", "differing"}  # what is stopped is disabled, too
    assert tree.playbook("site").code == 0
    assert ask() == "hello\n"


def test_a_round_that_sums_wrong_fails_by_its_number(tree: Tree) -> None:
    """The copy's program is made to change a digit; the round comes to its end and tells expected and observed."""
    program = tree.path / "roles/echo_server/files/echo.py"
    right = program.read_text()
    program.write_text(right.replace("self.rfile.read(length))", "self.rfile.read(length).replace(b'4', b'9'))"))
    try:
        run = tree.playbook("verify", "-e", "verify=round")
    finally:
        program.write_text(right)
    assert run.code == 2, run.text
    assert "hall: result of echoes-verify-hall-server on e1: expected [42.0] within 0.0, observed [92.0]" in run.text, (
        run.text
    )


def test_remove_leaves_nothing(tree: Tree) -> None:
    removed = tree.playbook("remove", "-e", "fedlearn_remove_data=true")
    assert removed.code == 0, removed.text
    assert left() == []
    assert on_host("ls /etc/fedlearn /opt/fedlearn 2>/dev/null || true") == ""
    again = tree.playbook("remove", "-e", "fedlearn_remove_data=true")
    assert (again.code, again.changed) == (0, 0), again.text
