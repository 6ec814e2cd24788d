"""capability/resolve.py: bytes to one canonical call, or BadInput."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.capability.office import IBAN, Office, process

from ringwall.call import Call, Kind, Operator, Resource
from ringwall.capability.resolve import MAX_RESOURCES
from ringwall.errors import BadInput
from ringwall.interface import Origin

OFFICE = Office()


def test_typed_arguments_become_canonical_and_inert_ones_stay() -> None:
    call = OFFICE.resolve({"tool": "mail/send", "args": {
        "to": ["Bob@CUSTOMER.example", "eve@x.example."], "cc": [], "body": "To: a@b.example, 50%"}})
    assert call.args == {"to": ["Bob@customer.example", "eve@x.example"], "cc": [], "body": "To: a@b.example, 50%"}
    assert call.resources == (
        Resource(type="email", id="Bob@customer.example", key=("customer.example", "Bob"), action="send",
                 argument="to/0"),
        Resource(type="email", id="eve@x.example", key=("x.example", "eve"), action="send", argument="to/1"))
    assert call.target.definition == OFFICE.catalogue.tool("mail/send").definition  # pyright: ignore
    assert (call.kind, call.session, call.approval) == ("tool", "s1", None)


def test_two_spellings_of_one_call_have_one_digest() -> None:
    one = OFFICE.resolve({"tool": "pay/transfer", "args": {"iban": IBAN, "amount": 5}})
    two = OFFICE.resolve(b'{"args":{"amount" :5, "iban":"de89 3704 0044 0532 0130 00"},\n"tool":"pay/transfer"}')
    assert one.digest == two.digest and one.id != two.id
    assert one.digest != OFFICE.resolve({"tool": "pay/transfer", "args": {"iban": IBAN, "amount": 6}}).digest


def test_a_default_of_a_typed_argument_is_written_out_so_that_it_is_judged() -> None:
    call = OFFICE.resolve({"tool": "docs/list", "args": {}})
    assert call.args == {"folder": "/srv/docs/private"} and call.resources[0].id == "/srv/docs/private"
    sent = OFFICE.resolve({"tool": "docs/list", "args": {"folder": "/srv/docs/public/"}})
    assert sent.args == {"folder": "/srv/docs/public"}


def test_a_numeric_identifier_is_a_resource_and_stays_a_number() -> None:
    call = OFFICE.resolve({"tool": "docs/find", "args": {"invoice": 57}})
    assert call.args == {"invoice": 57} and (call.resources[0].id, call.resources[0].type) == ("57", "id")
    assert OFFICE.resolve({"tool": "docs/find", "args": {"invoice": None}}).resources == ()


def test_unknown_tools_and_undeclared_arguments_are_calls_that_can_be_recorded() -> None:
    for name in ("docs/raed", "nowhere/read", "docs/shred", "ringwall/list"):
        call = OFFICE.resolve({"tool": name, "args": {"path": "/x/../y"}})
        assert (call.target.name, call.target.definition) == (name, None)
        assert call.args == {"path": "/x/../y"} and call.resources == ()
    call = OFFICE.resolve({"tool": "docs/read", "args": {"path": "/a", "paths": ["/../b"]}})
    assert call.args == {"path": "/a", "paths": ["/../b"]} and len(call.resources) == 1


def test_typed_arguments_are_resolved_even_while_their_server_is_down() -> None:
    office = Office()
    office.catalogue.drop("docs")
    call = office.resolve({"tool": "docs/read", "args": {"path": "/a//b"}})
    assert call.args == {"path": "/a/b"} and call.target.definition is None


def test_a_model_request_becomes_what_the_model_wire_made_of_it() -> None:
    body = {"model": "main", "request": {"messages": [], "x": 1}, "approval": "acme/57"}
    call = OFFICE.resolve(body, kind="model")
    assert (call.target.name, call.args, call.kind) == (
        "main", {"api": "chat", "request": {"model": "main", "messages": []}}, "model")
    assert call.approval is not None and call.approval.record == "acme/57"


def test_an_operators_verb_keeps_its_arguments() -> None:
    operator = Operator(name="root", uid=0, connection=3)
    call = OFFICE.resolve({"verb": "run", "args": {"agent": "ana"}}, kind="operate", subject=operator)
    assert (call.target.name, call.args, call.subject, call.tenant) == ("run", {"agent": "ana"}, operator, "system")


def test_who_asks_comes_from_the_door_and_never_from_the_request() -> None:
    raw = b'{"tool":"echo/echo","args":{"text":"x","tenant":"other","subject":"spiffe://evil"}}'
    origin = Origin(subject=process(), session=None, key="k")
    call = OFFICE.resolver.resolve(origin, "tool", raw)
    assert call.subject == process() and call.session is None and call.tenant == "acme"


@pytest.mark.parametrize(("body", "kind", "code"), [
    (b"{", "tool", "bad_json"),
    (b'{"tool":"docs/read","tool":"docs/read","args":{}}', "tool", "duplicate_key"),
    (b'{"tool":"docs/read","args":{"path":"/a","path":"/b"}}', "tool", "duplicate_key"),
    ([], "tool", "bad_request"),
    (None, "tool", "bad_request"),
    ({"tool": "docs/read"}, "tool", "bad_request"),
    ({"tool": "docs/read", "args": []}, "tool", "bad_request"),
    ({"tool": "docs/read", "args": {}, "Args": {}}, "tool", "bad_request"),
    ({"tool": "docs/read", "args": {}, "session": "s2"}, "tool", "bad_request"),
    ({"args": {}}, "tool", "bad_name"),
    ({"tool": "docs", "args": {}}, "tool", "bad_name"),
    ({"tool": "docs/", "args": {}}, "tool", "bad_name"),
    ({"tool": "docs/read/../x", "args": {}}, "tool", "bad_name"),
    ({"tool": "docs/r\u00e9ad", "args": {}}, "tool", "bad_name"),
    ({"tool": "docs/read\n", "args": {}}, "tool", "bad_name"),
    ({"tool": "docs/" + "x" * 129, "args": {}}, "tool", "bad_name"),
    ({"tool": ["docs/read"], "args": {}}, "tool", "bad_name"),
    ({"tool": "docs/read", "args": {}, "approval": None}, "tool", "bad_request"),
    ({"tool": "docs/read", "args": {}, "approval": "acme"}, "tool", "bad_request"),
    ({"tool": "docs/read", "args": {}, "approval": "acme/x"}, "tool", "bad_request"),
    ({"tool": "docs/read", "args": {}, "approval": "/5"}, "tool", "bad_name"),
    ({"tool": "docs/read", "args": {}, "approval": "acme/\u0665"}, "tool", "bad_request"),
    ({"tool": "docs/read", "args": {"path": "/a/../b"}}, "tool", "bad_argument"),
    ({"tool": "docs/read", "args": {"path": 5}}, "tool", "bad_argument"),
    ({"tool": "docs/read", "args": {"path": {"$path": "/a"}}}, "tool", "bad_argument"),
    ({"tool": "docs/read", "args": {"path": [["/a"]]}}, "tool", "bad_argument"),
    ({"tool": "docs/find", "args": {"invoice": True}}, "tool", "bad_argument"),
    ({"tool": "docs/find", "args": {"invoice": 5.0}}, "tool", "bad_argument"),
    ({"tool": "mail/send", "args": {"to": ["a@b.example", None], "body": ""}}, "tool", "bad_argument"),
    ({"tool": "mail/send", "args": {"to": ["a@b.example"] * 257, "body": ""}}, "tool", "too_many_resources"),
    ({"tool": "mail/send", "args": {"to": ["a@b.example"] * 200, "cc": ["a@b.example"] * 57}}, "tool",
     "too_many_resources"),
    ({"model": "main"}, "model", "bad_request"),
    ({"model": "ma in", "request": {"messages": []}}, "model", "bad_name"),
    ({"model": "main", "request": {}}, "model", "bad_input"),
    ({"verb": "run", "args": {}, "approval": "acme/1"}, "operate", "bad_request"),
    ({"verb": "", "args": {}}, "operate", "bad_name"),
    ({}, "secret", "bad_request"),
    ({"svid": "wit"}, "secret", "bad_request"),
    ({"svid": "x509", "audience": ["a"]}, "secret", "bad_request"),
    ({"svid": "jwt"}, "secret", "bad_audience"),
    ({"svid": "jwt", "audience": "a"}, "secret", "bad_audience"),
    ({"svid": "jwt", "audience": []}, "secret", "bad_audience"),
    ({"svid": "jwt", "audience": [1]}, "secret", "bad_audience"),
    ({"svid": "jwt", "audience": ["a", "a"]}, "secret", "bad_audience"),
    ({"svid": "jwt", "audience": ["a"], "spiffe_id": ["x"]}, "secret", "bad_spiffe_id"),
    ({"svid": "jwt", "audience": ["a"], "args": {}}, "secret", "bad_request"),
    ({}, "message", "unknown_kind"),
    ({}, "code", "unknown_kind"),
    (b'{"tool":"' + b"x" * (1 << 20) + b'"}', "tool", "too_large"),
])
def test_a_request_that_is_no_call_is_refused_with_its_code(body: Any, kind: Kind, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        OFFICE.resolve(body, kind=kind)
    assert caught.value.code == code


def test_an_error_names_the_argument_and_the_cause() -> None:
    with pytest.raises(BadInput) as caught:
        OFFICE.resolve({"tool": "mail/send", "args": {"to": ["a@b.example", "x, y@z.example"], "body": ""}})
    assert caught.value.cause.startswith("argument 'to/1': email 'x, y@z.example' is not one bare address")


VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.sampled_from(
    ["/a/b", "/a//b", "a@B.example", IBAN, "https://X.example/%61"]) | st.lists(st.text(max_size=5), max_size=3)


@given(st.sampled_from(["docs/read", "docs/find", "docs/list", "mail/send", "pay/transfer", "pay/fetch", "a/b"]),
       st.dictionaries(st.sampled_from(["path", "to", "cc", "iban", "link", "invoice", "folder", "x"]), VALUES))
@settings(max_examples=250, deadline=None)
def test_resolving_what_was_resolved_changes_nothing(tool: str, args: dict[str, Any]) -> None:
    def once(given: Any) -> Call | None:
        try:
            return OFFICE.resolve({"tool": tool, "args": given})
        except BadInput:
            return None

    call = once(args)
    if call is None:
        return
    again = once(call.args)
    assert again is not None
    assert (again.args, again.resources, again.digest) == (call.args, call.resources, call.digest)
    assert len(call.resources) <= MAX_RESOURCES


@given(st.binary(max_size=80))
@example(b'{"tool":"0/0","args":{}}')
@settings(max_examples=150, deadline=None)
def test_hostile_bytes_are_a_call_or_bad_input(raw: bytes) -> None:
    for kind in ("tool", "model", "operate"):
        try:
            call = OFFICE.resolver.resolve(Origin(subject=process(), session=None, key="k"), kind, raw)
        except BadInput:
            continue
        assert call.kind == kind and call.digest  # it was one, then: what it may is for the rings
