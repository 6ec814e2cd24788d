"""What is different about calls of a model: which strings are no text, and text that comes part by part.

A prompt may hold megabytes of pictures and documents in Base64. They are no words, and scanning them as if they
were would cost more than the call; but what is said to be a picture and is plain text is scanned as that text.
An answer holds what no redaction may touch: a tool's arguments, which are judged when the tool is called, and what
only the provider can read and wants back as it was.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from ringwall.call import Json, as_object
from ringwall.errors import BadInput
from ringwall.guard.interface import Category, Finding
from ringwall.guard.strings import Leaf, Pointer, leaves
from ringwall.guard.window import HoldBack
from ringwall.models.interface import FILES, Place

TOOL_CALLS: Final = frozenset({
    "tool_calls", "function_call",  # chat completions
    "arguments",  # of a function call in responses
    "input",  # of a tool use in messages
    "call",  # of a streamed answer, whatever its wire
})
OPAQUE: Final = frozenset({"signature", "data", "encrypted_content", "encrypted_index", "opaque"})
"""Of reasoning and searches: sealed by the provider, read by nobody else, refused by it when it was changed."""
_SNIFF: Final = 1024  # characters; a multiple of four, and enough to see that bytes are no text
_KINDS: Final = frozenset({"text", "refusal", "thinking"})
_MAGIC: Final = (b"\x89PNG\r\n", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"%PDF-")


def prompt(args: Json) -> list[Leaf]:
    """Every text of a model call's arguments. Raises BadInput: ``too_deep``."""
    found: list[Leaf] = []
    for leaf in leaves(args):
        plain = _plain(leaf) if not leaf.key and _place(leaf.pointer) in FILES and _sealed(args, leaf) else leaf
        if plain is not None:
            found.append(plain)
    return found


def _sealed(args: Json, leaf: Leaf) -> bool:
    """Whether a file is in Base64, which the wire has checked: documents may also be plain text."""
    for part in leaf.pointer[:-1]:
        args = args[part]
    return leaf.text.startswith("data:") or (as_object(args) or {}).get("type") == "base64"


def _place(pointer: Pointer) -> Place:
    """Where in the request it is, with 0 for every number."""
    return tuple(0 if isinstance(part, int) else part for part in pointer[1:])


def _plain(leaf: Leaf) -> Leaf | None:
    """What a file says if it is text; None: it is a picture or a document. What is neither stays as it is."""
    head, comma, raw = leaf.text.partition(",")
    if not comma:
        raw = head
    start = _decoded(raw[:_SNIFF])
    if start is not None and start.startswith(_MAGIC):
        return None
    whole = None if start is None else _decoded(raw)
    try:
        return leaf if whole is None else Leaf(leaf.pointer, whole.decode(), encoded=True)
    except UnicodeDecodeError:
        return leaf


def _decoded(raw: str) -> bytes | None:
    try:
        return base64.b64decode(raw, validate=True)
    except (binascii.Error, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class Delta:
    """Some text of a part of a streamed answer."""

    part: int
    kind: str
    text: str

    def with_text(self, text: str) -> Json:
        """The piece with another text."""
        return {"part": self.part, "kind": self.kind, "text": text}


def delta(value: Json) -> Delta:
    """Read a piece of text (``wire.models.pieces``). Raises BadInput: ``bad_chunk``."""
    fields = as_object(value) or {}
    part, kind, text = fields.get("part"), fields.get("kind"), fields.get("text")
    if (len(fields) != 3 or not isinstance(part, int) or isinstance(part, bool) or part < 0
            or kind not in _KINDS or not isinstance(text, str)):
        raise BadInput("a piece of a streamed answer is no text of one of its parts", code="bad_chunk")
    return Delta(part, kind, text)


class Parts:
    """The text of a streamed answer. Sans-I/O.

    A part is a text of its own: what one ends with and the next begins with are two texts, as in an answer that
    comes whole. Parts come one after the other, so that none can be continued behind another's back.
    """

    def __init__(self, withheld: frozenset[Category]) -> None:
        self._withheld = withheld
        self._window = HoldBack(withheld)
        self._now: Delta | None = None
        self.waits = False
        """Whether text may be held back."""

    def follows(self, one: Delta) -> bool:
        """Whether a delta goes on with the part that is under way. Raises BadInput: ``bad_chunk``."""
        now = self._now
        if now is not None and one.part < now.part:
            raise BadInput("the parts of a streamed answer do not come in order", code="bad_chunk")
        return now is not None and (one.part, one.kind) == (now.part, now.kind)

    def take(self, one: Delta) -> str:
        """Add text, of a new part once the old one was flushed; returns what to scan before :meth:`give`.

        Raises:
            BadInput: ``bad_chunk``, or ``guard_limit``: a word or finding does not end.

        """
        if not self.follows(one):
            self._window = HoldBack(self._withheld)
        self._now = one
        self.waits = True
        return self._window.take(one.text)

    def rest(self) -> str:
        """What to scan before :meth:`give` gives all that waits. Raises BadInput: ``guard_limit``."""
        self.waits = False
        return self._window.take("")

    def give(self, found: list[Finding], *, last: bool = False) -> Json | None:
        """The piece that may go out now, if there is any text for it."""
        text = self._window.give(found, last=last)
        return self._now.with_text(text) if text and self._now is not None else None
