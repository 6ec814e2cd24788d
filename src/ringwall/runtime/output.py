"""What an agent prints is an exit too: terminal control sequences and held secrets do not pass.

Sans-I/O: bytes in, bytes out. What comes out is valid UTF-8: other bytes would let a control character be put
together from two harmless halves, or be seen by a terminal that reads lone bytes. Text that could still become a
control sequence or a secret is held back until more comes or the stream ends.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence
from typing import Final

from ringwall import regex
from ringwall.clock import Clock

# ECMA-48: CSI (ESC [ ... final), OSC/DCS/SOS/PM/APC strings (ESC ] ... BEL or ESC \), other escapes, and the
# same in their 8-bit UTF-8 form (U+0080-U+009F); then every C0 control but tab, newline and carriage return.


_ESCAPES: Final = regex.raw(
    rb"(?:\x1b\[|\xc2\x9b)[0-?]*[ -/]*[@-~]"
    rb"|(?:\x1b[\]PX^_]|\xc2[\x90\x98\x9d\x9e\x9f])[^\x07\x1b]*(?:\x07|\x1b\\|\xc2\x9c)"
    rb"|\x1b[ -/]*[0-~]"
    rb"|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"
    rb"|\xc2[\x80-\x9f]"
)
_UNFINISHED: Final = regex.raw(
    rb"(?:(?:\x1b\[|\xc2\x9b)[0-?]*[ -/]*|(?:\x1b[\]PX^_]|\xc2[\x90\x98\x9d\x9e\x9f])[^\x07\x1b]*\x1b?"
    rb"|\x1b[ -/]*|\xc2)$"
)
MAX_HELD: Final = 4096  # an escape string longer than this is dropped as it stands: no terminal needs one
WITHHELD: Final = b"[secret withheld]"
MAX_SECRETS: Final = 1000  # the newest that one stream looks for: an agent that runs for weeks is given many
LOOK_S: Final = 1.0  # files and leases are looked up so often at most; the vault says when it changed


class Held:
    """What must not stand in an agent's output, now: values are put, opened and made while it runs.

    Args:
        look: finds all there is.
        version: differs when that may be something else.
        clock: for ``LOOK_S``.

    """

    def __init__(self, look: Callable[[], tuple[bytes, ...]], version: Callable[[], object], clock: Clock) -> None:
        self._look = look
        self._version = version
        self._clock = clock
        self._seen: object = None
        self._until = 0.0
        self._found: tuple[bytes, ...] = ()

    def __call__(self) -> tuple[bytes, ...]:
        """The same object as before, if nothing was looked up."""
        seen, now = self._version(), self._clock.monotonic()
        if seen != self._seen or now >= self._until:
            self._seen, self._until, self._found = seen, now + LOOK_S, self._look()
        return self._found


class OutputFilter:
    """One stream of one agent. ``secrets``: exact byte strings that never pass."""

    def __init__(self, secrets: Sequence[bytes] = ()) -> None:
        self._learned: Sequence[bytes] = ()
        self._secrets: tuple[bytes, ...] = ()
        self.learn(secrets)
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")
        self._raw = b""
        self._clean = b""
        self._covered = 0  # bytes at the start of _clean that belong to a secret already withheld

    def learn(self, secrets: Sequence[bytes]) -> None:
        """These do not pass from now on either. What was learned before stays: the agent may still know it."""
        if secrets is not self._learned:
            self._learned = secrets
            newest = dict.fromkeys(filter(None, secrets))
            self._secrets = (*(old for old in self._secrets if old not in newest), *newest)[-MAX_SECRETS:]

    def feed(self, data: bytes) -> bytes:
        """Take what was printed; give what may be shown by now."""
        return self._feed(data, final=False)

    def finish(self) -> bytes:
        """What was still held; an unfinished control sequence is dropped."""
        shown = self._feed(b"", final=True)
        self._raw = b""
        return shown + self._release(0)

    def _feed(self, data: bytes, *, final: bool) -> bytes:
        self._raw += self._utf8.decode(data, final).encode()
        held = _UNFINISHED.search(self._raw)
        cut = held.start() if held else len(self._raw)
        self._clean += _ESCAPES.sub(b"", self._raw[:cut])
        self._raw = self._raw[cut:] if len(self._raw) - cut <= MAX_HELD else b""
        return self._release(self._open())

    def _open(self) -> int:
        """How many bytes at the end could still be the start of a secret."""
        return max((_overlap(self._clean, secret) for secret in self._secrets), default=0)

    def _release(self, keep: int) -> bytes:
        """Show all but the last ``keep`` bytes. A secret found so far is withheld whole, at once and only once."""
        cut = len(self._clean) - keep
        out: list[bytes] = []
        done = self._covered
        for start, end in self._found():
            if start >= cut:
                break
            if start >= done:
                out += [self._clean[done:start], WITHHELD]
            done = max(done, end)
        out.append(self._clean[done:cut])
        self._clean = self._clean[cut:]
        self._covered = max(0, done - cut)
        return b"".join(out)

    def _found(self) -> list[tuple[int, int]]:
        """Where whole secrets stand, overlapping ones too, in order."""
        found: list[tuple[int, int]] = []
        for secret in self._secrets:
            at = self._clean.find(secret)
            while at >= 0:
                found.append((at, at + len(secret)))
                at = self._clean.find(secret, at + 1)
        return sorted(found)


def _overlap(text: bytes, secret: bytes) -> int:
    """The length of the longest end of ``text`` that begins ``secret`` without being all of it."""
    tail = text[-(len(secret) - 1) :] if len(secret) > 1 else b""
    at = tail.find(secret[:1])
    while at >= 0:
        if secret.startswith(tail[at:]):
            return len(tail) - at
        at = tail.find(secret[:1], at + 1)
    return 0
