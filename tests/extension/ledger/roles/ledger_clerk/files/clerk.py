# Copyright: fedlearn.infra contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes what it is sent into a database, and tells what is there.

    clerk.py CONFIGURATION

POST / adds a line. GET / tells the session's user and the session's process, the number of lines, and their digest.
On SIGHUP it reads its configuration anew, and goes on in a new session.
"""

from __future__ import annotations

import http.server
import json
import signal
import sys
import threading

import psycopg2

TELL = "SELECT session_user, pg_backend_pid(), count(*), coalesce(md5(string_agg(line, ',' ORDER BY n)), '') FROM lines"


class Ledger:
    """The one session, shared by all requests."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock = threading.Lock()
        self.session = None

    def configuration(self) -> dict:
        """What is in the file now."""
        with open(self.path, encoding="utf-8") as stream:  # noqa: PTH123 - as short as it gets
            return json.load(stream)

    def connect(self) -> None:
        """Go over to a new session; the former one goes on where that isn't to be had."""
        session = psycopg2.connect(**self.configuration()["database"], connect_timeout=5)
        session.autocommit = True
        with session.cursor() as cursor:
            cursor.execute("CREATE TABLE IF NOT EXISTS lines (n bigserial, line text NOT NULL)")
        with self.lock:
            former, self.session = self.session, session
        if former is not None:
            former.close()

    def reconnect(self, *_signal: object) -> None:
        """Connect beside the requests, which go on meanwhile."""
        threading.Thread(target=self.connect, daemon=True).start()

    def ask(self, statement: str, *values: object) -> list:
        """The rows of an answer; once more in a new session where the database was restored under this one."""
        try:
            return self.answer(statement, *values)
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            self.connect()
            return self.answer(statement, *values)

    def answer(self, statement: str, *values: object) -> list:
        """The rows of an answer."""
        with self.lock, self.session.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []


class Handler(http.server.BaseHTTPRequestHandler):
    """One request."""

    ledger: Ledger

    def do_GET(self) -> None:  # http.server's name
        """Tell what is there."""
        self.say(TELL)

    def do_POST(self) -> None:
        """Write a line."""
        line = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self.say("INSERT INTO lines (line) VALUES (%s)", line)

    def say(self, statement: str, *values: object) -> None:
        """Status, and the rows."""
        try:
            status, told = 200, json.dumps(self.ledger.ask(statement, *values))
        except psycopg2.Error as error:
            status, told = 503, str(error)
        self.send_response(status)
        self.send_header("Content-Length", str(len(told.encode())))
        self.end_headers()
        self.wfile.write(told.encode())


def main() -> None:
    """The command line."""
    Handler.ledger = Ledger(sys.argv[1])
    signal.signal(signal.SIGHUP, Handler.ledger.reconnect)
    Handler.ledger.connect()
    configuration = Handler.ledger.configuration()
    http.server.ThreadingHTTPServer((configuration["address"], configuration["port"]), Handler).serve_forever()


main()
