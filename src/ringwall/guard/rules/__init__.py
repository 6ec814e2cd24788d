"""The guard's rules: data, pinned by its hash."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final

from ringwall.errors import Unavailable

PINS: Final[Mapping[str, str]] = {
    "confusables.toml": "21b5a75d69c5175c7c86ab73fb668f3859aaf52ab4962ceff11694608f616781",
    "secrets.toml": "42966a82f5337380f3d3e6ebcb5f70871b2e74a0db4650bc79c2ef1a63d4a6be",
    "signatures.toml": "86bf7da9d3659c7f6a44bca292b44951cbe01a4fcb32fe592fb5e093ec7bcb29",
}
"""File -> SHA-256 of its bytes. ``python -m ringwall.guard.rules`` prints what they are now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Parsed rule files; ``version`` names exactly these bytes."""

    confusables: Mapping[str, str]
    secrets: Mapping[str, Any]
    signatures: Mapping[str, Any]
    version: str


def measure() -> dict[str, str]:
    """SHA-256 of each rule file as it lies in the package."""
    return {name: hashlib.sha256(_read(name)).hexdigest() for name in PINS}


def load(pins: Mapping[str, str] = PINS) -> Rules:
    """Read, compare with the pins, parse.

    Raises:
        Unavailable: code ``guard_not_ready``: a file is missing, or not the one that was reviewed.

    """
    parsed: dict[str, dict[str, Any]] = {}
    for name, pin in pins.items():
        data = _read(name)
        if hashlib.sha256(data).hexdigest() != pin:
            raise Unavailable(f"the guard's rule file {name} is not the one this version was made with",
                              code="guard_not_ready", remedy="install Ringwall again")
        parsed[name] = tomllib.loads(data.decode())
    alike: dict[str, str] = parsed["confusables.toml"]["look_like"]
    version = hashlib.sha256("".join(f"{name} {pins[name]}\n" for name in sorted(pins)).encode()).hexdigest()
    return Rules(confusables={char: plain for plain, chars in alike.items() for char in chars},
                 secrets=parsed["secrets.toml"], signatures=parsed["signatures.toml"], version=version)


def _read(name: str) -> bytes:
    try:
        return resources.files(__name__).joinpath(name).read_bytes()
    except OSError as fault:
        raise Unavailable(f"the guard's rule file {name} cannot be read: {fault}", code="guard_not_ready",
                          remedy="install Ringwall again") from fault
