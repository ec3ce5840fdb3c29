"""Gives back what comes, on every port that the scenario speaks of; with --tcp as argument not on UDP's."""

import selectors
import socket
import sys
import threading

TCP = (*range(8100, 8110), 40001, 45001, 50001)
UDP = (8105, 8106)


def serve(connection: socket.socket) -> None:
    with connection:
        connection.sendall(b"hello\n")
        while block := connection.recv(4096):
            connection.sendall(block)


def main() -> None:
    selector = selectors.DefaultSelector()
    for port in TCP:
        listener = socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=64)
        selector.register(listener, selectors.EVENT_READ)
    for port in () if sys.argv[1:] else UDP:
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        receiver.bind(("192.0.2.1", port))
        selector.register(receiver, selectors.EVENT_READ)
    while True:
        for key, _events in selector.select():
            if key.fileobj.type == socket.SOCK_DGRAM:
                block, source = key.fileobj.recvfrom(4096)
                key.fileobj.sendto(block, source)
            else:
                connection, _source = key.fileobj.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()


main()
