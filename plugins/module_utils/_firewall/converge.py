# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One federation's part of a host's firewall, made as it is asked for.

/etc/fedlearn/<federation>/firewall.nft          its table, as its unit loads it
/etc/fedlearn/firewall.nft                       the host's one table, where a federation asks for the default drop
/var/lib/fedlearn/<federation>/firewall.json     what it claims, for other federations' tables to respect

Rules that drop are loaded first, and written down only once the controller has come anew and confirmed them.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.fedlearn.infra.plugins.module_utils._firewall import host, kernel, leaving, rules
from ansible_collections.fedlearn.infra.plugins.module_utils._service import files, state, units
from ansible_collections.fedlearn.infra.plugins.module_utils._service.files import ServiceError

_HEAD = """\
# Managed by the fedlearn.infra.firewall role: changes made here are put back.
[Unit]
DefaultDependencies=no
"""
_HARDENED = """\
DynamicUser=yes
UMask=0077

# the right to change the rules of this very network: so neither PrivateNetwork nor PrivateUsers
AmbientCapabilities=CAP_NET_ADMIN
CapabilityBoundingSet=CAP_NET_ADMIN
IPAddressDeny=any
LockPersonality=yes
MemoryDenyWriteExecute=yes
NoNewPrivileges=yes
PrivateDevices=yes
PrivateTmp=yes
ProcSubset=pid
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
ProtectSystem=strict
RemoveIPC=yes
RestrictAddressFamilies=AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallErrorNumber=EPERM
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
"""
UNIT = f"""\
{_HEAD}Description={{what}}
Wants=network-pre.target
After=local-fs.target nftables.service
# nothing stops it at a shutdown: what it guards may go on until the end
Before=network-pre.target sysinit.target
# which empties all tables
ReloadPropagatedFrom=nftables.service

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart={{nft}} -f {{path}}
ExecReload={{nft}} -f {{path}}
ExecStop=-{{nft}} delete table inet {{table}}
{_HARDENED}
[Install]
WantedBy=sysinit.target
"""
AGAIN = f"""\
{_HEAD}Description={{what}}, again
# whose start empties all tables
After=nftables.service {{unit}}

[Service]
Type=oneshot
ExecStart={{nft}} -f {{path}}
{_HARDENED}
[Install]
WantedBy=nftables.service
"""


@dataclass
class Part:
    """A table with the unit that brings it back at a boot; without ``table`` it is to go."""

    federation: str | None
    table: rules.Table | None
    differing: list[str] = field(default_factory=list)  # files
    loaded: bool = True  # in the kernel, as wanted
    running: bool = True  # the unit, and enabled

    @property
    def name(self) -> str:
        """Its table's name."""
        return rules.table_name(self.federation) if self.federation else rules.HOST_TABLE

    @property
    def path(self) -> str:
        """Its table's file."""
        return f"/etc/fedlearn/{self.federation}/firewall.nft" if self.federation else "/etc/fedlearn/firewall.nft"

    @property
    def unit(self) -> str:
        """Its unit's name."""
        return f"fedlearn-{self.federation}-firewall.service" if self.federation else "fedlearn-firewall.service"

    def files(self, nft: str) -> dict[str, str]:
        """Its files with their texts; none where it is to go."""
        if self.table is None:
            return {}
        what = f"Firewall of the federation {self.federation}" if self.federation else "Firewall of what nobody names"
        words = {"what": what, "nft": nft, "path": self.path, "table": self.name, "unit": self.unit}
        texts = (self.table.text, UNIT.format(**words), AGAIN.format(**words))
        return dict(zip(self.paths, texts))

    @property
    def units(self) -> list[str]:
        """Its units: the one that loads the table at a boot, and the one that does when Debian's own was started."""
        return [self.unit, self.unit.replace(".service", "-again.service")]

    @property
    def paths(self) -> list[str]:
        """Where its files are."""
        return [self.path, *(f"{units.PERMANENT}/{unit}" for unit in self.units)]


