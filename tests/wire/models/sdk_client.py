"""Ordinary programs with the real SDKs, run in an environment of their own: see test_sdk.py.

Each scenario asks, is asked to call a tool, gives its result and prints what it was told at the end.
"""
# pyright: basic

from __future__ import annotations

import asyncio
import json
import sys

RESULT = "sunny"
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}


def chat_create() -> str:
    from openai import OpenAI

    client, messages = OpenAI(max_retries=0), [{"role": "user", "content": "Weather in Bonn?"}]
    for _ in range(2):
        answer = client.chat.completions.create(
            model="main", messages=messages, tools=[FUNCTION], tool_choice="auto"
        )
        message = answer.choices[0].message
        messages.append(message)
        for called in message.tool_calls or ():
            assert json.loads(called.function.arguments) == {"city": "Bonn"}
            messages.append({"role": "tool", "tool_call_id": called.id, "content": RESULT})
    assert answer.usage.total_tokens == 18
    return message.content


def chat_stream() -> str:
    from openai import OpenAI

    client, messages, kinds = OpenAI(max_retries=0), [{"role": "user", "content": "Weather in Bonn?"}], set()
    for _ in range(2):
        with client.chat.completions.stream(
            model="main",
            messages=messages,
            tools=[{**FUNCTION, "function": {**FUNCTION["function"], "strict": True}}],
            stream_options={"include_usage": True},
        ) as stream:
            kinds |= {event.type for event in stream}
            answer = stream.get_final_completion()
        message = answer.choices[0].message
        messages.append(message.to_dict(exclude_unset=False))
        for called in message.tool_calls or ():
            assert called.function.parsed_arguments == {"city": "Bonn"}
            messages.append({"role": "tool", "tool_call_id": called.id, "content": RESULT})
    assert answer.usage.total_tokens == 18
    assert {"content.delta", "content.done", "tool_calls.function.arguments.done"} <= kinds, kinds
    return message.content


def responses_create() -> str:
    from openai import OpenAI

    client, items = OpenAI(max_retries=0), [{"role": "user", "content": "Weather in Bonn?"}]
    for _ in range(2):
        answer = client.responses.create(
            model="main",
            input=items,
            include=["reasoning.encrypted_content"],
            tools=[{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}],
        )
        items += answer.output
        items += [
            {"type": "function_call_output", "call_id": item.call_id, "output": RESULT}
            for item in answer.output
            if item.type == "function_call"
        ]
    assert answer.usage.output_tokens_details.reasoning_tokens == 0
    return answer.output_text


def responses_stream() -> str:
    from openai import OpenAI

    client, items, kinds = OpenAI(max_retries=0), [{"role": "user", "content": "Weather in Bonn?"}], []
    for _ in range(2):
        with client.responses.stream(
            model="main",
            input=items,
            tools=[{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}],
        ) as stream:
            kinds += [event.type for event in stream]
            answer = stream.get_final_response()
        items += [item.to_dict() for item in answer.output]
        items += [
            {"type": "function_call_output", "call_id": item.call_id, "output": RESULT}
            for item in answer.output
            if item.type == "function_call"
        ]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds
    assert {
        "response.output_text.delta",
        "response.function_call_arguments.done",
        "response.reasoning_summary_text.delta",
    } <= set(kinds), kinds
    return answer.output_text


def agents(api: str, *, stream: bool) -> str:
    from agents import Agent, Runner, function_tool, set_default_openai_api

    set_default_openai_api(api)

    @function_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        assert city == "Bonn"
        return RESULT

    agent = Agent(name="forecaster", instructions="Be brief.", model="main", tools=[weather])
    if not stream:
        return Runner.run_sync(agent, "Weather in Bonn?").final_output

    async def run() -> str:
        result = Runner.run_streamed(agent, "Weather in Bonn?")
        async for _ in result.stream_events():
            pass
        return result.final_output

    return asyncio.run(run())


def messages_create() -> str:
    from anthropic import Anthropic

    client, messages = Anthropic(max_retries=0), [{"role": "user", "content": "Weather in Bonn?"}]
    for _ in range(2):
        answer = client.messages.create(
            model="main",
            max_tokens=100,
            messages=messages,
            metadata={"user_id": "u"},
            tool_choice={"type": "auto"},
            system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            thinking={"type": "enabled", "budget_tokens": 1024},
            tools=[{"name": "weather", "input_schema": SCHEMA}],
        )
        messages.append({"role": "assistant", "content": answer.content})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": RESULT}
            for block in answer.content
            if block.type == "tool_use"
        ]
        if results:
            messages.append({"role": "user", "content": results})
    assert answer.usage.output_tokens == 7
    return answer.content[-1].text


def messages_stream() -> str:
    from anthropic import Anthropic

    client, messages, kinds = Anthropic(max_retries=0), [{"role": "user", "content": "Weather in Bonn?"}], []
    for _ in range(2):
        with client.messages.stream(
            model="main", max_tokens=100, messages=messages, tools=[{"name": "weather", "input_schema": SCHEMA}]
        ) as stream:
            kinds += [event.type for event in stream]
            answer = stream.get_final_message()
        messages.append({"role": "assistant", "content": answer.content})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": RESULT}
            for block in answer.content
            if block.type == "tool_use"
        ]
        if results:
            assert next(b.input for b in answer.content if b.type == "tool_use") == {"city": "Bonn"}
            assert answer.stop_reason == "tool_use" and answer.content[0].signature == "c2ln"
            messages.append({"role": "user", "content": results})
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop", kinds
    assert answer.usage.input_tokens == 11 and answer.usage.output_tokens == 7
    return answer.content[-1].text


def messages_runner() -> str:
    """The runner begins with a thread, which the provider would keep."""
    from anthropic import Anthropic, beta_tool

    @beta_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        assert city == "Bonn"
        return RESULT

    runner = Anthropic(max_retries=0).beta.messages.tool_runner(
        model="main", max_tokens=100, tools=[weather], messages=[{"role": "user", "content": "Weather in Bonn?"}]
    )
    return list(runner)[-1].content[-1].text


def stored() -> str:
    """Refusals are the SDK's own errors."""
    import openai

    try:
        openai.OpenAI(max_retries=0).responses.create(model="main", input="x", store=True)
    except openai.BadRequestError as fault:
        assert fault.code == "bad_request", fault.code
        return fault.message
    return "nothing was refused"


SCENARIOS = {
    "chat_create": chat_create,
    "chat_stream": chat_stream,
    "responses_create": responses_create,
    "responses_stream": responses_stream,
    "messages_create": messages_create,
    "messages_stream": messages_stream,
    "messages_runner": messages_runner,
    "stored": stored,
    "agents_responses": lambda: agents("responses", stream=False),
    "agents_responses_stream": lambda: agents("responses", stream=True),
    "agents_chat": lambda: agents("chat_completions", stream=False),
    "agents_chat_stream": lambda: agents("chat_completions", stream=True),
}

if __name__ == "__main__":
    sys.stdout.write(json.dumps({name: SCENARIOS[name]() for name in sys.argv[1:]}))
