"""Tools that the sidecar answers itself. Today one: ``echo``, for trying the wall and for measuring it."""

from __future__ import annotations

from typing import Final

from ringwall.call import Json
from ringwall.errors import BadInput

ECHO: Final[Json] = {
    "name": "echo",
    "description": "Returns the text it is given.",
    "inputSchema": {
        "type": "object",
        "properties": {"text": {"type": "string"}},
        "required": ["text"],
        "additionalProperties": False,
    },
}


def definitions(builtin: str) -> list[Json]:
    """What this built-in server offers."""
    return [ECHO] if builtin == "echo" else []


def call(builtin: str, op: str, args: Json) -> Json:
    """Run a built-in operation. Raises BadInput with code no_such_operation or bad_arguments."""
    if builtin != "echo" or op != "echo":
        raise BadInput(f"built-in {builtin!r} has no operation {op!r}", code="no_such_operation")
    if not isinstance(args, dict) or set(args) != {"text"} or not isinstance(args["text"], str):  # pyright: ignore[reportUnknownArgumentType]
        raise BadInput('echo takes {"text": <string>}', code="bad_arguments")
    return {"text": args["text"]}
