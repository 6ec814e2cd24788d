"""What is different about messages between agents: which way each of their texts goes, and artifacts in pieces.

An agent of the same tenant is no stranger: what may be said to it is what may be said to a model, no secret. To
anybody else it is an argument that leaves: no secret, no card, no account. What comes in is judged as what a tool
gives, but it is judged whole and cannot be redacted: it is delivered as it was signed, or not at all.
"""

from __future__ import annotations

import base64
import binascii
import string
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from ringwall.call import Call, Chunk, Json, Operator, Peer, as_array, as_object
from ringwall.errors import BadInput
from ringwall.guard.interface import Category, Direction, Finding
from ringwall.guard.models import OPAQUE, TOOL_CALLS
from ringwall.guard.strings import Leaf, Pointer, Range, ranges
from ringwall.guard.window import CONTEXT, MAX_HELD, settled
from ringwall.identity.spiffe import SpiffeId
from ringwall.vault.interface import READ

GIVEN: Final[frozenset[Category]] = frozenset({"secret", "hidden"})
SAID: Final[frozenset[Category]] = frozenset({"secret", "card", "iban", "email", "hidden"})
SIGNATURES: Final = frozenset({"signatures"})  # of a card: our own, and random enough to look like a secret
CARDS: Final = frozenset({"GetAgentCard", "GetExtendedAgentCard"})
RAW: Final = frozenset({"raw"})  # of a message's part, in A2A
CONTENTS: Final = frozenset({"blob", "data"})  # of a tool's answer, in MCP: a resource, a picture, a sound
MAX_BROKEN: Final = 10  # one character in so many may be none, and it is a text all the same; pictures have half
_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_NOT_BASE64: Final = bytes(set(range(256)) - set(b"+-/_=" + (string.ascii_letters + string.digits).encode()))
MAX_ARTIFACTS: Final = 64  # unfinished artifacts of one stream whose last characters are kept
MAX_HELD_EVENTS: Final = 256  # events that wait; their texts are short then, and enough of them waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """How the texts of a call are judged: ``going`` in, ``coming`` back, and what is ``withheld`` then."""

    going: Direction
    coming: Direction
    withheld: frozenset[Category]
    unscanned: frozenset[str] = frozenset()  # members of what comes back


_TOOL: Final = Ways(going="arguments", coming="tool_result", withheld=GIVEN)
# What an agent reads on purpose is given to it whole, in this one answer, and is no business of the scanners'.
_READ: Final = Ways(going="arguments", coming="tool_result", withheld=GIVEN,
                    unscanned=frozenset({"value", "base64"}))
_MODEL: Final = Ways(going="prompt", coming="response", withheld=SAID, unscanned=TOOL_CALLS | OPAQUE)


def ways(call: Call) -> Ways:
    """How this call's texts are judged."""
    if call.kind == "secret" and call.target.name.startswith(READ):
        return _READ
    if call.kind != "message":
        return _MODEL if call.kind in {"model", "operate"} else _TOOL
    args = as_object(call.args) or {}
    near = _near(call, args)
    if call.target.direction == "out":
        return Ways(going="prompt" if near else "arguments", coming="tool_result", withheld=GIVEN)
    card = args.get("method") in CARDS
    return Ways(going="tool_result", coming="response", withheld=GIVEN if near or card else SAID,
                unscanned=SIGNATURES if card else frozenset())


def _near(call: Call, args: Mapping[str, Json]) -> bool:
    """Whether both ends belong to one tenant of this installation."""
    subject = call.subject
    if isinstance(subject, Operator):
        return False
    here = subject.receiver if isinstance(subject, Peer) else subject.spiffe_id
    try:
        there = SpiffeId.parse(str(subject.spiffe_id if isinstance(subject, Peer) else args.get("peer")))
    except BadInput:
        return False
    return (there.trust_domain, there.tenant) == (here.trust_domain, here.tenant)


def files(value: Json, names: frozenset[str] = RAW) -> list[Leaf]:
    """The texts of files that a value carries as Base64, in members of these names: of each that is UTF-8."""
    found: list[Leaf] = []
    stack: list[tuple[Pointer, Json]] = [((), value)]
    while stack:
        pointer, item = stack.pop()
        if (fields := as_object(item)) is not None:
            for name in names & fields.keys():
                raw = fields[name]
                text = _decoded(raw) if isinstance(raw, str) else None
                if text:
                    found.append(Leaf((*pointer, name), text, encoded=True))
            stack += [((*pointer, name), inner) for name, inner in fields.items()]
        elif (items := as_array(item)) is not None:
            stack += [((*pointer, place), inner) for place, inner in enumerate(items)]
    return found


def _decoded(raw: str) -> str | None:
    """What a careless reader makes of it: many leave out what is no Base64, and what is no UTF-8."""
    plain = raw.encode("ascii", "ignore").translate(_URL_SAFE, delete=_NOT_BASE64)
    try:
        found = b"".join(base64.b64decode(part + b"=" * (-len(part) % 4)) for part in plain.split(b"="))
    except binascii.Error:
        return None
    text = found.decode(errors="replace")
    return None if text.count("\ufffd") > len(text) // MAX_BROKEN else text


Marked: TypeAlias = Mapping[Pointer, Sequence[Finding]]
"""Findings in an event, by the text that they are in."""


