"""hold.py SOURCE DESTINATION PORT FILE: connects, waits for FILE.go, then says in FILE whether it is still answered."""

import pathlib
import socket
import sys
import time


def main() -> None:
    source, destination, port, name = sys.argv[1:]
    file = pathlib.Path(name)
    with socket.create_connection((destination, int(port)), 5, (source, 0)) as connection:
        assert connection.recv(16) == b"hello\n"
        file.write_text("connected")
        while not file.with_suffix(".go").exists():
            time.sleep(0.1)
        connection.settimeout(2)
        try:
            connection.sendall(b"still here\n")
            file.write_text("answered" if connection.recv(64) == b"still here\n" else "closed")
        except OSError:
            file.write_text("silence")


main()
