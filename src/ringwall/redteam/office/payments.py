"""The office's bank: what it pays lands in a ledger. Run with the folder as argument."""

from __future__ import annotations

import sys
from pathlib import Path

from mcp.server.mcpserver import MCPServer

from ringwall.redteam.office.journalled import append

server = MCPServer("payments")


@server.tool()
def pay(to: str, amount: float, subject: str) -> str:
    """Pay an amount in EUR to an IBAN."""
    append(Path(sys.argv[1]) / "ledger.jsonl", to=to, amount=amount, subject=subject)
    return f"paid {amount} to {to}"


if __name__ == "__main__":
    sys.exit(server.run("stdio"))
