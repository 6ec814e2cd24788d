"""Arithmetic on findings: joining them, and cutting long texts into overlapping batches and back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ringwall.guard.interface import Finding

BATCH: Final = 64 << 10  # code points in one request: about 10 ms of scanning, so that others get their turn
OVERLAP: Final = 16 << 10  # seen twice, so that nothing is lost at a cut: longer than any private key


def merge(found: Sequence[Finding]) -> list[Finding]:
    """Order findings and join those of one category that overlap; the higher score names the rule."""
    merged: list[Finding] = []
    last: dict[str, int] = {}
    for finding in sorted(found):
        at = last.get(finding.category)
        if at is not None and merged[at].text == finding.text and finding.start < merged[at].end:
            old = merged[at]
            best = finding if finding.score > old.score else old
            end = max(old.end, finding.end)
            merged[at] = Finding(old.text, old.start, end, old.category, best.score, best.rule)
        else:
            last[finding.category] = len(merged)
            merged.append(finding)
    return merged


@dataclass(frozen=True, slots=True)
class Piece:
    """``texts[text][start:end]``."""

    text: int
    start: int
    end: int


def batches(lengths: Sequence[int], *, most: int, size: int = BATCH,
            overlap: int = OVERLAP) -> Iterator[list[Piece]]:
    """Cut texts of these lengths into requests; always at least one.

    Args:
        lengths: of the texts, in code points.
        most: texts in one request.
        size: code points in one request.
        overlap: code points at the end of a request that the next one sees again.

    """
    if len(lengths) <= most and sum(lengths) <= size:
        yield [Piece(index, 0, length) for index, length in enumerate(lengths)]
        return
    batch: list[Piece] = []
    room = size
    fresh = not lengths  # whether the batch holds what no earlier one held
    for index, length in enumerate(lengths):
        at = 0
        while True:
            end = min(length, at + room)
            if at and batch and batch[-1].text == index:  # goes on where the tail of the last batch ended
                batch[-1] = Piece(index, batch[-1].start, end)
            else:
                batch.append(Piece(index, at, end))
            fresh = True
            room -= end - at
            at = end
            if at == length and room and len(batch) < most:
                break
            yield batch
            fresh = False
            batch = _tail(batch, overlap, most // 2)
            room = size - sum(piece.end - piece.start for piece in batch)
            if at == length:
                break
    if fresh:
        yield batch


def _tail(batch: Sequence[Piece], overlap: int, most: int) -> list[Piece]:
    """The last ``overlap`` code points of a batch, in at most ``most`` pieces."""
    tail: list[Piece] = []
    for piece in reversed(batch):
        if overlap <= 0 or len(tail) >= most:
            break
        start = max(piece.start, piece.end - overlap)
        tail.append(Piece(piece.text, start, piece.end))
        overlap -= piece.end - start
    return tail[::-1]
