"""A held call as an operator is shown it, and as a decision is bound to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from ringwall.call import Call, Digest, Json, SessionId, Verdicts, as_array, as_object, policy_input
from ringwall.errors import BadInput

MAX_CHANGES: Final = 200  # lines of a difference; more is another call altogether
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What one ring wants to know. Two questions are the same only if all of it is."""

    ring: str
    code: str
    text: str
    arguments: tuple[str, ...]  # names of arguments it is about; empty: the call as a whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One held call. Times are seconds since the epoch."""

    record: str
    tenant: str
    subject: str
    agent: str
    role: str
    session: SessionId
    kind: str
    target: str
    digest: Digest
    args: Json
    resources: tuple[Mapping[str, Json], ...]
    flow: Mapping[str, Json]  # the flow ring's facts: where values come from
    questions: tuple[Question, ...]
    held: float
    expires: float

    @property
    def question(self) -> str:
        """All questions as one text."""
        return "; ".join(one.text for one in self.questions)

    def as_json(self) -> dict[str, Json]:
        """One object with stable names. The texts in ``args`` and ``resources`` are the agent's."""
        return {
            "id": self.record,
            "tenant": self.tenant,
            "agent": self.agent,
            "role": self.role,
            "session": self.session,
            "kind": self.kind,
            "tool": self.target,
            "digest": self.digest,
            "args": self.args,
            "resources": [dict(one) for one in self.resources],
            "provenance": provenance(self),
            "questions": [
                {"ring": q.ring, "code": q.code, "question": q.text, "arguments": list(q.arguments)}
                for q in self.questions
            ],
            "held": self.held,
            "expires": self.expires,
        }


def questions_of(verdicts: Verdicts) -> tuple[Question, ...]:
    """What the rings asked about one call."""
    return tuple(
        Question(ring=ring, code=asked.code, text=asked.question, arguments=asked.arguments)
        for ring, asked in verdicts.asked
    )


def of_call(record: str, call: Call, verdicts: Verdicts, *, now: float, seconds: float) -> Item:
    """The item of a call that is being held; it waits for ``seconds``."""
    return _item(
        record, policy_input(call, verdicts.facts, now), questions_of(verdicts), kind=call.kind,
        digest=call.digest, held=now, seconds=seconds,
    )


def of_record(name: str, clear: Mapping[str, Json], body: Json, *, held: float, seconds: float) -> Item:
    """The item of a held call as the log has it. Raises BadInput for a body that is none."""
    try:
        questions = tuple(
            Question(ring=one["ring"], code=one["code"], text=one["question"], arguments=tuple(one["arguments"]))
            for one in body["verdicts"]
            if one["verdict"] == "needs_approval"
        )
        return _item(
            name, body["input"], questions, kind=clear["kind"], digest=Digest(clear["digest"]), held=held,
            seconds=seconds,
        )
    except (KeyError, TypeError) as fault:
        raise BadInput(f"{name} is no held call: {fault}", code="bad_held_record") from None


def _item(
    record: str, document: Json, questions: tuple[Question, ...], *, kind: str, digest: Digest, held: float,
    seconds: float,
) -> Item:
    subject, call = document["subject"], document["call"]
    return Item(
        record=record,
        tenant=subject["tenant"],
        subject=subject["id"],
        agent=subject["agent"],
        role=subject["role"],
        session=SessionId(call["session"] or ""),
        kind=kind,
        target=call["target"],
        digest=digest,
        args=call["args"],
        resources=tuple(call["resources"]),
        flow=as_object(document["facts"].get("flow")) or {},
        questions=questions,
        held=held,
        expires=held + seconds,
    )


def provenance(item: Item) -> Json:
    """Where each argument that rings judged comes from, and what the process had been shown by then."""
    decisive = {name for question in item.questions for name in question.arguments}
    context = as_object(item.flow.get("context")) or {}
    args: dict[str, dict[str, Json]] = {}
    for found in as_array(item.flow.get("args")) or []:
        name = str(found.get("name", ""))
        one = args.setdefault(name, {
            "argument": name, "role": found.get("role", ""), "kind": found.get("kind", ""), "in_task": True,
            "decisive": name in decisive,
        })
        one["in_task"] = one["in_task"] is True and found.get("trusted") is True
    return {
        "args": list(args.values()),
        "integrity": context.get("integrity", ""),
        "confidentiality": context.get("confidentiality", ""),
        "sources": context.get("sources", []),
    }


def difference(before: Json, after: Json) -> list[dict[str, Json]]:
    """What changed from one call's arguments to another's, by JSON pointer (RFC 6901).

    ``before`` or ``after`` is absent from a change where the place did not exist. Nothing changed: empty.
    """
    changes: list[dict[str, Json]] = []
    stack: list[tuple[str, object, object]] = [("", before, after)]
    while stack and len(changes) < MAX_CHANGES:
        place, old, new = stack.pop()
        names = _members(old, new)
        if names is not None:
            stack += [
                (f"{place}/{_escaped(name)}", _inside(old, name), _inside(new, name)) for name in reversed(names)
            ]
        elif old is _ABSENT or new is _ABSENT or type(old) is not type(new) or old != new:
            change: dict[str, Json] = {"place": place}
            if old is not _ABSENT:
                change["before"] = old
            if new is not _ABSENT:
                change["after"] = new
            changes.append(change)
    return changes


def _members(old: object, new: object) -> list[str] | None:
    """The places inside two values of the same shape; None if they must be compared as they are."""
    if isinstance(old, dict) and isinstance(new, dict):
        return sorted({*cast("dict[str, Json]", old), *cast("dict[str, Json]", new)})
    if isinstance(old, list) and isinstance(new, list):
        return [str(n) for n in range(max(len(cast("list[Json]", old)), len(cast("list[Json]", new))))]
    return None


def _inside(value: object, name: str) -> object:
    if isinstance(value, dict):
        return cast("dict[str, object]", value).get(name, _ABSENT)
    items = cast("list[object]", value)
    return items[int(name)] if int(name) < len(items) else _ABSENT


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")
