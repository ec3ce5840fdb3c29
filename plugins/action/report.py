# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Joins what the hosts of this run reported into one verdict; runs once, on the control node."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.fedlearn.infra.plugins.plugin_utils import judgement

Hosts = Mapping[str, Mapping[str, Any]]
NOT_LOOKED_AT = (
    {"name": "checks", "passed": False, "detail": "nobody looked: the host can't be reached, or --limit left it out"},
)


class ActionModule(ActionBase):
    """Action plugin behind M(fedlearn.infra.report)."""

    BYPASS_HOST_LOOP = True
    _supports_check_mode = True
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Write the report and return it; ``failed`` when a verify didn't pass."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, arguments = self.validate_argument_spec(
            argument_spec={
                "report": {"type": "str", "required": True, "choices": ["verify", "status", "backup"]},
                "mode": {"type": "str", "default": "probe", "choices": ["probe", "round"]},
                "stack": {"type": "str", "default": ""},
                "path": {"type": "path", "required": True},
            }
        )
        # a round is proven by all its participants; else nothing is said of hosts that --limit left out
        groups = [variables["groups"].get(name, []) for name in ("federation_hosts", "federation_clusters")]
        names = [*groups[0], *groups[1]] if arguments["mode"] == "round" else variables["ansible_play_hosts_all"]
        hosts = {name: variables["hostvars"][name] for name in names}
        if arguments["report"] == "verify":
            result = self._verify(hosts, arguments)
        elif arguments["report"] == "backup":
            result = backup_result(hosts, arguments["stack"], arguments["path"])
        else:  # with a stack, the play itself has narrowed the role variables
            replaced = {} if arguments["stack"] else {n: replaced_variables(variables["hostvars"], n) for n in names}
            result = self._status(hosts, arguments, replaced)
        write_json(arguments["path"], result["report"])
        return result

    def _verify(self, hosts: Hosts, arguments: Mapping[str, Any]) -> dict[str, Any]:
        stacks = dict(verify_entries(hosts, arguments["mode"], arguments["stack"]))
        report = {"federation": federation_name(hosts), "stacks": stacks}
        failed = [name for name, entry in stacks.items() if entry["passed"] is False]
        result: dict[str, Any] = {"changed": False, "report": report, "summary": judgement.summary(stacks)}
        if failed or not stacks:
            result.update(failed=True, msg=failure_message(stacks, failed, arguments["path"]))
        return result

    def _status(self, hosts: Hosts, arguments: Mapping[str, Any], replaced: Mapping[str, list[str]]) -> dict[str, Any]:
        stacks = status_entries(hosts, arguments["stack"], replaced)
        spare = {} if arguments["stack"] else spare_hosts(hosts, replaced)
        verdict = judgement.worst(entry["verdict"] for entry in (*stacks.values(), *spare.values()))
        report = {"verdict": verdict, "stacks": stacks, "hosts": spare}
        found = status_summary(verdict, stacks, spare, arguments["path"])
        return {
            "changed": False,
            "report": report,
            "summary": found,
            "ansible_stats": stats({"fedlearn_status": report}),
        }


def stats(data: Mapping[str, Any]) -> dict[str, Any]:
    """What makes ansible-playbook, and AWX as artifacts, carry ``data`` for the whole run."""
    return {"data": dict(data), "per_host": False, "aggregate": False}


def federation_name(hosts: Hosts) -> str:
    """The federation these hosts belong to."""
    return next((str(variables["fedlearn_federation"]) for variables in hosts.values()), "")


def stack_kinds(hosts: Hosts) -> dict[str, Mapping[str, Any]]:
    """Every stack of the federation with what the inventory says of it (``kind``, ``state``, ``real``, ``round``)."""
    found: dict[str, Mapping[str, Any]] = {}
    for variables in hosts.values():
        found.update(variables.get("fedlearn_stacks", {}))
    return found


def checks_of(hosts: Hosts, stack: str) -> list[judgement.Check]:
    """What the probes said on the hosts of one stack; a role's check holds for all stacks of its host."""
    return [
        judgement.check(f"{name}: {row['name']}", row["passed"], row["detail"])
        for name, variables in hosts.items()
        if stack in variables.get("fedlearn_stacks", {})
        for row in [*variables.get("fedlearn_checks", NOT_LOOKED_AT), *failures_of(variables)]
    ]


