"""The vault's root key encrypted with a passphrase: age's scrypt recipient (age-encryption.org/v1)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final

from ringwall.errors import BadInput, RingwallError
from ringwall.keys.blobs import wrong
from ringwall.keys.child import DONE, ask
from ringwall.keys.interface import Asks
from ringwall.keys.sealed import missing, unreachable

_WORKER: Final = "ringwall.keys.passphrase_worker"
_SECONDS: Final = 120  # scrypt is made to take one second on a machine with nothing else to do
_LEAST: Final = 12  # characters; scrypt makes each guess slow, and cannot make few guesses many
_MOST: Final = 1024  # bytes; more is a file by mistake


class PassphraseSeal:
    """Encrypts to a passphrase. age chooses how slow: about a second and some 1 GiB of memory for each guess."""

    kind = "passphrase"
    asks: Asks = "passphrase"

    def seal(self, plain: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        phrase = _phrase(answers)
        if len(phrase) < _LEAST:
            raise BadInput(f"the passphrase has fewer than {_LEAST} characters", code="weak_passphrase",
                           remedy="six random words, for instance")
        return _asked("seal", phrase, plain)

    def unseal(self, blob: bytes, answers: Sequence[bytes]) -> bytes:
        """See ``Seal``."""
        return _asked("unseal", _phrase(answers), blob)

    def forget(self, blob: bytes) -> None:
        """See ``Seal``: there is only the file."""


def _asked(act: str, phrase: str, data: bytes) -> bytes:
    question = {"act": act, "phrase": phrase, "data": base64.b64encode(data).decode()}
    code, text = ask(_WORKER, question, _SECONDS)
    if code == DONE:
        try:
            return base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            text = "it answered with garbage"
    raise _fault(code, text)


def _fault(code: str, text: str) -> RingwallError:
    if code == "missing":
        return missing("pyrage", "age")
    if code == "wrong":
        return wrong("the passphrase is wrong, or the file of the root key was changed",
                     "try again; if you are sure of the passphrase, restore the file")
    if code == "slow":
        return unreachable("the root key was encrypted on a much faster machine; here it takes too long",
                           "open it on that machine")
    return unreachable(f"the passphrase cannot be used: {text}",
                       "scrypt needs 1 GiB of free memory, and more on fast machines")


def _phrase(answers: Sequence[bytes]) -> str:
    if len(answers) != 1:
        raise BadInput(f"one passphrase is wanted, not {len(answers)}", code="bad_answers", remedy="bring one")
    try:
        text = answers[0].decode()
    except UnicodeDecodeError:
        text = ""
    if not text or len(answers[0]) > _MOST or not text.isprintable():
        raise BadInput(f"a passphrase is one line of 1 to {_MOST} bytes in UTF-8, without control characters",
                       code="bad_answers", remedy="bring it without its line's end")
    return text
