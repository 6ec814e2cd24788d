"""The flow ring: where values come from, and who would see them.

The labels belong to everything the process can write. They are joined from all it was shown, and are durable
before the text that changed them is delivered.
"""

from __future__ import annotations

from functools import partial
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
    as_object,
)
from ringwall.flow.book import LabelBook
from ringwall.flow.interface import Canonical, SessionLookup, SessionView
from ringwall.flow.labelling import Labelling
from ringwall.flow.labels import Label
from ringwall.flow.messages import Messages, label_facts
from ringwall.flow.models import Models
from ringwall.flow.prompt import Prompt
from ringwall.flow.returns import mcp_label, result_label
from ringwall.flow.rules import Situation, Value, denial, judged
from ringwall.flow.values import MAX_VALUES, strings
from ringwall.interface import Passage, Targets, Through
from ringwall.manifest.types import ArgumentRole, Manifest, Operation, ToolServer
from ringwall.vault.interface import READ

_LISTING = "ringwall/list"  # the one tool that is no server's; its answer is made of pinned definitions
# Roles whose numbers are judged like text: account 5 is a payee like any other.
_SECRET = Label("T", "secret")  # of a value out of the vault
_ANSWER = ArgumentRole(role="payload")
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
        self._models = Models(manifest=manifest, book=book)

    async def enter(self, call: Call, facts: Facts) -> Passage:
        """Refuses, or asks about, a recipient who may not see the data, or a target that untrusted text may have
        chosen. Whether a human answered is for the wall: what was asked is judged anew each time."""
        reads = call.kind == "secret" and call.target.name.startswith(READ)
        if call.kind in {"operate", "secret"} and not reads:
            # Of an SVID an agent names nothing but audiences out of a closed list: no data of anybody's goes out.
            facts[self.name] = {"denied": False}
            return Through(Allowed())
        session = self._sessions.get(call.session)
        if session is None or session.tenant != call.tenant:
            facts[self.name] = {"denied": True, "rule": 0}
            return Through(Denied(code="no_session", reason="this call belongs to no open session"))
        if reads:
            return self._read(call, facts, session)
        if call.kind == "message":
            return await self._messages.enter(call, facts.setdefault(self.name, {}), session)
        if call.kind == "model":
            return self._models.enter(call, facts.setdefault(self.name, {}), session)
        label = self._book.current(session.context)
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
        label = partial(_label, call, server, operation)
        return Labelling(self._book, session, call, verdict, label)

    def _read(self, call: Call, facts: Facts, session: SessionView) -> Passage:
        """Nothing goes out with the name of a secret; what comes in makes all that the process can write secret."""
        facts[self.name] = {"context": label_facts(self._book.current(session.context)), "denied": False}
        return Labelling(self._book, session, call, Allowed(), lambda chunk: _SECRET)

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        """Everything: what may be done with a tool is decided call by call."""
        return targets

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
        if call.inputs is not None:  # answers to the server's questions: free text to it, whatever they are about
            values += _judged("inputs", call.inputs, _ANSWER, prompt)
        return Situation(
            effect=operation.effect,
            recipient=server.name,
            clearance=server.clearance,
            values=values,
            undeclared=[name for name in args if name not in operation.args],
            context=label,
            clean_waiver=self._manifest.flow.clean_waiver,
        )


def _label(call: Call, server: ToolServer, operation: Operation, chunk: Chunk) -> Label:
    """What a piece of a tool's answer tells the process."""
    if call.form == "mcp":
        return mcp_label(chunk.value, server, operation, call.target.name.partition("/")[2])
    return result_label(chunk.value, server, operation)


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
