"""The tool of benchmarks/gateway.py; ``gateway_tool.py PORT`` serves it over streamable HTTP, with the SDK."""

from __future__ import annotations

import sys


def echo(text: str) -> str:
    """Return the text."""
    return text


if __name__ == "__main__":
    from mcp.server.mcpserver import MCPServer

    server = MCPServer("bench", log_level="WARNING")
    server.tool(structured_output=False)(echo)  # the text goes back once, not twice
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
