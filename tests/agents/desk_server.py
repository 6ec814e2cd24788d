"""A tool server as the SDK's documentation writes them."""

from attempts import attempt as _attempt
from mcp.server.mcpserver import MCPServer

server = MCPServer("desk")


@server.tool()
def attempt(what: str, where: str) -> str:
    """Try to get out."""
    return _attempt(what, where)


@server.tool()
def add(a: int, b: int) -> dict[str, int]:
    """Add two numbers."""
    return {"sum": a + b}


if __name__ == "__main__":
    server.run("stdio")
