# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What programs keep of passwords, made on the control node."""

from __future__ import annotations

import ctypes
import ctypes.util
import hashlib
import stringprep
import unicodedata

COST = 10
"""Of bcrypt: two to the tenth rounds, some 50 ms."""
LONGEST = 72
"""Bytes of a password that bcrypt looks at."""
_ALPHABET = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

_PROHIBITED = (
    stringprep.in_table_a1,
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)
"""RFC 4013, 2.3, and what RFC 3454 knows no character for."""


def saslprep(password: str) -> str:
    """A password as SCRAM hashes it: RFC 4013. Raises ValueError where it allows none such."""
    mapped = ("" if stringprep.in_table_b1(one) else " " if stringprep.in_table_c12(one) else one for one in password)
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", "".join(mapped))
    leftward = [stringprep.in_table_d1(one) for one in prepared]
    # RFC 3454, 6: what is written from right to left begins and ends so, and has nothing of the other direction
    mixed = any(leftward) and (not (leftward[0] and leftward[-1]) or any(map(stringprep.in_table_d2, prepared)))
    if not prepared or mixed or any(forbids(one) for forbids in _PROHIBITED for one in prepared):
        raise ValueError("has characters that SCRAM doesn't allow (RFC 4013): give another")
    return prepared


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
