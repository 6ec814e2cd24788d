"""The two ways MCP is spoken: with a handshake and a session (up to 2025-11-25), or stateless (2026-07-28).

2025-03-26 and older are not offered: they have batches, or another transport.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final

from ringwall.call import Json, as_object
from ringwall.errors import BadInput
from ringwall.wire.mcp.rpc import HEADER_MISMATCH, INVALID_PARAMS, UNSUPPORTED_VERSION, Fault, Request

STATELESS: Final = "2026-07-28"
WITH_SESSION: Final = ("2025-11-25", "2025-06-18")  # the newest first: what an unknown wish is answered with
OLDER: Final = frozenset({"2025-03-26", "2024-11-05", *WITH_SESSION})  # whoever names one of them wants a handshake

VERSION_KEY: Final = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES_KEY: Final = "io.modelcontextprotocol/clientCapabilities"
LOG_LEVEL_KEY: Final = "io.modelcontextprotocol/logLevel"
SUBSCRIPTION_KEY: Final = "io.modelcontextprotocol/subscriptionId"
SERVER_KEY: Final = "io.modelcontextprotocol/serverInfo"

VERSION_HEADER: Final = b"mcp-protocol-version"
METHOD_HEADER: Final = b"mcp-method"
NAME_HEADER: Final = b"mcp-name"
PARAM_HEADER: Final = "mcp-param-"
NAMED_BY: Final[Mapping[str, str]] = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
"""Which parameter ``Mcp-Name`` repeats."""
STATUS: Final[Mapping[int, int]] = {
    -32700: 400, -32600: 400, -32602: 400, -32601: 404, -32020: 400, -32021: 400, -32022: 400,
}  # fmt: skip
"""The HTTP status of a JSON-RPC error in 2026-07-28; any other is 200."""

_BEGIN: Final = "=?base64?"
_END: Final = "?="
Headers = Sequence[tuple[bytes, bytes]]


def stateless(headers: Headers, request_meta: Json) -> bool:
    """Whether a message is meant as 2026-07-28 or later: by its header, or by what it says of itself."""
    said = _values(headers, VERSION_HEADER)
    if said and any(version not in OLDER for version in said):
        return True
    return VERSION_KEY in (as_object(request_meta) or {})


def check_stateless(headers: Headers, request: Request) -> Fault | None:
    """Why a request of 2026-07-28 is not taken: what its headers say must be what its body says.

    Whoever stands between may have decided by the headers. In the order of the specification: the body is whole,
    headers and body agree, the version is one that is spoken here.
    """
    meta = as_object(request.params.get("_meta"))
    if meta is None or VERSION_KEY not in meta or as_object(meta.get(CAPABILITIES_KEY)) is None:
        wanted = f"`_meta` must have {VERSION_KEY} and {CAPABILITIES_KEY}"
        return Fault(code=INVALID_PARAMS, message=wanted)
    version = meta[VERSION_KEY]
    if _values(headers, VERSION_HEADER) != [version]:
        return _mismatch("MCP-Protocol-Version", "the protocol version in `_meta`")
    wrong = check_repeated(headers, request, needed=True)
    if wrong is not None:
        return wrong
    if version != STATELESS:
        data = {"supported": [STATELESS], "requested": version}
        return Fault(code=UNSUPPORTED_VERSION, message="Unsupported protocol version", data=data)
    return None


def check_repeated(headers: Headers, request: Request, *, needed: bool) -> Fault | None:
    """Whether ``Mcp-Method`` and ``Mcp-Name`` repeat the body; ``needed``: they may not be left out."""
    method = _values(headers, METHOD_HEADER)
    if (needed or method) and method != [request.method]:
        return _mismatch("Mcp-Method", "`method`")
    named = NAMED_BY.get(request.method)
    names = [decoded(value) for value in _values(headers, NAME_HEADER)]
    wanted = request.params.get(named) if named is not None else None
    if len(names) > 1 or (isinstance(wanted, str) and (needed or names) and names != [wanted]):
        return _mismatch("Mcp-Name", f"`{named}`")
    return None


def annotated(schema: Json) -> dict[str, tuple[str, ...]]:
    """What a tool's schema wants repeated: the header's name after ``Mcp-Param-`` -> path of the argument."""
    found: dict[str, tuple[str, ...]] = {}
    stack: list[tuple[tuple[str, ...], Json]] = [((), schema)]
    while stack:
        path, node = stack.pop()
        for name, inner in (as_object((as_object(node) or {}).get("properties")) or {}).items():
            header = (as_object(inner) or {}).get("x-mcp-header")
            if isinstance(header, str):
                found[header.lower()] = (*path, name)
            stack.append(((*path, name), inner))
    return found


def check_arguments(headers: Headers, wanted: Mapping[str, tuple[str, ...]], arguments: Json) -> Fault | None:
    """Whether each ``Mcp-Param-*`` header repeats its argument: both are there and equal, or neither."""
    for header, path in wanted.items():
        said = _values(headers, f"{PARAM_HEADER}{header}".encode("latin-1", "replace"))
        value = _at(arguments, path)
        plain = _spelt(value)
        if said == [] and plain is None:
            continue
        if len(said) != 1 or plain is None or not _same(decoded(said[0]), plain, value):
            return _mismatch(f"Mcp-Param-{header}", f"the argument `{'.'.join(path)}`")
    return None


def decoded(value: str) -> str | None:
    """A header's value, out of its Base64 wrapping if it has one; None: the wrapping is broken."""
    if not (value.startswith(_BEGIN) and value.endswith(_END) and len(value) >= len(_BEGIN) + len(_END)):
        return value
    inner = value[len(_BEGIN) : -len(_END)]
    try:
        found = base64.b64decode(inner, validate=True)
        return found.decode("utf-8") if base64.b64encode(found).decode("ascii") == inner else None
    except (binascii.Error, ValueError):
        return None


def need_version(headers: Headers, revision: str) -> None:
    """What a client of a session says must be what was agreed; it may say nothing. Raises BadInput."""
    said = _values(headers, VERSION_HEADER)
    if said and said != [revision]:
        raise BadInput(f"this session speaks {revision}, the header says something else", code="mcp_bad_version")


def _values(headers: Headers, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip(" \t") for key, value in headers if key == name]


def _at(value: Json, path: tuple[str, ...]) -> Json:
    for name in path:
        value = (as_object(value) or {}).get(name)
    return value


def _spelt(value: Json) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else None


def _same(said: str | None, plain: str, value: Json) -> bool:
    """Whole numbers may be spelt with a fraction of zeros (SEP-2243)."""
    if said is None or said == plain:
        return said == plain
    whole, dot, rest = said.partition(".")
    number = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
    return number and bool(dot) and set(rest) == {"0"} and whole == str(int(value))


def _mismatch(header: str, what: str) -> Fault:
    return Fault(code=HEADER_MISMATCH, message=f"the header {header} is missing or does not repeat {what}")
