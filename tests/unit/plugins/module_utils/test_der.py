# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is no certificate is told as that, whatever it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from ansible_collections.fedlearn.infra.plugins.module_utils._pki import der


@pytest.fixture(scope="module")
def encoded() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("server.test")]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_a_certificate_is_read(encoded: bytes) -> None:
    read = der.certificate(encoded)
    assert (read.common_name, read.dns_names) == ("server", ("server.test",))


@pytest.mark.parametrize("content", [b"", b"\x30", b"\x30\x00", b"\x30\x02\x30\x00", b"no certificate"])
def test_anything_else_is_a_der_error(content: bytes) -> None:
    with pytest.raises(der.DerError):
        der.certificate(content)


def test_no_cut_of_a_certificate_is_another_error(encoded: bytes) -> None:
    for length in range(len(encoded)):
        with pytest.raises(der.DerError):
            der.certificate(encoded[:length])
