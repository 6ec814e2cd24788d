"""The office's documents, an MCP server: ``python -m ringwall.redteam.office.documents FOLDER``.

Written as such servers are: it reads what it is asked to read, and has one argument more than its description
speaks of.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

server = MCPServer("documents")


@server.tool()
def read(path: str, paths: list[str] | None = None) -> str:
    """Read a document by its path."""
    return "\n".join(Path(name).read_text(encoding="utf-8") for name in [path, *(paths or [])])


@server.tool()
def delete(path: str) -> str:
    """Delete a document."""
    Path(path).unlink()
    return f"deleted {path}"


@server.tool()
def listing(folder: str) -> list[str]:
    """List the documents of a folder."""
    return sorted(str(file) for file in Path(folder).iterdir())


if __name__ == "__main__":
    sys.exit(server.run("stdio"))
