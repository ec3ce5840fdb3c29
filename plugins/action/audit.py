# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Says what an audit looks for, and makes the report of what was found; runs once, on the control node.

Documentation: the module of this name.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible.utils.display import Display

from ansible_collections.fedlearn.infra.plugins.module_utils._audit.search import Searched, Sought, keyed
from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._audit import control_node, ports, rows
from ansible_collections.fedlearn.infra.plugins.plugin_utils._audit.rows import Row, Side
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange import agreement
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.folders import Own, taken
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.manifest import ExchangeError, digest
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation import loading
from ansible_collections.fedlearn.infra.plugins.plugin_utils._federation.model import Stack
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.names import taken_path
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.vaultfile import VaultFile, VaultTroubleError
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.keeping import keep

ARGUMENTS: dict[str, dict[str, Any]] = {
    "step": {"type": "str", "required": True, "choices": ["prepare", "report"]},
    "document": {"type": "path", "required": True},
    "exchange": {"type": "dict", "required": True},
    "state_directory": {"type": "path", "required": True},
    "backup_directory": {"type": "path", "required": True},
    "path": {"type": "path", "required": True},
    "max_skew_ms": {"type": "int", "default": 60000},
}
PROGRAMS = {"janus_instances": "janus", "dpsa_manager_instances": "dpsa-manager"}
MOST_ADDRESSES = 16
"""Of one host: it says itself which it has."""
NOT_WHOLLY = "not looked at, or not wholly"
NO_HOST = "this run has no host"
Hosts = Mapping[str, Mapping[str, Any]]


class ActionModule(ActionBase):  # type: ignore[misc]
    """Reads the control node's own files, the reports that were taken over, and what hosts of this run registered."""

    BYPASS_HOST_LOOP = True
    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_async = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """What hosts are asked, or the report; it fails where a row is violated."""
        super().run(tmp, task_vars)
        variables = task_vars or {}
        _validation, options = self.validate_argument_spec(argument_spec=ARGUMENTS)
        try:
            audit = Audit(options, variables, self._loader._vault)
            return audit.prepare() if options["step"] == "prepare" else audit.report()
        except loading.WrongDocumentError as error:
            raise AnsibleActionFail(str(error)) from None
        except (ExchangeError, VaultTroubleError, files.FileTroubleError) as error:
            raise AnsibleActionFail(str(error)) from None
        except OSError as error:
            raise AnsibleActionFail(f"{error.filename}: {error.strerror}") from None


