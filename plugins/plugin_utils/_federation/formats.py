# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a text may have to look like: one function a format, giving the text in its normal form or a ValueError."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

MAX_NAME = 32
_NAME = re.compile("[a-z](?:[a-z0-9-]{0,30}[a-z0-9])?")
_HOST_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
"""What a last label makes the whole an address of, for resolvers: 10.1, 0x0a.1, 0x0a000001."""
_BUCKET_LABEL = "[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
_BUCKET = re.compile(rf"(?!xn--|[0-9]+(?:\.[0-9]+){{3}}$){_BUCKET_LABEL}(?:\.{_BUCKET_LABEL})*")
_SECRET = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_WORDS = r"[A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z_][A-Za-z0-9_]*)*"
_CALLABLE = re.compile(f"{_WORDS}:{_WORDS}")
_OWN_FOLDERS = ("group_vars", "host_vars")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def name(text: str) -> str:
    """A name of ours: part of unit names and paths."""
    if _NAME.fullmatch(text):
        return text
    if len(text) > MAX_NAME and _NAME.fullmatch(text[:MAX_NAME].rstrip("-")):
        raise ValueError(
            f"has {len(text)} characters: a name has at most {MAX_NAME}, since names on hosts are made of it"
        )
    like = re.sub("[^a-z0-9]+", "-", text.lower()).strip("-")
    hint = f" (perhaps '{like}')" if _NAME.fullmatch(like) else ""
    raise ValueError(f"is no name: a lower-case letter, then up to 31 of a-z, 0-9 and '-', no '-' at the end{hint}")


def host_name(text: str) -> str:
    """A host's name in the inventory."""
    if not _HOST_NAME.fullmatch(text) or ".." in text:
        raise ValueError("is no host name: letters, digits, '-', '_' and '.', a letter or digit at both ends")
    if text.lower() == "localhost" or text.startswith("127."):
        raise ValueError("is Ansible's name for the control node: choose another, with this as its address")
    return text


def reached_name(text: str) -> str:
    """The name of a host without an address, which ssh is given: one it would take for an address has to be one."""
    return address(text) if _NUMBER.fullmatch(text.rpartition(".")[2]) else text


def dns_name(text: str) -> str:
    """A name that DNS could know; an address is none."""
    if not _DNS_NAME.fullmatch(text):
        raise ValueError("is no DNS name")
    if _NUMBER.fullmatch(text.rpartition(".")[2]):
        raise ValueError("is no DNS name but looks like an address")
    return text


def address(text: str) -> str:
    """A numeric address of one host, IPv4 or IPv6, in its shortest form."""
    found = _ip(text)
    if not is_of_a_host(found):
        raise ValueError("is no address of one host")
    return str(found)


def bind_address(text: str) -> str:
    """A numeric address to listen on; 0.0.0.0 and :: are every one of the host."""
    found = _ip(text)
    if not found.is_unspecified and not is_of_a_host(found):
        raise ValueError("is no address to listen on")
    return str(found)


def address_or_name(text: str) -> str:
    """A numeric address or a DNS name."""
    try:
        return address(text)
    except ValueError:
        if ":" in text or "/" in text or "@" in text or re.fullmatch(r"[0-9.]+", text):
            raise
    return dns_name(text)


