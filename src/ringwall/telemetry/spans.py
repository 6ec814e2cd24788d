"""A finished call as a span: who, what kind, which end, which record. Never what was said.

No argument, result, prompt, completion, reason or resource is in it, and no name that the manifest does not have.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from ringwall.call import Call, Operator, Peer, Usage, subject_name
from ringwall.telemetry import names
from ringwall.telemetry.codes import closed
from ringwall.telemetry.known import Known
from ringwall.telemetry.protocol import Span, Value
from ringwall.telemetry.trace import Context, parse, spelled

Decision = Literal["allow", "deny", "ask"]
KEY_BYTES: Final = 32
_NANO: Final = 1_000_000_000
_FINE: Final = frozenset({"done", "held", "cancelled"})  # a question and a caller who left are no errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of one call. ``record``: its audit record; ``ring``: which one refused."""

    decision: Decision
    end: str
    record: str
    ring: str = ""
    code: str = ""
    usage: Usage = Usage()  # noqa: RUF009 (frozen)


class Tracer:
    """Makes spans. Used from one thread.

    A trace of Ringwall's own begins where a call comes in, and the caller's is *linked*: the specification's way
    across a boundary of trust. All calls of one trace of a caller's are in one of ours, named by a keyed hash of
    his, so that what goes on to a tool server says nothing that he chose: 24 bytes that no ring judges would be a
    way out. Whether a span is taken is never his to say either.

    Args:
        known: the names that may be told.
        revision: of the policy in force.

    """

    def __init__(self, known: Known, revision: Callable[[], str]) -> None:
        self._known = known
        self._revision = revision
        self._key = secrets.token_bytes(KEY_BYTES)

    def begin(self, call: Call) -> Context:
        """The place of a call's own span."""
        caller, random = parse(call.trace), secrets.token_hex(24)  # all zero is no identifier, and does not happen
        trace = random[:32]
        if caller is not None:
            trace = hmac.digest(self._key, bytes.fromhex(caller.trace_id), hashlib.sha256)[:16].hex()
        return Context(trace_id=trace, span_id=random[32:])

    def finish(self, call: Call, context: Context, start: float, seconds: float, fate: Fate) -> Span:
        """The span.

        Args:
            call: as it was judged.
            context: from ``begin``.
            start: when it came in, in seconds since the epoch.
            seconds: how long it took.
            fate: what became of it.

        """
        caller, began = parse(call.trace), int(start * _NANO)
        name, attributes = self._about(call)
        attributes |= self._around(call, fate)
        failed = fate.end not in _FINE
        if failed:
            attributes[names.ERROR_TYPE] = closed(fate.code) if fate.code else fate.end
        if call.kind == "model" and (fate.usage.tokens_in or fate.usage.tokens_out):
            attributes[names.INPUT_TOKENS] = fate.usage.tokens_in
            attributes[names.OUTPUT_TOKENS] = fate.usage.tokens_out
        return Span(
            name=name, kind=_kind(call), trace_id=context.trace_id, span_id=context.span_id,
            link=spelled(caller) if caller is not None else "", start=began, end=began + int(seconds * _NANO),
            failed=failed, attributes=attributes,
        )

    def _about(self, call: Call) -> tuple[str, dict[str, Value]]:
        """The conventions' part: what kind of work this is."""
        target = call.target.name
        match call.kind:
            case "tool":
                return self._tool(call, target)
            case "model":
                wire = self._known.models.get(target)
                found: dict[str, Value] = {names.OPERATION: names.CHAT}
                if wire is None:
                    return names.CHAT, found
                return f"{names.CHAT} {target}", found | {names.REQUEST_MODEL: target, names.PROVIDER: wire}
            case "message":
                agent = target.rpartition("/")[0] if target not in self._known.agents else target
                told: dict[str, Value] = {names.OPERATION: names.INVOKE_AGENT,
                                          names.PEER_DIRECTION: call.target.direction}
                shown = f" {agent}" if agent in self._known.agents else ""
                return names.INVOKE_AGENT + shown, told
            case _:
                return f"ringwall {call.kind}", {}

    def _tool(self, call: Call, target: str) -> tuple[str, dict[str, Value]]:
        speaks = self._known.tools.get(target)
        operation = target.partition("/")[2]
        method = names.METHODS.get(operation) if speaks else None
        if method is not None:
            return method, {names.MCP_METHOD: method}
        found: dict[str, Value] = {names.OPERATION: names.EXECUTE_TOOL, names.TOOL_CALL_ID: call.id}
        if speaks is None:
            return names.EXECUTE_TOOL, found
        found |= {names.TOOL_NAME: target, names.TOOL_TYPE: "function"}
        if speaks:
            found[names.MCP_METHOD] = names.TOOLS_CALL
        return f"{names.EXECUTE_TOOL} {target}", found

    def _around(self, call: Call, fate: Fate) -> dict[str, Value]:
        """Our part: who asked, and what was decided, where it stands."""
        who, name = call.subject, subject_name(call.subject)
        found: dict[str, Value] = {
            names.KIND: call.kind, names.DECISION: fate.decision, names.END: fate.end, names.TENANT: call.tenant,
            names.RECORD: fate.record, names.POLICY: self._revision(),
            names.SPIFFE_ID: name,
        }
        if fate.ring:
            found[names.RING] = fate.ring
        if fate.code:
            found[names.CODE] = closed(fate.code)
        if not isinstance(who, (Operator, Peer)):
            found |= {names.AGENT_ID: name, names.AGENT_NAME: who.spiffe_id.agent}
        if call.session:
            found[names.CONVERSATION] = call.session
        return found


def _kind(call: Call) -> Literal["client", "server", "internal"]:
    if call.target.direction == "in":
        return "server"
    return "client" if call.kind in {"tool", "model", "message"} else "internal"
