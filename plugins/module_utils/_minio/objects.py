# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Buckets, policies and users of one MinIO server: what there is, what is wanted, and what was changed."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from xml.etree.ElementTree import Element

from ansible_collections.fedlearn.infra.plugins.module_utils._minio.client import (
    Client,
    MinioError,
    administrator,
    plain_tree,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._turns import settled

_COST = 8192
_PBKDF2_AES_GCM = b"\x02"

BUCKET_ACTIONS = {
    "read": ["s3:GetBucketLocation", "s3:ListBucket"],
    # some programs ask for their bucket at each start, though it is there
    "write": ["s3:CreateBucket", "s3:GetBucketLocation", "s3:ListBucket", "s3:ListBucketMultipartUploads"],
}
OBJECT_ACTIONS = {
    "read": ["s3:GetObject"],
    "write": [
        "s3:AbortMultipartUpload",
        "s3:DeleteObject",
        "s3:GetObject",
        "s3:ListMultipartUploadParts",
        "s3:PutObject",
    ],
}
METRICS_POLICY = "fedlearn-metrics"

Seal = Callable[[bytes, bytes, bytes, bytes], bytes]
"""AES-256-GCM: key, nonce, text and what is only vouched for; the text, then its tag."""


def encrypted(password: str, text: bytes, seal: Seal) -> bytes:
    """A short text as MinIO's administration takes it: salt, cipher, nonce, and one package that is the last one."""
    salt, nonce = os.urandom(32), os.urandom(8)
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _COST, 32)
    head = seal(key, nonce + (0).to_bytes(4, "little"), b"", b"")
    return salt + _PBKDF2_AES_GCM + nonce + seal(key, nonce + (1).to_bytes(4, "little"), text, b"\x80" + head)


def policy_name(client: Mapping[str, Any]) -> str:
    """The policy a client has: shared by those who may do the same with all of a bucket, else its own."""
    if client["access"] == "metrics":
        return METRICS_POLICY
    if client["access"] == "some" or client.get("also"):
        return f"_{client['name']}"  # no name of a bucket begins so, so it is nobody else's
    return f"{client['bucket']}-{client['access']}"


