# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tries whether running servers refuse whom they are to refuse, which changes nothing there.

On standard input a JSON list of servers: ``name``, ``url``, ``ca`` (or null) and ``keys``, the list of those it knows.
Printed is JSON, too: ``checks``, a row for each attempt, and by server who was not refused (``ill``).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import requests
from nacl.signing import SigningKey

from . import keys

PHRASE = b"Please authenticate me"
REFUSED = "Invalid Worker"
"""What the library answers, with status 200: it refuses by words."""

TIMEOUT = 10


def attempts(known: list[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Registrations that aren't right, each by what is wrong with it."""
    stranger = SigningKey.generate()
    signed = stranger.sign(PHRASE).hex()
    yield "an unknown key", {"public_key_str": stranger.verify_key.encode().hex(), "signed_phrase": signed}
    if known:
        yield "a known key with another's signature", {"public_key_str": known[0], "signed_phrase": signed}


def answer(server: Mapping[str, Any], asked: Mapping[str, str]) -> str:
    """What the server says to a registration."""
    session = requests.Session()
    session.trust_env = False
    session.verify = server["ca"] or True
    said = session.post(f"{server['url']}/register_worker", json=asked, timeout=TIMEOUT)
    return said.text if said.status_code == requests.codes.ok else f"status {said.status_code}"


def tried(servers: list[dict[str, Any]]) -> dict[str, Any]:
    """All attempts at all servers."""
    checks: list[dict[str, Any]] = []
    ill: dict[str, list[str]] = {}
    for server in servers:
        for what, asked in attempts(keys.read_list(Path(server["keys"]))):
            try:
                said = answer(server, asked)
            except requests.RequestException as error:
                detail, passed = f"couldn't be tried: {error}", False
            else:
                passed = said == REFUSED
                detail = "refused" if passed else f"answered {said[:100]!r}"
                if not passed:
                    ill.setdefault(server["name"], []).append(f"{what} is not refused: {detail}")
            checks.append({"name": f"{server['name']} refuses {what}", "passed": passed, "detail": detail})
    return {"checks": checks, "ill": ill}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(tried(json.load(sys.stdin))))
