"""connect.py SECONDS SOURCE,DESTINATION,PORT[,udp|options]...: which of these are answered, as JSON, all tried at once.

``options`` has the packets of IPv6 carry destination options, so that TCP's header isn't where a careless rule looks.
"""

import concurrent.futures
import json
import socket
import sys


def answered(seconds: float, source: str, destination: str, port: int, how: str) -> bool:
    family = socket.AF_INET6 if ":" in destination else socket.AF_INET
    kind = socket.SOCK_DGRAM if how == "udp" else socket.SOCK_STREAM
    with socket.socket(family, kind) as connection:
        connection.settimeout(seconds)
        if how == "options":
            connection.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_DSTOPTS, bytes([0, 0, 1, 4, 0, 0, 0, 0]))
        connection.bind((source, 0))
        try:
            connection.connect((destination, port))
            connection.sendall(b"here\n")
            return bool(connection.recv(16))
        except OSError:
            return False


def main() -> None:
    seconds = float(sys.argv[1])
    ways = [(*way.split(","), "tcp")[:4] for way in sys.argv[2:]]
    with concurrent.futures.ThreadPoolExecutor(64) as pool:
        found = pool.map(lambda way: answered(seconds, way[0], way[1], int(way[2]), way[3]), ways)
    print(json.dumps(list(found)))


main()
