"""Models that hang, die, lie or never stop, asked through the whole gateway: an end with a code, on the record, and
the request at the upstream once."""

from __future__ import annotations

import json
from collections.abc import Generator

import pytest
from tests.faults.gatehouse import KEY, PATHS, House, ask, completion, good
from tests.stack import Puppet, wait_for

pytestmark = pytest.mark.confined

SLOW = "upstream_slow|model_timeout"  # sidecar and core wait equally long
# how the upstream behaves, whether it is asked for a stream, and the code
FAULTS = [
    ("slow-1", True, SLOW), ("slow-1", False, SLOW),  # hangs before the headers
    ("s_gate-1", True, SLOW),  # in the middle
    ("s_comments-1", True, SLOW),  # says that it is there, for ever
    ("s_dies", True, "upstream_broken"), ("truncated", False, "upstream_broken"),
    ("silent", True, "upstream_broken"), ("silent", False, "upstream_broken"),
    ("s_flood", True, "result_too_large"), ("s_line", True, "result_too_large"),
    ("huge", False, "result_too_large"),
    ("s_json", True, "bad_answer"), ("html", False, "bad_answer"),
    ("s_zipped", True, "bad_answer"), ("zipped", False, "bad_answer"),
    ("s_unoffered", True, "bad_answer"), ("unoffered", False, "bad_answer"),
    ("s_echo", True, "upstream_echoes_secret"), ("echo", False, "upstream_echoes_secret"),
    ("redirect", True, "upstream_redirect"),
]


@pytest.fixture(autouse=True)
def afresh(house: House) -> Generator[None]:
    house.reset()
    yield
    house.model.go.set()


@pytest.fixture(scope="module", autouse=True)
def all_is_well_in_the_end(house: House, ana: Puppet) -> Generator[None]:
    """The same processes as at the start go on working."""
    before = [house.stack.pid(name) for name in ("core", "guard", "sidecar-acme")]
    yield
    house.works(ana)
    assert [house.stack.pid(name) for name in ("core", "guard", "sidecar-acme")] == before


@pytest.mark.parametrize(("mode", "stream", "code"), FAULTS)
def test_an_answer_that_is_none_ends_with_its_code_and_is_asked_for_once(
    house: House, ana: Puppet, mode: str, stream: bool, code: str
) -> None:
    before = house.newest()
    status, body = ask(ana, mode, stream=stream)
    [(target, end, found)] = house.ends(before)
    assert (target, end) == (f"openai-{mode}", "failed")
    assert found in code.split("|")
    assert found in body, body[-2000:]
    assert not good(body)
    assert status == 200 if "data: " in body else status >= 500
    assert len(house.model.seen) == 1
    assert KEY not in body and "rm_rf" not in body
    assert not any(KEY[:length] in said(body) for length in range(6, len(KEY)))


def test_a_word_that_never_ends_cannot_be_judged_and_is_withheld(house: House, ana: Puppet) -> None:
    before = house.newest()
    _, body = ask(ana, "s_huge")
    assert "xxx" not in body and not good(body)
    [(_, end, code)] = house.ends(before)
    assert end == "stopped" and code in body
    assert house.model.left.wait(20)


@pytest.mark.parametrize("api", PATHS)
def test_while_one_model_hangs_others_and_other_agents_go_on(
    house: House, ana: Puppet, ben: Puppet, api: str
) -> None:
    hung = ana.ask("raw", data=completion("s_gate", api))
    assert wait_for("the hanging stream", house.model.begun.is_set)
    assert good(ask(ben, "s_normal")[1]) and good(ask(ana, "s_normal")[1])
    assert ben.call("new/fine") == {"result": "fine"}
    house.model.go.set()
    assert "and the rest" in said(ana.answer(hung)["body"])


@pytest.mark.parametrize("api", PATHS)
def test_a_stream_cut_inside_of_its_characters_arrives_whole(house: House, ana: Puppet, api: str) -> None:
    before = house.newest()
    status, body = ask(ana, "s_bytes", api)
    assert status == 200
    assert said(body) == "hello wörld \U0001f600"
    assert [end[1:] for end in house.ends(before)] == [("done", "")]


@pytest.mark.parametrize("api", PATHS)
def test_a_tool_call_in_pieces_arrives_whole_and_one_that_was_not_offered_never(
    house: House, ana: Puppet, api: str
) -> None:
    _, body = ask(ana, "s_tools", api)
    assert '"name":"read"' in body and json.dumps('{"path":"/a"}') in body.replace(': \\"', ':\\"'), body
    before = house.newest()
    _, body = ask(ana, "s_unoffered", api)
    assert "rm_rf" not in body and "bad_answer" in body
    assert [end[1:] for end in house.ends(before)] == [("failed", "bad_answer")]


@pytest.mark.parametrize("api", PATHS)
def test_a_stream_that_never_ends_is_left_when_its_client_leaves(house: House, ana: Puppet, api: str) -> None:
    before = house.newest()
    ask(ana, "s_more", api, expect="and")
    assert [end[1:] for end in house.ends(before)] == [("unknown", "caller_left")]
    assert house.model.left.wait(20)
    assert len(house.model.seen) == 1


def said(body: str) -> str:
    """The words in a stream of any of the three interfaces."""
    words: list[str] = []
    for line in body.encode("latin-1").decode().splitlines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line.removeprefix("data: "))
        words += [choice["delta"].get("content") or "" for choice in event.get("choices", [])]
        delta = event.get("delta")
        if event.get("type") == "response.output_text.delta":
            words.append(delta)
        elif event.get("type") == "content_block_delta":
            words.append(delta.get("text", ""))
    return "".join(words)
