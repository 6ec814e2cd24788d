"""The core of benchmarks/svids.py: its clock can be moved, so that every SVID is due for another one at once."""

from __future__ import annotations

import gc
import sys

from told import ToldCore

import ringwall.runtime.core as composed
from ringwall.call import Json
from ringwall.clock import SystemClock
from ringwall.runtime.process import main


class MovedClock(SystemClock):
    """The machine's clocks, moved."""

    ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


composed.SystemClock = MovedClock  # type: ignore[misc]  # (the core makes its clock of this)


class SvidsCore(ToldCore):
    """The whole core."""

    clock: MovedClock

    def do_turn(self, *, seconds: float) -> Json:
        """So much later: every SVID that is older than half of its life is renewed now."""
        self.clock.ahead += seconds
        self.identities.authority.changed()
        return {}

    def do_collect(self) -> Json:
        """Let go of what nobody uses, so that memory can be counted."""
        gc.collect()
        return {}


if __name__ == "__main__":
    sys.exit(main(SvidsCore))
