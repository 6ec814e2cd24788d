"""A secret that an agent reads itself: each reading is told to the operators before the agent has it."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Final

from ringwall.call import Call, Chunk, Event, Facts, Json, Last, Process, subject_name
from ringwall.clock import Clock
from ringwall.errors import BadInput, RingwallError
from ringwall.interface import Journal
from ringwall.vault.interface import READ, Secrets

EVENT: Final = "secret_read"
PAUSE_S: Final = 1.0  # between two lines at the operator's terminal: an agent cannot scroll the others away

Alert = Callable[[str, str], None]
"""Told who read which secret. Must neither wait nor raise."""


class ReadEffect:
    """Implements ``interface.Effect`` for calls of kind "secret" whose target begins with ``READ``.

    Args:
        secrets: have the values.
        journal: where each reading stands in clear before its value leaves: no record, no value.
        alert: tells the operators.

    """

    def __init__(self, secrets: Secrets, journal: Journal, alert: Alert) -> None:
        self._secrets = secrets
        self._journal = journal
        self._alert = alert

    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        """One chunk, ``{"value": text}`` or ``{"base64": bytes}``, then a Last."""
        try:
            value = await self._read(call)
        except RingwallError as fault:  # its cause may name files, so it stays with the operators' log
            yield Last(end="failed", error={"code": fault.code, "reason": "the secret cannot be read now"})
            return
        yield Chunk(value=shown(value))
        yield Last(end="done")

    async def _read(self, call: Call) -> bytes:
        who, name = call.subject, call.target.name.removeprefix(READ)
        if not isinstance(who, Process) or not call.target.name.startswith(READ):
            raise BadInput("this is no reading of a secret by a process", code="bad_request")
        value = await self._secrets.value(who.spiffe_id, who.launch, name)
        body: dict[str, Json] = {"secret": name, "launch": who.launch, "digest": call.digest}
        event = Event(type=EVENT, tenant=call.tenant, subject=subject_name(who), session=call.session, body=body)
        record = await self._journal.note(event)
        self._alert(f"{subject_name(who)} [{record}]", name)
        return value


class Alerts:
    """Says at the operator's terminal who read what, and counts it.

    Args:
        clock: for the pause between two lines.
        say: prints one line.
        count: adds one to a metric.

    """

    def __init__(self, clock: Clock, say: Callable[[str], None], count: Callable[[], None]) -> None:
        self._clock = clock
        self._say = say
        self._count = count
        self._next = 0.0
        self._silent = 0

    def __call__(self, who: str, name: str) -> None:
        self._count()
        now = self._clock.monotonic()
        if now < self._next:
            self._silent += 1
            return
        more = f" ({self._silent} more readings before this one: see the log)" if self._silent else ""
        self._next, self._silent = now + PAUSE_S, 0
        with contextlib.suppress(OSError):  # a terminal that is gone shows nothing; the log has it
            self._say(f"ringwall: ALERT {who} reads the secret {name} itself{more}")


def shown(value: bytes) -> Json:
    """A secret as JSON carries it: its text, or Base64 if it is none."""
    try:
        return {"value": value.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(value).decode()}
