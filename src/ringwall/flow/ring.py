"""The flow ring: where values come from, and who would see them.

The labels belong to everything the process can write. They are joined from all it was shown, and are durable
before the text that changed them is delivered.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from ringwall.call import (
    Allowed,
    Call,
    Chunk,
    Denied,
    Facts,
    Json,
    RingName,
    Subject,
    Verdict,
    as_array,
    as_object,
)
from ringwall.errors import AuditError
from ringwall.flow.book import LabelBook
from ringwall.flow.interface import Canonical, SessionLookup, SessionView
from ringwall.flow.labels import Label, join
from ringwall.flow.messages import Messages, label_facts
from ringwall.flow.prompt import Prompt
from ringwall.flow.rules import Situation, Value, denial, judged
from ringwall.flow.values import MAX_VALUES, strings
from ringwall.interface import Passage, Stopped, Targets, Through
from ringwall.manifest.types import ArgumentRole, Manifest, Operation, OutputLabel, ToolServer

_UNDECLARED = OutputLabel()  # U private
_LISTING = "ringwall/list"  # the one tool that is no server's; its answer is made of pinned definitions
# Roles whose numbers are judged like text: account 5 is a payee like any other.
_DECISIVE = frozenset({"target", "secret", "ident", "url"})


class FlowRing:
    """Implements ``interface.Ring``.

    Args:
        manifest: effects, argument roles, output labels, clearances.
        sessions: the trusted instruction and the context of each session.
        book: the labels.
        canonical: one spelling per value, the same that resolved the call's arguments.

    """

    name: RingName = "flow"

    def __init__(
        self, *, manifest: Manifest, sessions: SessionLookup, book: LabelBook, canonical: Canonical
    ) -> None:
        self._manifest = manifest
        self._sessions = sessions
        self._book = book
        self._canonical = canonical
        self._messages = Messages(manifest=manifest, book=book, canonical=canonical)

    async def enter(self, call: Call, facts: Facts) -> Passage:
        """Refuses, or asks about, a recipient who may not see the data, or a target that untrusted text may have
        chosen. Whether a human answered is for the wall: what was asked is judged anew each time."""
        if call.kind in {"operate", "secret"}:
            # Of an SVID an agent names nothing but audiences out of a closed list: no data of anybody's goes out.
            facts[self.name] = {"denied": False}
            return Through(Allowed())
        session = self._sessions.get(call.session)
        if session is None or session.tenant != call.tenant:
            facts[self.name] = {"denied": True, "rule": 0}
            return Through(Denied(code="no_session", reason="this call belongs to no open session"))
        if call.kind == "message":
            return await self._messages.enter(call, facts.setdefault(self.name, {}), session)
        label = self._book.current(session.context)
        if call.kind == "model":
            return self._model(call, facts, session, label)
        server, operation = self._operation(call.target.name)
        if operation is None or server is None:
            verdict: Verdict = Allowed() if call.target.name == _LISTING else _undeclared_tool()
            facts[self.name] = {"context": label_facts(label), **denial(verdict)}
            return Through(verdict)
        case = self._situation(call, server, operation, session, label)
        verdict = judged(case)
        facts[self.name] = {
            "effect": case.effect,
            "context": {**label_facts(label), "sources": list(self._book.sources(session.context))},
            "args": [
                {"name": v.argument, "role": v.role.role, "kind": v.role.kind, "trusted": v.trusted}
                for v in case.values
            ],
            **denial(verdict),
        }
        return _Labelling(self._book, session, call, verdict, server, operation)

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        """Everything: what may be done with a tool is decided call by call."""
        return targets

    def _model(self, call: Call, facts: Facts, session: SessionView, label: Label) -> Passage:
        """A model upstream is a recipient of the whole conversation."""
        upstream = self._manifest.models.get(call.target.name)
        verdict: Verdict = Allowed()
        if upstream is not None and label.above(upstream.clearance):
            verdict = Denied(
                code="above_clearance",
                reason=f"the model {upstream.name} may not be shown what was read here",
                detail={"rule": 11, "clearance": upstream.clearance, "context": str(label)},
            )
        facts[self.name] = {"context": label_facts(label), **denial(verdict)}
        return Through(verdict)

    def _operation(self, name: str) -> tuple[ToolServer | None, Operation | None]:
        server_name, _, op = name.partition("/")
        server = self._manifest.tools.get(server_name)
        return server, server.ops.get(op) if server is not None else None

    def _situation(
        self, call: Call, server: ToolServer, operation: Operation, session: SessionView, label: Label
    ) -> Situation:
        args = as_object(call.args) or {}
        prompt = Prompt(session.task, self._canonical)
        values: list[Value] = []
        for name, given in args.items():
            role = operation.args.get(name)
            if role is not None:
                values += _judged(name, given, role, prompt)
        return Situation(
            effect=operation.effect,
            recipient=server.name,
            clearance=server.clearance,
            values=values,
            undeclared=[name for name in args if name not in operation.args],
            context=label,
            clean_waiver=self._manifest.flow.clean_waiver,
        )


class _Labelling:
    """Joins the labels of what comes back, before it goes on to the agent."""

    def __init__(
        self,
        book: LabelBook,
        session: SessionView,
        call: Call,
        verdict: Verdict,
        server: ToolServer,
        operation: Operation,
    ) -> None:
        self.verdict = verdict
        self._book = book
        self._session = session
        self._call = call
        self._server = server
        self._operation = operation

    async def release(self, chunk: Chunk) -> Sequence[Chunk]:
        label = result_label(chunk.value, self._server, self._operation)
        try:
            await self._book.join(
                self._session.context,
                label,
                tenant=self._call.tenant,
                session=self._call.session,
                source=self._call.target.name,
            )
        except AuditError as fault:
            raise Stopped(
                Denied(
                    code="audit_unavailable",
                    reason="the label of this result could not be written to the audit log, so it is withheld",
                    detail={"fault": fault.cause},
                )
            ) from fault
        return (chunk,)

    async def finish(self) -> Sequence[Chunk]:
        return ()

    async def leave(self, end: object, usage: object) -> None:
        return None


def result_label(value: Json, server: ToolServer, operation: Operation) -> Label:
    """The join over a result's fields; what is not declared is untrusted and private.

    A declared field counts wherever it stands: a list of messages carries what one message carries. A tool's error
    may quote any field, so it counts as all of them. Trusted labels count only from a server its operator marked
    as system of record.
    """
    rest = operation.returns.get("*", _UNDECLARED)
    fields = as_object(value)
    if fields is not None and set(fields) == {"error"} and "error" not in operation.returns:
        labels = [rest, *operation.returns.values()]
    else:
        labels = [operation.returns.get(name, rest) for name in fields] if fields else [rest]
        declared = set(operation.returns) - {"*"}
        labels += [operation.returns[name] for name in (declared and _names(value) & declared)]
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


def _judged(name: str, given: Json, role: ArgumentRole, prompt: Prompt) -> list[Value]:
    """Each text of one argument with whether the prompt names it."""
    found = list(islice(strings(given, numbers=role.role in _DECISIVE), MAX_VALUES + 1))
    if len(found) > MAX_VALUES:
        return [Value(argument=name, role=role, trusted=False)]
    return [Value(argument=name, role=role, trusted=prompt.names(text, role.kind)) for text in found]


def _undeclared_tool() -> Denied:
    return Denied(
        code="undeclared_tool", reason="nothing is declared about this tool's arguments", detail={"rule": 1}
    )
