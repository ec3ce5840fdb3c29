# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What templates of a role's service fail on is told before any host is touched."""

from __future__ import annotations

import json
from pathlib import Path

from tests.unit.conftest import run

SERVICE = """\
units: [{name: fedlearn-x.service, template: x.service.j2}]
files: [{path: /etc/x.json, template: x.json.j2}]
"""
TASK = """\
- fedlearn.infra.managed_service:
    instances: "{{ thing_instances }}"
    service: service.yml.j2
"""


def converge(room: Path, template: str, instance: dict[str, object]) -> str:
    """What managed_service says of an instance, in a role `thing` whose one file is made by this template."""
    files = {"service.yml.j2": SERVICE, "x.service.j2": "[Service]\nExecStart=/bin/true\n", "x.json.j2": template}
    for name, text in {"tasks/main.yml": TASK, **{f"templates/{name}": text for name, text in files.items()}}.items():
        path = room / "roles/thing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    play = [{"hosts": "here", "gather_facts": False, "roles": ["thing"], "vars": {"thing_instances": [instance]}}]
    (room / "play.yml").write_text(json.dumps(play))
    (room / "ansible.cfg").write_text("[defaults]\n")
    (room / "hosts.yml").write_text("all: {hosts: {here: {}}}\n")
    done = run(room, "ansible-playbook", "-i", "hosts.yml", "play.yml", config=room / "ansible.cfg")
    assert done.returncode == 2, done.stderr
    failed = next(line for line in done.stdout.splitlines() if line.startswith("fatal: "))
    said: str = json.loads(failed.partition(" => ")[2])["msg"]
    return said


def test_mistakes_in_settings_are_told_by_role_and_instance(tmp_path: Path) -> None:
    template = "{{ instance.settings | fedlearn.infra.settings('mindspore') | to_json }}"
    settings = {"fl_name": "x", "round": {"start_fl_job_threshold": 0}, "clint": {}}
    assert converge(tmp_path, template, {"name": "alpha", "settings": settings}).splitlines() == [
        "thing/alpha: settings.clint: unknown key 'clint' (did you mean 'client'?)",
        "thing/alpha: settings.round.start_fl_job_threshold: expected a whole number from 1 to 4294967295, "
        "found the number 0",
    ]


def test_what_python_says_of_a_value_is_not_told(tmp_path: Path) -> None:
    said = converge(tmp_path, "{{ instance.word | ansible.builtin.to_datetime }}", {"name": "alpha", "word": "hunter2"})
    assert said == "alpha: x.json.j2: The filter plugin 'ansible.builtin.to_datetime' failed: ValueError"


def test_what_the_lookup_secret_says_is_told_with_its_way_out(tmp_path: Path) -> None:
    vault = tmp_path / ".secrets" / "lab.yml"
    vault.parent.mkdir()
    vault.write_text("$ANSIBLE_VAULT;1.1;AES256\n6162\n")
    template = f"{{{{ lookup('fedlearn.infra.secret', 'token', party='lab', state_directory='{tmp_path}') }}}}"
    said = converge(tmp_path, template, {"name": "alpha"})
    assert f"{vault} " in said, said
    assert "give --vault-password-file FILE or --vault-id" in said, said
