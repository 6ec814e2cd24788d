"""The guard ring: what does the text carry?

Arguments, prompts, results and answers go to the guard's process as texts; spans come back, and this ring decides
and redacts. Without a verdict nothing passes. It is not the guarantee against injection, the flow ring is: it
takes away what can be taken cheaply. Facts and records hold categories and scores, never a text.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, OrderedDict
from collections.abc import Sequence
from typing import Final

from ringwall.call import (
    Allowed,
    Call,
    Chunk,
    Denied,
    Digest,
    End,
    Facts,
    Json,
    Operator,
    Peer,
    Process,
    RingName,
    Subject,
    Usage,
    Verdict,
    as_object,
    digest,
    subject_name,
)
from ringwall.errors import BadInput, Unavailable
from ringwall.guard.interface import Direction, Finding, Findings, Guard
from ringwall.guard.messages import CONTENTS, RAW, Marked, Pieces, Ways, complete, files, piece, ways
from ringwall.guard.models import Parts, delta, prompt
from ringwall.guard.scanners.normalise import SMUGGLED
from ringwall.guard.strings import Leaf, at, leaves, ranges, redact, replace
from ringwall.interface import Passage, Stopped, Targets, Through
from ringwall.manifest.types import GuardSettings

BLOCK_DEFINITION_AT: Final = 0.7  # an injection score this high drops a tool from listings, if none is set
MAX_JUDGED: Final = 4096  # tool definitions whose judgement is remembered



class GuardRing:
    """Ring 5.

    Args:
        guard: the guard's client.
        settings: from which scores injection blocks, by direction.

    """

    name: RingName = "guard"

    def __init__(self, guard: Guard, settings: GuardSettings) -> None:
        self._guard = guard
        self._block_at = dict(settings.block_at)
        self._judged: OrderedDict[Digest, bool] = OrderedDict()

    async def enter(self, call: Call, facts: Facts) -> Passage:
        """Scan what the call carries out; the passage scans what comes back."""
        way = ways(call)
        direction = way.going
        try:
            texts = _carried(call)
            scanned = await self._guard.scan(f"{_caller(call)}/{call.id}:in", direction,
                                             [leaf.text for leaf in texts], True, keys=_keys(texts))
        except (Unavailable, BadInput) as fault:
            facts[self.name] = {"blocked": True, "fault": fault.code}
            return Through(_unjudged(fault))
        verdict = self._verdict(call, direction, texts, scanned.found)
        facts[self.name] = {"version": scanned.rules, "blocked": isinstance(verdict, Denied),
                            **summary(scanned.found)}
        if isinstance(verdict, Denied) or call.kind == "operate":
            return Through(verdict)
        return _Passage(self._guard, call, way, self._block_at.get(way.coming), facts)

    async def lists(self, subject: Subject, targets: Targets) -> Targets:
        """Without tools whose definition carries instructions or hidden text. Raises Unavailable."""
        kept = {name: definition for name, definition in targets.definitions.items()
                if await self._harmless(name, definition)}
        return Targets(definitions=kept)

    def _verdict(self, call: Call, direction: Direction, texts: Sequence[Leaf],
                 found: Sequence[Finding]) -> Verdict:
        if call.kind == "operate":
            return Allowed()  # the operator's own words: facts only
        refused = [f for f in found if f.category == "secret" or (
            direction == "arguments" and f.category in {"card", "iban"} and not _named(call, texts[f.text], f))]
        if refused:
            # One code and one reason for every kind: which one it was would tell a prober how near he is.
            return Denied(code="sensitive_argument", reason="the call carries data that must not leave this way",
                          remedy="leave it out", detail=_detail(refused, texts))
        hidden = [f for f in found if f.category == "hidden" and f.score >= SMUGGLED]
        if hidden and (direction == "arguments" or call.kind == "message"):
            return Denied(code="hidden_text", reason="an argument carries characters that a reader does not see",
                          remedy="send plain text", detail=_detail(hidden, texts))
        limit = self._block_at.get(direction)
        return Allowed() if limit is None else _injected(found, limit, texts) or Allowed()

    async def _harmless(self, name: str, definition: Json) -> bool:
        texts = leaves([name, definition])
        seen = digest([name, definition])
        if seen in self._judged:
            self._judged.move_to_end(seen)
            return self._judged[seen]
        scanned = await self._guard.scan(f"list:{seen}", "tool_result",
                                         [leaf.text for leaf in texts], True, keys=_keys(texts))
        limit = self._block_at.get("tool_result", BLOCK_DEFINITION_AT)
        harmless = not any(f.category == "hidden" or (f.category == "injection" and f.score >= limit)
                           for f in scanned.found)
        self._judged[seen] = harmless
        if len(self._judged) > MAX_JUDGED:
            self._judged.popitem(last=False)
        return harmless


class _Passage:
    """One call's results on their way back."""

    def __init__(self, guard: Guard, call: Call, way: Ways, block_at: float | None, facts: Facts) -> None:
        self.verdict: Verdict = Allowed()
        self._guard = guard
        self._way = way
        self._block_at = block_at
        self._facts = facts
        self._stream = f"{_caller(call)}/{call.id}:out"
        self._parts = Parts(way.withheld)
        self._pieces = Pieces(way.withheld) if call.kind == "message" else None
        self._files = {"message": RAW, "tool": CONTENTS}.get(call.kind, frozenset[str]())

    async def release(self, chunk: Chunk) -> Sequence[Chunk]:
        """Scan, redact, hold back. Raises Stopped."""
        if not chunk.whole:
            return await self._delta(chunk)
        if self._pieces is not None:
            return await self._event(self._pieces, chunk)
        before = await self.finish()
        return (*before, _with(chunk, await self._marked(chunk.value)))

    async def finish(self) -> Sequence[Chunk]:
        """What was held back. Raises Stopped."""
        if self._pieces is not None:
            return [_with(one, marked) for one, marked in self._pieces.flush()]
        if not self._parts.waits:
            return ()
        try:
            window = self._parts.rest()
        except BadInput as fault:
            raise Stopped(_unjudged(fault)) from fault
        return await self._given(window, last=True)

    async def leave(self, end: End, usage: Usage) -> None:
        self._guard.forget(self._stream)

    async def _delta(self, chunk: Chunk) -> Sequence[Chunk]:
        """Text of one part of a model's answer; what another part holds back goes first."""
        try:
            one = delta(chunk.value)
            before = () if self._parts.follows(one) else await self.finish()
            window = self._parts.take(one)
        except BadInput as fault:
            raise Stopped(_misfit(fault)) from fault
        return (*before, *await self._given(window))

    async def _given(self, window: str, *, last: bool = False) -> Sequence[Chunk]:
        scanned = await self._scan([Leaf((), window)])
        given = self._parts.give(list(scanned.found), last=last)
        return () if given is None else (Chunk(value=given, whole=False),)

    async def _event(self, pieces: Pieces, chunk: Chunk) -> Sequence[Chunk]:
        """One event of a message's answer, or the whole of it."""
        name, texts = piece(chunk.value)
        before = pieces.flush() if pieces.waits(name) or name is None else []
        marked = await self._marked(chunk.value)
        if name is None:
            return [*(_with(one, cuts) for one, cuts in before), _with(chunk, marked)]
        scanned = await self._scan([Leaf((), pieces.take(name, chunk, texts, marked))])
        try:
            given = pieces.give(scanned.found, last=complete(chunk.value))
        except BadInput as fault:
            raise Stopped(Denied(code=fault.code, reason="the answer carries withheld data in pieces",
                                 detail={"fault": fault.cause})) from fault
        return [_with(one, cuts) for one, cuts in (*before, *given)]

    async def _marked(self, value: Json) -> Marked:
        """What is to be cut out of a value, by place. Raises Stopped where nothing can be cut out."""
        try:
            texts = leaves(value, self._way.unscanned)
        except BadInput as fault:
            raise Stopped(_unjudged(fault)) from fault
        if self._files:
            texts += files(value, self._files)
        scanned = await self._scan(texts)
        cuts: dict[int, list[Finding]] = {}
        for finding in scanned.found:
            # A byte order mark is hidden text, and in a file that a tool gives no reason to withhold the file.
            harmless = finding.category == "hidden" and texts[finding.text].encoded and self._pieces is None
            if finding.category in self._way.withheld and not harmless:
                cuts.setdefault(finding.text, []).append(finding)
        if any(texts[place].key or texts[place].encoded for place in cuts):
            raise Stopped(Denied(code="sensitive_result", reason="a name in the result carries withheld data",
                                 detail=_detail([f for group in cuts.values() for f in group], texts)))
        return {texts[place].pointer: group for place, group in cuts.items()}

    async def _scan(self, texts: Sequence[Leaf]) -> Findings:
        try:
            scanned = await self._guard.scan(self._stream, self._way.coming, [leaf.text for leaf in texts], False,
                                             keys=_keys(texts))
        except (Unavailable, BadInput) as fault:
            raise Stopped(_unjudged(fault)) from fault
        self._facts.setdefault("guard", {})["result"] = summary(scanned.found)  # for the flow ring, which is next
        denied = None if self._block_at is None else _injected(scanned.found, self._block_at, texts)
        if denied is not None:
            raise Stopped(denied)
        return scanned


