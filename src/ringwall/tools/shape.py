"""What the core believes of the chunks of a tool's answer. The sidecar that sends them may be taken over."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final, cast

from ringwall.call import Form, Json, as_object
from ringwall.errors import BadInput
from ringwall.tools.mcp_ops import ANSWERS, method_of

_LAST: Final = frozenset({"result", "fault"})
_ANY: Final = frozenset({"event", "ask"}) | _LAST
_NEEDS: Final = {method_of(op): asked for op, asked in ANSWERS.items()}  # what a question's method needs


class Shape:
    """The chunks of one answer.

    In the form of MCP: any number of ``{"event": {…}}`` and ``{"ask": {…}}``, then one ``{"result": {…}}`` or
    ``{"fault": {…}}``. A plain value has no form of its own.

    Args:
        form: the one that was asked for.
        asks: what the manifest lets this server ask back: a question that looks like ours to whoever reads it, in
            a client's own window, is more than a text.

    """

    def __init__(self, form: Form, asks: Collection[str] = ()) -> None:
        self._form = form
        self._asks = frozenset(asks)
        self.complete = form == "value"
        """Whether there need be no more."""

    def check(self, value: Json) -> Json:
        """One chunk. Raises BadInput (``bad_answer``; ``tool_input_required``: it asks what it may not)."""
        if self._form == "value":
            return value
        found = list(cast("dict[str, Json]", value).items()) if isinstance(cast("object", value), dict) else []
        if self.complete or len(found) != 1 or found[0][0] not in _ANY or not isinstance(found[0][1], dict):
            raise BadInput("a tool's answer does not have the form it must have", code="bad_answer")
        kind, fields = found[0]
        if any(_NEEDS.get(str(method)) not in self._asks for method in _asked(kind, fields)):
            raise BadInput("a tool asks what it may not ask", code="tool_input_required")
        self.complete = kind in _LAST
        return value


def _asked(kind: str, fields: Json) -> Iterator[Json]:
    """The methods of the questions in a chunk: of a session, and of 2026-07-28."""
    if kind == "ask":
        yield fields.get("method")
    elif kind == "result" and fields.get("resultType") == "input_required":
        for one in (as_object(fields.get("inputRequests")) or {}).values():
            yield (as_object(one) or {}).get("method")
