"""Who mints which secret in one broker process. A provider's file is imported when its kind is first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from ringwall.clock import Clock
from ringwall.vault.brokers.interface import Broker, Outside, refused, unavailable
from ringwall.vault.brokers.protocol import Aws, Hello, OAuth, OpenBao, Postgres, Provider, Vault

_T = TypeVar("_T")


class Roster:
    """The brokers of one process, each made when it is first asked for. Used from several threads."""

    def __init__(self, hello: Hello, clock: Clock) -> None:
        self._hello = hello
        self._clock = clock
        self._brokers: dict[str, Broker] = {}
        self._outside: dict[str, Outside] = {}
        self._making = threading.Lock()

    def broker(self, secret: str) -> Broker:
        """Who mints this secret. Raises Refused (``unknown_secret``), Unavailable (``provider_missing``)."""
        with self._making:
            found = self._brokers.get(secret)
            if found is None:
                provider = self._hello.providers.get(secret)
                if provider is None:
                    raise refused("unknown_secret", "this process has no such secret")
                found = self._brokers[secret] = _library(lambda: self._made(provider))
            return found

    def outside(self, name: str) -> Outside:
        """A vault elsewhere. Raises as ``broker``."""
        with self._making:
            found = self._outside.get(name)
            if found is None:
                vault = self._vault(name)
                found = self._outside[name] = _library(lambda: _outside(vault, self._clock))
            return found

    def _vault(self, name: str) -> Vault:
        vault = self._hello.vaults.get(name)
        if vault is None:
            raise refused("unknown_secret", "this process has no such vault")
        return vault

    def _made(self, provider: Provider) -> Broker:
        match provider:
            case Aws():
                from ringwall.vault.brokers import aws
                return aws.make(provider, self._clock)
            case Postgres():
                from ringwall.vault.brokers import postgres
                return postgres.make(provider, self._clock)
            case OAuth():
                from ringwall.vault.brokers import oauth
                return oauth.make(provider, self._clock)
            case OpenBao():
                from ringwall.vault.brokers import openbao
                return openbao.make(provider, self._vault(provider.vault), self._clock)


def _outside(vault: Vault, clock: Clock) -> Outside:
    from ringwall.vault.brokers import openbao
    return openbao.outside(vault, clock)


def _library(make: Callable[[], _T]) -> _T:
    try:
        return make()
    except ImportError:
        raise unavailable("provider_missing", "a client library is not installed") from None
