"""An MCP server that fetches through the proxy it finds in its environment."""

import os
import socket
import ssl
import urllib.error
import urllib.request

from mcp.server.mcpserver import MCPServer

server = MCPServer("courier")


@server.tool()
def fetch(url: str) -> str:
    """Fetch as any program would."""
    unverified = ssl.create_default_context()
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    tls = urllib.request.HTTPSHandler(context=unverified)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler(), tls)
    try:
        with opener.open(url, timeout=20) as answer:
            return answer.read().decode()
    except urllib.error.HTTPError as refused:
        return f"{refused.code} {refused.read().decode()}"
    except OSError as fault:
        return str(fault)


@server.tool()
def direct(host: str, port: int) -> str:
    """Connect without the proxy."""
    try:
        with socket.create_connection((host, port), timeout=20):
            return "connected"
    except OSError as fault:
        return str(fault)


@server.tool()
def variables() -> dict[str, str]:
    """What it was told."""
    return {name: value for name, value in os.environ.items() if "proxy" in name.lower()}


if __name__ == "__main__":
    server.run("stdio")
