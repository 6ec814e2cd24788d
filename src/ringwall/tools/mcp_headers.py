"""The headers of MCP over HTTP. Source: MCP 2026-07-28 and 2025-11-25, transports."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias, cast

from ringwall.call import Json

MODERN: Final = "2026-07-28"
SESSION: Final = "mcp-session-id"
BASE: Final[Mapping[str, str]] = {
    "content-type": "application/json",
    "accept": "application/json, text/event-stream",
}
OWNED: Final = frozenset({
    "content-type", "accept", "last-event-id", "mcp-protocol-version", "mcp-method", "mcp-name", SESSION,
})
"""What this client says itself: nothing may be injected there."""
_META: Final = "io.modelcontextprotocol/"
_NAMED: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_MARK: Final = "=?base64?"
MAX_SESSION_ID: Final = 1024  # characters; honest ones have some dozens
MAX_MIRRORED: Final = 16  # arguments of one tool that go into headers as well
MAX_PATH: Final = 8  # how deep such an argument may lie
Mirrored: TypeAlias = Mapping[tuple[str, ...], str]


def meta(client: Json, asks: tuple[str, ...], level: str) -> dict[str, Json]:
    """What each request of the stateless revision says of its client.

    Args:
        client: its name and version.
        asks: what servers may ask back.
        level: how much they shall log; empty: nothing.

    """
    said: dict[str, Json] = {
        f"{_META}protocolVersion": MODERN,
        f"{_META}clientInfo": client,
        f"{_META}clientCapabilities": {name: {} for name in asks},
    }
    return {**said, f"{_META}logLevel": level} if level else said


def modern(method: str, params: Mapping[str, Json], mirrored: Mirrored) -> dict[str, str]:
    """The headers of a request of the stateless revision; they repeat what the body says."""
    found = {**BASE, "mcp-protocol-version": MODERN, "mcp-method": method}
    name = params.get(_NAMED.get(method, ""))
    if isinstance(name, str):
        found["mcp-name"] = encoded(name)
    arguments = params.get("arguments")
    if method == "tools/call":
        for path, token in mirrored.items():
            text = _written(_at(arguments, path))
            if text is not None:
                found[f"mcp-param-{token}"] = encoded(text)
    return found


def encoded(text: str) -> str:
    """A text as a header's value: as it is where that is unmistakable, else in base64."""
    if text.isascii() and text.isprintable() and text == text.strip() and not text.startswith(_MARK):
        return text
    return f"{_MARK}{base64.b64encode(text.encode()).decode('ascii')}?="


def session_id(text: str) -> str | None:
    """A server's name for a session, if it may be sent back: visible ASCII."""
    good = 0 < len(text) <= MAX_SESSION_ID and all("!" <= character <= "~" for character in text)
    return text if good else None


def mirrored(definition: Json) -> Mirrored:
    """Which arguments a tool wants in headers as well (``x-mcp-header``), and their names there."""
    found: dict[tuple[str, ...], str] = {}
    for path, token in _annotated(definition.get("inputSchema"), ()):
        if len(found) < MAX_MIRRORED and token.lower() not in {name.lower() for name in found.values()}:
            found[path] = token
    return found


def _annotated(schema: Json, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    properties = cast("dict[str, Json]", schema).get("properties") if isinstance(schema, dict) else None
    if not isinstance(properties, dict) or len(path) >= MAX_PATH:
        return
    for name, inner in cast("dict[str, Json]", properties).items():
        token = cast("dict[str, Json]", inner).get("x-mcp-header") if isinstance(inner, dict) else None
        if isinstance(token, str) and 0 < len(token) <= 64 and token.isascii() and token.replace("-", "").isalnum():
            yield (*path, name), token
        yield from _annotated(inner, (*path, name))


def _at(value: Json, path: tuple[str, ...]) -> Json:
    for name in path:
        value = cast("dict[str, Json]", value).get(name) if isinstance(value, dict) else None
    return value


def _written(value: Json) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None
