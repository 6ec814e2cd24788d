"""The guard's process: ``python -m ringwall.guard.service``, with a socket to the core as descriptor 3.

It is started confined (own user, no network, no writing) and holds nothing but rules and the key of this one
connection. One request at a time, in order. It refuses to start rather than to run without a stage.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Final

from ringwall.errors import BadInput, RingwallError
from ringwall.guard import rules
from ringwall.guard.engine import STAGES, Engine
from ringwall.guard.interface import Finding
from ringwall.guard.protocol import (
    VERSION,
    Answer,
    Failed,
    Forget,
    Hello,
    Ready,
    Scan,
    StreamHash,
    answer_mac,
    encode,
    from_core,
    ready_mac,
    spans,
)
from ringwall.wire import frames

DESCRIPTOR: Final = 3  # where the supervisor puts the socket to the core
MAX_STREAMS: Final = 4096  # open at once: the wall's concurrent calls, with room
RECEIVE: Final = 1 << 16
_NO_MAC: Final = bytes(32)


class Session:
    """The guard's side of one connection; sans-I/O.

    Args:
        engine: checked scanners.

    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._key = b""
        self._streams: dict[str, StreamHash] = {}

    def handle(self, payload: bytes) -> bytes | None:
        """Answer one frame. Raises BadInput when the core does not keep to the protocol: then the link ends."""
        message = from_core(payload)
        match message:
            case Hello():
                return self._hello(message)
            case Forget():
                self._streams.pop(message.stream, None)
                return None
            case Scan():
                return self._scan(message, payload)

    def _hello(self, hello: Hello) -> bytes:
        if self._key or hello.version != VERSION:
            raise BadInput("a second hello, or one of another version", code="bad_guard_frame")
        self._key = hello.key
        ready = Ready(VERSION, self._engine.version, list(STAGES), [], _NO_MAC)
        return encode(Ready(ready.version, ready.rules, ready.stages, ready.degraded, ready_mac(self._key, ready)))

    def _scan(self, scan: Scan, payload: bytes) -> bytes:
        if not self._key:
            raise BadInput("a request before hello", code="bad_guard_frame")
        stream = self._streams.get(scan.stream)
        if stream is None:
            if len(self._streams) >= MAX_STREAMS:
                return encode(Failed(scan.stream, scan.sequence, "guard_overloaded"))
            stream = self._streams[scan.stream] = StreamHash()
        if scan.sequence != stream.sequence:
            del self._streams[scan.stream]
            return encode(Failed(scan.stream, scan.sequence, "guard_out_of_step"))
        running = stream.add(payload)
        if scan.final:
            del self._streams[scan.stream]
        try:
            found: list[Finding] = self._engine.scan(scan.texts, scan.keys)
        except BadInput as fault:
            self._streams.pop(scan.stream, None)
            return encode(Failed(scan.stream, scan.sequence, fault.code))
        answer = Answer(scan.stream, scan.sequence, spans(found), self._engine.version, _NO_MAC)
        mac = answer_mac(self._key, running, scan.direction, answer)
        return encode(Answer(answer.stream, answer.sequence, answer.findings, answer.rules, mac))


def serve(sock: socket.socket, engine: Engine) -> None:
    """Answer until the core closes the socket. Raises BadInput when the core breaks the protocol."""
    session, framer = Session(engine), frames.Framer()
    while data := sock.recv(RECEIVE):
        for payload in framer.feed(data):
            answer = session.handle(payload)
            if answer is not None:
                sock.sendall(frames.encode(answer))


def ready_engine() -> Engine:
    """Load and check everything. Raises Unavailable, code ``guard_not_ready``."""
    engine = Engine(rules.load())
    engine.self_check()
    return engine


def main(arguments: list[str]) -> int:
    """Run the service. ``--second-filter``: give up what only loading needed before the first byte is read."""
    try:
        engine = ready_engine()
        if "--second-filter" in arguments:
            from ringwall.confine import second_filter  # here only: tests run without confinement

            second_filter()
        with socket.socket(fileno=DESCRIPTOR) as sock:
            serve(sock, engine)
    except RingwallError as fault:
        os.write(2, f"ringwall guard: {fault}\n".encode())
        return 1
    except (BrokenPipeError, ConnectionResetError):
        return 0  # the core is gone; there is nobody to serve
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
