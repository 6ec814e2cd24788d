"""What stands in a message as a door hands it on: a request in either binding, for a card, a push, the SDK's."""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence
from typing import Final

from ringwall.call import Approval, Json, as_object
from ringwall.capability.conversation import PUSH
from ringwall.capability.reading import an_object, approval_of, bad, only, plain
from ringwall.capability.resources import canonical
from ringwall.errors import BadInput
from ringwall.manifest.types import Skill
from ringwall.wire import a2a, strict

MAX_MESSAGE: Final = 12 << 20  # bytes: the wire's own 8 MiB as Base64, and what stands around it
SKILL: Final = "urn:ringwall:skill"
"""The key of a message's metadata that names the skill it is for."""


def body_of(body: dict[str, Json]) -> bytes:
    """The bytes as they came over the wire. Raises BadInput."""
    text = body.get("body")
    try:
        return base64.b64decode(text, validate=True) if isinstance(text, str) else b""
    except (binascii.Error, ValueError):
        raise bad("'body' must be Base64") from None


def sent(body: dict[str, Json]) -> tuple[a2a.Request, Approval | None]:
    """What an agent sends, and the approval it claims. Raises BadInput."""
    wire = body.get("wire")
    if wire not in {"rpc", "rest", "card", "push", "sdk"}:
        raise bad("'wire' must be rpc, rest, card, push or sdk")
    if wire == "push":
        event = a2a.check_event(strict.parse(body_of(body), max_bytes=MAX_MESSAGE))
        params = a2a.check_params(PUSH, {"push": body.get("push"), "event": event})
        return a2a.Request(method=PUSH, params=params), approval_of(body)
    if wire != "sdk":
        return parsed(body, inward=False), approval_of(body)
    given = an_object(strict.parse(body_of(body), max_bytes=MAX_MESSAGE), "the message")
    if "approval" in body and "approval" in given:
        raise bad("the approval is named twice")
    return _simple(given), approval_of(given if "approval" in given else body)


def parsed(body: dict[str, Json], *, inward: bool) -> a2a.Request:
    """A request in one of the bindings, or for a card; ``inward``: a peer's. Raises BadInput."""
    if body.get("wire") == "card":
        return a2a.Request(method="GetAgentCard", params=a2a.check_params("GetAgentCard", {}))
    if body.get("wire") == "rpc":
        found = a2a.parse_rpc(body_of(body), extra=inward)
        if found.method == "GetAgentCard":
            raise bad("a card is fetched from its own place", code="a2a_unknown_method")
        return found
    http = an_object(body.get("http"), "'http'")
    only(http, {"method", "path", "query"})
    method, path, query = (http.get(key) for key in ("method", "path", "query"))
    if not isinstance(method, str) or not isinstance(path, str) or not isinstance(query, str):
        raise bad("'http' must have method, path and query")
    return a2a.parse_rest(method, path, query, body_of(body))


def _simple(given: dict[str, Json]) -> a2a.Request:
    """``ringwall.send_message`` as A2A has it."""
    only(given, {"skill", "parts", "task_id", "context_id", "message_id", "configuration", "approval"})
    skill = plain(given.get("skill"), "'skill'")
    message: dict[str, Json] = {
        "messageId": given.get("message_id", secrets.token_hex(16)), "role": "ROLE_USER",
        "parts": given.get("parts"), "metadata": {SKILL: skill}}
    for key, name in (("task_id", "taskId"), ("context_id", "contextId")):
        if key in given:
            message[name] = given[key]
    params: dict[str, Json] = {"message": message}
    if "configuration" in given:
        params["configuration"] = given["configuration"]
    return a2a.Request(method="SendMessage", params=a2a.check_params("SendMessage", params))


def named_skill(metadata: dict[str, Json], params: dict[str, Json]) -> str:
    """The skill that a message names, or its request; empty: neither does."""
    named = [one[SKILL] for one in (metadata, as_object(params.get("metadata")) or {}) if SKILL in one]
    if len(named) == 2 and named[0] != named[1]:
        raise bad("the message and its request name different skills", code="skill_unknown")
    return plain(named[0], "the skill of a message") if named else ""


def part_of(index: int, part: Json) -> Json:
    """A part with the one spelling of its URL."""
    if "url" not in part:
        return part
    try:
        return {**part, "url": canonical("url", part["url"]).id}
    except BadInput as error:
        raise bad(f"argument 'parts/{index}/url': {error.cause}", code=error.code, remedy=error.remedy) from None


def modes(wanted: Sequence[str], declared: Skill | None) -> list[str]:
    """Of the modes a client could take, those the skill declares; none: as asked, for the rings to refuse."""
    return [one for one in wanted if declared is not None and one in declared.output] or list(wanted)