class Firewall:
    """What a host has and what it is to have, from one federation's side."""

    def __init__(self, federation: str, content: dict[str, Any], program: str, *, keep_left: bool = False) -> None:
        self.federation = federation
        self.nft = kernel.Nft(program)
        self.around = host.surroundings()
        self.owned = state.Owned(federation)
        self.left = self._left(content, keep_left)
        self.content = {**content, "services": [*content["services"], *self.left]}
        self.claims = [self._read(name, one) for name, one in sorted(self._claimed().items())]
        self.wanted = rules.tables(self.claims, self.around)
        self.parts = self._parts()

    # --- what is claimed

    def _left(self, content: dict[str, Any], keep: bool) -> list[dict[str, Any]]:
        """What its services leave and the host may still have: all of it, or that which owned.json knows of."""
        former = (state.load(self._claim_path(self.federation)) or {}).get("claim", {})
        if "off" in (content["mode"], former.get("mode", "off")):
            return []
        self._read(self.federation, former)
        left = leaving.left(former["services"], content["services"], self.around)
        owned = [port for service in self.owned.services.values() for port in service.get("ports", [])]
        return left if keep else leaving.listened_on(left, owned, self.around)

    def _claimed(self) -> dict[str, dict[str, Any]]:
        """What each federation of this host claims, this one as it is now asked for."""
        found = {self.federation: self.content} if self.content["mode"] != "off" else {}
        for name in state.federations():
            held = state.load(self._claim_path(name)) if name != self.federation else None
            if held is not None:
                found[name] = held.get("claim", {})
        return found

    def _read(self, federation: str, content: dict[str, Any]) -> rules.Claim:
        try:
            return rules.claim_of(federation, content, self.around)
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            path = self._claim_path(federation)
            raise ServiceError(
                f"{path}: is damaged ({error}): move it away, and run the role for '{federation}' again"
            ) from None

    @staticmethod
    def _claim_path(federation: str) -> str:
        return f"{state.ROOT}/{federation}/firewall.json"

    def _claim_text(self) -> str:
        return json.dumps({"version": state.VERSION, "claim": self.content}, indent=1, sort_keys=True) + "\n"

    # --- comparing

    def _parts(self) -> list[Part]:
        """The parts this run is about: its own, and others' that change with it."""
        own = Part(self.federation, self.wanted.get(rules.table_name(self.federation)))
        everybodys = Part(None, self.wanted.get(rules.HOST_TABLE))
        found = [own]
        if self.content["default_drop"] or self._is_rewritten(everybodys):
            found.append(everybodys)
        others = [Part(one.federation, self.wanted.get(rules.table_name(one.federation))) for one in self.claims]
        return found + [one for one in others if one.federation != self.federation and self._is_rewritten(one)]

    def _is_rewritten(self, part: Part) -> bool:
        """Whether a part that isn't ours alone has another text now; what else became of it is for others to say."""
        present = files.read(part.path).decode("utf-8", "replace")
        return present != (part.table.text if part.table else "")

    def compare(self) -> None:
        """Looks at files, units and the kernel."""
        kept = [part for part in self.parts if part.table]
        for part in self.parts:
            wanted = part.files(self.nft.program)
            gone = [path for path in part.paths if path not in wanted and os.path.lexists(path)]
            part.differing = gone + [path for path, text in wanted.items() if not _is_as_wanted(path, text)]
        shown = units.show([unit for part in self.parts for unit in part.units])
        for part in self.parts:
            found = [shown[unit] for unit in part.units]
            is_up = found[0].active == "active" and all(one.is_enabled and not one.needs_reload for one in found)
            part.running = is_up if part.table else all(one.load == "not-found" for one in found)
        if not self.nft.is_there:
            for part in kept:
                part.loaded = False
            return
        present = self.nft.names()
        would = self.nft.would_list(part.table for part in kept if part.table) if kept else {}
        for part in self.parts:
            there = part.name in present
            part.loaded = there and self.nft.listing(part.name) == would[part.name] if part.table else not there

    def claim_differs(self) -> bool:
        """Whether what this host knows of the federation's claim is another."""
        path = self._claim_path(self.federation)
        if not self._own_part.table and not self.content["default_drop"]:
            return os.path.lexists(path) or self._name in self.owned.services
        return not _is_as_wanted(path, self._claim_text()) or self._entry_differs()

    @property
    def _own_part(self) -> Part:
        return self.parts[0]

    @property
    def differing(self) -> list[str]:
        """In words, all that isn't as it is to be."""
        found = []
        for part in self.parts:
            found += part.differing
            found += [] if part.loaded else [f"table {part.name}"]
            found += [] if part.running or set(part.paths[1:]) & set(part.differing) else [part.unit]
        return found + ([self._claim_path(self.federation)] if self.claim_differs() else [])

    # --- the kernel

    @property
    def to_load(self) -> list[Part]:
        """Parts whose table isn't the kernel's."""
        return [part for part in self.parts if not part.loaded]

    @property
    def cuts(self) -> bool:
        """Whether what is to be loaded could cut somebody off."""
        return any(part.table is not None and part.table.drops for part in self.to_load)

    def strangers(self) -> list[str]:
        """Who would lose its clients, and is none of ours."""
        return host.strangers([claim for claim in self.claims if claim.mode == "enforce"])

    def load(self) -> None:
        """Puts all tables in place of the former ones at once."""
        texts = (part.table.text if part.table else rules.emptied(part.name) for part in self.to_load)
        self.nft.load("".join(texts))
        state.point("loaded", self.federation)

    def prove_writable(self) -> None:
        """What can't be written down isn't loaded."""
        for part in self.parts:
            for path, text in part.files(self.nft.program).items():
                if path in part.differing:
                    files.stage(_file(path, text))
                    files.remove(files.staged_path(path))

    # --- writing down

    @property
    def _name(self) -> str:
        """What owned.json calls it."""
        return f"{self.federation}-firewall"

    def _entry(self) -> dict[str, Any]:
        parts = [part for part in (Part(self.federation, self._own_part.table), Part(None, None)) if self._has(part)]
        return {
            "units": [unit for part in parts for unit in part.units],
            "unit": None,
            "type": "oneshot",
            "files": [path for part in parts for path in part.paths] + [self._claim_path(self.federation)],
            "ports": [],
            "data": [],
            "validate": [],
            "transient": False,
            "directories": [f"/etc/fedlearn/{self.federation}", "/etc/fedlearn"],
        }

    def _has(self, part: Part) -> bool:
        return part.table is not None if part.federation else bool(self.content["default_drop"])

    def _entry_differs(self) -> bool:
        return self.owned.services.get(self._name) != self._entry()

    def write(self) -> None:
        """Writes down what is loaded, so that a boot brings it back; what is to go goes."""
        written = False
        for part in self.parts:
            for path, text in part.files(self.nft.program).items():
                if path in part.differing:
                    files.write_atomically(path, text.encode(), 0o644)
                    written = True
        self._claim()
        if written:
            units.reload_manager()
        for part in self.parts:
            (self._bring_up if part.table else self._take_away)(part)
        state.point("written", self.federation)

    @staticmethod
    def _bring_up(part: Part) -> None:
        """Has the unit load the table once itself, so that a boot is known to."""
        if part.differing or not part.running:
            units.must("enable", *part.units)
            units.must("reload-or-restart", part.unit)

    def _take_away(self, part: Part) -> None:
        if any(unit.load != "not-found" for unit in units.show(part.units).values()):
            units.verb("disable", "--now", *part.units)
        gone = [files.remove(path) for path in part.paths]
        if any(gone):
            units.reload_manager()
            units.verb("reset-failed", *part.units)
        if self.nft.is_there and part.name in self.nft.names():
            self.nft.load(rules.emptied(part.name))

    def _claim(self) -> None:
        """What other federations' runs, and removals of orphans, go by."""
        path = self._claim_path(self.federation)
        if self._own_part.table or self.content["default_drop"]:
            files.write_atomically(path, self._claim_text().encode(), 0o644)
            if self._entry_differs():
                self.owned.services[self._name] = self._entry()
                self.owned.save()
        else:
            files.remove(path)
            entry = self.owned.services.pop(self._name, None)
            if entry is not None:
                self.owned.save()

    def tidy(self) -> None:
        """Removes directories that nothing lies in any more."""
        for directory in (f"/etc/fedlearn/{self.federation}", "/etc/fedlearn", f"{state.ROOT}/{self.federation}"):
            files.remove_empty(directory)


