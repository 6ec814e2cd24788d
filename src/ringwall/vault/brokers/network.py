"""The only way out of a broker process: to the hosts that the manifest declares for one provider, judged.

A name is resolved once for each connection, what it leads to is judged (``tools.addresses``), and the connection
goes to that very address; TLS still verifies the name. No proxy, certificate or other setting comes from the
environment.

Everything here blocks: it is called in an order's thread.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from ringwall.errors import RingwallError
from ringwall.tools.addresses import Address, Addresses, OutsideFault, Resolve
from ringwall.tools.authorities import machine
from ringwall.tools.outside import Outside
from ringwall.vault.brokers.interface import refused, unavailable

SECONDS: Final = 10.0  # for one exchange with a provider, name and TLS included; an order has ORDER_SECONDS in all
MAX_BODY: Final = 256 << 10  # bytes of an answer; a token with many claims has 8 KiB


class Answer(NamedTuple):
    """An HTTP answer, whatever its status; a redirect is one."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Network:
    """One provider's hosts.

    Args:
        urls: as the manifest has them; nothing else is connected to. An address in one is allowed as it stands.
        ca: who signs the provider's certificate, PEM; empty: the authorities that the machine trusts.
        private: networks (CIDR) that its names may lead to although they are not public.
        resolve: asks for a name's addresses; None: the machine's resolver.

    Raises:
        Unavailable: ``provider_unreachable``: no certificate can be read from ``ca``.

    """

    def __init__(self, urls: Sequence[str], *, ca: str = "", private: Sequence[str] = (),
                 resolve: Resolve | None = None) -> None:
        self._hosts = frozenset(urlsplit(url).hostname or "" for url in urls if url)
        self._private = tuple(private)
        self._resolve = resolve
        self.tls = _tls(ca)
        """Of a client: certificate and name are verified."""

    def addresses(self, host: str, seconds: float = SECONDS) -> tuple[Address, ...]:
        """What a name leads to, judged, best first.

        Raises:
            Refused: ``provider_address_refused``; also for a host that is not declared.
            Unavailable: ``provider_unreachable``, ``provider_slow``.

        """
        if host not in self._hosts:
            raise refused("provider_address_refused", "this host is not declared")
        try:
            return asyncio.run(asyncio.wait_for(self._judge().of(host), seconds))
        except OutsideFault as fault:
            raise _fault(fault) from None
        except TimeoutError:
            raise unavailable("provider_slow", "its name is not resolved in time") from None

    def connect(self, host: str, port: int, seconds: float = SECONDS) -> socket.socket:
        """A TCP connection to one of the addresses; its time limit for each further operation is ``seconds``, too.

        Raises as ``addresses``.
        """
        over = time.monotonic() + seconds
        for address in self.addresses(host, seconds):
            left = over - time.monotonic()
            if left <= 0:
                break
            try:
                sock = socket.create_connection((str(address), port), timeout=left)
            except OSError:
                continue
            sock.settimeout(seconds)
            return sock
        raise unavailable("provider_unreachable", "none of its addresses takes a connection")

    def send(self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", *,
             seconds: float = SECONDS, most: int = MAX_BODY) -> Answer:
        """One request and its whole answer, within ``seconds`` in all. Nothing is followed, kept or repeated.

        Raises:
            Refused: as ``addresses``; ``provider_garbage``: no HTTP/1.1, or an answer of more than ``most`` bytes.
            Unavailable: as ``addresses``.

        """
        if (urlsplit(url).hostname or "") not in self._hosts:
            raise refused("provider_address_refused", "this host is not declared")
        return asyncio.run(self._send(method, url, headers, body, seconds, most))

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes, seconds: float,
                    most: int) -> Answer:
        # An event loop of this request's own, so that one limit holds for all of it, a server that drips included.
        client = Outside(private=self._private, literal=tuple(self._hosts), timeout_s=seconds, max_bytes=most,
                         connections=1, resolve=self._resolve, tls=self.tls)
        try:
            answer = await client.send(method, url, headers, body)
        except OutsideFault as fault:
            raise _fault(fault) from None
        finally:
            await client.close()
        return Answer(answer.status, answer.headers, answer.body)

    def _judge(self) -> Addresses:
        return Addresses(private=self._private, literal=tuple(self._hosts), resolve=self._resolve)


def _tls(ca: str) -> ssl.SSLContext:
    if not ca:
        return machine()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=ca)
    except (ssl.SSLError, ValueError):
        raise unavailable("provider_unreachable", "its ca_file holds no certificate") from None
    return context


_FAULTS: Final[Mapping[str, Callable[[str], RingwallError]]] = {
    "address_refused": lambda cause: refused("provider_address_refused", cause),
    "upstream_unreachable": lambda cause: unavailable("provider_unreachable", cause),
    "upstream_slow": lambda cause: unavailable("provider_slow", cause),
    "bad_arguments": lambda cause: unavailable("broker_failed", cause),
}


def _fault(fault: OutsideFault) -> RingwallError:
    """Anything that is not here is an answer that cannot be read."""
    made = _FAULTS.get(fault.code)
    return made(fault.code) if made is not None else refused("provider_garbage", fault.code)
