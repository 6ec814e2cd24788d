"""A web API of the manifest as a tool server: definitions for the catalogue, requests for its calls."""

from __future__ import annotations

from collections.abc import Mapping

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.manifest.types import Injection, Manifest, ToolServer
from ringwall.tools.answer import HttpAnswer, HttpRequest, readable
from ringwall.tools.protocol import MAX_DEPTH, MAX_RESULT, MAX_VALUES
from ringwall.tools.values import MAX_ERROR_TEXT
from ringwall.tools.webapi.document import load
from ringwall.tools.webapi.operation import Parameter, WebOperation, problem, read
from ringwall.tools.webapi.request import build
from ringwall.wire.strict import parse


def web_api(manifest: Manifest, server: ToolServer) -> WebApi:
    """The API of a server of this manifest. Raises as WebApi does."""
    secret = manifest.secrets.get(server.secret)
    return WebApi(server, secret.inject if secret is not None else None)


class WebApi:
    """The declared operations of one server, read once.

    Args:
        server: with ``openapi`` and ``url``.
        inject: where Ringwall puts a credential of its own, which is no argument then; None: it has none.

    Raises:
        BadInput: the description cannot be read at all.

    """

    def __init__(self, server: ToolServer, inject: Injection | None = None) -> None:
        if server.openapi is None:
            raise BadInput(f"tool server {server.name} has no OpenAPI description", code="bad_openapi")
        document = load(server.openapi)
        header = "Authorization" if server.oauth else inject.header if inject else ""
        pointer = inject.pointer if inject and not server.oauth else ""
        query = inject.query if inject and not server.oauth else ""
        self._url = server.url
        self._operations: dict[str, WebOperation] = {}
        problems: list[str] = []
        for name, operation in server.ops.items():
            try:
                found = document.find(operation.operation or name)
                self._operations[name] = read(document, found, pointer=pointer, query=query,
                                              hidden=frozenset({header.lower()} - {""}))
            except BadInput as fault:
                problems.append(f"{server.name}/{name}: {problem(fault)}")
        self.problems: tuple[str, ...] = tuple(problems)
        """One text for each declared operation that cannot be used."""

    @property
    def operations(self) -> Mapping[str, WebOperation]:
        """Those that can, by the manifest's names."""
        return self._operations

    def definitions(self) -> list[Json]:
        """MCP-like definitions. Their annotations say what is sent, so that a pin covers it."""
        return [{"name": name, "description": one.description, "inputSchema": one.inputs,
                 "annotations": {"request": _shown(one, self._url)}}
                for name, one in self._operations.items()]

    def request(self, op: str, args: Json) -> HttpRequest:
        """What a call sends. Raises BadInput (``no_such_operation``, ``bad_arguments``)."""
        operation = self._operations.get(op)
        if operation is None:
            raise BadInput("the web API has no such operation", code="no_such_operation")
        return build(operation, self._url, args)

    def outcome(self, answer: HttpAnswer) -> tuple[Json, str]:
        """The value of an answer: its JSON, else status and text; or, of anything but 2xx, an error's text.

        Raises:
            BadInput: what is said to be JSON is none that we read.

        """
        if not 200 <= answer.status < 300:
            shown = answer.body[: 4 * MAX_ERROR_TEXT].decode(errors="replace")
            place = f" to {answer.headers['location']}" if "location" in answer.headers else ""
            return None, f"HTTP status {answer.status}{place}: {shown}"[:MAX_ERROR_TEXT]
        if answer.body and (answer.kind == "application/json" or answer.kind.endswith("+json")):
            return parse(answer.body, max_bytes=MAX_RESULT, max_depth=MAX_DEPTH, max_nodes=MAX_VALUES), ""
        return {"status": answer.status, **readable(answer.body)}, ""


def _shown(operation: WebOperation, url: str) -> Json:
    body = operation.body
    return {"method": operation.method, "url": url, "path": operation.path,
            "parameters": {one.name: _spelling(one) for one in operation.parameters},
            **({"body": {"type": body.kind, "fields": list(body.fields)}} if body is not None else {})}


def _spelling(one: Parameter) -> str:
    return f"{one.where} {one.style}{' explode' if one.explode else ''}"