def summary(found: Sequence[Finding]) -> dict[str, Json]:
    """What records may know: the highest injection score and how many findings of each category."""
    return {"injection": max((f.score for f in found if f.category == "injection"), default=0.0),
            "categories": dict(sorted(Counter(f.category for f in found).items()))}


def _carried(call: Call) -> list[Leaf]:
    """The texts that a call carries. Who sends a message, and how, is the core's own text. Raises BadInput."""
    if call.kind == "model":
        return prompt(call.args)
    if call.kind != "message":
        asked = [] if call.inputs is None else leaves(call.inputs)  # what it answers goes out as well
        return leaves(call.args) + [dataclasses.replace(leaf, pointer=("inputs", *leaf.pointer)) for leaf in asked]
    params = (as_object(call.args) or {}).get("params")
    return [dataclasses.replace(leaf, pointer=("params", *leaf.pointer))
            for leaf in (*leaves(params), *files(params))]


def _with(chunk: Chunk, marked: Marked) -> Chunk:
    """The chunk without what is marked; its label stays."""
    if not marked:
        return chunk
    texts = {pointer: redact(at(chunk.value, pointer), ranges(found)) for pointer, found in marked.items()}
    return dataclasses.replace(chunk, value=replace(chunk.value, texts))


def _caller(call: Call) -> str:
    """Whose line this call's texts wait in: an agent's, whatever launches and connections it has; a peer's own."""
    who = call.subject
    match who:
        case Process():
            return f"{who.spiffe_id.tenant}/{who.spiffe_id.agent}"
        case Peer():
            return f"{who.receiver.tenant}/{who.receiver.agent}/from/{digest(str(who.spiffe_id))[:16]}"
        case Operator():
            return subject_name(who)


