"""The object store of benchmarks/injection.py: ``injection_store.py FOLDER STATE TEXT``.

The stand-in of the demo (``redteam/office/cloud.py``: TLS, signatures, session policies), with one object. Writes
its port to ``FOLDER/port``, and one line to ``FOLDER/exchanges`` for each credential that it makes.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from ringwall.clock import SystemClock
from ringwall.errors import RingwallError
from ringwall.identity.svid import bundle
from ringwall.identity.svid.tokens import TokenValidator
from ringwall.redteam.office import cloud

DOMAIN = "office.example"  # the one that the stand-in believes
BUCKET, KEY = "reports", "q3.txt"


class Counted(cloud.Cloud):
    """Writes down every exchange."""

    def __init__(self, folder: Path, state: Path) -> None:
        super().__init__(folder / "acts", self._vouched)
        self._folder, self._state = folder, state

    def assume(self, form: Mapping[str, str]) -> str:
        made = super().assume(form)
        with (self._folder / "exchanges").open("a") as file:
            file.write("one\n")
        return made

    def _vouched(self, token: str, audience: str) -> str:
        try:
            keys = bundle.parse(DOMAIN, (self._state / "identity" / "bundle.json").read_bytes())
            found = TokenValidator(lambda: {DOMAIN: keys}, SystemClock()).validate(token, [audience])
        except (OSError, RingwallError) as fault:
            raise ValueError(str(fault)) from fault
        return str(found.spiffe_id)


def main(folder: Path, state: Path, text: str) -> None:
    store = Counted(folder, state)
    store.objects[BUCKET, KEY] = text.encode()
    with cloud.serving(store, cloud.certificate(folder)) as port:
        (folder / "port").write_text(str(port))
        print("ready", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
