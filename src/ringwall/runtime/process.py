"""The core's process: what happens to it before the core is made, and how it is told to stop."""

from __future__ import annotations

import argparse
import asyncio
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop

from ringwall import hidden
from ringwall.errors import ManifestError, RingwallError
from ringwall.runtime import control
from ringwall.runtime.children import Children
from ringwall.runtime.reading import read_manifest
from ringwall.runtime.state import State

if TYPE_CHECKING:
    from ringwall.runtime.core import Core  # which imports us, to be an entry point

CANNOT_START: Final = 2  # an exit code that the supervisor does not answer with a restart


def arguments() -> argparse.ArgumentParser:
    """What the supervisor passes."""
    parser = argparse.ArgumentParser(prog="ringwall.runtime.core")
    parser.add_argument("--state", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--control", type=int, required=True)
    return parser


async def serve(options: argparse.Namespace, make: type[Core]) -> int:
    """Run a core until it is told to stop."""
    children = Children()
    line = socket.socket(fileno=options.control)
    children.attach(control.Control(line, children.on_message, children.on_close))
    state = State.open(options.state)
    state.lock()
    core = make(state=state, manifest=read_manifest(options.manifest), children=children)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, core.stopping.set)
    return await core.run()


def main(make: type[Core]) -> int:
    """Entry point of the core's process.

    Args:
        make: the core to run; only tests, benchmarks and the ablation suite have another than ``core.Core``.

    """
    hidden.hide()
    options = arguments().parse_args()
    try:
        return uvloop.run(serve(options, make))
    except (ManifestError, RingwallError) as fault:
        print(f"ringwall: {fault}", file=sys.stderr, flush=True)
        return CANNOT_START
