"""The effect of a tool call: the tenant's sidecar runs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Final
from urllib.parse import urlsplit

from ringwall.call import Call, Chunk, Facts, Last, Process, canonical
from ringwall.errors import RingwallError
from ringwall.manifest.types import ToolServer
from ringwall.tools.credentials import Credentials
from ringwall.tools.mcp_ops import ANSWERS
from ringwall.tools.outward import Outward
from ringwall.tools.pending import last
from ringwall.tools.protocol import GRACE_S, REASONS
from ringwall.tools.sidecar_client import SidecarClient, Wish

_KEPT: Final = frozenset({*ANSWERS, "resources.subscribe", "logging.setLevel"})


class ToolEffect:
    """Runs calls of kind ``tool``; the target is ``server/operation``.

    Args:
        sidecars: the sidecar of a tenant, or None if it has none.
        unchanged: whether the definition a call was judged by is still the one its server lists and was pinned.
        servers: what the manifest says of each.
        outward: runs calls of web APIs and of plain HTTP.
        credentials: what MCP servers elsewhere are asked with.

    """

    def __init__(
        self,
        sidecars: Callable[[str], SidecarClient | None],
        unchanged: Callable[[Call], bool],
        *,
        servers: Mapping[str, ToolServer],
        outward: Outward,
        credentials: Credentials,
    ) -> None:
        self._sidecars = sidecars
        self._unchanged = unchanged
        self._servers = servers
        self._outward = outward
        self._credentials = credentials

    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        """One whole chunk, then a Last; as MCP's messages there may be more chunks (``call.Form``).

        A tool's own error text is the chunk ``{"error": text}``, because it comes from outside and has to cross the
        rings; the Last then has code ``tool_error``.
        """
        sidecar = self._sidecars(call.tenant)
        server = self._servers.get(call.target.name.partition("/")[0])
        if sidecar is None or server is None:
            code = "sidecar_unavailable" if sidecar is None else "no_such_server"
            yield last("failed", code, REASONS[code])
            return
        if server.openapi is not None or server.http:
            answer = self._outward.run(call, server, sidecar)
        else:
            answer = self._ask(call, server, sidecar)
        async with aclosing(answer):
            async for item in answer:
                yield item

    async def _ask(
        self, call: Call, server: ToolServer, sidecar: SidecarClient
    ) -> AsyncGenerator[Chunk | Last, None]:
        """An MCP server, wherever it is."""
        try:
            headers = await self._headers(call, server, sidecar)
        except RingwallError as fault:
            yield last("failed", fault.code, fault.cause)
            return
        wish = Wish(
            form=call.form,
            session=_session(call, server),
            headers=headers,
            progress=call.progress,
            client=call.client,
            trace=call.trace,
            inputs=b"" if call.inputs is None else canonical(call.inputs),
        )
        op = call.target.name.partition("/")[2]
        answer = sidecar.run_tool(
            server.name, op, call.args, still=lambda: self._unchanged(call), call=call.id, wish=wish,
            seconds=server.timeout_s + (GRACE_S if server.mcp else 0.0),
        )  # fmt: skip
        async with aclosing(answer):
            async for item in answer:
                if isinstance(item, Last) and item.error and item.error["code"] == "upstream_denied":
                    self._credentials.forget(call.tenant, server.name)  # the next call asks for another token
                yield item

    async def _headers(self, call: Call, server: ToolServer, sidecar: SidecarClient) -> Mapping[str, str]:
        if not server.mcp:
            return {}
        path = urlsplit(server.mcp).path or "/"
        return (await self._credentials.of(call, server, "POST", path, sidecar)).headers


def _session(call: Call, server: ToolServer) -> str:
    """Whose questions and answers they are, and whose session of a server elsewhere."""
    return call.subject.launch if isinstance(call.subject, Process) and has_sessions(server) else ""


def has_sessions(server: ToolServer) -> bool:
    """Whether each launch has a session of its own, as far as the server has any: where what one launch does in it
    is seen in it later, questions among them, which only who caused them may answer."""
    return not _KEPT.isdisjoint(server.ops)
