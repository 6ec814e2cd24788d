"""What the wall lists to an agent, as MCP says it: tools with their names here, and the capabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringwall.call import Json, as_array, as_object
from ringwall.clock import Clock
from ringwall.doors.mcp.places import JOINED
from ringwall.wire.mcp import methods, revisions

KEPT_S: Final = 60.0  # how long a listing is good for finding the server of a method
MAX_KEPT: Final = 512  # listings, of all launches
_SHOWN: Final = ("title", "description", "inputSchema", "outputSchema", "annotations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offers:
    """One listing. ``tools``: in MCP's form; ``reserved``: operation -> the servers that have it."""

    tools: tuple[dict[str, Json], ...]
    servers: tuple[str, ...]  # that have any of them
    reserved: dict[str, tuple[str, ...]]
    headers: dict[str, dict[str, tuple[str, ...]]]  # tool -> what its schema wants repeated in headers

    def server(self, op: str) -> str | None:
        """The one server that has a reserved operation; None: there is none, or there are several."""
        found = self.reserved.get(op, ())
        return found[0] if len(found) == 1 else None

    def capabilities(self) -> dict[str, Json]:
        """What the agent may do here, in the words of ``initialize`` and ``server/discover``."""
        found: dict[str, Json] = {"tools": {"listChanged": True}}
        if any(self.server(op) for op in ("resources.list", "resources.read", "resources.templates")):
            watched = {"subscribe": True} if self.server("resources.subscribe") is not None else {}
            found["resources"] = {"listChanged": True, **watched}
        if any(self.server(op) for op in ("prompts.list", "prompts.get")):
            found["prompts"] = {"listChanged": True}
        if self.server("completion.complete"):
            found["completions"] = {}
        if self.server("logging.setLevel"):
            found["logging"] = {}
        return found


def offers(listing: Json, server: str) -> Offers:
    """Read the answer of ``ringwall/list``.

    Args:
        listing: definitions; their names are ``server/operation``.
        server: the one server that is asked for; empty: all of them.

    """
    tools: list[dict[str, Json]] = []
    servers: dict[str, None] = {}
    reserved: dict[str, tuple[str, ...]] = {}
    headers: dict[str, dict[str, tuple[str, ...]]] = {}
    for item in as_array(listing) or []:
        definition = as_object(item) or {}
        its, _, op = str(definition.get("name", "")).partition("/")
        if not op or (server and its != server):
            continue
        servers[its] = None
        if op in methods.RESERVED:
            reserved[op] = (*reserved.get(op, ()), its)
            continue
        name = op if server else joined(its, op)
        if name is None:
            continue
        shown = {key: definition[key] for key in _SHOWN if definition.get(key) is not None}
        tools.append({"name": name, **shown})
        if wanted := revisions.annotated(definition.get("inputSchema")):
            headers[name] = wanted
    return Offers(tools=tuple(tools), servers=tuple(servers), reserved=reserved, headers=headers)


def joined(server: str, op: str) -> str | None:
    """The tool's name where all servers are asked; None: two tools could have it, so it is at its server's path."""
    name = f"{server}{JOINED}{op}"
    return name if target(name, "") == (server, op) else None


def target(name: str, server: str) -> tuple[str, str]:
    """The server and the operation that a tool's name means at a path; an empty one means nothing."""
    if server:
        return server, name
    its, found, op = name.partition(JOINED)
    return (its, op) if found else ("", name)


class Shelf:
    """The newest listing of each launch at each path. It only finds the server of a request: the wall judges.

    Args:
        clock: for their age.

    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, str], tuple[float, str, Offers]] = {}

    def put(self, launch: str, server: str, tenant: str, found: Offers) -> None:
        """Keep a listing; the oldest goes if there are too many."""
        self._kept.pop((launch, server), None)
        while len(self._kept) >= MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[launch, server] = self._clock.monotonic(), tenant, found

    def get(self, launch: str, server: str) -> Offers | None:
        """A listing that is not too old."""
        kept = self._kept.get((launch, server))
        return kept[2] if kept is not None and self._clock.monotonic() - kept[0] < KEPT_S else None

    def headers(self, launch: str, server: str, tool: str) -> dict[str, tuple[str, ...]]:
        """Which arguments of a tool this client was told to repeat in headers, whenever that was."""
        kept = self._kept.get((launch, server))
        return kept[2].headers.get(tool, {}) if kept is not None else {}

    def forget(self, tenant: str) -> None:
        """A tenant's tools changed."""
        self._kept = {key: kept for key, kept in self._kept.items() if kept[1] != tenant}
