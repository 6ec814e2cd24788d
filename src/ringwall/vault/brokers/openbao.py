"""OpenBao or HashiCorp Vault: values kept there, credentials its database engine makes, keys that do not leave it.

Every request begins with a login by a JWT-SVID, so that the vault itself decides for whom: its policies are
templates over the claims ``tenant``, ``agent`` and ``arole``. A login ends with the request; that of a database
credential ends with the credential, because ending it is what takes the credential back.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from ringwall.call import Json
from ringwall.clock import Clock
from ringwall.errors import Refused, RingwallError
from ringwall.manifest.details import Detail
from ringwall.manifest.types import Secret
from ringwall.vault.brokers.interface import Minted, Order, refused, unavailable
from ringwall.vault.brokers.network import Network
from ringwall.vault.brokers.protocol import MAX_FETCHED, MAX_SEALED, MAX_VALUE, OpenBao, Vault

if TYPE_CHECKING:
    from ringwall.vault.brokers.openbao_client import Client

MAX_PATH: Final = 512  # characters of a path below the engine
_SEGMENT: Final = re.compile(r"[A-Za-z0-9_@+=-][A-Za-z0-9._@+=-]*")  # no "." or "..", nothing a URL reads otherwise
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")


def make(provider: OpenBao, vault: Vault, clock: Clock) -> OpenBaoBroker:
    """The broker of one secret. Raises Unavailable: the vault's ``ca`` cannot be used."""
    return OpenBaoBroker(provider, OutsideVault(vault, _network(vault)), clock)


def outside(vault: Vault, clock: Clock) -> OutsideVault:
    """The vault itself. ``clock``: there is nothing it needs the time for. Raises as ``make``."""
    return OutsideVault(vault, _network(vault))


def inexpressible(secret: Secret, details: Sequence[Detail]) -> str:
    """Why this must not be asked of a role of the database engine; empty: it may.

    What that role may do is written at the vault, and nothing we send narrows it: docs/openbao.md.
    """
    wide = {action for detail in details for action in detail.actions} - {"read", "write"}
    return f"{secret.name} is a database's credential, not one to {', '.join(sorted(wide))}" if wide else ""


class OutsideVault:
    """One vault; see ``interface.Outside``."""

    def __init__(self, vault: Vault, network: Network) -> None:
        self._vault = vault
        self._network = network

    def fetch(self, token: str, path: str, key: str) -> bytes:
        """See ``interface.Outside``; ``provider_garbage``: the value is no text of 1 to MAX_FETCHED bytes."""
        if len(path) > MAX_PATH or not all(map(_SEGMENT.fullmatch, path.split("/"))):
            raise refused("no_such_secret", "the path is none")
        with self.login(token) as (client, _):
            found = client.read(path)
        if key not in found:
            raise refused("no_such_secret", "the secret has no such value")
        return _bytes(found[key])

    def encrypt(self, token: str, key: str, plain: bytes) -> str:
        """See ``interface.Outside``."""
        with self.login(token) as (client, _):
            answer = client.encrypt(_name(key), base64.b64encode(plain).decode("ascii"))
        blob = answer.get("ciphertext")
        if not isinstance(blob, str) or not 0 < len(blob) <= MAX_SEALED or not blob.isascii():
            raise refused("provider_garbage", "it gives no ciphertext")
        return blob

    def decrypt(self, token: str, key: str, blob: str) -> bytes:
        """See ``interface.Outside``."""
        with self.login(token) as (client, _):
            answer = client.decrypt(_name(key), blob)
        text = answer.get("plaintext")
        try:
            plain = base64.b64decode(text if isinstance(text, str) else "", validate=True)
        except (binascii.Error, ValueError):
            plain = b""
        if not 0 < len(plain) <= MAX_SEALED:
            raise refused("provider_garbage", "it gives no plain text")
        return plain

    @contextmanager
    def login(self, token: str, *, stay: bool = False) -> Generator[tuple[Client, int]]:
        """A login by JWT, and the seconds it lives. It ends here; with ``stay`` only where this raises."""
        if not token:
            raise unavailable("broker_failed", "there is no token to log in with")
        client = self.client()
        life = client.login(token)
        try:
            yield client, life
        except BaseException:
            _leave(client)
            raise
        if not stay:
            _leave(client)

    def client(self) -> Client:
        """Requests without a login."""
        from ringwall.vault.brokers.openbao_client import Client

        return Client(self._vault, self._network)


class OpenBaoBroker:
    """One role of a vault's database engine."""

    def __init__(self, provider: OpenBao, vault: OutsideVault, clock: Clock) -> None:
        self._role = _name(provider.database)
        self._vault = vault
        self._clock = clock

    def mint(self, order: Order) -> Minted:
        """Raises as ``interface.Broker``. The credential ends with the earlier of its lease and the login."""
        asked = self._clock.now()
        with self._vault.login(order.token, stay=True) as (client, life):
            answer = client.credentials(self._role)
            lease = answer.get("lease_id")
            if not isinstance(lease, str) or not re.fullmatch("[!-~]{1,512}", lease):
                raise refused("provider_garbage", "it gives no lease")
            values = {name: _printable(answer.get("data"), name) for name in ("username", "password")}
            lives = min(_seconds(answer), life)
        return Minted(values=values, expires_at=asked + lives, handle=f"{lease} {client.token}")

    def renew(self, order: Order, handle: str) -> float:
        """Raises as ``interface.Broker``; ``not_renewable``: the vault prolongs it no more."""
        lease, _, token = handle.partition(" ")
        if not token:
            raise refused("not_renewable", "there is nothing to renew it by")
        client = self._vault.client()
        client.token = token
        asked = self._clock.now()
        try:
            return asked + client.renew(lease, order.seconds)
        except Refused as fault:
            if fault.code in {"provider_denied", "no_such_secret"}:
                raise refused("not_renewable", fault.cause) from None
            raise

    def revoke(self, order: Order, handle: str) -> None:
        """End the login that leased it. Open connections stay: the vault's own statements decide.

        ``not_revocable``: minting was never seen to finish; it ends by itself.
        """
        token = handle.partition(" ")[2]
        if not token:
            raise refused("not_revocable", "there is nothing to revoke it by")
        client = self._vault.client()
        client.token = token
        try:
            client.leave()
        except Refused as fault:
            if fault.code != "provider_denied":  # of a login that is over already, it says no more than that
                raise


def _leave(client: Client) -> None:
    try:
        client.leave()
    except RingwallError:
        pass  # it ends by itself; what the request gave, or why it failed, is what counts


def _network(vault: Vault) -> Network:
    return Network((vault.url,), ca=vault.ca, private=vault.private)


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise refused("no_such_secret", "the name of a key or role is none")
    return name


def _bytes(value: Json) -> bytes:
    try:
        raw = value.encode() if isinstance(value, str) else b""
    except UnicodeEncodeError:
        raw = b""
    if not 0 < len(raw) <= MAX_FETCHED:
        raise refused("provider_garbage", "the value is no text, or too long")
    return raw


def _printable(data: Json, name: str) -> str:
    value = data.get(name) if isinstance(data, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if not isinstance(value, str) or not 0 < len(value) <= MAX_VALUE or not value.isascii() \
            or not value.isprintable():
        raise refused("provider_garbage", "the credential is no text")
    return value


def _seconds(answer: dict[str, Json]) -> int:
    from ringwall.vault.brokers.openbao_client import seconds

    return seconds(answer, "lease_duration")
