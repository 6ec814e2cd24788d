"""An agent reads a secret itself: told before it has it, in clear and without the value."""

from __future__ import annotations

from typing import Any, cast

from tests.fakes import ALICE, FakeClock, FakeJournal, call, run

from ringwall.call import Chunk, Last, Operator, Subject
from ringwall.errors import RingwallError, Unavailable
from ringwall.runtime.reading_secrets import PAUSE_S, Alerts, ReadEffect
from ringwall.vault.interface import Secrets

VALUE = b"hunter2-hunter2"


class Bench:
    def __init__(self) -> None:
        self.journal = FakeJournal()
        self.asked: list[tuple[Any, ...]] = []
        self.told: list[tuple[str, str]] = []
        self.answer: bytes | RingwallError = VALUE
        self.effect = ReadEffect(cast("Secrets", self), self.journal, self._alert)

    def _alert(self, who: str, name: str) -> None:
        self.told.append((who, name))

    async def value(self, *asked: Any) -> bytes:
        self.asked.append(asked)
        if isinstance(self.answer, RingwallError):
            raise self.answer
        return self.answer

    def read(self, target: str = "read/key", subject: Subject = ALICE) -> list[Chunk | Last]:
        async def main() -> list[Chunk | Last]:
            return [one async for one in self.effect.run(call(target, kind="secret", subject=subject), {})]

        return run(main())


def test_the_value_comes_as_one_chunk_after_the_alert_is_on_the_record() -> None:
    bench = Bench()
    chunk, last = bench.read()
    assert (chunk, last) == (Chunk(value={"value": VALUE.decode()}), Last(end="done"))
    assert bench.asked == [(ALICE.spiffe_id, ALICE.launch, "key")]
    (event,) = bench.journal.of("note")
    assert (event.type, event.tenant, event.subject) == ("secret_read", "acme", str(ALICE.spiffe_id))
    assert event.body["secret"] == "key"
    assert VALUE.decode() not in repr(event)
    assert bench.told == [(f"{ALICE.spiffe_id} [acme/1]", "key")]


def test_bytes_that_are_no_text_come_in_base64() -> None:
    bench = Bench()
    bench.answer = b"\xff\x00"
    assert bench.read()[0] == Chunk(value={"base64": "/wA="})


def test_without_the_record_there_is_no_value() -> None:
    bench = Bench()
    bench.journal.broken.add("note")
    (last,) = bench.read()
    assert isinstance(last, Last)
    assert (last.end, bench.told) == ("failed", [])


def test_a_failure_tells_the_agent_its_code_and_no_more() -> None:
    bench = Bench()
    bench.answer = Unavailable("/srv/secrets/key cannot be opened", code="secret_unreadable")
    (last,) = bench.read()
    assert isinstance(last, Last)
    assert last.error == {"code": "secret_unreadable", "reason": "the secret cannot be read now"}
    assert (bench.told, bench.journal.log) == ([], [])


def test_nobody_but_a_process_reads_and_nothing_but_a_reading_is_answered() -> None:
    bench = Bench()
    for last in (*bench.read(subject=Operator(name="root", uid=0, connection=1)), *bench.read("svid/jwt")):
        assert isinstance(last, Last)
        assert last.end == "failed"
    assert bench.asked == []


def test_a_terminal_that_is_gone_keeps_no_reading_back() -> None:
    def gone(_: str) -> None:
        raise BrokenPipeError

    counted = list[int]()
    Alerts(FakeClock(), gone, lambda: counted.append(1))("alice [acme/1]", "key")
    assert counted == [1]


def test_a_flood_of_readings_is_counted_whole_and_said_once_a_second() -> None:
    clock, said, counted = FakeClock(), list[str](), list[int]()
    alerts = Alerts(clock, said.append, lambda: counted.append(1))
    for _ in range(5):
        alerts("alice [acme/1]", "key")
    clock.seconds += PAUSE_S
    alerts("alice [acme/6]", "key")
    assert (len(counted), len(said)) == (6, 2)
    assert said[0] == "ringwall: ALERT alice [acme/1] reads the secret key itself"
    assert said[1].endswith("(4 more readings before this one: see the log)")
