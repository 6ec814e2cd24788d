"""The operators' act ``policy.shadow``: start a draft beside the active policy, look at it, end it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import msgspec

from ringwall.call import Call, Json, subject_name
from ringwall.capability.resources import parse_pattern
from ringwall.clock import Clock
from ringwall.errors import BadInput
from ringwall.interface import Journal, Ring
from ringwall.manifest.types import Manifest
from ringwall.policy.bundle.reading import load
from ringwall.policy.data import policy_data
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.policy.plan.limits import MAX_STEPS
from ringwall.policy.shadow import Shadow
from ringwall.runtime.acts import Act, arguments

DRAFT_STEPS: Final = MAX_STEPS // 100
"""What one decision of a draft may take, about 3 ms: it runs in the core's loop, between calls."""


class _Order(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Exactly one of them."""

    bundle: str = ""
    show: bool = False
    stop: bool = False


class Shadowing:
    """The act, and the drafts it loads.

    Args:
        manifest: whose grants are the draft's data.
        clock: for the draft's share of time.
        journal: for its differences.

    """

    def __init__(self, manifest: Manifest, clock: Clock, journal: Journal) -> None:
        self._manifest = manifest
        self._shadow = Shadow(journal, clock)

    def beside(self, ring: Ring) -> Ring:
        """The policy ring, with the shadow looking on."""
        return self._shadow.beside(ring)

    def acts(self) -> dict[str, Act]:
        """By verb."""
        return {"policy.shadow": self._act}

    async def _act(self, call: Call) -> Json:
        order = arguments(call, _Order)
        if [bool(order.bundle), order.show, order.stop].count(True) != 1:
            raise BadInput("name one of bundle, show, stop", code="bad_act", remedy="ringwall policy shadow --help")
        if order.show:
            return self._shadow.status()
        if order.stop:
            return await self._shadow.stop(subject_name(call.subject))
        draft = await asyncio.to_thread(self._load, Path(order.bundle))  # generating code takes a while
        return await self._shadow.start(draft, subject_name(call.subject))

    def _load(self, path: Path) -> EmbeddedPolicy:
        """A draft decides nothing, so nobody need have signed it. Raises PolicyError, BadInput."""
        if not path.is_absolute():
            raise BadInput("the bundle's path is not absolute", code="bad_act", remedy="name it from the root")
        bundle = load(path)
        base = policy_data(self._manifest, parse_pattern)
        return EmbeddedPolicy(bundle.compiled, {**bundle.data, **base}, max_steps=DRAFT_STEPS)
