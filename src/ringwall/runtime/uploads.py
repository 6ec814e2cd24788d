"""Bytes that must not stand in a call: handed over beside it, for one operator, once, for a moment.

Calls are recorded, and so are their answers' hashes. A secret's value, a passphrase, a share of a root key or a
backup is therefore put here first; the call names it. What lies here is in the core's memory and in no record.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ringwall.call import Operator
from ringwall.clock import Clock
from ringwall.errors import BadInput, Limited, Refused

LIFE_S: Final = 60.0  # from the last piece on: a command line needs a moment of it
MAX_VALUE: Final = 64 << 10  # bytes: the largest value that the vault keeps, and so the first piece of anything
MAX_PIECE: Final = 1 << 20  # bytes of each further piece, of a backup
MAX_WHOLE: Final = 256 << 20  # bytes of one: a backup of some hundred thousand keys and tokens
MAX_TOGETHER: Final = 512 << 20  # bytes of all: one backup comes while another goes
MAX_ALL: Final = 64  # at a time, uploads and downloads each
MAX_OF_ONE: Final = 16  # of one operator: nobody keeps the others out
_SLACK_S: Final = 0.1  # a timer may come a little early, and would then find nothing to forget
_HEX: Final = frozenset("0123456789abcdef")


@dataclass(slots=True, kw_only=True)
class _Kept:
    name: str
    uid: int
    until: float  # on the monotonic clock
    data: bytearray = field(repr=False)


class Shelf:
    """Keeps bytes for their operator until they are taken, once, or until their time is over.

    Args:
        clock: for their time.
        later: runs a function after so many seconds, so that nothing stays because nobody comes back.

    """

    def __init__(self, clock: Clock, later: Callable[[float, Callable[[], None]], object] | None = None) -> None:
        self._clock = clock
        self._later = later or _on_the_loop
        self._kept: dict[str, _Kept] = {}

    def put(self, who: Operator, data: bytes, *, limit: int = MAX_VALUE) -> str:
        """Keep bytes; the name to take them by.

        Args:
            who: the attested operator; nobody else gets at them.
            data: not kept longer than ``LIFE_S``.
            limit: the most bytes that there may be.

        Raises:
            BadInput: ``upload_too_large``.
            Limited: ``too_many_uploads``: as many wait as may.

        """
        self._sweep()
        if len(data) > limit:
            raise too_large(limit)
        mine = sum(one.uid == who.uid for one in self._kept.values())
        if len(self._kept) >= MAX_ALL or mine >= MAX_OF_ONE or self._size() + len(data) > MAX_TOGETHER:
            raise Limited("too much waits to be fetched", code="too_many_uploads", retry_after=LIFE_S,
                          remedy=f"what waits is forgotten after {LIFE_S:.0f} seconds")
        name = secrets.token_hex(16)
        self._kept[name] = _Kept(name=who.name, uid=who.uid, until=self._end(), data=bytearray(data))
        self._later(LIFE_S + _SLACK_S, self._sweep)
        return name

    def add(self, who: Operator, name: str, data: bytes) -> int:
        """Add a piece of at most ``MAX_PIECE`` bytes; how many there are now. Raises as ``put`` and ``take``."""
        one = self._found(who, name)
        if len(data) > MAX_PIECE:
            raise too_large(MAX_PIECE)
        if len(one.data) + len(data) > MAX_WHOLE:
            self._wipe(name)
            raise too_large(MAX_WHOLE)
        if self._size() + len(data) > MAX_TOGETHER:
            raise Limited("too much waits to be fetched", code="too_many_uploads", retry_after=LIFE_S)
        one.data += data
        one.until = self._end()
        self._later(LIFE_S + _SLACK_S, self._sweep)
        return len(one.data)

    def take(self, who: Operator, name: str, *, limit: int = MAX_VALUE) -> bytes:
        """The bytes, which are then here no more, whatever comes of it.

        Raises:
            Refused: ``no_such_upload``: never there, another operator's, taken before, or too old.
            BadInput: ``upload_too_large``: more than ``limit`` bytes.

        """
        one = self._found(who, name)
        data = bytes(one.data) if len(one.data) <= limit else None
        self._wipe(name)
        if data is None:
            raise too_large(limit)
        return data

    def __len__(self) -> int:
        self._sweep()
        return len(self._kept)

    def _found(self, who: Operator, name: str) -> _Kept:
        """One answer for everything that is not there for this operator."""
        self._sweep()
        one = self._kept.get(name)
        if one is None or (one.name, one.uid) != (who.name, who.uid):
            raise Refused("nothing of yours waits under this name", code="no_such_upload",
                          remedy=f"it is good once and for {LIFE_S:.0f} seconds: run the whole command again")
        return one

    def _end(self) -> float:
        return self._clock.monotonic() + LIFE_S

    def _size(self) -> int:
        return sum(len(one.data) for one in self._kept.values())

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        for name in [name for name, one in self._kept.items() if one.until <= now]:
            self._wipe(name)

    def _wipe(self, name: str) -> None:
        """Overwritten, as far as this program has it in its hands: copies that Python made are Python's to free."""
        one = self._kept.pop(name)
        one.data[:] = bytes(len(one.data))


class Uploads:
    """What operators hand in, and what they are to fetch.

    Args:
        clock: for their time.
        later: as of ``Shelf``.

    """

    def __init__(self, clock: Clock, later: Callable[[float, Callable[[], None]], object] | None = None) -> None:
        self.inward = Shelf(clock, later)
        self.outward = Shelf(clock, later)


def is_name(text: str) -> bool:
    """Whether an upload or download can be called so."""
    return len(text) == 32 and _HEX.issuperset(text)


def sha256(data: bytes) -> str:
    """Lower-case hex, by which two operators name the same backup."""
    return hashlib.sha256(data).hexdigest()


def too_large(limit: int) -> BadInput:
    """More than what is taken here."""
    return BadInput(f"more than {limit} bytes", code="upload_too_large")


def _on_the_loop(seconds: float, work: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, work)
