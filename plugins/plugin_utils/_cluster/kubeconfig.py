# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a cluster's API is reached and who asks there: what a kubeconfig says, as kubectl understands it."""

from __future__ import annotations

import base64
import binascii
import json
import os
import re
import ssl
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

LOGIN_SECONDS = 60
SAID = 500
"""Of what a program says that gives no credentials."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")
NOT_READ = {
    "cluster": ("proxy-url", "tls-server-name"),
    "user": ("as", "as-uid", "as-groups", "as-user-extra", "auth-provider"),
}
"""What would have the API reached another way, or asked as somebody else."""


_TOKEN = re.compile(r"[\x21-\x7e]+")


class KubeconfigError(Exception):
    """Why a kubeconfig leads nowhere, in words for the operator."""


@dataclass(frozen=True, slots=True)
class Access:
    """A cluster's API, and what shows who asks."""

    file: str
    host: str
    port: int
    prefix: str = ""
    tls: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def read(file: str) -> Access:
    """The access that the file's current context gives. Raises KubeconfigError."""
    try:
        values = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
    except OSError as error:
        raise KubeconfigError(f"{file}: {error.strerror}: the cluster's `kubeconfig` of the document") from None
    except (yaml.YAMLError, UnicodeError):
        raise KubeconfigError(f"{file} is no kubeconfig: no YAML") from None
    return _File(file, values).access()


