# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""postgresql.py ADDRESS CERTIFICATE KEY: the other end of a tunnel to PostgreSQL, down to TLS and no further."""

from __future__ import annotations

import socketserver
import ssl
import struct
import sys
from contextlib import suppress

WANTS_TLS = struct.pack("!II", 8, 80877103)


class Connection(socketserver.BaseRequestHandler):
    """Says yes to who asks for TLS, speaks it, and waits for the client, as PostgreSQL does."""

    def handle(self) -> None:
        if self.request.recv(8) != WANTS_TLS:
            return
        self.request.sendall(b"S")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*sys.argv[2:4])
        with suppress(OSError), context.wrap_socket(self.request, server_side=True) as stream:
            stream.recv(1)


socketserver.ThreadingTCPServer((sys.argv[1], 5432), Connection).serve_forever()
