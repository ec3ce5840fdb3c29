# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A party's secrets: one YAML mapping of name to value in a file that ansible-vault encrypts as a whole.

A secret that comes in turns is replaced while it is in use: its next value stands beside it, as ``NAME.2``, then
``NAME.3``, until the former one is dropped. Everybody reads the newest; who lets others in by it asks for both.
"""

from __future__ import annotations

import os
import re
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import yaml
from ansible import constants
from ansible.errors import AnsibleError
from ansible.parsing.vault import is_encrypted, match_encrypt_secret

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._pki.names import secrets_path
from ansible_collections.fedlearn.infra.plugins.plugin_utils._state.keeping import keep

T = TypeVar("T")

SECRET_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9_-]{0,126}[A-Za-z0-9])?")
PARTY_NAME = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
LENGTHS = {"password": 32, "passphrase": 64, "hex": 32, "base64url": 32}
"""How long a secret of a kind is: a password is sent to a program, a passphrase encrypts a key; the others are a key's
random bytes, written so (base64url without padding), and these are counted.
"""
BYTES = ("hex", "base64url")
SHORTEST, SHORTEST_KEY, LONGEST = 20, 16, 512
_ALPHABET = string.ascii_letters + string.digits
_WAY_OUT = (
    "give --vault-password-file FILE or --vault-id, or set ANSIBLE_VAULT_PASSWORD_FILE or "
    "vault_password_file in ansible.cfg"
)


TURNS = "ab"
"""Of a login that comes in turns there are two names, ``NAME_a`` and ``NAME_b``: a value is of the other one than the
value before it."""


def generations(values: Mapping[str, str], name: str) -> dict[int, str]:
    """The values of a secret that are there, by their numbers, the newest last."""
    found = {1: values[name]} if values.get(name) else {}
    for key, value in values.items():
        stem, dot, number = key.rpartition(".")
        if dot and stem == name and number.isdecimal() and value:
            found[int(number)] = value
    return dict(sorted(found.items()))


def generation_key(name: str, number: int) -> str:
    """Where a value of a secret stands in the file."""
    return name if number == 1 else f"{name}.{number}"


def turns(values: Mapping[str, str], name: str) -> dict[str, Any]:
    """The ``valid`` values, by whose turn they are, and ``newest``, the turn that everybody takes; empty for none."""
    found = generations(values, name)
    told = {TURNS[(number - 1) % 2]: value for number, value in found.items()}
    return {"valid": told, "newest": TURNS[(max(found) - 1) % 2]} if found else {}


class VaultTroubleError(Exception):
    """The file can't be read or written; the text names it and the way out, and no secret."""


class Vault(Protocol):
    """What is used of ansible-core's VaultLib."""

    secrets: list[tuple[str, Any]] | None

    def encrypt(self, plaintext: Any, secret: Any = None, vault_id: str | None = None) -> bytes:
        """The vault text of ``plaintext``."""

    def decrypt_and_get_vault_id(self, vaulttext: Any) -> tuple[bytes, str, Any]:
        """The plain text, and the identity and secret that opened it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A secret that has to be there. ``length`` counts characters, or a key's bytes.

    ``maker`` is the party that makes it, where two share it: this one is handed the value. One that comes ``in_turn``
    can be replaced.
    """

    name: str
    party: str
    kind: str
    length: int
    maker: str = ""
    in_turn: bool = False


@dataclass(frozen=True, slots=True)
class _Opened:
    values: dict[str, str]
    identity: str | None
    secret: Any


