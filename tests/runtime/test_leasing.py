"""Leases as operators handle them: by lease, agent, tenant or prefix."""

from __future__ import annotations

from typing import Any

import pytest
from tests.fakes import call, run

from ringwall.call import Operator
from ringwall.errors import BadInput
from ringwall.runtime.leasing import Leasing
from ringwall.vault.lease_book import LeaseInfo, Selection

ROOT = Operator(name="root", uid=0, connection=1)
ONE = LeaseInfo(lease="l1", tenant="acme", agent="ana", role="reader", secret="cloud", state="active",
                issued_at=1000.0, expires_at=1900.0)


class FakeLeases:
    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def listed(self, selection: Selection | None = None) -> list[LeaseInfo]:
        self.asked.append(("listed", selection))
        return [ONE]

    async def renew(self, lease: str, by: str) -> LeaseInfo:
        self.asked.append(("renew", lease, by))
        return ONE

    async def revoke(self, selection: Selection, by: str) -> list[LeaseInfo]:
        self.asked.append(("revoke", selection, by))
        return [ONE]


def ask(leases: FakeLeases, verb: str, **args: Any) -> Any:
    return run(Leasing(leases).acts()[verb](call(verb, args, kind="operate", subject=ROOT, session=None)))


def test_each_act_names_what_it_means_and_who_wants_it() -> None:
    leases = FakeLeases()
    listed = ask(leases, "leases.list")
    assert listed["leases"][0]["lease"] == "l1"
    assert "values" not in listed["leases"][0]
    ask(leases, "leases.renew", lease="l1")
    ask(leases, "leases.revoke", tenant="acme", agent="ana")
    ask(leases, "leases.revoke", prefix="cloud/")
    assert leases.asked == [
        ("listed", Selection()), ("renew", "l1", "operator:root"),
        ("revoke", Selection(tenant="acme", agent="ana"), "operator:root"),
        ("revoke", Selection(prefix="cloud/"), "operator:root")]


@pytest.mark.parametrize(("verb", "args"), [
    ("leases.list", {"x": 1}), ("leases.renew", {}), ("leases.renew", {"lease": 3}),
    ("leases.revoke", {"agent": "ana"}), ("leases.revoke", {"tenant": None})])
def test_what_is_no_selection_is_refused(verb: str, args: dict[str, Any]) -> None:
    leases = FakeLeases()
    with pytest.raises(BadInput, match=r"bad_act|bad_selection"):
        ask(leases, verb, **args)
    assert leases.asked == []


def test_revoking_waits_for_no_part_that_is_down() -> None:
    assert list(Leasing(FakeLeases()).tightening()) == ["leases.revoke"]
