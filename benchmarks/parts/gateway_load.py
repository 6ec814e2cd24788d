"""The client of benchmarks/gateway.py: ``gateway_load.py SOCKET``. The same in a confined agent and outside.

HTTP/1.1 with kept connections and nothing else: one thread, one epoll. Obeys the benchmark over the socket, one
JSON object a line (``open``, ``run``, ``stream``), and answers each with one.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import select
import socket
import sys
import time
from typing import Any

NUMBER = b"@@@@@@@@@@@@"  # as long as what takes its place: each request has another id
REVISION = "2025-11-25"
STATELESS = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": STATELESS,
        "io.modelcontextprotocol/clientInfo": {"name": "bench", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}}
BOTH = "application/json, text/event-stream"
CONTENT = re.compile(rb'"delta":\s*\{[^{}]*"content":\s*"((?:[^"\\]|\\.)*)"')


class Fault(Exception):
    """Something is not as it must be; said to the benchmark, which ends."""


class Target:
    """One kind of request, over any number of connections.

    Args:
        address: a port of the loopback, or the path of a socket.
        route: the path of the request.
        headers: besides the client's own.
        body: of each request; with ``mcp``, the arguments of the one tool there is.
        holds: what each answer must have in it.
        mcp: the revision to speak; empty: it is no MCP.

    """

    def __init__(self, *, address: int | str, route: str, headers: dict[str, str], body: Any, holds: str,
                 mcp: str = "") -> None:
        self._address = address
        self._route = route
        self._headers = {"Host": f"127.0.0.1:{address}" if isinstance(address, int) else "bench",
                         "Content-Type": "application/json", **headers}
        self._holds = holds.encode()
        self._sockets: list[socket.socket] = []
        self._numbers = itertools.count(1)
        self.sock()
        self._request = self._of(self._session(mcp, body) if mcp else body)

    def sock(self, place: int = 0) -> socket.socket:
        """A connection; a new one where the server has closed it while others were measured."""
        while len(self._sockets) <= place:
            self._sockets.append(self._connected())
        if stale(self._sockets[place]):
            self._sockets[place].close()
            self._sockets[place] = self._connected()
        return self._sockets[place]

    def _connected(self) -> socket.socket:
        if isinstance(self._address, int):
            sock = socket.create_connection(("127.0.0.1", self._address))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return sock
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self._address)
        return sock

    def run(self, connections: int, calls: int) -> dict[str, Any]:
        """Microseconds of each call; seconds of all together, and of them what this program's own CPU time was."""
        used = [self.sock(place) for place in range(connections)]
        begun, spent = time.perf_counter(), time.process_time()
        found = self._one(used[0], calls) if connections == 1 else self._many(used, calls)
        return {"us": [round(us, 1) for us in found], "seconds": time.perf_counter() - begun,
                "cpu_s": time.process_time() - spent}

    def stream(self) -> dict[str, Any]:
        """When which characters of a streamed answer came, and when it was over."""
        sock, data, pieces = self.sock(), b"", list[tuple[float, int]]()
        begun = time.monotonic()
        sock.sendall(self._asked())
        seen = 0
        while not data.endswith(b"\r\n0\r\n\r\n"):
            data += more(sock)
            now = time.monotonic()
            last = data.rfind(b"\n\n")
            if last > seen:
                came = sum(len(json.loads(b'"%s"' % text)) for text in CONTENT.findall(data[seen:last]))
                seen = last
                if came:
                    pieces.append((now, came))
        if not data.startswith(b"HTTP/1.1 200"):
            raise Fault(data[:600].decode("latin-1"))
        return {"begun": begun, "pieces": pieces, "end": time.monotonic()}

    # --- MCP

    def _session(self, revision: str, arguments: Any) -> Any:
        """What is set up once; the body of a call."""
        self._headers |= {"Accept": BOTH}
        meta: dict[str, Any] = {}
        if revision == STATELESS:
            meta = {"_meta": META}
            self._headers["Mcp-Protocol-Version"] = revision
        else:
            self._initialize()
        more = {"Mcp-Method": "tools/list"} if meta else {}
        listed = self._ask("tools/list", meta, more)[1]["tools"]
        name = next(tool["name"] for tool in listed if tool["name"].endswith("echo"))
        if meta:
            self._headers |= {"Mcp-Method": "tools/call", "Mcp-Name": name}
        return {"jsonrpc": "2.0", "id": NUMBER.decode(), "method": "tools/call",
                "params": {"name": name, "arguments": arguments, **meta}}

    def _initialize(self) -> None:
        head, told = self._ask("initialize", {"protocolVersion": REVISION, "capabilities": {},
                                              "clientInfo": {"name": "bench", "version": "1"}}, {})
        named = re.search(r"^mcp-session-id: *(\S+)", head, re.IGNORECASE | re.MULTILINE)
        if named:
            self._headers["Mcp-Session-Id"] = named[1]
        self._headers["Mcp-Protocol-Version"] = told["protocolVersion"]
        self._send({"jsonrpc": "2.0", "method": "notifications/initialized"}, {})

    def _ask(self, method: str, params: dict[str, Any], headers: dict[str, str]) -> tuple[str, dict[str, Any]]:
        head, body = self._send({"jsonrpc": "2.0", "id": 0, "method": method, "params": params}, headers)
        events = re.findall(r"^data: ?(\{.*\})\r?$", body, re.MULTILINE)
        for text in events or [body]:
            told = json.loads(text)
            if "result" in told:
                return head, told["result"]
        raise Fault(f"{self._route}: {method}: {head[:300]} {body[:600]}")

    def _send(self, message: dict[str, Any], headers: dict[str, str]) -> tuple[str, str]:
        sock, answer = self.sock(), b""
        sock.sendall(self._of(message, headers))
        while not complete(answer):
            answer += more(sock)
        head, _, body = answer.partition(b"\r\n\r\n")
        if b"chunked" in head.lower():
            body = plain(body)
        return head.decode(), body.decode()

    # --- requests

    def _of(self, body: Any, headers: dict[str, str] | None = None) -> bytes:
        raw = json.dumps(body, separators=(",", ":")).encode()
        fields = {**self._headers, **(headers or {}), "Content-Length": str(len(raw))}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST {self._route} HTTP/1.1\r\n{head}\r\n".encode() + raw

    def _asked(self) -> bytes:
        return self._request.replace(NUMBER, b"%012d" % next(self._numbers))

    def _whole(self, answer: bytes) -> bool:
        if not complete(answer):
            return False
        if not answer.startswith(b"HTTP/1.1 200") or self._holds not in answer:
            raise Fault(f"{self._route}: an answer is not what it must be: {answer[:900]!r}")
        return True

    def _one(self, sock: socket.socket, calls: int) -> list[float]:
        found: list[float] = []
        for _ in range(calls):
            request, answer = self._asked(), b""
            sent = time.perf_counter()
            sock.sendall(request)
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
                answers[number] += more(by_number[number])
                if not self._whole(answers[number]):
                    continue
                now = time.perf_counter()
                found.append((now - sent[number]) * 1e6)
                answers[number] = b""
                if left > 0:
                    left -= 1
                    sent[number] = now
                    by_number[number].sendall(self._asked())
        poll.close()
        return found