def _keys(texts: Sequence[Leaf]) -> list[int]:
    return [place for place, leaf in enumerate(texts) if leaf.key]


def _named(call: Call, leaf: Leaf, finding: Finding) -> bool:
    """Whether the finding is the whole of an argument that names a resource: a payee's IBAN is not a leak."""
    whole = not (leaf.text[:finding.start] + leaf.text[finding.end:]).strip()
    return whole and not leaf.key and any(leaf.argument == resource.argument for resource in call.resources)


def _injected(found: Sequence[Finding], limit: float, texts: Sequence[Leaf]) -> Denied | None:
    worst = [f for f in found if f.category == "injection" and f.score >= limit]
    if not worst:
        return None
    return Denied(code="injection", reason="the text carries instructions where data should be",
                  detail=_detail(worst, texts))


def _detail(found: Sequence[Finding], texts: Sequence[Leaf]) -> dict[str, Json]:
    """For operators: where and by which rule; names of members are the agent's text, so places are by number."""
    return {"findings": [{"text": f.text, "start": f.start, "end": f.end, "rule": f.rule, "score": f.score,
                          "in_name": texts[f.text].key} for f in found[:20]]}


def _misfit(fault: BadInput) -> Denied:
    """A piece that is none, or one that cannot be judged."""
    if fault.code == "bad_chunk":
        return Denied(code=fault.code, reason=fault.cause)
    return _unjudged(fault)


def _unjudged(fault: Unavailable | BadInput) -> Denied:
    if fault.code == "bad_text":
        return Denied(code="bad_text", reason="a text is not valid Unicode", remedy="send valid UTF-8")
    return Denied(code="guard_unavailable", reason="the text could not be judged", remedy="try again later",
                  detail={"fault": fault.code, "cause": fault.cause, "remedy": fault.remedy})
