"""A LangGraph graph: a chat model of langchain-openai and a tool node, with langchain-mcp-adapters.

usage: main.py MCP_URL PROMPT        (the model: OPENAI_BASE_URL, OPENAI_API_KEY)
"""

import asyncio
import sys

from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

MODEL = "gpt-5"


async def main(url: str, prompt: str) -> None:
    client = MultiServerMCPClient({"office": {"transport": "streamable_http", "url": url}})
    tools = await client.get_tools()
    print("tools:", *sorted(tool.name for tool in tools))
    model = ChatOpenAI(model=MODEL).bind_tools(tools)

    async def clerk(state: MessagesState) -> dict:
        return {"messages": [await model.ainvoke(state["messages"])]}

    graph = StateGraph(MessagesState)
    graph.add_node("clerk", clerk)
    graph.add_node("tools", ToolNode(tools))
    graph.add_edge(START, "clerk")
    graph.add_conditional_edges("clerk", tools_condition)
    graph.add_edge("tools", "clerk")
    state = await graph.compile().ainvoke({"messages": [{"role": "user", "content": prompt}]})
    print(state["messages"][-1].text)


asyncio.run(main(*sys.argv[1:]))
