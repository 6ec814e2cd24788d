"""In which words an A2A request is answered: those of the binding it came in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from ringwall.call import Json, as_object
from ringwall.wire import a2a
from ringwall.wire.a2a import Fault

Header = tuple[bytes, bytes]
ENVELOPE: Final = b"ringwall-envelope"
RECORD: Final = b"ringwall-record"
_JSON: Final = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A whole answer."""

    status: int
    body: bytes
    headers: tuple[Header, ...] = (_JSON,)


Seal = Callable[[bytes], str]
"""What the core vouches for: the envelope of a body."""


def unsealed(body: bytes) -> str:
    """Nobody vouches for it."""
    return ""


class Voice(Protocol):
    """One binding. ``record`` is the number of the call's record; empty: there is none."""

    def whole(self, value: Json | Fault, record: str) -> Written:
        """The answer of a method that gives one."""
        ...

    def event(self, value: Json | Fault, record: str, seal: Seal = unsealed) -> bytes:
        """One event of a method that streams, as server-sent events have it."""
        ...


def fault_in(value: Json) -> Fault | None:
    """The server's own error that a released piece carries, if it does."""
    fields = as_object(value)
    if fields is None or set(fields) != {"error"}:
        return None
    error = as_object(fields["error"]) or {}
    code, message = error.get("code"), error.get("message")
    if not isinstance(code, int) or not isinstance(message, str):
        return None
    return Fault(code=code, message=message, data=error.get("data"))


@dataclass(frozen=True, slots=True)
class RpcVoice:
    """JSON-RPC 2.0: an error has status 200 too."""

    id: Json

    def whole(self, value: Json | Fault, record: str) -> Written:
        """See ``Voice``."""
        return Written(status=200, body=self._body(value), headers=(_JSON, *_recorded(record)))

    def event(self, value: Json | Fault, record: str, seal: Seal = unsealed) -> bytes:
        """See ``Voice``."""
        data = self._body(value)
        return a2a.sse_event(data, seal(data))

    def _body(self, value: Json | Fault) -> bytes:
        return a2a.rpc_fault(self.id, value) if isinstance(value, Fault) else a2a.rpc_result(self.id, value)


@dataclass(frozen=True, slots=True)
class RestVoice:
    """HTTP+JSON."""

    method: str

    def whole(self, value: Json | Fault, record: str) -> Written:
        """See ``Voice``."""
        status, body = self._body(value)
        return Written(status=status, body=body, headers=(_JSON, *_recorded(record)))

    def event(self, value: Json | Fault, record: str, seal: Seal = unsealed) -> bytes:
        """See ``Voice``."""
        _, data = self._body(value)
        return a2a.sse_event(data, seal(data), error=isinstance(value, Fault))

    def _body(self, value: Json | Fault) -> tuple[int, bytes]:
        return a2a.rest_fault(value) if isinstance(value, Fault) else a2a.rest_result(self.method, value)


@dataclass(frozen=True, slots=True)
class SealedVoice:
    """Another voice, with what this core vouches for beside each answer.

    Args:
        voice: the binding.
        seal: gives the envelope of a body that answers the call with this record.

    """

    voice: Voice
    seal: Callable[[bytes, str], str]

    def whole(self, value: Json | Fault, record: str) -> Written:
        """See ``Voice``."""
        made = self.voice.whole(value, record)
        sealed = (ENVELOPE, self.seal(made.body, record).encode("ascii"))
        return Written(status=made.status, body=made.body, headers=(*made.headers, sealed))

    def event(self, value: Json | Fault, record: str, seal: Seal = unsealed) -> bytes:
        """See ``Voice``. Readers that do not know the line of the envelope ignore it."""
        return self.voice.event(value, record, lambda data: self.seal(data, record))


def _recorded(record: str) -> tuple[Header, ...]:
    return ((RECORD, record.encode("ascii")),) if record else ()
