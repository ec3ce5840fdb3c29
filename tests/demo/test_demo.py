# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a standing demo is to be: unchanged by a second run, listening where it should, and telling no secret."""

from __future__ import annotations

import json
import re
import uuid
from pathlib import Path
from typing import Any

import pytest
import yaml
from standing_demo import CHECKOUT, ITERATIONS, Changed, Demo, last_line, recap

MOST_EXECUTIONS = 12

# Every file that is ours, with content, mode, owner and time; and every unit's process with its start.
STATE = r"""
find /etc/fedlearn /opt/fedlearn -type f ! -name '*.lock' -printf '%p %m %U:%G %T@ ' -exec sha256sum {} \; | sort
for unit in $(systemctl list-units --plain --no-legend 'fedlearn-*' nginx.service | cut -d' ' -f1); do
    echo "$unit $(systemctl show -p MainPID,ExecMainStartTimestampMonotonic --value "$unit" | tr '\n' ' ')"
done
"""


@pytest.fixture(scope="session")
def report(demo: Demo) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CHECKOUT / "build" / "demo" / "verify.json").read_text())
    return found


def test_the_round_ended_with_the_known_numbers(report: dict[str, Any]) -> None:
    round_, deployed = report["stacks"]["lenet"], report["stacks"]["lenet (deployed)"]
    for entry in (round_, deployed):
        assert entry["real"] is True
        assert entry["passed"] is True
        assert entry["expected"] == [1.0, -2.0, 3.0, 0.5]
        assert entry["max_error"] <= 0.05
    assert len(round_["workers"]) == 2
    for worker in round_["workers"]:
        assert max(abs(own - want) for own, want in zip(worker["own"], round_["expected"], strict=True)) > 0.3


def test_a_second_site_changes_nothing_and_is_few_executions(demo: Demo) -> None:
    before = {host: demo.run(host, STATE) for host in demo.hosts}
    second = demo.playbook("site.yml")
    assert second.returncode == 0, second.output
    assert {host: row["changed"] for host, row in recap(second.output).items()} == dict.fromkeys(
        ("localhost", *demo.hosts), 0
    )
    counts = second.per_host()
    assert len(counts) == len(demo.hosts)
    assert max(counts.values()) <= MOST_EXECUTIONS, counts
    for host in demo.hosts:
        assert "fedlearn-" in before[host]
        assert demo.run(host, STATE) == before[host]


def test_check_mode_reports_nothing(demo: Demo) -> None:
    checked = demo.playbook("site.yml", "--check", "--diff")
    assert checked.returncode == 0, checked.output
    assert {row["changed"] for row in recap(checked.output).values()} == {0}


def test_status_says_ok_in_its_last_line_and_tells_overrides(demo: Demo) -> None:
    dropin = "/etc/systemd/system/fedlearn-demo-lenet-redis.service.d/note.conf"
    lay = f"mkdir {Path(dropin).parent}; printf '[Unit]\\nDocumentation=man:redis-server\\n' > {dropin}"
    demo.run("ms1", f"{lay}; systemctl daemon-reload")
    try:
        status = demo.playbook("fedlearn.infra.status")
    finally:
        demo.run("ms1", f"rm -r {Path(dropin).parent}; systemctl daemon-reload")
    assert status.returncode == 0, status.output
    last = last_line(status)
    assert last["verdict"] == "ok"
    overrides = {host: row["overrides"] for host, row in last["stacks"]["lenet"]["hosts"].items()}
    assert overrides == {"ms1": [dropin], "ms2": [], "ms3": []}


def test_precheck_finds_nothing(demo: Demo) -> None:
    found = demo.playbook("fedlearn.infra.precheck")
    assert found.returncode == 0, found.output
    assert {row["changed"] for row in recap(found.output).values()} == {0}


@pytest.mark.parametrize("host", Demo.hosts)
def test_listens_only_where_the_document_says(demo: Demo, host: str) -> None:
    endpoints = demo.variables(host)["fedlearn_endpoints"]["lenet"]
    derived = {row["bind"] for rows in endpoints.values() for row in rows if row["host"] == host}
    listening = {line.split()[4]: line for line in demo.run(host, "ss -ltnupH").splitlines()}
    # sshd and the container engine's resolver are the host's own; a MindSpore server's TCP port is the program's choice
    foreign = ("0.0.0.0:22", "[::]:22", "127.0.0.11:")
    ours = {place: line for place, line in listening.items() if not place.startswith(foreign)}
    address = demo.variables(host)["ansible_host"]
    chosen = {
        place
        for place, line in ours.items()
        if "python" in line and place.startswith(f"{address}:") and int(place.rpartition(":")[2]) >= 32768
    }
    assert derived
    assert set(ours) - chosen == derived
    assert len(chosen) == (1 if host in ("ms2", "ms3") else 0)


