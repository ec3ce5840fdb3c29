# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry's answers: which digest an image's tag has there, by the distribution specification's HTTP API."""

from __future__ import annotations

import base64
import hashlib
import http.client
import ipaddress
import json
import re
import ssl
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

_MANIFESTS = ", ".join(
    f"application/vnd.{kind}+json"
    for kind in (
        "oci.image.index.v1",
        "oci.image.manifest.v1",
        "docker.distribution.manifest.list.v2",
        "docker.distribution.manifest.v2",
    )
)
_MOST = 8_000_000
"""So many bytes of an answer are read: manifests have at most four million."""
_SECONDS = 30


class RegistryError(Exception):
    """Why a registry doesn't tell, in words for the operator."""


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks."""

    username: str
    password: str = field(repr=False)

    @property
    def basic(self) -> str:
        """As HTTP has it, and the files of container engines."""
        return base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    content: bytes


class Registry:
    """One, as images name it: ``host:port``, and perhaps a path that their names begin with.

    It is asked by TLS, and without only on loopback, as container engines do. ``ca`` is a file with a CA to believe
    beside the public ones.
    """

    def __init__(self, name: str, login: Login | None = None, ca: str = "") -> None:
        self.place, _slash, self.path = name.partition("/")
        self._login = login
        self._plain = not ca and _is_loopback(self.place)
        self._tls = None if self._plain else _context(ca)

    def digest(self, image: str, reference: str) -> str | None:
        """The digest of what a tag, or a digest, stands for; None where the registry has no such image."""
        repository = "/".join(part for part in (self.path, image) if part)
        path = f"/v2/{repository}/manifests/{reference}"
        answer = self._ask(path)
        if answer.status == http.client.NOT_FOUND:
            return None
        if answer.status != http.client.OK:
            raise RegistryError(f"{self.place} answers {answer.status} for {repository}:{reference}{_told(answer)}")
        return f"sha256:{hashlib.sha256(answer.content).hexdigest()}"

    def _ask(self, path: str) -> _Answer:
        basic = {"Authorization": f"Basic {self._login.basic}"} if self._login else {}
        answer = self._get(self.place, path, {"Accept": _MANIFESTS, **basic}, plain=self._plain)
        challenge = answer.headers.get("www-authenticate", "")
        if answer.status == http.client.UNAUTHORIZED and challenge.lower().startswith("bearer "):
            token = {"Authorization": f"Bearer {self._token(challenge, basic)}"}
            answer = self._get(self.place, path, {"Accept": _MANIFESTS, **token}, plain=self._plain)
        if answer.status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
            who = f"the login {self._login.username}" if self._login else "who has no login"
            raise RegistryError(f"{self.place} refuses {who} ({answer.status}){_told(answer)}")
        return answer

    def _token(self, challenge: str, basic: Mapping[str, str]) -> str:
        """What the registry's own server of tokens gives for the login."""
        told = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = urlsplit(told.get("realm", ""))
        plain = realm.scheme == "http" and _is_loopback(realm.netloc)
        if realm.scheme != "https" and not plain:
            raise RegistryError(
                f"{self.place} gives its tokens at {told.get('realm')}, which isn't by TLS: none is asked"
            )
        query = urlencode({key: told[key] for key in ("service", "scope") if key in told})
        answer = self._get(realm.netloc, f"{realm.path or '/'}?{query}", basic, plain=plain)
        try:
            values = json.loads(answer.content)
            return str(values.get("token") or values["access_token"])
        except (ValueError, KeyError, AttributeError):
            raise RegistryError(f"{realm.netloc} gives no token for {self.place} ({answer.status})") from None

    def _get(self, place: str, path: str, headers: Mapping[str, str], *, plain: bool) -> _Answer:
        try:
            with closing(self._connection(place, plain=plain)) as connection:
                connection.request("GET", path, headers=dict(headers))
                found = connection.getresponse()
                told = {name.lower(): value for name, value in found.getheaders()}
                return _Answer(found.status, told, found.read(_MOST))
        except (OSError, OverflowError, http.client.HTTPException) as error:
            raise RegistryError(f"{place} can't be asked: {error or type(error).__name__}") from None

    def _connection(self, place: str, *, plain: bool) -> http.client.HTTPConnection:
        if plain:
            return http.client.HTTPConnection(place, timeout=_SECONDS)
        return http.client.HTTPSConnection(place, timeout=_SECONDS, context=self._tls or _context(""))


def _context(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Python 3.13 began to refuse what container engines accept, such as a CA without a key usage
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca:
        try:
            context.load_verify_locations(cafile=ca)
        except OSError as error:  # an SSLError too
            raise RegistryError(f"{ca}: is no file with a CA: {error.strerror or error}") from None
    return context


def _is_loopback(place: str) -> bool:
    host = urlsplit(f"//{place}").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _told(answer: _Answer) -> str:
    """The reason that an answer gives."""
    try:
        return "".join(f": {one['message']}" for one in json.loads(answer.content)["errors"][:1])
    except (ValueError, KeyError, TypeError):
        return ""
