"""The effect of a tool call: the tenant's sidecar runs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from ringwall.call import Call, Chunk, Facts, Last
from ringwall.tools.protocol import REASONS
from ringwall.tools.sidecar_client import SidecarClient


class ToolEffect:
    """Runs calls of kind ``tool``; the target is ``server/operation``.

    Args:
        sidecars: the sidecar of a tenant, or None if it has none.
        unchanged: whether the definition a call was judged by is still the one its server lists and was pinned.

    """

    def __init__(
        self, sidecars: Callable[[str], SidecarClient | None], unchanged: Callable[[Call], bool]
    ) -> None:
        self._sidecars = sidecars
        self._unchanged = unchanged

    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        """One whole chunk, then a Last. A tool's own error text is the chunk ``{"error": text}``, because it
        comes from outside and has to cross the rings; the Last then has code ``tool_error``.
        """
        sidecar = self._sidecars(call.tenant)
        if sidecar is None:
            code = "sidecar_unavailable"
            yield Last(end="failed", error={"code": code, "reason": REASONS[code]})
            return
        server, _, op = call.target.name.partition("/")
        answer = sidecar.run_tool(server, op, call.args, still=lambda: self._unchanged(call), call=call.id)
        async with aclosing(answer):
            async for item in answer:
                yield item
