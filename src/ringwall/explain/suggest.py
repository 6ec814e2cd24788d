"""From a refused call to the smallest change that would allow it, proved by judging the call again with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from ringwall.call import Allowed, Call, Denied, RingName
from ringwall.capability.resources import parse_pattern
from ringwall.errors import BadInput, ManifestError
from ringwall.explain.change import Case, Instead, Proposal, propose
from ringwall.explain.edit import Edit, Text, diff
from ringwall.explain.judge import Decision, Dry, Judged, decided
from ringwall.explain.meanings import instead
from ringwall.explain.recorded import Recorded
from ringwall.manifest.load import parse
from ringwall.manifest.types import Manifest
from ringwall.policy.interface import PolicyBackend

Policies: TypeAlias = Callable[[Manifest], PolicyBackend]
"""The policy that decides, with a manifest's grants as its data. Raises PolicyError."""
MAX_ROUNDS: Final = 8  # refusals answered one after the other: grant, argument, resource, maximum, and few more


@dataclass(frozen=True, slots=True, kw_only=True)
class Suggestion:
    """What would allow the call. ``diff`` is empty where no change of the manifest is right or none is needed."""

    diff: str = ""
    notes: tuple[str, ...] = ()
    advice: str = ""
    command: str = ""  # what an operator types, besides
    proved: bool = False  # with the change, the rings that judge anew allow the call
    unasked: tuple[RingName, ...] = ()  # these will judge it when it is made again


class Advisor:
    """Suggests for one manifest.

    Args:
        text: the manifest's text.
        path: where it stands.
        policies: makes the policy for an edited manifest.

    Raises:
        ManifestError: it is wrong, or cannot be edited.

    """

    def __init__(self, text: str, path: Path, policies: Policies) -> None:
        self._text = Text(text)
        self._path = path
        self._policies = policies
        self.manifest = self._read(text)

    def _read(self, text: str) -> Manifest:
        return parse(text, self._path, check_pattern=parse_pattern)

    async def judge(self, seen: Recorded, text: str | None = None) -> Judged:
        """Judge a recorded call by an edited manifest. Raises ManifestError, PolicyError."""
        manifest = self.manifest if text is None else self._read(text)
        return await Dry(manifest, self._policies(manifest)).judge(seen)

    async def suggest(self, seen: Recorded) -> Suggestion:
        """The smallest change that would allow this call, or what to do instead."""
        first = decided(seen.verdicts)
        if first.said == "needs_approval":
            return Suggestion(
                advice="A human decides, about exactly this call.",
                command=f"ringwall approvals approve {seen.name}",
            )
        if first.ring == "limits":
            return await self._from(first, _without_limits(seen))
        if first.ring not in {None, "capability", "policy"}:
            return _advice(first)
        now = await self.judge(seen)
        if now.decision.said != "denied":
            asks = ", after a human has approved it" if now.decision.said == "needs_approval" else ""
            return Suggestion(
                advice=f"With the manifest as it is now, capability and policy allow this call{asks}: ask again.",
                unasked=now.unasked,
                proved=True,
            )
        return await self._from(now.decision, seen)

    async def _from(self, decision: Decision, seen: Recorded) -> Suggestion:
        """Answer one refusal after the other until the call is allowed, or one has no answer."""
        edits: list[Edit] = []
        notes: list[str] = []
        judged: Judged | None = None
        for _ in range(MAX_ROUNDS):
            found = self._propose(decision, seen, edits)
            if found is None or isinstance(found, Instead):
                return _advice(decision, found)
            edits += [edit for edit in found.edits if edit not in edits]
            notes += [found.note] if found.note else []
            try:
                judged = await self.judge(seen, self._text.edited(edits))
            except ManifestError as fault:
                return _advice(decision, Instead(advice=f"With the change the manifest is wrong: {fault.cause}"))
            decision = judged.decision
            if decision.said != "denied":
                return await self._proved(seen, edits, notes, judged)
            if decision.ring not in {"capability", "policy"}:
                break
        return _advice(decision)

    def _propose(self, decision: Decision, seen: Recorded, edits: Sequence[Edit]) -> Proposal | None:
        """A change on top of those made so far; approvals are no change of the manifest."""
        if not isinstance(decision.verdict, Denied):
            return None
        text = self._text.edited(edits)
        manifest = self._read(text)
        try:
            call: Call = seen.call(manifest)
        except BadInput as fault:
            return Instead(advice=f"{fault.cause}. The agent must mend the call.")
        return propose(Case(manifest=manifest, text=Text(text), call=call, said=decision.verdict))

    async def _proved(
        self, seen: Recorded, edits: Sequence[Edit], notes: Sequence[str], judged: Judged
    ) -> Suggestion:
        """Leave out every edit without which the call is decided the same, then spell the rest."""
        kept = list(edits)
        for edit in edits if len(edits) > 1 else ():
            fewer = [one for one in kept if one != edit]
            try:
                same = (await self.judge(seen, self._text.edited(fewer))).decision.said == judged.decision.said
            except ManifestError:
                same = False
            kept = fewer if same else kept
        asks = judged.decision.said == "needs_approval"
        return Suggestion(
            diff=diff(self._text.text, self._text.edited(kept), self._path.name),
            notes=tuple(notes),
            advice="After this change a human must approve the call when it is made again." if asks else "",
            proved=True,
            unasked=judged.unasked,
        )


def _without_limits(seen: Recorded) -> Recorded:
    """The call as it would stand had the limits allowed it."""
    verdicts = {name: Allowed() if name == "limits" else said for name, said in seen.verdicts.items()}
    return dataclasses.replace(seen, verdicts=verdicts)


def _advice(decision: Decision, found: Instead | None = None) -> Suggestion:
    return Suggestion(advice=found.advice if found is not None else instead(decision.ring or "", decision.code))
