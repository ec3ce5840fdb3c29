# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Datastore keys of Janus on their host: the first of a keyring seals, all of them open.

A key that is being added stands last, and `adding` beside the keyring has its commitment: so a run that was killed is
told from a keyring whose last key is an old one. Nothing here says what is in a keyring.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import re
import secrets

NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
KEY = re.compile(r"[A-Za-z0-9_-]{22}")
STANDARD = re.compile(r"[A-Za-z0-9+/]{22}")
BYTES = 16
LABEL = b"fedlearn: a datastore key of Janus\n"


class KeyringError(Exception):
    """What is wrong with a keyring; never says what is in it."""


def path_of(name: str) -> str:
    """Where a keyring lies."""
    return f"/var/lib/fedlearn-{name}/datastore-keys"


def new_key() -> str:
    """A key as Janus wants it in its environment."""
    return base64.urlsafe_b64encode(secrets.token_bytes(BYTES)).decode().rstrip("=")


def commitment(key: str) -> str:
    """By what a key is known elsewhere: 128 random bits can't be guessed from it."""
    return hashlib.sha256(LABEL + base64.urlsafe_b64decode(key + "==")).hexdigest()


def keys_of(text: str) -> list[str]:
    """The keys of a keyring. Raises KeyringError for one that Janus would refuse."""
    keys = text.strip().split(",")
    for place, key in enumerate(keys, 1):
        if KEY.fullmatch(key):
            continue
        if STANDARD.fullmatch(key):
            raise KeyringError(
                f"key {place} is in base64's standard alphabet, as generation A has it: "
                "B and C want '-' for '+' and '_' for '/'"
            )
        raise KeyringError(f"key {place} isn't {BYTES} bytes in unpadded base64url")
    return keys


def read(path: str) -> list[str] | None:
    """The keys of a keyring that is there."""
    try:
        with open(path, encoding="ascii") as file:
            return keys_of(file.read())
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise KeyringError("there is something in it that is no key") from None


def write_text(path: str, text: str) -> None:
    """A file of root's alone, whole or not at all, on the disk when this returns."""
    folder = os.path.dirname(path)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    temporary = f"{path}.fedlearn-new"
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, path)
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def write(path: str, keys: list[str]) -> None:
    """A keyring."""
    write_text(path, ",".join(keys))


def adding_path(path: str) -> str:
    """Where the commitment to the key stands that is being added."""
    return os.path.join(os.path.dirname(path), "adding")


def being_added(path: str, keys: list[str]) -> str | None:
    """The commitment to the key that was added and doesn't seal yet."""
    try:
        with open(adding_path(path), encoding="ascii") as file:
            told = file.read().strip()
    except FileNotFoundError:
        return None
    return told if told in [commitment(key) for key in keys[1:]] else None


def add(path: str, keys: list[str], check: bool) -> list[str]:
    """The keyring with one more key, which opens and doesn't seal yet; with the one that a killed run added."""
    if being_added(path, keys):
        return keys
    added = new_key()
    wanted = [*keys, added]
    if not check:
        write_text(adding_path(path), commitment(added))
        write(path, wanted)
    return wanted


def promote(path: str, keys: list[str], check: bool) -> list[str]:
    """The keyring whose added key seals; the others open."""
    told = being_added(path, keys)
    if told is None:
        return keys
    first = next(key for key in keys if commitment(key) == told)
    wanted = [first, *(key for key in keys if key != first)]
    if not check:
        write(path, wanted)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(adding_path(path))
    return wanted


def withdraw(path: str, keys: list[str], check: bool) -> list[str]:
    """The keyring with the key that seals, and no other."""
    if being_added(path, keys):
        raise KeyringError("a key is being added: rotate once more, so that it seals, before one is withdrawn")
    if len(keys) > 1 and not check:
        write(path, keys[:1])
    return keys[:1]
