"""A whole Ringwall on real processes, for end-to-end tests: ``ringwall up`` with a manifest in a short folder.

Works as root and as an ordinary user; ``tests/test_ordinary_user.py`` repeats what is marked ``confined``.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from ringwall.audit.disk import SystemDisk
from ringwall.audit.journal import open_body, read_records
from ringwall.audit.reader import log_folder
from ringwall.audit.records import Record
from ringwall.audit.sessions import KeyRing
from ringwall.audit.verify import Report, verify
from ringwall.doors.operator_client import OperatorClient
from ringwall.keys.file import FileRootKeys

ROOT = os.geteuid() == 0
RINGWALL = (sys.executable, "-m", "ringwall.cli.main")
AGENTS = Path(__file__).parent / "agents"  # what agents and tool servers of these tests run
START_S = 60.0  # a busy machine; usual is 2 s
WAIT_S = 30.0  # for a condition that usually holds within milliseconds

_T = TypeVar("_T")


def wait_for(what: str, found: Callable[[], _T | None], seconds: float = WAIT_S) -> _T:
    """Ask until the answer is true; its value. Fails, naming ``what``, when it takes too long."""
    until = time.monotonic() + seconds
    while not (answer := found()):
        assert time.monotonic() < until, f"waited {seconds:g} s for {what}"
        time.sleep(0.02)
    return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A finished ``ringwall run``: ``told`` is what Ringwall itself printed."""

    code: int
    out: bytes
    err: str

    @property
    def json(self) -> Any:
        """The last line that the agent printed."""
        assert self.out.strip(), self.err
        return json.loads(self.out.splitlines()[-1])


class Puppet:
    """An agent that does what the test says, line by line (``tests/agents/puppet.py``).

    ``run`` names its run, ``pid`` is its process number outside.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.run, self.pid = "", 0
        self.process = process
        self._answers: dict[int, Any] = {}
        self._number = 0
        self._over = False
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = json.loads(line)
            with self._news:
                self._answers[message.pop("id")] = message
                self._news.notify_all()
        with self._news:
            self._over = True
            self._news.notify_all()

    def ask(self, do: str, **more: Any) -> int:
        """Begin something; the answer is fetched with ``answer``."""
        assert self.process.stdin is not None
        self._number += 1
        self.process.stdin.write(json.dumps({"id": self._number, "do": do, **more}).encode() + b"\n")
        self.process.stdin.flush()
        return self._number

    def answer(self, number: int, seconds: float = WAIT_S) -> Any:
        """What came of it."""
        with self._news:
            came = self._news.wait_for(lambda: number in self._answers or self._over, seconds)
            assert came, f"no answer to {number} within {seconds:g} s"
            assert number in self._answers, "the agent ended"
            return self._answers.pop(number)

    def do(self, do: str, **more: Any) -> Any:
        """``ask`` and ``answer``."""
        return self.answer(self.ask(do, **more))

    def call(self, tool: str, **args: Any) -> Any:
        """Call a tool: ``{"result": ...}`` or ``{"error": type, "code": ..., "reason": ..., "record": ...}``."""
        return self.do("call", tool=tool, args=args)

    def close(self) -> int:
        """Let it end; the exit code of ``ringwall run``."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        code = self.process.wait(WAIT_S)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


