"""A server of 2026-07-28 that asks a client of an older revision: its questions are put, and the call is repeated.

The answers are judged as part of the repeated call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from ringwall.call import Json, as_object
from ringwall.doors.mcp.flights import Gone, Not, Result
from ringwall.doors.mcp.reply import Reply
from ringwall.doors.mcp.sessions import Question, Session
from ringwall.errors import BadInput
from ringwall.wire.mcp import methods, results, rpc
from ringwall.wire.mcp.rpc import Answer

MAX_ROUNDS: Final = 10  # of one request, as common clients have it
BACKOFF_S: Final = 0.05  # before a call is repeated whose server asked nothing: it only wants to be asked again


def wants_input(value: Json) -> bool:
    """Whether a result is questions."""
    return (as_object(value) or {}).get("resultType") == results.INPUT_REQUIRED


async def answers(session: Session, id: rpc.Id, end: Result, reply: Reply, shown: list[str]) -> Json | Not | Gone:  # noqa: A002
    """Put the questions of a result to the client of a session, and wait for all its answers.

    Args:
        session: the client's.
        id: of its request, by which it may cancel.
        end: what the server said.
        reply: where questions go.
        shown: the ids of questions that the client was shown; they are added.

    Returns:
        ``{"responses", "state"}`` for the repeated call, why there are none, or that the client gave up.

    """
    try:
        value = results.accepted("tools/call", end.value, stateless=True)  # its form is the same for every method
    except BadInput as fault:
        return Not(code=fault.code, reason=fault.cause, record=end.record)
    asked: dict[str, dict[str, Json]] = value.get("inputRequests", {})
    no = Not(code="tool_input_required", reason="the server asks for input that this client cannot give",
             record=end.record)
    if any(not reply.streams or _needs(one) not in session.capabilities for one in asked.values()):
        return no
    loop = asyncio.get_running_loop()
    waiting: dict[str, asyncio.Future[Answer]] = {key: loop.create_future() for key in asked}
    whole = session.running[id] = asyncio.create_task(_all(waiting))  # the client can cancel this from now on
    try:
        for key, one in asked.items():
            name = session.ask(Question(server="", number=0, method=str(one["method"]), waiting=waiting[key]))
            if name is None:
                return no
            shown.append(name)
            await reply.event(rpc.request(name, str(one["method"]), one.get("params", {})))
        if not asked:
            await asyncio.sleep(BACKOFF_S)
        while not whole.done():
            done, _ = await asyncio.wait({whole}, timeout=reply.quiet_s)
            if not done:
                await reply.ping()
    finally:
        whole.cancel()
    if whole.cancelled():
        return Gone()
    said = {key: one.result() for key, one in waiting.items()}
    if any(one.result is None for one in said.values()):
        return no
    return {"responses": {key: one.result for key, one in said.items()}, "state": value.get("requestState", "")}


async def _all(waiting: Mapping[str, asyncio.Future[Answer]]) -> None:
    for one in waiting.values():
        await one


def _needs(question: dict[str, Json]) -> str:
    """The capability that a client must have declared to be asked this."""
    return methods.CLIENT_CAPABILITY[str(question["method"])]
