# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of a run: differences, foresight, results. Nothing here shows a secret."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ansible_collections.fedlearn.infra.plugins.module_utils._service import files, health
from ansible_collections.fedlearn.infra.plugins.module_utils._service.redact import Mask
from ansible_collections.fedlearn.infra.plugins.module_utils._service.service import PAST, Present, Service

_SHOWN_BYTES = 100_000
_LAST_LINES, _TROUBLE_LINES = 15, 5
_TROUBLE = re.compile(r"\b(error|exception|critical|fatal|failed|refused|denied|invalid|no such)\b", re.IGNORECASE)


def mask_of(services: Sequence[Service]) -> Mask:
    """Masks what secret files hold, held before, and what watched private files hold."""
    contents: list[bytes] = []
    for service in services:
        for file in service.files:
            if file.secret:
                contents += [file.content or b"", files.read(file.path)]
        contents += [files.read(path) for path in service.record.former_secrets()]
        for watch in service.wanted.get("watch", []):
            found = files.look(watch["path"])
            if found.kind == "file" and not found.mode & 0o004:
                contents.append(files.read(watch["path"]))
    return Mask(contents)


def diffs(services: Sequence[Service]) -> list[dict[str, str]]:
    """One entry for each file, each mode or owner and each unit that differs."""
    mask = mask_of(services)
    entries = []
    for service in services:
        for file, found in service.changes:
            entries.append(_content(file, found, mask))
            if found.kind == "file":
                wanted = f"{file.mode:04o} {file.owner}:{file.group}\n"
                entries.append(_entry(f"{file.path} (mode and owner)", _attributes(found), wanted))
        entries += [_entry(path, "(present)\n", "") for path in service.obsolete]
        doing = [] if service.action == "none" else [service.action]
        doing += (
            ["limits of what runs, without a restart"] if isinstance(service, Present) and service.only_limits else []
        )
        doing += [f"enablement of {name}" for name in service.to_enable]
        entries.append(_entry(f"service {service.name}", "", "".join(f"{one}\n" for one in doing)))
    return [entry for entry in entries if entry["before"] != entry["after"]]


def _entry(header: str, before: str, after: str) -> dict[str, str]:
    return {"before_header": header, "after_header": header, "before": before, "after": after}


def _attributes(found: files.Found) -> str:
    names = files.names_of(found)
    return f"{names['mode']} {names['owner']}:{names['group']}\n"


def _content(file: files.File, found: files.Found, mask: Mask) -> dict[str, str]:
    if found.kind == "file" and found.sha256 == file.sha256:
        return _entry(file.path, "", "")
    if file.secret or not file.mode & 0o004 or (found.kind == "file" and not found.mode & 0o004):
        before = "" if found.kind == "absent" else "(former content, not shown)\n"
        return _entry(file.path, before, "(new content, not shown)\n")
    before = f"(a link to {found.sha256})\n"
    if found.kind != "link":
        before = _text(files.read(file.path) if found.size <= _SHOWN_BYTES else None, found.size)
    return _entry(file.path, mask(before), mask(_text(file.content, file.size)))


def _text(content: bytes | None, size: int) -> str:
    if content is None or len(content) > _SHOWN_BYTES:
        return f"({size} bytes)\n"
    try:
        return content.decode()
    except UnicodeDecodeError:
        return f"({size} bytes, not text)\n"


def foresee(services: Sequence[Service]) -> None:
    """Fills in what a run would do, and how each service is; one that runs is asked once for its health."""
    for service in services:
        if service.failed:
            service.unwell = {"failed": service.outcome.reason}
            continue
        service.outcome.changed = service.differs
        service.outcome.action = "removed" if service.absent and service.differs else PAST[service.action]
        if isinstance(service, Present) and service.wanted["state"] == "started":
            service.unwell = _stopped_or_ill(service)
            service.outcome.healthy = not service.unwell
        if service.differing:
            service.unwell["differing"] = service.differing


def look_inside(services: Sequence[Service]) -> None:
    """Asks those that are well what they hold; who acts on the answer was asked when it was compared."""
    for service in services:
        well = service.outcome.healthy and not service.outcome.deferred
        if isinstance(service, Present) and well and service.wanted["inside_change"] == "none":
            service.look_inside()


def _ended_well(service: Present) -> bool:
    """Whether a job came to its end with what it was last told, and its document has moved on since."""
    unit = service.shown[service.main]
    ended = unit.active == "inactive" and unit.result == "success"
    return bool(service.wanted["finished"]) and ended and bool(service.differing)


def _stopped_or_ill(service: Present) -> dict[str, str]:
    if service.finished or _ended_well(service):
        return {}
    if service.idle:
        return {"stopped": "; ".join(health.describe(unit) for unit in service.idle)}
    wanted = service.wanted if service.action == "none" else service.former
    wrong = health.wrong_now(service.shown[service.main], wanted)
    return {"ill": wrong} if wrong else {}


def result(services: Sequence[Service], diff: list[dict[str, str]] | None, foreseen: bool) -> dict[str, Any]:
    """The module's return value; `msg` is there only when a service failed."""
    telling_much = any(service.failed or service.unwell or service.outcome.inside for service in services)
    mask = mask_of(services) if telling_much else Mask([])
    for service in services:
        outcome = service.outcome
        outcome.reason = mask(outcome.reason)
        outcome.inside = mask(outcome.inside)
        outcome.journal = telling(mask.lines(outcome.journal))
        if outcome.changed or foreseen:
            outcome.files = sorted({file.path for file, _found in service.changes} | set(service.obsolete))
    value: dict[str, Any] = {
        "changed": any(service.outcome.changed for service in services),
        "services": {service.name: asdict(service.outcome) for service in services},
        "deferred": [service.name for service in services if service.outcome.deferred and not service.failed],
        "kept": [service.name for service in services if service.outcome.kept and not service.failed],
        "unwell": [
            {"name": service.name, "state": state, "reason": mask(reason)}
            for service in services
            for state, reason in service.unwell.items()
        ],
        "told": {service.name: service.told for service in services if isinstance(service, Present) and service.told},
    }
    if diff is not None:
        value["diff"] = diff
    failures = [service for service in services if service.failed]
    if failures:
        value["msg"] = "\n".join(_failure(service) for service in failures)
    return value


def telling(journal: list[str]) -> list[str]:
    """The last lines, and of those before some that speak of trouble: a talkative program goes on after its reason."""
    before = [line for line in journal[:-_LAST_LINES] if _TROUBLE.search(line)]
    return before[-_TROUBLE_LINES:] + journal[-_LAST_LINES:]


def _failure(service: Service) -> str:
    lines = f"{service.name}: {service.outcome.reason}".splitlines() + [
        f"journal: {line}" for line in service.outcome.journal
    ]
    return "\n    ".join(lines)
