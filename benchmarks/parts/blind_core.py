"""The benchmark's core without a guard: what it costs is the difference. Nothing else is left out."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from core import BenchCore

from ringwall.call import Allowed, Call, Facts, RingName, Subject
from ringwall.interface import Passage, Ring, Targets, Through
from ringwall.runtime.process import main


class BlindRing:
    """Finds nothing, without looking."""

    name: RingName = "guard"

    async def enter(self, call: Call, facts: Facts) -> Passage:
        facts[self.name] = {"blocked": False, "injection": 0.0, "categories": {}}
        return Through(Allowed())

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        return targets


class BlindCore(BenchCore):
    """For measuring alone."""

    def compose(self) -> Mapping[RingName, Ring]:
        return {**super().compose(), "guard": BlindRing()}


if __name__ == "__main__":
    sys.exit(main(BlindCore))
