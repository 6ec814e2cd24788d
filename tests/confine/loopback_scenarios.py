"""What the tests of a child's loopback do in a process of their own; each function's answer is JSON."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import resource
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from harness import blocked, confinement, with_zygote

from ringwall.confine.spec import Loopback
from ringwall.confine.zygote import Spawned, Zygote
from ringwall.errors import ConfinementError

PORT, DOOR = 8131, 8132
# Serves echoes on the port until it is killed; says so on its standard output.
SERVER = f"""
import socket, sys
server = socket.create_server(('127.0.0.1', {PORT}))
print('ready', flush=True)
while True:
    peer, _ = server.accept()
    with peer:
        peer.sendall(sys.argv[1].encode() + b' ' + peer.recv(100))
"""
# What of TCP is let through inside.
TRIES = f"""
import os, socket
def t(f):
    try: f(); return 'ok'
    except OSError as e: return os.strerror(e.errno)
def listen(port, host='127.0.0.1'):
    with socket.create_server((host, port)): pass
def call(port, host='127.0.0.1'):
    socket.create_connection((host, port)).close()
def six(): socket.create_server(('::1', {PORT} + 5), family=socket.AF_INET6)
print(t(lambda: listen({PORT})), t(lambda: call({DOOR})), sep=',')
print(t(lambda: listen({PORT} + 5)), t(lambda: listen(0)), t(lambda: listen({DOOR})), t(six),
      t(lambda: call({PORT})), t(lambda: call({PORT} + 5)), t(lambda: call({DOOR} + 5, '10.0.0.1')), sep=',')
"""


@asynccontextmanager
async def running(zygote: Zygote, code: str, *arguments: str, **changes: Any) -> AsyncIterator[tuple[Spawned, int]]:
    """A confined program with a door and two inside sockets; and the reading end of its standard output."""
    out, into = os.pipe()
    loopback = Loopback(door=DOOR, inside=2, bind=(PORT,), connect=(DOOR,))
    spec = confinement([sys.executable, "-c", code, *arguments], **{"loopback": loopback, **changes})
    try:
        async with blocked(zygote, spec, {1: into, 2: 2}) as child:
            os.close(into)
            await zygote.go(child.id)
            try:
                yield child, out
            finally:
                zygote.signal(child.id, 9)
                await zygote.wait(child.id)
                for number in (child.door, *child.inside):
                    if number is not None:
                        os.close(number)
    finally:
        os.close(out)


async def _line(out: int) -> str:
    return (await asyncio.to_thread(os.read, out, 4000)).decode()


def _inside(number: int) -> socket.socket:
    sock = socket.socket(fileno=os.dup(number))
    sock.settimeout(20)
    return sock


def _ask(number: int, text: bytes) -> str:
    """One exchange over an inside socket, after which it is unconnected again."""
    with _inside(number) as sock:
        sock.connect(("127.0.0.1", PORT))
        sock.sendall(text)
        answer = sock.recv(100).decode()
        unconnect(sock)
        return answer


def unconnect(sock: socket.socket) -> None:
    """connect(2) to no address family at all: Python's own connect cannot say so."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.connect(sock.fileno(), bytes(16), 16) < 0:
        raise OSError(ctypes.get_errno(), "connect to AF_UNSPEC")


def reached() -> Any:
    """Both inside sockets reach the port, twice each; the host does not, nor does it see the port taken."""

    async def act(zygote: Zygote) -> Any:
        async with running(zygote, SERVER, "one") as (child, out):
            assert await _line(out) == "ready\n"
            answers = [await asyncio.to_thread(_ask, number, b"x") for number in (*child.inside, *child.inside)]
            return {"answers": answers, "host": [_from_host(PORT), _from_host(DOOR)]}

    return with_zygote(act)


def _from_host(port: int) -> str:
    with socket.socket() as sock:
        return errno.errorcode.get(sock.connect_ex(("127.0.0.1", port)), "ok")


def two_agents() -> Any:
    """Two with the same port, at once: each inside socket reaches its own."""

    async def act(zygote: Zygote) -> Any:
        async with running(zygote, SERVER, "one") as (one, out), running(zygote, SERVER, "two") as (two, out2):
            assert (await _line(out), await _line(out2)) == ("ready\n", "ready\n")
            return [await asyncio.to_thread(_ask, each.inside[0], b"x") for each in (one, two)]

    return with_zygote(act)


def ports(layers: list[str] | None = None) -> Any:
    """Which ports the program may use, under these layers."""

    async def act(zygote: Zygote) -> Any:
        more = {} if layers is None else {"layers": frozenset(layers)}
        async with running(zygote, TRIES, **more) as (child, _out):
            assert child.door is not None
            said = ""
            while said.count("\n") < 2:
                said += await _line(_out)
            return said.splitlines()

    return with_zygote(act)


def door() -> Any:
    """What is sent to the door inside arrives at the descriptor outside; and what the program holds of it."""
    code = f"""
import os, socket
fds = sorted(os.listdir('/proc/self/fd'))
with socket.create_connection(('127.0.0.1', {DOOR})) as sock:
    sock.sendall(' '.join(fds).encode())
    print(sock.recv(100).decode(), flush=True)
"""

    async def act(zygote: Zygote) -> Any:
        async with running(zygote, code) as (child, out):
            assert child.door is not None
            listener = _inside(child.door)
            with listener:
                peer, _ = await asyncio.to_thread(listener.accept)
                with peer:
                    peer.settimeout(20)
                    told = (await asyncio.to_thread(peer.recv, 100)).decode()
                    peer.sendall(b"heard")
                    return {"fds": told.split(), "said": await _line(out)}

    return with_zygote(act)


