"""The tool runner of the Anthropic SDK (messages, streamed) with tools from an MCP server.

usage: main.py MCP_URL PROMPT        (the model: ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY)
"""

import asyncio
import sys

from anthropic import AsyncAnthropic
from anthropic.lib.tools.mcp import async_mcp_tool
from mcp import Client

MODEL = "claude-sonnet-5"


async def main(url: str, prompt: str) -> None:
    model = AsyncAnthropic()
    async with Client(url) as client:
        tools = (await client.list_tools()).tools
        print("tools:", *sorted(tool.name for tool in tools))
        runner = model.beta.messages.tool_runner(
            model=MODEL, max_tokens=1024, stream=True, messages=[{"role": "user", "content": prompt}],
            tools=[async_mcp_tool(tool, client.session) for tool in tools],
        )
        async for stream in runner:
            message = await stream.get_final_message()
        print("\n".join(block.text for block in message.content if block.type == "text"))


asyncio.run(main(*sys.argv[1:]))
