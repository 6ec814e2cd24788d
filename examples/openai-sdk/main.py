"""A tool-calling loop with the OpenAI Python SDK (chat completions, streamed) and tools from an MCP server.

usage: main.py MCP_URL PROMPT        (the model: OPENAI_BASE_URL, OPENAI_API_KEY)
"""

import asyncio
import json
import sys

from mcp import Client
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionFunctionToolParam

MODEL = "gpt-5"


async def main(url: str, prompt: str) -> None:
    model = AsyncOpenAI()
    async with Client(url) as tools:
        functions: list[ChatCompletionFunctionToolParam] = [
            {"type": "function",
             "function": {"name": tool.name, "description": tool.description or "", "parameters": tool.input_schema,
                          "strict": True}}
            for tool in (await tools.list_tools()).tools
        ]
        print("tools:", *sorted(function["function"]["name"] for function in functions))
        messages: list = [{"role": "user", "content": prompt}]
        while True:
            async with model.chat.completions.stream(model=MODEL, messages=messages, tools=functions) as stream:
                message = (await stream.get_final_completion()).choices[0].message
            messages.append(message)
            if not message.tool_calls:
                print(message.content)
                return
            for call in message.tool_calls:
                result = await tools.call_tool(call.function.name, json.loads(call.function.arguments))
                text = "\n".join(block.text for block in result.content if block.type == "text")
                messages.append({"role": "tool", "tool_call_id": call.id, "content": text})


asyncio.run(main(*sys.argv[1:]))
