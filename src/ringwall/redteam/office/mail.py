"""The office's mail server: what it sends lands in an outbox. Run with the folder as argument."""

from __future__ import annotations

import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

from ringwall.redteam.office.journalled import append

server = MCPServer("mail")


@server.tool()
def send(to: str, subject: str, body: str) -> str:
    """Send a mail."""
    append(Path(sys.argv[1]) / "outbox.jsonl", to=to, subject=subject, body=body)
    return f"sent to {to}"


if __name__ == "__main__":
    sys.exit(server.run("stdio"))
