# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How Janus' databases are reached by the modules for them."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

try:
    import psycopg2
except ImportError:
    PSYCOPG2_TROUBLE: str | None = traceback.format_exc()
else:
    PSYCOPG2_TROUBLE = None

SECONDS = 20
_REQUIRED = {"type": "str", "required": True}
OPTIONS: dict[str, dict[str, Any]] = {
    **dict.fromkeys(("name", "host", "database", "user"), _REQUIRED),
    "port": {"type": "int", "required": True},
    "ca": {"type": "path"},
}
"""What a module takes of each."""


def connect(given: Mapping[str, Any], password: str) -> Any:
    """A connection as ``given`` says, with TLS where there is a CA."""
    tls = {"sslmode": "verify-full", "sslrootcert": given["ca"]} if given.get("ca") else {}
    return psycopg2.connect(
        host=given["host"],
        port=given["port"],
        dbname=given["database"],
        user=given["user"],
        password=password,
        connect_timeout=SECONDS,
        **(tls or {"sslmode": "disable"}),
    )