@dataclass(frozen=True, slots=True)
class _Held:
    """One event that waits: where each of its texts begins in the run's view, and where the last one ends."""

    chunk: Chunk
    texts: Sequence[tuple[Pointer, int]]
    end: int
    own: Marked  # what was found in its texts by themselves

    def moved(self, by: int) -> _Held:
        return replace(self, texts=[(pointer, at - by) for pointer, at in self.texts], end=self.end - by)

    def marked(self, cuts: Sequence[Range]) -> Marked:
        """Its own findings, with the part of each of the run's that lies in one of its texts."""
        found = {pointer: list(group) for pointer, group in self.own.items()}
        ends = [*(at for _, at in self.texts[1:]), self.end]
        for (pointer, start), end in zip(self.texts, ends, strict=True):
            # What began in an earlier text has its mark there, and leaves none here: hidden text never does.
            inside = [Finding(0, max(first, start) - start, min(stop, end) - start,
                              category if first >= start else "hidden", 1.0, "pieces")
                      for first, stop, category in cuts if first < end and stop > start]
            if inside:
                found.setdefault(pointer, []).extend(inside)
        return found


@dataclass(slots=True)
class _Run:
    """The end of one artifact's text: what is out already (``view[:out]``), and what waits."""

    view: str = ""
    out: int = 0
    cuts: Sequence[Range] = ()
    held: list[_Held] = field(default_factory=list[_Held])


class Pieces:
    """Artifacts that come in pieces, in one stream of events. Sans-I/O.

    A secret cut into two events is in neither. So an event whose text may go on in the next one waits until what it
    ends with cannot be part of anything withheld, as deltas of a model do (``window``). It leaves as it came, with
    what is withheld redacted. Events keep their order: any other event ends the waiting. What had to go out by then
    is remembered, and if the rest follows, the stream ends there.
    """

    def __init__(self, withheld: frozenset[Category]) -> None:
        self._withheld = withheld
        self._runs: OrderedDict[str, _Run] = OrderedDict()
        self._waiting = ""  # the artifact whose events wait

    def take(self, name: str, chunk: Chunk, texts: Sequence[tuple[Pointer, str]], own: Marked) -> str:
        """Add a piece of the artifact that waits, if any does; returns the text to scan before :meth:`give`."""
        run = self._runs.setdefault(name, _Run())
        self._runs.move_to_end(name)
        if len(self._runs) > MAX_ARTIFACTS:
            self._runs.popitem(last=False)
        places: list[tuple[Pointer, int]] = []
        for pointer, text in texts:
            places.append((pointer, len(run.view)))
            run.view += text
        run.held.append(_Held(chunk, places, len(run.view), own))
        self._waiting = name
        return run.view

    def waits(self, name: str | None) -> bool:
        """Whether events of another artifact than this one wait."""
        return bool(self._waiting) and self._waiting != name

    def give(self, found: Sequence[Finding], *, last: bool) -> list[tuple[Chunk, Marked]]:
        """Events that may go out now, with what is to be withheld of each.

        Args:
            found: what the text that :meth:`take` returned carries.
            last: the artifact is complete.

        Raises:
            BadInput: ``sensitive_result``: part of something withheld is out already.

        """
        run = self._runs[self._waiting]
        run.cuts = ranges([one for one in found if one.category in self._withheld])
        if any(start < run.out < stop for start, stop, _ in run.cuts):
            raise BadInput("a piece goes on with what an earlier piece began", code="sensitive_result")
        full = len(run.held) > MAX_HELD_EVENTS or len(run.view) - run.out > MAX_HELD
        return self._released(run, len(run.view) if last or full else settled(run.view, run.cuts))

    def flush(self) -> list[tuple[Chunk, Marked]]:
        """All that waits: another event comes, or nothing more."""
        run = self._runs.get(self._waiting)
        return [] if run is None else self._released(run, len(run.view))

    def _released(self, run: _Run, end: int) -> list[tuple[Chunk, Marked]]:
        given: list[tuple[Chunk, Marked]] = []
        while run.held and run.held[0].end <= end:
            one = run.held.pop(0)
            given.append((one.chunk, one.marked(run.cuts)))
            run.out = one.end
        gone = max(0, run.out - CONTEXT)
        run.view, run.out, run.held = run.view[gone:], run.out - gone, [one.moved(gone) for one in run.held]
        run.cuts = [(start - gone, stop - gone, category) for start, stop, category in run.cuts if stop > gone]
        if not run.held:
            self._waiting = ""
        return given


def piece(value: Json) -> tuple[str | None, list[tuple[Pointer, str]]]:
    """The artifact that an event is a piece of, and its texts; no name: it is no piece of any."""
    update = as_object((as_object(value) or {}).get("artifactUpdate"))
    artifact = as_object(update.get("artifact")) if update is not None else None
    name = artifact.get("artifactId") if artifact is not None else None
    if update is None or artifact is None or not isinstance(name, str):
        return None, []
    texts: list[tuple[Pointer, str]] = []
    for place, part in enumerate(as_array(artifact.get("parts")) or []):
        text = (as_object(part) or {}).get("text")
        if isinstance(text, str):
            texts.append((("artifactUpdate", "artifact", "parts", place, "text"), text))
    return f"{update.get('taskId')}/{name}", texts


def complete(value: Json) -> bool:
    """Whether an event is the last piece of its artifact."""
    update = as_object((as_object(value) or {}).get("artifactUpdate")) or {}
    return update.get("lastChunk") is True
