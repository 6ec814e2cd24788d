"""What MCP has beside tools, as operations with reserved names: granted and judged like a tool.

Their definitions are ours and not the server's, so that no server can change what they take. A tool of the same
name cannot be called: the reserved one comes first.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ringwall.call import Json
from ringwall.wire.mcp import methods

_MAX_URI: Final = 8192  # characters: longer than any address bar takes
_MAX_NAME: Final = 256
_MAX_CURSOR: Final = 4096  # opaque; some servers put a whole query in it
_MAX_VALUE: Final = 65_536  # of a prompt's argument, which may be a document
_LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")  # RFC 5424
_NUMBER: Final[Json] = {"type": "integer", "minimum": 1, "maximum": 2**53}


def _text(most: int, least: int = 0) -> Json:
    return {"type": "string", "minLength": least, "maxLength": most}


def _operation(name: str, description: str, properties: Mapping[str, Json], *required: str) -> tuple[str, Json]:
    schema = {
        "type": "object",
        "properties": dict(properties),
        "required": list(required),
        "additionalProperties": False,
    }
    return name, {"name": name, "description": description, "inputSchema": schema}


_PAGE: Final[Mapping[str, Json]] = MappingProxyType({"cursor": _text(_MAX_CURSOR)})
_URI: Final[Mapping[str, Json]] = MappingProxyType({"uri": _text(_MAX_URI, 1)})
_ANSWER: Final[Mapping[str, Json]] = MappingProxyType({"number": _NUMBER, "answer": {"type": "object"}})
_NAMED_VALUES: Final[Json] = {"type": "object", "additionalProperties": _text(_MAX_VALUE)}
_REFERENCE: Final[Json] = {
    "type": "object",
    "properties": {
        "type": {"enum": ["ref/prompt", "ref/resource"]},
        "name": _text(_MAX_NAME),
        "title": _text(_MAX_NAME),
        "uri": _text(_MAX_URI),
    },
    "required": ["type"],
    "additionalProperties": False,
}
_ARGUMENT: Final[Json] = {
    "type": "object",
    "properties": {"name": _text(_MAX_NAME, 1), "value": _text(_MAX_VALUE)},
    "required": ["name", "value"],
    "additionalProperties": False,
}
_CONTEXT: Final[Json] = {
    "type": "object",
    "properties": {"arguments": _NAMED_VALUES},
    "additionalProperties": False,
}

RESERVED: Final[Mapping[str, Json]] = MappingProxyType(
    dict(
        (
            _operation("resources.list", "Lists the server's resources.", _PAGE),
            _operation("resources.templates", "Lists the server's resource templates.", _PAGE),
            _operation("resources.read", "Reads a resource.", _URI, "uri"),
            _operation("resources.subscribe", "Asks to be told when a resource changes.", _URI, "uri"),
            _operation("resources.unsubscribe", "Takes a subscription back.", _URI, "uri"),
            _operation("prompts.list", "Lists the server's prompts.", _PAGE),
            _operation(
                "prompts.get", "Fills in a prompt.",
                {"name": _text(_MAX_NAME, 1), "arguments": _NAMED_VALUES}, "name",
            ),
            _operation(
                "completion.complete", "Completes an argument of a prompt or a resource template.",
                {"ref": _REFERENCE, "argument": _ARGUMENT, "context": _CONTEXT}, "ref", "argument",
            ),
            _operation("logging.setLevel", "Sets how much the server logs.", {"level": {"enum": list(_LEVELS)}},
                       "level"),
            _operation("elicitation.create", "Answers a server's question to the user.", _ANSWER,
                       "number", "answer"),
            _operation("sampling.createMessage", "Answers a server's question to a model.", _ANSWER,
                       "number", "answer"),
            _operation("roots.list", "Answers a server's question for roots.", _ANSWER, "number", "answer"),
        )
    )
)  # fmt: skip
"""The definition of each, as a server would list it."""

_METHODS: Final[Mapping[str, str]] = MappingProxyType(
    {op: method for method, op in (*methods.OPERATIONS.items(), *methods.ANSWERS.items())}
)
ANSWERS: Final[Mapping[str, methods.Asks]] = MappingProxyType(
    {op: methods.CLIENT_CAPABILITY[method] for method, op in methods.ANSWERS.items()}
)
"""The operations that answer a server's question, and the capability a client offers for it."""


def method_of(op: str) -> str:
    """The MCP method of an operation: its own for a reserved one, ``tools/call`` for a tool."""
    return _METHODS.get(op, "tools/call")
