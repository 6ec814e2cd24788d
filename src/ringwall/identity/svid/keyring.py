"""The authority's keys, and when each is prepared, activated and dropped. Pure: time comes as an argument.

A key is published before it signs anything, for longer than anybody may keep an old bundle; and it stays in the
bundle after it has signed its last, until that has expired. So nobody ever meets an SVID whose key is not known.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final, Literal, TypeAlias

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from ringwall.identity.svid.interface import REFRESH_HINT, SVID_SECONDS
from ringwall.identity.svid.issue import BACKDATE_SECONDS

Use = Literal["x509", "jwt"]
Phase = Literal["prepared", "active", "old"]
USES: Final[tuple[Use, ...]] = ("x509", "jwt")

KEY_SECONDS: Final = 24 * 3600  # whole life of a key; what is left after its turn is leeway for a full disk
TURN_SECONDS: Final = 12 * 3600  # for which a key signs
PREPARED_SECONDS: Final = 5 * REFRESH_HINT  # Trust Domain and Bundle, section 5.2: three to five hints ahead
OLD_SECONDS: Final = SVID_SECONDS + BACKDATE_SECONDS  # until all it signed has expired, with a slow clock's share
MAX_OLD: Final = 4  # of one use: a clock that jumps to and fro must not fill the bundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One signing key. Times in seconds since the epoch.

    Args:
        name: its ``kid``, and its part in the common name of its certificate.
        use: what it signs.
        phase: prepared, active or old.
        private: the key itself.
        certificate: DER, self-signed; empty for ``jwt``.
        created: when it was made.
        turn: when it is to become, or became, active.
        expires: nothing it signed counts after this.
        drop: when an old one leaves the bundle.

    """

    name: str
    use: Use
    phase: Phase
    private: EllipticCurvePrivateKey = field(repr=False)
    certificate: bytes
    created: float
    turn: float
    expires: float
    drop: float = 0.0

    def usable(self, now: float) -> bool:
        """Whether it may sign now. A key from the future is a clock's fault, and would not be believed."""
        return self.created - BACKDATE_SECONDS <= now < self.expires


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepare:
    """Make a key; it takes its turn at ``turn``."""

    use: Use
    turn: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Activate:
    """Let this key sign from now on."""

    key: Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """Take this key out of the bundle, and forget it."""

    key: Key


Step: TypeAlias = Prepare | Activate | Drop


def due(keys: Iterable[Key], now: float) -> Step | None:
    """What is to be done now, one step at a time; None: nothing yet."""
    held = list(keys)
    for use in USES:
        step = _due([key for key in held if key.use == use], use, now)
        if step is not None:
            return step
    return None


def next_time(keys: Iterable[Key]) -> float:
    """When something will be due, in seconds since the epoch, for a clock that only goes on."""
    times: list[float] = []
    held = list(keys)
    for key in held:
        if key.phase == "old":
            times.append(min(key.drop, key.expires))
        elif key.phase == "prepared":
            times.append(key.turn)
        elif not any(other.use == key.use and other.phase == "prepared" for other in held):
            times.append(key.turn + TURN_SECONDS - PREPARED_SECONDS)
    return min(times, default=0.0)


def turned(keys: Iterable[Key], step: Activate, now: float) -> tuple[Key, ...]:
    """The keys after an activation: whoever was active is old."""
    made: list[Key] = []
    for key in keys:
        if key.name == step.key.name and key.use == step.key.use:
            made.append(replace(key, phase="active", turn=now))
        elif key.use == step.key.use and key.phase == "active":
            made.append(replace(key, phase="old", drop=now + OLD_SECONDS))
        else:
            made.append(key)
    return tuple(made)


def active(keys: Iterable[Key], use: Use) -> Key | None:
    """The key that signs, if there is one."""
    return next((key for key in keys if key.use == use and key.phase == "active"), None)


def _due(keys: list[Key], use: Use, now: float) -> Step | None:
    signing, waiting = active(keys, use), next((key for key in keys if key.phase == "prepared"), None)
    if waiting is not None and not waiting.usable(now):
        return Drop(key=waiting)
    if signing is None or not signing.usable(now):  # the first start, a long sleep, a clock that jumped
        return Activate(key=waiting) if waiting is not None else Prepare(use=use, turn=now)
    if waiting is not None and now >= waiting.turn:
        return Activate(key=waiting)
    if waiting is None and now >= signing.turn + TURN_SECONDS - PREPARED_SECONDS:
        return Prepare(use=use, turn=max(signing.turn + TURN_SECONDS, now + PREPARED_SECONDS))
    return _over([key for key in keys if key.phase == "old"], now)


def _over(old: list[Key], now: float) -> Drop | None:
    for key in old:
        if now >= key.drop or not key.usable(now):
            return Drop(key=key)
    return Drop(key=min(old, key=lambda key: key.created)) if len(old) > MAX_OLD else None
