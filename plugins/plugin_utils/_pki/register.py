# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an authority has issued and what it has withdrawn of that, by serial number, beside its key.

``.ca/<party>/<authority>.issued/<host>.json``, a file a host, and ``.ca/<party>/<authority>.revoked.json``. Who writes
holds the authority's lock. What has ended is forgotten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, dataclass
from urllib.parse import quote, unquote

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.names import issued_path, revoked_path

_LIMIT = 1 << 24
_SUFFIX = ".json"


class RegisterError(Exception):
    """A file of the register can't be read; the text names it and the way out."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was signed. ``serial`` is what openssl prints; times are seconds since 1970.

    One that was withdrawn by its number alone has no host, federation and name.
    """

    serial: str
    ends: int
    host: str = ""
    federation: str = ""
    certificate: str = ""
    revoked: int = 0

    def __str__(self) -> str:
        subject = f"{self.certificate} of {self.host}, " if self.host else ""
        return f"{subject}serial number {self.serial}"


@dataclass(frozen=True, slots=True)
class Leaving:
    """Who goes: of what ``host`` has the ``absent`` (federation and name) and all that isn't ``expected``; and all that
    any host has which isn't one of ``hosts``. None leaves that question out.
    """

    host: str
    absent: Collection[tuple[str, str]] = ()
    expected: Collection[str] | None = None
    hosts: Collection[str] | None = None

    def of(self, register: Register) -> Iterator[Issued]:
        """What of the register is to be withdrawn."""
        for each in register.issued(self.host):
            unexpected = self.expected is not None and each.certificate not in self.expected
            if unexpected or (each.federation, each.certificate) in self.absent:
                yield each
        if self.hosts is not None:
            for host in register.hosts():
                if host not in self.hosts:
                    yield from register.issued(host)


class Register:
    """The register of one authority."""

    def __init__(self, state_directory: str, party: str, authority: str) -> None:
        self._folder = issued_path(state_directory, party, authority)
        self._revoked = revoked_path(state_directory, party, authority)

    def hosts(self) -> list[str]:
        """Who was issued something."""
        names = os.listdir(self._folder) if os.path.isdir(self._folder) else []
        return sorted(unquote(name.removesuffix(_SUFFIX)) for name in names if name.endswith(_SUFFIX))

    def issued(self, host: str) -> list[Issued]:
        """What a host has."""
        return _read(self._path(host))

    def revoked(self) -> list[Issued]:
        """What was withdrawn."""
        return _read(self._revoked)

    def add(self, host: str, certificates: Iterable[Issued], now: int) -> None:
        """Note what was signed for a host."""
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        known = {each.serial: each for each in (*self.issued(host), *certificates)}
        _write(self._path(host), known.values(), now)

    def revoke(self, certificates: Iterable[Issued], now: int) -> None:
        """Note what is withdrawn, before it is forgotten as issued: a run that was killed between is made good."""
        gone = {each.serial: each for each in certificates}
        known = {each.serial for each in self.revoked()}
        new = [Issued(**{**asdict(each), "revoked": now}) for each in gone.values() if each.serial not in known]
        _write(self._revoked, [*self.revoked(), *new], now)
        for host in {each.host for each in gone.values() if each.host}:
            _write(self._path(host), [each for each in self.issued(host) if each.serial not in gone], now)

    def find(self, serials: Collection[str]) -> list[Issued]:
        """Of these numbers those that were issued."""
        everything = (each for host in self.hosts() for each in self.issued(host)) if serials else ()
        return [each for each in everything if each.serial in serials]

    def _path(self, host: str) -> str:
        return os.path.join(self._folder, quote(host, safe="") + _SUFFIX)


def written(serial: int) -> str:
    """A serial number as openssl prints it."""
    digits = f"{serial:X}"
    return digits.zfill(len(digits) + len(digits) % 2)


def _read(path: str) -> list[Issued]:
    found = files.read(path, _LIMIT)
    try:
        return [Issued(**each) for each in json.loads(found.content)] if found else []
    except (ValueError, TypeError) as error:
        way_out = "restore it; without it nothing that it held can be withdrawn but by its number"
        raise RegisterError(f"{path} is damaged ({error}): {way_out}") from None


def _write(path: str, certificates: Iterable[Issued], now: int) -> None:
    """Replace a file by one of what hasn't ended; one that would be empty goes, or never comes."""
    rows = [asdict(each) for each in certificates if each.ends > now]
    if rows:
        lines = ",\n".join(json.dumps(row) for row in rows)
        files.sweep(path)
        files.write(path, f"[\n{lines}\n]\n".encode(), 0o600)
    elif os.path.lexists(path):
        os.unlink(path)
