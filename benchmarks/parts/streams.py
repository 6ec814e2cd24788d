"""Open FetchX509SVID streams, inside a confined agent: ``streams.py COUNT``, each over a connection of its own.

Obeys the benchmark over /workspace/streams.sock, one word a line: ``open`` opens them all at once, ``walk`` one
after the other, ``next`` reads until each has one message more, ``close`` closes them. Answers ``done``.
"""

from __future__ import annotations

import select
import socket
import sys

SOCKET = "/run/ringwall/svid.sock"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, END_HEADERS, ACK = 1, 4, 1


def field(name: str, value: str) -> bytes:
    """A header field, literal and not indexed (RFC 7541, section 6.2.2)."""
    return b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


FIELDS = {":method": "POST", ":scheme": "http", ":path": "/SpiffeWorkloadAPI/FetchX509SVID",
          ":authority": "localhost", "te": "trailers", "content-type": "application/grpc",
          "workload.spiffe.io": "true"}
HELLO = b"".join((
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    frame(SETTINGS, 0, 0),
    frame(HEADERS, END_HEADERS, 1, b"".join(field(*one) for one in FIELDS.items())),
    frame(DATA, END_STREAM, 1, bytes(5)),
))


class Stream:
    """One connection with one call."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET)
        self.sock.sendall(HELLO)
        self.messages = 0
        self._data = b""
        self._message = b""

    def read(self) -> None:
        data = self.sock.recv(1 << 16)
        if not data:
            sys.exit("the server closed a connection")
        self._data += data
        while len(self._data) >= 9:
            size = int.from_bytes(self._data[:3], "big")
            if len(self._data) < 9 + size:
                break
            kind, flags, payload = self._data[3], self._data[4], self._data[9 : 9 + size]
            self._data = self._data[9 + size :]
            self._take(kind, flags, payload)

    def _take(self, kind: int, flags: int, payload: bytes) -> None:
        if kind in {RESET, GOAWAY} or (kind in {HEADERS, DATA} and flags & END_STREAM):
            sys.exit(f"a stream was ended: frame {kind}, {payload[:200]!r}")
        if kind == SETTINGS and not flags & ACK:
            self.sock.sendall(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.sock.sendall(frame(PING, ACK, 0, payload))
        elif kind == DATA:
            self._message += payload
            while len(self._message) >= 5:
                size = 5 + int.from_bytes(self._message[1:5], "big")
                if len(self._message) < size:
                    break
                self._message = self._message[size:]
                self.messages += 1


def read_until(streams: list[Stream], count: int) -> None:
    """Until each has had so many messages."""
    poll = select.epoll()
    waiting = {one.sock.fileno(): one for one in streams if one.messages < count}
    for number in waiting:
        poll.register(number, select.EPOLLIN)
    while waiting:
        for number, _ in poll.poll():
            waiting[number].read()
            if waiting[number].messages >= count:
                poll.unregister(number)
                del waiting[number]
    poll.close()


def main(count: int) -> None:
    line = socket.socket(socket.AF_UNIX)
    line.connect("/workspace/streams.sock")
    streams: list[Stream] = []
    had = 0
    for word in line.makefile():
        if word.strip() == "close":
            for one in streams:
                one.sock.close()
            streams.clear()
            had = 0
        elif word.strip() == "walk":
            for _ in range(count):
                streams.append(Stream())
                read_until(streams[-1:], 1)
        else:
            if word.strip() == "open":
                streams = [Stream() for _ in range(count)]
            had += 1
            read_until(streams, had)
        line.sendall(b"done\n")


if __name__ == "__main__":
    main(int(sys.argv[1]))
