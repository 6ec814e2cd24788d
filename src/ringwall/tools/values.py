"""What a tool's answer becomes for a person who wrote ``ringwall.call_tool("docs/read", {...})``.

In this order: structured content that is only a wrapped ``result`` gives the value inside; other structured
content gives itself; one text block gives its text; anything else gives the list of content blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

from ringwall.call import Json

MAX_ERROR_TEXT: Final = 16_384  # characters of a tool's error that an agent may see


class ToolFailed(Exception):
    """The tool answered with an error. ``text`` is the tool's own and has to cross the rings."""

    def __init__(self, text: str) -> None:
        super().__init__("the tool reported an error")
        self.text = text


def plain(content: Sequence[Json], structured: Json) -> Json:
    """The value of a successful answer.

    Args:
        content: MCP content blocks as JSON objects.
        structured: ``structuredContent``, or None.

    """
    if isinstance(structured, dict):
        fields = cast("dict[str, Json]", structured)
        return fields["result"] if set(fields) == {"result"} else fields
    if structured is not None:
        return structured
    if len(content) == 1 and content[0].get("type") == "text":
        return content[0]["text"]
    return list(content)


def error_text(content: Sequence[Json]) -> str:
    """The text of an answer with ``isError``: its text blocks, one a line, cut at MAX_ERROR_TEXT."""
    lines = [str(block["text"]) for block in content if block.get("type") == "text"]
    return "\n".join(lines)[:MAX_ERROR_TEXT]
