# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said to a MinIO server from its own host: S3, and MinIO's administration. Standard library only."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import http.client
import json
import re
import ssl
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn
from xml.etree import ElementTree

ADMINISTRATOR = "administrator"
REGION = "us-east-1"
_ADMIN = "/minio/admin/v3/"
_UNSIGNED = "UNSIGNED-PAYLOAD"
_CHUNK = 1 << 20
_ANSWER_SECONDS = 60
_READY_SECONDS = 30
# what a server says that is up and has not read who may come yet
_NOT_YET = ("XMinioServerNotInitialized", "XMinioIAMNotInitialized", "SlowDown", "ServiceUnavailable")


class MinioError(Exception):
    """What a server refused, in its own words; ``code`` is S3's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code


class UnansweredError(Exception):
    """Nobody answers, or not the server whose certificate is known."""


def _quoted(text: str, safe: str = "") -> str:
    return urllib.parse.quote(text, safe=safe + "-_.~")


def signature(
    secret: str, access: str, method: str, path: str, query: str, headers: Mapping[str, str], payload: str
) -> str:
    """The header Authorization of a request (AWS Signature Version 4). ``path`` and ``query`` as they are sent."""
    names = ";".join(sorted(headers))
    lines = [method, path, query, *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, payload]
    stamp = headers["x-amz-date"]
    scope = f"{stamp[:8]}/{REGION}/s3/aws4_request"
    said = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256("\n".join(lines).encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for part in [*scope.split("/"), said]:
        key = hmac.digest(key, part.encode(), "sha256")
    return f"AWS4-HMAC-SHA256 Credential={access}/{scope}, SignedHeaders={names}, Signature={key.hex()}"


class Client:
    """One name at one server. Every call is a connection of its own: a server may restart between two."""

    def __init__(self, port: int, access: str, secret: str, ca: str | None = None, host: str = "127.0.0.1") -> None:
        """``ca``: file with the CA of the server's certificate; without it plain HTTP."""
        self.host, self.port, self.access, self.password, self.ca = host, port, access, secret, ca
        self._context = None
        if ca:
            self._context = ssl.create_default_context(cafile=ca)
            # it is reached by the loopback address, which no certificate has to name
            self._context.check_hostname = False
            # Python 3.13 began to refuse what the programs themselves accept, such as a CA without a key usage
            self._context.verify_flags &= ~ssl.VERIFY_X509_STRICT

    def _connection(self) -> http.client.HTTPConnection:
        if self._context:
            return http.client.HTTPSConnection(
                self.host, self.port, timeout=_ANSWER_SECONDS, context=self._context, blocksize=_CHUNK
            )
        return http.client.HTTPConnection(self.host, self.port, timeout=_ANSWER_SECONDS, blocksize=_CHUNK)

    def send(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Any = b"",
        headers: Mapping[str, str] | None = None,
    ) -> http.client.HTTPResponse:
        """The answer, whatever its status; its body is to be read yet. ``body``: bytes, or a file with its length."""
        asked = "&".join(f"{_quoted(key)}={_quoted(value)}" for key, value in sorted((query or {}).items()))
        place = _quoted(path, "/")
        payload = hashlib.sha256(body).hexdigest() if isinstance(body, bytes) else _UNSIGNED
        signed = {
            "host": f"{self.host}:{self.port}",
            "x-amz-content-sha256": payload,
            "x-amz-date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ"),
            **{name.lower(): " ".join(value.split()) for name, value in (headers or {}).items()},
        }
        signed["authorization"] = signature(self.password, self.access, method, place, asked, signed, payload)
        connection = self._connection()
        try:
            connection.request(method, f"{place}?{asked}" if asked else place, body=body, headers=signed)
            return connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise UnansweredError(f"{self.host} port {self.port}: {error or type(error).__name__}") from error

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> bytes:
        """The body of a good answer; MinioError for any other."""
        with self.send(method, path, query, body, headers) as answer:
            said = _read(answer)
        if answer.status >= 300:
            refused(answer.status, said)
        return said

    def admin(self, method: str, what: str, query: Mapping[str, str] | None = None, body: bytes = b"") -> Any:
        """An answer of MinIO's administration, None where it is empty."""
        said = self.ask(method, _ADMIN + what, query, body)
        return json.loads(said) if said.strip() else None

    def wait(self) -> None:
        """Returns when the server answers and has read who may come; at the latest it says what keeps it."""
        limit = time.monotonic() + _READY_SECONDS
        while True:
            try:
                self.ask("GET", "/")
                return
            except MinioError as error:
                if error.code not in _NOT_YET or time.monotonic() > limit:
                    raise
            time.sleep(0.2)

    def knows_me(self) -> bool:
        """Whether name and password are those the server has, whatever they may do there."""
        try:
            self.ask("GET", "/")
        except MinioError as error:
            if error.code in ("InvalidAccessKeyId", "SignatureDoesNotMatch"):
                return False
            if error.code != "AccessDenied":
                raise
        return True

    def objects(self, bucket: str) -> Iterator[str]:
        """The keys of all objects of a bucket, in order."""
        more: dict[str, str] = {}
        while True:
            query = {"list-type": "2", "encoding-type": "url", **more}
            page = plain_tree(self.ask("GET", f"/{bucket}", query))
            for found in page.iter("Key"):
                yield urllib.parse.unquote_plus(found.text or "")
            token = page.findtext("NextContinuationToken")
            if page.findtext("IsTruncated") != "true" or not token:
                return
            more = {"continuation-token": token}


def _read(answer: http.client.HTTPResponse) -> bytes:
    try:
        return answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise UnansweredError(f"the answer broke off: {error or type(error).__name__}") from error


def refused(status: int, said: bytes) -> NoReturn:
    """Raises what an answer that is none says: XML of S3, JSON of the administration, nothing to a HEAD."""
    if said.lstrip()[:1] == b"{":
        told = json.loads(said)
        raise MinioError(str(told.get("Code")), str(told.get("Message")))
    if said.lstrip()[:1] == b"<":
        tree = plain_tree(said)
        raise MinioError(tree.findtext("Code") or str(status), tree.findtext("Message") or "")
    raise MinioError(f"HTTP {status}", said.decode("utf-8", "replace").strip())


def plain_tree(said: bytes) -> ElementTree.Element:
    """An answer's XML without its namespace."""
    return ElementTree.fromstring(re.sub(rb'\sxmlns="[^"]*"', b"", said))  # noqa: S314 - our own server's answer


def administrator(name: str, port: int, ca: str | None) -> Client:
    """The client that may do everything, by the password that the server's first start made and root may read."""
    path = f"/var/lib/fedlearn-{name}/{ADMINISTRATOR}"
    try:
        with open(path, encoding="ascii") as file:
            password = file.read().strip()
        return Client(port, ADMINISTRATOR, password, ca)
    except (OSError, ValueError) as error:
        raise UnansweredError(str(error)) from error
