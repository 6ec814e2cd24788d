"""An agent of the OpenAI Agents SDK (responses, streamed) with its own MCP integration.

usage: main.py MCP_URL PROMPT        (the model: OPENAI_BASE_URL, OPENAI_API_KEY)
"""

import asyncio
import sys

from agents import Agent, Runner
from agents.mcp import MCPServerStreamableHttp

MODEL = "gpt-5"


async def main(url: str, prompt: str) -> None:
    async with MCPServerStreamableHttp(params={"url": url}, cache_tools_list=True) as server:
        print("tools:", *sorted(tool.name for tool in await server.list_tools()))
        agent = Agent(name="clerk", instructions="You are a clerk.", model=MODEL, mcp_servers=[server])
        result = Runner.run_streamed(agent, prompt)
        async for _ in result.stream_events():
            pass
        print(result.final_output)


asyncio.run(main(*sys.argv[1:]))
