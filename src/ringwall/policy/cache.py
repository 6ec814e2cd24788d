"""A memory of what was allowed, in front of a policy that is slow to ask. Off unless the manifest turns it on.

Only allowances are kept, each under the SHA-256 of the entry point, the policy's revision and the whole canonical
input, so that a call is answered from here only if the policy would see exactly what it saw before. One part may be
left out: ``time``, and only where the plan shows that the policy cannot look at it; otherwise no two inputs are
equal and nothing is ever found. Facts that change from call to call, such as how much of a limit is used, make
inputs differ as well: they are never left out, because a policy may deny on them.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from ringwall.call import Json, as_object, canonical
from ringwall.errors import PolicyError
from ringwall.policy.decision import Decision, typed
from ringwall.policy.interface import PolicyBackend

MOST: Final = 4096  # allowances; some 300 bytes each
_TIME: Final = "time"


class AllowCache:
    """Implements ``PolicyBackend`` by asking another one, at most once for each input that it allows.

    Args:
        backend: what decides.
        timeless: whether the policy with this revision cannot see the time.
        most: allowances kept; beyond it the one not used for longest goes.

    """

    def __init__(self, backend: PolicyBackend, timeless: Callable[[str], bool], *, most: int = MOST) -> None:
        self._backend = backend
        self._timeless = timeless
        self._most = most
        self._kept: OrderedDict[bytes, bytes] = OrderedDict()
        self._hits = 0
        self._misses = 0

    @property
    def revision(self) -> str:
        """That of what decides."""
        return self._backend.revision

    async def decide(self, entry_point: str, document: Json) -> Json:
        """See ``PolicyBackend.decide``."""
        revision = self._backend.revision
        key = self._key(entry_point, document, revision)
        if key is None:
            return await self._backend.decide(entry_point, document)
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            self._hits += 1
            return msgspec.json.decode(found)
        self._misses += 1
        value = await self._backend.decide(entry_point, document)
        if _permits(value) and self._backend.revision == revision:
            self._keep(key, value)
        return value

    async def status(self) -> dict[str, Json]:
        """What decides says of itself, and how often it was not asked."""
        cache = {"kept": len(self._kept), "hits": self._hits, "misses": self._misses,
                 "timeless": self._timeless(self._backend.revision)}
        return {**await self._backend.status(), "cache": cache}

    async def close(self) -> None:
        """Forget everything, and close what decides."""
        self._kept.clear()
        await self._backend.close()

    def _key(self, entry_point: str, document: Json, revision: str) -> bytes | None:
        """What this decision is kept under; None: it cannot be kept."""
        whole = as_object(document)
        if whole is None or not revision:
            return None
        blind = self._timeless(revision)
        seen = {name: value for name, value in whole.items() if not (blind and name == _TIME)}
        try:
            return hashlib.sha256(canonical([entry_point, revision, seen])).digest()
        except (msgspec.MsgspecError, UnicodeError, TypeError, OverflowError, RecursionError):
            return None  # no JSON: what decides will say so

    def _keep(self, key: bytes, value: Json) -> None:
        self._kept[key] = canonical(value)
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)


def _permits(value: Json) -> bool:
    try:
        return typed(value, Decision).permits
    except PolicyError:
        return False
