"""fragments.py SOURCE DESTINATION PORT [PIECE]: whether an attempt to connect, sent by hand, is answered.

With PIECE its TCP header goes in two fragments, the first of so many bytes: ports in one and flags in the other.
"""

import socket
import struct
import sys
import time


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def attempt(source: bytes, destination: bytes, sport: int, port: int) -> bytes:
    """A TCP header with SYN alone."""
    header = struct.pack("!HHIIBBHHH", sport, port, 1000, 0, 5 << 4, 2, 64240, 0, 0)
    over = source + destination + struct.pack("!BBH", 0, socket.IPPROTO_TCP, len(header))
    return header[:16] + struct.pack("!H", checksum(over + header)) + header[18:]


def packet(source: bytes, destination: bytes, piece: bytes, offset: int, more: bool) -> bytes:
    """A packet of IPv4 with a piece; the kernel adds its length and checksum."""
    fragment = (0x2000 if more else 0) | offset // 8
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(piece), 4711, fragment, 64, socket.IPPROTO_TCP, 0)
    return head + source + destination + piece


def main() -> None:
    source, destination = (socket.inet_aton(each) for each in sys.argv[1:3])
    port, cut = int(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 0
    sport = 20000 + time.monotonic_ns() % 10000
    header = attempt(source, destination, sport, port)
    cuts = [(header[:cut], 0, True), (header[cut:], cut, False)] if cut else [(header, 0, False)]
    with (
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as ear,
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as mouth,
    ):
        ear.settimeout(0.3)
        for piece, offset, more in cuts:
            mouth.sendto(packet(source, destination, piece, offset, more), (sys.argv[2], 0))
        until = time.monotonic() + 2
        while time.monotonic() < until:
            try:
                answer = ear.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                continue
            ports = struct.unpack("!HH", answer[20:24])
            if answer[12:16] == destination and ports == (port, sport) and answer[33] & 0x12 == 0x12:
                print("answered")
                return
    print("silence")


main()
