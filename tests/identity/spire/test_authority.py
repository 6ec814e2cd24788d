"""SVIDs of a SPIRE agent: whose they are, what is believed of them, and what happens when it goes and comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_der_private_key
from tests.fakes import FakeJournal, run, until
from tests.identity.spire.fake import FakeSpire, spire_of
from tests.identity.svid.corpus import partner
from tests.identity.svid.workshop import ecdsa
from tests.identity.svid.world import ANA, ONE, World
from tests.identity.workload.bench import bench

from ringwall.call import Denied, LaunchId
from ringwall.clock import SystemClock
from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.spire import authority as module
from ringwall.identity.spire.agent import SpireAgent, direct
from ringwall.identity.spire.authority import SpireAuthority
from ringwall.identity.svid import issue
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.tokens import TokenValidator
from ringwall.identity.svid.verifier import X509Verifier

SAM = SpiffeId.parse("spiffe://example.org/tenant/acme/agent/sam/role/payer")


class Office:
    """A SPIRE agent and an authority that asks it. ``denied``: why nobody may have an SVID."""

    def __init__(self, folder: Path, world: World, spire: FakeSpire, *, single: bool = False) -> None:
        self.path = folder / "agent.sock"
        self.world, self.spire = world, spire
        self.journal = FakeJournal()
        self.denied: Denied | None = None
        self.frozen = ""
        self.foreign: dict[str, Bundle] = {}
        self.agent = SpireAgent(lambda: direct(str(self.path)))
        self.authority = SpireAuthority(
            trust_domain="example.org", socket=str(self.path), own=self.agent, caller=lambda who: self.agent,
            single=single, clock=world.clock, journal=self.journal, entitled=lambda who, launch: self.denied,
            frozen=lambda who: self.frozen, foreign=lambda: self.foreign)


@asynccontextmanager
async def office(folder: Path, *entries: SpiffeId, single: bool = False) -> AsyncGenerator[Office, None]:
    world = World(folder)
    await world.authority.start()
    made = Office(folder, world, spire_of(world, *entries), single=single)
    async with made.spire.listening(made.path):
        tending = asyncio.create_task(made.authority.tend())
        try:
            await made.authority.start()
            yield made
        finally:
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)
            made.agent.close()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACK_OFF", (0.01,))


def test_an_identity_gets_exactly_its_own_svids_from_spire(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path, SAM, ANA) as made:
            svid = await made.authority.x509_svid(ANA, ONE)
            seen = X509Verifier(made.authority.bundles, made.world.clock).verify(svid.chain, expected=str(ANA))
            assert seen.expires_at == svid.expires_at
            assert load_der_private_key(svid.key, None).public_key() is not None
            token = await made.authority.jwt_svid(ANA, ONE, ["billing"])
            validator = TokenValidator(made.authority.bundles, made.world.clock)
            assert str(validator.validate(token.token, ["billing"]).spiffe_id) == str(ANA)
            assert [event.body for event in made.journal.of("count")] == [
                {"use": "x509", "from": "spire"}, {"use": "jwt", "from": "spire"}]
            status: Any = made.authority.status()
            assert status["source"] == "spire" and status["known"] and not status["fault"] and status["weaker"]

    run(scenario())


def test_one_that_is_not_registered_gets_nothing_and_the_remedy_says_how(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path, SAM) as made:
            for asked in (made.authority.x509_svid(ANA, ONE), made.authority.jwt_svid(ANA, ONE, ["b"])):
                with pytest.raises(Refused, match="spire_not_registered") as caught:
                    await asked
                assert str(ANA) in caught.value.remedy and str(SAM) in caught.value.cause

    run(scenario())


def test_an_ordinary_user_has_one_identity_and_all_others_are_refused(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path, SAM, ANA, single=True) as made:
            assert (await made.authority.x509_svid(SAM, ONE)).spiffe_id == SAM
            with pytest.raises(Refused, match="spire_not_registered"):
                await made.authority.x509_svid(ANA, ONE)
            status: Any = made.authority.status()
            assert "one identity" in status["weaker"][0]

    run(scenario())


def test_who_may_have_none_is_refused_before_spire_is_asked(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path, ANA) as made:
            made.denied = Denied(code="frozen", reason="a test")
            with pytest.raises(Refused, match="frozen"):
                await made.authority.x509_svid(ANA, ONE)
            made.denied = None
            other = SpiffeId.make(trust_domain="other.test", tenant="a", agent="b", role="c")
            with pytest.raises(Refused, match="svid_wrong_domain"):
                await made.authority.x509_svid(other, ONE)
            with pytest.raises(BadInput, match="svid_bad_csr"):
                await made.authority.x509_svid(ANA, ONE, b"csr")
            assert not [method for _, method in made.spire.asked if "SVID" in method]
            made.frozen = "a test"
            assert made.authority.revoked(str(ANA), "7") == "a test"
            assert made.authority.revoked("spiffe://partner.test/x", "7") == ""

    run(scenario())


@pytest.mark.parametrize("lie", ["another key", "another's certificate", "garbage", "a partner's", "empty"])
def test_a_spire_that_lies_is_not_believed(tmp_path: Path, lie: str) -> None:
    async def scenario() -> None:
        async with office(tmp_path, ANA) as made:
            others = await made.world.authority.x509_svid(SAM, ONE)
            change: dict[str, Any] = {
                "another key": {"x509_svid_key": issue.pkcs8(ecdsa("other"))},
                "another's certificate": {"x509_svid": others.chain[0], "x509_svid_key": others.key},
                "garbage": {"x509_svid": b"\x30\x82\xff\xffx"}, "a partner's": {"x509_svid": partner().certificate},
                "empty": {"x509_svid": b""},
            }[lie]
            made.spire.spoil = lambda one: one.update(change)
            with pytest.raises(RingwallError) as caught:
                await made.authority.x509_svid(ANA, ONE)
            assert caught.value.code.startswith(("svid_", "spire_bad_answer"))
            assert not made.journal.of("count")

    run(scenario())


def test_a_token_for_somebody_else_or_for_more_is_not_handed_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path, ANA) as made:
            for who, audience in ((SAM, ["a"]), (ANA, ["a", "b"]), (ANA, ["b"])):
                other = (await made.world.authority.jwt_svid(who, ONE, audience)).token
                made.spire.spoil = lambda one, other=other: one.update(svid=other)
                with pytest.raises(RingwallError):
                    await made.authority.jwt_svid(ANA, ONE, ["a"])

    run(scenario())


def test_bundles_follow_and_survive_a_spire_that_goes_and_comes(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path, ANA) as made:
            told: list[int] = []
            made.authority.on_change(lambda: told.append(1))
            before = made.authority.bundle()
            made.world.foreign["partner.test"] = Bundle(trust_domain="partner.test",
                                                        authorities=(partner().certificate,))
            made.world.authority.changed()
            await until(lambda: "partner.test" in made.authority.bundles())
            assert told
            made.spire.drop()
            await until(lambda: made.authority.status()["fault"])
            assert made.authority.bundle().authorities == before.authorities
            await asyncio.sleep(0.05)
            assert (await made.authority.x509_svid(ANA, ONE)).spiffe_id == ANA
            await until(lambda: not made.authority.status()["fault"])
            made.foreign["partner.test"] = Bundle(trust_domain="partner.test")
            assert made.authority.bundles()["partner.test"].authorities == ()  # ours goes before SPIRE's

    run(scenario())


def test_a_runtime_that_spire_no_longer_knows_believes_nobody(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path, ANA) as made:
            made.spire.entries = lambda uid: []
            made.world.authority.changed()
            await until(lambda: not made.authority.status()["known"])
            with pytest.raises(Unavailable, match="svid_not_ready"):
                made.authority.bundle()
            assert "spire_no_identity" in str(made.authority.status()["fault"])

    run(scenario())


def test_without_an_agent_nothing_is_issued_and_the_status_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        monkeypatch.setattr(module, "START_SECONDS", 0.05)
        world = World(tmp_path)
        made = Office(tmp_path, world, spire_of(world, ANA))
        tending = asyncio.create_task(made.authority.tend())
        await made.authority.start()
        with pytest.raises(Unavailable, match="spire_unreachable"):
            await made.authority.x509_svid(ANA, ONE)
        status: Any = made.authority.status()
        assert "spire_unreachable" in status["fault"] and not status["known"]
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)

    run(scenario())


def test_an_svid_that_is_about_to_expire_is_not_handed_out(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with office(tmp_path, ANA) as made:
            made.world.clock.seconds += 1
            svid = await made.world.authority.x509_svid(ANA, ONE)
            made.spire.spoil = lambda one: one.update(x509_svid=svid.chain[0], x509_svid_key=svid.key)
            made.world.clock.seconds = svid.expires_at - 10
            with pytest.raises(Unavailable, match="svid_not_ready"):
                await made.authority.x509_svid(ANA, ONE)

    run(scenario())


def test_our_own_workload_api_can_be_the_agent(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with bench(tmp_path) as theirs:
            path = await theirs.launch("alice")
            agent = SpireAgent(lambda: direct(str(path)))
            made = SpireAuthority(
                trust_domain="acme.example", socket=str(path), own=agent, caller=lambda who: agent, single=True,
                clock=SystemClock(), journal=FakeJournal(), entitled=lambda who, launch: None,
                frozen=lambda who: "", foreign=dict)
            tending = asyncio.create_task(made.tend())
            await made.start()
            who = SpiffeId.parse("spiffe://acme.example/tenant/acme/agent/alice/role/caller")
            assert (await made.x509_svid(who, LaunchId("x"))).spiffe_id == who
            assert (await made.jwt_svid(who, LaunchId("x"), ["billing.acme.example"])).token
            with pytest.raises(Refused, match="spire_no_identity"):
                await made.jwt_svid(who, LaunchId("x"), ["else.example"])
            assert made.bundle().jwt_keys.keys() == theirs.authority.bundle().jwt_keys.keys()
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)
            agent.close()

    run(scenario())
