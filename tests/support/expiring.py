# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A deployed certificate that ran out yesterday: the same name and key, signed by the party's CA."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from standing_demo import Demo


def expired(certificate: str, ca_key: Path, passphrase: str) -> str:
    """A certificate as it is, but for its days."""
    loaded = x509.load_pem_x509_certificate(certificate.encode())
    key = serialization.load_pem_private_key(ca_key.read_bytes(), passphrase.encode())
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(loaded.subject)
        .issuer_name(loaded.issuer)
        .public_key(loaded.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=9))
        .not_valid_after(now - datetime.timedelta(days=1))
    )
    for extension in loaded.extensions:
        made = made.add_extension(extension.value, extension.critical)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()  # type: ignore[arg-type]


def let_expire(demo: Demo, host: str, folder: str, state: Path) -> None:
    """Lay one in a folder of a host's certificates, and have nginx read it; ``state`` is where the CA's key lies."""
    text = expired(
        demo.run(host, f"cat {folder}/cert.pem"), state / ".ca" / "lab" / "lab.key", demo.secrets()["ca_lab"]
    )
    lay = "".join(f"cat >{folder}/{name} <<'END-OF-FILE'\n{text}END-OF-FILE\n" for name in ("cert.pem", "chain.pem"))
    demo.run(host, f"{lay}systemctl reload nginx; sleep 1")
