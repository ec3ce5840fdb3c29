# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Asks a coordinator of ``poc`` for a sign of life: ``HOST:PORT RPC PEER``, its own and its aggregator's port.

It answers a path that there isn't, and nobody takes part by that; but only once it has its aggregator. Until then it is
well when it waits for it.
"""

from __future__ import annotations

import argparse
import http.client
import socket

LOOPBACK = "127.0.0.1"
SECONDS = 5
SILENCE = 1
"""Who isn't there closes a connection sooner, where a proxy takes it."""


def answered(place: str) -> str:
    """Empty when a coordinator answered; else why nobody did. SystemExit where something else has its port."""
    connection = http.client.HTTPConnection(place, timeout=SECONDS)
    try:
        connection.request("GET", "/x")
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__
    finally:
        connection.close()
    if status != http.client.NOT_FOUND:
        raise SystemExit(f"{place}: it answered {status} where there is nothing: it is no coordinator of xain")
    return ""


def there(port: int) -> bool:
    """Whether somebody is at a port of this host, and stays."""
    try:
        with socket.create_connection((LOOPBACK, port), SECONDS) as connection:
            connection.settimeout(SILENCE)
            return bool(connection.recv(1))
    except socket.timeout:
        return True
    except OSError:
        return False


def main() -> None:
    """Ends with 1 and the reason where no coordinator is well."""
    parser = argparse.ArgumentParser(prog="fedlearn_xain.poc_probe", allow_abbrev=False)
    parser.add_argument("place")
    parser.add_argument("rpc", type=int)
    parser.add_argument("peer", type=int)
    given = parser.parse_args()
    found = answered(given.place)
    if not found:
        return
    if not there(given.rpc):
        raise SystemExit(
            f"{given.place}: {found}; port {given.rpc}, where the aggregator is to reach it: nobody is there"
        )
    if there(given.peer):
        raise SystemExit(f"{given.place}: {found}, though its aggregator is there")


if __name__ == "__main__":
    main()
