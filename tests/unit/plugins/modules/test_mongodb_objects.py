# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of logins without a server; with one, molecule/mongodb."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.fedlearn.infra.plugins.modules.mongodb_objects import certificate_of, fits, told

# the exchange of RFC 7677: user `user`, password `pencil`
KEPT = {
    "salt": "W22ZaJ0SNY7soEsUEjb6gQ==",
    "iterationCount": 4096,
    "storedKey": "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=",
}


def test_a_password_fits_what_is_kept_of_it() -> None:
    assert fits("pencil", KEPT)
    assert not fits("Pencil", KEPT)
    assert not fits("pencil", {**KEPT, "iterationCount": 4097})


def test_an_error_is_told_once() -> None:
    assert told(OSError("Authentication failed., full error: {'ok': 0.0}")) == "Authentication failed."
    assert told(OSError("two\n  lines")) == "two lines"


def test_certificate_and_key_are_one_file_that_nobody_else_reads(tmp_path: Path) -> None:
    for name in ("pem", "key"):
        (tmp_path / name).write_text(f"the {name}")
    pair = {"client_ca": "/ca", "client_certificate": str(tmp_path / "pem"), "client_key": str(tmp_path / "key")}
    path = Path(certificate_of({"name": "one", "tls": pair}, str(tmp_path)))
    assert path.read_text() == "the pem\nthe key\n"
    assert path.stat().st_mode & 0o777 == 0o600
    outside = {"external": {"tls": {"certificate": str(tmp_path / "pem"), "key": str(tmp_path / "key")}}}
    assert Path(certificate_of({"name": "two", **outside}, str(tmp_path))).read_text() == "the pem\nthe key\n"
    assert certificate_of({"name": "three", "tls": {"certificate": "/c", "key": "/k"}}, str(tmp_path)) == ""
