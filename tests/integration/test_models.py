"""A model behind the wall: the key is injected on the way out and never comes back."""

from __future__ import annotations

import json

import pytest
from tests.integration.conftest import KEY
from tests.models.fake_upstream import Upstream
from tests.stack import Stack

pytestmark = pytest.mark.confined
HELLO = [{"role": "user", "content": "hello"}]


def test_the_key_reaches_the_upstream_and_never_the_agent(stack: Stack, model: Upstream) -> None:
    with stack.puppet("acme/ana") as agent:
        answer = agent.do("complete", model="main", messages=HELLO)
        assert answer["result"]["choices"][0]["message"]["content"] == "hello", answer
        assert KEY not in json.dumps(answer)
        seen = agent.do("python", text="import os; answer = {**os.environ}")
        assert KEY not in json.dumps(seen)
    path, headers, body = model.seen[-1]
    assert path == "/normal/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert json.loads(body)["model"] == "main"


def test_a_key_that_the_upstream_sends_back_does_not_reach_the_agent(stack: Stack) -> None:
    with stack.puppet("acme/ana") as agent:
        answer = agent.do("complete", model="leaky", messages=HELLO)
    assert KEY not in json.dumps(answer)


def test_the_key_stands_in_no_record_and_no_log(stack: Stack) -> None:
    stack.run("acme/ana", ["echo", KEY])
    for tenant in ("acme", "system"):
        for record in stack.records(tenant):
            assert KEY not in json.dumps(record.clear)
            if record.sealed is not None:
                assert f"Bearer {KEY}" not in json.dumps(stack.body(tenant, record))
    assert KEY not in "".join(stack.log)


def test_a_model_that_was_not_granted_is_refused(stack: Stack, model: Upstream) -> None:
    before = len(model.seen)
    with stack.puppet("globex/gus") as agent:
        answer = agent.do("complete", model="main", messages=HELLO)
    assert answer["error"] == "Refused", answer
    assert len(model.seen) == before


@pytest.mark.parametrize(
    "extra",
    [
        {"tools": [{"type": "web_search"}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x.example/"}}]}]},
        {"store": True},
        {"n": 10**9, "unheard_of": 1},
    ],
)
def test_a_request_that_would_use_the_provider_as_an_exit_is_refused(
    stack: Stack, model: Upstream, extra: dict[str, object]
) -> None:
    before = len(model.seen)
    body = json.dumps({"model": "main", "request": {"messages": HELLO, **extra}})
    head = ("POST /v1/models/complete HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n")
    with stack.puppet("acme/ana") as agent:
        answer = agent.do("raw", data=head + body)
    assert answer["status"].split()[1] == "400", answer
    assert len(model.seen) == before
