# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The scripts that roles lay are scripts, whatever their instances have."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar, trust_as_template

from ansible_collections.fedlearn.infra.plugins.plugin_utils._roles.catalogue import INSTANCES

ROLES = Path(__file__).resolve().parents[3] / "roles"
SCRIPTS = sorted(ROLES.glob("*/templates/etc/fedlearn/federation/instance/*.sh.j2"))
PAIR = {"certificate": "/c.pem", "key": "/k.pem"}
TLS = {**PAIR, "ca": "/ca.pem"}
CLIENT = {"client_ca": "/ca.pem", "client_certificate": "/c.pem", "client_key": "/k.pem"}
S3 = {"url": "https://store:9000", "bucket": "imaging", "client": "imaging_a", "secret": "of_imaging"}
KEPT = {"name": "one", "federation": "demo"}
USERS = {"users": [{"name": "ci", "secret": "registry_ci"}]}
OF_ALL = {**KEPT, "addresses": ["127.0.0.1", "10.20.0.12"]}
CONTAINED = {
    **KEPT,
    "listen": {"address": "10.30.0.11"},
    "server": "10.20.0.12:30091",
    "container": {"image": f"registry.example/nsfl-client-cpu@sha256:{64 * 'a'}"},
}
CASES: dict[str, list[dict[str, Any]]] = {
    "minio": [KEPT, {**KEPT, "tls": TLS}, {**KEPT, "address": "10.20.0.12", "tls": TLS}],
    "mongodb": [KEPT, {**KEPT, "tls": TLS}, {**KEPT, "address": "10.20.0.12", "tls": {**TLS, **CLIENT}}],
    "neursafe_standalone": [CONTAINED, {**CONTAINED, "datasets": {"a b": "/srv/a b"}, "groups": ["images"]}],
    "postgresql": [KEPT, {**KEPT, "tls": TLS}, {**OF_ALL, "tls": {**TLS, "client_ca": "/ca.pem"}}],
    "redis": [
        KEPT,
        {**KEPT, "tls": {**PAIR, "server_ca": "/ca.pem"}},
        {**OF_ALL, "tls": {**PAIR, "client_ca": "/ca.pem"}},
        {**OF_ALL, "tls": {**PAIR, "client_ca": "/clients.pem", "server_ca": "/ca.pem"}},
    ],
    "registry": [{**KEPT, **USERS}, {**KEPT, **USERS, "address": "10.20.0.12", "tls": TLS}],
    "s3fs": [{**KEPT, "path": "/srv/a", "s3": S3}, {**KEPT, "path": "/srv/a", "directory": "/data"}],
}


def rendered(script: Path, instance: dict[str, Any]) -> str:
    """A role's script for an instance, its other variables by their defaults."""
    role = script.relative_to(ROLES).parts[0]
    variables: dict[str, Any] = {"inventory_dir": "/of/the/inventory"}
    for file in ("defaults", "vars"):
        for name, value in (yaml.safe_load((ROLES / role / file / "main.yml").read_text()) or {}).items():
            variables[name] = trust_as_template(value) if isinstance(value, str) else value
    variables |= {"instance": instance, f"{role}_program": "/opt/program"}
    templar = Templar(DataLoader()).copy_with_new_env(
        searchpath=[str(ROLES / script.relative_to(ROLES).parts[0] / "templates")], available_variables=variables
    )
    return str(templar.template(trust_as_template(script.read_text()), escape_backslashes=False))


def test_each_role_with_scripts_is_asked() -> None:
    assert {script.relative_to(ROLES).parts[0] for script in SCRIPTS} == set(CASES)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.relative_to(ROLES).parts[0])
def test_it_is_a_script(script: Path) -> None:
    role = script.relative_to(ROLES).parts[0]
    variable = next(name for name in INSTANCES if name.rpartition("_")[0] == role)
    for case in CASES[role]:
        (instance,) = INSTANCES[variable]([case])
        read = subprocess.run(
            ["sh", "-n"], input=rendered(script, dict(instance)), capture_output=True, text=True, check=False
        )
        assert (read.returncode, read.stderr) == (0, ""), case


JUDGES = {"postgresql": ("fitting", "ca"), "redis": ("fit", "server_ca")}
"""Roles that include certificates.sh: what looks at certificates, and what they call the CA of their own."""


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Those of the roles' scenarios."""
    folder = tmp_path_factory.mktemp("certificates") / "made"
    maker = ROLES.parent / "molecule" / "shared" / "role" / "certificates.sh"
    subprocess.run(["sh", str(maker), str(folder), "10.20.0.12"], check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("role", JUDGES)
@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({}, ""),
        ({"certificate": "expired.pem"}, "expired.pem: the certificate has expired, on 2020-02-01T00:00:00Z: renew it"),
        ({"certificate": "nowhere.pem"}, "nowhere.pem isn't there, or is empty"),
        ({"certificate": "server.key"}, "server.key: "),
        ({"certificate": "client.pem", "key": "client.key"}, "client.pem isn't valid for 10.20.0.12: public_name says"),
        ({"own": "ended-ca.pem"}, "ended-ca.pem: the CA's certificate has expired, on 2020-02-01T00:00:00Z: clients"),
        ({"own": "other.pem"}, "unable to get local issuer certificate"),
        ({"own": "server.key"}, "server.key: there is no certificate in it"),
        ({"client_ca": "ended-ca.pem"}, "ended-ca.pem has no CA that is valid now, the last ended on 2020-02-01T00"),
        ({"client_ca": "both.pem"}, ""),
        ({"public_name": "server.test"}, ""),
        ({"public_name": "elsewhere.test"}, "server.pem isn't valid for elsewhere.test: public_name says what else"),
    ],
)
def test_certificates_are_refused_by_name_and_date(
    certificates: Path, role: str, changed: dict[str, str], told: str
) -> None:
    judge, own = JUDGES[role]
    (script,) = (one for one in SCRIPTS if one.relative_to(ROLES).parts[0] == role)
    (certificates / "both.pem").write_text(
        "".join((certificates / f"{one}.pem").read_text() for one in ("ended-ca", "ca"))
    )
    files = {"certificate": "server.pem", "key": "server.key", "own": "ca.pem", "client_ca": "ca.pem", **changed}
    name = {"public_name": files.pop("public_name")} if "public_name" in files else {}
    tls = {key.replace("own", own): str(certificates / file) for key, file in files.items()}
    variable = next(one for one in INSTANCES if one.rpartition("_")[0] == role)
    (instance,) = INSTANCES[variable]([{**KEPT, "addresses": ["10.20.0.12"], "tls": tls, **name}])
    functions = rendered(script, dict(instance)).partition("\ncase $1 in\n")[0]
    done = subprocess.run(["sh", "-s"], input=f"{functions}\n{judge}\n", capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert (done.returncode == 0) is (told == ""), said
    assert told in said
