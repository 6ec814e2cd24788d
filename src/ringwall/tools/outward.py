"""Tool servers without a process of their own: web APIs and plain HTTP, asked by the tenant's sidecar.

The core knows their definitions by itself and builds each request; the sidecar sends it as it is.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Final, Protocol, cast
from urllib.parse import quote, unquote_plus

import msgspec

from ringwall.call import Call, Chunk, Json, Last, canonical
from ringwall.errors import BadInput, RingwallError
from ringwall.manifest.types import Manifest, ToolServer
from ringwall.tools.answer import HttpAnswer, HttpRequest
from ringwall.tools.credentials import Credentials, Injected
from ringwall.tools.pending import last
from ringwall.tools.places import DECODINGS, MAX_URL, place
from ringwall.tools.plain_http import PlainHttp
from ringwall.tools.protocol import GRACE_S, REASONS
from ringwall.tools.sidecar_client import SidecarClient
from ringwall.tools.webapi.api import web_api

JSON_TYPE: Final = "application/json"


class Api(Protocol):
    """What a server's operations are, and the request of each call."""

    problems: tuple[str, ...]

    def definitions(self) -> list[Json]:
        """MCP-like definitions."""
        ...

    def request(self, op: str, args: Json) -> HttpRequest:
        """What a call sends. Raises BadInput."""
        ...

    def outcome(self, answer: HttpAnswer) -> tuple[Json, str]:
        """The value of an answer, or its error text. Raises BadInput (``bad_answer``)."""
        ...


class Outward:
    """All ``openapi`` and ``http`` servers of a manifest.

    Args:
        manifest: what they are.
        credentials: what they are asked with.

    """

    def __init__(self, manifest: Manifest, credentials: Credentials) -> None:
        self._credentials = credentials
        self._problems: dict[str, tuple[str, ...]] = {}
        self._apis: dict[str, Api] = {}
        for server in manifest.tools.values():
            if server.openapi is not None or server.http:
                self._open(server, manifest)

    def definitions(self, server: str) -> tuple[list[Json], tuple[str, ...]]:
        """What a server offers, for the catalogue, and why the rest of what was declared is not usable."""
        api = self._apis.get(server)
        return (api.definitions() if api is not None else []), self._problems.get(server, ())

    async def run(self, call: Call, server: ToolServer,
                  sidecar: SidecarClient) -> AsyncGenerator[Chunk | Last, None]:
        """Carry out a call of ``server/operation``: one whole Chunk if there is an answer, then a Last."""
        api = self._apis.get(server.name)
        try:
            if api is None:
                raise BadInput(REASONS["no_such_server"], code="no_such_server")
            request = api.request(call.target.name.partition("/")[2], call.args)
            where = place(request.url)
            path = where.target.partition("?")[0]
            injected = await self._credentials.of(call, server, request.method, path, sidecar, where.host)
            request = with_query(with_pointers(request, injected), injected)
        except RingwallError as fault:
            yield last("failed", fault.code, fault.cause)
            return
        answer, end = await sidecar.run_http(
            server.name, request, injected=injected.headers, withheld=injected.values,
            seconds=server.timeout_s + GRACE_S, call=call.id)
        if answer is None:
            yield end
            return
        if answer.status == 401:
            self._credentials.forget(call, server.name)
        try:
            value, error = api.outcome(answer)
        except BadInput:
            yield Last(end="unknown", error=_error("bad_answer"), usage=end.usage)
            return
        yield Chunk(value=_shaped(call, value, error))
        yield Last(end="failed", error=_error("tool_error"), usage=end.usage) if error else end

    def _open(self, server: ToolServer, manifest: Manifest) -> None:
        secret = manifest.secrets.get(server.secret)
        try:
            if server.http and secret is not None and secret.inject.pointer:
                raise BadInput("its secret goes into a body, but those of plain HTTP are the agent's",
                               code="bad_injection")
            api: Api = PlainHttp(server) if server.http else web_api(manifest, server)
        except BadInput as fault:
            self._problems[server.name] = (f"{server.name}: {fault.cause}",)
            return
        self._apis[server.name] = api
        self._problems[server.name] = api.problems


def with_pointers(request: HttpRequest, injected: Injected) -> HttpRequest:
    """The request with secrets at their places in its JSON body.

    Raises:
        BadInput: ``bad_injection``: there is no such body, or the agent said something at that place.

    """
    if not injected.pointers:
        return request
    kind = request.headers.get("Content-Type", JSON_TYPE).partition(";")[0].strip().lower()
    if request.method in {"GET", "HEAD", "DELETE"} or not (kind == JSON_TYPE or kind.endswith("+json")):
        raise BadInput("this server's secret goes into a JSON body, which this request has not",
                       code="bad_injection", remedy="name the requests that carry it in `paths` of its `inject`")
    body: Json = msgspec.json.decode(request.body or b"{}")
    for pointer, text in injected.pointers.items():
        _put(body, pointer, text)
    headers = {"Content-Type": JSON_TYPE, **request.headers}
    return HttpRequest(method=request.method, url=request.url, headers=headers, body=canonical(body))


def with_query(request: HttpRequest, injected: Injected) -> HttpRequest:
    """The request with secrets as parameters of its URL's query.

    Raises:
        BadInput: ``bad_injection``: the agent named such a parameter itself, or the URL gets too long.

    """
    if not injected.query:
        return request
    path, _, query = request.url.partition("?")
    taken = {_parameter(pair) for pair in query.replace(";", "&").split("&")}
    if any(name.casefold() in taken for name in injected.query):
        raise BadInput("the parameter of this server's secret stands in the URL already", code="bad_injection")
    own = [f"{quote(name, safe='')}={quote(text, safe='')}" for name, text in injected.query.items()]
    url = f"{path}?{'&'.join([*filter(None, [query]), *own])}"
    if len(url) > MAX_URL:
        raise BadInput(f"with this server's secret the URL has more than {MAX_URL} characters",
                       code="bad_injection")
    return HttpRequest(method=request.method, url=url, headers=request.headers, body=request.body)


def _parameter(pair: str) -> str:
    """The name in a pair of a query as the most careless server reads it: ``Key[]`` is ``key``."""
    name = pair.partition("=")[0]
    for _ in range(DECODINGS):
        name = unquote_plus(name)
    return name.partition("[")[0].strip().casefold()


def _put(body: Json, pointer: str, text: str) -> None:
    *parents, name = [part.replace("~1", "/").replace("~0", "~") for part in pointer[1:].split("/")]
    node: Json = body
    for key in parents:
        free = isinstance(node, dict) and (key in node or not _has(cast("dict[str, Json]", node), key))
        node = cast("dict[str, Json]", node).setdefault(key, {}) if free else None
    if not isinstance(node, dict) or _has(cast("dict[str, Json]", node), name):
        raise BadInput("the place of this server's secret is taken, or is inside of what is no object",
                       code="bad_injection")
    cast("dict[str, Json]", node)[name] = text


def _has(node: dict[str, Json], name: str) -> bool:
    """Whether the most careless server finds something there already: many read names in any case."""
    return name.casefold() in map(str.casefold, node)


def _error(code: str) -> dict[str, str]:
    return {"code": code, "reason": REASONS[code]}


def _shaped(call: Call, value: Json, error: str) -> Json:
    """The chunk in the form that the caller asked for."""
    if call.form == "value":
        return {"error": error} if error else value
    text = error or (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    result: dict[str, Json] = {"content": [{"type": "text", "text": text}], "isError": bool(error)}
    if not error and isinstance(value, dict):
        result["structuredContent"] = value
    return {"result": result}
