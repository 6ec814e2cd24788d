"""What the audit tests share: a clock and a disk of their own, calls, an open journal."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ringwall.audit.disk import SystemDisk
from ringwall.audit.journal import AuditJournal
from ringwall.audit.merkle import node_hash
from ringwall.call import (
    Allowed,
    Call,
    CallId,
    Denied,
    LaunchId,
    Operator,
    Process,
    RingName,
    SessionId,
    Subject,
    Target,
    Verdict,
    Verdicts,
)
from ringwall.clock import SystemClock
from ringwall.identity.spiffe import SpiffeId
from ringwall.keys.file import FileRootKeys

ROOT = b"0123456789abcdef0123456789abcdef"
SEGMENT = 64 << 10
RINGS: tuple[RingName, ...] = ("identity", "capability", "limits", "flow", "guard", "policy")


class FakeClock:
    def __init__(self) -> None:
        self.time = 1_800_000_000.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class FakeDisk(SystemDisk):
    """A disk that can be full, broken or stuck."""

    def __init__(self) -> None:
        self.syncs = 0
        self.allocate_error: int | None = None
        self.write_error: int | None = None
        self.go = threading.Event()
        self.go.set()

    def allocate(self, path: Path, size: int) -> int:
        if self.allocate_error is not None:
            raise OSError(self.allocate_error, os.strerror(self.allocate_error))
        return super().allocate(path, size)

    def write(self, fd: int, data: bytes, offset: int) -> None:
        if self.write_error is not None:
            raise OSError(self.write_error, os.strerror(self.write_error))
        super().write(fd, data, offset)

    def sync(self, fd: int) -> None:
        self.go.wait(30)
        self.syncs += 1
        super().sync(fd)


def keys() -> FileRootKeys:
    return FileRootKeys(ROOT)


def agent(tenant: str = "acme") -> Process:
    who = SpiffeId.make(trust_domain="acme.example", tenant=tenant, agent="analyst", role="reader")
    return Process(spiffe_id=who, launch=LaunchId("l1"), connection=3)


def a_call(args: Any = None, *, tenant: str = "acme", session: str | None = "s1",
           subject: Subject | None = None, target: str = "docs/read", id: str = "c1") -> Call:  # noqa: A002
    return Call.make(
        id=CallId(id), kind="tool", subject=subject or agent(tenant),
        session=None if session is None else SessionId(session), target=Target(name=target),
        args={"path": "/srv/docs/a.txt", "to": ["bob@x.example"]} if args is None else args,
    )


def operator() -> Operator:
    return Operator(name="ann", uid=1000, connection=1)


def verdicts(denied: str = "", code: str = "not_granted") -> Verdicts:
    said: list[tuple[RingName, Verdict]] = []
    for ring in RINGS:
        if ring == denied:
            said.append((ring, Denied(code=code, reason="the argument /secret/path is outside the grant",
                                      remedy="ask for it", detail={"rule": 3})))
            break
        said.append((ring, Allowed()))
    facts = {
        "identity": {"attested": True, "attestation": "process", "strength": "strong"},
        "policy": {"revision": "rev-1"},
    }
    return Verdicts(rings=tuple(said), facts=facts)


@asynccontextmanager
async def opened(state: Path, **options: Any) -> AsyncGenerator[AuditJournal, None]:
    options.setdefault("quota_mib", 64)
    options.setdefault("segment", SEGMENT)
    journal = AuditJournal.open(state, keys(), options.pop("clock", None) or SystemClock(), **options)
    try:
        yield journal
    finally:
        await journal.close()


def verify_consistency(old: int, old_root: bytes, new: int, new_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the newer tree only added to the older one (RFC 9162, section 2.1.4.2)."""
    if old == new:
        return not proof and old_root == new_root
    if not 0 < old < new or not proof:
        return False
    path = list(proof) if old & (old - 1) else [old_root, *proof]
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    older = newer = path[0]
    for step in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            older, newer = node_hash(step, older), node_hash(step, newer)
            while not fn & 1 and fn:
                fn >>= 1
                sn >>= 1
        else:
            newer = node_hash(newer, step)
        fn >>= 1
        sn >>= 1
    return sn == 0 and older == old_root and newer == new_root
