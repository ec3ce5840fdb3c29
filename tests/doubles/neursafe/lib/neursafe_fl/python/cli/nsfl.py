# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A contract double of nsfl-ctl: tells its settings, and asks API and store whether they are there.

nsfl-ctl get config
nsfl-ctl health
"""

from __future__ import annotations

import json
import socket
import sys
import urllib.parse
import urllib.request

DOUBLE = True
SETTINGS = "/etc/nsfl.json"


def told() -> dict[str, str]:
    with open(SETTINGS) as file:
        return dict(json.load(file))


def health(settings: dict[str, str]) -> None:
    """In the program's words; it ends where one isn't there."""
    try:
        urllib.request.urlopen(f"http://{settings['api_server']}/api/v1/health", timeout=20).close()
    except OSError as error:
        sys.exit(f"Error message: {error}")
    print("api server ok.")
    try:
        place = urllib.parse.urlsplit(settings["data_server"])
        socket.create_connection((place.hostname, place.port or 443), timeout=20).close()
    except (OSError, KeyError) as error:
        sys.exit(f"Error message: {error}")
    print("data server ok.")


if __name__ == "__main__":
    if sys.argv[1:] == ["get", "config"]:
        print(json.dumps({key: value for key, value in told().items() if key != "password"}, sort_keys=True))
    elif sys.argv[1:] == ["health"]:
        health(told())
    else:
        sys.exit("double: only `get config` and `health`")
