"""What sidecars are given and when, and who is let in at a listener, while things end, jump and run out."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

import pytest
from tests.fakes import FakeClock, FakeJournal, run, until
from tests.parley import IDS, parley
from tests.peers.support import Authority as Ca
from tests.talking import free_ports

from ringwall.call import Call, Denied, LaunchId, Peer, SessionId
from ringwall.doors.interface import App
from ringwall.errors import Refused, Unavailable
from ringwall.flow.book import LabelBook
from ringwall.identity.registry import Registry
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.identity.svid.interface import Authority, Bundle, X509Svid
from ringwall.interface import Journal
from ringwall.peers.line import PeerLine
from ringwall.peers.protocol import Incoming
from ringwall.runtime import callers, peering
from ringwall.runtime.callers import Callers
from ringwall.runtime.peering import Peering
from ringwall.runtime.runs import Tasks
from ringwall.runtime.sessions import Session, Sessions

NOW = 1_800_000_000.0
CA = Ca.of("acme.example", "peering", now=NOW)
OTHER = Ca.of("acme.example", "stranger", now=NOW)
ANA, SAM = IDS["ana"], IDS["sam"]


class Office:
    """The authority, the registry and the line, as far as peering sees them."""

    def __init__(self) -> None:
        self.frozen = self.down = ""
        self.withdrawn: set[str] = set()
        self.foreign: dict[str, Bundle] = {}
        self.gone: set[str] = set()
        self.callbacks: list[Callable[[], None]] = []
        self.given: list[tuple[str, str]] = []
        self.fronts: list[X509Svid] = []
        self.clock = FakeClock()
        self.clock.seconds = NOW
        self.on_incoming: Any = None
        self.on_up: Callable[[], None] = lambda: None

    # authority

    async def x509_svid(self, spiffe_id: SpiffeId, launch: LaunchId) -> X509Svid:
        if self.frozen:
            raise Refused("it is frozen", code="frozen")
        return CA.svid(str(spiffe_id), now=self.clock.now())

    def bundles(self) -> Mapping[str, Bundle]:
        return {**self.foreign, "acme.example": CA.bundle}

    def revoked(self, spiffe_id: str, number: str) -> str:
        return "its launch is over" if spiffe_id in self.withdrawn else ""

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        self.callbacks.append(callback)
        return lambda: None

    # registry

    def entitled(self, spiffe_id: SpiffeId, launch: LaunchId) -> Denied | None:
        return Denied(code="not_registered", reason="it is over") if launch in self.gone else None

    # line

    def _tell(self, what: str, launch: str) -> None:
        if self.down:
            raise Unavailable("it is down", code=self.down)
        self.given.append((what, launch))

    async def identity(self, svid: X509Svid, launch: str) -> None:
        self._tell("identity", launch)
        self.fronts.append(svid)

    async def trust(self, bundles: Mapping[str, Bundle]) -> None:
        self._tell("trust", "")

    async def dismiss(self, launch: str) -> None:
        self._tell("dismiss", launch)

    async def gate(self, launch: str, listener: socket.socket) -> None:
        self._tell("gate", launch)

    async def inside(self, launch: str, sockets: Sequence[int]) -> None:
        self._tell("inside", launch)

    async def later(self, condition: Callable[[], object]) -> None:
        """Until something is so, while time goes on."""

        def ticking() -> object:
            self.clock.seconds += 1.0
            return condition()

        await until(ticking)

    def count(self, what: str, launch: str = "l1") -> int:
        return self.given.count((what, launch))


class Bench:
    def __init__(self) -> None:
        self.office, self.journal = Office(), FakeJournal()
        self.port = free_ports(1)[0]
        self.manifest = parley(("127.0.0.1:7002", f"127.0.0.1:{self.port}"))
        self.faults: list[BaseException] = []
        self.begun: list[tuple[str, str]] = []
        office = cast("Any", self.office)
        self.callers = Callers(registry=cast("Registry", office), authority=cast("Authority", office),
                               journal=cast("Journal", self.journal), clock=self.office.clock)
        self.peering = Peering(
            callers=self.callers, authority=cast("Authority", office), sessions=Sessions(),
            book=LabelBook(cast("Journal", self.journal)), clock=self.office.clock, tasks=Tasks(self.faults.append),
            app=lambda: cast("App", _no_app), begins=lambda session, who: self.begun.append((session, str(who))),
        )
        self.peering.serve({"acme": cast("PeerLine", office)})

    async def add(self, launch: str = "l1", inside: Sequence[int] = (7, 8)) -> None:
        session = Session(id=SessionId(f"s-{launch}"), tenant="acme", agent="sam", launch=LaunchId(launch),
                          context="c", task="t")
        await self.peering.add(session, SAM, self.manifest.tenants["acme"].agents["sam"], inside)

    async def knock(self, who: SpiffeId = ANA, *, launch: str = "l1", ca: Ca = CA) -> socket.socket | None:
        svid = ca.svid(str(who), now=self.office.clock.now())
        return await self.office.on_incoming(Incoming(connection=1, launch=launch, chain=list(svid.chain)))

    @property
    def told(self) -> list[str]:
        """Codes of those who were turned away and counted."""
        return [event.body["code"] for what, event in self.journal.log if what == "count"]

    @property
    def connections(self) -> int:
        return self.callers.count(LaunchId("l1"))


async def _no_app(scope: object, receive: object, send: object) -> None:
    """Nobody asks for anything here."""


def bench(work: Callable[[Bench], Awaitable[None]]) -> None:
    async def whole() -> None:
        made = Bench()
        try:
            await work(made)
        finally:
            made.office.down = ""
            await made.peering.close()
        assert not made.faults

    run(whole())


def test_a_sidecar_gets_each_thing_once_and_a_fresh_one_gets_all_again() -> None:
    async def work(made: Bench) -> None:
        office = made.office
        await made.add()
        await until(lambda: office.count("gate"))
        assert [what for what, _ in office.given if what != "trust"] == ["identity", "inside", "gate"]
        for callback in office.callbacks:
            callback()
        await until(lambda: office.count("trust", "") == 2)
        assert office.count("inside") == 1
        office.on_up()
        await until(lambda: office.count("gate") == 2)
        assert (office.count("identity"), office.count("inside")) == (2, 2)

    bench(work)


@pytest.mark.parametrize("jump", [500.0, 3600.0, -3600.0, -100.0])
def test_an_svid_is_renewed_by_the_wall_clock_also_when_that_jumps(
    monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    monkeypatch.setattr(peering, "LOOK_SECONDS", 0.001)

    async def work(made: Bench) -> None:
        await made.add()
        await until(lambda: made.office.count("gate"))
        made.office.clock.seconds += jump
        await until(lambda: made.office.count("identity") == 2)
        newest = made.office.fronts[-1]
        assert newest.issued_at == made.office.clock.now()
        assert (made.office.count("inside"), made.office.count("gate")) == (1, 1)

    bench(work)


def test_what_could_not_be_had_is_told_and_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peering, "LOOK_SECONDS", 0.001)

    async def work(made: Bench) -> None:
        made.office.frozen = "yes"
        await made.add()
        await until(lambda: str(SAM) in made.peering.problems)
        made.office.frozen, made.office.down = "", "sidecar_unavailable"
        await made.office.later(lambda: "it is down" in made.peering.problems.get(str(SAM), ""))
        made.office.down = ""
        await made.office.later(lambda: made.office.count("gate"))
        assert str(SAM) not in made.peering.problems

    bench(work)


def test_a_port_that_is_taken_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peering, "PORT_SECONDS", 0.001)

    async def work(made: Bench) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", made.port))
            await made.add()
            await until(lambda: made.office.count("identity"))
            assert "nothing can listen" in made.peering.problems[f"127.0.0.1:{made.port}"]
            assert made.office.count("gate") == 0
            assert await made.knock() is None
        await until(lambda: made.office.count("gate"))
        assert (made.office.count("identity"), made.office.count("inside")) == (1, 1)
        assert not made.peering.problems

    bench(work)


@pytest.mark.parametrize(("case", "code"), [
    ("no such launch", ""), ("another authority", "svid_"), ("withdrawn", "svid_revoked"),
    ("over", "not_registered"), ("too many of one", "too_many_connections"), ("expired", "svid_"),
    ("no descriptors", "too_many_connections"),
])
def test_who_may_not_come_in_is_refused_and_counted(
    monkeypatch: pytest.MonkeyPatch, case: str, code: str
) -> None:
    monkeypatch.setattr(callers, "MAX_OF_ONE", 1)

    def no_descriptors() -> None:
        raise OSError(24, "Too many open files")

    async def work(made: Bench) -> None:
        await made.add()
        await until(lambda: made.office.count("gate"))
        first = await made.knock(IDS["gus"])
        assert first is not None
        match case:
            case "withdrawn":
                made.office.withdrawn.add(str(ANA))
            case "over":
                made.office.gone.add("l1")
            case "too many of one":
                held = await made.knock()
                assert held is not None
                held.close()  # the sidecar's end: the core still counts its own
            case "expired":
                made.office.clock.seconds += 5000
            case "no descriptors":
                monkeypatch.setattr(peering.socket, "socketpair", no_descriptors)
        before = made.connections
        answer = None
        if case == "expired":
            svid = CA.svid(str(ANA), now=NOW)
            answer = await made.office.on_incoming(Incoming(connection=2, launch="l1", chain=list(svid.chain)))
        else:
            answer = await made.knock(launch="l9" if case == "no such launch" else "l1",
                                      ca=OTHER if case == "another authority" else CA)
        assert answer is None
        assert made.connections <= before
        assert len(made.told) == (1 if code else 0)
        assert not code or made.told[0].startswith(code), made.told
        first.close()

    bench(work)


def test_the_proof_is_asked_for_again_and_ends_with_what_it_stood_on() -> None:
    async def work(made: Bench) -> None:
        await made.add()
        await until(lambda: made.office.count("gate"))
        pipe = await made.knock()
        assert pipe is not None
        peer = Peer(spiffe_id=AnyId.parse(str(ANA)), receiver=SAM, launch=LaunchId("l1"), connection=1)
        facts = made.callers.attest(peer)
        assert isinstance(facts, dict)
        assert facts["via"] == "tls"

        def code(of: Peer = peer) -> str:
            found = made.callers.attest(of)
            return found.code if isinstance(found, Denied) else ""

        for wrong in (
            Peer(spiffe_id=AnyId.parse(str(IDS["gus"])), receiver=SAM, launch=LaunchId("l1"), connection=1),
            Peer(spiffe_id=AnyId.parse(str(ANA)), receiver=IDS["gus"], launch=LaunchId("l1"), connection=1),
            Peer(spiffe_id=AnyId.parse(str(ANA)), receiver=SAM, launch=LaunchId("l2"), connection=1),
            Peer(spiffe_id=AnyId.parse(str(ANA)), receiver=SAM, launch=LaunchId("l1"), connection=2),
        ):
            assert code(wrong) == "connection_closed"
        made.office.withdrawn.add(str(ANA))
        assert code() == "svid_revoked"
        made.office.withdrawn.clear()
        made.office.gone.add("l1")
        assert code() == "not_registered"
        made.office.gone.clear()
        assert code() == ""
        made.office.clock.seconds += 5000
        assert code() == "svid_expired"
        pipe.close()
        await until(lambda: made.connections == 0)
        assert code() == "connection_closed"

    bench(work)


def test_a_launch_that_ends_takes_its_connections_along_and_another_takes_its_place() -> None:
    async def work(made: Bench) -> None:
        await made.add()
        await made.add("l2")
        await until(lambda: made.office.count("gate") and made.office.count("identity", "l2"))
        assert made.office.count("gate", "l2") == 0
        assert await made.knock(launch="l2") is None
        pipe = await made.knock()
        assert pipe is not None
        pipe.setblocking(False)
        await made.peering.remove(LaunchId("l1"))
        await until(lambda: made.office.count("gate", "l2"))
        assert made.office.count("dismiss") == 1
        assert made.office.count("inside", "l2") == 1, "twice would be one socket for two conversations"
        await until(lambda: made.connections == 0)
        assert await _ended(pipe)
        pipe.close()
        fresh = await made.knock(launch="l2")
        assert fresh is not None
        fresh.close()
        assert made.peering.status()["listening"][str(SAM)]["address"] == f"127.0.0.1:{made.port}"

    bench(work)


async def _ended(sock: socket.socket) -> bool:
    with contextlib.suppress(ConnectionResetError):
        return await asyncio.get_running_loop().sock_recv(sock, 1) == b""
    return True


def test_an_agent_that_talks_to_nobody_gets_nothing() -> None:
    async def work(made: Bench) -> None:
        silent = made.manifest.tenants["acme"].agents["sam"]
        session = Session(id=SessionId("s"), tenant="globex", agent="gus", launch=LaunchId("l5"), context="c",
                          task="t")
        await made.peering.add(session, IDS["gus"], silent, ())  # no sidecar of that tenant is there
        assert made.peering.status()["listening"] == {}
        assert made.office.count("identity", "l5") == 0

    bench(work)


def test_a_label_that_nobody_knows_is_the_worst() -> None:
    async def work(made: Bench) -> None:
        peer = Peer(spiffe_id=AnyId.parse(str(ANA)), receiver=SAM, launch=LaunchId("l9"), connection=1)
        assert made.peering.receivers_label(peer) == "U secret"
        call = cast("Call", type("Call", (), {"session": None})())
        assert made.peering.label(call) == "U secret"

    bench(work)


def test_whose_tasks_are_unfinished_is_asked_before_a_session_may_talk() -> None:
    async def scenario() -> None:
        bench = Bench()
        await bench.add()
        who = "spiffe://acme.example/tenant/acme/agent/sam/role/"
        [(session, agent)] = bench.begun
        assert (session, agent.startswith(who)) == ("s-l1", True)
        await bench.peering.close()

    run(scenario())
