"""What a server lists, asked once before there is a manifest: confined like any tool server, without network."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Final

from ringwall.call import Json
from ringwall.confine.zygote import Zygote
from ringwall.errors import RingwallError, Unavailable
from ringwall.manifest.types import ToolServer
from ringwall.runtime import views
from ringwall.runtime.services import LastWords
from ringwall.runtime.state import State
from ringwall.runtime.wrapping.order import TENANT, Order
from ringwall.tools.mcp_session import McpServer

READY_S: Final = 60.0  # importing a large package on a busy machine; usual is 1 s


async def listed(order: Order, *, zygote: Zygote, state: State, manifest: Path) -> list[Json]:
    """Start the server, ask what it offers, and end it.

    Args:
        order: the server.
        zygote: starts it confined.
        state: the folder that it must not see.
        manifest: the file that it must not write.

    Raises:
        RingwallError: it cannot be started or does not answer; its last words stand in the cause.

    """
    server = ToolServer(name=order.name, command=order.command, read_only=order.read_only, writable=order.writable)
    around = views.Surroundings(state=state.root, core_pid=os.getpid(), manifest=manifest)
    spec = views.server_view(server=server, uid=state.uid(f"{TENANT}/server/{order.name}"), around=around)
    words = LastWords()
    errors = await words.open()
    in_r, in_w = os.pipe()
    out_r, out_w = os.pipe()
    try:
        child = await zygote.spawn(spec, {0: in_r, 1: out_w, 2: errors})
        await zygote.go(child.id)
    except BaseException:
        os.close(in_w)
        os.close(out_r)
        raise
    finally:
        for number in (in_r, out_w, errors):
            os.close(number)
    try:
        return await _ask(in_w, out_r)
    except (RingwallError, TimeoutError) as fault:
        said = words.text.strip()[-400:]
        raise Unavailable(
            f"the server does not say what it offers ({fault or 'no answer'}){': ' if said else ''}{said}",
            code="server_failed", remedy="it runs confined and without network: show it what it needs with "
                                         "--read-only and --writable",
        ) from fault
    finally:
        zygote.signal(child.id, signal.SIGKILL)
        await zygote.wait(child.id)
        os.close(child.pidfd)
        os.close(child.pidns_fd)


async def _ask(stdin: int, stdout: int) -> list[Json]:
    ready = asyncio.Event()
    server = McpServer(stdin=stdin, stdout=stdout, on_ready=ready.set, on_changed=lambda: None, on_over=ready.set)
    running = asyncio.create_task(server.run())
    try:
        async with asyncio.timeout(READY_S):
            await ready.wait()
            return await server.definitions()
    finally:
        server.close()
        await running
