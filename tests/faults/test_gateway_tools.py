"""Tool servers and web APIs elsewhere that hang, die, lie, change or never stop: an end with a code, on the record,
and the request at the server once."""

from __future__ import annotations

import json
from collections.abc import Generator

import pytest
from tests.faults.gatehouse import KEY, House
from tests.faults.test_freeze import ringwall
from tests.stack import Puppet, wait_for

pytestmark = pytest.mark.confined

# what the server does, how the call ends, and the code
FAULTS = [
    ("die", "unknown", "upstream_broken"), ("half", "unknown", "upstream_broken"),
    ("other", "unknown", "bad_answer"), ("huge", "unknown", "result_too_large"),
    ("flood", "unknown", "result_too_large"),
    ("html", "unknown", "bad_answer"), ("zipped", "unknown", "bad_answer"),
    ("redirect", "failed", "upstream_redirect"),
]
HANGS = {"upstream_slow", "tool_timeout"}  # sidecar and core wait equally long


@pytest.fixture(autouse=True)
def afresh(house: House) -> Generator[None]:
    house.reset()
    yield
    house.world.go.set()


@pytest.fixture(scope="module", autouse=True)
def all_is_well_in_the_end(house: House, ana: Puppet) -> Generator[None]:
    """The same processes as at the start go on working."""
    before = [house.stack.pid(name) for name in ("core", "guard", "sidecar-acme")]
    yield
    house.works(ana)
    assert [house.stack.pid(name) for name in ("core", "guard", "sidecar-acme")] == before


def test_a_server_that_was_away_at_the_start_is_there_when_it_comes(house: House, ana: Puppet) -> None:
    assert "upstream_unreachable" in house.stack.status()["problems"]["acme/late"]
    assert ana.call("late/fine")["code"] == "tool_unavailable"
    assert "late/fine" not in json.dumps(ana.do("list"))
    house.late.open()
    wait_for("it to be listed", lambda: "acme/late" not in house.stack.status()["problems"])
    assert ana.call("late/fine") == {"result": "fine"}
    assert "late/fine" in json.dumps(ana.do("list"))
    assert house.late.asked == [("late", "fine")]


@pytest.mark.parametrize(("tool", "end", "code"), FAULTS)
@pytest.mark.parametrize("server", ["new", "old"])
def test_an_answer_that_is_none_is_an_end_with_its_code_and_nothing_runs_twice(
    house: House, ana: Puppet, server: str, tool: str, end: str, code: str
) -> None:
    before = house.newest()
    answer = ana.call(f"{server}/{tool}")
    assert answer.get("code") == code, answer
    assert house.ends(before) == [(f"{server}/{tool}", end, code)]
    assert house.world.asked == [(server, tool)]


@pytest.mark.parametrize(("operation", "end", "code"), [
    ("die", "unknown", "upstream_broken"), ("half", "unknown", "upstream_broken"),
    ("huge", "unknown", "result_too_large"), ("zipped", "unknown", "bad_answer"),
    ("redirect", "failed", "tool_error"),  # its status is all that is told
])
def test_a_web_api_is_asked_once_whatever_it_answers(
    house: House, ana: Puppet, operation: str, end: str, code: str
) -> None:
    before = house.newest()
    answer = ana.call(f"web/{operation}")
    assert answer.get("code") == code, answer
    assert house.ends(before) == [(f"web/{operation}", end, code)]
    assert house.world.asked == [("web", operation)]


@pytest.mark.parametrize("tool", ["gate", "endless"])
def test_a_server_that_hangs_ends_its_own_call_and_nobody_elses(
    house: House, ana: Puppet, ben: Puppet, tool: str
) -> None:
    before = house.newest()
    hung = [ana.ask("call", tool=f"slow/{tool}", args={}) for _ in range(3)]
    wait_for("three that hang", lambda: house.world.count("slow", tool) == 3)
    assert ana.call("new/fine") == ben.call("old/fine") == ben.call("slow/fine") == {"result": "fine"}
    for number in hung:
        assert ana.answer(number)["code"] in HANGS
    ended = [found for found in house.ends(before) if found[0] == f"slow/{tool}"]
    assert len(ended) == house.world.count("slow", tool) == 3
    assert all(end == "unknown" and code in HANGS for _, end, code in ended)


def test_a_session_the_server_forgot_is_opened_once_more_and_not_for_ever(house: House, ana: Puppet) -> None:
    before = house.newest()
    assert ana.call("old/forget") == {"result": "fine"}
    assert ana.call("old/gone")["code"] == "upstream_refused"
    assert house.ends(before) == [("old/forget", "done", ""), ("old/gone", "failed", "upstream_refused")]
    assert house.world.count(tool="forget") == house.world.count(tool="gone") == 2  # a 404 has done nothing


def test_definitions_that_change_under_a_call_hold_the_next_until_an_operator_accepts_them(
    house: House, ana: Puppet
) -> None:
    assert ana.call("fickle/fine") == {"result": "fine"}
    before = house.newest()
    assert "mallory" not in json.dumps(ana.do("list"))
    assert ana.call("fickle/change") == {"result": "fine"}  # judged by what was pinned
    held = wait_for("the change to be seen", lambda: ana.call("fickle/fine").get("code"))
    assert held == "definition_changed"
    assert "mallory" not in json.dumps(ana.do("list"))
    assert house.world.count("fickle", "fine") == 1
    assert "changed" in house.stack.status()["problems"]["acme/fickle"]
    code, row = ringwall(house.stack, "pins", "show", "acme", "fickle/fine")
    assert (code, row["state"]) == (0, "changed")
    assert "mallory" in row["now"]["description"]
    code, done = ringwall(house.stack, "pins", "accept", "acme", "fickle/fine", "--yes")
    assert (code, done["state"]) == (0, "pinned")
    assert ana.call("fickle/fine") == {"result": "fine"}
    assert ana.call("fickle/change")["code"] == "definition_changed"  # that one was not looked at
    assert house.world.asked == [("fickle", "fine"), ("fickle", "change"), ("fickle", "fine")]
    assert len([one for one in house.since(before) if "definition_changed" in json.dumps(one.clear)]) >= 2


@pytest.mark.parametrize(("how", "code"), [
    ("none", "token_refused"), ("huge", "token_refused"), ("html", "token_refused"), ("flood", "result_too_large"),
])
def test_without_a_token_the_server_is_not_asked(house: House, ana: Puppet, how: str, code: str) -> None:
    before = house.newest()
    answer = ana.call(f"tok-{how}/fine")
    assert answer.get("code") == code, answer
    assert house.ends(before) == [(f"tok-{how}/fine", "failed", code)]
    assert house.world.count("web") == 0
    assert KEY not in json.dumps(answer) and "t" * 64 not in json.dumps(answer)


def test_without_a_token_server_the_server_is_not_asked(house: House, ana: Puppet) -> None:
    before = house.newest()
    assert ana.call("tok-down/fine")["code"] == "upstream_unreachable"
    assert house.ends(before) == [("tok-down/fine", "failed", "upstream_unreachable")]
    assert house.world.asked == []


def test_a_token_that_expires_at_once_is_good_for_one_call(house: House, ana: Puppet) -> None:
    before = house.newest()
    for _ in range(2):
        assert ana.call("tok-brief/fine") == {"result": {"said": "fine"}}
    assert house.ends(before) == [("tok-brief/fine", "done", "")] * 2
    assert house.world.asked == [("token", "brief"), ("web", "fine")] * 2
    assert house.world.tokens == ["Bearer token-1", "Bearer token-2"]
