"""Networks (CIDR). Nothing here asks the network."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from ringwall.policy.builtins.table import Builtin, BuiltinError, elements, string
from ringwall.policy.plan.limits import MAX_RANGE
from ringwall.policy.plan.ops import Context
from ringwall.policy.plan.values import Value, freeze, is_set, ordered

_PAIR: Final = 50  # steps of reading two networks and comparing them: 17 us

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _address(text: str) -> Address | None:
    try:
        found = ipaddress.ip_address(text) if "%" not in text else None
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def _network(value: Value) -> Network:
    """``address/bits``, as Go's ParseCIDR reads it: no netmasks, no zones."""
    text = string(value)
    address, slash, bits = text.partition("/")
    if not slash or "%" in address or not bits.isascii() or not bits.isdecimal() or len(bits) > 3:
        raise BuiltinError("invalid CIDR address")
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise BuiltinError("invalid CIDR address") from error


def _within(network: Network, other: Network) -> bool:
    return network.version == other.version and other.subnet_of(network)  # pyright: ignore[reportArgumentType] (same version)


def contains(network: Value, other: Value) -> bool:
    """Whether a network holds an address or a network."""
    outer, text = _network(network), string(other, 2)
    if (address := _address(text)) is not None:
        return address.version == outer.version and address in outer
    return _within(outer, _network(text))


def intersects(a: Value, b: Value) -> bool:
    """Whether two networks overlap."""
    first, second = _network(a), _network(b)
    return first.version == second.version and bool(first.overlaps(second))


def is_valid(value: Value) -> bool:
    """Whether it is a network."""
    try:
        _network(value)
    except BuiltinError:
        return False
    return True


def expand(context: Context, value: Value) -> Value:
    """All addresses of a network."""
    network = _network(value)
    if network.num_addresses > MAX_RANGE:
        raise BuiltinError(f"the network has more than {MAX_RANGE} addresses")
    context.charge(network.num_addresses)
    return frozenset(str(address) for address in network)


def merge(values: Value) -> Value:
    """The fewest networks that hold the same addresses."""
    networks = [_of_address(item) for item in elements(values)]
    merged: list[Any] = []
    for version in (4, 6):
        same: list[Any] = [network for network in networks if network.version == version]
        merged += ipaddress.collapse_addresses(same)
    return frozenset(map(str, merged))


def _of_address(item: Value) -> Network:
    """A network; for a bare IPv4 address, that of its historical class."""
    if (address := _address(string(item))) is None:
        return _network(item)
    if address.version == 6:
        raise BuiltinError("IPv6 invalid: needs prefix length")
    first = address.packed[0]
    return ipaddress.ip_network(f"{address}/{8 if first < 128 else 16 if first < 192 else 24}", strict=False)


def contains_matches(context: Context, outer: Value, inner: Value) -> Value:
    """Pairs of keys of networks of which the first holds the second."""
    found: set[Value] = set()
    right = _named(inner)
    for key, network in _named(outer):
        context.charge(_PAIR * len(right))
        found.update(freeze([key, other]) for other, text in right if contains(network, text))
    return frozenset(found)


def _named(value: Value) -> list[tuple[Value, Value]]:
    """(key, network) of a string, an array, a set or an object."""
    if type(value) is str:
        return [(value, value)]
    if type(value) is list:
        return [(index, _first(item)) for index, item in enumerate(value)]
    if type(value) is dict:
        return [(key, _first(value[freeze(key)])) for key in ordered(value)]
    return [(item, _first(item)) for item in ordered(value)] if is_set(value) else []


def _first(item: Value) -> Value:
    if type(item) is list and item:
        return item[0]
    if type(item) is str:
        return item
    raise BuiltinError("element must be string or non-empty array")


NET: Final[Mapping[str, Builtin]] = MappingProxyType({
    "net.cidr_contains": Builtin(contains, 2), "net.cidr_intersects": Builtin(intersects, 2),
    "net.cidr_is_valid": Builtin(is_valid, 1), "net.cidr_expand": Builtin(expand, 1, context=True),
    "net.cidr_merge": Builtin(merge, 1), "net.cidr_contains_matches": Builtin(contains_matches, 2, context=True),
})
