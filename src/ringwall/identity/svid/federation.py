"""Bundles of other trust domains, from files and endpoints the manifest names: each for its own domain only."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from ringwall.errors import BadInput, RingwallError, Unavailable
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid.bundle import MAX_DOCUMENT
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.store import write_whole

LOOK_SECONDS: Final = 30.0  # between two looks at the files; well below the hint of any domain
MAX_NAME: Final = 200  # characters of a domain that is a file's name as it is; file systems take 255


class Federation:
    """Foreign bundles, as files and endpoints have them. What is bad leaves the last good one in force and says so.

    Args:
        files: by trust domain. Whoever can write one decides who is trusted there.
        check: raises RingwallError if somebody else can change a file.
        endpoints: domains that have one. Their file is only the first bundle, or a newer one in an emergency.
        kept: the folder where what endpoints gave is kept over a restart; made when it is needed.

    """

    def __init__(
        self, files: Mapping[str, Path], check: Callable[[Path], None], *, endpoints: Collection[str] = (),
        kept: Path | None = None,
    ) -> None:
        self._files = dict(files)
        self._check = check
        self._endpoints = frozenset(endpoints)
        self._kept = kept
        self._held: dict[str, Bundle] = {}
        self._seen: dict[str, tuple[int, int, int]] = {}
        self.faults: dict[str, str] = {}

    def bundles(self) -> Mapping[str, Bundle]:
        """By trust domain; one that was never read is not there: nobody of it is trusted."""
        return MappingProxyType(self._held)

    def look(self) -> tuple[str, ...]:
        """Read what changed since the last look; the domains whose bundle did."""
        changed: list[str] = []
        for domain, path in self._files.items():
            try:
                if self._look(domain, path):
                    changed.append(domain)
            except RingwallError as fault:
                self.faults[domain] = f"{path}: {fault.cause}"
            except OSError as fault:
                self.faults[domain] = f"{path}: {fault.strerror}"
        return tuple(changed)

    def restore(self) -> None:
        """Take what endpoints gave an earlier core, where it is not older than the file."""
        for domain in self._endpoints:
            path = self._place(domain)
            try:
                _, raw = _read(path, None)
                if raw is not None:
                    self._adopt(domain, documents.parse(domain, raw))
            except FileNotFoundError:
                continue
            except RingwallError as fault:
                self.faults[domain] = f"{path}: {fault.cause}"
            except OSError as fault:
                self.faults[domain] = f"{path}: {fault.strerror}"

    def take(self, domain: str, raw: bytes) -> bool:
        """Take what a domain's endpoint gave; whether anything changed.

        Raises:
            BadInput: it is no bundle of that domain, or an old one (``svid_bundle_old``). The last good one holds.

        """
        bundle = documents.parse(domain, raw)
        return self._adopt(domain, bundle)

    def keep(self, domain: str) -> None:
        """Keep a domain's bundle over a restart. Raises Unavailable (``svid_bundle_unwritable``)."""
        path = self._place(domain)
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, documents.document(self._held[domain]), 0o600)
        except OSError as fault:
            raise Unavailable(
                f"the bundle of {domain} cannot be kept: {fault.strerror}", code="svid_bundle_unwritable",
                remedy=f"make room for {path.parent}; the bundle holds until the core ends",
            ) from None

    def _look(self, domain: str, path: Path) -> bool:
        mark, raw = _read(path, self._seen.get(domain))
        if raw is None:
            return False
        self._check(path)
        bundle = documents.parse(domain, raw)
        held = self._held.get(domain)
        older = held is not None and _older(bundle, held)
        # An endpoint goes on from its first bundle: that file is old, and nothing is wrong with it.
        changed = False if older and domain in self._endpoints else self._adopt(domain, bundle)
        self._seen[domain] = mark
        self.faults.pop(domain, None)
        return changed

    def _adopt(self, domain: str, bundle: Bundle) -> bool:
        held = self._held.get(domain)
        if held is not None and _older(bundle, held):
            raise BadInput(f"its sequence went back from {held.sequence} to {bundle.sequence}: an old bundle could "
                           "bring back a key that was withdrawn", code="svid_bundle_old")
        self._held = {**self._held, domain: bundle}  # a new one: others may be reading the old one now
        return bundle != held

    def _place(self, domain: str) -> Path:
        if self._kept is None:
            raise Unavailable("there is no folder for bundles", code="svid_bundle_unwritable")
        name = domain if len(domain) <= MAX_NAME else hashlib.sha256(domain.encode()).hexdigest()
        return self._kept / f"{name}.json"


def _older(bundle: Bundle, held: Bundle) -> bool:
    return held.sequence is not None and (bundle.sequence or 0) < held.sequence


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
