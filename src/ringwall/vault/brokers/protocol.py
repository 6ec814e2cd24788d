"""What the core and a broker process say to each other: msgpack of the structs below, in ``wire.frames``.

Every order gets exactly one answer. The core believes nothing of an answer but its code and the bytes of a
credential, within limits; the process may be taken over by one of its providers.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, TypeAlias

import msgspec
from msgspec import Meta

from ringwall.errors import BadInput
from ringwall.vault.brokers.interface import Code, Order

MAX_ORDERS: Final = 16  # under way in one process: each has a thread, a connection and a client of some MB
MAX_VALUES: Final = 8  # of one credential; AWS has three
MAX_VALUE: Final = 32 << 10  # bytes of one: tokens with many claims have 8 KiB
MAX_FETCHED: Final = 64 << 10  # bytes of a kept value, as in the embedded vault
MAX_SEALED: Final = 4 << 10  # bytes of a root key's wrapping, and characters of what transit makes of it
MAX_ANSWER: Final = (MAX_VALUES + 1) * (MAX_VALUE + 128) + 256  # bytes of a frame

Id: TypeAlias = Annotated[int, Meta(ge=1, le=(1 << 63) - 1)]
_Key: TypeAlias = Annotated[str, Meta(pattern="^[a-z_]{1,32}\\Z")]
_Value: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_VALUE, pattern="^[ -~]+\\Z")]
_Handle: TypeAlias = Annotated[str, Meta(max_length=MAX_VALUE)]


class _Quiet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Its text is its name: what it carries belongs in no log."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class Aws(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="aws"):
    """A role that web identities may assume. ``sts``: URL; empty: AWS's own of the region."""

    role_arn: str
    region: str
    sts: str = ""
    ca: str = ""  # PEM; empty: the authorities that the machine trusts
    private: tuple[str, ...] = ()  # networks (CIDR) that its name may lead to although they are not public


class Postgres(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="postgres"):
    """A database whose ``admin_user`` may create roles. The password comes with each order, as ``login``."""

    url: str
    admin_user: str
    ca: str = ""
    private: tuple[str, ...] = ()


class OAuth(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="oauth"):
    """A token endpoint that does RFC 8693. The client's secret comes with each order, as ``login``."""

    token_url: str
    revoke_url: str = ""
    client_id: str = ""
    resource: str = ""
    scopes: tuple[str, ...] = ()
    ca: str = ""
    private: tuple[str, ...] = ()


class OpenBao(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="openbao"):
    """A role of the database engine of an outside vault: ``vault`` is its name in ``Hello.vaults``."""

    vault: str
    database: str


Provider: TypeAlias = Aws | Postgres | OAuth | OpenBao


class Vault(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An OpenBao or HashiCorp Vault elsewhere; see ``manifest.types.OutsideVault``."""

    url: str
    role: str
    mount: str
    kv: str
    database: str
    transit: str
    namespace: str = ""
    ca: str = ""
    private: tuple[str, ...] = ()


class Hello(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="hello"):
    """The core's first frame: all that this process will be asked about, by its names in the manifest."""

    providers: dict[str, Provider]
    vaults: dict[str, Vault]


class Mint(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="mint"):
    """Answered with ``Made``."""

    id: Id
    secret: str
    order: Order


class Renew(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="renew"):
    """Answered with ``Renewed``."""

    id: Id
    secret: str
    order: Order
    handle: str


class Revoke(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="revoke"):
    """Answered with ``Done``."""

    id: Id
    secret: str
    order: Order
    handle: str


class Fetch(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="fetch"):
    """A value of a KV secret. Answered with ``Value``. ``path``: below where the engine is mounted."""

    id: Id
    vault: str
    token: str
    path: str
    key: str


class Seal(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="seal"):
    """Encrypt under a transit key. Answered with ``Value``: the text, in ASCII."""

    id: Id
    vault: str
    token: str
    key: str
    plain: Annotated[bytes, Meta(max_length=MAX_SEALED)]


class Unseal(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="unseal"):
    """Decrypt what ``Seal`` gave. Answered with ``Value``."""

    id: Id
    vault: str
    token: str
    key: str
    blob: Annotated[str, Meta(max_length=MAX_SEALED)]


class Cancel(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="cancel"):
    """Nobody waits for this order any more; it is still answered. What it makes all the same is revoked."""

    id: Id


class Made(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="made"):
    """A credential; see ``interface.Minted``."""

    id: Id
    values: Annotated[dict[_Key, _Value], Meta(min_length=1, max_length=MAX_VALUES)]
    expires_at: float
    handle: _Handle


class Renewed(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="renewed"):
    """It lives on until then."""

    id: Id
    expires_at: float


class Done(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="done"):
    """It is revoked."""

    id: Id


class Value(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="value"):
    """What was asked for."""

    id: Id
    value: Annotated[bytes, Meta(max_length=MAX_FETCHED)]


class Failed(_Quiet, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="failed"):
    """It did not work. The core has the words."""

    id: Id
    code: Code


Task: TypeAlias = Mint | Renew | Revoke | Fetch | Seal | Unseal
ToProcess: TypeAlias = Hello | Task | Cancel
FromProcess: TypeAlias = Made | Renewed | Done | Value | Failed

_encoder: Final = msgspec.msgpack.Encoder()
_to_process: Final = msgspec.msgpack.Decoder[ToProcess](ToProcess)
_from_process: Final = msgspec.msgpack.Decoder[FromProcess](FromProcess)


def encode(message: ToProcess | FromProcess) -> bytes:
    """The payload of one frame."""
    return _encoder.encode(message)


def to_process(raw: bytes) -> ToProcess:
    """What the core said. Raises BadInput (``bad_frame``)."""
    return _decoded(_to_process, raw)


def from_process(raw: bytes) -> FromProcess:
    """What a broker process said. Raises BadInput (``bad_frame``)."""
    if len(raw) > MAX_ANSWER:
        raise BadInput(f"an answer of {len(raw)} bytes is over the limit of {MAX_ANSWER}", code="bad_frame")
    answer = _decoded(_from_process, raw)
    if isinstance(answer, Made | Renewed) and not math.isfinite(answer.expires_at):
        raise BadInput("a credential's end is no time", code="bad_frame")
    return answer


def _decoded(decoder: msgspec.msgpack.Decoder[Any], raw: bytes) -> Any:
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        # Without the cause, which may quote a value.
        raise BadInput("this is no message between the core and a broker process", code="bad_frame") from None
