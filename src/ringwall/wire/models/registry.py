"""Which wire speaks which interface of a provider."""

from __future__ import annotations

from ringwall.wire.models.chat import ChatWire
from ringwall.wire.models.interface import Api, ModelWire
from ringwall.wire.models.messages import MessagesWire
from ringwall.wire.models.responses import ResponsesWire


def wire(api: Api) -> ModelWire:
    """The wire of an interface: ``chat`` (OpenAI chat completions), ``responses`` (OpenAI responses), ``messages``
    (Anthropic messages)."""
    match api:
        case "chat":
            return ChatWire()
        case "responses":
            return ResponsesWire()
        case "messages":
            return MessagesWire()
