"""What the benchmarks share: a runtime with the core that one names, agents in it, other processes, CPU time."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import results

PARTS: Final = Path(__file__).parent / "parts"
READY_S: Final = 60.0
CONTROL: Final = "RINGWALL_BENCH_CONTROL"


@contextlib.contextmanager
def process(
    command: Sequence[str], ready: str, *, cwd: Path = PARTS, environment: Mapping[str, str] | None = None,
    **more: Any,
) -> Generator[subprocess.Popen[str]]:
    """A process that says when it is ready, until the block ends."""
    started = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=cwd, stdin=subprocess.DEVNULL,
        env={**os.environ, **(environment or {})}, **more,
    )
    try:
        assert started.stdout is not None
        for line in started.stdout:
            if line.startswith(ready):
                break
        else:
            sys.exit(f"{command[1]} did not start")
        yield started
    finally:
        started.terminate()
        started.wait(READY_S)


@contextlib.contextmanager
def started(command: Sequence[str]) -> Generator[subprocess.Popen[bytes]]:
    """A process that says what it has to say to somebody else, until the block ends."""
    made = subprocess.Popen(command, cwd=PARTS, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)
    try:
        yield made
    finally:
        made.terminate()
        made.wait(READY_S)


@contextlib.contextmanager
def silent(
    command: Sequence[str], address: str | int, log: Path, *, environment: Mapping[str, str] | None = None,
    cwd: Path | None = None, seconds: float = READY_S,
) -> Generator[subprocess.Popen[bytes]]:
    """A server that says nothing: ready when something accepts at its address (a port or a socket's path)."""
    over = time.monotonic() + seconds
    with log.open("wb") as out:
        started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=cwd,
                                   env={**os.environ, **(environment or {})})
    try:
        while not accepts(address):
            if started.poll() is not None or time.monotonic() > over:
                sys.exit(f"{command[0]} did not start: {log.read_text()[-2000:]}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                started.wait(0.05)
        yield started
    finally:
        started.kill()
        started.wait()


def accepts(address: str | int) -> bool:
    """Whether somebody listens there."""
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as sock:
        try:
            sock.connect(address if isinstance(address, str) else ("127.0.0.1", address))
        except OSError:
            return False
        return True


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@contextlib.contextmanager
def folder(prefix: str, where: Path) -> Generator[Path]:
    """A folder that agents may pass through, on a real disk, until the block ends."""
    if results.file_system(where) in {"tmpfs", "ramfs"}:
        sys.exit(f"{where} is in memory, where fdatasync costs nothing; name a folder with --folder")
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=where))
    made.chmod(0o711)
    (made / "config").mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made)


def many_files() -> None:
    """Let this process and its children open as many files as the system lets them."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Stack:
    """A runtime in a folder of its own.

    Args:
        folder: from ``folder``.
        manifest: the text of ``ringwall.toml``.
        core: the program of its core, in parts/.

    """

    def __init__(self, folder: Path, manifest: str, core: str = "core.py") -> None:
        self.folder = folder
        self.state = folder / "s"
        self.manifest = folder / "config" / "ringwall.toml"
        self.manifest.write_text(manifest)
        self._core = core

    @contextlib.contextmanager
    def up(self, **environment: str) -> Generator[None]:
        """It runs until the block ends."""
        python = sys.executable
        command = (python, str(PARTS / "start.py"), str(self.state), str(self.manifest), python,
                   str(PARTS / self._core))
        environment.setdefault(CONTROL, str(self.folder / "control.sock"))
        with process(command, "ringwall: ready", environment=environment):
            yield

    def command(self, agent: str, script: str, *arguments: str) -> tuple[str, ...]:
        """What starts one of parts/ as a confined agent."""
        return (sys.executable, "-c", "from ringwall.cli.run import run; run()", agent, "--task", "benchmark",
                "--state", str(self.state), "--", sys.executable, str(PARTS / script), *arguments)

    def load(self, agent: str, plan: Mapping[str, Any]) -> dict[str, Any]:
        """Run parts/load.py as a confined agent to its end; what it measured."""
        done = subprocess.run(self.command(agent, "load.py", json.dumps(plan)), capture_output=True, text=True,
                              check=False, cwd=PARTS, stdin=subprocess.DEVNULL)
        if done.returncode:
            sys.exit(f"the load ended with {done.returncode}: {done.stderr[-2000:]}{done.stdout[-2000:]}")
        return json.loads(done.stdout)

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """Have a core of ``parts/told.py`` do something; its answer."""
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(self.folder / "control.sock"))
            sock.sendall(json.dumps({"do": do, **more}).encode() + b"\n")
            line = sock.makefile().readline()
        answer: dict[str, Any] = json.loads(line)
        if "fault" in answer:
            sys.exit(f"the core could not do {do}: {answer['fault']}")
        return answer


def cpu(pids: Iterable[int]) -> float:
    """Seconds of CPU that all threads of these processes have used, from the scheduler's nanoseconds."""
    spent = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a thread that has just ended
                spent += int((task / "schedstat").read_text().split()[0])
    return spent / 1e9


def resident(pid: int) -> int:
    """Bytes of a process's memory that are in RAM."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
