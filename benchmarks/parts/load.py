"""The load, inside a confined agent: ``load.py PLAN``, with the plan as JSON; prints one JSON line.

One thread and one epoll for all connections, so that the client costs the same few microseconds whoever answers.
Rounds of the targets alternate: all of them see the same machine.
"""

from __future__ import annotations

import itertools
import json
import secrets
import select
import socket
import statistics
import sys
import time
from typing import Any

NUMBER = b"@@@@@@@@@@@@"  # as long as what takes its place


class Target:
    """One kind of request, over any number of connections.

    Args:
        name: of the target.
        path: of its socket.
        payload: the body.
        route: the path of the request.
        holds: what each answer must have in it.

    Where the payload has ``NUMBER``, each request has another one.
    """

    def __init__(self, name: str, path: str, payload: dict[str, Any], route: str, holds: str = "") -> None:
        self.name = name
        self._path = path
        self._holds = holds.encode()
        body = json.dumps(payload, separators=(",", ":")).encode()
        head = f"POST {route} HTTP/1.1\r\nHost: ringwall\r\nContent-Type: application/json\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        # From anywhere: a second load must not repeat the messages of the first.
        self._numbers = itertools.count(secrets.randbelow(10**11)) if NUMBER in body else None
        self._sockets: list[socket.socket] = []

    def run(self, connections: int, calls: int) -> tuple[list[float], float]:
        """Latencies in microseconds, and calls a second."""
        while len(self._sockets) < connections:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(self._path)
            self._sockets.append(sock)
        used = self._sockets[:connections]
        started = time.perf_counter()
        found = self._one(used[0], calls) if connections == 1 else self._many(used, calls)
        return found, calls / (time.perf_counter() - started)

    def _asked(self) -> bytes:
        if self._numbers is None:
            return self._request
        return self._request.replace(NUMBER, b"%012d" % next(self._numbers))

    def _whole(self, answer: bytes) -> bool:
        if not complete(answer):
            return False
        if self._holds not in answer:
            sys.exit(f"an answer of {self.name} is not what it must be: {answer[:600]!r}")
        return True

    def _one(self, sock: socket.socket, calls: int) -> list[float]:
        found: list[float] = []
        for _ in range(calls):
            request = self._asked()
            sent = time.perf_counter()
            sock.sendall(request)
            answer = sock.recv(65536)
            while not self._whole(answer):
                answer += more(sock)
            found.append((time.perf_counter() - sent) * 1e6)
        return found

    def _many(self, used: list[socket.socket], calls: int) -> list[float]:
        poll = select.epoll()
        by_number = {sock.fileno(): sock for sock in used}
        sent: dict[int, float] = {}
        answers: dict[int, bytes] = {}
        found: list[float] = []
        left = calls
        for number, sock in by_number.items():
            poll.register(number, select.EPOLLIN)
            sent[number], answers[number] = time.perf_counter(), b""
            sock.sendall(self._asked())
            left -= 1
        while len(found) < calls:
            for number, _ in poll.poll():
                sock = by_number[number]
                answers[number] += more(sock)
                if not self._whole(answers[number]):
                    continue
                now = time.perf_counter()
                found.append((now - sent[number]) * 1e6)
                answers[number] = b""
                if left > 0:
                    left -= 1
                    sent[number] = now
                    sock.sendall(self._asked())
        poll.close()
        return found


def more(sock: socket.socket) -> bytes:
    data = sock.recv(65536)
    if not data:
        sys.exit("the server closed the connection")
    return data


def complete(answer: bytes) -> bool:
    """Whether a whole response is there; ends the program if it is not a 200."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    if len(body) < length:
        return False
    if not head.startswith(b"HTTP/1.1 200"):
        sys.exit(f"a call was not answered with 200: {answer[:400]!r}")
    return True


def main(plan: dict[str, Any]) -> None:
    targets = [Target(**item) for item in plan["targets"]]
    found: dict[str, dict[str, Any]] = {}
    for connections in plan["connections"]:
        for target in targets:
            target.run(connections, max(plan["warm"], connections))
        for _ in range(plan["rounds"]):
            for target in targets:
                times, rate = target.run(connections, max(plan["calls"], connections))
                entry = found.setdefault(f"{target.name} {connections}", {"us": [], "per_second": [], "rounds": []})
                entry["us"] += [round(us, 1) for us in times]
                entry["per_second"].append(rate)
                entry["rounds"].append(round(statistics.median(times), 1))
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
