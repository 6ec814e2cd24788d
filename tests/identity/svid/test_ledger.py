"""What is remembered of issued SVIDs: bounded, and no tenant's hoard keeps another from an identity."""

from __future__ import annotations

import pytest

from ringwall.call import LaunchId
from ringwall.errors import Unavailable
from ringwall.identity.svid.ledger import PRUNE_SECONDS, Ledger

NOW = 1_800_000_000.0


def issue(ledger: Ledger, tenant: str, number: str, *, now: float = NOW, ends: float = NOW + 900) -> bool:
    try:
        ledger.check_room(tenant, now)
    except Unavailable:
        return False
    ledger.add(tenant, LaunchId(f"launch-{tenant}"), number, ends)
    return True


def hoarded(most: int = 10) -> Ledger:
    ledger = Ledger(most)
    assert [issue(ledger, "evil", f"e{i}") for i in range(most + 1)] == [True] * most + [False]
    return ledger


def test_a_tenant_that_hoards_keeps_no_other_from_an_svid() -> None:
    ledger = hoarded()
    assert [issue(ledger, "acme", f"a{i}") for i in range(6)] == [True] * 5 + [False]
    assert not issue(ledger, "evil", "more")


@pytest.mark.parametrize("tenants", [1, 3, 50])
def test_it_never_holds_more_than_twice_its_size(tenants: int) -> None:
    ledger = hoarded()
    for number in range(20):
        for tenant in range(tenants):
            issue(ledger, f"t{tenant}", f"{tenant}-{number}")
    assert len(ledger) <= 20


def test_what_was_withdrawn_still_counts_as_its_tenants_until_it_expires() -> None:
    ledger = hoarded()
    ledger.revoke(LaunchId("launch-evil"))
    assert not issue(ledger, "evil", "more")
    assert issue(ledger, "acme", "a")
    assert ledger.revoked("e1")
    assert issue(ledger, "evil", "more", now=NOW + 961, ends=NOW + 1861)
    assert not ledger.revoked("e1")


def test_a_full_ledger_is_not_searched_anew_for_each_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger, looks = hoarded(), list[float]()
    prune = ledger.prune

    def counted(now: float) -> None:
        looks.append(now)
        prune(now)

    monkeypatch.setattr(ledger, "prune", counted)
    later = NOW + PRUNE_SECONDS
    assert not any(issue(ledger, "evil", "more", now=later + step) for step in (0.0, 1.0, 2.0))
    assert looks == [later]
