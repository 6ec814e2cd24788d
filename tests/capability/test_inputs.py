"""Answers to what an MCP tool asked for: they go out beside the arguments, and are judged as well."""

from __future__ import annotations

import dataclasses

import pytest
from tests.capability.office import Office, grant, office

from ringwall.call import Allowed, Denied, Json, canonical, policy_input
from ringwall.errors import BadInput
from ringwall.manifest.types import Manifest

INPUTS = {"responses": {"name": {"action": "accept", "content": {"name": "Ana"}}}, "state": "s-1"}


def answering(*operations: str) -> Manifest:
    """The office, whose analysts were given these operations as well."""
    manifest = office()
    tenant = manifest.tenants["acme"]
    role = tenant.roles["analyst"]
    tools = {**role.tools, **{one: grant(one) for one in operations}}
    roles = {**tenant.roles, "analyst": dataclasses.replace(role, tools=tools)}
    return dataclasses.replace(manifest, tenants={"acme": dataclasses.replace(tenant, roles=roles)})


def body(inputs: Json) -> dict[str, Json]:
    return {"tool": "echo/echo", "args": {"text": "x"}, "form": "mcp", "inputs": inputs}


def test_what_answers_a_server_is_part_of_what_was_judged() -> None:
    desk = Office()
    plain = desk.resolve({"tool": "echo/echo", "args": {"text": "x"}, "form": "mcp"})
    one, other = desk.resolve(body(INPUTS)), desk.resolve(body({"responses": {}, "state": "s-1"}))
    assert len({plain.digest, one.digest, other.digest}) == 3
    assert policy_input(one, {}, 0.0)["call"]["inputs"] == INPUTS
    assert "inputs" not in policy_input(plain, {}, 0.0)["call"]


def test_the_form_of_an_answer_changes_nothing_that_was_judged() -> None:
    desk = Office()
    asked = {"tool": "echo/echo", "args": {"text": "x"}}
    plain = desk.resolve(asked)
    trace = f"00-{'a' * 32}-{'b' * 16}-01"
    client = ["roots", "handshake"]
    shaped = desk.resolve({**asked, "form": "mcp", "progress": True, "trace": trace, "client": client})
    assert shaped.client == ("handshake", "roots")
    assert plain.digest == shaped.digest
    assert (shaped.form, shaped.progress, shaped.trace[:4]) == ("mcp", True, "00-a")


@pytest.mark.parametrize("verb", ["elicitation.create", "sampling.createMessage", "roots.list"])
def test_who_may_answer_questions_of_a_server_may_answer_them_within_the_next_call(verb: str) -> None:
    desk = Office(answering(f"echo/{verb}"))
    assert desk.judge(desk.resolve(body(INPUTS))) == Allowed()


@pytest.mark.parametrize("others", [(), ("docs/elicitation.create",)])
def test_nobody_else_may(others: tuple[str, ...]) -> None:
    desk = Office(answering(*others))
    verdict = desk.judge(desk.resolve(body(INPUTS)))
    assert isinstance(verdict, Denied) and verdict.code == "not_granted"


@pytest.mark.parametrize("wrong", [
    "x", [], {"responses": []}, {"state": 1}, {"responses": {}, "state": "", "more": 1},
])
def test_inputs_of_another_shape_are_refused(wrong: Json) -> None:
    with pytest.raises(BadInput):
        Office().resolve(canonical(body(wrong)))


@pytest.mark.parametrize(("key", "value"), [
    ("form", "html"), ("trace", "x" * 65), ("trace", "00-ZZ"), ("trace", 1),
    ("client", "roots"), ("client", ["tasks"]), ("client", [["roots"]]), ("client", ["roots", "roots"]),
])
def test_a_wish_that_nobody_can_fulfil_is_refused(key: str, value: Json) -> None:
    with pytest.raises(BadInput):
        Office().resolve({"tool": "echo/echo", "args": {"text": "x"}, key: value})


@pytest.mark.parametrize(("wrapped", "says"), [
    ({"api": "chat", "body": "%"}, "Base64"), ({"api": "chat", "body": ""}, "JSON"),
    ({"api": "chat", "body": "e30="}, "messages"), ({"api": "smoke", "body": "eyJtZXNzYWdlcyI6W119"}, "messages"),
    ({"api": "chat", "body": "e30=", "model": "main"}, "unknown key"),
])
def test_a_providers_request_that_is_none_is_refused(wrapped: Json, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        Office().resolve(wrapped, kind="model")


def test_a_providers_request_names_its_model_itself() -> None:
    raw = "eyJtb2RlbCI6Im1haW4iLCJtZXNzYWdlcyI6W119"  # {"model":"main","messages":[]}
    call = Office().resolve({"api": "chat", "body": raw}, kind="model")
    assert (call.target.name, call.args["api"], call.args["request"]["model"]) == ("main", "chat", "main")


def test_in_our_own_words_an_answer_comes_whole() -> None:
    with pytest.raises(BadInput, match="whole"):
        Office().resolve({"model": "main", "request": {"messages": [], "stream": True}}, kind="model")
