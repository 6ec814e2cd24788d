"""Calls without a pause, inside a confined agent: ``storm.py CONNECTIONS``, until it is killed.

Half of the connections call an echo as fast as it answers, half a tool that takes a quarter of a second. Whoever is
refused asks again a little later.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

DOOR = "/run/ringwall/door.sock"
AGAIN_S = 0.02  # after a refusal: the thaw should find the storm still there
CALLS = ({"tool": "echo/echo", "args": {"text": "x" * 1000}}, {"tool": "waiting/wait", "args": {"seconds": 0.25}})


def request(number: int) -> bytes:
    body = json.dumps(CALLS[number % len(CALLS)]).encode()
    head = "POST /v1/tools/call HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    return bool(end) and len(body) >= int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])


def main(connections: int) -> None:
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    numbers: dict[int, int] = {}
    answers: dict[int, bytes] = {}
    later: list[tuple[float, int]] = []
    for number in range(connections):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(DOOR)
        sockets[sock.fileno()], numbers[sock.fileno()], answers[sock.fileno()] = sock, number, b""
        poll.register(sock.fileno(), select.EPOLLIN)
        sock.sendall(request(number))
    print("storming", flush=True)
    while True:
        for found, _ in poll.poll(AGAIN_S):
            data = sockets[found].recv(65536)
            if not data:
                sys.exit("the door closed a connection")
            answers[found] += data
            if not whole(answers[found]):
                continue
            if answers[found].startswith(b"HTTP/1.1 200"):
                sockets[found].sendall(request(numbers[found]))
            else:
                later.append((time.monotonic() + AGAIN_S, found))
            answers[found] = b""
        now = time.monotonic()
        for _, found in [one for one in later if one[0] <= now]:
            sockets[found].sendall(request(numbers[found]))
        later = [one for one in later if one[0] > now]


if __name__ == "__main__":
    main(int(sys.argv[1]))
