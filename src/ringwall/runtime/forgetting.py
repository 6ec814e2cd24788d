"""Forgetting a session: its keys are destroyed, and with them what its records carried. The proofs still hold."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

import msgspec

from ringwall.audit.journal import AuditJournal
from ringwall.audit.records import Record
from ringwall.call import Call, Json, SessionId, subject_name
from ringwall.errors import AuditError, BadInput, Refused
from ringwall.runtime.acts import Act, arguments
from ringwall.runtime.sessions import Session


class _Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``audit.forget`` takes."""

    tenant: str
    session: str


class Forgetting:
    """The act ``audit.forget``.

    Args:
        audit: has the keys and the logs.
        open_session: a session that still goes on, or None; what it said next would have a new key.

    """

    def __init__(self, audit: AuditJournal, open_session: Callable[[SessionId], Session | None]) -> None:
        self._audit = audit
        self._open_session = open_session

    def acts(self) -> dict[str, Act]:
        """``audit.forget``."""
        return {"audit.forget": self._forget}

    async def _forget(self, call: Call) -> Json:
        """Destroy a session's keys; what can no longer be read, and the record of that."""
        order = arguments(call, _Order)
        session = SessionId(order.session)
        if order.tenant not in self._audit.status()["logs"]:
            raise BadInput(f"there is no log of {order.tenant[:64]!r}", code="no_log",
                           remedy="`ringwall status` lists them")
        if not session:
            raise BadInput("records without a session, those of operators, are not forgotten", code="bad_session",
                           remedy="`ringwall audit tail TENANT --json` names the sessions")
        if self._open_session(session) is not None:
            raise Refused(f"the session {session[:64]} goes on", code="session_open", remedy="end its run first")
        bodies = await asyncio.to_thread(self._readable, order.tenant, session)
        record = await self._audit.forget(order.tenant, session, subject_name(call.subject))
        return {"tenant": order.tenant, "session": session, "unreadable": dict(bodies), "record": record}

    def _readable(self, tenant: str, session: SessionId) -> Counter[str]:
        """How many bodies of a session can be read, by the type of their record. Blocks for the disk."""
        mine = (record for record in self._audit.records(tenant) if record.clear.get("session") == session)
        return Counter(record.type for record in mine if self._opens(tenant, record))

    def _opens(self, tenant: str, record: Record) -> bool:
        try:
            return self._audit.unsealed(tenant, record) is not None
        except (AuditError, BadInput):  # damaged: nobody reads it now either
            return False
