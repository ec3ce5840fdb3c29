# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""probe.py ADDRESS PORT: whether a tunnel leads to the other end.

stunnel takes a connection before it asks the other end, and closes it when that doesn't answer or isn't who it should
be. A server that waits for its client to speak first keeps it open.
"""

from __future__ import annotations

import socket
import sys

SECONDS = 5
SILENCE = 2


def main() -> None:
    """Ends with a word when the connection is closed."""
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), SECONDS) as connection:
        connection.settimeout(SILENCE)
        try:
            first = connection.recv(1)
        except TimeoutError:
            return
        except ConnectionResetError:
            first = b""
        if not first:
            sys.exit("the other end is away, or isn't who it should be")


main()
