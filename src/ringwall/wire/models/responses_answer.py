"""A response put together: the canonical answer, and how it and its pieces name the same things.

Every text is a message item of its own, and all summaries of one thought are one.
"""

from __future__ import annotations

from typing import Final

from ringwall.call import Json
from ringwall.wire.models.checks import bad_answer
from ringwall.wire.models.collecting import Collector
from ringwall.wire.models.pieces import Assembled, Finish, Opened, Part
from ringwall.wire.models.pieces import Counted as Tokens
from ringwall.wire.models.responses_types import ContentAnswer, Counted, ItemAnswer, ResponseAnswer

SEPARATOR: Final = "\n\n"  # between the parts of a summary


def usage_of(counted: Counted | None) -> Json:
    """What a closing piece says of what the upstream counted."""
    if counted is None:
        return None
    cached = counted.input_tokens_details.cached_tokens if counted.input_tokens_details else None
    reasoning = counted.output_tokens_details.reasoning_tokens if counted.output_tokens_details else None
    return {"tokens_in": counted.input_tokens, "tokens_out": counted.output_tokens, "cached": cached or 0,
            "reasoning": reasoning or 0, "estimated": counted.estimated}


def told_usage(tokens: Tokens | None) -> Json:
    """The ``usage`` member of an answer: the SDKs count on its details."""
    if tokens is None:
        return None
    return {"input_tokens": tokens.tokens_in,
            "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
            "output_tokens": tokens.tokens_out,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": tokens.tokens_in + tokens.tokens_out,
            **({"estimated": True} if tokens.estimated else {})}


def close_of(made: Collector, answer: ResponseAnswer) -> Json:
    """The closing piece. Raises BadInput (``bad_answer``) if the answer failed or is not finished."""
    finish: Finish = "tool_calls" if any(item.type == "function_call" for item in answer.output) else "stop"
    if answer.status == "incomplete":
        reason = answer.incomplete_details.reason if answer.incomplete_details is not None else None
        finish = "content_filter" if reason == "content_filter" else "length"
    elif answer.status not in ("completed", None):
        raise bad_answer(f"the upstream's answer is {answer.status}")
    return made.close(finish, usage_of(answer.usage))


def item_pieces(made: Collector, searches: bool, index: int, item: ItemAnswer) -> list[Json]:
    """The pieces of a whole item. Raises BadInput."""
    pieces: list[Json] = []
    match item.type:
        case "message":
            for place, part in enumerate(item.content or ()):
                pieces += part_pieces(made, (index, place), part)
        case "reasoning":
            pieces += thought_begin(made, index, item)
            pieces += made.text("thinking", (index,), thought_of(item))
            pieces += thought_end(made, index, item)
        case "function_call":
            pieces += made.call(item.call_id, item.name, item.arguments)
        case _:
            check_searched(searches, item)
    return pieces


def part_pieces(made: Collector, key: object, part: ContentAnswer) -> list[Json]:
    """The pieces of a part of a message. Raises BadInput."""
    match part.type:
        case "output_text":
            return made.text("text", key, part.text)
        case "refusal":
            return made.text("refusal", key, part.refusal)
        case _:
            raise bad_answer(f"a part of the upstream's answer is not known: {part.type}")


def thought_of(item: ItemAnswer) -> str:
    """The text of a thought: its summary, or what models with open reasoning wrote."""
    return SEPARATOR.join(part.text for part in item.summary or item.content or ())


def thought_begin(made: Collector, index: int, item: ItemAnswer) -> list[Json]:
    """What is known of a thought before its text: its name, under which an agent gives it back."""
    return made.opaque((index,), {"id": item.id}) if item.id else []


def thought_end(made: Collector, index: int, item: ItemAnswer) -> list[Json]:
    """What follows a thought's text, if an agent can give it back."""
    return made.opaque((index,), {"encrypted_content": item.encrypted_content}) if item.encrypted_content else []


def check_searched(searches: bool, item: ItemAnswer) -> None:
    """Raises BadInput if the provider ran something that the request did not ask for."""
    if not searches or item.type != "web_search_call":
        raise bad_answer(f"the upstream's answer has an item that was not asked for: {item.type}")


def name_of(part: Part) -> str:
    """The id of an item: an answer's texts are nowhere in it."""
    if part.call is not None:
        return f"fc_{part.number}"
    if part.kind in ("thinking", "opaque"):
        return part.opaque.get("id", f"rs_{part.number}")
    return f"msg_{part.number}"


def item_of(part: Part, status: str = "completed") -> Json:
    """An item of an answer."""
    if part.call is not None:
        return {"type": "function_call", "id": name_of(part), "call_id": part.call.id, "name": part.call.name,
                "arguments": part.call.arguments, "status": status}
    if part.kind in ("thinking", "opaque"):
        encrypted = part.opaque.get("encrypted_content")
        return {"type": "reasoning", "id": name_of(part),
                "summary": [{"type": "summary_text", "text": part.text}] if part.texts else [],
                "encrypted_content": encrypted}
    return {"type": "message", "id": name_of(part), "role": "assistant", "status": status,
            "content": [content_of(part.kind, part.text)]}


def content_of(kind: str, text: str) -> Json:
    """The one part of a message item."""
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def answer_of(answer: Assembled, opened: Opened, request: Json) -> Json:
    """The canonical response. What the request said itself is not told again, but for what SDKs must find."""
    finished = answer.finished
    status, details = "in_progress", None
    if finished is not None:
        cut = {"length": "max_output_tokens", "context": "max_output_tokens", "content_filter": "content_filter",
               "refusal": "content_filter"}.get(finished.finish)
        status, details = ("incomplete", {"reason": cut}) if cut else ("completed", None)
    return {"id": opened.id, "object": "response", "created_at": opened.created, "status": status, "error": None,
            "incomplete_details": details, "instructions": None, "metadata": {}, "model": opened.model,
            "output": [item_of(part) for part in answer.parts] if finished is not None else [],
            "parallel_tool_calls": request.get("parallel_tool_calls", True),
            "temperature": request.get("temperature"), "tool_choice": request.get("tool_choice", "auto"),
            "tools": [], "top_p": request.get("top_p"), "store": False,
            "usage": told_usage(finished.usage) if finished is not None else None}
