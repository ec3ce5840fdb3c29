# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What programs keep of passwords, made on the control node."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib

COST = 10
"""Of bcrypt: two to the tenth rounds, some 50 ms."""
LONGEST = 72
"""Bytes of a password that bcrypt looks at."""
_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"


def bcrypt(password: str, place: str) -> str:
    """The bcrypt hash of a password at a place (host, service, login): of the same two always the same.

    So nothing has to be remembered for a second run to change nothing. The salt is unique to both and can't be known
    beforehand; it is drawn by scrypt, so that it tells a guesser nothing sooner than the hash itself would. Raises
    ValueError.
    """
    secret = password.encode()
    if not secret or b"\0" in secret or len(secret) > LONGEST:
        raise ValueError(f"has {len(secret)} bytes: bcrypt wants 1 to {LONGEST}, and none of them zero")
    salt = hashlib.scrypt(secret, salt=place.encode(), n=2**14, r=8, p=1, dklen=16)
    hashed = _crypt(secret, f"$2y${COST:02}${_encoded(salt)}")
    if hashed is None:
        raise ValueError("can't be hashed: this control node's libcrypt, of libxcrypt on most systems, has no bcrypt")
    return hashed


def _encoded(salt: bytes) -> str:
    """16 bytes in bcrypt's own base64."""
    bits = int.from_bytes(salt, "big") << 4
    return "".join(_ALPHABET[bits >> 6 * place & 63] for place in reversed(range(22)))


def _crypt(secret: bytes, setting: str) -> str | None:
    """crypt(3), which Python has no more since 3.13; None where it doesn't know the method."""
    library = ctypes.util.find_library("crypt")
    if library is None:
        return None
    crypt = ctypes.CDLL(library).crypt
    crypt.argtypes, crypt.restype = [ctypes.c_char_p, ctypes.c_char_p], ctypes.c_char_p
    hashed = crypt(secret, setting.encode())
    return hashed.decode() if hashed and hashed.startswith(b"$2y$") else None
