"""A sidecar that lies about what a peer answered: nothing it makes up, repeats or exchanges is believed."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any, cast

import pytest
from tests.fakes import FakeClock, FakeJournal, run
from tests.parley import IDS, message, params, parley

from ringwall.call import Call, Chunk, Json, Last
from ringwall.identity.svid import issue, signing
from ringwall.identity.svid.interface import Bundle
from ringwall.interface import Journal
from ringwall.peers.effect import MessageEffect
from ringwall.peers.envelope import Envelopes
from ringwall.peers.interface import Answer, Line, answers
from ringwall.peers.pushing import Pushing
from ringwall.peers.tasks import TaskBook

ANA, SAM = str(IDS["ana"]), str(IDS["sam"])
DONE = Last(end="done")
EVENTS: list[Json] = [
    {"task": {"id": "t1", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}}},
    {"artifactUpdate": {"taskId": "t1", "contextId": "c", "append": True,
                        "artifact": {"artifactId": "a", "parts": [{"text": "one"}]}}},
    {"statusUpdate": {"taskId": "t1", "contextId": "c", "status": {"state": "TASK_STATE_COMPLETED"}}},
]
PLAIN: Json = {"message": {"messageId": "a1", "role": "ROLE_AGENT", "parts": [{"text": "fine"}]}}


class Liar:
    """A sidecar's line that says what ``say`` makes of a request's envelope."""

    def __init__(self, say: Callable[[Bench, str], list[Answer | Last]], bench: Bench) -> None:
        self._say, self._bench = say, bench
        self.sent: list[tuple[bytes, str]] = []

    async def send(self, *, body: bytes, envelope: str, **_: Any) -> AsyncGenerator[Answer | Last, None]:
        self.sent.append((body, envelope))
        for item in self._say(self._bench, envelope):
            yield item

    async def own_card(self, **_: Any) -> bytes:
        words = "stolen" * 3
        interface = {"url": "http://x/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        skill = {"id": "quote", "name": words, "description": words, "tags": [words]}
        return json.dumps({
            "name": words, "description": words, "version": words, "supportedInterfaces": [interface],
            "capabilities": {"streaming": True}, "defaultInputModes": ["text/plain"],
            "defaultOutputModes": ["text/plain"], "skills": [skill]}).encode()

    async def deliver(self, *, body: bytes, **_: Any) -> AsyncGenerator[Answer | Last, None]:
        self.sent.append((body, ""))
        for item in self._say(self._bench, ""):
            yield item


class Bench:
    """The effect of one core, and what the honest other one would say."""

    def __init__(self, say: Callable[[Bench, str], list[Answer | Last]], label: str = "M public") -> None:
        clock, key = FakeClock(), issue.new_key()
        bundles = {"acme.example": Bundle(trust_domain="acme.example", authorities=(),
                                          jwt_keys={"k": key.public_key()})}

        def sign(typ: str, payload: bytes) -> str:
            return signing.compact(key, kid="k", typ=typ, payload=payload)

        journal = cast("Journal", FakeJournal())
        self.envelopes = Envelopes(sign=sign, bundles=lambda: bundles, trust_domain="acme.example", clock=clock)
        self.line = Liar(say, self)
        self.book = TaskBook(journal=journal, clock=clock)
        manifest = parley()
        self.effect = MessageEffect(
            manifest=manifest, lines=lambda _: cast("Line", self.line), vouching=self.envelopes,
            book=self.book, pushing=Pushing(manifest, self.book.pushes), label=lambda _: label,
            bundles=lambda: bundles, sign=sign, fits=lambda *_: None,
        )

    def told(self, value: Json, asked: str, number: int = 0, **other: str) -> Answer:
        """An honest answer; ``other``: of somebody else, or to somebody else."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "result": value}).encode()
        ends = {"sender": SAM, "receiver": ANA, **other}
        token, _ = self.envelopes.seal(body=body, label="T public", chain=(), record="acme/9", trace="",
                                       reply_to=answers(asked, number), **ends)
        return Answer(body=body, envelope=token)

    async def ran(self, call: Call) -> tuple[list[Chunk], Last]:
        chunks: list[Chunk] = []
        async for item in self.effect.run(call, {"audit": {"record": "acme/1"}}):
            if isinstance(item, Last):
                return chunks, item
            chunks.append(item)
        raise AssertionError("an effect always ends")


def asked(say: Callable[[Bench, str], list[Answer | Last]], *, method: str = "SendMessage",
          direction: str = "out") -> tuple[list[Chunk], Last]:
    call = message(direction=direction, sender="ana", receiver="sam", skill="quote", method=method,
                   given=params("quote"))
    return run(Bench(say).ran(call))


def test_an_honest_answer_is_believed_with_the_label_that_its_core_says() -> None:
    chunks, last = asked(lambda b, token: [b.told(PLAIN, token), DONE])
    assert [(one.value, one.label) for one in chunks] == [(PLAIN, "T public")]
    assert last == DONE


