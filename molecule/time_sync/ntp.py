# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ntp.py ADDRESS PORT: gives the host's own time to whoever asks by NTP. Runs on test hosts."""

from __future__ import annotations

import socket
import struct
import sys
import time

SINCE_1900 = 2_208_988_800
VERSION_4, SERVER, STRATUM, PRECISION = 4, 4, 1, -20


def timestamp() -> int:
    """Now, in seconds since 1900 and their 2^32nd parts."""
    return int((time.time() + SINCE_1900) * 2**32)


def main() -> None:
    """Answers until it is ended."""
    asked = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
    asked.bind((sys.argv[1], int(sys.argv[2])))
    while True:
        question, client = asked.recvfrom(1024)
        received = timestamp()
        if len(question) < 48:
            continue
        head = struct.pack("!BBbbII4s", VERSION_4 << 3 | SERVER, STRATUM, 6, PRECISION, 0, 0, b"TEST")
        times = struct.pack("!Q8sQQ", received, question[40:48], received, timestamp())
        asked.sendto(head + times, client)


main()
