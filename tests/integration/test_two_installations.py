"""Two whole Ringwalls, each with its own trust domain and authority: their agents talk as strangers do."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_messages import SERVE, free_port, serving
from tests.stack import Stack

pytestmark = pytest.mark.confined

ALPHA = """
version = 1
trust_domain = "alpha.example"
[identity.federation."beta.example"]
bundle = {bundle}
[peers.bob]
spiffe_id = "spiffe://beta.example/tenant/there/agent/bob/role/worker"
url = "https://127.0.0.1:{port}/"
skills.quote = {{}}
[tenants.here.roles.asker]
[tenants.here.agents.ana]
role = "asker"
send = {{ bob = ["quote"] }}
[tenants.here.agents.eve]
role = "asker"
send = {{ bob = ["quote"] }}
"""
BETA = """
version = 1
trust_domain = "beta.example"
[identity.federation."alpha.example"]
bundle = {bundle}
[peers.ana]
spiffe_id = "spiffe://alpha.example/tenant/here/agent/ana/role/asker"
url = "https://127.0.0.1:1/"
[tenants.there.roles.worker]
[tenants.there.agents.bob]
role = "worker"
listen = "127.0.0.1:{port}"
serve = {serve}
skills.quote = {{}}
receive = {{ ana = ["quote"] }}
"""


def bundle(stack: Stack) -> str:
    return json.dumps(str(stack.state / "identity" / "bundle.json"))


def empty(folder: Path) -> str:
    return ""


@pytest.fixture(scope="module")
def both() -> Generator[tuple[Stack, Stack]]:
    with ExitStack() as ends:
        alpha, beta, port = Stack(empty), Stack(empty), free_port()
        alpha.manifest.write_text(ALPHA.format(bundle=bundle(beta), port=port))
        beta.manifest.write_text(BETA.format(bundle=bundle(alpha), port=port, serve=SERVE))
        ends.enter_context(beta)
        ends.enter_context(alpha)
        beta.stop()  # its first start made its own bundle, and found none of alpha's
        beta.start()
        yield alpha, beta


def labels(stack: Stack, tenant: str) -> list[Any]:
    return [record.body["to"] for record in stack.records(tenant, "label")]


def test_a_message_crosses_and_neither_believes_what_the_other_says_of_it(both: tuple[Stack, Stack]) -> None:
    alpha, beta = both
    with serving(beta, "there/bob"), alpha.puppet("here/ana") as ana:
        answer = ana.do("send", peer="bob", skill="quote", parts="hello")
        assert answer.get("result", answer)["message"]["parts"] == [{"text": "you said hello"}], answer
    assert labels(alpha, "here")[-1] == labels(beta, "there")[-1] == "U private"
    [came] = [r.clear["message"] for r in beta.records("there", "intent") if r.clear["kind"] == "message"]
    assert came["sender"] == "spiffe://alpha.example/tenant/here/agent/ana/role/asker"
    assert alpha.verify().ok and beta.verify().ok


def test_the_other_end_refuses_whom_it_was_not_told_of_on_its_own_record(both: tuple[Stack, Stack]) -> None:
    alpha, beta = both
    with serving(beta, "there/bob"), alpha.puppet("here/eve") as eve:
        answer = eve.do("send", peer="bob", skill="quote", parts="hello")
    assert "result" not in answer, answer
    [refused] = [r.clear["message"] for r in beta.records("there", "refused") if r.clear["kind"] == "message"]
    assert refused["sender"].endswith("/agent/eve/role/asker")


def test_its_card_is_believed_by_the_keys_of_its_own_domain(both: tuple[Stack, Stack]) -> None:
    alpha, beta = both
    head = "GET /a2a/bob/.well-known/agent-card.json HTTP/1.1\r\nHost: ringwall\r\nConnection: close\r\n\r\n"
    with serving(beta, "there/bob"), alpha.puppet("here/ana") as ana:
        found = ana.do("raw", data=head)
    assert found["status"] == "HTTP/1.1 200 OK", found
    card = json.loads(found["body"])
    assert [skill["id"] for skill in card["skills"]] == ["quote"]
    assert card["supportedInterfaces"][0]["url"] == "http://ringwall/a2a/bob"