class Audit:
    """One party's, in one run."""

    def __init__(self, options: Mapping[str, Any], variables: Mapping[str, Any], vault: Any) -> None:
        self.options, self.vault = options, vault
        self.exchange = options["exchange"]
        self.state = options["state_directory"]
        self.party = self.exchange.get("party", "")
        self.now = datetime.now(UTC).replace(microsecond=0)
        self.federation = loading.load(options["document"], state=self.state)
        self.key = self.federation.digest
        self.groups = variables["groups"]
        names = self.groups.get("federation_hosts", [])
        self.hosts: Hosts = {name: variables["hostvars"][name] for name in names}
        self.partners = self._partners()

    # ... what is asked

    def prepare(self) -> dict[str, Any]:
        """What hosts look for."""
        return {
            "changed": False,
            "sought": {"key": self.key, **self._theirs()},
            "own": {"key": self.key, "words": self._secrets()},
            "software": {name: control_node.programs(_programs(host))[0] for name, host in self.hosts.items()},
            "without": [told for told in self.partners.values() if isinstance(told, str)],
        }

    def _partners(self) -> dict[str, Side | str]:
        """The report of each other party that was taken over, or why there is none to go by."""
        own = Own(self.state, self.federation.name, self.party)
        found: dict[str, Side | str] = {}
        for party in self.exchange.get("partners", {}):
            manifest = taken(own, party)
            read = files.read(taken_path(self.state, party, rows.REPORT)) if manifest else None
            if manifest is None or read is None:
                found[party] = f"there is no report of {party}: have it audit and publish, and lay its folder here"
            elif digest(read.content) != manifest.files.get(rows.REPORT) or manifest.expires <= self.now:
                found[party] = f"the report of {party} isn't what it signed, or that has ended"
            else:
                found[party] = self._read(party, read.content)
        return found

    def _read(self, party: str, content: bytes) -> Side | str:
        try:
            side = rows.parse(content)
        except rows.AuditError as error:
            return f"{party}: {error}"
        if side.party != party:
            return f"the report of {party} says that it is of another party"
        return rows.trouble(side, self.federation.name, self.key, self.now) or side

    def _theirs(self) -> dict[str, dict[str, str]]:
        """What only another party may have."""
        found: dict[str, dict[str, str]] = {"words": {}, "commitments": {}, "publics": {}, "files": {}}
        for party, side in self.partners.items():
            for kind, names in side.sought.items() if isinstance(side, Side) else ():
                found[kind] |= {key: f"{party}: {name}" for key, name in names.items()}
        return found

    def _secrets(self) -> dict[str, str]:
        """The party's own secrets by their keyed hashes."""
        if not self.party:
            return {}
        values = VaultFile(self.state, self.party, self.vault).read()
        return {keyed(self.key, "secret", value): f"the secret {name}" for name, value in values.items()}

    # ... what was found

    def report(self) -> dict[str, Any]:
        """Both reports: of the own side, to be signed, and of both sides."""
        side = self._side()
        joined = rows.join(side, self.partners)
        told = {
            "form": rows.FORM,
            "federation": self.federation.name,
            "party": self.party,
            "made": f"{self.now:%Y-%m-%dT%H:%M:%SZ}",
            "head": " ".join(rows.HEAD),
            "rows": {name: found.told() for name, found in joined.items()},
        }
        text = rows.readable(self.federation.name, joined, self.now)
        _write(self.options["path"], told, text)
        Display().display(text)
        if self.party:
            keep(self.state, f"audit of party {self.party}", partial(self._publish, side.public()))
        violated = [name for name, found in joined.items() if found.status == "violated"]
        result: dict[str, Any] = {"changed": False, "report": told, "violated": violated}
        if violated:
            result |= {"failed": True, "msg": f"violated: {', '.join(violated)}; see {self.options['path']}"}
        return result

    def _publish(self, report: bytes) -> None:
        folder = files.directory(self.state, "public", self.party, create=True, foreign_write=0o002)
        files.write(str(Path(str(folder), rows.REPORT)), report, 0o644)

    def _side(self) -> Side:
        """What this party says of itself."""
        places = control_node.Places(self.state, self.federation.sources, self.options["backup_directory"])
        looked = {name: host.get("fedlearn_audited", {}) for name, host in self.hosts.items()}
        found = {
            "parties": rows.row(self._same_parties(), "they are in the document"),
            "reach": rows.row(self._reached(), f"hosts, vaults and keys of {self.party} alone are here"),
            "document": rows.row(self._document(), f"{self.key} is the one that was accepted"),
            **self._separation(places, looked),
            **self._state(looked),
        }
        return Side(
            self.federation.name,
            self.party,
            self.key,
            self.now,
            found,
            self._identity(places, looked),
            self._own(looked),
            tuple(_unseen(looked)),
        )

    def _same_parties(self) -> Iterator[str]:
        for stack in self.federation.stacks.values():
            if stack.kind == "dpsa" and {"leader", "helper"} <= stack.placements.keys():
                parties = {self._whose(stack, word) for word in ("leader", "helper")}
                if len(parties) == 1:
                    yield f"stack {stack.name}: leader and helper are both of {parties.pop()}"

    def _whose(self, stack: Stack, word: str) -> str:
        placement = stack.placements[word]
        return placement.party or self.federation.party_of(placement.hosts[0])

    def _reached(self) -> list[str]:
        """What this run could reach of anybody else."""
        if not self.party:
            return ["this run is no party's own: it has hosts of all of them (no `party:` in the file given with -i)"]
        mine = f"party_{loading.group_name(self.party)}"
        others = [name for name in self.groups if name.startswith("party_") and name != mine and self.groups[name]]
        found = [f"hosts of the group {name} are in the inventory of this run" for name in others]
        return found + control_node.other_parties_files(self.state, self.party)

    def _document(self) -> list[str]:
        found = [] if not self.party or self._accepted() else ["this document was not accepted here"]
        for party in self.exchange.get("partners", {}):
            manifest = taken(Own(self.state, self.federation.name, self.party), party)
            if manifest and manifest.document != self.key:
                found.append(f"{party} accepted another document: {manifest.document}")
        return found

    def _accepted(self) -> bool:
        former = agreement.accepted(self.state)
        return former is not None and digest(former) == self.key

    def _separation(self, places: control_node.Places, looked: Hosts) -> dict[str, Row]:
        """Nothing of another party is anywhere here."""
        sought = Sought(self.key, **self._theirs())
        unknown = self._unknown()
        on_hosts = Searched(
            [f"{name}: {line}" for name, host in looked.items() for line in host.get("found", ())],
            sum(host.get("searched", 0) for host in looked.values()),
            [f"{name}: {path}" for name, host in looked.items() for path in host.get("unread", ())],
        )
        unseen, git = _nobody(looked), control_node.no_git(places)
        return {
            "secrets on hosts": _searched(on_hosts, "; ".join(filter(None, (unknown, unseen)))),
            "secrets on the control node": _searched(control_node.search_files(places, sought), unknown),
            "secrets in backups": _searched(control_node.search_backups(places, sought), unknown),
            "secrets in git": _searched(control_node.search_git(places, sought), unknown or git),
        }

    def _unknown(self) -> str:
        """Of whom nobody said by what their secrets are known: of all, or of hosts of theirs."""
        partners = self.partners.values()
        missing = [told for told in partners if isinstance(told, str)]
        missing += [
            f"{rows.nobody_looked(side)}: by what their secrets are known isn't told"
            for side in partners
            if isinstance(side, Side) and side.unseen
        ]
        return "; ".join(missing)

    def _state(self, looked: Hosts) -> dict[str, Row]:
        """What hosts are like."""
        unseen = _nobody(looked)
        _sums, unknown = control_node.programs(each for host in self.hosts.values() for each in _programs(host))
        packed = f"the archives of {', '.join(unknown)} aren't on this control node" if unknown else ""
        count = sum(host.get("programs", 0) for host in looked.values())
        checks = [(name, check) for name, host in self.hosts.items() for check in host.get("fedlearn_checks", ())]
        unchecked = unseen or ("" if checks else "no role looked")
        return {
            "clocks": self._clocks(),
            "software": rows.row(_lines(looked, "software"), f"{count} files are as packed", unseen or packed),
            "configuration": rows.row(
                (f"{name}: {check['name']}: {check['detail']}" for name, check in checks if not check["passed"]),
                f"{len(checks)} checks of roles found nothing that differs",
                unchecked,
            ),
            "inner paths": self._inner_paths(looked, unseen),
            "logs": rows.row(
                _lines(looked, "leaks"),
                f"logs of {', '.join(looked)}: none",
                unseen,
                (f"{NOT_WHOLLY}: {line}" for line in _lines(looked, "unread_logs")),
            ),
        }

    def _clocks(self) -> Row:
        bound, told = self.options["max_skew_ms"], {}
        for name, host in self.hosts.items():
            clock = host.get("fedlearn_clock", {})
            if "skew_ms" in clock:
                told[name] = clock["skew_ms"]
        missing = [name for name in self.hosts if name not in told]
        unread = f"nobody read the clock of {', '.join(missing)}" if missing else "" if told else NO_HOST
        wrong = [f"{name}: {skew} ms from the control node's" for name, skew in told.items() if abs(skew) > bound]
        near = ", ".join(f"{name} {skew} ms" for name, skew in told.items())
        return rows.row(wrong, f"{near} from the control node's, {bound} ms are borne", unread)

    def _inner_paths(self, looked: Hosts, unseen: str) -> Row:
        """Every TCP port of every address that the host has, from here."""
        wrong, seen, unknown = [], [], [unseen] if unseen else []
        for name, host in looked.items():
            known, names = self._endpoints(name)
            addresses = host.get("identity", {}).get("addresses", [])
            if name not in _unseen(looked) and not addresses:
                unknown.append(f"{name} has no address that could be tried")
            if len(addresses) > MOST_ADDRESSES:
                unknown.append(f"{name}: of {len(addresses)} addresses only {MOST_ADDRESSES} were tried")
            for address in addresses[:MOST_ADDRESSES]:
                try:
                    there, found = ports.scan(address, known, names)
                except OSError as error:
                    unknown.append(f"{name}: {address} can't be tried from here: {error.strerror or error}")
                    continue
                wrong += [f"{name}: {line}" for line in found]
                seen.append(f"{address}: all 65535 tried, {', '.join(map(str, there))} are open")
                unknown += [] if there else [f"{name}: no port of {address} answers from here"]
            if not any(":" in address for address in addresses):
                seen.append(f"{name} has no IPv6 address beyond its link")
        return rows.row(wrong, "; ".join(seen), "; ".join(unknown))

    def _endpoints(self, host: str) -> tuple[list[int], list[str]]:
        """Ports that the document has on a host, that of ssh too, and names by which sites there are asked for."""
        variables = self.hosts[host]
        found, names = {int(variables.get("ansible_port") or 22)}, set()
        for expansion in self.federation.expansions.values():
            for component in expansion.components:
                if component.host == host and component.state == "present":
                    found |= {
                        end.port for end in component.endpoints if end.port and not end.address.startswith("127.")
                    }
                    names |= {name for end in component.endpoints for name in end.names}
        return sorted(found), sorted(names)

    # ... what others compare, and look for

    def _identity(self, places: control_node.Places, looked: Hosts) -> dict[str, dict[str, str]]:
        """By what the own side is known, keyed; the words stay here."""
        found: dict[str, dict[str, str]] = {kind: {} for kind in rows.DIFFER if looked or kind not in rows.OF_HOSTS}
        for name, host in looked.items():
            for kind, values in host.get("identity", {}).items():
                found[kind] |= {keyed(self.key, kind, value): f"{name}: {value}" for value in values}
        if self.party:
            found["CAs"] = control_node.authority_keys(self.state, self.party)
            found["vault files"] = control_node.own_files(self.state, self.party) | self._secrets()
        place = control_node.backup_destination(places.backups)
        found["backup destinations"] = {keyed(self.key, "backup destinations", place): place}
        return found

    def _own(self, looked: Hosts) -> dict[str, dict[str, str]]:
        """What others look for at theirs."""
        if not self.party:
            return {}
        publics = control_node.authority_keys(self.state, self.party)
        commitments: dict[str, str] = {}
        for name, host in looked.items():
            publics |= {key: f"{name}: the key of {path}" for key, path in host.get("publics", {}).items()}
            commitments |= {key: f"{name}: {told}" for key, told in host.get("commitments", {}).items()}
        return {
            "words": self._secrets(),
            "commitments": commitments,
            "publics": publics,
            "files": control_node.own_files(self.state, self.party),
        }