def simulated_of(hosts: Hosts, stack: str) -> list[str]:
    """What of a stack is said to run in clusters that run nothing."""
    found = [variables for variables in hosts.values() if stack in variables.get("fedlearn_stacks", {})]
    return [name for variables in found for name in variables.get("fedlearn_simulated", [])]


def failures_of(variables: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What could not be brought for the round on one host, as checks that failed."""
    return [
        {"name": row["role"], "passed": False, "detail": row["reason"]}
        for row in variables.get("fedlearn_failures", [])
    ]


def known_round(hosts: Hosts, stack: str, facts: Mapping[str, Any], source: str, mode: str) -> judgement.Round | None:
    """The known numbers of a stack's round (``fedlearn_verify`` or ``fedlearn_known``), with all hosts' rows."""
    known: judgement.Round | None = None
    for name, variables in hosts.items():
        expected = variables.get(source, {}).get(stack)
        if expected is None:
            continue
        if known is None:
            known = judgement.Round(
                facts["kind"],
                mode,
                facts["real"],
                expected["expected"],
                expected["max_error"],
                expected["seed"],
                0,
                conditions=expected.get("conditions", {}),
            )
        known.participants += len(expected["results"])
        rows = variables.get("fedlearn_results", {}).get(source, {}).get(stack, [])
        known.rows += [{**row, "instance": f"{row['instance']} on {name}"} for row in rows]
    return known


def verify_entries(hosts: Hosts, mode: str, stack: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The stacks' entries of verify.json; a deployed stack that trained a known task has a row of its own."""
    for name, facts in stack_kinds(hosts).items():
        if stack and name != stack:
            continue
        checks, simulated = checks_of(hosts, name), simulated_of(hosts, name)
        real = facts["real"] and not simulated
        brings = mode == "round" and not simulated
        known = known_round(hosts, name, facts, "fedlearn_verify", "round") if brings else None
        if known:
            yield name, judgement.judge_round(known, checks)
        elif mode == "round" and facts["state"] == "present" and (simulated or not facts["round"]):
            yield name, judgement.judge_without_round(facts["kind"], checks, simulated)
        else:
            yield name, judgement.judge_probe(facts["kind"], real, checks)
        deployed = known_round(hosts, name, facts, "fedlearn_known", "deployed") if mode == "round" else None
        if deployed:
            yield f"{name} (deployed)", judgement.judge_round(deployed, [])


def backup_result(hosts: Hosts, stack: str, path: str) -> dict[str, Any]:
    """Which file holds the data of what, and what could not be brought."""
    stacks = {
        name: {"kind": facts["kind"], "files": list(backup_files(hosts, name)), "checks": checks_of(hosts, name)}
        for name, facts in stack_kinds(hosts).items()
        if stack in ("", name)
    }
    for entry in stacks.values():
        entry["passed"] = all(row["passed"] for row in entry["checks"])
    failed = [name for name, entry in stacks.items() if not entry["passed"]]
    report = {"verdict": "failed" if failed else "ok", "federation": federation_name(hosts), "stacks": stacks}
    told = [
        f"{name}: {', '.join(file['path'] for file in entry['files']) or 'no data'}" for name, entry in stacks.items()
    ]
    result: dict[str, Any] = {"changed": False, "report": report, "summary": told}
    if failed:
        result.update(failed=True, msg=failure_message(stacks, failed, path, "backup"))
    return result


def backup_files(hosts: Hosts, stack: str) -> Iterator[dict[str, Any]]:
    """The files that were brought of a stack's hosts; one may hold other stacks' data too, where these share a host."""
    for host, variables in hosts.items():
        for row in variables.get("fedlearn_checks", []) if stack in variables.get("fedlearn_stacks", {}) else []:
            if row.get("file"):
                with Path(row["file"]).open("rb") as stream:
                    digest = hashlib.file_digest(stream, "sha256").hexdigest()
                size = Path(row["file"]).stat().st_size
                yield {"host": host, "role": row["name"], "path": row["file"], "bytes": size, "sha256": digest}


def failure_message(stacks: Mapping[str, Any], failed: list[str], path: str, what: str = "verify") -> str:
    """One line a failed check, so that the reader needs no other file to see the number."""
    if not stacks:
        return "nothing was verified: the inventory names no stack (or none that -e stack= chooses)"
    lines = [
        f"{name}: {row['name']}: {row['detail']}".replace("\n", "\n    ")
        for name in failed
        for row in stacks[name]["checks"]
        if not row["passed"]
    ]
    return "\n".join([f"{what} failed ({path}):", *lines])


def replaced_variables(hostvars: Any, name: str) -> list[str]:
    """The role variables of a host that host_vars or -e replaced: it then runs what no document says."""
    # Ansible has no public door to what an inventory plugin set
    derived = hostvars._inventory.get_host(name).vars
    now = hostvars.raw_get(name)
    return sorted(key for key in derived.get("fedlearn_variables", []) if now[key] != derived[key])


def status_entries(hosts: Hosts, stack: str, replaced: Mapping[str, list[str]]) -> dict[str, Any]:
    """What runs of each stack, per host, and the worst of it as the stack's verdict."""
    entries: dict[str, Any] = {}
    for name, facts in stack_kinds(hosts).items():
        if stack and name != stack:
            continue
        rows = {
            host: host_status(variables, replaced.get(host, []))
            for host, variables in hosts.items()
            if name in variables.get("fedlearn_stacks", {})
        }
        for host, words in judgement.clocks_apart(rows).items():
            rows[host]["warnings"].append(words)
        entries[name] = {
            "kind": facts["kind"],
            "verdict": judgement.worst(row["verdict"] for row in rows.values()),
            "hosts": rows,
        }
    return entries


def spare_hosts(hosts: Hosts, replaced: Mapping[str, list[str]]) -> dict[str, Any]:
    """What is on hosts that no stack has: what a former document brought may still run there."""
    return {
        host: host_status(variables, replaced.get(host, []))
        for host, variables in hosts.items()
        if not variables.get("fedlearn_stacks")
    }


def host_status(variables: Mapping[str, Any], replaced: list[str]) -> dict[str, Any]:
    """One host's status: what isn't well and how, what is ours and in no document any more.

    Overrides are no drift: drop-ins that others laid over our units, and role variables that were `replaced`.
    """
    if not variables.get("fedlearn_reached", False):
        return {"verdict": "unreachable"}
    checks = variables.get("fedlearn_checks", [])
    unwell = [{"role": check["name"], **row} for check in checks for row in check.get("unwell", [])]
    status = dict(variables.get("fedlearn_host_status", {}))
    verdict = judgement.host_verdict(unwell, status.get("orphans", []))
    status["overrides"] = [*status.get("overrides", []), *(f"variable {name}" for name in replaced)]
    certificates, told = status.pop("certificates", {}), status.pop("told", {})
    now = datetime.now(tz=UTC)
    status["certificate_days"] = judgement.certificate_days(certificates, now)
    status["revocation_list_days"] = judgement.list_days(certificates, now)
    return {
        "verdict": verdict,
        "unwell": unwell,
        **status,
        "warnings": [*judgement.warnings(status), *(f"{name}: {words}" for name, words in sorted(told.items()))],
    }


def status_summary(verdict: str, stacks: Mapping[str, Any], spare: Mapping[str, Any], path: str) -> list[str]:
    """The verdict and where all of it stands, then one line for each that isn't as it is to be; a host is told once."""
    hosts = {name: row for entry in stacks.values() for name, row in entry["hosts"].items()} | spare
    lines = [f"{verdict}: see {path}"]
    for name, row in hosts.items():
        if row["verdict"] == "unreachable":
            lines.append(f"{name}: unreachable")
            continue
        lines += [f"{name}: {line}" for line in judgement.told(row["unwell"])]
        lines += [f"{name}: {orphan['name']}: orphan: {orphan['kind']}" for orphan in row.get("orphans", [])]
    return lines


def write_json(path: str, content: Mapping[str, Any]) -> None:
    """Write atomically, so that a reader never sees half a report."""
    directory = Path(path).parent
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=directory, delete=False, encoding="utf-8") as stream:
        json.dump(content, stream, indent=2, sort_keys=True)
        stream.write("\n")
    written = Path(stream.name)
    written.chmod(0o644)
    written.replace(path)
