"""The vault's root key as shares (SLIP-0039), some of which open it. The root itself is on no disk."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from ringwall.errors import BadInput, Refused
from ringwall.keys.blobs import Blobs, damaged, wrong
from ringwall.keys.derived import DerivedRootKeys
from ringwall.keys.interface import KEY_BYTES, Asks, RootKeys, shares_check
from ringwall.keys.sealed import closed, optional, unreachable

_MAX_SHARE: Final = 1024  # bytes; a share of 32 bytes is 33 words, at most 300 characters
_MAX_ANSWERS: Final = 64  # four times as many shares as there can be
_NOTE_BYTES: Final = 1 + 1 + 2 + KEY_BYTES


class ShamirSource:
    """A ``RootSource`` whose file holds only which shares belong to it, and a value to check them with.

    Args:
        folder: where the file is.
        shares: how many are made, up to 16.
        threshold: how many open it, from 2 on.

    """

    kind = "shamir"
    asks: Asks = "shares"

    def __init__(self, folder: Path, shares: int, threshold: int) -> None:
        if not 2 <= threshold <= shares <= 16:  # SLIP-0039 has four bits for each
            raise ValueError(f"2 to 16 shares of which at least 2 open it, not {threshold} of {shares}")
        self._blobs = Blobs(folder, self.kind)
        self._shares = shares
        self._threshold = threshold

    def create(self, generation: int, answers: Sequence[bytes]) -> tuple[RootKeys, tuple[str, ...]]:
        """See ``RootSource``. The texts are the shares: they cannot be shown again."""
        self._blobs.free(generation)
        if answers:
            raise BadInput("new shares are made here, and cannot be brought", code="bad_answers",
                           remedy="leave them out")
        slip = optional("shamir_mnemonic", "shamir")
        root = secrets.token_bytes(KEY_BYTES)
        # no passphrase, so that its work factor protects nothing: the least
        groups = slip.generate_mnemonics(1, [(self._threshold, self._shares)], root, iteration_exponent=0)
        texts = tuple(str(text) for text in groups[0])
        if not hmac.compare_digest(bytes(slip.combine_mnemonics(texts[-self._threshold:])), root):
            raise unreachable("the shares that were made do not give the root key back", "nothing was changed")
        keys = DerivedRootKeys(root)
        ident = int(slip.Share.from_mnemonic(texts[0]).identifier)
        self._blobs.write(generation, bytes([self._threshold, self._shares]) + ident.to_bytes(2, "big")
                          + keys.derive(shares_check(generation)))
        return keys, texts

    def open(self, generation: int, answers: Sequence[bytes]) -> RootKeys:
        """See ``RootSource``. More shares than needed are no fault, nor is one that comes twice."""
        note = self._blobs.read(generation)
        if len(note) != _NOTE_BYTES or not 2 <= note[0] <= note[1] <= 16:
            raise damaged("the file that describes the vault's shares is damaged")
        threshold, made, ident = note[0], note[1], int.from_bytes(note[2:4], "big")
        if len(answers) > _MAX_ANSWERS:
            raise BadInput(f"{len(answers)} shares were brought, and there are {made}", code="bad_answers",
                           remedy=f"bring {threshold} of them")
        slip = optional("shamir_mnemonic", "shamir")
        shares = _distinct(slip, answers, ident, threshold)
        if len(shares) < threshold:
            raise closed(f"the vault is sealed: {threshold} different shares of {made} open it, "
                         f"{len(shares)} were brought")
        try:
            root = bytes(slip.combine_mnemonics([shares[at] for at in sorted(shares)[:threshold]]))
        except (slip.MnemonicError, ValueError):
            raise _not_ours() from None
        if len(root) != KEY_BYTES:
            raise _not_ours()
        keys = DerivedRootKeys(root)
        if not hmac.compare_digest(keys.derive(shares_check(generation)), note[4:]):
            raise _not_ours()
        return keys

    def drop(self, generation: int) -> None:
        """See ``RootSource``."""
        self._blobs.remove(generation)


def _distinct(slip: Any, answers: Sequence[bytes], ident: int, threshold: int) -> dict[int, str]:
    """The shares by their number in the set. No message repeats a word of a share."""
    found: dict[int, str] = {}
    for place, answer in enumerate(answers, 1):
        text, share = _share(slip, place, answer)
        if (share.identifier, share.member_threshold, share.group_threshold, share.group_count) != (
                ident, threshold, 1, 1):
            raise wrong(f"share {place} belongs to another root key",
                        "bring shares that were shown together, for this generation")
        if found.setdefault(int(share.index), text) != text:
            raise wrong(f"share {place} differs from another one of the same number",
                        "bring shares that were shown together")
    return found


def _share(slip: Any, place: int, answer: bytes) -> tuple[str, Any]:
    try:
        if len(answer) > _MAX_SHARE:
            raise ValueError
        text = " ".join(answer.decode("ascii").lower().split())
        return text, slip.Share.from_mnemonic(text)
    except (slip.MnemonicError, ValueError):
        raise wrong(f"share {place} is damaged: it is no share, or a word is wrong, missing or misplaced",
                    "compare it with what was written down; the others are not affected") from None


def _not_ours() -> Refused:
    return wrong("these shares fit each other, and do not give this vault's root key",
                 "bring shares that were shown together, for this generation")