def _unseen(looked: Hosts) -> list[str]:
    """Hosts that nobody looked at."""
    return [name for name, host in looked.items() if "identity" not in host]


def _nobody(looked: Hosts) -> str:
    """The same in words; empty where all were looked at."""
    missing = _unseen(looked)
    return f"nobody looked at {', '.join(missing)}" if missing else "" if looked else NO_HOST


def _programs(host: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """What a host runs, and what that was packed in."""
    for variable, program in PROGRAMS.items():
        for instance in host.get(variable, ()):
            if "programs" in instance:
                yield program, instance["programs"]


def _lines(looked: Hosts, key: str) -> list[str]:
    return [f"{name}: {line}" for name, host in looked.items() for line in host.get(key, ())]


def _searched(result: Searched, unchecked: str) -> Row:
    skipped = [f"{NOT_WHOLLY}: {path}" for path in result.skipped]
    proof = f"{result.files} files were looked at, {len(skipped)} not wholly"
    return rows.row(result.found, proof, unchecked, skipped)


def _write(path: str, told: Mapping[str, Any], text: str) -> None:
    """The report as JSON, and for people beside it; each whole or not at all."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    for place, content in ((target, rows.as_json(told)), (target.with_suffix(".txt"), text)):
        with tempfile.NamedTemporaryFile("w", dir=target.parent, delete=False, encoding="utf-8") as stream:
            stream.write(content)
        Path(stream.name).replace(place)
