"""The pid-reuse attack, run as pid 1 of a pid namespace of its own. Prints what each method answers as JSON.

The attacker connects, leaves the connection to a child and exits; the victim, which is the registered agent,
is started under the attacker's number; then the child's bytes are judged.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

from ringwall.call import Denied, LaunchId, SessionId
from ringwall.identity import pidfd
from ringwall.identity.probe import Method, Probe
from ringwall.identity.registry import Connection, Launch, Registry
from ringwall.identity.spiffe import SpiffeId

TRIES = 50
ID = SpiffeId.make(trust_domain="example.org", tenant="acme", agent="victim", role="reader")


def attacker(path: str) -> int:
    """Connects, hands the connection to a child, exits. Returns its number, which is free again."""
    pid = os.fork()
    if pid == 0:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        sock.sendall(b"x")
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    return pid


def victim(number: int) -> int:
    """A process under that number."""
    for _ in range(TRIES):
        Path("/proc/sys/kernel/ns_last_pid").write_text(str(number - 1))
        pid = os.fork()
        if pid == 0:
            time.sleep(600)
        if pid == number:
            return pid
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    raise SystemExit("the number could not be reused")


def attack(path: str, listener: socket.socket, method: Method, *, early: bool) -> dict[str, object]:
    registry = Registry(Probe(method=method, tree=True))
    thief = attacker(path)
    held: tuple[socket.socket, int | None, int] | None = None
    if early:
        sock = listener.accept()[0]
        held = (sock, *registry._peer(sock))
    os.waitpid(thief, 0)
    agent = victim(thief)
    handle = os.pidfd_open(agent)
    registry.register(Launch(id=LaunchId("l"), spiffe_id=ID, pidfd=handle, pidns_fd=None, processes="one",
                             session=SessionId("s"), confined=True, strength="full"))
    sock = held[0] if held else listener.accept()[0]
    connection = registry.open(LaunchId("l"), sock)
    assert isinstance(connection, Connection)
    if held:
        # What open() took at accept, before the victim existed.
        registry._connections[connection.number] = Connection(
            number=connection.number, launch=connection.launch, peer=held[1], started=held[2])
    answer = registry.attest(connection.number)
    fooled = pidfd.peer_credentials(sock).pid == agent
    os.kill(agent, 9)
    os.waitpid(agent, 0)
    return {"method": method, "early": early, "credentials_name_victim": fooled,
            "answer": answer.code if isinstance(answer, Denied) else "attested"}


def main(path: str) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    methods: tuple[Method, ...] = ("inode", "number", "peercred")
    print(json.dumps([attack(path, listener, m, early=early) for m in methods for early in (True, False)]))


if __name__ == "__main__":
    main(sys.argv[1])
