"""The effect of a tool call: the tenant's sidecar runs it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Final
from urllib.parse import urlsplit

from ringwall.call import Call, Chunk, Facts, Last, Process, canonical, subject_name
from ringwall.errors import RingwallError
from ringwall.manifest.types import ToolServer
from ringwall.tools.credentials import Credentials
from ringwall.tools.giving import Giving
from ringwall.tools.mcp_ops import ANSWERS
from ringwall.tools.outward import Outward
from ringwall.tools.pending import last
from ringwall.tools.protocol import GRACE_S, REASONS
from ringwall.tools.sidecar_client import SidecarClient, Wish
from ringwall.vault.interface import Secrets, for_agent

_KEPT: Final = frozenset({*ANSWERS, "resources.subscribe", "logging.setLevel"})


class ToolEffect:
    """Runs calls of kind ``tool``; the target is ``server/operation``.

    Args:
        sidecars: the sidecar of a tenant, or None if it has none.
        unchanged: whether the definition a call was judged by is still the one its server lists and was pinned.
        servers: what the manifest says of each.
        outward: runs calls of web APIs and of plain HTTP.
        credentials: what MCP servers elsewhere are asked with.
        secrets: makes credentials for workers.
        giving: hands them over.

    """

    def __init__(
        self,
        sidecars: Callable[[str], SidecarClient | None],
        unchanged: Callable[[Call], bool],
        *,
        servers: Mapping[str, ToolServer],
        outward: Outward,
        credentials: Credentials,
        secrets: Secrets,
        giving: Giving,
    ) -> None:
        self._sidecars = sidecars
        self._unchanged = unchanged
        self._servers = servers
        self._outward = outward
        self._credentials = credentials
        self._secrets = secrets
        self._giving = giving

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
        credential = ""
        try:
            headers = await self._headers(call, server, sidecar)
            if server.worker:
                credential = await self._given(call, server, sidecar)
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
            credential=credential,
        )
        op = call.target.name.partition("/")[2]
        answer = sidecar.run_tool(
            server.name, op, call.args, still=lambda: self._unchanged(call), call=call.id, wish=wish,
            seconds=server.timeout_s + (GRACE_S if server.mcp else 0.0),
        )  # fmt: skip
        async with aclosing(answer):
            async for item in answer:
                if isinstance(item, Last) and item.error and item.error["code"] == "upstream_denied":
                    self._credentials.forget(call, server.name)  # the next call asks for another token
                yield item

    async def _given(self, call: Call, server: ToolServer, sidecar: SidecarClient) -> str:
        """Have a credential made for this call alone, and hand it to the worker; its name. Raises RingwallError."""
        self._credentials.check_granted(call, server.secret)
        try:
            credential = await self._secrets.credential(call, server.secret)
        except RingwallError as fault:  # its cause may name files and hosts
            raise for_agent(fault, server.secret) from fault
        await sidecar.started(server.name)
        return self._giving.give(call.tenant, server.name, credential, subject_name(call.subject))

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
    is seen in it later, questions among them, which only who caused them may answer. And where it is asked with a
    secret: many a server takes whoever opened a session for whoever asks in it."""
    asked_with = server.mcp and (server.secret or server.oauth)
    return bool(asked_with) or not _KEPT.isdisjoint(server.ops)