class VaultFile:
    """The secrets of one party below a state directory."""

    def __init__(self, state_directory: str, party: str, vault: Vault) -> None:
        if not PARTY_NAME.fullmatch(party):
            raise VaultTroubleError(f"party {party[:60]!r} is no name of a party")
        self._state = state_directory
        self._vault = vault
        self.party = party
        self.path = secrets_path(state_directory, party)

    def read(self) -> Mapping[str, str]:
        """Names and values, of each the newest; empty when there is no file."""
        values = self._open().values
        names = dict.fromkeys(key.partition(".")[0] for key in values)
        return {name: (list(generations(values, name).values()) or [""])[-1] for name in names}

    def turns(self, name: str) -> Mapping[str, Any]:
        """The values of a secret that comes in turns; see the function of this name."""
        return turns(self._open().values, name)

    def begin_turn(self, wanted: list[Wanted], write: bool = True) -> list[str]:
        """Give each secret its next value beside the one in use, unless it is there; the names of those added."""

        def add(values: dict[str, str]) -> dict[str, str]:
            found = {item: generations(values, item.name) for item in wanted}
            alone = {item: max(there) for item, there in found.items() if len(there) == 1}
            return {generation_key(item.name, number + 1): generate(item) for item, number in alone.items()}

        return self._turn(add, write)

    def end_turn(self, wanted: list[Wanted], write: bool = True) -> list[str]:
        """Drop every value but the newest; the names of those that had an older one."""

        def drop(values: dict[str, str]) -> dict[str, str]:
            found = {item.name: generations(values, item.name) for item in wanted}
            old = [(name, number) for name, there in found.items() for number in list(there)[:-1]]
            return {generation_key(name, number): "" for name, number in old}

        return self._turn(drop, write)

    def _turn(self, change: Callable[[dict[str, str]], dict[str, str]], write: bool) -> list[str]:
        """Change values, or see which would be; an empty one goes."""
        if not write:
            return [key.partition(".")[0] for key in change(self._open().values)]

        def turn() -> dict[str, str]:
            opened = self._open()
            changed = change(opened.values)
            if changed:
                values = {name: value for name, value in {**opened.values, **changed}.items() if value}
                self._write(values, opened)
            return changed

        return list(dict.fromkeys(key.partition(".")[0] for key in self._keep(turn)))

    def add(self, wanted: list[Wanted], write: bool = True, handed: Mapping[str, str] | None = None) -> list[str]:
        """Make the secrets of ``wanted`` that aren't there; their names. What is there is never changed.

        ``handed`` are the values of those that another party made.
        """
        missing = self._missing(wanted, self._open() if os.path.lexists(self.path) else None)
        if not missing or not write:
            if missing:
                self._identity(None)
            return [item.name for item in missing]

        def make() -> list[str]:
            files.sweep(self.path)
            opened = self._open()
            lacking = self._missing(wanted, opened)
            if lacking:  # another run may have made them meanwhile
                values = {item.name: (handed or {}).get(item.name) or generate(item) for item in lacking}
                self._write({**opened.values, **values}, opened)
            return [item.name for item in lacking]

        return self._keep(make)

    def _keep(self, write: Callable[[], T]) -> T:
        """Do a write with the file's lock held; what it says has to be right when it is done again."""

        def locked() -> T:
            with files.lock(os.path.join(self._directory(), f".{self.party}.lock")):
                return write()

        return keep(self._state, f"secrets of party {self.party}", locked)

    def _missing(self, wanted: list[Wanted], opened: _Opened | None) -> list[Wanted]:
        values = opened.values if opened else {}
        return [item for item in wanted if not generations(values, item.name)]

    def _directory(self) -> str:
        os.makedirs(self._state, mode=0o700, exist_ok=True)
        path = files.directory(self._state, ".secrets", create=True, mode=0o700, foreign_write=0o002)
        return path or ""

    def _open(self) -> _Opened:
        found = files.read(self.path)
        if found is None:
            return _Opened({}, None, None)
        if not is_encrypted(found.content):
            raise VaultTroubleError(f"{self.path} isn't encrypted: run ansible-vault encrypt {self.path}")
        if not self._vault.secrets:
            raise VaultTroubleError(f"{self.path} can't be opened without a vault identity: {_WAY_OUT}")
        try:
            content, identity, secret = self._vault.decrypt_and_get_vault_id(found.content)
        except AnsibleError:
            raise VaultTroubleError(
                f"{self.path} isn't encrypted with one of the vault identities that were given: {_WAY_OUT}"
            ) from None
        return _Opened(self._parse(content), identity, secret)

    def _parse(self, content: bytes) -> dict[str, str]:
        try:
            values = yaml.safe_load(content) or {}
        except yaml.YAMLError:
            values = None
        if not isinstance(values, dict) or not all(
            isinstance(name, str) and isinstance(value, str) for name, value in values.items()
        ):
            raise VaultTroubleError(
                f"{self.path} has to be a mapping of names to quoted texts: correct it with "
                f"ansible-vault edit {self.path}"
            )
        return values

    def _write(self, values: dict[str, str], opened: _Opened) -> None:
        identity, secret = self._identity(opened)
        content = yaml.safe_dump(values, default_flow_style=False, sort_keys=True).encode("utf-8")
        files.write(self.path, self._vault.encrypt(content, secret, vault_id=identity), 0o600)

    def _identity(self, opened: _Opened | None) -> tuple[str | None, Any]:
        """Identity and secret to encrypt with: those the file was opened with, else the configured, else the first."""
        if opened is not None and opened.secret is not None:
            return _named(opened.identity), opened.secret
        if not self._vault.secrets:
            raise VaultTroubleError(f"{self.path} can't be written without a vault identity: {_WAY_OUT}")
        try:
            identity, secret = match_encrypt_secret(
                self._vault.secrets, constants.config.get_config_value("DEFAULT_VAULT_ENCRYPT_IDENTITY")
            )
        except AnsibleError as error:
            raise VaultTroubleError(f"{self.path} can't be written: {error.message}") from None
        return _named(identity), secret


def wanted_secret(options: Mapping[str, Any]) -> Wanted:
    """The secret that one item of a task's list asks for; VaultTroubleError when it can't be."""
    # str(): core marks what comes from a task with its origin, which a YAML writer must not meet.
    name, kind = str(options["name"]), str(options["kind"])
    if not SECRET_NAME.fullmatch(name):
        raise VaultTroubleError(
            f"secret {name[:60]!r}: a name has letters, digits, '-' and '_' and begins with a letter"
        )
    length = options["length"] or LENGTHS[kind]
    shortest, unit = (SHORTEST_KEY, "bytes") if kind in BYTES else (SHORTEST, "characters")
    if not shortest <= length <= LONGEST:
        raise VaultTroubleError(f"secret {name}: length {length}: {shortest} to {LONGEST} {unit}")
    party, maker, in_turn = str(options["party"]), str(options["maker"] or ""), bool(options.get("in_turn"))
    maker = "" if maker == party else maker
    if maker and in_turn:
        raise VaultTroubleError(
            f"secret {name}: two parties share it, so one alone can't replace it: leave out in_turn"
        )
    return Wanted(name=name, party=party, kind=kind, length=length, maker=maker, in_turn=in_turn)


def generate(wanted: Wanted) -> str:
    """A new value: letters and digits, or a key's bytes as text, which no program has to quote."""
    if wanted.kind in BYTES:
        return secrets.token_hex(wanted.length) if wanted.kind == "hex" else secrets.token_urlsafe(wanted.length)
    return "".join(secrets.choice(_ALPHABET) for _count in range(wanted.length))


def _named(identity: str | None) -> str | None:
    """The vault ID to write into the file; the default one isn't written."""
    return None if identity in (None, constants.DEFAULT_VAULT_IDENTITY) else identity
