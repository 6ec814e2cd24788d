"""Model upstreams as recipients: of the whole conversation, and what runs at the provider of what the model writes.

A provider's own search leaves through the provider: nobody judges its query, which the model composes from all that
it was shown, and what it finds was written by strangers.
"""

from __future__ import annotations

from collections.abc import Sequence

from ringwall.call import Allowed, Call, Denied, Json, Verdict
from ringwall.errors import BadInput
from ringwall.flow.book import LabelBook
from ringwall.flow.interface import SessionView
from ringwall.flow.labelling import Labelling
from ringwall.flow.labels import Label
from ringwall.flow.messages import label_facts
from ringwall.flow.rules import denial
from ringwall.interface import Passage, Through
from ringwall.manifest.types import Manifest, Model
from ringwall.models.interface import asked

FOUND = Label("U", "public")  # what a search of the provider brings back, and what the model makes of it


class Models:
    """The flow ring's part in calls of kind ``model``.

    Args:
        manifest: clearances of upstreams and of their tools.
        book: the labels.

    """

    def __init__(self, *, manifest: Manifest, book: LabelBook) -> None:
        self._manifest = manifest
        self._book = book

    def enter(self, call: Call, facts: dict[str, Json], session: SessionView) -> Passage:
        """Refuses an upstream, or a tool of its provider, that may not be shown what was read here."""
        label = self._book.current(session.context)
        tools: tuple[str, ...] = ()
        upstream = self._manifest.models.get(call.target.name)
        try:
            tools = asked(call.args).provider_tools
            verdict = Allowed() if upstream is None else self._judged(upstream, tools, label)
        except BadInput as fault:
            verdict = Denied(code=fault.code, reason=fault.cause, detail={"rule": 1})
        facts.update({"context": label_facts(label), **denial(verdict)})
        if tools:
            facts["provider_tools"] = list(tools)
        return Labelling(self._book, session, call, verdict, lambda _: FOUND) if tools else Through(verdict)

    def _judged(self, upstream: Model, tools: Sequence[str], label: Label) -> Verdict:
        if label.above(upstream.clearance):
            return Denied(
                code="above_clearance",
                reason=f"the model {upstream.name} may not be shown what was read here",
                detail={"rule": 11, "clearance": upstream.clearance, "context": str(label)},
            )
        return next((denied for name in tools if (denied := self._tool(upstream, name, label))), Allowed())

    def _tool(self, upstream: Model, name: str, label: Label) -> Denied | None:
        tool = upstream.provider_tools.get(name)
        detail = {"tool": name, "context": str(label)}
        if tool is None:
            return Denied(
                code="provider_tool_not_granted",
                reason=f"nothing is declared about {name} of the model {upstream.name}",
                detail={"rule": 1, **detail},
            )
        if label.above(tool.clearance):
            return Denied(
                code="above_clearance",
                reason=f"{name} of the model {upstream.name} may not be shown what was read here",
                detail={"rule": 11, "clearance": tool.clearance, **detail},
            )
        tainted = label.untrusted or not self._manifest.flow.clean_waiver
        if tainted and label.above("public"):
            return Denied(
                code="trifecta",
                reason=f"private data and untrusted text were read, and the model composes what {name} is asked",
                detail={"rule": 7, **detail},
            )
        return None
