"""A whole Ringwall whose authority turns its keys every second, and whose core is killed in the middle of it
once for each file ``die`` beside the manifest: ``turning_core.py --state … --manifest …``, as ``ringwall up``."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from ringwall.clock import SystemClock
from ringwall.confine.zygote import Zygote
from ringwall.identity.svid import keyring
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.store import Kept, KeyStore
from ringwall.runtime import core
from ringwall.runtime.state import State
from ringwall.runtime.supervisor import Supervisor


class DyingStore(KeyStore):
    """Ends the core before, or after, a change of keys is on disk."""

    told = Path()

    def save(self, kept: Kept, bundle: Bundle) -> None:
        die_if(self.told / "die-before")
        super().save(kept, bundle)
        die_if(self.told / "die-after")


class JumpingClock(SystemClock):
    """The machine's, and as many seconds as a file says."""

    told = Path()

    def now(self) -> float:
        try:
            return super().now() + float((self.told / "jump").read_text())
        except (OSError, ValueError):
            return super().now()


def die_if(told: Path) -> None:
    if told.exists():
        told.unlink()
        os.kill(os.getpid(), signal.SIGKILL)


def main() -> int:
    """As supervisor, or as its core."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--control", type=int)
    options = parser.parse_args()
    if options.control is not None:
        from ringwall.runtime import identities, peering

        DyingStore.told = JumpingClock.told = options.manifest.parent
        identities.KeyStore = DyingStore  # type: ignore[misc]
        core.SystemClock = JumpingClock  # type: ignore[misc]
        peering.LOOK_SECONDS = 0.3  # type: ignore[misc]
        keyring.TURN_SECONDS, keyring.PREPARED_SECONDS, keyring.MAX_OLD = 1.0, 0.3, 100  # type: ignore[misc]
        return core.main(core.Core)
    supervisor = Supervisor(zygote=Zygote.start(), state=State.open(options.state).root, manifest=options.manifest,
                            core=(sys.executable, __file__))
    return asyncio.run(supervisor.run())


if __name__ == "__main__":
    sys.exit(main())
