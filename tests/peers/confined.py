"""A real sidecar, confined as it is in production, between two of its own launches and a server in a namespace.

Run as a program: it starts a zygote, which wants a process without threads. Says what happened as JSON.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

from tests.confine.harness import blocked, confinement, with_zygote
from tests.peers.support import ANA, SAM, A, B, Side, ask, code, gathered

from ringwall.confine.zygote import Zygote

INNER = """
import fcntl, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    fcntl.ioctl(sock, 0x8914, struct.pack("16sH22x", b"lo", 0x41))
out = socket.socket(fileno=3)
server = socket.create_server(("127.0.0.1", 8000))
kept = [socket.socket() for _ in range(2)]
socket.send_fds(out, [b"x"], [sock.fileno() for sock in kept])
while True:
    sock, _ = server.accept()
    with sock:
        got = b""
        while not got.endswith(b"}"):
            got += sock.recv(65536)
        head = b"HTTP/1.1 200 OK\\r\\nContent-Type: application/json\\r\\nContent-Length: 3\\r\\n\\r\\n"
        sock.sendall(head + b'"n"')
"""


async def act(zygote: Zygote) -> dict[str, Any]:
    """Both launches live in one sidecar; who is let in is the core's to say."""
    side = Side()
    ours, link = socket.socketpair()
    passing, passed = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    side.passed = passed
    spec = confinement([sys.executable, "-m", "ringwall.runtime.sidecar"], network="host", profile="sidecar")
    async with blocked(zygote, spec, {2: 2, 3: link.fileno(), 4: passed.fileno()}) as child:
        link.close()
        await zygote.go(child.id)
        await side.client.attach(ours, passing)
        await side.line.trust(side.bundles)
        await side.line.identity(A.svid(ANA), "ana")
        await side.equip(B.svid(SAM), "sam")
        said = {"sent": await _sent(side)}
        if os.geteuid() == 0:
            said["delivered"] = await _delivered(side)
        await side.stop()
        said["status"] = [await zygote.wait(child.id)]
    return said


async def _sent(side: Side) -> list[Any]:
    told: list[Any] = []
    for number in range(3):
        answers, last = await ask(side, side.url, SAM, b"%d" % number, launch="ana")
        told.append([[answer.body.decode() for answer in answers], *code(last)])
    return [told, side.seen]


async def _delivered(side: Side) -> list[Any]:
    mine, theirs = socket.socketpair()
    inner = subprocess.Popen(  # noqa: ASYNC220 (it only has to start)
        ["unshare", "--net", sys.executable, "-c", f"import os; os.dup2({theirs.fileno()}, 3)\n{INNER}"],
        pass_fds=[theirs.fileno()],
    )
    theirs.close()
    told: list[Any] = []
    try:
        mine.settimeout(20)
        _, sockets, _, _ = socket.recv_fds(mine, 1, 8)
        await side.line.inside("sam", sockets)
        for _ in range(5):
            given = side.line.deliver(launch="sam", port=8000, body=b"{}", stream=False, call="")
            answers, last = await gathered(given)
            told.append([[answer.body.decode() for answer in answers], *code(last)])
    finally:
        mine.close()
        inner.kill()
        inner.wait()
    return told


if __name__ == "__main__":
    print(json.dumps(with_zygote(act)))
