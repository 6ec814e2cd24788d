"""A secret in an agent's hands: its name, until it is asked for what it says. Standard library only."""

from __future__ import annotations

import base64
import binascii
import string
from typing import Any, Final, NoReturn, cast

from ringwall import _client
from ringwall.errors import BadInput, Unavailable

PATH: Final = "/v1/secrets/read"
MAX_NAME: Final = 64  # as in the manifest
_LETTERS: Final = frozenset(string.ascii_letters + string.digits + "._-")


class Handle:
    """Knows a secret's name and nothing else: printed, logged or formatted, that is all there is to see.

    It has no further attributes and cannot be pickled, so that no value ever travels with it.
    """

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or not _LETTERS.issuperset(name):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise BadInput("a secret has a name as in the manifest's [secrets]", code="bad_arguments")
        self._name = name

    def __repr__(self) -> str:
        return f"<secret {self._name}>"

    def __format__(self, format_spec: str) -> str:
        return format(repr(self), format_spec)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError(f"{self!r} cannot be pickled or copied")

    def _body(self) -> dict[str, str]:
        return {"read": self._name}

    def _bytes(self, answer: Any) -> bytes:
        """What the door's answer holds. Raises Unavailable, which never has any of it."""
        fields = cast("dict[str, Any]", answer) if isinstance(answer, dict) else {}
        text, coded = fields.get("value"), fields.get("base64")
        try:
            if isinstance(text, str) and len(fields) == 1:
                return text.encode()
            if isinstance(coded, str) and len(fields) == 1:
                return base64.b64decode(coded, validate=True)
        except (UnicodeEncodeError, binascii.Error, ValueError):
            pass
        raise Unavailable(f"the door's answer for {self!r} cannot be read", code="bad_answer")

    def _text(self, answer: Any) -> str:
        try:
            return self._bytes(answer).decode()
        except UnicodeDecodeError:
            pass
        raise BadInput(f"{self!r} is no text", code="secret_not_text", remedy="use reveal_bytes()")


class Secret(Handle):
    """What ``ringwall.secret`` gives."""

    __slots__ = ()

    def reveal(self, *, wait: float | None = None) -> str:
        """Ask for the secret's text: a call of its own each time, which the role's ``read`` must allow.

        Args:
            wait: as in ``ringwall.call_tool``.

        Raises as ``ringwall.call_tool``; BadInput (``secret_not_text``) if it is not UTF-8.

        """
        return self._text(_client.default().ask(PATH, self._body(), wait))

    def reveal_bytes(self, *, wait: float | None = None) -> bytes:
        """Ask for the secret's bytes. As ``reveal``."""
        return self._bytes(_client.default().ask(PATH, self._body(), wait))
