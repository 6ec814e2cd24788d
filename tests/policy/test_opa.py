"""Asking an OPA: only its plain yes is a yes. Against a scripted server; the real one is in test_opa_real.py."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import pytest
from tests.fakes import until
from tests.policy.fake_opa import GOOD, FakeOpa, http, with_fake
from tests.policy.support import CALL, LIST, data, document

from ringwall.errors import PolicyError
from ringwall.limits.fair import EACH
from ringwall.policy.opa.address import Address
from ringwall.policy.opa.backend import MAX_INPUT, OpaRest
from ringwall.policy.opa.breaker import FAILURES, FIRST_PAUSE
from ringwall.policy.opa.pool import MOST


class HandClock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return 1_700_000_000.0 + self.at

    def monotonic(self) -> float:
        return self.at


def policy(address: Address, clock: HandClock | None = None, *, base: Any = None, revision: str = "",
           seconds: float = 5.0) -> OpaRest:
    base = data() if base is None else base
    return OpaRest(address, base, clock or HandClock(), revision=revision, seconds=seconds)


async def refusal(asked: OpaRest, point: str = CALL, given: Any = None) -> str:
    """The code of the error that a question ends with."""
    with pytest.raises(PolicyError) as caught:
        await asked.decide(point, document() if given is None else given)
    assert caught.value.cause
    return caught.value.code


async def agreed(asked: OpaRest) -> None:
    assert (await asked.status())["fault"] == ""


def test_a_decision_is_asked_with_strict_builtins_and_the_whole_input(tmp_path: Path) -> None:
    fake = FakeOpa()

    async def act(address: Address) -> None:
        asked = policy(address)
        await agreed(asked)
        assert await asked.decide(CALL, document()) == GOOD
        method, target, body = fake.requests[-1]
        assert method == "POST" and "strict-builtin-errors=true" in target and "provenance=true" in target
        assert json.loads(body) == {"input": document()}
        assert asked.revision == "r1"
        fake.decision = [{"targets": []}]
        assert await asked.decide(LIST, {"targets": []}) == {"targets": []}
        assert fake.requests[-1][1] != target
        await asked.close()
    with_fake(tmp_path, fake, act)


def test_the_first_question_hands_over_grants_and_digest_in_one_change(tmp_path: Path) -> None:
    fake = FakeOpa(parents=True)

    async def act(address: Address) -> None:
        asked = policy(address, revision="r1")
        assert await asked.decide(CALL, document()) == GOOD  # without anybody having agreed before
        patch = [json.loads(body) for method, _, body in fake.requests if method == "PATCH"]
        assert len(patch) == 1
        given = {op["path"]: op["value"] for op in patch[0]}
        assert given["/ringwall/tenants"] == data()["ringwall"]["tenants"]
        assert given["/ringwall_core"] == {"digest": fake.digest}
        await asked.close()
    with_fake(tmp_path, fake, act)


GOOD_RESULT = b'{"digest": "%s", "decision": [{"allow": true, "deny": [], "ask": [], "remedy": ""}]}'
FROM = b'"provenance": {"version": "1.21.3", "bundles": {"b.tar.gz": {"revision": "r1"}}}'


def body(text: bytes) -> bytes:
    return http(200, None, raw=text)


ERROR = {"code": "internal_error", "message": "error(s) occurred while evaluating query"}
BAD_ANSWERS: dict[str, tuple[bytes, str]] = {
    "500 without a body": (http(500, None, raw=b""), "opa_bad_answer"),
    "500 of OPA": (http(500, ERROR), "opa_failed"),
    "503 of a proxy": (http(503, None, raw=b"<html>"), "opa_bad_answer"),
    "evaluation error": (http(500, {**ERROR, "errors": [{"code": "eval_builtin_error", "message": "m"}]}),
                         "policy_failed"),
    "evaluation error with 200": (http(200, {**ERROR, "errors": [{"code": "eval_builtin_error"}]}),
                                  "opa_bad_answer"),
    "400": (http(400, {"code": "invalid_parameter", "message": "m"}), "opa_refused"),
    "401": (http(401, {"code": "unauthorized", "message": "m"}), "opa_refused"),
    "404": (http(404, {"code": "x", "message": "m"}), "opa_refused"),
    "redirect": (http(302, None, raw=b"", extra="Location: http://127.0.0.1/\r\n"), "opa_bad_answer"),
    "204": (http(204, None, raw=b""), "opa_bad_answer"),
    "nothing": (http(200, None, raw=b""), "opa_bad_answer"),
    "no result": (body(b"{" + FROM + b"}"), "opa_stale"),
    "empty object": (body(b"{}"), "opa_bad_answer"),
    "a list": (body(b"[]"), "opa_bad_answer"),
    "true": (body(b"true"), "opa_bad_answer"),
    "result null": (body(b"{" + FROM + b', "result": null}'), "opa_stale"),
    "result true": (body(b"{" + FROM + b', "result": true}'), "opa_bad_answer"),
    "result a string": (body(b"{" + FROM + b', "result": "allow"}'), "opa_bad_answer"),
    "result without wrapper": (body(b"{" + FROM + b', "result": {"allow": true}}'), "opa_bad_answer"),
    "decision no list": (body(b"{" + FROM + b', "result": {"digest": "%s", "decision": true}}'),
                         "opa_bad_answer"),
    "undefined": (body(b"{" + FROM + b', "result": {"digest": "%s", "decision": []}}'), "undefined_decision"),
    "two decisions": (body(b"{" + FROM + b', "result": {"digest": "%s", "decision": [1, 2]}}'),
                      "undefined_decision"),
    "other digest": (body(b"{" + FROM + b', "result": {"digest": "0", "decision": [1]}}'), "opa_stale"),
    "no provenance": (body(b'{"result": ' + GOOD_RESULT + b"}"), "opa_bad_answer"),
    "other revision": (body(b"{" + FROM.replace(b"r1", b"r2") + b', "result": ' + GOOD_RESULT + b"}"), "opa_stale"),
    "other bundle": (body(b"{" + FROM.replace(b"b.tar", b"c.tar") + b', "result": ' + GOOD_RESULT + b"}"),
                     "opa_stale"),
    "older OPA": (body(b"{" + FROM.replace(b"1.21.3", b"1.21.2") + b', "result": ' + GOOD_RESULT + b"}"),
                  "opa_stale"),
    "a key twice": (body(b"{" + FROM + b', "result": true, "result": ' + GOOD_RESULT + b"}"), "opa_bad_answer"),
    "trailing bytes": (body(b"{" + FROM + b', "result": ' + GOOD_RESULT + b"}}"), "opa_bad_answer"),
    "too deep": (body(b'{"result": ' + b"[" * 5000 + b"]" * 5000 + b"}"), "policy_limit"),
    "endless number": (body(b'{"result": 1' + b"0" * 400 + b"}"), "policy_limit"),
    "not UTF-8": (body(b'{"result": "\xff"}'), "opa_bad_answer"),
    "too large": (body(b'"' + b"x" * (2 << 20) + b'"'), "opa_bad_answer"),
    "not HTTP": (b"+OK decision allowed\r\n", "opa_bad_answer"),
    "HTTP/1.0": (http(200, True).replace(b"HTTP/1.1", b"HTTP/1.0"), "opa_bad_answer"),
    "compressed": (http(200, True, extra="Content-Encoding: gzip\r\n"), "opa_bad_answer"),
    "two lengths": (http(200, True, extra="Content-Length: 1\r\n"), "opa_bad_answer"),
    "garbled chunks": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\ntrue\r\n0\r\n\r\n",
                       "opa_bad_answer"),
    "length and chunks": (http(200, True, extra="Transfer-Encoding: chunked\r\n"), "opa_bad_answer"),
    "two answers": (http(200, True) + http(200, True), "opa_bad_answer"),
    "endless head": (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000, "opa_bad_answer"),
    "informational": (b"HTTP/1.1 103 Early Hints\r\n\r\n" + http(200, True), "opa_bad_answer"),
}


def judged(raw: bytes, digest: str) -> bytes:
    """The answer with the digest that holds, and its length right again."""
    if b"%s" not in raw:
        return raw
    return body(raw.partition(b"\r\n\r\n")[2].replace(b"%s", digest.encode()))


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_an_answer_that_is_not_a_decision_is_a_refusal(name: str, tmp_path: Path) -> None:
    raw, code = BAD_ANSWERS[name]
    fake = FakeOpa()

    async def act(address: Address) -> None:
        asked = policy(address, revision="r1")
        await agreed(asked)
        assert fake.digest is not None
        fake.raw = judged(raw, fake.digest)
        assert await refusal(asked) == code
        fake.raw = None  # and afterwards the right answer reaches the right question
        assert await asked.decide(CALL, document()) == GOOD
        await asked.close()
    with_fake(tmp_path, fake, act)


def test_the_table_of_bad_answers_is_bad_by_one_thing_each(tmp_path: Path) -> None:
    fake = FakeOpa()

    async def act(address: Address) -> None:
        asked = policy(address)
        await agreed(asked)
        assert fake.digest is not None
        fake.raw = judged(body(b"{" + FROM + b', "result": ' + GOOD_RESULT + b"}"), fake.digest)
        assert await asked.decide(CALL, document()) == GOOD
        await asked.close()
    with_fake(tmp_path, fake, act)


@pytest.mark.parametrize("cut", [0, 1, 20, 70, -1])
def test_an_answer_that_breaks_off_is_a_refusal(cut: int, tmp_path: Path) -> None:
    fake = FakeOpa(hang_up=True)

    async def act(address: Address) -> None:
        asked = policy(address)
        await agreed(asked)
        fake.raw = http(200, {"result": GOOD})[:cut]
        assert await refusal(asked) == "opa_unreachable"
        await asked.close()
    with_fake(tmp_path, fake, act)


def test_a_slow_answer_is_a_refusal_and_never_reaches_a_later_question(tmp_path: Path) -> None:
    fake = FakeOpa()

    async def act(address: Address) -> None:
        asked = policy(address, seconds=0.2)
        await agreed(asked)
        fake.silent = True
        assert await refusal(asked) == "opa_slow"
        fake.silent = False
        for writer in fake.writers:  # the late answer, to nobody
            writer.write(http(200, {"result": {"digest": fake.digest, "decision": [{"late": True}]}}))
        assert await asked.decide(CALL, document()) == GOOD
        await asked.close()
    with_fake(tmp_path, fake, act)


def test_bytes_that_nobody_asked_for_end_the_connection(tmp_path: Path) -> None:
    fake = FakeOpa()

    async def act(address: Address) -> None:
        asked = policy(address)
        await agreed(asked)
        before = fake.connections
        for writer in fake.writers:
            writer.write(http(200, {"result": {"digest": fake.digest, "decision": [{"planted": True}]}}))
            await writer.drain()
        for _ in range(20):
            await asyncio.sleep(0)
        assert await asked.decide(CALL, document()) == GOOD
        assert fake.connections > before
        await asked.close()
    with_fake(tmp_path, fake, act)


def test_a_kept_connection_that_was_closed_meanwhile_costs_no_call(tmp_path: Path) -> None:
    fake = FakeOpa()

    async def act(address: Address) -> None:
        asked = policy(address)
        await agreed(asked)
        fake.lost = 1
        assert await asked.decide(CALL, document()) == GOOD
        fake.lost = 2  # but a new connection that ends unanswered does
        assert await refusal(asked) == "opa_unreachable"
        await asked.close()
    with_fake(tmp_path, fake, act)


def test_an_opa_that_lost_its_data_is_given_it_again_before_it_decides(tmp_path: Path) -> None:
    fake = FakeOpa()

    async def act(address: Address) -> None:
        asked = policy(address)
        await agreed(asked)
        for lost in (None, "0" * 64):  # restarted; or another core's grants
            pushes, fake.digest = fake.pushes, lost
            assert await asked.decide(CALL, document()) == GOOD
            assert fake.pushes > pushes
        await asked.close()
    with_fake(tmp_path, fake, act)


def test_another_revision_never_decides_where_one_is_pinned(tmp_path: Path) -> None:
    fake = FakeOpa()

    async def act(address: Address) -> None:
        asked = policy(address, revision="r1")
        assert await asked.decide(CALL, document()) == GOOD
        fake.revision = "r2"
        assert await refusal(asked) == "opa_revision"
        assert asked.revision == "r1"
        assert "opa_revision" in (await asked.status())["fault"]
        fake.revision = "r1"
        assert await asked.decide(CALL, document()) == GOOD
        await asked.close()
    with_fake(tmp_path, fake, act)


def test_a_new_revision_is_taken_but_not_for_the_call_that_was_under_way(tmp_path: Path) -> None:
    fake = FakeOpa()

    async def act(address: Address) -> None:
        asked = policy(address)
        await agreed(asked)
        fake.revision = "r2"
        assert await refusal(asked) == "opa_revision"
        assert asked.revision == "r2"
        assert await asked.decide(CALL, document()) == GOOD
        await asked.close()
    with_fake(tmp_path, fake, act)


@pytest.mark.parametrize(("wrong", "code"), [
    ({"version": "1.21.2"}, "opa_too_old"), ({"version": "0.70.0"}, "opa_too_old"),
    ({"version": "1.9.9"}, "opa_too_old"), ({"version": "1.21.3-rc1"}, "opa_too_old"),
    ({"version": "new"}, "opa_too_old"), ({"version": ""}, "opa_too_old"),
    ({"revision": ""}, "opa_no_policy"), ({"roots": ("ringwall/grants",)}, "opa_no_policy"),
    ({"roots": ()}, "opa_no_policy"), ({"roots": ("ringwall/decid",)}, "opa_no_policy"),
    ({"health": 500}, "opa_not_ready"), ({"health": 302}, "opa_not_ready"),
    ({"refuses": 401}, "opa_refused"), ({"refuses": 400}, "opa_refused"), ({"refuses": 500}, "opa_failed"),
])
def test_an_opa_that_may_not_decide_is_not_asked(wrong: dict[str, Any], code: str, tmp_path: Path) -> None:
    fake = FakeOpa(**wrong)

    async def act(address: Address) -> None:
        asked = policy(address)
        found = await asked.status()
        assert found["fault"].startswith(f"{code}: ") and found["remedy"]
        assert await refusal(asked) == code
        assert fake.decisions == 0
        await asked.close()
    with_fake(tmp_path, fake, act)


@pytest.mark.parametrize("version", ["1.21.3", "1.21.4", "1.22.0-dev", "2.0.0", "1.21.3+mine"])
def test_a_mended_opa_may_decide(version: str, tmp_path: Path) -> None:
    fake = FakeOpa(version=version)

    async def act(address: Address) -> None:
        asked = policy(address)
        await agreed(asked)
        assert await asked.decide(CALL, document()) == GOOD
        await asked.close()
    with_fake(tmp_path, fake, act)


def test_after_some_failures_in_a_row_nobody_is_asked_and_then_one(tmp_path: Path) -> None:
    fake, clock = FakeOpa(), HandClock()

    async def act(address: Address) -> None:
        asked = policy(address, clock)
        await agreed(asked)
        fake.raw = http(500, ERROR)
        assert [await refusal(asked) for _ in range(FAILURES)] == ["opa_failed"] * FAILURES
        before = fake.decisions
        assert await refusal(asked) == "opa_open"
        clock.at += FIRST_PAUSE
        assert await refusal(asked) == "opa_failed"
        assert fake.decisions == before + 1
        fake.raw = None
        assert await refusal(asked) == "opa_open"
        clock.at += 2 * FIRST_PAUSE
        assert await asked.decide(CALL, document()) == GOOD
        assert (await asked.status())["breaker"] == "closed"
        await asked.close()
    with_fake(tmp_path, fake, act)


@pytest.mark.parametrize("name", ["evaluation error", "400", "undefined", "too deep", "endless number"])
def test_what_an_agent_can_provoke_does_not_open_the_breaker(name: str, tmp_path: Path) -> None:
    fake = FakeOpa()

    async def act(address: Address) -> None:
        asked = policy(address)
        await agreed(asked)
        assert fake.digest is not None
        fake.raw = judged(BAD_ANSWERS[name][0], fake.digest)
        pushes = fake.pushes
        for _ in range(2 * FAILURES):
            await refusal(asked)
        assert (await asked.status())["breaker"] == "closed"
        assert fake.pushes == pushes  # nor does it make anybody hand over the grants again
        await asked.close()
    with_fake(tmp_path, fake, act)


def test_a_cancelled_question_leaves_the_next_one_its_own_answer(tmp_path: Path) -> None:
    fake = FakeOpa()

    async def act(address: Address) -> None:
        asked = policy(address)
        await agreed(asked)
        fake.silent = True
        hanging = asyncio.create_task(asked.decide(CALL, document()))
        await fake.reached.wait()
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        fake.silent = False
        assert await asked.decide(CALL, document()) == GOOD
        await asked.close()
    with_fake(tmp_path, fake, act)


def test_many_questions_share_few_connections(tmp_path: Path) -> None:
    fake = FakeOpa()

    async def act(address: Address) -> None:
        asked = policy(address)
        await agreed(asked)
        found = await asyncio.gather(*(asked.decide(CALL, document()) for _ in range(200)))
        assert found == [GOOD] * 200
        assert fake.connections <= MOST
        await asked.close()
    with_fake(tmp_path, fake, act)


def test_nobody_listening_is_a_refusal(tmp_path: Path) -> None:
    async def act() -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            port = closed.getsockname()[1]
        for address in (Address(path=str(tmp_path / "none")), Address(host="127.0.0.1", port=port)):
            asked = policy(address)
            assert await refusal(asked) == "opa_unreachable"
            assert (await asked.status())["fault"].startswith("opa_unreachable")
            await asked.close()
    asyncio.run(act())


@pytest.mark.parametrize(("given", "code"), [
    ({"x": "\ud800"}, "policy_failed"), ({"x": object()}, "policy_failed"),
    ({"x": "y" * MAX_INPUT}, "policy_limit"),
])
def test_an_input_that_cannot_be_sent_is_a_refusal(given: Any, code: str, tmp_path: Path) -> None:
    async def act(address: Address) -> None:
        asked = policy(address)
        await agreed(asked)
        assert await refusal(asked, given=given) == code
        assert await refusal(asked, point="ringwall/decide/other") == "unknown_entry_point"
        await asked.close()
    with_fake(tmp_path, FakeOpa(), act)


def test_a_socket_in_a_folder_that_is_open_to_others_is_not_believed(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)

    async def act(address: Address) -> None:
        asked = policy(address)
        assert await refusal(asked) == "opa_foreign"
        await asked.close()
    with_fake(tmp_path / "open", FakeOpa(), act)


@pytest.mark.parametrize("text", ["unix:/run/opa/o.sock", "http://127.0.0.1:8181", "http://[::1]:8181"])
def test_an_address_on_this_machine_is_read_and_written(text: str) -> None:
    assert str(Address.parse(text)) == text


@pytest.mark.parametrize("text", [
    "", "unix:", "unix:relative", "unix:/a\0b", "unix:/" + "x" * 108, "http://127.0.0.1", "http://localhost:8181",
    "http://10.0.0.1:8181", "http://0.0.0.0:8181", "https://127.0.0.1:8181", "http://opa.example:8181",
    "http://127.0.0.1:8181/v1", "http://user@127.0.0.1:8181", "http://127.0.0.1:8181?x=1", "http://127.0.0.1:99999",
    "http://127.0.0.1:x", "http://2130706433:8181", "127.0.0.1:8181", "http://[::ffff:10.0.0.1]:8181", "http://[:8181",
    "http://127.0.0.1:0",
])
def test_any_other_address_is_refused_with_a_remedy(text: str) -> None:
    with pytest.raises(PolicyError) as caught:
        Address.parse(text)
    assert caught.value.code == "bad_opa_address" and caught.value.remedy




def test_one_tenants_slow_questions_leave_connections_to_others(tmp_path: Path) -> None:
    fake = FakeOpa()

    async def act(address: Address) -> None:
        asked = policy(address)
        await agreed(asked)
        fake.silent = True
        slow = [asyncio.create_task(asked.decide(CALL, document())) for _ in range(EACH)]
        await until(lambda: fake.decisions == EACH)
        fake.silent = False
        assert await asked.decide(CALL, document()) == GOOD
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        await asked.close()
    with_fake(tmp_path, fake, act)
