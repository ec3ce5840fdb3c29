# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a certificate says, read from its DER: the words openssl prints differ between versions and can be forged by
names.
"""

from __future__ import annotations

import base64
import binascii
import calendar
import ipaddress
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

LIST = b"X509 CRL"
_TIMES = (0x17, 0x18)
_SEQUENCE, _INTEGER, _BOOLEAN, _BIT_STRING, _OBJECT = 0x30, 0x02, 0x01, 0x03, 0x06
_COMMON_NAME = bytes.fromhex("550403")
_SUBJECT_ALT_NAME, _BASIC_CONSTRAINTS, _EXTENDED_KEY_USAGE = (
    bytes.fromhex(text) for text in ("551d11", "551d13", "551d25")
)
_USAGES = {bytes.fromhex("2b06010505070301"): "server", bytes.fromhex("2b06010505070302"): "client"}
_CURVES = {bytes.fromhex("2a8648ce3d030107"): "ec-p256", bytes.fromhex("2b81040022"): "ec-p384"}
_EC, _RSA = bytes.fromhex("2a8648ce3d0201"), bytes.fromhex("2a864886f70d010101")


class DerError(ValueError):
    """The bytes are no certificate or public key."""


@dataclass(frozen=True)
class Certificate:
    """A certificate's own words. Times are seconds since 1970; ``public_key`` is its SubjectPublicKeyInfo; ``serial``
    is written as openssl prints it.

    ``others`` counts alternative names and usages that are of no kind we ever ask for.
    """

    common_name: str
    dns_names: tuple[str, ...]
    addresses: tuple[str, ...]
    usages: tuple[str, ...]
    others: int
    is_authority: bool
    not_before: int
    not_after: int
    public_key: bytes
    serial: str


def blocks(pem: bytes, kind: bytes = b"CERTIFICATE") -> list[bytes]:
    """The DER of each certificate in ``pem`` (or of what else ``kind`` says), in order."""
    framed = re.compile(b"-----BEGIN %b-----\\s+([A-Za-z0-9+/=\\s]+?)-----END %b-----" % (kind, kind))
    try:
        return [base64.b64decode(b"".join(body.split()), validate=True) for body in framed.findall(pem)]
    except binascii.Error as error:
        raise DerError(f"no certificate: {error}") from None


def certificate(der: bytes) -> Certificate:
    """What the certificate ``der`` says; DerError when it is none."""
    try:
        return _certificate(der)
    except (IndexError, ValueError, StopIteration) as error:
        raise DerError(f"no certificate: {error}") from None


def key_type(public_key: bytes) -> str | None:
    """``ec-p256``, ``rsa-3072`` and the like of a SubjectPublicKeyInfo; None for a kind we never make."""
    try:
        algorithm, bits = list(_inside(public_key, _SEQUENCE))[:2]
        names = [value for _tag, value in _elements(algorithm[1])]
        if names[0] == _EC:
            return _CURVES.get(names[1])
        if names[0] == _RSA:
            modulus = next(_inside(bits[1][1:], _SEQUENCE))[1]
            return "rsa-%d" % int.from_bytes(modulus, "big").bit_length()
    except (DerError, IndexError, ValueError, StopIteration):
        pass
    return None


def _certificate(der: bytes) -> Certificate:
    body = next(_inside(der, _SEQUENCE))
    fields = list(_elements(body[1], whole=True))
    if fields[0][0] == 0xA0:
        fields = fields[1:]
    validity = [_time(tag, value) for tag, value in _inside(fields[3][1], _SEQUENCE)]
    extensions = dict(_extensions(fields[6:]))
    names = list(_alternative_names(extensions.get(_SUBJECT_ALT_NAME)))
    usages = list(_usages(extensions.get(_EXTENDED_KEY_USAGE)))
    return Certificate(
        common_name=_common_name(fields[4][1]),
        dns_names=tuple(value for kind, value in names if kind == "dns"),
        addresses=tuple(value for kind, value in names if kind == "address"),
        usages=tuple(sorted((word for word in usages if word != "other"), reverse=True)),
        others=usages.count("other") + sum(1 for kind, _value in names if kind == "other"),
        is_authority=_is_authority(extensions.get(_BASIC_CONSTRAINTS)),
        not_before=validity[0],
        not_after=validity[1],
        public_key=fields[5][1],
        serial=_content(fields[0][1]).lstrip(b"\0").hex().upper() or "00",
    )


def list_end(der: bytes) -> int:
    """When a list of withdrawn certificates ends; DerError when it doesn't say so, or is none."""
    try:
        body = next(_inside(der, _SEQUENCE))
        times = [_time(tag, value) for tag, value in _elements(body[1]) if tag in _TIMES]
        return times[1]
    except (IndexError, ValueError, StopIteration) as error:
        raise DerError(f"no list of withdrawn certificates: {error}") from None


def _content(element: bytes) -> bytes:
    [(_tag, value)] = _elements(element)
    return value


def _elements(data: bytes, whole: bool = False) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each element in ``data``; with ``whole`` the content is the element with its header."""
    offset = 0
    while offset < len(data):
        start = offset
        tag, length = data[offset], data[offset + 1]
        offset += 2
        if length & 0x80:
            count = length & 0x7F
            if not 1 <= count <= 4:
                raise DerError("a length that DER doesn't have")
            length = int.from_bytes(data[offset : offset + count], "big")
            offset += count
        if offset + length > len(data):
            raise DerError("cut off")
        yield tag, data[start : offset + length] if whole else data[offset : offset + length]
        offset += length


def _inside(element: bytes, expected: int) -> Iterator[tuple[int, bytes]]:
    """The elements inside the one element that ``element`` is."""
    outer = list(_elements(element))
    if len(outer) != 1 or outer[0][0] != expected:
        raise DerError("another element than expected")
    return _elements(outer[0][1])


def _time(tag: int, value: bytes) -> int:
    text = value.decode("ascii")
    if tag == 0x17:
        text = ("19" if int(text[:2]) >= 50 else "20") + text
    return calendar.timegm(time.strptime(text, "%Y%m%d%H%M%SZ"))


def _common_name(name: bytes) -> str:
    for _set, relative in _inside(name, _SEQUENCE):
        for _sequence, pair in _elements(relative):
            (_tag, kind), (_kind, value) = list(_elements(pair))[:2]
            if kind == _COMMON_NAME:
                return value.decode("utf-8")
    return ""


def _extensions(fields: list[tuple[int, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    for tag, element in fields:
        if tag != 0xA3:
            continue
        [(_tag, content)] = _elements(element)
        for _sequence, extension in _inside(content, _SEQUENCE):
            parts = list(_elements(extension))
            yield parts[0][1], parts[-1][1]


def _alternative_names(value: bytes | None) -> Iterator[tuple[str, str]]:
    for tag, content in _inside(value, _SEQUENCE) if value else ():
        if tag == 0x82:
            yield "dns", content.decode("ascii").lower()
        elif tag == 0x87:
            yield "address", str(ipaddress.ip_address(content))
        else:
            yield "other", ""


def _usages(value: bytes | None) -> Iterator[str]:
    for _tag, content in _inside(value, _SEQUENCE) if value else ():
        yield _USAGES.get(content, "other")


def _is_authority(value: bytes | None) -> bool:
    return any(tag == _BOOLEAN and content != b"\0" for tag, content in _inside(value, _SEQUENCE)) if value else False