SEARCH = """
cat > /tmp/needles; chmod 0600 /tmp/needles
for place in $(ls -d /proc/[0-9]*); do tr '\\0' ' ' < $place/cmdline 2>/dev/null; echo; done \\
    | grep -qF -f /tmp/needles && echo FOUND: ps
journalctl --no-pager -o cat | grep -qF -f /tmp/needles && echo FOUND: journal
grep -rqF -f /tmp/needles /etc/systemd /run/systemd/system && echo FOUND: units
find / -xdev -type f -perm /o=r -size -1024k ! -path '/proc/*' ! -path '/sys/*' ! -path /tmp/needles \
    ! -path '/usr/*' -exec grep -lF -f /tmp/needles {} + | sed 's/^/FOUND: /'
rm -f /tmp/needles
exit 0
"""


def search(demo: Demo, host: str, needles: list[str]) -> str:
    """Where any of the needles can be seen by others than root."""
    lines = "\n".join(needles)
    return demo.run(
        host, SEARCH.replace("cat > /tmp/needles", f"cat > /tmp/needles <<'NEEDLES'\n{lines}\nNEEDLES\ntrue")
    )


@pytest.mark.parametrize("host", Demo.hosts)
def test_no_secret_can_be_seen_by_others_than_root(demo: Demo, host: str) -> None:
    known = list(demo.secrets().values())
    assert known
    assert min(map(len, known)) >= 16
    made_here = demo.run(host, "cat /etc/fedlearn/demo/pki/*/*.password").split()
    assert made_here
    keys = demo.run(host, "for key in /etc/fedlearn/demo/pki/*/key.pem; do sed -n 2p $key; done").split()
    assert keys
    needles = [*known, *made_here, *keys]
    demo.run(host, f"echo 'a leak: {made_here[0]}' > /var/tmp/planted; chmod 0644 /var/tmp/planted")
    assert "FOUND: /var/tmp/planted" in search(demo, host, needles), "the search finds nothing, so it proves nothing"
    demo.run(host, "rm /var/tmp/planted")
    assert "FOUND" not in search(demo, host, needles)


def test_the_search_finds_what_is_planted_wherever_it_looks(demo: Demo) -> None:
    needle = f"planted-{uuid.uuid4().hex}"
    unit = "/run/systemd/system/leak.service"
    shown = f"systemd-run --quiet --unit=leak-shown sh -c 'sleep 60; : {needle}'"
    demo.run("ms1", f"umask 077; echo '# {needle}' > {unit}; echo {needle} | logger; {shown}")
    try:
        found = search(demo, "ms1", [needle])
    finally:
        demo.run("ms1", f"rm {unit}; systemctl stop leak-shown")
    assert {"FOUND: ps", "FOUND: journal", "FOUND: units"} <= set(found.splitlines())


def test_verbose_output_with_differences_tells_no_secret(demo: Demo, document: Changed) -> None:
    password = "/etc/fedlearn/demo/pki/demo-lenet-server/bundle.password"
    by_hand = "changed-by-hand-9f31c5"
    demo.run("ms2", f"cp -p {password} /root/kept; echo {by_hand} > {password}")
    try:
        shown = demo.playbook(
            "site.yml", "-vvv", "--diff", "--check", inventory=document((ITERATIONS, "fl_iteration_num: 5"))
        )
        kept = demo.run("ms2", "cat /root/kept").strip()
    finally:
        demo.run("ms2", f"mv /root/kept {password}")
    assert shown.returncode == 0
    assert "+fl_iteration_num: 5" in shown.output, "no difference is shown, so this proves nothing"
    for name, secret in {**demo.secrets(), "made on the host": kept, "changed by hand": by_hand}.items():
        assert secret not in shown.output, name


def test_facts_and_variables_hold_no_secret(demo: Demo, tmp_path: Path) -> None:
    everything = {
        "hosts": "all",
        "gather_facts": True,
        "tasks": [{"ansible.builtin.debug": {"var": "hostvars[inventory_hostname]"}}],
    }
    book = tmp_path / "facts.yml"
    book.write_text(yaml.safe_dump([{"ansible.builtin.import_playbook": "fedlearn.infra.site"}, everything]))
    shown = demo.playbook(str(book))
    assert shown.returncode == 0, shown.output
    assert re.search(r"distribution\W+Debian", shown.output), "no facts are shown, so this proves nothing"
    assert "mindspore_server_converged" in shown.output
    for name, secret in demo.secrets().items():
        assert secret not in shown.output, name


@pytest.mark.parametrize("host", Demo.hosts)
def test_units_are_hardened(demo: Demo, host: str) -> None:
    units = demo.run(host, "systemctl list-unit-files --plain --no-legend 'fedlearn-*' | cut -d' ' -f1").split()
    assert units
    for unit in units:
        verdict = demo.run(host, f"systemd-analyze security --no-pager {unit} | tail -1")
        exposure = float(re.findall(r"([0-9]+\.[0-9]+)", verdict)[0])
        assert exposure <= 2.5, f"{unit}: {verdict}"


