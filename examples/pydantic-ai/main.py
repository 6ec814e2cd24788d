"""A pydantic-ai agent (responses) with its MCP toolset.

usage: main.py MCP_URL PROMPT        (the model: OPENAI_BASE_URL, OPENAI_API_KEY)
"""

import asyncio
import sys

from pydantic_ai import Agent
from pydantic_ai.mcp import MCPToolset

MODEL = "openai:gpt-5"


async def main(url: str, prompt: str) -> None:
    toolset = MCPToolset(url)
    agent = Agent(MODEL, instructions="You are a clerk.", toolsets=[toolset])
    async with agent:
        print("tools:", *sorted(tool.name for tool in await toolset.list_tools()))
        print((await agent.run(prompt)).output)


asyncio.run(main(*sys.argv[1:]))
