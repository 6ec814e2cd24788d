"""A server of the official SDK over streamable HTTP; it prints its port. ``web.py [json] [stateless]``."""

import asyncio
import socket
import sys

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp_types import SamplingMessage, TextContent
from pydantic import BaseModel

server = MCPServer("web")
calls: list[str] = []


class Answer(BaseModel):
    colour: str


@server.tool()
def add(a: int, b: int) -> dict[str, int]:
    """Add."""
    calls.append("add")
    return {"sum": a + b}


@server.tool()
def count() -> int:
    """How often add was called."""
    return len(calls)


@server.tool()
def fail(text: str) -> str:
    """Fail."""
    raise ValueError(text)


@server.tool()
def headers(context: Context) -> str:
    """Give back what the request was asked with."""
    found = context.request_context.request
    return str(dict(found.headers)) if found is not None else ""


@server.tool()
def trace(context: Context) -> str:
    """Give back the trace of the request."""
    return str((context.request_context.meta or {}).get("traceparent"))


@server.tool()
async def steps(context: Context) -> str:
    """Tell of progress."""
    await context.report_progress(1, 2, "half")
    await context.report_progress(2, 2, "whole")
    return "stepped"


@server.tool()
async def ask(context: Context) -> str:
    """Ask the user."""
    said = await context.elicit("Which colour?", Answer)
    return str(said)


@server.tool()
async def model(context: Context) -> str:
    """Ask a model."""
    said = await context.session.create_message(
        [SamplingMessage(role="user", content=TextContent(type="text", text="hello"))], max_tokens=5
    )
    return str(said.content)


@server.tool()
async def wait() -> str:
    """Hang."""
    await asyncio.sleep(3600)
    return "never"


@server.tool()
def big(size: int) -> str:
    """Give a lot."""
    return "x" * size


@server.resource("note://one")
def note() -> str:
    """A note."""
    return "the note"


@server.prompt()
def greet(name: str) -> str:
    """Greet."""
    return f"Hello {name}"


def main() -> None:
    app = server.streamable_http_app(
        json_response="json" in sys.argv, stateless_http="stateless" in sys.argv, host="127.0.0.1"
    )
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()  # before anybody is told: they may be quicker than the server
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(app, log_level="critical", lifespan="on")
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