def plain_python() -> Any:
    """An ordinary program under ``one_process``: threads, asyncio, what the library asks of the system."""
    code = """
import asyncio, concurrent.futures, ctypes.util, json, platform, socket, subprocess, tempfile, threading, uuid
with concurrent.futures.ThreadPoolExecutor(8) as pool: numbers = list(pool.map(abs, range(-20, 0)))
async def work():
    await asyncio.to_thread(print, end='')
    await asyncio.get_running_loop().getaddrinfo('127.0.0.1', 80)
    return 'asyncio'
print(asyncio.run(work()), len(numbers), bool(uuid.uuid4()), bool(platform.platform()), bool(uuid.getnode()),
      platform.processor() is not None, tempfile.TemporaryFile().write(b'x'))
try: subprocess.run(['true']); print('started')
except PermissionError: print('refused')
"""

    async def act(zygote: Zygote) -> Any:
        async with running(zygote, code, one_process=True) as (_child, out):
            said = ""
            while said.count("\n") < 2 and (more := await _line(out)):
                said += more
            return said.splitlines()

    return with_zygote(act)


def leaves_nothing() -> Any:
    """Descriptors of the zygote and of this process after a child that ran, and one that could not be set up."""

    async def act(zygote: Zygote) -> Any:
        async with running(zygote, "print('ready', flush=True)") as (_child, out):
            assert await _line(out) == "ready\n"
        before = [_descriptors(zygote.pid), _descriptors(os.getpid())]
        async with running(zygote, "print('ready', flush=True)") as (_child, out):
            assert await _line(out) == "ready\n"
        try:
            await zygote.spawn(
                confinement(
                    ["true"], cwd="/none", loopback=Loopback(door=DOOR, inside=2, bind=(PORT,), connect=())
                ),
                {},
            )
        except ConfinementError as refused:
            said = str(refused)
        else:
            raise AssertionError("it was started")
        async with running(zygote, "print('ready', flush=True)") as (_child, out):
            assert await _line(out) == "ready\n"
        return {"said": said, "kept": [_descriptors(zygote.pid), _descriptors(os.getpid())] == before}

    return with_zygote(act)


def _descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def taken_port() -> str:
    """Without a network of its own the door's port may be somebody else's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        async def act(zygote: Zygote) -> str:
            spec = confinement(
                ["true"],
                layers=frozenset({"landlock", "seccomp"}),
                loopback=Loopback(door=port, inside=0, bind=(), connect=()),
            )
            try:
                await zygote.spawn(spec, {})
            except ConfinementError as refused:
                return str(refused)
            raise AssertionError("it was started")

        return str(with_zygote(act))


def too_few_descriptors() -> str:
    """The one who asks cannot take more descriptors."""

    async def act(zygote: Zygote) -> str:
        spec = confinement(["sleep", "600"], loopback=Loopback(door=DOOR, inside=32, bind=(PORT,), connect=()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (_descriptors(os.getpid()) + 20, 4096))
        before = _descriptors(os.getpid())
        try:
            await zygote.spawn(spec, {})
        except ConfinementError as refused:
            assert _descriptors(os.getpid()) == before
            return refused.code
        raise AssertionError("it was started")

    return with_zygote(act)


# A core in its two lives: starts the server and dies; reaches it through what it is given back, and says stop.
CORE = """
import asyncio, json, os, resource, signal, socket, sys
from ringwall.confine.spec import Confinement
from ringwall.runtime import control
from ringwall.runtime.children import Children

sys.path.insert(0, os.environ["SCENARIOS"])
from loopback_scenarios import DOOR, _ask

async def main():
    children = Children()
    line = socket.socket(fileno=int(sys.argv[sys.argv.index("--control") + 1]))
    children.attach(control.Control(line, children.on_message, children.on_close))
    inherited = await children.greeted()
    if not inherited:
        spec = Confinement.from_json(os.environ["SPEC"].encode())
        out, into = os.pipe()
        child = await children.spawn(spec, {1: into, 2: 2}, hold=[out], meta={})
        await children.go(child)
        os.read(out, 10)
        print(json.dumps([_ask(child.inside[1], b"first"), len(child.inside)]), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    child = inherited[0].child
    door = socket.socket(fileno=child.door)
    told = [_ask(number, b"second") for number in child.inside]
    print(json.dumps([told, len(inherited[0].held), door.getsockname()[1] == DOOR,
                      *resource.getrlimit(resource.RLIMIT_NOFILE)]), flush=True)
    os._exit(2)  # which the supervisor takes for a fault that no restart mends
asyncio.run(main())
"""


def core_restart() -> Any:
    """What two cores of one supervisor say of the same server."""
    from ringwall.runtime.supervisor import Supervisor

    loopback = Loopback(door=DOOR, inside=2, bind=(PORT,), connect=(DOOR,))
    spec = confinement([sys.executable, "-c", SERVER, "it"], loopback=loopback)
    os.environ["SPEC"], os.environ["SCENARIOS"] = spec.to_json().decode(), str(Path(__file__).parent)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))
    zygote = Zygote.start()
    with tempfile.TemporaryFile() as said:
        kept = os.dup(1)
        os.dup2(said.fileno(), 1)  # what the cores print
        try:
            here = Path("/")
            core = (sys.executable, "-c", CORE)
            status = asyncio.run(Supervisor(zygote=zygote, state=here, manifest=here, core=core).run())
        finally:
            os.dup2(kept, 1)
            zygote.close()
        said.seek(0)
        return {"status": status, "said": [json.loads(line) for line in said]}
