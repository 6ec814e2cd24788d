"""Who may ask at this address at all: paths, and the guard against web pages that reach the loopback."""

from __future__ import annotations

from typing import Final

from ringwall.doors.interface import Scope

PATH: Final = "/mcp"
JOINED: Final = "__"  # between server and operation in a tool's name at PATH
_NAME: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_LOCAL: Final = ("127.0.0.1", "localhost", "[::1]")


def server_of(path: str) -> str | None:
    """The server that a path names; empty: all of them; None: there is nothing. No percent-encoding is taken."""
    if path in {PATH, f"{PATH}/"}:
        return ""
    name = path.removeprefix(f"{PATH}/")
    return name if name != path and set(name) <= _NAME and name not in {".", ".."} else None


def foreign(scope: Scope) -> str:
    """Why a request is not from a program here but may be from a web page (DNS rebinding); empty: it is.

    A browser sends the page's own host. Over the Unix socket no browser comes, and the host means nothing.
    """
    hosts, origins = _all(scope, b"host"), _all(scope, b"origin")
    server = scope.get("server")
    if server is None or server[1] is None:
        return "a request over the Unix socket has no Origin" if origins else ""
    local = {f"{host}:{server[1]}" for host in _LOCAL}
    if len(hosts) != 1 or hosts[0] not in local:
        return "the header Host must name the loopback address and the port of this door"
    if len(origins) > 1 or any(origin not in {f"http://{host}" for host in local} for origin in origins):
        return "the header Origin must be absent, or name the loopback address and the port of this door"
    return ""


def accepts(scope: Scope, kind: str) -> bool:
    """Whether the client takes an answer of this media type."""
    found = ",".join(_all(scope, b"accept"))
    wanted = {part.partition(";")[0].strip() for part in found.split(",")}
    return bool(wanted & {kind, "*/*", f"{kind.partition('/')[0]}/*"})


def header(scope: Scope, name: bytes) -> str:
    """The one value of a header; empty: there is none, or there are several."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0].decode("latin-1").strip() if len(found) == 1 else ""


def _all(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip().lower() for key, value in scope["headers"] if key == name]
