"""A script without any model, with the MCP SDK's client: read a document and mail it on.

usage: main.py MCP_URL DOCUMENT [ADDRESS]        (without ADDRESS: to whom the document says, if it does)
"""

import asyncio
import re
import sys

from mcp import Client


async def main(url: str, document: str, address: str = "") -> None:
    async with Client(url) as tools:
        print("tools:", *sorted(tool.name for tool in (await tools.list_tools()).tools))
        found = await tools.call_tool("docs__read", {"name": document})
        text = "\n".join(block.text for block in found.content if block.type == "text")
        print(text)
        if named := address or "".join(re.findall("Reply to: (.*)", text)):
            sent = await tools.call_tool("mail__send", {"to": named, "subject": document, "body": text})
            print("\n".join(block.text for block in sent.content if block.type == "text"))


asyncio.run(main(*sys.argv[1:]))