class Stack:
    """One installation.

    Args:
        manifest: makes the text of ``ringwall.toml``, given the folder.
        prepare: puts files into the folder before the start.

    """

    up: Sequence[str] = (*RINGWALL, "up")  # what starts it

    def __init__(self, manifest: Callable[[Path], str], prepare: Callable[[Path], None] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rw", dir="/tmp"))
        self.folder.chmod(0o755)
        self.state = self.folder / "s"
        self.project = self.folder / "p"
        self.project.mkdir()
        (self.folder / "c").mkdir()
        self.manifest = self.folder / "c" / "ringwall.toml"
        for agent in AGENTS.glob("*.py"):
            shutil.copy(agent, self.project / agent.name)
        if prepare is not None:
            prepare(self.folder)
        self.manifest.write_text(manifest(self.folder))
        self.told = self.folder / "told"  # what runs with pipes say on standard error
        self.client = OperatorClient(self.state / "operator.sock")
        self.log: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    # --- ringwall up

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            print("".join(self.log), self.told.read_text() if self.told.exists() else "", sep="\n")
            shutil.rmtree(self.folder, ignore_errors=True)

    def start(self) -> Self:
        """Start it and wait until it is ready."""
        self.log.clear()
        self.process = subprocess.Popen(
            [*self.up, "--state", str(self.state), "--manifest", str(self.manifest)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        self.wait_ready(1, START_S)
        return self

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        with process.stdout:
            self.log.extend(process.stdout)

    def wait_ready(self, times: int, seconds: float = START_S) -> None:
        """Wait until a core has said for the n-th time that every door is open."""

        def ready() -> bool:
            assert self.process is not None
            said = sum(line.startswith("ringwall: ready") for line in self.log) >= times
            assert said or self.process.poll() is None, "".join(self.log)
            return said

        wait_for(f"ready number {times}: {''.join(self.log)}", ready, seconds)

    def stop(self) -> int:
        """End it as Ctrl-C does; the exit code."""
        if self.process is None:
            return 0
        if self.process.poll() is None:
            self.process.terminate()
        try:
            code = self.process.wait(WAIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._reader.join(WAIT_S)
        self.process = None
        return code

    # --- ringwall run

    def command(
        self, agent: str, command: Sequence[str], *, task: str = "t", options: Sequence[str] = ()
    ) -> list[str]:
        """The command line of a run."""
        return [*RINGWALL, "run", agent, "--task", task, "--state", str(self.state), *options, "--", *command]

    def run(
        self, agent: str, command: Sequence[str], *, task: str = "t", options: Sequence[str] = (),
        stdin: bytes = b"", env: Mapping[str, str] | None = None, seconds: float = 60.0,
    ) -> Ran:
        """``ringwall run`` to its end."""
        done = subprocess.run(
            self.command(agent, command, task=task, options=options), input=stdin, capture_output=True, check=False,
            cwd=self.project, env={**os.environ, **(env or {})}, timeout=seconds,
        )
        return Ran(code=done.returncode, out=done.stdout, err=done.stderr.decode())

    def python(self, agent: str, text: str, **more: Any) -> Ran:
        """Run a Python program, given as text."""
        return self.run(agent, [sys.executable, "-c", text], **more)

    @contextmanager
    def begin(
        self, agent: str, command: Sequence[str], *, task: str = "t", options: Sequence[str] = (), **more: Any
    ) -> Generator[subprocess.Popen[bytes]]:
        """``ringwall run`` with pipes, killed in the end if it still runs."""
        with self.told.open("ab") as told:
            process = subprocess.Popen(
                self.command(agent, command, task=task, options=options), stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=told, cwd=self.project, **more,
            )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None and not stream.closed:
                    _close(stream)

    @contextmanager
    def puppet(self, agent: str, *, task: str = "t", options: Sequence[str] = ()) -> Generator[Puppet]:
        """A running puppet."""
        before = {run["run"] for run in self.status()["runs"]}
        with self.begin(agent, [sys.executable, "puppet.py"], task=task, options=options) as process:
            puppet = Puppet(process)
            try:
                puppet.do("pid")
                new = [run for run in self.status()["runs"] if run["run"] not in before]
                puppet.run, puppet.pid = new[-1]["run"], new[-1]["pid"]
                yield puppet
            finally:
                if process.poll() is None:
                    process.terminate()  # forwarded; the puppet takes it as its end
                    process.wait(WAIT_S)
                puppet.close()

    # --- what it says

    def status(self) -> Any:
        """As ``ringwall status --json``."""
        return self.client.status()

    def running(self, name: str) -> int | None:
        """The process number of ``core``, ``guard``, ``sidecar-TENANT`` or a tool server ``TENANT/SERVER``."""
        found = self.status()
        if name == "core":
            return int(found["pid"])
        helpers = [(each["name"], each["ready"], each["pid"]) for each in found["processes"]]
        servers = [(f"{each['tenant']}/{each['name']}", each["running"], each["pid"]) for each in found["servers"]]
        return next((int(pid) for its, up, pid in helpers + servers if its == name and up), None)

    def pid(self, name: str) -> int:
        """The same, for what must be running."""
        found = self.running(name)
        assert found is not None, f"{name} does not run: {self.status()}"
        return found

    def records(self, tenant: str, *types: str) -> list[Record]:
        """Records of a tenant's log."""
        return list(read_records(self.state, tenant, types=frozenset(types) if types else None))

    def record(self, name: str) -> Record:
        """The record that an answer names."""
        tenant, _, number = name.partition("/")
        return next(r for r in read_records(self.state, tenant, int(number)) if r.number == int(number))

    def body(self, tenant: str, record: Record) -> Any:
        """A record's decrypted body."""
        root = FileRootKeys.open(self.state / "root.key")
        return open_body(record, KeyRing.read(log_folder(self.state, tenant), root, SystemDisk()))

    def outcome(self, name: str) -> Record | None:
        """The outcome of the call that a record's name stands for."""
        tenant, _, number = name.partition("/")
        return next((r for r in self.records(tenant, "outcome") if r.clear["of"] == int(number)), None)

    def verify(self) -> Report:
        """As ``ringwall audit verify``."""
        return verify(self.state)


def _close(stream: Any) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        pass


def kill(pid: int, signum: int = signal.SIGKILL) -> None:
    """A signal to one process."""
    os.kill(pid, signum)


def alive(pid: int) -> bool:
    """Whether this process exists and has not ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return fields[0] not in {"Z", "X"}


def descendants(pid: int) -> Collection[int]:
    """Every living process below this one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ProcessLookupError):
                continue
    found: set[int] = set()
    todo = [pid]
    while todo:
        parent = todo.pop()
        below = [child for child, its in parents.items() if its == parent]
        found.update(below)
        todo += below
    return found
