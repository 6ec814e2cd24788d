"""The label of what a tool gives back, from what the operator declared about its fields."""

from __future__ import annotations

from ringwall.call import Json, as_array, as_object
from ringwall.flow.labels import Label, join
from ringwall.manifest.types import Operation, OutputLabel, ToolServer
from ringwall.wire.mcp import methods, results

_UNDECLARED = OutputLabel()  # U private
_OF_A_RESULT = frozenset({"content", "structuredContent", "isError", "resultType"})


def result_label(value: Json, server: ToolServer, operation: Operation) -> Label:
    """The join over a result's fields; what is not declared is untrusted and private.

    A declared field counts wherever it stands: a list of messages carries what one message carries. A tool's error
    may quote any field, so it counts as all of them. Trusted labels count only from a server its operator marked
    as system of record.
    """
    rest = operation.returns.get("*", _UNDECLARED)
    fields = as_object(value)
    if fields is not None and set(fields) == {"error"} and "error" not in operation.returns:
        return _everything(server, operation)
    labels = [operation.returns.get(name, rest) for name in fields] if fields else [rest]
    declared = set(operation.returns) - {"*"}
    labels += [operation.returns[name] for name in (declared and _names(value) & declared)]
    return join(_believed(label, server) for label in labels)


def mcp_label(value: Json, server: ToolServer, operation: Operation, op: str) -> Label:
    """The same for a piece of an answer in MCP's form; ``op`` is the operation's name.

    The result of a tool has the label that its plain value would have. An event, a question and the result of any
    other method count as undeclared. An error counts as all fields, and so does content that says anything else
    than the structured content beside it: only of that did the operator declare something.
    """
    undeclared = _believed(operation.returns.get("*", _UNDECLARED), server)
    piece = as_object(value) or {}
    if set(piece) == {"event"} or set(piece) == {"ask"}:
        return undeclared
    result = as_object(piece.get("result")) if set(piece) == {"result"} else None
    if result is None or result.get("isError") not in (None, False):
        return _everything(server, operation)
    if op in methods.RESERVED:
        return undeclared
    content, structured = as_array(result.get("content", [])), result.get("structuredContent")
    complete = result.get("resultType", results.COMPLETE) == results.COMPLETE
    if content is None or not complete or not set(result) <= _OF_A_RESULT:
        return _everything(server, operation)
    if structured is not None and not results.echoes(content, structured):
        return _everything(server, operation)
    return result_label(results.plain(content, structured), server, operation)


def _everything(server: ToolServer, operation: Operation) -> Label:
    """Whatever any field of it may carry."""
    labels = [operation.returns.get("*", _UNDECLARED), *operation.returns.values()]
    return join(_believed(label, server) for label in labels)


def _names(value: Json) -> set[str]:
    """The names of members at any depth."""
    found: set[str] = set()
    stack: list[Json] = [value]
    while stack:
        item = stack.pop()
        if (fields := as_object(item)) is not None:
            found.update(fields)
            stack += fields.values()
        elif (items := as_array(item)) is not None:
            stack += items
    return found


def _believed(label: OutputLabel, server: ToolServer) -> Label:
    trusted = server.system_of_record or label.integrity == "U"
    return Label(label.integrity if trusted else "U", label.confidentiality)
