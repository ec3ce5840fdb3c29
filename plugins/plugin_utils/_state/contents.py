# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a repository may hold: secrets only encrypted, since everybody who reads it has all of its history."""

from __future__ import annotations

import re

FOLDERS = (".ca", ".escrow", ".exchange", ".keyrings", ".secrets", "public")
"""What is kept; what else lies beside it (backups, builds, reports) is of this control node alone."""

LEFT_OUT = ("*.lock", ".*.fedlearn-new")
"""Of it not locks, and what is half written."""

_KEY = re.compile(rb"-----BEGIN (?!ENCRYPTED )[A-Z0-9 ]*PRIVATE KEY-----|AGE-SECRET-KEY-1")


def ignored() -> str:
    """The same for git."""
    return "\n".join(["/*", *(f"!/{folder}/" for folder in FOLDERS), *LEFT_OUT, ""])


def in_clear(path: str, content: bytes) -> str:
    """Why a file mustn't be pushed, and the way out; empty where it may."""
    if path.startswith(".secrets/") and not content.startswith(b"$ANSIBLE_VAULT;"):
        return f"{path} isn't encrypted, and nothing of it was pushed: run ansible-vault encrypt on it"
    if _KEY.search(content):
        return f"{path} holds a private key that isn't encrypted, and nothing of it was pushed: take it out of there"
    return ""
