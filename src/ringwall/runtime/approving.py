"""Approvals in the running core: the desk, what operators do at it, and what the log says of earlier days."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Final, Protocol

import msgspec

from ringwall.approvals.desk import Desk
from ringwall.approvals.endorsements import Endorsements, Matcher, Order
from ringwall.approvals.item import Item, of_record
from ringwall.approvals.webhook import Webhook, read_key
from ringwall.audit.records import Record
from ringwall.call import Call, Json, Operator
from ringwall.capability.resources import covers, parse_pattern
from ringwall.clock import Clock
from ringwall.errors import AuditError, BadInput
from ringwall.interface import Journal
from ringwall.manifest.types import Manifest
from ringwall.runtime.acts import Act, arguments
from ringwall.runtime.secrets import FileSecrets

TYPES: Final = frozenset({"held", "approval", "endorsement", "intent"})
TEND_S: Final = 5.0  # how late the log may say that a held call expired
MAX_WATCH_S: Final = 60.0
MAX_REASON: Final = 1000  # characters


class _Nothing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class _One(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str


class _Answer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    id: str
    reason: str = ""


class _Watch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    version: int
    seconds: float


class _Endorse(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    tenant: str
    role: str
    tool: str
    resources: list[str]
    max: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    days: float
    uses: int
    reason: str


class Written(Protocol):
    """The audit journal, as far as it is read here."""

    def records(self, tenant: str, since: int = 0, types: frozenset[str] | None = None) -> Iterable[Record]: ...
    def unsealed(self, tenant: str, record: Record) -> Json: ...


class Approving:
    """Everything of approvals that one core has.

    Args:
        manifest: deadlines, bounds, roles, the webhook.
        journal: where decisions are written before they count.
        clock: for deadlines.
        secrets: has the webhook's key.

    """

    def __init__(self, *, manifest: Manifest, journal: Journal, clock: Clock, secrets: FileSecrets) -> None:
        self._settings = manifest.approvals
        self._clock = clock
        name = self._settings.webhook_secret
        self._key = lambda: secrets.value(name)
        self.webhook = Webhook(self._settings, self._key, clock)
        self.endorsements = Endorsements(manifest=manifest, journal=journal, clock=clock, matcher=_matcher)
        self.desk = Desk(
            settings=self._settings, journal=journal, clock=clock, endorsements=self.endorsements,
            on_held=self.webhook.tell,
        )

    def check(self) -> None:
        """Whether the webhook can be signed. Raises RingwallError: a core that cannot say so must not start."""
        if self._settings.webhook:
            read_key(self._key())

    def status(self) -> Json:
        """For `ringwall status`."""
        told = {"to": self._settings.webhook, "sent": self.webhook.sent, "failed": self.webhook.failed,
                "fault": self.webhook.fault}
        return {
            "waiting": len(self.desk.listed()["waiting"]),
            "endorsements": len(self.endorsements.listed()),
            "webhook": told if self._settings.webhook else None,
        }

    async def tend(self) -> None:
        """Write down what expires, for ever."""
        while True:
            await asyncio.sleep(TEND_S)
            await self.desk.tend()

    def restore(self, tenant: str, log: Written) -> None:
        """Take a tenant's held calls, decisions and endorsements from its log. Raises AuditError."""
        held: dict[int, tuple[str, str]] = {}
        last: dict[tuple[str, str], int] = {}
        # Beyond this a held call can neither be decided on nor can a decision on it be used.
        oldest = self._clock.now() - 2 * self._settings.deadline_s
        for record in log.records(tenant, types=TYPES):
            name, clear = f"{tenant}/{record.number}", record.clear
            match record.type:
                case "held":
                    held[record.number] = (str(clear["subject"]), str(clear["target"]))
                    item = self._item(tenant, record, log) if record.time > oldest else None
                    if item is not None:
                        self.desk.restore(item)
                case "approval":
                    self.desk.restore_decision(record.body, str(clear.get("subject", "")))
                    place = held.get(_number(record.body))
                    if place is not None and record.body.get("decision") == "approved":
                        last[place] = _number(record.body)
                case "endorsement":
                    by, sealed = str(clear.get("subject", "")), _sealed(log, tenant, record)
                    self.endorsements.restore(name, tenant, by, record.body, sealed)
                case _:
                    used = str(clear.get("approval") or "")
                    self.desk.restore_use(used)
                    self.endorsements.restore_use(used)
        for number in last.values():
            item = self._item(tenant, next(iter(log.records(tenant, number))), log)
            if item is not None and item.kind == "tool":
                self.desk.restore_last(item)

    def _item(self, tenant: str, record: Record, log: Written) -> Item | None:
        """None if its session's key was destroyed, or it is not what it should be: then nobody can approve it."""
        body = _sealed(log, tenant, record)
        if body is None:
            return None
        try:
            name = f"{tenant}/{record.number}"
            return of_record(name, record.clear, body, held=record.time, seconds=self._settings.deadline_s)
        except BadInput:
            return None

    # --- what operators do

    def acts(self) -> Mapping[str, Act]:
        """By verb."""
        return {
            "approvals.list": self._list,
            "approvals.show": self._show,
            "approvals.approve": self._approve,
            "approvals.deny": self._deny,
            "approvals.watch": self._watch,
            "endorsements.list": self._endorsements,
            "endorsements.add": self._endorse,
            "endorsements.revoke": self._revoke,
        }

    async def _list(self, call: Call) -> Json:
        arguments(call, _Nothing)
        return self.desk.listed()

    async def _show(self, call: Call) -> Json:
        return self.desk.shown(arguments(call, _One).id)

    async def _approve(self, call: Call) -> Json:
        return await self._decide(call, yes=True)

    async def _deny(self, call: Call) -> Json:
        return await self._decide(call, yes=False)

    async def _decide(self, call: Call, *, yes: bool) -> Json:
        order = arguments(call, _Answer)
        return await self.desk.decide(order.id, _operator(call), yes=yes, reason=_reason(order.reason))

    async def _watch(self, call: Call) -> Json:
        order = arguments(call, _Watch)
        return await self.desk.watched(order.version, min(order.seconds, MAX_WATCH_S))

    async def _endorsements(self, call: Call) -> Json:
        arguments(call, _Nothing)
        return {"endorsements": self.endorsements.listed()}

    async def _endorse(self, call: Call) -> Json:
        order = arguments(call, _Endorse)
        if not _reason(order.reason):
            raise BadInput("an endorsement needs a reason", code="bad_endorsement", remedy="--reason TEXT")
        record = await self.endorsements.add(
            Order(
                tenant=order.tenant, role=order.role, tool=order.tool, resources=tuple(order.resources),
                max=order.max, days=order.days, uses=order.uses, reason=order.reason,
            ),
            _operator(call),
        )
        return {"id": record}

    async def _revoke(self, call: Call) -> Json:
        order = arguments(call, _Answer)
        await self.endorsements.revoke(order.id, _reason(order.reason), _operator(call))
        return {"id": order.id}


def _sealed(log: Written, tenant: str, record: Record) -> Json:
    """A record's body; None if it cannot be read any more."""
    try:
        return log.unsealed(tenant, record)
    except (BadInput, AuditError):
        return None


def _operator(call: Call) -> Operator:
    """Who acts. The rings let nobody else come here."""
    if not isinstance(call.subject, Operator):
        raise BadInput("only an operator decides", code="operator_only")
    return call.subject


def _reason(text: str) -> str:
    if len(text) > MAX_REASON:
        raise BadInput(f"the reason has more than {MAX_REASON} characters", code="bad_act")
    return text


def _number(body: Mapping[str, Json]) -> int:
    number = str(body.get("of", "")).partition("/")[2]
    return int(number) if number.isascii() and number.isdigit() else -1


def _matcher(text: str) -> Matcher:
    pattern = parse_pattern(text)
    return Matcher(type=pattern.type, text=pattern.text, covers=lambda resource: covers(pattern, resource))
