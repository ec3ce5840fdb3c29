# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is said to a MinIO server: signed as S3 wants it, encrypted as its administration does, and no more than needed.

The scenario `minio` says all of it to a server.
"""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ansible_collections.fedlearn.infra.plugins.module_utils._minio.client import (
    MinioError,
    plain_tree,
    refused,
    signature,
)
from ansible_collections.fedlearn.infra.plugins.module_utils._minio.objects import (
    canonical,
    encrypted,
    lifecycle,
    policy,
    policy_name,
    told,
)

NOTHING = hashlib.sha256(b"").hexdigest()
WRITER = {"name": "a", "bucket": "imaging", "access": "write"}


def test_a_request_is_signed_as_in_the_example_of_s3s_documentation() -> None:
    headers = {
        "host": "examplebucket.s3.amazonaws.com",
        "x-amz-content-sha256": NOTHING,
        "x-amz-date": "20130524T000000Z",
    }
    secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
    said = signature(secret, "AKIAIOSFODNN7EXAMPLE", "GET", "/", "lifecycle=", headers, NOTHING)
    assert said.endswith("Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543")


def test_a_password_is_encrypted_as_one_last_package() -> None:
    sealed = encrypted("password", b"text", lambda key, *rest: AESGCM(key).encrypt(*rest))
    salt, cipher, nonce, package = sealed[:32], sealed[32], sealed[33:41], sealed[41:]
    aead = AESGCM(hashlib.pbkdf2_hmac("sha256", b"password", salt, 8192, 32))
    vouched = b"\x80" + aead.encrypt(nonce + bytes(4), b"", b"")
    assert cipher == 2
    assert aead.decrypt(nonce + b"\x01\x00\x00\x00", package, vouched) == b"text"
    assert encrypted("password", b"text", lambda *_given: b"")[:41] != sealed[:41]


@pytest.mark.parametrize(
    ("access", "actions"),
    [
        ("read", {"s3:GetObject"}),
        (
            "write",
            {
                "s3:GetObject",
                "s3:PutObject",
                "s3:DeleteObject",
                "s3:AbortMultipartUpload",
                "s3:ListMultipartUploadParts",
            },
        ),
    ],
)
def test_a_policy_is_for_one_bucket(access: str, actions: set[str]) -> None:
    of_bucket, of_objects, denied = policy({**WRITER, "access": access})["Statement"]
    assert of_bucket["Resource"] == ["arn:aws:s3:::imaging"]
    assert ("s3:CreateBucket" in of_bucket["Action"]) == (access == "write")
    assert of_objects["Resource"] == ["arn:aws:s3:::imaging/*"]
    assert set(of_objects["Action"]) == actions
    assert denied == {"Effect": "Deny", "Action": ["admin:CreateServiceAccount", "admin:CreateUser"]}
    assert policy_name({**WRITER, "access": access}) == f"imaging-{access}"


def test_who_is_for_some_objects_lists_nothing_and_shares_its_policy_with_nobody() -> None:
    some = {"get": ["*/global"], "put": ["*"], "never_put": ["*/global"]}
    client = {**WRITER, "name": "participants", "access": "some", "objects": some}
    got, put, never, _denied = policy(client)["Statement"]
    assert (got["Effect"], got["Action"], got["Resource"]) == (
        "Allow",
        ["s3:GetObject"],
        ["arn:aws:s3:::imaging/*/global"],
    )
    assert (put["Effect"], put["Action"], put["Resource"]) == ("Allow", ["s3:PutObject"], ["arn:aws:s3:::imaging/*"])
    assert (never["Effect"], never["Action"], never["Resource"]) == ("Deny", put["Action"], got["Resource"])
    assert policy_name(client) == "_participants"
    assert len(policy({**client, "objects": {**some, "never_put": []}})["Statement"]) == 3


def test_who_copies_between_buckets_has_a_policy_of_its_own() -> None:
    client = {**WRITER, "name": "models", "also": [{"bucket": "default", "access": "read"}]}
    _bucket, written, _further, read, _denied = policy(client)["Statement"]
    assert (written["Resource"], "s3:PutObject" in written["Action"]) == (["arn:aws:s3:::imaging/*"], True)
    assert (read["Resource"], read["Action"]) == (["arn:aws:s3:::default/*"], ["s3:GetObject"])
    assert policy_name(client) == "_models"
    assert policy_name({**client, "also": []}) == "imaging-write"


def test_whatever_they_are_called_nobody_has_the_policy_of_another_bucket_s_client() -> None:
    clients = [
        {"name": "x-read", "bucket": "imaging", "access": "some"},
        {"name": "reader", "bucket": "imaging-x", "access": "read"},
        {"name": "write", "bucket": "imaging", "access": "some"},
        {"name": "writer", "bucket": "imaging", "access": "write"},
        {"name": "metrics", "bucket": "fedlearn", "access": "some"},
        {"name": "watcher", "access": "metrics"},
    ]
    assert len({policy_name(client) for client in clients}) == len(clients)


def test_who_sees_metrics_reaches_no_bucket() -> None:
    statements = policy({"name": "watcher", "access": "metrics"})["Statement"]
    assert [one["Action"] for one in statements] == [
        ["admin:Prometheus"],
        ["admin:CreateServiceAccount", "admin:CreateUser"],
    ]


def test_the_order_of_a_policy_does_not_count_and_its_content_does() -> None:
    wanted = policy(WRITER)
    shown = {**wanted, "ID": "", "Statement": wanted["Statement"][::-1]}
    assert canonical(shown) == canonical(wanted)
    assert canonical({"Action": "s3:*"}) == canonical({"Action": ["s3:*"]})
    assert canonical(policy({**WRITER, "access": "read"})) != canonical(wanted)


@pytest.mark.parametrize(
    ("bucket", "rule"),
    [
        ({}, ""),
        ({"expire_days": 3}, "<Expiration><Days>3</Days></Expiration>"),
        (
            {"expire_former_days": 7},
            "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>"
            "<NoncurrentVersionExpiration><NoncurrentDays>7</NoncurrentDays></NoncurrentVersionExpiration>",
        ),
    ],
)
def test_what_expires(bucket: dict[str, Any], rule: str) -> None:
    assert lifecycle(bucket).partition("</Filter>")[2].removesuffix("</Rule></LifecycleConfiguration>") == rule


def test_a_lifecycle_is_compared_by_what_it_says() -> None:
    wanted = lifecycle({"expire_days": 3})
    shown = wanted.replace("<LifecycleConfiguration>", '<LifecycleConfiguration xmlns="http://s3/">').replace(
        "<Filter><Prefix></Prefix></Filter>", "<Filter></Filter>"
    )
    assert told(plain_tree(shown.encode())) == told(plain_tree(wanted.encode()))
    assert told(plain_tree(lifecycle({"expire_days": 4}).encode())) != told(plain_tree(wanted.encode()))


@pytest.mark.parametrize(
    ("said", "code", "message"),
    [
        (b"<Error><Code>NoSuchBucket</Code><Message>none</Message></Error>", "NoSuchBucket", "NoSuchBucket: none"),
        (
            b'{"Code": "XMinioAdminNoSuchUser", "Message": "none"}',
            "XMinioAdminNoSuchUser",
            "XMinioAdminNoSuchUser: none",
        ),
        (b"", "HTTP 404", "HTTP 404"),
        (b"Client sent an HTTP request", "HTTP 404", "HTTP 404: Client sent an HTTP request"),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(said: bytes, code: str, message: str) -> None:
    with pytest.raises(MinioError) as caught:
        refused(404, said)
    assert (caught.value.code, str(caught.value)) == (code, message)
