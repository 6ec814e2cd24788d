"""The line to Redis: few connections, short waits, and every fault one of three."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, SSLConnection, UnixDomainSocketConnection
from redis.asyncio import Redis as Client
from redis.asyncio.connection import Connection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.commands.core import AsyncScript
from redis.credentials import CredentialProvider

from ringwall.clock import Clock
from ringwall.errors import Unavailable
from ringwall.limits import lua

SECONDS: Final = 1.0  # for one answer; then nobody asks for a while, so a call waits so long once: the wall gives 2
PAUSE_SECONDS: Final = 1.0  # after a fault nobody asks for so long
CONNECTIONS: Final = 16

Reply: TypeAlias = Any  # what a script returns: int, bytes or a list of those; checked by who asked


class Redis:
    """Runs scripts in one store.

    Args:
        store: as the manifest spells it.
        password: for AUTH; read when a connection is made. None: the store wants none.
        clock: for the pause after a fault.
        ca_file: who signs the store's certificate (``rediss://``); None: the system's authorities.
        seconds: how long to wait for a connection, and for an answer.

    """

    def __init__(self, store: str, clock: Clock, password: Callable[[], bytes] | None = None,
                 ca_file: str | None = None, seconds: float = SECONDS) -> None:
        self._clock = clock
        self._until = 0.0  # of the monotonic clock; before, the store is taken to be down
        self._scripts: dict[str, AsyncScript] = {}
        self._client = Client(connection_pool=_pool(store, password, ca_file, seconds))

    async def script(self, text: str, keys: Sequence[str], args: Sequence[int | str]) -> Reply:
        """Run a script.

        Raises:
            Unavailable: ``limits_store_down`` (no answer in time), ``limits_lost`` (the counters are not those we
                opened), ``limits_store_refused`` (an answer that is an error).

        """
        if self._clock.monotonic() < self._until:
            raise _down("it did not answer a moment ago")
        found = self._scripts.get(text)
        if found is None:
            found = self._scripts[text] = self._client.register_script(text)
        try:
            return await cast("Awaitable[Reply]", found(keys=list(keys), args=list(args)))
        except exceptions.AuthenticationError as fault:
            raise _refused(fault) from fault
        except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as fault:
            self._until = self._clock.monotonic() + PAUSE_SECONDS
            raise _down(type(fault).__name__) from fault
        except exceptions.RedisError as fault:
            if lua.LOST in str(fault):
                raise Unavailable("the counters of limits are not those of before: they were lost",
                                  code="limits_lost", remedy="let the store keep them: appendonly yes") from None
            raise _refused(fault) from fault

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose(close_connection_pool=True)


class _Password(CredentialProvider):
    """Reads the password anew for each connection, and keeps it nowhere."""

    def __init__(self, password: Callable[[], bytes]) -> None:
        self._password = password

    def get_credentials(self) -> tuple[str]:
        """For AUTH. Raises Unavailable when its file cannot be read."""
        return (self._password().decode("ascii", "strict"),)

    async def get_credentials_async(self) -> tuple[str]:
        return self.get_credentials()


def _down(why: str) -> Unavailable:
    return Unavailable(f"the store of limits does not answer ({why})", code="limits_store_down",
                       remedy="start it, or see `[limits] store` in ringwall.toml")


def _refused(fault: Exception) -> Unavailable:
    return Unavailable(f"the store of limits refused a script: {str(fault)[:200]!a}", code="limits_store_refused",
                       remedy="use a Redis or Valkey of its own for Ringwall, and the right password")


def _pool(store: str, password: Callable[[], bytes] | None, ca_file: str | None,
          seconds: float) -> BlockingConnectionPool:
    settings: dict[str, Any] = {
        "max_connections": CONNECTIONS, "timeout": seconds, "socket_timeout": seconds,
        "socket_connect_timeout": seconds, "retry": Retry(NoBackoff(), 0), "protocol": 2,
        "driver_info": None,
    }
    if password is not None:
        settings["credential_provider"] = _Password(password)
    if store.startswith("unix:"):
        del settings["socket_connect_timeout"]
        return BlockingConnectionPool(connection_class=UnixDomainSocketConnection,
                                      path=store.removeprefix("unix:"), **settings)
    url = urlsplit(store)
    kind: type[Connection] = Connection
    if url.scheme == "rediss":
        kind = SSLConnection
        settings |= {"ssl_ca_certs": ca_file, "ssl_check_hostname": True, "ssl_cert_reqs": "required"}
    return BlockingConnectionPool(connection_class=kind, host=url.hostname or "", port=url.port or 6379,
                                  db=int(url.path.lstrip("/") or 0), **settings)
