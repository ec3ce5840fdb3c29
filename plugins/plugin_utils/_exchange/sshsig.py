# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signatures as ``ssh-keygen -Y sign`` makes them (OpenSSH's PROTOCOL.sshsig), by the party's own key.

The key is Ed25519, PKCS#8, encrypted with a secret of the vault. Whoever keeps a key elsewhere signs by ``ssh-keygen``
itself: what proves a signature is OpenSSH, so it takes any kind of key.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import tempfile
import textwrap
from collections.abc import Callable

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import files
from ansible_collections.fedlearn.infra.plugins.plugin_utils._exchange.manifest import ExchangeError

NAMESPACE = "exchange@fedlearn.infra"
"""What the signature is for: the same key's signature under a mail or a commit is none of an exchange."""

_MAGIC = b"SSHSIG"
_GOOD = re.compile(rf'Good "{re.escape(NAMESPACE)}" signature with \S+ key (SHA256:[A-Za-z0-9+/]{{43}})')
_SECONDS = 60


class Signer:
    """A party's key; ``passphrase`` is called only when the key is made or opened."""

    def __init__(self, path: str, passphrase: Callable[[], str]) -> None:
        self.path = path
        self._passphrase = passphrase
        self._key: Ed25519PrivateKey | None = None

    def make(self) -> bool:
        """Make the key where there is none; whether it was made. The folder has to be there."""
        if os.path.lexists(self.path):
            return False
        key = Ed25519PrivateKey.generate()
        encryption = serialization.BestAvailableEncryption(self._passphrase().encode())
        pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
        files.write(self.path, pem, 0o600)
        return True

    @property
    def fingerprint(self) -> str:
        """What partners pin, as ``ssh-keygen -l`` writes it."""
        return fingerprint(self._public())

    def sign(self, message: bytes) -> bytes:
        """An armoured signature of the message."""
        algorithm, digest = b"sha512", hashlib.sha512(message).digest()
        covered = _MAGIC + b"".join(map(_string, (NAMESPACE.encode(), b"", algorithm, digest)))
        signature = _string(b"ssh-ed25519") + _string(self._open().sign(covered))
        parts = (self._public(), NAMESPACE.encode(), b"", algorithm, signature)
        blob = _MAGIC + (1).to_bytes(4, "big") + b"".join(map(_string, parts))
        lines = textwrap.wrap(base64.b64encode(blob).decode(), 70)
        return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()

    def _public(self) -> bytes:
        raw = self._open().public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return _string(b"ssh-ed25519") + _string(raw)

    def _open(self) -> Ed25519PrivateKey:
        if self._key is None:
            found = files.read(self.path)
            if found is None:
                raise ExchangeError(f"{self.path} is missing: fedlearn.infra.exchange makes it")
            if found.mode & 0o077:
                raise ExchangeError(
                    f"{self.path} has mode {found.mode:04o}, so others can read it: chmod 0600 it, or move it away, "
                    "have a new one made, and tell partners its fingerprint"
                )
            try:
                key = serialization.load_pem_private_key(found.content, self._passphrase().encode())
            except (ValueError, TypeError, UnsupportedAlgorithm):
                raise ExchangeError(
                    f"{self.path} isn't opened by its secret: they are of different age, or the file is damaged; "
                    "restore the pair"
                ) from None
            if not isinstance(key, Ed25519PrivateKey):
                raise ExchangeError(f"{self.path} holds no Ed25519 key")
            self._key = key
        return self._key


def _string(content: bytes) -> bytes:
    """A string as ssh writes it."""
    return len(content).to_bytes(4, "big") + content


def fingerprint(public: bytes) -> str:
    """The fingerprint of a public key in ssh's form."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(public).digest()).decode().rstrip("=")


def signer_of(message: bytes, signature: bytes) -> str | None:
    """The fingerprint of the key that made a right signature of the message; None where it is none."""
    with tempfile.TemporaryDirectory() as room:
        path = os.path.join(room, "signature")
        files.write(path, signature, 0o600)
        try:
            ended = subprocess.run(
                ["ssh-keygen", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", path],
                input=message,
                capture_output=True,
                check=False,
                timeout=_SECONDS,
            )
        except FileNotFoundError:
            raise ExchangeError("ssh-keygen is missing on this control node: install OpenSSH's client") from None
        except subprocess.TimeoutExpired:
            raise ExchangeError(f"ssh-keygen didn't end within {_SECONDS} seconds") from None
    good = _GOOD.fullmatch(ended.stdout.decode("ascii", "replace").strip())
    return good[1] if ended.returncode == 0 and good else None
