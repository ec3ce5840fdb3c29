# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tells a running server which keys came and which went: the unit's reload, which ends no poll.

The library reads its key list at a start only; its administrator's interface takes and drops workers at any time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from . import keys, launching
from .server import HANDED_ON

TIMEOUT = 30
_THERE = "already exists"


class RefusedError(Exception):
    """The server didn't do what its administrator asked."""


def changes(applied: Sequence[str], wanted: Sequence[str]) -> tuple[list[str], list[str]]:
    """Who comes and who goes, in the lists' order."""
    return [key for key in wanted if key not in set(applied)], [key for key in applied if key not in set(wanted)]


class Administrator:
    """The server's administrator, on its own host."""

    def __init__(self, url: str, username: str, password: str, ca: str | None) -> None:
        self.url = url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.auth = (username, password)
        self.session.verify = ca or True

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        answer = self.session.request(method, f"{self.url}{path}", timeout=TIMEOUT, **more)
        if answer.status_code != requests.codes.ok:
            raise RefusedError(f"{method} {path.split('/')[1]}: the server answered {answer.status_code}")
        return answer.json()

    def add(self, key: str) -> None:
        """Lets a worker in; it registers itself."""
        said = self._ask("POST", "/workers", json={"public_key_str": key, "registered": False})
        if "error" in said and _THERE not in said["error"]:
            raise RefusedError("a key is refused by the library")

    def remove(self, key: str) -> None:
        """Refuses a worker from its next request on; one that is unknown already is refused as it is."""
        self._ask("DELETE", f"/workers/{key}")


def apply(config: Mapping[str, Any], administrator: Administrator) -> tuple[int, int]:
    """Brings the running server in line with the key list; how many came and went."""
    applied = Path(config["applied"])
    wanted = keys.read_list(Path(config["arguments"]["key_list_file"]))
    come, gone = changes(keys.read_list(applied), wanted)
    following = applied.with_name(f"{applied.name}.next")
    keys.write_list(following, wanted)  # on a full disk nothing was told yet
    for key in gone:
        administrator.remove(key)
    for key in come:
        administrator.add(key)
    following.rename(applied)
    return len(come), len(gone)


def main() -> None:
    """Tells the server that the unit runs."""
    parser = argparse.ArgumentParser(prog="fedlearn_dc_federated.reload", allow_abbrev=False)
    parser.add_argument("--config", required=True)
    config = launching.read(parser.parse_args().config)
    administrator = Administrator(**launching.read(str(Path(os.environ["RUNTIME_DIRECTORY"]) / HANDED_ON)))
    try:
        come, gone = apply(config, administrator)
    except (RefusedError, OSError, requests.RequestException, json.JSONDecodeError) as error:
        raise SystemExit(f"workers: {error}") from error
    sys.stdout.write(f"workers: {come} came, {gone} went\n")


if __name__ == "__main__":
    main()
