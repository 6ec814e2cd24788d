"""The real opa as a server, private to one test: on a Unix socket or on loopback, with a bundle."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.policy.compile import the_opa

from ringwall.policy.build import SOURCES
from ringwall.policy.opa.address import Address

REVISION = "a" * 64
ROOTS = ("ringwall/decide", "ringwall/facts", "ringwall/grants", "ringwall/messages", "ringwall/subject",
         "ringwall/site")
MEMORY = 3 << 30  # bytes of address space: OPA has no limit of its own, and a policy can make it want all there is
TRIES = 1500  # at 20 ms: a machine under load starts it in seconds


def bundle(folder: Path, *, revision: str = REVISION, roots: Iterable[str] = ROOTS,
           sources: Iterable[Path] = ()) -> Path:
    """A bundle for OPA of these files, or of the shipped policy."""
    place = folder / "sources"
    place.mkdir()
    for path in tuple(sources) or SOURCES.glob("*.rego"):
        (place / path.name).write_bytes(path.read_bytes())
    (place / ".manifest").write_text(json.dumps({"revision": revision, "roots": list(roots)}))
    made = folder / "bundle.tar.gz"
    subprocess.run([the_opa(), "build", "-b", str(place), "-o", str(made)], check=True, capture_output=True)
    return made


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def running(address: Address, *served: Path) -> Iterator[subprocess.Popen[bytes]]:
    """An opa that listens; ended afterwards."""
    if address.path:
        Path(address.path).unlink(missing_ok=True)  # what a killed one left
    at = f"unix://{address.path}" if address.path else f"{address.host}:{address.port}"
    words = ["prlimit", f"--as={MEMORY}", the_opa(), "run", "--server", "--skip-version-check",
             "--log-level", "error", "--addr", at]
    process = subprocess.Popen([*words, *(str(one) for one in ("--bundle", *served) if served)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait(address, process)
        yield process
    finally:
        process.kill()
        process.wait()


def wait(address: Address, process: subprocess.Popen[bytes]) -> None:
    """Until somebody listens there."""
    for _ in range(TRIES):
        assert process.poll() is None, "opa ended"
        with socket.socket(socket.AF_UNIX if address.path else socket.AF_INET) as tried:
            if tried.connect_ex(address.path or (address.host, address.port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError("opa does not listen")
