"""Real processes for identity tests: each obeys lines on its standard input and answers on its output."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ringwall.call import LaunchId, SessionId
from ringwall.identity.registry import Launch
from ringwall.identity.spiffe import SpiffeId

ALICE = SpiffeId.make(trust_domain="example.org", tenant="acme", agent="alice", role="reader")

# connect: open a connection and keep it. fork-connect: let a child do so. hand-over: connect, give the
# connection to a child, and exit. exec: connect, then become another program.
PROGRAM = """
import os, socket, sys, time
def connect():
    s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b'x'); return s
kept = []
print('ready', flush=True)
for line in sys.stdin:
    verb = line.strip()
    if verb == 'connect':
        kept.append(connect())
    elif verb == 'fork-connect':
        if os.fork() == 0:
            kept.append(connect()); print('done', flush=True); time.sleep(600); os._exit(0)
        continue
    elif verb == 'become 12345':
        os.setgroups([]); os.setgid(12345); os.setuid(12345)
    elif verb == 'hand-over':
        s = connect()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    elif verb == 'exec':
        s = connect()
        if os.fork() == 0:
            time.sleep(600)
        print('done', flush=True)
        os.execv('/bin/sleep', ['sleep', '600'])
    print('done', flush=True)
"""


class Agent:
    """A started program and the listener it connects to."""

    def __init__(self, process: subprocess.Popen[str], listener: socket.socket) -> None:
        self.process = process
        self.listener = listener

    def tell(self, verb: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(verb + "\n")
        self.process.stdin.flush()

    def do(self, verb: str) -> None:
        """Tell, and wait until it is done."""
        assert self.process.stdout is not None
        self.tell(verb)
        assert self.process.stdout.readline().strip() == "done"

    def accept(self) -> socket.socket:
        return self.listener.accept()[0]


@contextmanager
def started(folder: Path, *wrapper: str) -> Generator[Agent]:
    """The program, running under ``wrapper``, in a process group that is killed at the end."""
    path = folder / "door.sock"
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.settimeout(20)
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        process = subprocess.Popen(
            [*wrapper, sys.executable, "-I", "-S", "-c", PROGRAM, path.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            cwd=folder,  # and a relative path: another uid need not get through the folders above
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline().strip() == "ready"
            yield Agent(process, listener)
        finally:
            try:
                os.killpg(process.pid, 9)
            except ProcessLookupError:
                pass
            process.wait()
            process.stdin.close()
            process.stdout.close()


def unshared(*namespaces: str) -> tuple[str, ...]:
    """A wrapper that starts a program in new namespaces, with or without root."""
    own = () if os.geteuid() == 0 else ("--user", "--map-root-user")
    return ("unshare", *own, *namespaces, "--fork", "--kill-child")


@contextmanager
def launch(pid: int, processes: str = "one", *, name: str = "l1") -> Generator[Launch]:
    """A launch record for a running process, as the launcher would make it."""
    pidfd = os.pidfd_open(pid)
    pidns = os.open(f"/proc/{pid}/ns/pid", os.O_RDONLY)
    try:
        yield Launch(
            id=LaunchId(name),
            spiffe_id=ALICE,
            pidfd=pidfd,
            pidns_fd=pidns,
            processes="tree" if processes == "tree" else "one",
            session=SessionId("s1"),
            confined=True,
            strength="full",
        )
    finally:
        os.close(pidfd)
        os.close(pidns)
