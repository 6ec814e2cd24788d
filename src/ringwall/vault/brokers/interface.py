"""What makes credentials at one provider. A broker runs in its tenant's broker process, and its methods block.

Each provider's file has two functions besides its class:

- ``make(provider, clock)``: the broker for one secret, from the struct of ``protocol`` that is its provider. The
  service imports the file when a secret of its kind is first asked for. ``openbao`` has ``make(provider, vault,
  clock)``, and ``outside(vault, clock)`` for an ``Outside``.
- ``inexpressible(secret, details)``: empty, or why this provider cannot narrow a credential to that. ``ringwall
  check`` asks it about whole grants, so it needs no connection and imports no client library.

No text of an error may hold anything of a token, a login or a minted value. Only its code leaves the process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias, get_args

from ringwall.errors import Refused, Unavailable
from ringwall.manifest.details import Detail

RefusedCode: TypeAlias = Literal[
    "provider_denied",  # it knows us and says no, or does not accept who we say we are
    "provider_wider",  # it gives more than was asked for, or does not say that it kept to it
    "provider_garbage",  # what it answers is not what its protocol says
    "provider_address_refused",  # its name leads to an address that is not public and not in `private`
    "scope_empty", "scope_inexpressible", "scope_too_large",
    "not_renewable", "not_revocable",
    "unknown_secret",  # also: an outside vault that was not declared
    "no_such_secret",  # an outside vault has nothing there
    "order_cancelled",  # by the core
]
UnavailableCode: TypeAlias = Literal[
    "provider_unreachable",
    "provider_slow",
    "provider_sealed",  # an outside vault that is sealed, or cannot write its own log
    "provider_missing",  # its client library is not installed
    "broker_busy",  # as many orders as there are threads
    "broker_failed",  # a fault of ours
]
Code: TypeAlias = RefusedCode | UnavailableCode
REFUSED: Final[frozenset[str]] = frozenset(get_args(RefusedCode))
UNAVAILABLE: Final[frozenset[str]] = frozenset(get_args(UnavailableCode))

MAX_SESSION: Final = 64  # characters of ``Order.session``: AWS takes no more for a session's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One credential: wanted, to be renewed, or to be revoked.

    Args:
        lease: its id with us; ASCII letters and digits. What is made at the provider can be found again by it.
        seconds: how long it is to live.
        details: all that it may be good for; empty: what the secret itself declares (OAuth's scopes).
        token: JWT-SVID of the agent it is for; empty: this provider needs none.
        login: an admin's password or a client's secret; empty: this provider needs none.
        session: tenant, agent and lease, for the provider's own log.

    """

    lease: str
    seconds: int
    details: tuple[Detail, ...] = ()
    token: str = field(default="", repr=False)
    login: str = field(default="", repr=False)
    session: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Minted:
    """What a provider gave.

    Args:
        values: ``access_key_id``, ``secret_access_key`` and ``session_token``; ``username`` and ``password``; or
            ``access_token``. Printable ASCII.
        expires_at: when the provider ends it by itself, in seconds since the epoch.
        handle: what revoking or renewing needs besides the order; may be secret.

    """

    values: Mapping[str, str] = field(repr=False)
    expires_at: float
    handle: str = field(default="", repr=False)


class Broker(Protocol):
    """One secret's provider. Called from several threads.

    Every method raises ``Refused`` with a code of ``RefusedCode``, or ``Unavailable`` with one of
    ``UnavailableCode``.
    """

    def mint(self, order: Order) -> Minted:
        """Make a credential for exactly ``order.details``."""
        ...

    def renew(self, order: Order, handle: str) -> float:
        """Its new end, ``order.seconds`` from now, in seconds since the epoch. ``not_renewable``: it has none."""
        ...

    def revoke(self, order: Order, handle: str) -> None:
        """End it now. Idempotent; ``handle`` is empty where minting was never seen to finish.

        ``not_revocable``: the provider has no means; the core then only forgets it.
        """
        ...


class Outside(Protocol):
    """A vault elsewhere. Called from several threads; raises as ``Broker`` does."""

    def fetch(self, token: str, path: str, key: str) -> bytes:
        """One value of a KV version 2 secret, read as the agent that ``token``, a JWT-SVID, names."""
        ...

    def encrypt(self, token: str, key: str, plain: bytes) -> str:
        """Encrypted under the transit key of this name."""
        ...

    def decrypt(self, token: str, key: str, blob: str) -> bytes:
        """What ``encrypt`` was given."""
        ...


def refused(code: RefusedCode, cause: str) -> Refused:
    """``cause`` is for tests and for who reads the code: it does not leave the process."""
    return Refused(cause, code=code)


def unavailable(code: UnavailableCode, cause: str) -> Unavailable:
    """As ``refused``."""
    return Unavailable(cause, code=code)