def _file(path: str, text: str) -> files.File:
    content = text.encode()
    return files.File(path, files.digest_of(content), len(content), 0o644, "0", "0", content)


def _is_as_wanted(path: str, text: str) -> bool:
    found = files.look(path)
    wanted = _file(path, text)
    return found.kind == "file" and (found.sha256, found.mode, found.uid, found.gid) == (wanted.sha256, 0o644, 0, 0)


def converge(firewall: Firewall, *, confirmed: bool, seconds: int) -> dict[str, Any]:
    """Loads and writes down what differs. With ``token`` in the answer it is loaded only, and waits to be confirmed."""
    if firewall.to_load:
        if confirmed:
            raise ServiceError("somebody changed the tables while they waited to be confirmed: run again")
        token = load(firewall, seconds)
        if token:
            return {"token": token}
    firewall.write()
    if not firewall.content["default_drop"] and firewall.content["mode"] == "off":
        firewall.tidy()
    return {}


def load(firewall: Firewall, seconds: int) -> str:
    """Loads what differs; what may cut somebody off only with a way back, whose word is returned."""
    firewall.prove_writable()
    if not firewall.cuts:
        firewall.load()
        return ""
    token = kernel.arm(firewall.nft, [part.name for part in firewall.to_load], seconds)
    try:
        firewall.load()
    except ServiceError:
        kernel.disarm()
        raise
    return token
