"""What core and guard say to each other, in frames: msgpack of the structs below, and the MAC of an answer.

Sans-I/O. Either side may have been taken over, so each decodes strictly and checks every number it will use.
The MAC of an answer covers the stream, the sequence number, the running SHA-256 over the very bytes of all
requests of that stream so far, the direction, the findings and the version of the rules. The core recomputes it
over what *it* sent: an answer for other bytes, or an old, swapped or unsigned one, does not verify.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Sequence
from typing import Annotated, Final, TypeAlias

import msgspec

from ringwall.errors import BadInput
from ringwall.guard.interface import CATEGORIES, Category, Direction, Finding

VERSION: Final = 1
KEY_BYTES: Final = 32  # as long as the hash's output (RFC 2104, section 3)
MAX_STREAM: Final = 128  # characters of a stream's name: a call's id and a suffix
MAX_TEXTS: Final = 100_000  # texts in one request
MAX_FINDINGS: Final = 8192  # in one answer
MAX_ANSWER: Final = 1 << 20  # bytes of one answer: MAX_FINDINGS of them, spelled at their longest
MAX_RULE: Final = 100  # characters of a rule's name

_Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_STREAM)]
_Rule: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_RULE)]
_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=1 << 53)]
_Score: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Digest: TypeAlias = Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
_Hex: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Hello(msgspec.Struct, tag="hello", array_like=True, forbid_unknown_fields=True, frozen=True):
    """The core's first frame: a key made for this connection."""

    version: int
    key: Annotated[bytes, msgspec.Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]


class Scan(msgspec.Struct, tag="scan", array_like=True, forbid_unknown_fields=True, frozen=True):
    """Scan these texts. ``keys``: which of them are names of JSON members, ascending."""

    stream: _Name
    sequence: _Count
    direction: Direction
    texts: Annotated[list[str], msgspec.Meta(max_length=MAX_TEXTS)]
    keys: Annotated[list[_Count], msgspec.Meta(max_length=MAX_TEXTS)]
    final: bool


class Forget(msgspec.Struct, tag="forget", array_like=True, forbid_unknown_fields=True, frozen=True):
    """The stream ended without a final request. Not answered."""

    stream: _Name


class Ready(msgspec.Struct, tag="ready", array_like=True, forbid_unknown_fields=True, frozen=True):
    """The guard's first frame: what it scans with. The MAC shows that it has the key."""

    version: int
    rules: _Hex
    stages: Annotated[list[_Rule], msgspec.Meta(max_length=32)]
    degraded: Annotated[list[_Rule], msgspec.Meta(max_length=32)]
    mac: _Digest


class Span(msgspec.Struct, array_like=True, forbid_unknown_fields=True, frozen=True):
    """A finding on the wire."""

    text: _Count
    start: _Count
    end: _Count
    category: Category
    score: _Score
    rule: _Rule


class Answer(msgspec.Struct, tag="answer", array_like=True, forbid_unknown_fields=True, frozen=True):
    """What the texts of one request carry. Spans, never text."""

    stream: _Name
    sequence: _Count
    findings: Annotated[list[Span], msgspec.Meta(max_length=MAX_FINDINGS)]
    rules: _Hex
    mac: _Digest


class Failed(msgspec.Struct, tag="failed", array_like=True, forbid_unknown_fields=True, frozen=True):
    """The guard does not judge this request. Never an allowance, so it needs no MAC."""

    stream: _Name
    sequence: _Count
    code: _Rule


FromCore: TypeAlias = Hello | Scan | Forget
FromGuard: TypeAlias = Ready | Answer | Failed

_ENCODER: Final = msgspec.msgpack.Encoder()
_FROM_CORE: Final[msgspec.msgpack.Decoder[FromCore]] = msgspec.msgpack.Decoder(FromCore)
_FROM_GUARD: Final[msgspec.msgpack.Decoder[FromGuard]] = msgspec.msgpack.Decoder(FromGuard)


def encode(message: FromCore | FromGuard) -> bytes:
    """The bytes of one frame. Raises BadInput, code ``bad_text``: a text holds lone surrogates."""
    try:
        return _ENCODER.encode(message)
    except UnicodeEncodeError as fault:
        raise BadInput("a text is not valid Unicode (lone surrogates)", code="bad_text") from fault


def from_core(payload: bytes) -> FromCore:
    """What the core said. Raises BadInput, code ``bad_guard_frame``."""
    try:
        message = _FROM_CORE.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise BadInput(f"a frame to the guard is malformed: {fault}", code="bad_guard_frame") from fault
    if isinstance(message, Scan) and (message.keys != sorted(set(message.keys))
                                      or (message.keys and message.keys[-1] >= len(message.texts))):
        raise BadInput("a frame to the guard names keys that are not there", code="bad_guard_frame")
    return message


def from_guard(payload: bytes) -> FromGuard:
    """What the guard said. Raises BadInput, code ``bad_guard_frame``."""
    if len(payload) > MAX_ANSWER:
        raise BadInput(f"an answer of {len(payload)} bytes", code="bad_guard_frame")
    try:
        return _FROM_GUARD.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise BadInput(f"a frame from the guard is malformed: {fault}", code="bad_guard_frame") from fault


def spans(findings: Sequence[Finding]) -> list[Span]:
    """Findings as they travel."""
    return [Span(f.text, f.start, f.end, f.category, f.score, f.rule) for f in findings]


def findings(answer: Answer, lengths: Sequence[int]) -> tuple[Finding, ...]:
    """The findings of an answer about texts of these lengths, checked before anybody cuts by them.

    Raises:
        BadInput: code ``bad_guard_frame``: a span outside its text, empty, unordered, or over another of its
            category; an unknown category or a score that is no number.

    """
    found = tuple(Finding(s.text, s.start, s.end, s.category, s.score, s.rule) for s in answer.findings)
    last: dict[Category, Finding] = {}
    before = (0, 0)
    for finding in found:
        inside = finding.text < len(lengths) and finding.start < finding.end <= lengths[finding.text]
        ordered = (finding.text, finding.start) >= before
        sane = finding.category in CATEGORIES and math.isfinite(finding.score)
        earlier = last.get(finding.category)
        apart = earlier is None or earlier.text != finding.text or earlier.end <= finding.start
        if not (inside and ordered and sane and apart):
            raise BadInput("the guard answered a span that cannot be", code="bad_guard_frame")
        before = (finding.text, finding.start)
        last[finding.category] = finding
    return found


class StreamHash:
    """The running SHA-256 over every request of one stream, on both sides."""

    __slots__ = ("_hash", "sequence")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.sequence = 0

    def add(self, payload: bytes) -> bytes:
        """Take in one request's bytes; the digest of all so far."""
        self._hash.update(len(payload).to_bytes(8, "big"))
        self._hash.update(payload)
        self.sequence += 1
        return self._hash.digest()


def answer_mac(key: bytes, running: bytes, direction: Direction, answer: Answer) -> bytes:
    """HMAC-SHA256 over all that an answer means; ``answer.mac`` itself is not read."""
    return _mac(key, ["answer", answer.stream, answer.sequence, running, direction, answer.findings, answer.rules])


def ready_mac(key: bytes, ready: Ready) -> bytes:
    """HMAC-SHA256 over what the guard says it is."""
    return _mac(key, ["ready", ready.version, ready.rules, ready.stages, ready.degraded])


def same(one: bytes, other: bytes) -> bool:
    """Compare two MACs in constant time."""
    return hmac.compare_digest(one, other)


def _mac(key: bytes, meaning: list[object]) -> bytes:
    return hmac.digest(key, _ENCODER.encode(meaning), "sha256")
