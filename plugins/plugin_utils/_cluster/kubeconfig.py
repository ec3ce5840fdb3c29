# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a cluster's API is reached and who asks there: what a kubeconfig says, as kubectl understands it."""

from __future__ import annotations

import base64
import binascii
import json
import os
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
LOOPBACK = ("127.0.0.1", "::1", "localhost")
NOT_READ = {
    "cluster": ("proxy-url", "tls-server-name"),
    "user": ("as", "as-uid", "as-groups", "as-user-extra", "auth-provider"),
}
"""What would have the API reached another way, or asked as somebody else."""


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
    headers: Mapping[str, str] = field(default_factory=dict)


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
        url = urlsplit(str(cluster.get("server", "")))
        if url.scheme not in ("http", "https") or not url.hostname:
            raise self.wrong("its cluster has no server such as https://10.20.0.11:6443")
        if url.scheme == "http" and url.hostname not in LOOPBACK:
            raise self.wrong(f"{url.hostname} by http: all on the way would read the secrets: say https")
        if "exec" in user:
            user = {**user, **self._login(user["exec"])}
        port = url.port or (443 if url.scheme == "https" else 80)
        context_of = self._tls(cluster, user) if url.scheme == "https" else None
        return Access(self.file, url.hostname, port, url.path.rstrip("/"), context_of, self._headers(user))

    def _named(self, kind: str, word: str, name: Any) -> dict[str, Any]:
        for entry in self.values.get(kind) or []:
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
        try:
            if values.get(f"{key}-data"):
                return base64.b64decode(values[f"{key}-data"], validate=True)
            return (self.folder / values[key]).read_bytes() if values.get(key) else None
        except binascii.Error:
            raise self.wrong(f"{key}-data is not what base64 makes") from None
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
            found = self._bytes({"tokenFile": user["tokenFile"]}, "tokenFile")
            token = found.decode().strip() if found else None
        if token:
            return {"Authorization": f"Bearer {token}"}
        if user.get("username"):
            login = base64.b64encode(f"{user['username']}:{user.get('password', '')}".encode()).decode()
            return {"Authorization": f"Basic {login}"}
        return {}

    def _login(self, told: Any) -> dict[str, Any]:
        """What the program says that the kubeconfig has for it."""
        command = [told["command"], *(told.get("args") or [])]
        more = {entry["name"]: entry["value"] for entry in told.get("env") or []}
        info = {"apiVersion": told.get("apiVersion"), "kind": "ExecCredential", "spec": {"interactive": False}}
        environment = {**os.environ, **more, "KUBERNETES_EXEC_INFO": json.dumps(info)}
        try:
            done = subprocess.run(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=LOGIN_SECONDS,
                check=True,
            )
            status = json.loads(done.stdout)["status"]
        except (OSError, subprocess.SubprocessError, ValueError, KeyError) as error:
            raise self.wrong(f"`{command[0]}` gave no credentials: {error}") from None
        words = {
            "token": "token",
            "client-certificate-data": "clientCertificateData",
            "client-key-data": "clientKeyData",
        }
        found = {key: status[word] for key, word in words.items() if status.get(word)}
        plain = {key: base64.b64encode(value.encode()).decode() for key, value in found.items() if key != "token"}
        return {**found, **plain}
