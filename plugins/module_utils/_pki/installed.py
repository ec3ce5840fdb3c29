# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate's directory on its host: where its files lie, how they are called, and what was found there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from . import files
from .description import Description

KEY, NEXT_KEY, CERTIFICATE, CHAIN, CA = "key.pem", "key.next.pem", "cert.pem", "chain.pem", "ca.pem"
CRL = "crl.pem"
BUNDLE, PASSWORD = "bundle.p12", "bundle.password"
MODES = {
    KEY: 0o600,
    NEXT_KEY: 0o600,
    CERTIFICATE: 0o644,
    CHAIN: 0o644,
    CA: 0o644,
    CRL: 0o644,
    BUNDLE: 0o600,
    PASSWORD: 0o600,
}
SECRET = (KEY, NEXT_KEY, BUNDLE, PASSWORD)
RECORD_VERSION, RECORD_MODE = 1, 0o600


@dataclass(frozen=True)
class Layout:
    """Where things lie; another one in tests only."""

    configuration: str = "/etc"
    state: str = "/var/lib"
    run: str = "/run"


@contextlib.contextmanager
def locked(layout: Layout, timeout: float = 60.0) -> Iterator[None]:
    """One run at a time on a host: after a killed play its module may still be at work."""
    with files.lock(os.path.join(layout.run, "fedlearn-certificates.lock"), timeout):
        yield


class Installed:
    """The directory of one certificate, as it was found, with the record of what was verified there."""

    def __init__(self, layout: Layout, description: Description, create: bool) -> None:
        self.description = description
        parts = ("fedlearn", description.federation)
        self.path = files.directory(layout.configuration, *parts, "pki", description.name, create=create)
        self.record_directory = files.directory(layout.state, *parts, "certificates", create=create)
        self.found: dict[str, files.Found] = {}
        self.leftovers: list[str] = []
        if self.path:
            self.leftovers = files.leftovers(self.path)
            for name in MODES:
                content = files.read(self.file(name))
                if content is not None:
                    self.found[name] = content
        self.record = self._read_record()

    def file(self, name: str) -> str:
        """The path of one of its files."""
        if self.path is None:
            raise AssertionError("no directory yet")
        return os.path.join(self.path, name)

    @property
    def record_path(self) -> str | None:
        """Where the record lies; None before the directory was made."""
        return os.path.join(self.record_directory, self.description.name + ".json") if self.record_directory else None

    def content(self, name: str) -> bytes | None:
        """What a file held when it was read; None when it wasn't there."""
        return self.found[name].content if name in self.found else None

    def digest(self, *names: str) -> str | None:
        """One digest over several files; None when one isn't there."""
        if any(name not in self.found for name in names):
            return None
        return digest(*(self.found[name].content for name in names))

    def _read_record(self) -> dict[str, Any]:
        found = files.read(self.record_path) if self.record_path else None
        self.record_is_roots = found is not None and is_own(found, RECORD_MODE)
        try:
            record = json.loads(found.content) if found else {}
        except ValueError:
            return {}
        return record if isinstance(record, dict) and record.get("version") == RECORD_VERSION else {}


def digest(*contents: bytes) -> str:
    """SHA-256 over ``contents``, each with its length before it."""
    total = hashlib.sha256()
    for content in contents:
        total.update(b"%d:" % len(content))
        total.update(content)
    return total.hexdigest()


def is_own(found: files.Found, mode: int) -> bool:
    """Whether a file has our owner and group, and the mode it is to have."""
    return (found.mode, found.uid, found.gid) == (mode, os.geteuid(), os.getegid())


def recorded(layout: Layout, federation: str) -> list[str]:
    """Names of the certificates that were installed for a federation, by their records."""
    place = files.directory(layout.state, "fedlearn", federation, "certificates", create=False)
    return sorted(name[: -len(".json")] for name in os.listdir(place) if name.endswith(".json")) if place else []
