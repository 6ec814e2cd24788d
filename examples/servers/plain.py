"""The same two servers without any wall, at http://127.0.0.1:PORT/mcp: `python servers/plain.py PORT`."""

import sys

import docs
import mail
from mcp.server.mcpserver import MCPServer

server = MCPServer("office")
server.tool(name="docs__read")(docs.read)
server.tool(name="mail__send")(mail.send)

if __name__ == "__main__":
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
