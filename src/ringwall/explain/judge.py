"""Judging recorded calls again, with another manifest or another policy.

The capability and the policy ring judge anew. Identity, limits, flow and guard judge by what there was at that
moment, so they stand as the record has them. So do a freeze of the tool, and its schema: the log does not hold
what its server listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, cast

from ringwall.call import (
    Allowed,
    Call,
    Denied,
    Digest,
    Facts,
    Json,
    NeedsApproval,
    RingName,
    Verdict,
    as_array,
)
from ringwall.capability.catalogue import Catalogue, Catalogues, Pins, Tool
from ringwall.capability.ring import CapabilityRing
from ringwall.capability.schema import Schema
from ringwall.errors import BadInput, Unavailable
from ringwall.explain.recorded import Recorded
from ringwall.interface import Ring
from ringwall.manifest.types import Manifest, Operation
from ringwall.policy.interface import PolicyBackend
from ringwall.policy.ring import PolicyRing

ORDER: Final[tuple[RingName, ...]] = ("identity", "capability", "limits", "flow", "guard", "policy")
ANEW: Final[tuple[RingName, ...]] = ("capability", "policy")
STANDING: Final[tuple[RingName, ...]] = ("identity", "limits", "flow", "guard")
UNDECLARED: Final = "/: Additional properties are not allowed"  # how the validator begins what a declaration mends
Said: TypeAlias = Literal["allowed", "needs_approval", "denied"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What all rings together said: the first denial, else the first that wants a human."""

    said: Said = "allowed"
    ring: RingName | None = None
    verdict: Verdict = Allowed()  # noqa: RUF009 (frozen, without fields)

    @property
    def code(self) -> str:
        return "" if isinstance(self.verdict, Allowed) else self.verdict.code


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A recorded call, judged again. ``unasked``: rings that had not judged it, because another refused before."""

    decision: Decision
    unasked: tuple[RingName, ...]


def decided(verdicts: Mapping[RingName, Verdict]) -> Decision:
    """The decision that follows from what rings said."""
    asks: tuple[RingName, NeedsApproval] | None = None
    for ring, verdict in verdicts.items():
        match verdict:
            case Denied():
                return Decision(said="denied", ring=ring, verdict=verdict)
            case NeedsApproval():
                asks = asks or (ring, verdict)
            case Allowed():
                pass
    return Decision() if asks is None else Decision(said="needs_approval", ring=asks[0], verdict=asks[1])


class Dry:
    """Judges by one manifest and one policy; nothing runs, nothing is written. One call at a time.

    Args:
        manifest: what is granted.
        backend: the policy, with that manifest's data.

    """

    def __init__(self, manifest: Manifest, backend: PolicyBackend) -> None:
        self._manifest = manifest
        self._listed = _Listed(manifest)
        self._clock = _RecordedClock()
        self._approved = False
        self._capability = CapabilityRing(
            manifest, self._listed, lambda _: self._approved, lambda _: self._listed.why_frozen()
        )
        self._policy = PolicyRing(backend, self._clock, lambda _: self._approved)

    async def judge(self, seen: Recorded) -> Judged:
        """What this call would be told now."""
        said: dict[RingName, Verdict] = {name: seen.verdicts[name] for name in ORDER if name in seen.verdicts}
        unasked: tuple[RingName, ...] = tuple(name for name in STANDING if name not in said)
        if isinstance(said.get("identity"), Denied):  # nothing was asked of anybody else, and nothing would be
            return Judged(decision=decided(said), unasked=())
        self._listed.seen, self._clock.time, self._approved = seen, seen.now, seen.approved
        try:
            call = seen.call(self._manifest)
        except BadInput as fault:  # what the draft declares cannot be read out of these arguments
            return Judged(decision=_unresolved(fault), unasked=unasked)
        facts: Facts = {name: dict(found) for name, found in seen.facts.items() if name not in ANEW}
        said["capability"] = await _asked(self._capability, call, facts)
        if isinstance(said["capability"], Denied):
            return Judged(decision=decided({name: said[name] for name in ORDER if name in said}), unasked=unasked)
        said["policy"] = await _asked(self._policy, call, facts)
        return Judged(decision=decided({name: said[name] for name in ORDER if name in said}), unasked=unasked)


async def _asked(ring: Ring, call: Call, facts: Facts) -> Verdict:
    return (await ring.enter(call, facts)).verdict


def _unresolved(fault: BadInput) -> Decision:
    return Decision(
        said="denied",
        ring="capability",
        verdict=Denied(code=fault.code, reason=fault.cause, remedy=fault.remedy),
    )


class _RecordedClock:
    """The time at which a call was judged."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


class _NoPins:
    """Nothing is pinned here: whether a definition had changed stands in the record."""

    def get(self, name: str) -> Digest | None:
        return None

    def set(self, name: str, definition: Digest, listed: Json) -> None:
        raise Unavailable(f"{name} cannot be pinned by judging it again")


class _Recalled(Schema):
    """A tool's schema as far as a record tells: what is declared now, and the other faults it found then."""

    def __init__(self, operation: Operation, faults: tuple[str, ...]) -> None:
        self._declared = frozenset(operation.args)
        self._faults = faults

    def errors(self, args: Json) -> tuple[str, ...]:
        undeclared = ", ".join(repr(name) for name in sorted(set(args) - self._declared))
        return (*((f"{UNDECLARED} ({undeclared})",) if undeclared else ()), *self._faults)


class _Listed(Catalogues):
    """The tools as the record that is judged shows them."""

    def __init__(self, manifest: Manifest) -> None:
        super().__init__(lambda _: _NoPins())
        self._manifest = manifest
        self.seen: Recorded | None = None

    def why_frozen(self) -> str:
        """Why it was frozen when it was asked for; empty if it was not."""
        said = None if self.seen is None else self.seen.verdicts.get("capability")
        return str(said.detail.get("why") or "frozen") if isinstance(said, Denied) and said.code == "frozen" else ""

    def of(self, tenant: str) -> Catalogue:
        return _RecordedTools(self._manifest, self.seen, _NoPins())


class _RecordedTools(Catalogue):
    def __init__(self, manifest: Manifest, seen: Recorded | None, pins: Pins) -> None:
        super().__init__(pins)
        self._manifest = manifest
        self._denied = None if seen is None else seen.verdicts.get("capability")
        # A call to what was not declared then has no definition; it is not the definition that changed.
        self._definition = cast("Digest", None if seen is None else seen.input["call"]["definition"])

    def tool(self, name: str) -> Tool | None:
        server, _, op = name.partition("/")
        declared = self._manifest.tools.get(server)
        operation = declared.ops.get(op) if declared is not None else None
        code = self._denied.code if isinstance(self._denied, Denied) else ""
        if operation is None or code == "tool_unavailable":
            return None
        changed = code == "definition_changed"
        return Tool(
            name=name,
            server=server,
            op=op,
            operation=operation,
            schema=_Recalled(operation, self._faults() if code == "invalid_arguments" else ()),
            definition=self._definition,
            pinned=Digest("") if changed else self._definition,
            public={},
            defaults={},
        )

    def problems(self, server: str) -> tuple[str, ...]:
        return ("its server did not list it when this call was made",)

    def _faults(self) -> tuple[str, ...]:
        """What was wrong beside undeclared arguments; a record without the texts keeps its fault."""
        detail: Mapping[str, Json] = self._denied.detail if isinstance(self._denied, Denied) else {}
        texts = as_array(detail.get("errors"))
        if texts is None:
            return ("/: the arguments did not fit the tool's schema",)
        return tuple(str(text) for text in texts if not str(text).startswith(UNDECLARED))
