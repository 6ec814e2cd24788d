"""The same agent, tools and model behind Ringwall: a runtime of its own, started as a user would start it."""

from __future__ import annotations

import base64
import dataclasses
import os
import subprocess
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from ringwall.call import Json
from ringwall.doors.operator_client import OperatorClient
from ringwall.errors import RingwallError, Unavailable
from ringwall.redteam.attack import Evidence, Task, interpreter
from ringwall.redteam.stage import STANDING, Listener, Office, arguments

OWN_DOOR = "/run/ringwall/door.sock"  # where every agent finds its own
STOP_S = 20.0  # the supervisor gives the core half of that
START_S = 90.0  # importing five MCP servers on two busy cores
OUTSIDE_S = 60.0  # for three TLS handshakes


@dataclass(slots=True)
class Watched:
    """What one run told."""

    output: bytes = b""
    errors: bytes = b""
    status: int = -1
    run: str = ""
    launch: str = ""
    refused: tuple[str, ...] = ()
    held: tuple[str, ...] = ()  # calls that waited for a human, whom the demo does not have
    last: str = ""
    beside: str = ""  # the launch that served meanwhile

    def take(self, line: dict[str, Any]) -> None:
        """One line of the operator's door."""
        if "stdout" in line:
            self.output += base64.b64decode(line["stdout"])
        elif "stderr" in line:
            self.errors += base64.b64decode(line["stderr"])
        elif "started" in line:
            self.run, self.launch = line["started"]["run"], line["started"]["record"]
        elif "exit" in line:
            summary: dict[str, Any] = line.get("summary") or {}
            self.status = int(line["exit"])
            self.refused, self.held = tuple(summary.get("refused") or ()), tuple(summary.get("held") or ())
            self.last = summary.get("last") or ""


class Walled:
    """Runs tasks of one office behind a runtime. ``up``: the command that starts it."""

    def __init__(self, office: Office, listener: Listener, *, up: tuple[str, ...] = ()) -> None:
        self._office = office
        self._listener = listener
        self._up = up or (interpreter(), "-m", "ringwall.cli.main", "up")
        self._log: list[str] = []

    def __enter__(self) -> Self:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            [*self._up, "--state", str(self._office.state), "--manifest", str(self._office.manifest)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(ready,), daemon=True)
        self._reader.start()
        if not ready.wait(START_S) or self._process.poll() is not None:
            self.__exit__()
            raise Unavailable(
                f"the runtime did not start: {''.join(self._log)[-800:]}",
                code="demo_failed",
                remedy="ringwall doctor",
            )
        self.client = OperatorClient(self._office.state / "operator.sock")
        return self

    def _read(self, ready: threading.Event) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._log.append(line)
            if line.startswith("ringwall: ready"):
                ready.set()
        ready.set()

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its pipe
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
            self._reader.join()

    def run(self, task: Task) -> tuple[Evidence, Watched]:
        """One task, from planting to evidence."""
        self._office.reset(task)
        if task.serving:
            return self._served(task)
        if task.beside is not None:
            with self._meanwhile(task.beside.agent, self._command(task.beside, {})) as attacker:
                evidence, _ = self._one(task, {})
            return evidence, attacker
        if {"{door}", "{pid}"} & set(task.arguments):
            return self._beside_another(task)
        return self._one(task, {})

    def _served(self, task: Task) -> tuple[Evidence, Watched]:
        """While another agent's A2A server runs; what was refused there was refused too."""
        server = [interpreter(), "-m", f"ringwall.redteam.office.{task.serving}", str(self._office.serve)]
        with self._meanwhile(task.serving, server) as other:
            evidence, seen = self._outside(task) if task.outside else self._one(task, {})
        return evidence, dataclasses.replace(
            seen, refused=(*seen.refused, *other.refused), held=(*seen.held, *other.held), beside=other.launch
        )

    def _outside(self, task: Task) -> tuple[Evidence, Watched]:
        """A program on the host, which nobody launched: it shares the machine's network and nothing else."""
        done = subprocess.run(
            self._command(task, {}), capture_output=True, text=True, timeout=OUTSIDE_S, check=False
        )
        evidence = self._office.evidence(output=done.stdout, status=done.returncode, heard=self._listener.take())
        return evidence, Watched()

    def _values(self, values: dict[str, str]) -> dict[str, str]:
        return {
            "port": str(self._listener.port),
            "state": str(self._office.state),
            "operator": str(self._office.state / "operator.sock"),
            "own": OWN_DOOR,
            **values,
        }

    def _command(self, task: Task, values: dict[str, str]) -> list[str]:
        return arguments(self._office, task, self._values(values))

    def _one(self, task: Task, values: dict[str, str]) -> tuple[Evidence, Watched]:
        told = self._office.fill(task.task, **self._values(values))
        seen = Watched()
        self.client.run(self._order(task.agent, told, self._command(task, values)), seen.take)
        self._office.tried(task, seen.output.decode(errors="replace"))
        evidence = self._office.evidence(
            output=seen.output.decode(errors="replace"), status=seen.status, heard=self._listener.take()
        )
        return evidence, seen

    def _beside_another(self, task: Task) -> tuple[Evidence, Watched]:
        """While the clerk's agent runs, with its door open."""
        command = [interpreter(), "-c", "import sys; print('here', flush=True); sys.stdin.read()"]
        with self._meanwhile("clerk", command) as victim:
            door = self._office.state / "doors" / victim.run / "door.sock"
            pid = next(run["pid"] for run in self.client.status()["runs"] if run["run"] == victim.run)
            return self._one(task, {"door": str(door), "pid": str(pid)})

    @contextmanager
    def _meanwhile(self, agent: str, command: list[str]) -> Generator[Watched]:
        """Another agent, from its first output to the end of the block, which is the end of its input."""
        other = Watched()
        started = threading.Event()

        def take(line: dict[str, Any]) -> None:
            other.take(line)
            if other.output:  # it runs: its door has been open since before its program started
                started.set()

        order = self._order(agent, STANDING.get(agent, "Go on."), command)
        thread = threading.Thread(target=self.client.run, args=(order, take))
        thread.start()
        if not started.wait(30):
            raise RingwallError("the other agent did not start", code="demo_failed")
        try:
            yield other
        finally:
            self.client.send_stdin(other.run, b"", eof=True)
            thread.join()

    def _order(self, agent: str, task: str, command: list[str]) -> dict[str, Json]:
        return {
            "verb": "run",
            "args": {
                "agent": agent,
                "task": task,
                "command": command,
                "cwd": str(self._office.folder / "project"),
                "path": os.environ.get("PATH", os.defpath),
                "per_session": True,
                "unconfined": False,
            },
        }


def folder_for(name: str) -> Path:
    """A short path: sockets live below it."""
    import tempfile

    return Path(tempfile.mkdtemp(prefix=f"rw-{name}-", dir="/tmp"))


if __name__ == "__main__":
    sys.exit("this module is used by `ringwall demo`")
