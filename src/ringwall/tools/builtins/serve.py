"""Serve a built-in tool over stdio: ``python -m ringwall.tools.builtins.serve s3 URL --region R --ca PATH``.

An MCP server like that of ``ringwall.tools.serve``. Descriptor 3 brings credentials; a call says in its ``_meta``
which one it works with. A built-in is a module with ``operations(place)``: plain functions, which take theirs from
``given.current()``.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol, cast

import anyio
import anyio.to_thread
import mcp_types as types
from mcp.server.lowlevel.server import Server

from ringwall import hidden
from ringwall.clock import SystemClock
from ringwall.errors import RingwallError
from ringwall.tools import serve
from ringwall.tools.builtins import given
from ringwall.tools.mcp_call import CREDENTIAL

MODULES: Final[Mapping[str, str]] = MappingProxyType({
    "s3": "ringwall.tools.builtins.s3",
    "postgres": "ringwall.tools.builtins.postgres",
})
PROXY: Final = ("127.0.0.1", 3128)
"""Where this process's network has its one way out (``tools.outlet``): HTTP CONNECT."""
DESCRIPTOR: Final = 3
MAX_THREADS: Final = 160
"""Calls at once: more than a tenant has where its manifest says nothing, so that one agent's slow ones hold up
nobody else's. Each may have a timer beside it, and the process may have 512 threads."""
MAX_NAME: Final = 64  # characters of what names a credential, as in tools.protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whom a built-in asks, and how.

    Args:
        url: of the service; nothing else is reached.
        region: as requests are signed for; empty: the service's usual one.
        ca: who signs its certificate (PEM); None: the authorities that the machine trusts.
        seconds: that a call may take.
        proxy: host and port of the HTTP proxy.

    """

    url: str
    region: str = ""
    ca: Path | None = None
    seconds: float = 30.0
    proxy: tuple[str, int] = PROXY


class Builtin(Protocol):
    """A module in ``MODULES``."""

    def operations(self, place: Place) -> Sequence[Callable[..., Any]]:
        """Its tools; each function's name and annotations are the tool's. Raises RingwallError: a bad place."""
        ...


def tools(builtin: Builtin, place: Place) -> dict[str, serve.Served]:
    """What a built-in serves at a place. Raises RingwallError."""
    return {one.__name__: serve.serve_one(one.__name__, _quiet(one)) for one in builtin.operations(place)}


def answering(hand: given.Hand) -> serve.Answer:
    """Runs calls, each with the credential that it names."""

    async def answer(tool: serve.Served, params: types.CallToolRequestParams) -> types.CallToolResult:
        name = cast("dict[str, Any]", params.meta or {}).get(CREDENTIAL)
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            return serve.failed("credential_missing: this call came without a credential")
        try:
            found = await anyio.to_thread.run_sync(partial(hand.take, name))
        except RingwallError as fault:
            return serve.failed(str(fault))
        with given.during(found):
            return await serve.call(tool, params.arguments)

    return answer


def _quiet(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a library says in an exception may hold anything: only our own words leave."""

    @wraps(function)
    def work(*args: Any, **named: Any) -> Any:
        try:
            return function(*args, **named)
        except RingwallError:
            raise
        except Exception as fault:  # noqa: BLE001 (whatever a library raises; the call fails)
            raise RingwallError(f"the tool failed ({type(fault).__name__})", code="tool_failed") from None

    return work


def _parsed(argv: Sequence[str]) -> tuple[str, Place]:
    parser = argparse.ArgumentParser(prog="ringwall.tools.builtins.serve")
    parser.add_argument("builtin", choices=tuple(MODULES))
    parser.add_argument("url")
    parser.add_argument("--region", default="")
    parser.add_argument("--ca", type=Path, default=None)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--proxy-port", type=int, default=PROXY[1])
    found = parser.parse_args(argv)
    place = Place(url=found.url, region=found.region, ca=found.ca, seconds=found.seconds,
                  proxy=(PROXY[0], found.proxy_port))
    return found.builtin, place


async def _serve(served: Server[Any]) -> None:
    anyio.to_thread.current_default_thread_limiter().total_tokens = MAX_THREADS
    await serve.run(served)


def main(argv: Sequence[str]) -> int:
    """Exit code 2: it cannot be served; 1: there will be no more credentials."""
    hidden.hide()  # credentials come in over the descriptor
    logging.disable(logging.CRITICAL)  # libraries log requests
    name, place = _parsed(argv)
    try:
        module = cast("Builtin", importlib.import_module(MODULES[name]))
        served = tools(module, place)
        sock = socket.socket(fileno=DESCRIPTOR)
    except (ImportError, OSError, RingwallError) as fault:
        print(f"ringwall: {name} cannot be served: {fault}", file=sys.stderr)
        return 2
    # Without credentials it is of no use: it ends, and is started anew with another descriptor.
    hand = given.Hand(sock, SystemClock(), lambda: os._exit(1))
    hand.begin()
    gc.freeze()  # what was imported stays: looking through all of it takes 100 ms, in the midst of a call
    anyio.run(_serve, serve.serving(name, served, answering(hand)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
