"""``ringwall run``: an agent's own program, confined, with its standard streams and exit code passed through."""

from __future__ import annotations

import base64
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from ringwall.call import Json
from ringwall.cli import common
from ringwall.doors.operator_client import OperatorClient
from ringwall.errors import RingwallError, Unavailable
from ringwall.runtime.state import client_socket

# How long to wait for a core that restarts: its longest back-off and a slow start. The agent itself goes on.
RETRY_S: Final = 30.0
PAUSE_S: Final = 0.2  # between two looks for it
NOT_UP: Final = "not_up"  # the code when nobody listens: nothing was sent then
FORWARD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("agent")
@click.option("--task", required=True, help="The trusted instruction: what this session is for.")
@click.option("--per-session", is_flag=True, help="A fresh /workspace for this run, so that it starts clean.")
@click.option("--unconfined", is_flag=True, help="Start WITHOUT confinement; every record will say so.")
@common.state_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def run(
    agent: str, task: str, command: tuple[str, ...], state: Path, *, per_session: bool, unconfined: bool
) -> None:
    """Run AGENT's program COMMAND... behind the wall.

    AGENT is a name of the manifest, or tenant/name. Example:

      ringwall run analyst --task "Summarise the open invoices" -- python my_agent.py
    """
    order: dict[str, Json] = {
        "verb": "run",
        "args": {
            "agent": agent,
            "task": task,
            "command": list(command),
            "cwd": str(Path.cwd()),
            "path": os.environ.get("PATH", os.defpath),
            "per_session": per_session,
            "unconfined": unconfined,
        },
    }
    watcher = _Watcher(OperatorClient(client_socket(state)))
    try:
        raise SystemExit(watcher.follow(order))
    except RingwallError as fault:
        common.fail(fault)


class _Watcher:
    """Follows one run, over restarts of the core."""

    def __init__(self, client: OperatorClient) -> None:
        self._client = client
        self._run = ""
        self._status: int | None = None
        self._supervisor = -1

    def follow(self, order: dict[str, Json]) -> int:
        """Start it and stay until its end; its own exit code. Raises Refused, Unavailable."""
        try:
            self._client.run(order, self._line)
        except Unavailable:
            if not self._run:
                raise
            self._again()
        if self._status is None:
            raise Unavailable(
                "the core went away and the run's end is not known", code="run_lost", remedy="ringwall status"
            )
        return self._status

    def _again(self) -> None:
        """The core went away while the agent runs: follow it again when a new core is up."""
        print("ringwall: the core is restarting; the agent goes on, its calls are refused", file=sys.stderr)
        until = time.monotonic() + RETRY_S
        while self._status is None:
            try:
                self._client.attach(self._run, self._line)
            except Unavailable as fault:  # a core that is up and does not know this run refuses: that is final
                if fault.code != NOT_UP:
                    until = time.monotonic() + RETRY_S  # there was a core, and it went away too
                elif time.monotonic() > until or not self._comes_back():
                    raise
                time.sleep(PAUSE_S)

    def _comes_back(self) -> bool:
        """Whether there is still a supervisor to start another core."""
        return self._supervisor < 0 or not select.select([self._supervisor], [], [], 0)[0]

    def _line(self, line: dict[str, Any]) -> None:
        if "stdout" in line:
            _write(1, base64.b64decode(line["stdout"]))
        elif "stderr" in line:
            _write(2, base64.b64decode(line["stderr"]))
        elif "started" in line:
            self._started(line["started"])
        elif "exit" in line:
            self._status = int(line["exit"])
            print(_closing(line.get("summary") or {}), file=sys.stderr)

    def _started(self, started: dict[str, Any]) -> None:
        self._run = started["run"]
        try:
            self._supervisor = os.pidfd_open(int(started["supervisor"]))
        except OSError:
            pass  # it ends just now, or this kernel cannot say: then the time runs out
        print(f"ringwall: {started['agent']} ({started['tenant']}) as {started['spiffe_id']}", file=sys.stderr)
        print(
            "          confined: namespaces, landlock, seccomp"
            if started["confined"]
            else "          NOT CONFINED (--unconfined): nothing keeps this program from going around the wall",
            file=sys.stderr,
        )
        print(f"          launch record: {started['record']}", file=sys.stderr, flush=True)
        for number in FORWARD:
            signal.signal(number, self._forward)
        threading.Thread(target=self._feed, daemon=True).start()

    def _forward(self, number: int, _frame: object) -> None:
        name = signal.Signals(number).name
        ask = lambda: self._client.signal(self._run, name)  # noqa: E731
        threading.Thread(target=self._deliver, args=(ask,), kwargs={"twice": True}, daemon=True).start()

    def _feed(self) -> None:
        """Our standard input to the agent's."""
        while True:
            try:
                data = os.read(0, 64 << 10)
            except OSError:
                data = b""
            ask = lambda piece=data: self._client.send_stdin(self._run, piece, eof=not piece)  # noqa: E731
            self._deliver(ask, twice=not data)
            if not data:
                return

    def _deliver(self, ask: Callable[[], None], *, twice: bool) -> None:
        """Input or a signal, to this core or the next. For an agent that has just ended it is no fault.

        Args:
            ask: sends it.
            twice: whether it does no harm to send it again when the core went away before it said that it had it.

        """
        while self._status is None:
            try:
                ask()
            except Unavailable as fault:
                if fault.code != NOT_UP and not twice:
                    return
                time.sleep(PAUSE_S)
            except RingwallError:
                return
            else:
                return


def _write(number: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(number, view) :]


def _closing(summary: dict[str, Any]) -> str:
    """``ringwall: 12 calls, 11 done, 1 refused (acme/57)``."""
    ends: dict[str, int] = summary.get("ends") or {}
    parts = [f"{summary.get('calls', 0)} calls", *(f"{count} {end}" for end, count in sorted(ends.items()))]
    held = list(summary.get("held") or [])
    refused = list(summary.get("refused") or [])
    text = "ringwall: " + ", ".join(parts)
    if refused:
        text += f" ({', '.join(refused[:5])}{', …' if len(refused) > 5 else ''})\n"
        text += f"          ringwall explain {refused[0]}"
    if held:
        text += f"\n          held: ringwall approvals show {held[-1]}"
    return text
