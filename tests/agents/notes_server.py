"""An MCP server over stdio for `ringwall wrap`: notes in a folder. Started as an ordinary script."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

FOLDER = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("/tmp")
server = MCPServer("notes")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def read(name: str) -> str:
    """Read a note."""
    return (FOLDER / name).read_text()


@server.tool()
def write(name: str, text: str) -> str:
    """Write a note."""
    (FOLDER / name).write_text(text)
    return "written"


@server.tool(annotations=ToolAnnotations(destructive_hint=True))
def drop(name: str) -> str:
    """Delete a note."""
    (FOLDER / name).unlink()
    return "gone"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def look(path: str) -> str:
    """Show what this server sees of its machine."""
    return ",".join(sorted(os.environ)) if path == "env" else str(Path(path).exists())


if __name__ == "__main__":
    server.run("stdio")
