"""Tool calls inside completions, weighed before the agent sees them.

The agent's process is no barrier, so this stops nothing that the rings do not stop when the call really comes. It
keeps an honest program from acting on what a model was talked into, and tells it so in words.
"""

from __future__ import annotations

import msgspec

from ringwall.call import Json
from ringwall.doors.interface import Judge
from ringwall.doors.models.offers import Offers
from ringwall.errors import BadInput
from ringwall.interface import Origin
from ringwall.wire import strict
from ringwall.wire.models import wire
from ringwall.wire.models.interface import Api
from ringwall.wire.models.pieces import MAX_ARGUMENTS


class Judging:
    """Of one agent's completions.

    Args:
        wall: says what its rings would say.
        offers: which names are tools of ours.
        origin: who asks.

    """

    def __init__(self, wall: Judge, offers: Offers, origin: Origin) -> None:
        self._wall = wall
        self._offers = offers
        self._origin = origin

    async def whole(self, api: Api, answer: Json) -> Json:
        """A canonical answer without the calls that would be refused; a short text stands for each of them."""
        spoken = wire(api)
        refused: dict[str, str] = {}
        for call in spoken.tool_calls(answer):
            why = await self._refused(call.name, call.arguments)
            if why:
                refused[call.id] = why
        return spoken.without_calls(answer, refused) if refused else answer

    async def piece(self, piece: Json) -> Json:
        """A piece of a streamed answer, or a text in its place."""
        called = piece.get("call")
        if called is None:
            return piece
        why = await self._refused(called["name"], called["arguments"])
        return {"part": piece["part"], "kind": "text", "text": why} if why else piece

    async def _refused(self, name: str, arguments: str) -> str:
        tool = self._offers.judged(self._origin, name)
        if not tool:
            return ""
        try:
            args = strict.parse((arguments or "{}").encode(), max_bytes=4 * MAX_ARGUMENTS)
            denied = await self._wall.weigh(self._origin, "tool", msgspec.json.encode({"tool": tool, "args": args}))
            code = "" if denied is None else denied.code
        except (BadInput, UnicodeEncodeError):
            code = "invalid_arguments"
        return f"[The call of {tool} was withheld: {code}]" if code else ""