def copy_of_inventory(demo: Demo, folder: Path, change: dict[str, dict[str, Any]]) -> Path:
    """The demo's inventory with other variables for some hosts: what is derived stays derived."""
    demo.beside(folder)
    (folder / "federation.yml").symlink_to(demo.inventory / "federation.yml")
    (folder / "host_vars").mkdir()
    for host, values in change.items():
        (folder / "host_vars" / f"{host}.yml").write_text(yaml.safe_dump(values))
    return folder / "federation.yml"


def test_a_worker_with_other_data_is_seen_by_the_number(demo: Demo, tmp_path: Path) -> None:
    change: dict[str, dict[str, Any]] = {host: dict(demo.ssh()) for host in demo.hosts}
    verify = demo.variables("ms3")["fedlearn_verify"]
    worker = verify["lenet"]["variables"]["mindspore_worker_instances"][0]
    worker["application"]["settings"]["offset"] = [3.0, 3.0, 3.0, 3.0]
    change["ms3"]["fedlearn_verify"] = verify
    inventory = copy_of_inventory(demo, tmp_path, change)
    judged = demo.playbook(
        "fedlearn.infra.verify", "-e", "verify=round", "-e", f"fedlearn_build={tmp_path / 'build'}", inventory=inventory
    )
    assert judged.returncode == 2, judged.output
    entry = json.loads((tmp_path / "build" / "demo" / "verify.json").read_text())["stacks"]["lenet"]
    assert entry["passed"] is False
    assert {worker["outcome"] for worker in entry["workers"]} == {"finished"}
    assert entry["max_error"] > 1
    assert "off by" in judged.output
    assert "timed out" not in judged.output


def test_a_round_with_a_worker_left_out_is_seen_by_the_number(demo: Demo, tmp_path: Path) -> None:
    change: dict[str, Any] = {}
    for host in demo.hosts:
        verify = demo.variables(host)["fedlearn_verify"]
        for instances in verify["lenet"]["variables"].values():
            for instance in instances:
                if "settings" in instance:
                    instance["settings"]["round"]["start_fl_job_threshold"] = 1
        if host == "ms3":
            verify["lenet"]["variables"]["mindspore_worker_instances"] = []
            verify["lenet"]["results"] = []
        change[host] = {**demo.ssh(), "fedlearn_verify": verify}
    inventory = copy_of_inventory(demo, tmp_path, change)
    judged = demo.playbook(
        "fedlearn.infra.verify", "-e", "verify=round", "-e", f"fedlearn_build={tmp_path / 'build'}", inventory=inventory
    )
    assert judged.returncode == 2, judged.output
    entry = json.loads((tmp_path / "build" / "demo" / "verify.json").read_text())["stacks"]["lenet"]
    assert entry["passed"] is False
    assert [worker["outcome"] for worker in entry["workers"]] == ["finished"]
    assert 0.3 < entry["max_error"] < 0.7


REDIS_KEYS = """
cd /etc/fedlearn/demo/pki/demo-lenet-scheduler-store
tls='--tls --cacert ca.pem --cert cert.pem --key key.pem'
redis-cli -h 10.20.0.11 -p 23456 $tls --scan --pattern 'ms_fl:NAME:*' | sort
"""
CLUSTER_STATE = r"""
python3 - <<'PYTHON'
import json, ssl, urllib.request
context = ssl.create_default_context(cafile="/etc/fedlearn/demo/pki/demo-lenet-scheduler/ca.pem")
state = json.load(urllib.request.urlopen("https://127.0.0.1:11202/state", context=context))
print(state["cluster_state"], sorted(node["tcp_address"] for node in state["nodes"]))
PYTHON
"""
CHECKPOINTS = r"find /var/lib/private -name '*.ckpt' -path '*demo-lenet-*' -printf '%p %T@\n' | sort"


def test_the_deployed_stack_notices_nothing_of_a_round(demo: Demo) -> None:
    def seen() -> list[str]:
        central = [demo.run("ms1", REDIS_KEYS.replace("NAME", "lenet")), demo.run("ms1", CLUSTER_STATE)]
        return central + [demo.run(host, STATE + CHECKPOINTS) for host in demo.hosts]

    before = seen()
    assert "ms_fl:lenet:" in before[0]
    assert "CLUSTER_" in before[1]
    assert ".ckpt" in before[3]
    judged = demo.playbook("fedlearn.infra.verify", "-e", "verify=round")
    assert judged.returncode == 0, judged.output
    assert seen() == before
    assert demo.run("ms1", REDIS_KEYS.replace("NAME", "verify-lenet")) == ""
    for host in demo.hosts:
        places = "systemctl list-units --all --plain --no-legend 'fedlearn-*'; ls /etc/fedlearn/demo /var/lib"
        assert "verify" not in demo.run(host, places)
