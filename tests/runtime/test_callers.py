"""Peers that were let in: places that nobody takes from others, and proofs that end with what they stood on."""

from __future__ import annotations

import asyncio
import weakref
from typing import Any

import pytest
from tests.fakes import until
from tests.parley import IDS
from tests.peers.support import Authority as Ca
from tests.runtime.test_peering import NOW, SAM, Bench, bench

from ringwall.call import Denied, LaunchId, Peer, SessionId
from ringwall.errors import Refused
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.verifier import Verified
from ringwall.peers.interface import PeerConnection
from ringwall.runtime import callers
from ringwall.runtime.callers import Place

PARTNER = Ca.of("partner.test", "callers", now=NOW)
FRIEND = SpiffeId.parse("spiffe://partner.test/tenant/a/agent/friend/role/r")


def partner(number: int) -> SpiffeId:
    return SpiffeId.parse(f"spiffe://partner.test/tenant/a/agent/n{number}/role/r")


def known(receiver: SpiffeId, peer: AnyId) -> bool:
    return str(peer) in {str(IDS["ana"]), str(FRIEND)}


def admit(made: Bench, who: SpiffeId) -> PeerConnection:
    made.callers._knows = known  # pyright: ignore[reportPrivateUsage]
    proved = Verified(spiffe_id=AnyId.parse(str(who)), number="1", expires_at=NOW + 900)
    place = Place(receiver=SAM, launch=LaunchId("l1"), session=SessionId("s"))
    return made.callers.admit(place, proved, (b"",))


def test_strangers_share_their_places_and_leave_those_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "MAX_STRANGERS", 3)

    async def work(made: Bench) -> None:
        for number in range(3):
            admit(made, partner(number))
        for number in range(3, 6):
            with pytest.raises(Refused, match="too many"):
                admit(made, partner(number))
        subjects = {event.subject for what, event in made.journal.log if what == "count"}
        assert subjects == {"spiffe://partner.test"}, "one record, whatever names they give themselves"
        for who in (FRIEND, IDS["ana"]):
            admit(made, who)

    bench(work)


def test_one_other_trust_domain_does_not_take_all_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(callers, "MAX_OF_DOMAIN", 3)

    async def work(made: Bench) -> None:
        for number in range(2):
            admit(made, partner(number))
        admit(made, FRIEND)
        with pytest.raises(Refused, match="too many"):
            admit(made, FRIEND)
        for _ in range(4):
            admit(made, IDS["ana"])  # of our own: other limits hold

    bench(work)


def test_a_withdrawn_authority_ends_what_was_let_in_by_it() -> None:
    async def work(made: Bench) -> None:
        bundles = made.office.foreign
        bundles["partner.test"] = PARTNER.bundle
        await made.add()
        await until(lambda: made.office.count("gate"))
        pipe = await made.knock(FRIEND, ca=PARTNER)
        assert pipe is not None
        peer = Peer(spiffe_id=AnyId.parse(str(FRIEND)), receiver=SAM, launch=LaunchId("l1"), connection=1)

        def code() -> str:
            found = made.callers.attest(peer)
            return found.code if isinstance(found, Denied) else ""

        assert code() == ""
        more = Ca.of("partner.test", "next", now=NOW).signer.certificate
        for authorities, expected in (
            ((PARTNER.signer.certificate, more), ""), ((more,), "svid_untrusted"), ((), "svid_no_authority"),
            ((more, PARTNER.signer.certificate), ""),
        ):
            bundles["partner.test"] = Bundle(trust_domain="partner.test", authorities=authorities)
            assert code() == expected
        del bundles["partner.test"]
        assert code() == "svid_unknown_domain"
        pipe.close()

    bench(work)


def test_nothing_is_left_of_a_connection_that_ended_although_its_certificate_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[weakref.ref[asyncio.TimerHandle]] = []

    async def work(made: Bench) -> None:
        await made.add()
        await until(lambda: made.office.count("gate"))
        loop = asyncio.get_running_loop()
        plain = loop.call_later

        def noted(delay: float, callback: Any, *args: Any, **more: Any) -> asyncio.TimerHandle:
            handle = plain(delay, callback, *args, **more)
            if delay > 500:
                left.append(weakref.ref(handle))
            return handle

        monkeypatch.setattr(loop, "call_later", noted)
        for _ in range(3):
            pipe = await made.knock()
            assert pipe is not None
            pipe.close()
            await until(lambda: made.connections == 0)
        handles = [handle for ref in left if (handle := ref()) is not None]
        assert len(left) == 3
        assert all(handle.cancelled() for handle in handles)

    bench(work)
