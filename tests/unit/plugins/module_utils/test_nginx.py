# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Why nginx wouldn't start again, in its own words; and what it reads that has ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ansible_collections.fedlearn.infra.plugins.module_utils._nginx import ended_files, refusal

WHY = 'open() "/nowhere" failed (2: No such file or directory) in /etc/nginx/conf.d/zz.conf:1'


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (f"nginx: [emerg] {WHY}\nnginx: configuration file /etc/nginx/nginx.conf test failed\n", WHY),
        (f"2026/11/28 20:28:40 [emerg] 405#405: {WHY}\nnginx: configuration file test failed\n", WHY),
        ("nginx: [alert] something else\n", "nginx: [alert] something else"),
    ],
    ids=["without a log", "as its log has it", "no emergency"],
)
def test_what_it_refuses_is_told_without_time_and_process(tmp_path: Path, said: str, told: str) -> None:
    program = tmp_path / "nginx"
    program.touch(0o755)
    module = SimpleNamespace(run_command=lambda _argv: (1, "", said))
    assert refusal(module, str(program)) == f"nginx refuses the files it would start with: {told}"


def test_nothing_is_told_of_files_that_it_takes_or_of_no_nginx(tmp_path: Path) -> None:
    program = tmp_path / "nginx"
    module = SimpleNamespace(run_command=lambda _argv: (0, "", "nginx: [warn] conflicting server name\n"))
    assert refusal(module, None) == refusal(module, str(program)) == ""
    program.touch(0o755)
    assert refusal(module, str(program)) == ""


NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
OLD, NEW = NOW - timedelta(days=1), NOW + timedelta(days=1)
KEY = ec.generate_private_key(ec.SECP256R1())
NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "one")])


def certificate(end: datetime) -> str:
    builder = x509.CertificateBuilder(NAME, NAME, KEY.public_key(), 1, end - timedelta(days=9), end)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


def revoked(end: datetime) -> str:
    builder = x509.CertificateRevocationListBuilder(NAME, end - timedelta(days=9), end)
    return builder.sign(KEY, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("directive", "content", "told"),
    [
        ("ssl_certificate", certificate(NEW), False),
        ("ssl_certificate", certificate(OLD), True),
        ("ssl_certificate", certificate(NEW) + certificate(OLD), True),
        ("proxy_ssl_certificate", certificate(OLD), True),
        ("ssl_client_certificate", certificate(OLD), True),
        ("ssl_client_certificate", certificate(OLD) + certificate(NEW), False),
        ("proxy_ssl_trusted_certificate", certificate(OLD) + certificate(OLD), True),
        ("ssl_crl", revoked(NEW), False),
        ("ssl_crl", revoked(NEW) + revoked(OLD), True),
        ("ssl_certificate_key", certificate(OLD), False),
        ("ssl_certificate", "no certificate", False),
    ],
)
def test_what_has_ended_is_told_of_the_site_that_reads_it(
    tmp_path: Path, directive: str, content: str, told: bool
) -> None:
    program, file = tmp_path / "nginx", tmp_path / "one.pem"
    program.touch(0o755)
    file.write_text(content)
    other = f'    ssl_certificate "{tmp_path / "nowhere.pem"}";\n'
    sites = {
        "nginx.conf": f"ssl_certificate {file};\n",
        "conf.d/fedlearn-web-1.conf": f'server {{\n    {directive} "{file}";\n    {directive} "{file}";\n}}\n',
        "streams.d/fedlearn-more.conf": other,
        "sites-enabled/theirs": f"    ssl_certificate {file};\n",
    }
    dump = "".join(f"# configuration file /etc/nginx/{path}:\n{text}\n" for path, text in sites.items())
    module = SimpleNamespace(run_command=lambda _argv: (0, dump, ""))
    line = f"{file} has ended on 2026-11-27T12:00:00Z"
    assert ended_files(module, str(program), NOW.timestamp()) == ({"web-1": [line]} if told else {})
    assert ended_files(module, None, NOW.timestamp()) == {}
