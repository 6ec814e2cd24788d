"""Standing endorsements: what a role may do without asking, over typed resources, within bounds, for a while.

An endorsement answers questions; it never changes a denial. It is written to the log before it counts, and each
call that runs on it names its record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from ringwall.approvals.item import Question
from ringwall.call import Approval, Call, Event, Json, Operator, Process, Resource, as_object, subject_name
from ringwall.clock import Clock
from ringwall.errors import BadInput
from ringwall.interface import Journal
from ringwall.manifest.types import Manifest

MAX_DAYS: Final = 366  # whoever stands by it should look at it once a year
MAX_USES: Final = 100_000
MAX_PATTERNS: Final = 64
MAX_STANDING: Final = 1000  # of one tenant; each asked call looks at all of them
DAY: Final = 86_400.0  # seconds
ALWAYS: Final = "approval_required"  # the question of a grant with approval = "always"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """One resource pattern. ``text`` is its canonical spelling."""

    type: str
    text: str
    covers: Callable[[Resource], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What an operator endorses. ``max``: upper bounds of numeric arguments; the lower one is always 0."""

    tenant: str
    role: str
    tool: str
    resources: tuple[str, ...]
    max: Mapping[str, float] = field(default_factory=dict[str, float])
    days: float
    uses: int
    reason: str


@dataclass(slots=True, kw_only=True)
class _Standing:
    order: Order
    matchers: tuple[Matcher, ...]
    by: str
    since: float
    left: int

    @property
    def expires(self) -> float:
        return self.since + self.order.days * DAY


