"""Bundle endpoints: when they are asked, what is taken, kept and written down."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.fakes import FakeClock, FakeJournal, run
from tests.identity.endpoint.web import document, partner_ca
from tests.identity.svid.corpus import root

from ringwall.errors import Unavailable
from ringwall.identity.svid.federation import MAX_NAME, Federation
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.polling import MOST_SECONDS, Polling

P = "partner.test"


class World:
    """An endpoint that says what the test says."""

    def __init__(self, folder: Path, file: Path | None = None) -> None:
        self.folder = folder
        self.clock, self.journal = FakeClock(), FakeJournal()
        self.answer: bytes | Exception = document()
        self.known: list[Bundle | None] = []
        self.changes = 0
        self.federation = Federation({P: file} if file is not None else {}, lambda _: None, endpoints=[P],
                                     kept=folder / "federated")
        self.polling = Polling([P], federation=self.federation, fetch=self._fetch, clock=self.clock,
                               journal=self.journal, changed=self._changed)

    async def _fetch(self, domain: str, known: Bundle | None) -> bytes:
        assert domain == P
        self.known.append(known)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def _changed(self) -> None:
        self.changes += 1

    async def ask(self) -> float:
        return await self.polling.ask(P)

    @property
    def held(self) -> Bundle:
        return self.federation.bundles()[P]


def test_a_bundle_is_taken_kept_and_written_down_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        assert await world.ask() == 300
        assert await world.ask() == 300
        assert world.held.sequence == 1 and world.changes == 1
        [event] = world.journal.of("note")
        assert event.type == "federated_bundle" and event.body["domain"] == P and event.body["from"] == "endpoint"
        world.answer = document(sequence=2)
        await world.ask()
        assert [one.body["sequence"] for one in world.journal.of("note")] == [1, 2]
        assert world.polling.status(P) == {"fault": "", "answered": 1000.0}
        kept = tmp_path / "federated" / f"{P}.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        again = World(tmp_path)
        again.federation.restore()
        assert again.held == world.held

    run(scenario())


@pytest.mark.parametrize(("hint", "seconds"), [(None, 300), (0, 60), (90, 90), (86_400, MOST_SECONDS)])
def test_the_hint_says_how_often_within_bounds(tmp_path: Path, hint: int | None, seconds: float) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        world.answer = document(hint=hint)
        assert await world.ask() == seconds

    run(scenario())


def test_an_endpoint_that_fails_is_asked_again_soon_then_less_often(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        world.answer = Unavailable("nobody there", code="endpoint_unreachable")
        assert [await world.ask() for _ in range(6)] == [30, 60, 120, 240, 300, 300]
        assert P not in world.federation.bundles()
        world.answer = document()
        await world.ask()
        world.answer = Unavailable("gone", code="endpoint_slow")
        assert await world.ask() == 30

    run(scenario())


@pytest.mark.parametrize("bad", ["down", "garbage", "older", "no sequence", "another domain's"])
def test_a_bad_answer_leaves_the_last_good_bundle_and_is_said(tmp_path: Path, bad: str) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        world.answer = document(sequence=5)
        await world.ask()
        good = world.held
        world.answer = {
            "down": Unavailable("nobody there", code="endpoint_unreachable"), "garbage": b"{", "older":
            document(sequence=4), "no sequence": document(sequence=None), "another domain's":
            document(root(), sequence=6),
        }[bad]
        await world.ask()
        assert world.held is good and world.changes == 1 and len(world.journal.of("note")) == 1
        assert world.polling.status(P)["fault"]
        world.answer = document(sequence=6)
        await world.ask()
        assert not world.polling.status(P)["fault"]

    run(scenario())


def test_a_first_bundle_from_a_file_is_what_the_endpoint_is_verified_by_and_then_old(tmp_path: Path) -> None:
    async def scenario() -> None:
        file = tmp_path / "first.json"
        file.write_bytes(document(sequence=1))
        world = World(tmp_path, file)
        assert world.federation.look() == (P,)
        world.answer = document(partner_ca("second"), sequence=2)
        await world.ask()
        assert world.known[0] is not None and world.known[0].sequence == 1
        assert world.held.sequence == 2
        again = World(tmp_path, file)
        again.federation.look()
        again.federation.restore()
        assert again.held.sequence == 2 and not again.federation.faults
        file.write_bytes(document(partner_ca("third"), sequence=3))  # the operator's way out of a lost endpoint
        assert again.federation.look() == (P,)
        file.write_bytes(document(sequence=1, hint=60))
        assert again.federation.look() == () and again.held.sequence == 3 and not again.federation.faults

    run(scenario())


def test_a_kept_bundle_that_is_damaged_is_said_and_not_believed(tmp_path: Path) -> None:
    world = World(tmp_path)
    (tmp_path / "federated").mkdir()
    (tmp_path / "federated" / f"{P}.json").write_bytes(b"{}")
    world.federation.restore()
    assert P not in world.federation.bundles() and "federated" in world.federation.faults[P]


def test_without_room_on_disk_a_bundle_holds_all_the_same_and_a_withdrawal_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        world = World(tmp_path)
        (tmp_path / "federated").write_bytes(b"a file where the folder should be")
        world.journal.broken = {"note"}
        await world.ask()
        assert world.held.sequence == 1
        assert [event.type for event in world.journal.of("count")] == ["federated_bundle"]
        assert "svid_bundle_unwritable" in str(world.polling.status(P)["fault"])

    run(scenario())


def test_a_domain_with_a_name_too_long_for_a_file_is_kept_too(tmp_path: Path) -> None:
    domain = "a" * (MAX_NAME + 50)
    federation = Federation({}, lambda _: None, endpoints=[domain], kept=tmp_path / "k")
    assert federation.take(domain, b'{"keys":[]}')
    federation.keep(domain)
    again = Federation({}, lambda _: None, endpoints=[domain], kept=tmp_path / "k")
    again.restore()
    assert domain in again.bundles()
