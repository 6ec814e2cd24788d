"""All stages over one request: a pure function from texts to findings.

The texts are scanned as one view, joined by a character no text can contain, so that many short texts cost as
much as one long one and phrases that run over several are seen. Neighbours that look like fragments are looked at
once more glued together, for secrets and numbers split across list items.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final

from ringwall.errors import BadInput
from ringwall.guard.interface import JOINT, Finding, Hidden, Hit, NormalisedText, Scanner
from ringwall.guard.protocol import MAX_FINDINGS
from ringwall.guard.rules import Rules
from ringwall.guard.scanners.normalise import Normaliser
from ringwall.guard.scanners.personal import Personal
from ringwall.guard.scanners.regex import RegexSet
from ringwall.guard.scanners.secrets import Secrets
from ringwall.guard.scanners.signatures import Signatures
from ringwall.guard.spans import merge

MAX_CHARACTERS: Final = 256 << 10  # of one request: bounds time (some 50 ms) and memory; the client cuts to less
MAX_EXPANSION: Final = 4  # how much longer a text may become when folded; a decode bomb becomes 18 times as long
# A text that may be a piece of a credential or number cut in several: one word with a digit, underscore or a
# capital in its midst, or groups of digits, or one or two characters. Prose between two pieces separates them.
_FRAGMENT: Final = (r"^\s?(?:[A-Za-z0-9+/=_.:-]{1,2}|"
                    r"[A-Za-z0-9+/=_.:-]{0,64}(?:[0-9_]|[a-z][A-Z])[A-Za-z0-9+/=_.:-]{0,64})"
                    r"(?:[ -][0-9]{1,19}){0,6}[\s-]?$")
STAGES: Final = ("limits", "normalise", "signatures", "personal", "secrets")


class Engine:
    """The guard's scanners in order.

    Args:
        rules: loaded and checked rules.

    """

    def __init__(self, rules: Rules) -> None:
        self.version = rules.version
        self._normaliser = Normaliser(rules.confusables)
        self._signatures = Signatures(rules.signatures)
        self._fragment = RegexSet([_FRAGMENT])
        self._values: tuple[Scanner, ...] = (Personal(), Secrets(rules.secrets))

    def self_check(self) -> None:
        """Every stage finds its planted example. Raises Unavailable, code ``guard_not_ready``."""
        self._normaliser.self_check()
        for scanner in (self._signatures, *self._values):
            scanner.self_check()

    def scan(self, texts: Sequence[str], keys: Sequence[int] = ()) -> list[Finding]:
        """Find what the texts carry.

        Args:
            texts: the texts of one request.
            keys: which of them are names of JSON members, by index, ascending.

        Returns:
            Findings in order; those of one category in one text do not overlap.

        Raises:
            BadInput: over a limit; code ``guard_limit``.

        """
        if sum(map(len, texts)) > MAX_CHARACTERS:
            raise _limit(f"a request holds more than {MAX_CHARACTERS} characters")
        parts = [self._normaliser.normalise(text) for text in texts]
        if sum(len(part.plain) for part in parts) > MAX_EXPANSION * (MAX_CHARACTERS // 2):
            raise _limit("a text becomes far longer when it is normalised")
        found = list(self._joined(parts))
        if len(parts) > 1:
            names = frozenset(keys)
            found += self._glued([(i, part) for i, part in enumerate(parts) if i not in names])
        for index, part in enumerate(parts):
            for run in part.hidden:
                found.append(Finding(index, run.start, run.end, "hidden", run.score, run.rule))
                found += self._smuggled(index, run)
        merged = merge(found)
        if len(merged) > MAX_FINDINGS:
            raise _limit(f"a request holds more than {MAX_FINDINGS} findings")
        return merged

    def _joined(self, parts: Sequence[NormalisedText]) -> Iterator[Finding]:
        if len(parts) == 1:
            view = parts[0]
        else:
            joined = JOINT.join(part.plain for part in parts)
            view = NormalisedText(joined, joined)
        for scanner in (self._signatures, *self._values):
            hits = scanner.scan(view)
            if len(parts) == 1:
                for hit in hits:
                    yield Finding(0, *view.span(hit.start, hit.end), hit.category, hit.score, hit.rule)
            elif hits:
                starts = accumulate((len(part.plain) + len(JOINT) for part in parts), initial=0)
                yield from _mapped(hits, list(enumerate(parts)), list(starts))

    def _glued(self, parts: Sequence[tuple[int, NormalisedText]]) -> Iterator[Finding]:
        """Scan neighbours that look like fragments as one; only what crosses a seam is news."""
        run: list[tuple[int, NormalisedText]] = []
        used: list[tuple[int, NormalisedText]] = []
        starts, at = [0], 0
        glued: list[str] = []
        for index, part in (*parts, (-1, NormalisedText(JOINT, JOINT))):
            if index >= 0 and self._fragment.matching(part.plain.encode()):
                run.append((index, part))
                continue
            if len(run) > 1:
                for piece in run:
                    at += len(piece[1].plain)
                    starts.append(at)
                at += len(JOINT)
                starts[-1] = at
                used += run
                glued.append("".join(piece.plain for _, piece in run))
            run = []
        if not used:
            return
        joined = JOINT.join(glued)
        view = NormalisedText(joined, joined)
        for scanner in self._values:
            crossing = [hit for hit in scanner.scan(view) if hit.category != "email"
                        and bisect_right(starts, hit.start) != bisect_right(starts, hit.end - 1)]
            yield from _mapped(crossing, used, starts)

    def _smuggled(self, index: int, run: Hidden) -> Iterator[Finding]:
        """What hidden characters spell is scanned too; the span is the whole run."""
        if run.spells:
            view = NormalisedText(run.spells, run.spells)
            for scanner in (self._signatures, *self._values):
                for hit in scanner.scan(view):
                    yield Finding(index, run.start, run.end, hit.category, hit.score, hit.rule)


def _limit(cause: str) -> BadInput:
    return BadInput(cause, code="guard_limit", remedy="send less at once")


def _mapped(hits: Iterable[Hit], parts: Sequence[tuple[int, NormalisedText]],
            starts: Sequence[int]) -> Iterator[Finding]:
    """From spans of a view to spans of the original texts; a hit over several texts becomes several.

    Args:
        hits: in the view.
        parts: the texts it was made of, with their index in the request.
        starts: where each begins in the view.

    """
    for hit in hits:
        place = bisect_right(starts, hit.start) - 1
        while place < len(parts) and starts[place] < hit.end:
            index, part = parts[place]
            start, end = max(hit.start - starts[place], 0), min(hit.end - starts[place], len(part.plain))
            if start < end:
                yield Finding(index, *part.span(start, end), hit.category, hit.score, hit.rule)
            place += 1
