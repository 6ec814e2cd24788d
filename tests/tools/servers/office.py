"""A tool server as the SDK's documentation writes them, plus ways to misbehave."""

import asyncio
import os
import sys
import time

from mcp.server.mcpserver import MCPServer

server = MCPServer("office")


@server.tool()
def read(path: str) -> str:
    """Read a document."""
    return f"contents of {path}"


@server.tool()
def add(a: int, b: int) -> dict[str, int]:
    """Add two numbers."""
    return {"sum": a + b}


@server.tool()
def fail(text: str) -> str:
    """Fail with a text."""
    from mcp.server.mcpserver.exceptions import ToolError

    raise ToolError(text)


@server.tool()
def pid() -> int:
    """The server's process number."""
    return os.getpid()


@server.tool()
async def wait(gate: str) -> str:
    """Wait until the test opens the gate, a Unix socket; say so there, also when cancelled."""
    reader, writer = await asyncio.open_unix_connection(gate)
    writer.write(b"waiting\n")
    try:
        await reader.read(1)
    except asyncio.CancelledError:
        writer.write(b"cancelled\n")
        raise
    finally:
        writer.close()
    return "waited"


@server.tool()
async def hang(gate: str) -> str:
    """Stop answering anything at all, a ping included."""
    _, writer = await asyncio.open_unix_connection(gate)
    writer.write(b"hanging\n")
    await writer.drain()
    time.sleep(3600)  # noqa: ASYNC251 (blocking the loop is the point)
    return ""


@server.tool()
def big(size: int) -> str:
    """A large text."""
    return "x" * size


if __name__ == "__main__":
    server.run("stdio")
    sys.exit(0)