class Endorsements:
    """All standing endorsements, by the record that added each.

    Args:
        manifest: roles, grants, declared arguments.
        journal: each addition and withdrawal is durable in it before it counts.
        clock: for expiry.
        matcher: reads one resource pattern. Raises BadInput.

    """

    def __init__(
        self, *, manifest: Manifest, journal: Journal, clock: Clock, matcher: Callable[[str], Matcher]
    ) -> None:
        self._manifest = manifest
        self._journal = journal
        self._clock = clock
        self._matcher = matcher
        self._standing: dict[str, _Standing] = {}

    def answer(self, call: Call, questions: Sequence[Question]) -> Approval | None:
        """The endorsement that answers all these questions about this call; one of its uses is spent."""
        now = self._clock.now()
        for record, one in self._standing.items():
            if one.left > 0 and now < one.expires and self._covers(one, call, questions):
                one.left -= 1
                return Approval(record=record)
        return None

    def _covers(self, one: _Standing, call: Call, questions: Sequence[Question]) -> bool:
        order, who = one.order, call.subject
        if not isinstance(who, Process) or call.kind != "tool" or call.target.name != order.tool:
            return False
        if (who.tenant, who.spiffe_id.role) != (order.tenant, order.role) or not call.resources:
            return False
        if not all(any(m.covers(resource) for m in one.matchers) for resource in call.resources):
            return False
        named = {resource.argument.partition("/")[0] for resource in call.resources}
        # What a question is about must be what was endorsed. Free text never is, and of the call as a whole only
        # what its grant asks always: a site's own question is the organisation's, no approver endorses it away.
        if not all(named.issuperset(question.arguments) and (question.arguments or question.code == ALWAYS)
                   for question in questions):
            return False
        args: Mapping[str, Json] = as_object(call.args) or {}
        return all(name in named or self._bounded(order, name, value) for name, value in args.items())

    def _bounded(self, order: Order, name: str, value: Json) -> bool:
        """Whether an argument that names no resource may be what it is: 90000 is not what 90 was endorsed as."""
        role = self._role_of(order.tool, name)
        if role in {"payload", "query"} or isinstance(value, bool) or value is None:
            return role not in {"secret", "ident"}
        most = order.max.get(name)
        return isinstance(value, int | float) and most is not None and 0 <= value <= most

    def _role_of(self, tool: str, argument: str) -> str:
        server, _, operation = tool.partition("/")
        declared = self._manifest.tools[server].ops[operation].args.get(argument)
        return declared.role if declared is not None else ""

    async def add(self, order: Order, operator: Operator) -> str:
        """Endorse; the name of its record. Raises BadInput (``bad_endorsement``), AuditError."""
        matchers = self._check(order)
        now = self._clock.now()
        record = await self._journal.note(
            Event(
                type="endorsement",
                tenant=order.tenant,
                subject=subject_name(operator),
                body={"action": "add", "role": order.role, "tool": order.tool, "uses": order.uses,
                      "days": order.days, "since": now},
                sealed={"resources": list(order.resources), "max": dict(order.max), "reason": order.reason},
            )
        )
        self._standing[record] = _Standing(
            order=order, matchers=matchers, by=subject_name(operator), since=now, left=order.uses
        )
        return record

    async def revoke(self, record: str, reason: str, operator: Operator) -> None:
        """End one; no call that begins after this runs on it. Raises BadInput, AuditError."""
        one = self._standing.get(record)
        if one is None:
            raise BadInput(f"no endorsement is called {record[:80]!a}", code="unknown_endorsement",
                           remedy="ringwall endorsements list")
        left, one.left = one.left, 0  # at once, even if the log is slow; back if it cannot be written
        try:
            await self._journal.note(
                Event(type="endorsement", tenant=one.order.tenant, subject=subject_name(operator),
                      body={"action": "revoke", "of": record}, sealed={"reason": reason})
            )
        except BaseException:
            one.left = left
            raise
        self._standing.pop(record, None)

    def listed(self) -> list[dict[str, Json]]:
        """Those that still count, oldest first."""
        now = self._clock.now()
        self._standing = {name: one for name, one in self._standing.items() if one.left > 0 and now < one.expires}
        return [
            {
                "id": record,
                "tenant": one.order.tenant,
                "role": one.order.role,
                "tool": one.order.tool,
                "resources": [m.text for m in one.matchers],
                "max": dict(one.order.max),
                "by": one.by,
                "since": one.since,
                "expires": one.expires,
                "uses": one.order.uses,
                "left": one.left,
                "reason": one.order.reason,
            }
            for record, one in self._standing.items()
        ]

    def restore(self, record: str, tenant: str, subject: str, body: Mapping[str, Json], sealed: Json) -> None:
        """Take one event from the log, oldest first. What cannot be read, or no longer fits, does not count."""
        if body.get("action") == "revoke":
            self._standing.pop(str(body.get("of")), None)
            return
        try:
            order = Order(
                tenant=tenant, role=body["role"], tool=body["tool"], days=body["days"], uses=body["uses"],
                resources=tuple(sealed["resources"]), max=dict(sealed["max"]), reason=sealed["reason"],
            )
            matchers = self._check(order)
            since = float(body["since"])
        except (BadInput, KeyError, TypeError, ValueError):
            return
        self._standing[record] = _Standing(
            order=order, matchers=matchers, by=subject, since=since, left=order.uses
        )

    def restore_use(self, record: str) -> None:
        """An intent in the log ran on this one."""
        one = self._standing.get(record)
        if one is not None:
            one.left -= 1

    def _check(self, order: Order) -> tuple[Matcher, ...]:
        tenant = self._manifest.tenants.get(order.tenant)
        role = tenant.roles.get(order.role) if tenant is not None else None
        if role is None or order.tool not in role.tools:
            raise _bad(f"{order.tenant[:64]}'s role {order.role[:64]!a} was not given {order.tool[:128]!a}",
                       "an endorsement can only spare a question about a tool that is granted")
        server, _, operation = order.tool.partition("/")
        args = self._manifest.tools[server].ops[operation].args
        if not 1 <= len(order.resources) <= MAX_PATTERNS:
            raise _bad(f"it needs 1 to {MAX_PATTERNS} resources", "for instance --resource iban:DE89…")
        matchers = tuple(self._matcher(text) for text in order.resources)
        kinds = {role.kind for role in args.values() if role.kind}
        for one in matchers:
            if one.type not in kinds:
                raise _bad(f"{order.tool} has no argument of kind {one.type}", f"known: {', '.join(sorted(kinds))}")
        for name, most in order.max.items():
            if name not in args or not 0 <= most < 1e15:
                raise _bad(f"{name[:64]!a} is no argument with an upper bound", f"known: {', '.join(args)}")
        if not 0 < order.days <= MAX_DAYS or not 1 <= order.uses <= MAX_USES:
            raise _bad(f"it must end: at most {MAX_DAYS} days and {MAX_USES} uses", "--days 30 --uses 100")
        if sum(one.order.tenant == order.tenant for one in self._standing.values()) >= MAX_STANDING:
            raise _bad(f"{order.tenant} has {MAX_STANDING} of them", "ringwall endorsements revoke")
        return matchers


def _bad(cause: str, remedy: str) -> BadInput:
    return BadInput(cause, code="bad_endorsement", remedy=remedy)
