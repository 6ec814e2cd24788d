"""Leases on disk: one row each, written before what it says can happen. Every function blocks.

A row holds no value in clear: what using and ending a lease need is in ``kept``, under the tenant's key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, cast, get_args

from ringwall.errors import BadInput
from ringwall.manifest.types import MAX_SECONDS
from ringwall.store.interface import Row, Store, Value
from ringwall.vault.interface import Owner

State = Literal["pending", "active", "revoking", "ended"]
"""``pending``: the provider may have been asked. ``active``: somebody may use it. ``revoking``: nobody may, and the
provider is to be told. ``ended``: the provider was told, the log not yet; after that the row goes."""
_STATES: Final = frozenset[str](get_args(State))

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS leases (
  id TEXT PRIMARY KEY, tenant TEXT NOT NULL, agent TEXT NOT NULL, role TEXT NOT NULL, launch TEXT NOT NULL,
  secret TEXT NOT NULL, scope TEXT NOT NULL, revision TEXT NOT NULL, state TEXT NOT NULL,
  issued_at DOUBLE PRECISION NOT NULL, expires_at DOUBLE PRECISION NOT NULL,
  kept BYTEA NOT NULL, reason TEXT NOT NULL, ended_by TEXT NOT NULL)
"""
_COLUMNS: Final = ("id, tenant, agent, role, launch, secret, scope, revision, state, issued_at, expires_at, kept, "
                   "reason, ended_by")
_TEXTS: Final = 9  # so many columns before the times
_SLACK: Final = 1.0  # seconds: times are floats, and a lease of 900 s may read as a little more


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRow:
    """One lease as it is on disk.

    Args:
        id: names it here, in the log and at the provider.
        owner: for whom it is.
        launch: of the process that caused it; empty: Ringwall itself.
        secret: name in ``[secrets]``.
        scope: digest of the details it is good for.
        revision: of the manifest it was issued under.
        state: how far it is.
        issued_at: seconds since the epoch.
        expires_at: the same; at most ``MAX_SECONDS`` later.
        kept: the credential, encrypted by the vault; empty: in the core's memory only.
        reason: why nobody may use it any more; empty: somebody may.
        by: the operator who wanted that; empty: nobody.

    """

    id: str
    owner: Owner
    launch: str
    secret: str
    scope: str
    revision: str
    state: State
    issued_at: float
    expires_at: float
    kept: bytes = field(default=b"", repr=False)
    reason: str = ""
    by: str = ""


class LeaseRows:
    """The table of leases.

    Args:
        store: the database; the table is made in it.

    Every method raises Unavailable (``store_unwritable``, ``store_unreadable``): nothing was changed.

    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def open(self) -> tuple[list[LeaseRow], list[str]]:
        """Make the table if there is none; all leases, and the ids of rows that are none."""
        self._do(_TABLE, ())
        good: list[LeaseRow] = []
        damaged: list[str] = []
        for row in self._store.rows(f"SELECT {_COLUMNS} FROM leases ORDER BY issued_at, id"):  # noqa: S608 (constant)
            try:
                good.append(_row(row))
            except BadInput:
                damaged.append(str(row[0])[:64])
        return good, damaged

    def add(self, row: LeaseRow) -> None:
        """A lease that is about to be asked for."""
        places = ", ".join("?" * 14)
        who = row.owner
        self._do(f"INSERT INTO leases ({_COLUMNS}) VALUES ({places})", (  # noqa: S608 (constants)
            row.id, who.tenant, who.agent, who.role, row.launch, row.secret, row.scope, row.revision, row.state,
            row.issued_at, row.expires_at, row.kept, row.reason, row.by))

    def activate(self, lease: str, expires_at: float, kept: bytes) -> None:
        """It may be used until then. Not where it is to be revoked already."""
        self._do("UPDATE leases SET state = 'active', expires_at = ?, kept = ? WHERE id = ? AND state = 'pending'",
                 (expires_at, kept, lease))

    def renew(self, lease: str, expires_at: float, kept: bytes) -> None:
        """It lives until then. Not where it is to be revoked already."""
        self._do("UPDATE leases SET expires_at = ?, kept = ? WHERE id = ? AND state = 'active'",
                 (expires_at, kept, lease))

    def revoking(self, lease: str, reason: str, by: str) -> None:
        """Nobody may use it any more; the provider is to be told."""
        self._do("UPDATE leases SET state = 'revoking', reason = ?, ended_by = ? WHERE id = ? AND state <> 'ended'",
                 (reason, by, lease))

    def ended(self, lease: str) -> None:
        """The provider was told. What was kept for that goes at once."""
        self._do("UPDATE leases SET state = 'ended', kept = ? WHERE id = ?", (b"", lease))

    def forget(self, lease: str) -> None:
        """The log has it all."""
        self._do("DELETE FROM leases WHERE id = ?", (lease,))

    def _do(self, sql: str, values: Sequence[Value]) -> None:
        self._store.write(lambda writer: writer.execute(sql, values))


def _row(row: Row) -> LeaseRow:
    """What a row says. Raises BadInput (``lease_damaged``): it was not written here."""
    texts = [*row[:_TEXTS], *row[_TEXTS + 3:]]
    issued_at, expires_at, kept = row[_TEXTS:_TEXTS + 3]
    if not all(isinstance(one, str) for one in texts) or not isinstance(kept, bytes):
        raise BadInput("a lease's row has other types than were written", code="lease_damaged")
    lease, tenant, agent, role, launch, secret, scope, revision, state, reason, by = cast("list[str]", texts)
    begin, end = _time(issued_at), _time(expires_at)
    if state not in _STATES or not lease.isalnum() or end - begin > MAX_SECONDS + _SLACK:
        raise BadInput("a lease's row says what no lease is", code="lease_damaged")
    return LeaseRow(
        id=lease, owner=Owner(tenant=tenant, agent=agent, role=role), launch=launch, secret=secret, scope=scope,
        revision=revision, state=cast("State", state), issued_at=begin, expires_at=end, kept=kept,
        reason=reason, by=by)


def _time(value: Value) -> float:
    """Raises BadInput (``lease_damaged``)."""
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise BadInput("a lease's row has a time that is none", code="lease_damaged")
    return float(value)
