"""The rules as tables: what is refused when, and by which rule."""

from __future__ import annotations

import pytest

from ringwall.call import Denied, NeedsApproval, Verdict
from ringwall.flow.labels import Label
from ringwall.flow.rules import NUMBERS, Situation, Value, judged
from ringwall.manifest.types import ArgumentRole, Clearance


def value(role: str, trusted: bool) -> Value:
    return Value(argument=role, role=ArgumentRole(role=role), trusted=trusted)  # type: ignore[arg-type]


def verdict(effect: str, context: str, *values: Value, clearance: Clearance = "secret", waiver: bool = True,
            undeclared: tuple[str, ...] = ()) -> Verdict:
    return judged(Situation(
        effect=effect, recipient="mail", clearance=clearance, values=values, undeclared=undeclared,
        context=Label.parse(context), clean_waiver=waiver,
    ))


def rule(effect: str, context: str, *values: Value, clearance: Clearance = "secret", waiver: bool = True,
         undeclared: tuple[str, ...] = ()) -> int | None:
    """Which rule stops the call, by a denial or a question."""
    found = verdict(effect, context, *values, clearance=clearance, waiver=waiver, undeclared=undeclared)
    return NUMBERS[found.code] if isinstance(found, (Denied, NeedsApproval)) else None


TO, KNOWN_TO = value("target", False), value("target", True)


@pytest.mark.parametrize(("context", "waiver", "found"), [
    ("P public", True, None), ("U public", True, None), ("M private", True, None), ("P secret", True, None),
    ("U private", True, 7), ("U secret", True, 7),
    ("P public", False, None), ("P private", False, 7), ("M private", False, 7),
])
@pytest.mark.parametrize("effect", ["send", "publish", "book"])
def test_private_data_and_untrusted_text_leave_only_for_a_named_recipient(
    effect: str, context: str, waiver: bool, found: int | None
) -> None:
    assert rule(effect, context, TO, waiver=waiver) == found
    if effect != "publish":
        assert rule(effect, context, KNOWN_TO, waiver=waiver) is None


def test_one_unnamed_recipient_among_named_ones_is_enough() -> None:
    assert rule("send", "U private", KNOWN_TO, TO, KNOWN_TO) == 7


def test_a_recipient_that_is_left_out_is_not_a_named_one() -> None:
    assert rule("send", "U private", value("payload", True)) == 7
    assert rule("pay", "U public", value("param", True)) == 2


def test_publishing_has_no_recipient_that_could_be_named() -> None:
    assert rule("publish", "U private", KNOWN_TO) == 7


@pytest.mark.parametrize("effect", ["read", "write", "delete", "fetch"])
def test_what_reaches_nobody_else_is_no_exit(effect: str) -> None:
    assert rule(effect, "U secret", TO) is None


def test_a_composed_url_is_an_exit() -> None:
    assert rule("fetch", "U private", value("url", False)) == 7
    assert rule("fetch", "U private", value("url", True)) is None
    assert rule("fetch", "U public", value("url", False)) is None


@pytest.mark.parametrize(("context", "waiver", "found"), [
    ("P public", True, None), ("T private", True, None), ("C public", True, 2), ("M public", True, 2),
    ("U public", True, 2), ("P public", False, 2),
])
@pytest.mark.parametrize(("effect", "role"), [("pay", "target"), ("grant", "target"), ("credential", "secret"),
                                              ("identity", "ident")])
def test_money_and_rights_go_only_where_the_request_says(
    effect: str, role: str, context: str, waiver: bool, found: int | None
) -> None:
    assert rule(effect, context, value(role, False), waiver=waiver) == found
    assert rule(effect, context, value(role, True), waiver=waiver) is None


@pytest.mark.parametrize(("confidentiality", "clearance", "found"), [
    ("public", "public", None), ("private", "public", 11), ("secret", "public", 11), ("public", "private", None),
    ("private", "private", None), ("secret", "private", 11), ("secret", "secret", None),
])
@pytest.mark.parametrize("role", ["query", "payload", "selector", "param"])
def test_a_recipient_sees_nothing_above_its_clearance(
    confidentiality: str, clearance: Clearance, found: int | None, role: str
) -> None:
    assert rule("read", f"P {confidentiality}", value(role, False), clearance=clearance) == found
    assert rule("read", f"P {confidentiality}", value(role, True), clearance=clearance) is None
    assert rule("read", f"P {confidentiality}", clearance=clearance) is None


def test_an_undeclared_argument_is_refused_whatever_was_seen() -> None:
    assert rule("read", "P public", undeclared=("bcc",)) == 1


@pytest.mark.parametrize(("effect", "context", "values", "clearance"), [
    ("pay", "U private", [TO], "secret"),
    ("credential", "M public", [value("secret", False)], "secret"),
    ("send", "U private", [TO, value("payload", False)], "secret"),
    ("read", "P private", [value("query", False)], "public"),
])
def test_a_human_is_asked_about_a_value_that_he_can_look_at(
    effect: str, context: str, values: list[Value], clearance: Clearance
) -> None:
    asked = verdict(effect, context, *values, clearance=clearance)
    assert isinstance(asked, NeedsApproval)
    assert values[0].argument in asked.arguments
    assert context in asked.question


@pytest.mark.parametrize(("effect", "context", "values", "clearance"), [
    ("pay", "U public", [], "secret"),  # no payee at all: what the server does then is its own choice
    ("pay", "U public", [value("param", True)], "secret"),
    ("pay", "U secret", [TO], "secret"),  # secret data was read
    ("send", "U secret", [TO], "secret"),
    ("publish", "U private", [TO], "secret"),
    ("fetch", "U private", [value("url", False)], "secret"),  # a composed URL can carry anything
    ("send", "U private", [TO, value("url", False)], "secret"),
    ("read", "P private", [value("url", False)], "public"),
    ("read", "P secret", [value("query", False)], "private"),
])
def test_what_a_human_cannot_see_through_stays_refused(
    effect: str, context: str, values: list[Value], clearance: Clearance
) -> None:
    assert isinstance(verdict(effect, context, *values, clearance=clearance), Denied)


def test_a_denial_of_one_rule_beats_the_question_of_another() -> None:
    asked_and_denied = verdict("pay", "U private", TO, value("url", False))
    assert isinstance(asked_and_denied, Denied)
    assert asked_and_denied.code == "trifecta"


def test_two_questions_are_asked_as_one_with_all_their_arguments() -> None:
    both = verdict("send", "U private", TO, value("payload", False), clearance="public")
    assert isinstance(both, NeedsApproval)
    assert (both.code, both.arguments) == ("trifecta", ("target", "payload"))
    assert "cleared for public" in both.question