LIES: dict[str, Callable[[Bench, str], list[Answer | Last]]] = {
    "no envelope": lambda b, t: [Answer(body=b.told(PLAIN, t).body), DONE],
    "another body": lambda b, t: [Answer(body=b.told(PLAIN, t).body.replace(b"fine", b"evil"),
                                         envelope=b.told(PLAIN, t).envelope), DONE],
    "of another request": lambda b, t: [b.told(PLAIN, "another.request.x"), DONE],
    "of another event": lambda b, t: [b.told(PLAIN, t, 1), DONE],
    "of another agent": lambda b, t: [b.told(PLAIN, t, sender=str(IDS["gus"])), DONE],
    "to another agent": lambda b, t: [b.told(PLAIN, t, receiver=str(IDS["gus"])), DONE],
    "the request's own envelope": lambda b, t: [Answer(body=b.line.sent[0][0], envelope=t), DONE],
    "no token at all": lambda b, t: [Answer(body=b.told(PLAIN, t).body, envelope="a.b.c"), DONE],
    "an error without an envelope": lambda b, t: [
        Answer(body=b'{"jsonrpc": "2.0", "id": 1, "error": {"code": -32001, "message": "no"}}'), DONE],
}


@pytest.mark.parametrize("lie", LIES)
def test_an_answer_that_the_peers_core_did_not_vouch_for_is_not_shown(lie: str) -> None:
    chunks, last = asked(LIES[lie])
    assert chunks == []
    assert last.end == "unknown", "the message may have arrived"
    assert str((last.error or {})["code"]).startswith("envelope_")


def test_that_it_was_done_is_no_answer() -> None:
    assert asked(lambda *_: [DONE]) == ([], DONE)  # the door says then: no answer


def streamed(order: list[tuple[int, int]]) -> tuple[list[Json], Last]:
    """Events (which, sealed as number) as the sidecar passes them on; what was shown."""
    chunks, last = asked(lambda b, t: [*(b.told(EVENTS[which], t, number) for which, number in order), DONE],
                         method="SendStreamingMessage")
    return [one.value for one in chunks], last


def test_events_are_believed_in_their_order() -> None:
    assert streamed([(0, 0), (1, 1), (2, 2)]) == (EVENTS, DONE)


@pytest.mark.parametrize(("order", "shown"), [
    ([(0, 0), (1, 1), (1, 1), (2, 2)], 2), ([(0, 0), (2, 2), (1, 1)], 1), ([(1, 1), (0, 0)], 0),
    ([(0, 0), (0, 0)], 1),
])
def test_events_that_are_repeated_exchanged_or_left_out_end_the_stream(
    order: list[tuple[int, int]], shown: int
) -> None:
    values, last = streamed(order)
    assert values == EVENTS[:shown]
    assert (last.end, (last.error or {})["code"]) == ("unknown", "envelope_reply")


def test_a_stream_is_about_one_task_to_its_end() -> None:
    stray = json.loads(json.dumps(EVENTS[1]).replace("t1", "t2"))
    chunks, last = asked(lambda b, t: [b.told(EVENTS[0], t), b.told(stray, t, 1), DONE],
                         method="SendStreamingMessage")
    assert [one.value for one in chunks] == EVENTS[:1]
    assert (last.error or {})["code"] == "unknown_task"


def test_a_message_that_came_before_is_not_delivered_and_surely_did_nothing() -> None:
    async def twice() -> None:
        said = json.dumps({"jsonrpc": "2.0", "id": 1, "result": PLAIN}).encode()
        bench = Bench(lambda *_: [Answer(body=said), DONE])
        call = message(direction="in", sender="ana", receiver="sam", skill="quote", given=params("quote"))
        assert (await bench.ran(call))[1] == DONE
        chunks, last = await bench.ran(call)
        assert (chunks, last.end, (last.error or {})["code"]) == ([], "failed", "duplicate_message")
        assert len(bench.line.sent) == 1

    run(twice())


def test_a_message_that_cannot_be_written_down_is_not_delivered() -> None:
    async def once() -> None:
        bench = Bench(lambda *_: [DONE])
        journal = cast("FakeJournal", bench.book._journal)
        journal.broken.add("note")
        call = message(direction="in", sender="ana", receiver="sam", skill="quote", given=params("quote"))
        with pytest.raises(Exception, match="the disk is full"):
            await bench.ran(call)
        assert not bench.line.sent

    run(once())



def test_a_card_counts_as_public_so_an_agent_that_was_shown_more_says_nothing_in_it() -> None:
    for label, said in (("P public", True), ("M private", False), ("U secret", False)):
        call = message(direction="in", sender="ana", receiver="sam", skill="", method="GetAgentCard")
        chunks, last = run(Bench(lambda *_: [DONE], label).ran(call))
        assert last == DONE
        assert ("stolen" in json.dumps(chunks[0].value)) is said
        assert chunks[0].value["capabilities"]["streaming"] is True


def test_a_list_does_not_tell_how_many_tasks_others_have() -> None:
    listing: Json = {"tasks": [], "nextPageToken": "", "pageSize": 1, "totalSize": 500}
    call = message(direction="in", sender="ana", receiver="sam", skill="", method="ListTasks", given={})
    answer = Answer(body=json.dumps({"jsonrpc": "2.0", "id": 1, "result": listing}).encode())
    chunks, _ = run(Bench(lambda *_: [answer, DONE]).ran(call))
    assert chunks[0].value["totalSize"] == 0