def is_of_a_host(found: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Not 0.0.0.0/8 and nothing from 224.0.0.0 on; of IPv6 no link-local one, which would need its interface."""
    if found.version == 4:
        return 0 < found.packed[0] < 224
    return not (found.is_unspecified or found.is_multicast or found.is_link_local)


def _ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    if "%" in text:
        raise ValueError("names an interface ('%'), which only means something on one host")
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(_why_no_address(text)) from None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        raise ValueError(f"is an IPv4 address written as IPv6: write {found.ipv4_mapped}")
    return found


def _why_no_address(text: str) -> str:
    """What a text is instead of an address, with the way out."""
    if "://" in text:
        return "is a URL: write the address alone"
    if "@" in text:
        return "has a user in it: write the address alone (ssh's user goes under vars: {ansible_user: NAME})"
    if text.startswith("[") and text.endswith("]"):
        return "has brackets, which are for URLs: write the address without"
    host, slash, bits = text.partition("/")
    if slash:
        return f"is a network, and one host's address is wanted: leave out '/{bits}'"
    host, colon, port = text.rpartition(":")
    if colon and port.isdigit() and (":" not in host or host.endswith("]")):
        return f"has a port in it: leave out ':{port}' (ssh's port goes under vars: {{ansible_port: {port}}})"
    numbers = text.split(".")
    if all(re.fullmatch("[0-9]{1,9}", number) for number in numbers):
        if 1 < len(numbers) != 4:
            return f"is no numeric address: it has {len(numbers)} numbers, not 4"
        if len(numbers) == 4 and any(len(number) > 1 and number[0] == "0" for number in numbers):
            return (
                f"is no numeric address: write it without leading zeros, {'.'.join(str(int(each)) for each in numbers)}"
            )
    return "is no numeric address"


def address_port(text: str) -> str:
    """``10.20.0.11:6666`` or ``[fd00::11]:6666``."""
    return _with_port(text, address)


def endpoint(text: str) -> str:
    """The same, or ``helper.example:443``."""
    return _with_port(text, address_or_name)


def _with_port(text: str, check: Callable[[str], str]) -> str:
    host, colon, digits = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", digits) or not 0 < int(digits) < 65536:
        raise ValueError("is no address and port, such as 10.20.0.11:6666 or [fd00::11]:6666")
    if host.startswith("[") and host.endswith("]") and ":" in host:
        return f"[{address(host[1:-1])}]:{int(digits)}"
    if ":" in host:
        raise ValueError("is an IPv6 address without brackets: write [ADDRESS]:PORT")
    return f"{check(host)}:{int(digits)}"


def network(text: str) -> str:
    """A network as address/bits; a lone address is the network of one."""
    if "%" in text:
        raise ValueError("names an interface ('%'), which only means something on one host")
    if text in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not listened on
        raise ValueError(f"is nobody's address: everybody is {text}/0")
    try:
        return str(ipaddress.ip_network(text, strict=True))
    except ValueError as error:
        if "host bits set" in str(error):
            raise ValueError(f"has host bits set: write {ipaddress.ip_network(text, strict=False)}") from None
        raise ValueError("is no network, such as 10.20.0.0/16 or fd00::/64") from None


def url(text: str) -> str:
    """An absolute URL: scheme, host, perhaps port, path and query; never a user or password."""
    split_url(text)
    return text


def origin(text: str) -> str:
    """A URL that ends after host and port."""
    parts = split_url(text)
    if parts.path not in ("", "/") or parts.query or "?" in text:
        raise ValueError("has a path or a query: write scheme://host:port only")
    return text.rstrip("/")


def split_url(text: str) -> SplitResult:
    """The parts of a checked URL."""
    if _CONTROL.search(text) or " " in text or "\\" in text:
        raise ValueError("is no URL: it has a blank or a character that no URL has")
    try:
        parts = urlsplit(text)
    except ValueError as error:
        raise ValueError(f"is no URL: {str(error)[:1].lower()}{str(error)[1:]}") from None
    try:
        port = parts.port
    except ValueError:
        raise ValueError("is no URL: its port is no number from 1 to 65535") from None
    if not re.fullmatch(r"[a-z][a-z0-9+.-]*", parts.scheme) or not text.lower().startswith(f"{parts.scheme}://"):
        raise ValueError("is no URL: it begins with no scheme such as https://")
    if "@" in parts.netloc:
        raise ValueError("has a user or a password in it: write it without, secrets go into the vault")
    if not parts.hostname:
        raise ValueError("is no URL: it names no host")
    if port == 0:
        raise ValueError("has port 0")
    if "#" in text:
        raise ValueError("has a fragment ('#')")
    if parts.netloc != parts.netloc.lower() or not text.startswith(f"{parts.scheme}:"):
        raise ValueError("has upper-case letters before its path: URLs are compared letter by letter, write small ones")
    (address if "[" in parts.netloc else address_or_name)(parts.hostname)
    if re.search(r"[\[\]]", parts.netloc) and not re.fullmatch(r"\[[^\[\]]*:[^\[\]]*\](?::[0-9]*)?", parts.netloc):
        raise ValueError("is no URL: its brackets are not around an IPv6 address")
    return parts


def path(text: str) -> str:
    """A path of a file beside the document: relative, never upwards, and never to what is the control node's own."""
    normal = _relative(text, "files that a document names lie beside it")
    if is_private(normal):
        raise ValueError(
            "is hidden or Ansible's own, where keys, secrets and variables lie: no document sends them to a host"
        )
    return normal


def is_private(text: str) -> bool:
    """Whether a path leads to a hidden file (``.secrets``, ``.ca``, ``.vault-pass``, ``.git``) or to variables."""
    return any(step.startswith(".") or step in _OWN_FOLDERS for step in text.split("/"))


def state_path(text: str) -> str:
    """A path of a file in a service's state directory: relative, and never upwards."""
    return _relative(text, "the program writes it into its state directory")


def _relative(text: str, where: str) -> str:
    if _CONTROL.search(text) or "\\" in text or "$" in text:  # Ansible puts environment variables into paths
        raise ValueError("is no path: it has a character that no path of ours has")
    if "://" in text:
        raise ValueError(f"is a URL, and a path is wanted: {where}")
    if text.startswith(("/", "~")):
        raise ValueError(f"is an absolute path: {where}")
    if ".." in text.split("/"):
        raise ValueError(f"leads upwards ('..'): {where}")
    normal = posixpath.normpath(text)
    if normal == ".":
        raise ValueError("names no file")
    if normal.startswith("~"):  # ./~x
        raise ValueError("is no path: it begins with '~', as somebody's home does")
    return normal


def absolute_path(text: str) -> str:
    """A path on a host."""
    if _CONTROL.search(text):
        raise ValueError("is no path: it has a character that no path of ours has")
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError("is no absolute path: it begins with '/' and has no '..'")
    return posixpath.normpath("/" + text.lstrip("/"))


def secret(text: str) -> str:
    """The name of a secret; the value lies in the vault."""
    if not _SECRET.fullmatch(text):
        raise ValueError("is no name of a secret (a lower-case letter, then a-z, 0-9, _, -); values are in the vault")
    return text


def bucket(text: str) -> str:
    """The name of a bucket, as S3 takes it; how long it may be is said where it is asked for."""
    if not _BUCKET.fullmatch(text):
        raise ValueError(
            "is no name of a bucket: a-z, 0-9, '-' and '.', each '.' between two of a-z and 0-9; no address, no xn--"
        )
    return text


def sha256(text: str) -> str:
    """A SHA-256 sum in hexadecimal."""
    if not _SHA256.fullmatch(text):
        raise ValueError("is no SHA-256 sum: 64 of 0-9 and a-f")
    return text


def python_callable(text: str) -> str:
    """``package.module:function``."""
    if not _CALLABLE.fullmatch(text):
        raise ValueError("is no Python callable, such as package.module:function")
    return text


# What of each format a regular expression can say, for editors, in the dialect that Python and JavaScript share: never
# less than what the functions take.
_END = r"(?![A-Za-z0-9.-])"
_BYTE = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"{_BYTE}(?:\.{_BYTE}){{3}}"
_HEX = "[0-9A-Fa-f]{1,4}"
_COMPRESSED = "|".join(f"(?:{_HEX}:){{1,{7 - after}}}(?::{_HEX}){{1,{after}}}" for after in range(1, 7))
_IPV6 = (
    f"(?:(?:{_HEX}:){{7}}{_HEX}|(?:{_HEX}:){{1,7}}:|{_COMPRESSED}|:(?:(?::{_HEX}){{1,7}}|:)"
    rf"|(?:(?:{_HEX}:){{6}}|(?::|(?:{_HEX}:){{1,5}}):(?:{_HEX}:){{0,4}}){_IPV4})"
)
_OF_MANY = "[Ff]{2}[0-9A-Fa-f]{2}:|[Ff][Ee][89ABab][0-9A-Fa-f]:"
"""What multicast and link-local addresses begin with."""
_ADDRESS_4 = rf"(?:(?!0\.|22[4-9]\.|2[3-5][0-9]\.){_IPV4})"
_ADDRESS_6 = rf"(?:(?!{_OF_MANY}|[0:.]+(?![0-9A-Fa-f:.])){_IPV6})"
_DNS = rf"(?:(?=.{{1,253}}{_END})(?!(?:[A-Za-z0-9-]+\.)*(?:[0-9]+|0[xX][0-9A-Fa-f]*){_END}){_LABEL}(?:\.{_LABEL})*)"
_ANY_PORT = (
    "(?=[0-9]{1,5}(?![0-9]))0*(?:6553[0-5]|655[0-2][0-9]|65[0-4][0-9]{2}|6[0-4][0-9]{3}|[1-5][0-9]{4}|[1-9][0-9]{0,3})"
)
_ORIGIN = rf"(?![^/]*//[^/?]*[A-Z])[a-z][a-z0-9+.-]*://(?:\[{_ADDRESS_6}\]|{_ADDRESS_4}|{_DNS})(?::(?:0*{_ANY_PORT})?)?"
_NO_CONTROL = r"\x00-\x1f\x7f\x85\u2028\u2029"
_LAST = "(?:/|$)"
_STEP = rf"[^/{_NO_CONTROL}\\$]"


def _path_of(step: str) -> str:
    """A relative path of such steps; ``.`` and empty ones don't count."""
    return rf"(?!/)(?!.*://)(?:\.?/)*(?!~){step}(?:/(?:{step}|\.(?={_LAST}))?)*"


@dataclass(frozen=True, slots=True)
class Format:
    """A format: what it is called in messages and the reference, the function that checks it, and its pattern."""

    words: str
    check: Callable[[str], str]
    pattern: str


FORMATS: Mapping[str, Format] = {
    "name": Format("a name (lower case)", name, _NAME.pattern),
    "host_name": Format(
        "a host name", host_name, rf"(?!127\.|.*\.\.|[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt]$){_HOST_NAME.pattern}"
    ),
    "dns_name": Format("a DNS name", dns_name, _DNS),
    "address": Format("a numeric address", address, f"{_ADDRESS_4}|{_ADDRESS_6}"),
    "bind_address": Format(
        "a numeric address to listen on", bind_address, rf"{_ADDRESS_4}|0\.0\.0\.0|(?!{_OF_MANY}){_IPV6}"
    ),
    "address_or_name": Format("an address or a DNS name", address_or_name, f"{_ADDRESS_4}|{_ADDRESS_6}|{_DNS}"),
    "address_port": Format(
        "a numeric address with a port", address_port, rf"(?:{_ADDRESS_4}|\[{_ADDRESS_6}\]):{_ANY_PORT}"
    ),
    "endpoint": Format(
        "an address or a DNS name, with a port", endpoint, rf"(?:{_ADDRESS_4}|\[{_ADDRESS_6}\]|{_DNS}):{_ANY_PORT}"
    ),
    "network": Format(
        "a network",
        network,
        rf"(?!0\.0\.0\.0$|::$)(?:{_IPV4}(?:/(?:0*(?:[12]?[0-9]|3[0-2])|{_IPV4}))?"
        f"|{_IPV6}(?:/0*(?:[1-9]?[0-9]|1[01][0-9]|12[0-8]))?)",
    ),
    "url": Format("a URL", url, rf"{_ORIGIN}(?:[/?][^ #{_NO_CONTROL}\\]*)?"),
    "origin": Format("a URL without path", origin, f"{_ORIGIN}/?"),
    "path": Format(
        "the path of a file beside the document",
        path,
        _path_of(rf"(?:(?!\.|(?:{'|'.join(_OWN_FOLDERS)}){_LAST}){_STEP}+)"),
    ),
    "state_path": Format(
        "the path of a file in the state directory", state_path, _path_of(rf"(?:(?!\.\.?{_LAST}){_STEP}+)")
    ),
    "absolute_path": Format("an absolute path on the host", absolute_path, rf"(?:/(?!\.\.{_LAST})[^/{_NO_CONTROL}]*)+"),
    "bucket": Format("the name of a bucket", bucket, _BUCKET.pattern),
    "secret": Format("the name of a secret", secret, _SECRET.pattern),
    "sha256": Format("a SHA-256 sum", sha256, _SHA256.pattern),
    "callable": Format("a Python callable", python_callable, _CALLABLE.pattern),
}
