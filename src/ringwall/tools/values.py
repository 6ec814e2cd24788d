"""What a tool's answer becomes for a person who wrote ``ringwall.call_tool("docs/read", {...})``.

In this order: structured content that is only a wrapped ``result`` gives the value inside; other structured
content gives itself; one text block gives its text; anything else gives the list of content blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from ringwall.call import Json
from ringwall.tools.protocol import Code
from ringwall.wire.mcp.results import plain

MAX_ERROR_TEXT: Final = 16_384  # characters of a tool's error that an agent may see


class ToolFailed(Exception):
    """The tool answered with an error. ``text`` and ``answer`` are the tool's own and have to cross the rings.

    ``answer``: what the agent is given; by default ``{"error": text}``.
    """

    def __init__(self, text: str, answer: Json = None) -> None:
        super().__init__("the tool reported an error")
        self.text = text
        self.answer: Json = {"error": text} if answer is None else answer


class NoAnswer(Exception):
    """A call over HTTP that gave no answer: how it ended, a code of ``tools.protocol``, the HTTP status or 0."""

    def __init__(self, end: Literal["failed", "unknown"], code: Code, status: int = 0) -> None:
        super().__init__(code)
        self.end: Literal["failed", "unknown"] = end
        self.code: Code = code
        self.status = status


def error_text(content: Sequence[Json]) -> str:
    """The text of an answer with ``isError``: its text blocks, one a line, cut at MAX_ERROR_TEXT."""
    lines = [str(block["text"]) for block in content if block.get("type") == "text"]
    return "\n".join(lines)[:MAX_ERROR_TEXT]


__all__ = ["MAX_ERROR_TEXT", "NoAnswer", "ToolFailed", "error_text", "plain"]
