"""The policy in this process: a compiled plan and its data."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from typing import Any, Final

import msgspec

from ringwall.call import Json
from ringwall.errors import PolicyError
from ringwall.policy.build import COMPILER
from ringwall.policy.builtins.text import to_json
from ringwall.policy.plan.limits import MAX_PLAN_BYTES, MAX_STEPS
from ringwall.policy.plan.loader import Plan
from ringwall.policy.plan.reader import broken
from ringwall.policy.reads import reads_time

_HEX: Final = frozenset("0123456789abcdef")


class _Compiled(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``build`` writes."""

    opa: str
    revision: str
    builtins: tuple[str, ...]
    plan: msgspec.Raw


@dataclass(frozen=True, slots=True, kw_only=True)
class Contribution:
    """A value that a rule put into its set on the way to a decision, and where the rule stands."""

    value: Json  # for instance a denial
    file: str  # as it was named when the policy was compiled
    row: int  # of the rule's head, from 1 on
    rule: str  # its path, for instance data.ringwall.site.deny


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A decision, and what its rules contributed: in the order of evaluation, origins before those that pass on."""

    result: Json
    contributions: tuple[Contribution, ...]


class EmbeddedPolicy:
    """Implements ``PolicyBackend``. Immutable; share it between threads.

    Args:
        compiled: what ``build.build`` returned.
        data: the base data document, as ``data.policy_data`` makes it. It belongs to the policy from now on.
        max_steps: what one decision may take.

    Raises:
        PolicyError: the plan is damaged, from another compiler, or uses a built-in it may not use.

    """

    def __init__(self, compiled: bytes, data: Json, *, max_steps: int = MAX_STEPS) -> None:
        head = _decode(compiled)
        if head.opa != COMPILER:
            raise PolicyError(f"the plan was compiled by opa {head.opa[:20]!r}", code="wrong_compiler",
                              remedy=f"build it with opa {COMPILER}")
        if len(head.revision) != 64 or not _HEX.issuperset(head.revision):
            raise broken("its revision is no SHA-256")
        self._source = bytes(head.plan)
        self._allowed = frozenset(head.builtins)
        self._plan = Plan(self._source, allowed=self._allowed)
        self._data = data
        self._revision = head.revision
        self._max_steps = max_steps

    @classmethod
    def default(cls, data: Json) -> EmbeddedPolicy:
        """The policy that ships with Ringwall. Raises PolicyError."""
        return cls((resources.files("ringwall.policy") / "rego" / "plan.json").read_bytes(), data)

    @property
    def revision(self) -> str:
        """SHA-256 over sources, capabilities and compiler version."""
        return self._revision

    def sees_time(self) -> bool:
        """Whether the policy may look at ``input.time``; read off the plan anew each time."""
        return reads_time(self._source)

    async def status(self) -> dict[str, Json]:
        """See ``PolicyBackend.status``."""
        return {"backend": "embedded", "revision": self._revision, "opa": COMPILER, "fault": ""}

    async def close(self) -> None:
        """Nothing is held open."""

    async def decide(self, entry_point: str, document: Json) -> Json:
        """See ``PolicyBackend.decide``. Nothing is waited for: the answer is there at the first step."""
        return self.evaluate(entry_point, document)

    def evaluate(self, entry_point: str, document: Json) -> Json:
        """What ``decide`` answers, for those who do not wait: replay, ``policy eval``, benchmarks. Raises as it."""
        return _answer(entry_point, self._plan.evaluate(entry_point, document, self._data,
                                                        max_steps=self._max_steps))

    def trace(self, entry_point: str, document: Json) -> Traced:
        """The same answer as ``evaluate``, and where the members of the rules' sets come from. Raises as it.

        The first call compiles the plan once more, with the notes in it.
        """
        results, members = self._traced.trace(entry_point, document, self._data, max_steps=self._max_steps)
        return Traced(result=_answer(entry_point, results), contributions=tuple(
            Contribution(value=to_json(one.value), file=one.file, row=one.row, rule=one.rule) for one in members))

    @cached_property
    def _traced(self) -> Plan:
        return Plan(self._source, allowed=self._allowed, traced=True)


def _answer(entry_point: str, results: list[Any]) -> Json:
    """What a decision's results say. Raises PolicyError when that is nothing, or no JSON."""
    if len(results) != 1 or type(results[0]) is not dict or set(results[0]) != {"result"}:
        raise PolicyError(f"the policy says nothing for {entry_point}", code="undefined_decision")
    found: dict[str, Any] = results[0]
    try:
        return to_json(found["result"])
    except RecursionError as error:
        raise PolicyError("the decision nests too deep", code="policy_limit") from error


def _decode(compiled: bytes) -> _Compiled:
    if len(compiled) > MAX_PLAN_BYTES:
        raise broken(f"it has {len(compiled)} bytes, more than {MAX_PLAN_BYTES}")
    try:
        return msgspec.json.decode(compiled, type=_Compiled)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise broken("it is not what `ringwall.policy.build` writes") from error