def stale(sock: socket.socket) -> bool:
    """Whether the server has ended an idle connection: it has said something, or nothing more."""
    return bool(select.select([sock], [], [], 0)[0])


def more(sock: socket.socket) -> bytes:
    data = sock.recv(1 << 17)
    if not data:
        raise Fault("the server closed the connection")
    return data


def complete(answer: bytes) -> bool:
    """Whether a whole response is there, with its length or in chunks."""
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end:
        return False
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    if length:
        return len(body) >= int(length[1])
    return b"chunked" not in head.lower() or body == b"0\r\n\r\n" or body.endswith(b"\r\n0\r\n\r\n")


def plain(body: bytes) -> bytes:
    """What is in the chunks."""
    found = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        found += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return found


def main(path: str) -> None:
    line = socket.socket(socket.AF_UNIX)
    line.connect(path)
    targets: dict[str, Target] = {}
    for text in line.makefile():
        order = json.loads(text)
        do, name = order.pop("do"), order.pop("name")
        try:
            if do == "open":
                targets[name] = Target(**order)
                told: Any = {"pid": os.getpid()}
            else:
                told = targets[name].run(**order) if do == "run" else targets[name].stream()
        except Exception as fault:  # noqa: BLE001 (said to the benchmark, which ends)
            told = {"fault": f"{name}: {fault!r}"}
        line.sendall(json.dumps(told).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1])
