"""Plain HTTP as a tool: one operation a method, below the prefixes that the operator wrote.

Whatever a server answers is a result, redirects and errors too: where one leads is the agent's next call to ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, cast

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.manifest.types import ToolServer
from ringwall.tools.answer import HttpAnswer, HttpRequest, Method, readable
from ringwall.tools.places import below

MAX_URL: Final = 8192  # characters, as for resources of the kind url
MAX_BODY: Final = 1 << 20  # characters; a request of an agent has at most 1 MiB in all
TYPES: Final = ("application/json", "text/plain", "application/x-www-form-urlencoded")
_METHODS: Final[Mapping[str, Method]] = MappingProxyType({
    "get": "GET", "head": "HEAD", "post": "POST", "put": "PUT", "patch": "PATCH", "delete": "DELETE"})
_WITH_BODY: Final = frozenset({"post", "put", "patch"})
_WHAT: Final = MappingProxyType({
    "get": "Fetch a URL.", "head": "Ask for the status and headers of a URL.", "post": "Send a body to a URL.",
    "put": "Store a body at a URL.", "patch": "Change what is at a URL.", "delete": "Delete what is at a URL."})


class PlainHttp:
    """An ``http`` server of the manifest.

    Args:
        server: with its prefixes.

    """

    def __init__(self, server: ToolServer) -> None:
        self._prefixes = server.http
        self._ops = tuple(name for name in server.ops if name in _METHODS)
        self.problems: tuple[str, ...] = ()
        """There are none: the definitions are ours."""

    def definitions(self) -> list[Json]:
        """The declared methods."""
        return [{"name": name, "description": _WHAT[name], "inputSchema": _inputs(name),
                 "annotations": {"request": {"method": _METHODS[name], "below": list(self._prefixes)}}}
                for name in self._ops]

    def request(self, op: str, args: Json) -> HttpRequest:
        """What a call sends. Raises BadInput (``no_such_operation``, ``host_refused``)."""
        if op not in self._ops:
            raise BadInput("there is no such method", code="no_such_operation")
        given = cast("dict[str, Json]", args)
        url = str(given["url"])
        if not below(url, self._prefixes):
            raise BadInput("this server may not be asked under that URL; nothing was sent", code="host_refused",
                           remedy="what is allowed stands in `http` of the tool server in ringwall.toml")
        if op not in _WITH_BODY:
            return HttpRequest(method=_METHODS[op], url=url)
        body = str(given.get("body", "")).encode()
        kind = str(given.get("content_type", TYPES[0]))
        return HttpRequest(method=_METHODS[op], url=url, headers={"Content-Type": kind}, body=body)

    def outcome(self, answer: HttpAnswer) -> tuple[Json, str]:
        """The value of an answer; the error text is always empty."""
        place = {"location": answer.headers["location"]} if "location" in answer.headers else {}
        found: dict[str, Json] = {"status": answer.status, "type": answer.headers.get("content-type", ""), **place}
        return found | readable(answer.body), ""


def _inputs(op: str) -> Json:
    properties: dict[str, Json] = {
        "url": {"type": "string", "minLength": 1, "maxLength": MAX_URL, "description": "An http or https URL."}}
    if op in _WITH_BODY:
        properties["body"] = {"type": "string", "maxLength": MAX_BODY}
        properties["content_type"] = {"type": "string", "enum": list(TYPES), "default": TYPES[0]}
    return {"type": "object", "properties": properties, "required": ["url"], "additionalProperties": False}
