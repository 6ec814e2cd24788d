"""Records on their way to the writer thread, and its answers on their way back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from ringwall.errors import AuditError


@dataclass(slots=True, kw_only=True)
class Item:
    """A record that waits for the disk, and who waits for it."""

    record: bytes
    durable: bool
    essential: bool
    answer: Future[int] | asyncio.Future[int]
    loop: asyncio.AbstractEventLoop | None = None
    abandoned: Callable[[int], None] | None = None


Answers = list[tuple[Item, "int | AuditError"]]


def again(fault: AuditError) -> AuditError:
    """A fresh exception of the same content: one object must not be raised in two tasks."""
    return AuditError(fault.cause, code=fault.code, remedy=fault.remedy)


def deliver(answers: Answers) -> None:
    """Answer everybody: one wake-up per event loop."""
    loops: dict[asyncio.AbstractEventLoop, Answers] = {}
    for item, answer in answers:
        if item.loop is not None:
            loops.setdefault(item.loop, []).append((item, answer))
        elif isinstance(answer, AuditError):
            item.answer.set_exception(answer)
        else:
            item.answer.set_result(answer)
    for loop, part in loops.items():
        try:
            loop.call_soon_threadsafe(_answer, part)
        except RuntimeError:
            pass  # the loop is closed: nobody waits any more


def _answer(answers: Answers) -> None:
    for item, answer in answers:
        if not item.answer.done():
            if isinstance(answer, AuditError):
                item.answer.set_exception(answer)
            else:
                item.answer.set_result(answer)
        elif item.abandoned is not None and not isinstance(answer, AuditError):
            item.abandoned(answer)
