"""Bundles of other trust domains, from files that the manifest names: each for its own domain only."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ringwall.errors import BadInput, RingwallError
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid.bundle import MAX_DOCUMENT
from ringwall.identity.svid.interface import Bundle

LOOK_SECONDS: Final = 30.0  # between two looks at the files; well below the hint of any domain


class Federation:
    """Foreign bundles, as their files are now. A file that is bad leaves the last good one in force, and says so.

    Args:
        files: by trust domain. Whoever can write one decides who is trusted there.
        check: raises RingwallError if somebody else can change a file.

    """

    def __init__(self, files: Mapping[str, Path], check: Callable[[Path], None]) -> None:
        self._files = dict(files)
        self._check = check
        self._held: dict[str, Bundle] = {}
        self._seen: dict[str, tuple[int, int, int]] = {}
        self.faults: dict[str, str] = {}

    def bundles(self) -> Mapping[str, Bundle]:
        """By trust domain; one that was never read is not there: nobody of it is trusted."""
        return MappingProxyType(self._held)

    def look(self) -> bool:
        """Read what changed since the last look; whether any bundle did."""
        changed = False
        for domain, path in self._files.items():
            try:
                changed |= self._look(domain, path)
            except RingwallError as fault:
                self.faults[domain] = f"{path}: {fault.cause}"
            except OSError as fault:
                self.faults[domain] = f"{path}: {fault.strerror}"
        return changed

    def _look(self, domain: str, path: Path) -> bool:
        mark, raw = _read(path, self._seen.get(domain))
        if raw is None:
            return False
        self._check(path)
        bundle = documents.parse(domain, raw)
        held = self._held.get(domain)
        if held is not None and held.sequence is not None and (bundle.sequence or 0) < held.sequence:
            raise BadInput(f"its sequence went back from {held.sequence} to {bundle.sequence}: an old bundle could "
                           "bring back a key that was withdrawn", code="svid_bundle_old")
        self._held = {**self._held, domain: bundle}  # a new one: others may be reading the old one now
        self._seen[domain] = mark
        self.faults.pop(domain, None)
        return bundle != held


def _read(path: Path, seen: tuple[int, int, int] | None) -> tuple[tuple[int, int, int], bytes | None]:
    """What tells this state of the file from others; its bytes unless it is as it was. Raises OSError, BadInput."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_size > MAX_DOCUMENT:
            raise BadInput("it is no plain file of a bundle's size", code="svid_bad_bundle")
        mark = (found.st_ino, found.st_mtime_ns, found.st_size)
        if mark == seen:
            return mark, None
        with os.fdopen(os.dup(fd), "rb") as file:
            return mark, file.read(MAX_DOCUMENT + 1)
    finally:
        os.close(fd)