class _File:
    def __init__(self, file: str, values: Any) -> None:
        self.file = file
        self.folder = Path(file).resolve().parent
        self.values = values

    def wrong(self, message: str) -> KubeconfigError:
        return KubeconfigError(f"{self.file}: {message}")

    def access(self) -> Access:
        if not isinstance(self.values, dict) or not self.values.get("current-context"):
            raise self.wrong("has no current-context: `kubectl config use-context NAME` sets one")
        context = self._named("contexts", "context", self.values["current-context"])
        cluster = self._named("clusters", "cluster", context.get("cluster"))
        user = self._named("users", "user", context["user"]) if context.get("user") else {}
        scheme, host, port, prefix = self._server(cluster.get("server"))
        if user.get("exec") is not None:
            user = {**user, **self._login(user["exec"])}
        context_of = self._tls(cluster, user) if scheme == "https" else None
        return Access(self.file, host, port, prefix, context_of, self._headers(user))

    def _server(self, server: Any) -> tuple[str, str, int, str]:
        """Scheme, host, port and path of a cluster's address."""
        try:
            url = urlsplit(str(server))
            host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        except ValueError:
            host, port = "", 0
        if not host or url.scheme not in ("http", "https") or "@" in url.netloc or not _TOKEN.fullmatch(str(server)):
            raise self.wrong("its cluster has no server such as https://10.20.0.11:6443")
        if url.scheme == "http" and host not in LOOPBACK:
            raise self.wrong(f"{host} by http: all on the way would read the secrets: say https")
        return url.scheme, host, port, url.path.rstrip("/")

    def _named(self, kind: str, word: str, name: Any) -> dict[str, Any]:
        entries = self.values.get(kind)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(word), dict):
                found: dict[str, Any] = entry[word]
                strange = [key for key in NOT_READ.get(word, ()) if found.get(key)]
                if strange:
                    told = ", ".join(strange)
                    raise self.wrong(f"{word} '{name}': {told} isn't followed here: take one that does without")
                return found
        raise self.wrong(f"has no {word} '{name}'")

    def _bytes(self, values: Mapping[str, Any], key: str) -> bytes | None:
        """A file's content, or what stands in the kubeconfig itself."""
        inside, path = values.get(f"{key}-data"), values.get(key)
        try:
            if inside:
                return base64.b64decode(inside, validate=True)
            return (self.folder / path).read_bytes() if path else None
        except (binascii.Error, TypeError, ValueError):
            told = f"{key}-data is not what base64 makes" if inside else f"{key} is no path of a file"
            raise self.wrong(told) from None
        except OSError as error:
            raise self.wrong(f"{key}: {error.filename}: {error.strerror}") from None

    def _tls(self, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
        if cluster.get("insecure-skip-tls-verify"):
            raise self.wrong(
                "insecure-skip-tls-verify: whoever answers would get the secrets: give it the cluster's CA"
            )
        authority = self._bytes(cluster, "certificate-authority")
        certificate, key = self._bytes(user, "client-certificate"), self._bytes(user, "client-key")
        try:
            context = ssl.create_default_context(cadata=authority.decode() if authority else None)
            # clusters' own CAs are older than this rule of RFC 5280, and kubectl doesn't keep it either
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            if certificate and key:
                # the standard library takes files only
                with tempfile.TemporaryDirectory(prefix="fedlearn-") as folder:
                    pem = Path(folder) / "client.pem"
                    pem.touch(mode=0o600)
                    pem.write_bytes(certificate + b"\n" + key)
                    context.load_cert_chain(pem)
        except (ssl.SSLError, ValueError) as error:
            raise self.wrong(f"its certificates can't be read: {error}") from None
        return context

    def _headers(self, user: Mapping[str, Any]) -> dict[str, str]:
        token = user.get("token")
        if not token and user.get("tokenFile"):
            token = (self._bytes({"tokenFile": user["tokenFile"]}, "tokenFile") or b"").decode(errors="replace")
        if token:
            # a line break at its end is the file's; anything else that no header takes would be told with the token
            token = str(token).strip()
            if not _TOKEN.fullmatch(token):
                raise self.wrong("the token of its user has characters that no token has: it is one line of ASCII")
            return {"Authorization": f"Bearer {token}"}
        if user.get("username"):
            login = base64.b64encode(f"{user['username']}:{user.get('password', '')}".encode()).decode()
            return {"Authorization": f"Basic {login}"}
        return {}

    def _login(self, told: Any) -> dict[str, Any]:
        """What the program says that the kubeconfig has for it; its arguments may hold secrets, and are never told."""
        try:
            command = [told["command"], *(told.get("args") or ())]
            more = {entry["name"]: entry["value"] for entry in told.get("env") or ()}
            version = told.get("apiVersion")
        except (AttributeError, KeyError, TypeError):
            raise self.wrong("exec of its user names no command, args and env as kubectl has them") from None
        if not all(isinstance(text, str) and "\0" not in text for text in (*command, *more, *more.values())):
            raise self.wrong("exec of its user has something for an argument or a variable that is no text")
        info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
        status = self._said(command, {**os.environ, **more, "KUBERNETES_EXEC_INFO": json.dumps(info)})
        words = {
            "token": "token",
            "client-certificate-data": "clientCertificateData",
            "client-key-data": "clientKeyData",
        }
        found = {key: str(status[word]) for key, word in words.items() if status.get(word)}
        plain = {key: base64.b64encode(value.encode()).decode() for key, value in found.items() if key != "token"}
        return {**found, **plain}

    def _said(self, command: list[str], environment: Mapping[str, str]) -> Mapping[str, Any]:
        """The credentials that a program tells."""
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=LOGIN_SECONDS,
                check=False,
            )
        except OSError as error:
            raise self.wrong(f"`{command[0]}` gave no credentials: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise self.wrong(f"`{command[0]}` gave no credentials in {LOGIN_SECONDS} s") from None
        if done.returncode:
            said = done.stderr.strip()[-SAID:] or "it says nothing"
            raise self.wrong(f"`{command[0]}` gave no credentials and ended with {done.returncode}: {said}")
        try:
            status = json.loads(done.stdout)["status"]
        except (ValueError, KeyError, TypeError):
            status = None
        if not isinstance(status, dict):
            raise self.wrong(f"`{command[0]}` gave no credentials: what it says is no ExecCredential with a status")
        return status
