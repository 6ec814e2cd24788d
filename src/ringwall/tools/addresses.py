"""Where a name may lead: resolved once, each address judged, and the very address connected to.

Names belong to strangers, and a stranger's name can lead into this machine, this network or a cloud's metadata
service, at the second question if not at the first (DNS rebinding). So only global unicast addresses pass, and what
was judged is what gets the connection.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import string
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

from ringwall.tools.protocol import Code

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[[str], Awaitable[Sequence[str]]]
"""A name's addresses as text; raises OSError if it has none."""

MAX_ADDRESSES: Final = 4  # of one name that are tried; more is a way to take time
MAX_LOOKUPS: Final = 8  # of one client at once: a stranger's slow name server holds up its own client only
_NAME: Final = frozenset(string.ascii_lowercase + string.digits + "-_.")

# Beyond what ``is_global`` says in every Python since 3.11 (RFC 6890 and later registries).
_NEVER: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # carrier NAT, and Alibaba's metadata service
            "127.0.0.0/8",
            "168.63.129.16/32",  # Azure's host, although the address looks public
            "169.254.0.0/16",  # link-local: where most clouds keep metadata and credentials
            "172.16.0.0/12",
            "192.0.0.0/24",  # and Oracle's metadata service
            "192.0.2.0/24",
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
            "2001::/23",  # Teredo, ORCHID and other protocols' own
            "2001:db8::/32",
            "2002::/16",  # 6to4: an IPv4 address inside
            "3fff::/20",
        ),
    )
)
_GLOBAL_6: Final = ipaddress.IPv6Network("2000::/3")  # all of global unicast; NAT64, local and mapped lie outside
_NEVER_SENT: Final = frozenset(
    {"address_refused", "host_refused", "bad_arguments", "no_such_server", "upstream_unreachable"})
_ISATAP: Final = (0x00005EFE, 0x02005EFE)  # RFC 5214: the middle of an address that carries an IPv4 one


class OutsideFault(Exception):
    """A request that gave no answer: a code of ``tools.protocol``, and the HTTP status, 0 if none."""

    def __init__(self, code: Code, status: int = 0) -> None:
        super().__init__(code)
        self.code: Code = code
        self.status = status

    @property
    def sent(self) -> bool:
        """Whether the request may have taken effect."""
        return self.code not in _NEVER_SENT


class Addresses:
    """What one server's names may lead to.

    Args:
        private: networks (CIDR) that are allowed although they are not public.
        literal: hosts that the operator wrote: an address among them, or ``localhost``, is allowed as it stands;
            a name among them is judged like any other.
        resolve: asks for a name's addresses.

    """

    def __init__(self, *, private: Sequence[str] = (), literal: Sequence[str] = (),
                 resolve: Resolve | None = None) -> None:
        self._private = tuple(ipaddress.ip_network(text) for text in private)
        hosts = [host.strip("[]").lower() for host in literal]
        self._literal = frozenset(str(_written(host) or host) for host in hosts)
        self._resolve = resolve or Lookups()

    async def of(self, host: str) -> tuple[Address, ...]:
        """The addresses to try, judged; at most MAX_ADDRESSES.

        Args:
            host: a name, or an address without brackets.

        Raises:
            OutsideFault: ``address_refused``; ``upstream_unreachable`` if the name has no address.

        """
        written = _written(host)
        if written is not None:
            if str(written) in self._literal or self.allows(written):
                return (written,)
            raise OutsideFault("address_refused")
        if not _is_name(host):
            raise OutsideFault("address_refused")
        try:
            found = await self._resolve(host)
            listed = [ipaddress.ip_address(text.partition("%")[0]) for text in found]
        except (OSError, ValueError, UnicodeError) as fault:
            raise OutsideFault("upstream_unreachable") from fault
        here = host == "localhost" and host in self._literal
        good = [one for one in dict.fromkeys(listed) if self.allows(one) or (here and one.is_loopback)]
        if listed and not good:
            raise OutsideFault("address_refused")
        if not good:
            raise OutsideFault("upstream_unreachable")
        return tuple(good[:MAX_ADDRESSES])

    def allows(self, address: Address) -> bool:
        """Whether a name may lead there."""
        if isinstance(address, ipaddress.IPv6Address) and _carries(address):
            return False
        return is_public(address) or any(address in net for net in self._private if net.version == address.version)


def is_public(address: Address) -> bool:
    """Whether an address is global unicast and carries no other address inside."""
    if not address.is_global or address.is_multicast or address.is_reserved:
        return False
    if any(address in net for net in _NEVER if net.version == address.version):
        return False
    return isinstance(address, ipaddress.IPv4Address) or (address in _GLOBAL_6 and not _carries(address))


def _carries(address: ipaddress.IPv6Address) -> bool:
    """Whether an IPv4 address is inside: then it would have to be judged, and there is no need for such a one."""
    number = int(address)
    if number >> 32 in {0, 0xFFFF, 0xFFFF0000}:  # compatible (and ::1, which is none), mapped, translated
        return number != 1
    return (
        address.sixtofour is not None
        or address.teredo is not None
        or number >> 80 == 0x0064FF9B0001  # NAT64 of local use, RFC 8215
        or number >> 32 == 0x0064FF9B << 64  # NAT64, RFC 6052
        or (number >> 32) & 0xFFFFFFFF in _ISATAP
    )


def _written(host: str) -> Address | None:
    """The address that a host is, in its one spelling; None: it is none."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _is_name(host: str) -> bool:
    """Whether a host is a name to everybody: with a last label of digits (``0177.1``, ``0x7f1``) it is an address
    to some."""
    if not 0 < len(host) <= 253 or not set(host) <= _NAME or host.endswith("."):
        return False
    tail = host.rpartition(".")[2]
    digits = tail.removeprefix("0x")
    return not (digits.isdigit() or (digits != tail and set(digits) <= set(string.hexdigits)))


class Lookups:
    """The machine's own resolver, in threads of its own: the loop's are few, and a slow name must not take them.

    The threads are daemons, because a lookup cannot be ended and nothing waits for one at the end of the process.
    """

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(MAX_LOOKUPS)

    async def __call__(self, host: str) -> list[str]:
        """A name's addresses. Raises OSError."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[str]] = loop.create_future()

        def settle(found: list[str] | OSError | UnicodeError) -> None:
            self._free.release()
            if future.done():
                return
            if isinstance(found, list):
                future.set_result(found)
            else:
                future.set_exception(found)

        def work() -> None:
            found: list[str] | OSError | UnicodeError
            try:
                listed = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
                found = [str(item[4][0]) for item in listed]
            except (OSError, UnicodeError) as fault:
                found = fault
            try:
                loop.call_soon_threadsafe(settle, found)
            except RuntimeError:
                pass  # the loop is closed: nobody waits

        await self._free.acquire()
        try:
            threading.Thread(target=work, name="lookup", daemon=True).start()
        except RuntimeError as fault:
            self._free.release()
            raise OSError("no thread for a lookup") from fault
        return await future