def _on_objects(client: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What a client may do with some objects of its bucket."""
    home, some = f"arn:aws:s3:::{client['bucket']}", client["objects"]
    allowed = (
        ("Allow", "s3:GetObject", "get"),
        ("Allow", "s3:PutObject", "put"),
        ("Deny", "s3:PutObject", "never_put"),
    )
    return [
        {"Effect": effect, "Action": [action], "Resource": [f"{home}/{one}" for one in some[key]]}
        for effect, action, key in allowed
        if some[key]
    ]


def _on_bucket(bucket: str, access: str) -> list[dict[str, Any]]:
    """What a client may do with all of a bucket."""
    home = f"arn:aws:s3:::{bucket}"
    return [
        {"Effect": "Allow", "Action": BUCKET_ACTIONS[access], "Resource": [home]},
        {"Effect": "Allow", "Action": OBJECT_ACTIONS[access], "Resource": [f"{home}/*"]},
    ]


def policy(client: Mapping[str, Any]) -> dict[str, Any]:
    """What a client may do: its buckets and no others, and neither another password nor keys beside its own."""
    denied = {"Effect": "Deny", "Action": ["admin:CreateServiceAccount", "admin:CreateUser"]}
    if client["access"] == "metrics":
        allowed: list[dict[str, Any]] = [{"Effect": "Allow", "Action": ["admin:Prometheus"]}]
    elif client["access"] == "some":
        allowed = _on_objects(client)
    else:
        allowed = _on_bucket(client["bucket"], client["access"])
    for further in client.get("also", ()):
        allowed += _on_bucket(further["bucket"], further["access"])
    return {"Version": "2012-10-17", "Statement": [*allowed, denied]}


def canonical(document: Any) -> Any:
    """A policy in which order and a single word's list don't count."""
    if isinstance(document, dict):
        return {key: canonical([value] if key in ("Action", "Resource") and isinstance(value, str) else value)
                for key, value in document.items() if value not in ("", [], None)}  # fmt: skip
    if isinstance(document, list):
        return sorted((canonical(one) for one in document), key=lambda one: json.dumps(one, sort_keys=True))
    return document


def lifecycle(bucket: Mapping[str, Any]) -> str:
    """The rule of a bucket's lifecycle as XML; empty where nothing expires."""
    current, former = bucket.get("expire_days"), bucket.get("expire_former_days")
    if not current and not former:
        return ""
    # what is left of a deleted object when its last version went
    ends = f"<Days>{current}</Days>" if current else "<ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker>"
    rule = f"<ID>fedlearn</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter><Expiration>{ends}</Expiration>"
    if former:
        rule += f"<NoncurrentVersionExpiration><NoncurrentDays>{former}</NoncurrentDays></NoncurrentVersionExpiration>"
    return f"<LifecycleConfiguration><Rule>{rule}</Rule></LifecycleConfiguration>"


def told(tree: Element) -> Any:
    """An element as words, without what says nothing and without an order."""
    inner = sorted((told(child) for child in tree), key=repr)
    return (tree.tag, (tree.text or "").strip(), [one for one in inner if one[1] or one[2]])


class Server:
    """One server on its way from what was found to what is wanted."""

    def __init__(
        self,
        wanted: Mapping[str, Any],
        passwords: Mapping[str, str],
        turns: Mapping[str, Mapping[str, str]],
        foresee: bool,
        seal: Seal,
    ) -> None:
        self.name, self.wanted, self.foresee = wanted["name"], wanted, foresee
        self._clients = settled(wanted["clients"], passwords, turns)
        self._seal = seal
        self.changes: list[str] = []
        self.doing = "connecting"
        self.reached = False

    def converge(self) -> None:
        """All of it: buckets, then what may be done with them, then who may."""
        tls = self.wanted.get("tls") or {}
        self._admin = administrator(self.name, self.wanted["port"], tls.get("ca"))
        self._admin.wait()
        self.reached = True
        for bucket in self.wanted["buckets"]:
            self._converge_bucket(bucket)
        present = [one for one in self._clients if one["state"] == "present"]
        for name, client in {policy_name(one): one for one in present}.items():
            self._converge_policy(name, policy(client))
        for client in present:
            self._converge_client(client)
        for client in self._clients:
            if client["state"] == "absent" and self._user(client["name"]):
                self._change(f"client {client['name']}: removed", partial(self._remove_user, client["name"]))

    def _change(self, what: str, do: Callable[[], Any]) -> None:
        self.doing = what
        self.changes.append(what)
        if not self.foresee:
            do()

    def _ask(self, method: str, path: str, query: Mapping[str, str] | None = None, *no: str) -> bytes | None:
        """An answer; None where it is one of these refusals."""
        try:
            return self._admin.ask(method, path, query)
        except MinioError as error:
            if error.code in no:
                return None
            raise

    def _put(self, path: str, query: Mapping[str, str], body: str) -> Callable[[], Any]:
        said = body.encode()
        checked = base64.b64encode(hashlib.md5(said).digest()).decode()  # noqa: S324 - S3 asks for this sum
        return lambda: self._admin.ask("PUT", path, query, said, {"content-md5": checked})

    # -- buckets -------------------------------------------------------------------------------------------------------

    def _converge_bucket(self, bucket: Mapping[str, Any]) -> None:
        name, path = bucket["name"], f"/{bucket['name']}"
        self.doing = f"bucket {name}"
        new = self._ask("GET", path, {"location": ""}, "NoSuchBucket") is None
        if new:
            self._change(f"bucket {name}: made", lambda: self._admin.ask("PUT", path))
        shown = None if new and self.foresee else self._ask("GET", path, {"versioning": ""})
        kept = (plain_tree(shown).findtext("Status") or "") if shown else ""
        if (kept == "Enabled") != bucket["versioning"]:
            status = "Enabled" if bucket["versioning"] else "Suspended"
            said = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>"
            self._change(f"bucket {name}: versioning", self._put(path, {"versioning": ""}, said))
        self._converge_lifecycle(bucket, new and self.foresee)
        if not new and self._ask("GET", path, {"policy": ""}, "NoSuchBucketPolicy"):
            do = partial(self._admin.ask, "DELETE", path, {"policy": ""})
            self._change(f"bucket {name}: closed to whoever has no name here", do)

    def _converge_lifecycle(self, bucket: Mapping[str, Any], unmade: bool) -> None:
        path, wanted, query = f"/{bucket['name']}", lifecycle(bucket), {"lifecycle": ""}
        shown = None if unmade else self._ask("GET", path, query, "NoSuchLifecycleConfiguration")
        if (told(plain_tree(shown)) if shown else None) == (told(plain_tree(wanted.encode())) if wanted else None):
            return
        do = self._put(path, query, wanted) if wanted else lambda: self._admin.ask("DELETE", path, query)
        self._change(f"bucket {bucket['name']}: lifecycle", do)

    # -- policies and users --------------------------------------------------------------------------------------------

    def _admin_ask(self, what: str, query: Mapping[str, str], no: str) -> Any:
        try:
            return self._admin.admin("GET", what, query)
        except MinioError as error:
            if error.code == no:
                return None
            raise

    def _user(self, name: str) -> Any:
        self.doing = f"client {name}"
        return self._admin_ask("user-info", {"accessKey": name}, "XMinioAdminNoSuchUser")

    def _converge_policy(self, name: str, wanted: Mapping[str, Any]) -> None:
        self.doing = f"policy {name}"
        found = self._admin_ask("info-canned-policy", {"name": name}, "XMinioAdminNoSuchPolicy")
        if canonical(found) != canonical(wanted):
            body = json.dumps(wanted).encode()
            self._change(f"policy {name}", lambda: self._admin.admin("PUT", "add-canned-policy", {"name": name}, body))

    def _converge_client(self, client: Mapping[str, Any]) -> None:
        name, password, found = client["name"], client["password"], self._user(client["name"])
        if not found:
            self._change(f"client {name}: made", lambda: self._set_user(name, password))
        elif found.get("status") != "enabled":
            self._change(f"client {name}: enabled", lambda: self._replace_password(name, password))
        elif not Client(self._admin.port, name, password, (self.wanted.get("tls") or {}).get("ca")).knows_me():
            self._change(f"client {name}: password", lambda: self._replace_password(name, password))
        for group in (found or {}).get("memberOf") or []:
            self._change(f"client {name}: no longer in {group}", partial(self._leave, name, group))
        wanted = policy_name(client)
        if (found or {}).get("policyName") != wanted:
            query = {"policyName": wanted, "userOrGroup": name, "isGroup": "false"}
            self._change(
                f"client {name}: may {wanted}", lambda: self._admin.admin("PUT", "set-user-or-group-policy", query)
            )

    def _leave(self, name: str, group: str) -> None:
        body = json.dumps({"group": group, "members": [name], "isRemove": True}).encode()
        self._admin.admin("PUT", "update-group-members", body=body)

    def _set_user(self, name: str, password: str) -> None:
        """The password crosses the loopback address encrypted, also without TLS."""
        body = json.dumps({"secretKey": password, "status": "enabled"}).encode()
        sealed = encrypted(self._admin.password, body, self._seal)
        self._admin.admin("PUT", "add-user", {"accessKey": name}, sealed)

    def _replace_password(self, name: str, password: str) -> None:
        """Before, too: of a run that is killed in between the next one finds the password right, and ends none."""
        self._end_temporary_keys(name)
        self._set_user(name, password)
        self._end_temporary_keys(name)

    def _remove_user(self, name: str) -> None:
        self._end_temporary_keys(name)
        self._admin.admin("DELETE", "remove-user", {"accessKey": name})
        self._end_temporary_keys(name)

    def _end_temporary_keys(self, name: str) -> None:
        """Whoever has a password may make keys of it that last for up to a year: no policy denies that."""
        self._admin.admin("POST", "revoke-tokens/builtin", {"user": name, "fullRevoke": "true"})
