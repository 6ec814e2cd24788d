"""Credentials of AWS, and of what speaks like its token service (Ceph, MinIO): AssumeRoleWithWebIdentity.

The role is what a tenant may do at most; what one call may do of it is the session policy, which is never left out.
Nothing here ends a credential early: AWS has no means, and lets none live less than 900 s.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final, cast

from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused, RingwallError
from ringwall.manifest.details import Detail
from ringwall.manifest.types import Secret
from ringwall.vault.brokers import session_policy
from ringwall.vault.brokers.interface import MAX_SESSION, Minted, Order, refused, unavailable
from ringwall.vault.brokers.network import Network
from ringwall.vault.brokers.protocol import MAX_VALUE, Aws

SHORTEST: Final = 900  # seconds: AWS's minimum of DurationSeconds, and what Ceph and MinIO have by default
MAX_PACKED: Final = 100  # per cent of what AWS keeps of a policy and tags
_SUFFIXES: Final[Mapping[str, str]] = MappingProxyType(
    {"aws": "amazonaws.com", "aws-cn": "amazonaws.com.cn", "aws-us-gov": "amazonaws.com"})
_PREFIXES: Final = ("cn-", "us-gov-")  # of the regions of those other than the first
_SESSION: Final = frozenset(string.ascii_letters + string.digits + "_=,.@-")  # RoleSessionName
_REGION: Final = frozenset(string.ascii_lowercase + string.digits + "-")
_VALUES: Final[Mapping[str, str]] = MappingProxyType({
    "access_key_id": "AccessKeyId", "secret_access_key": "SecretAccessKey", "session_token": "SessionToken"})
_TOO_BUSY: Final = 429
_TOO_LARGE: Final = frozenset({"PackedPolicyTooLarge", "PackedPolicyTooLargeException"})
_NOT_NOW: Final = frozenset({"IDPCommunicationError", "Throttling", "ThrottlingException", "RequestLimitExceeded",
                             "ServiceUnavailable", "SlowDown"})


def make(provider: Aws, clock: Clock) -> AwsBroker:
    """The broker of one role. Raises RingwallError: it cannot be asked."""
    partition = _partition(provider.role_arn, provider.region, elsewhere=bool(provider.sts))
    url = provider.sts or f"https://sts.{provider.region}.{_SUFFIXES[partition]}"
    return AwsBroker(provider, url, partition, Network((url,), ca=provider.ca, private=provider.private), clock)


def inexpressible(secret: Secret, details: Sequence[Detail]) -> str:
    """Why no session policy says exactly this; empty: one does."""
    try:
        session_policy.compile(details, _partition(secret.role_arn, secret.region, elsewhere=bool(secret.sts)))
    except Refused as fault:
        return fault.cause
    return ""


class AwsBroker:
    """One role, at one token service.

    Args:
        provider: what the manifest says.
        url: of the token service.
        partition: that the role is of.
        network: leads there.
        clock: for credentials that have ended before they came.

    """

    def __init__(self, provider: Aws, url: str, partition: str, network: Network, clock: Clock) -> None:
        from ringwall.tools.builtins.amazon import Failed, Service  # `ringwall check` needs no botocore

        self._role = provider.role_arn
        self._partition = partition
        self._network = network
        self._clock = clock
        self._shortest = 1 if provider.sts else SHORTEST
        self._failed = Failed
        self._service = Service("sts", url=url, region=provider.region or "us-east-1")

    def mint(self, order: Order) -> Minted:
        """Assume the role for ``order.details``. See ``interface.Broker``."""
        policy = session_policy.compile(order.details, self._partition)
        if not order.token:
            raise refused("provider_denied", "there is no token to show")
        seconds = max(order.seconds, self._shortest)
        try:
            answer = self._assume(order, policy, seconds)
        except self._failed as fault:
            if fault.status != 400 or fault.code in _TOO_LARGE or seconds >= SHORTEST:
                raise _refusal(fault.status, fault.code) from None
            answer = self._again(order, policy)
        return _minted(answer, self._clock.now())

    def renew(self, order: Order, handle: str) -> float:
        """A session has its end from the start."""
        raise refused("not_renewable", "a session of AWS has its end from the start")

    def revoke(self, order: Order, handle: str) -> None:
        """AWS ends all sessions of a role or none."""
        raise refused("not_revocable", "AWS ends all sessions of a role, or none")

    def _again(self, order: Order, policy: str) -> dict[str, Any]:
        """A shorter life than AWS's shortest was refused, it may be for that."""
        try:
            return self._assume(order, policy, SHORTEST)
        except self._failed as fault:
            raise _refusal(fault.status, fault.code) from None

    def _assume(self, order: Order, policy: str, seconds: int) -> dict[str, Any]:
        from ringwall.tools.builtins.amazon import Reply

        def send(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
            answer = self._network.send(method, url, headers, body)
            return Reply(status=answer.status, headers=answer.headers, body=answer.body)

        try:
            return self._service.ask(
                "AssumeRoleWithWebIdentity", None, send, RoleArn=self._role, DurationSeconds=seconds, Policy=policy,
                RoleSessionName=_session(order.session), WebIdentityToken=order.token)
        except BadInput as fault:
            raise refused("provider_garbage", fault.cause) from None


def _partition(role_arn: str, region: str, *, elsewhere: bool) -> str:
    """The partition of a role. ``elsewhere``: not at AWS, where a region is any word. Raises Refused."""
    parts = role_arn.split(":", 5)
    if len(parts) != 6 or parts[0] != "arn" or parts[2:4] != ["iam", ""] or not parts[5].startswith("role/"):
        raise refused("scope_inexpressible", f"{role_arn[:80]!a} is not the ARN of a role")
    partition = parts[1]
    if partition not in _SUFFIXES:
        raise refused("scope_inexpressible", f"the partition {partition[:40]!a} is not known here")
    if region and not _REGION.issuperset(region):
        raise refused("scope_inexpressible", f"{region[:40]!a} is no region")
    if elsewhere:
        return partition
    other = {"aws-cn": "cn-", "aws-us-gov": "us-gov-"}.get(partition)
    fits = region.startswith(other) if other else bool(region) and not region.startswith(_PREFIXES)
    if not fits:
        raise refused("scope_inexpressible", f"a role of {partition} is not of the region {region[:40]!a}")
    return partition


def _session(text: str) -> str:
    """A RoleSessionName, in AWS's own log: the end of it, where the lease is, counts most."""
    return "".join(one if one in _SESSION else "-" for one in text)[-MAX_SESSION:].rjust(2, "-")


def _refusal(status: int, code: str) -> RingwallError:
    if code in _TOO_LARGE:
        return refused("scope_too_large", "the session policy does not fit when packed")
    if status >= 500 or status == _TOO_BUSY or code in _NOT_NOW:
        return unavailable("provider_unreachable", f"the token service answers {status}")
    if not 400 <= status < 500:
        return refused("provider_garbage", f"the token service answers {status}")
    if code == "MalformedPolicyDocument":
        return refused("scope_inexpressible", "the token service does not take the session policy")
    return refused("provider_denied", "the token service refuses")


def _minted(answer: Mapping[str, Any], now: float) -> Minted:
    """What was given, believed only in form. Raises Refused."""
    packed = answer.get("PackedPolicySize", 0)
    if not isinstance(packed, int) or packed > MAX_PACKED:
        raise refused("scope_too_large", "the session policy does not fit when packed")
    found = answer.get("Credentials")
    given = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    values = {name: given.get(theirs) for name, theirs in _VALUES.items()}
    ends = given.get("Expiration")
    if not all(_is_value(one) for one in values.values()) or not isinstance(ends, datetime) or ends.tzinfo is None:
        raise refused("provider_garbage", "a part of the credentials is missing, or is none")
    if ends.timestamp() <= now:
        raise refused("provider_garbage", "the credentials have ended before they came")
    return Minted(values=cast("dict[str, str]", values), expires_at=ends.timestamp())


def _is_value(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= MAX_VALUE and value.isascii() and value.isprintable() \
        and " " not in value
