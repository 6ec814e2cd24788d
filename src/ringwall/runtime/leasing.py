"""What operators do with leases: look at them, let one live longer, end them."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import msgspec

from ringwall.call import Call, Json, subject_name
from ringwall.runtime.acts import Act, arguments
from ringwall.vault.lease_book import LeaseInfo, Selection


class Held(Protocol):
    """The leases (``vault.leases.Leases``)."""

    def listed(self, selection: Selection | None = None) -> list[LeaseInfo]: ...
    async def renew(self, lease: str, by: str) -> LeaseInfo: ...
    async def revoke(self, selection: Selection, by: str) -> list[LeaseInfo]: ...


class _Chosen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``leases.list`` and ``leases.revoke`` take: all that every filled member fits."""

    lease: str = ""
    tenant: str = ""
    agent: str = ""
    prefix: str = ""

    def selection(self) -> Selection:
        """Raises BadInput (``bad_selection``)."""
        return Selection(lease=self.lease, tenant=self.tenant, agent=self.agent, prefix=self.prefix)


class _One(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What ``leases.renew`` takes."""

    lease: str


class Leasing:
    """The acts ``leases.*``. What they change, ``Leases`` writes into the tenant's log by itself.

    Args:
        leases: of this core.

    """

    def __init__(self, leases: Held) -> None:
        self._leases = leases

    def acts(self) -> dict[str, Act]:
        """``leases.list``, ``leases.renew``, ``leases.revoke``."""
        return {"leases.list": self._list, "leases.renew": self._renew, "leases.revoke": self._revoke}

    def tightening(self) -> dict[str, Act]:
        """What must not wait for a part that is down."""
        return {"leases.revoke": self._revoke}

    async def _list(self, call: Call) -> Json:
        selection = arguments(call, _Chosen).selection()
        return {"leases": [dataclasses.asdict(one) for one in self._leases.listed(selection)]}

    async def _renew(self, call: Call) -> Json:
        return dataclasses.asdict(await self._leases.renew(arguments(call, _One).lease, subject_name(call.subject)))

    async def _revoke(self, call: Call) -> Json:
        selection = arguments(call, _Chosen).selection()
        found = await self._leases.revoke(selection, subject_name(call.subject))
        return {"leases": [dataclasses.asdict(one) for one in found]}
