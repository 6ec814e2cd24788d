"""What the prompt names, and above all what it does not name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringwall.capability.resources import canonical
from ringwall.flow.prompt import Prompt

IBAN = "DE89370400440532013000"


def spell(kind: str, text: str) -> str:
    return canonical(kind, text).id


def names(task: str, value: str, kind: str) -> bool:
    return Prompt(task, spell).names(value, kind)


@pytest.mark.parametrize("task", [
    "write to bob@x.example", "write to bob@x.example.", "to <bob@x.example>, please", "(bob@x.example)",
    "is it bob@x.example?", '"bob@x.example"', "'bob@x.example'", "mailto:bob@x.example", "bob@X.example",
    "a@y.example,bob@x.example;c@z.example", "bob@x.example's invoice", "**bob@x.example**",
    '{"to":"bob@x.example"}',
])
def test_an_address_is_named_in_any_sentence(task: str) -> None:
    assert names(task, "bob@x.example", "email")


@pytest.mark.parametrize("task", [
    "", "bob", "x.example", "notbob@x.example", "not.bob@x.example", "bob@x.example.evil", "bob@x.example-evil.com",
    "o'bob@x.example", "evil+bob@x.example", "bob@sub.x.example", "BOB@x.example", "bob @x.example",
    "b\N{CYRILLIC SMALL LETTER O}b@x.example", "bob@\N{CYRILLIC SMALL LETTER HA}.example",
    "bob\N{FULLWIDTH COMMERCIAL AT}x.example", "bob\u200b@x.example", "bob@x.example\u200b", "a@bob@x.example",
    "evil%bob@x.example", "'bob@x.example", "{bob@x.example",
])
def test_another_address_does_not_name_it(task: str) -> None:
    assert not names(task, "bob@x.example", "email")


@pytest.mark.parametrize("task", [
    f"pay {IBAN} now", "pay DE89 3704 0044 0532 0130 00 and be quick", f"({IBAN})", f"IBAN: {IBAN}.",
    f"{IBAN.lower()}", f'"{IBAN}"', "to DE89 3704 0044 0532 0130 00, today",
])
def test_an_account_is_named_in_any_grouping(task: str) -> None:
    assert names(task, IBAN, "iban")


@pytest.mark.parametrize("task", [
    "", "pay DE", f"{IBAN}1", f"X{IBAN}", f"{IBAN[:-1]}", "DE88370400440532013000", f"{IBAN}ABC",
    "DE89-3704-0044-0532-0130-00",
])
def test_another_account_does_not_name_it(task: str) -> None:
    assert not names(task, IBAN, "iban")


def test_no_account_stands_within_another() -> None:
    prompt = Prompt(f"pay {IBAN}", spell)
    assert prompt.names(IBAN, "iban")
    assert [n for n in range(15, 22) if prompt.names(IBAN[:n], "iban")] == []


@pytest.mark.parametrize(("task", "value", "said"), [
    ("see https://x.example/a.", "https://x.example/a", True),
    ("see (https://x.example/a)", "https://x.example/a", True),
    ("[it](https://x.example/a)", "https://x.example/a", True),
    ("see HTTPS://X.example:443/a", "https://x.example/a", False),  # the scheme is written small in prompts
    ("see https://x.example/a(b)", "https://x.example/a(b)", True),
    ("see https://x.example/a(b)c", "https://x.example/a", False),
    ("see https://x.example/o'neil", "https://x.example/o", False),
    ("see https://x.example/ab", "https://x.example/a", False),
    ("see https://x.example.evil/a", "https://x.example/a", False),
    ("see https://x.example/?u=https://y.example/", "https://y.example/", False),
    ("see x.example/a", "https://x.example/a", False),
])
def test_a_url_is_named_whole(task: str, value: str, said: bool) -> None:
    assert names(task, value, "url") is said


@pytest.mark.parametrize(("task", "value", "said"), [
    ("read /srv/docs/a.txt.", "/srv/docs/a.txt", True),
    ("read '/srv/docs/a.txt', then stop", "/srv/docs/a.txt", True),
    ('call it with {"path": "/srv/docs/a.txt"}', "/srv/docs/a.txt", True),
    ("read /srv//docs/./a.txt", "/srv/docs/a.txt", True),
    ("read /srv/docs/o'neil.txt", "/srv/docs/o", False),
    ("read /srv/docs/(old)/a.txt", "/srv/docs", False),
    ("read /srv/docs/a.txt.bak", "/srv/docs/a.txt", False),
    ("read docs/a.txt", "/docs/a.txt", False),
])
def test_a_path_is_named_whole(task: str, value: str, said: bool) -> None:
    assert names(task, value, "path") is said


@pytest.mark.parametrize(("task", "value", "said"), [
    ("post to #general", "general", True), ("ask @ana", "ana", True), ('pay "the bakery"', "the bakery", True),
    ("order A-17 again", "A-17", True), ("pay Alice today", "Alice", True), ("invoice 4711", "4711", True),
    ("pay the hotel", "the", False), ("pay the hotel", "hotel", False), ("Pay the hotel", "Pay", False),
    ("pay it. Then stop", "Then", False), ("meet O'Neil", "Neil", False), ("order A-17", "17", False),
    ("pay Alice", "alice", False),
])
def test_a_plain_word_of_the_prompt_is_no_name(task: str, value: str, said: bool) -> None:
    assert names(task, value, "payee") is said


@pytest.mark.parametrize(("task", "value", "said"), [
    ("search for printer paper", "printer paper", True),
    ("search for Printer  Paper", "printer paper", True),
    ("search for printer\npaper", "printer paper", True),
    ('{"query":"printer paper"}', "printer paper", True),
    ("say 'printer paper'.", "printer paper", True),
    ("the printer paper's price", "printer paper", False),
    ("search for printers paperless", "printer paper", False),
    ("top-secret", "secret", False), ("bob@x.example", "x.example", False), ("o'bob", "bob", False),
    ("pay 5.75", "5", False), ("pay 5", "5", True),
    ("printer", "", False), ("printer", "  ", False),
])
def test_free_text_is_named_by_whole_words(task: str, value: str, said: bool) -> None:
    assert names(task, value, "") is said


@pytest.mark.parametrize("value", [
    "Printer Paper", "pRinter paper", "printer  paper", "printer\tpaper", " printer paper", "printer paper ",
    "printer paper!?!", "printer paper,,..", "...", "?!", "printer\u200b paper", "PRINTER PAPER",
])
def test_no_data_travels_in_case_spaces_or_punctuation(value: str) -> None:
    assert not names("search for printer paper, please", value, "")


@given(st.text(max_size=60), st.text(max_size=20),
       st.sampled_from(["", "email", "iban", "url", "path", "payee", "id", "nonsense"]))
def test_any_text_is_answered(task: str, value: str, kind: str) -> None:
    assert names(task, value, kind) in {True, False}


@given(st.text(alphabet="ab .,'\"(@-", max_size=30), st.text(alphabet="ab .,'\"(@-", min_size=1, max_size=6))
def test_what_is_named_stands_there(task: str, value: str) -> None:
    if names(task, value, ""):
        assert value in task or value in " ".join(task.split())
        assert value == value.strip()


@pytest.mark.parametrize(("task", "kind", "value", "said"), [
    ("Clone https://github.com/Acme/App.git, please", "git", "ssh://git@github.com/acme/app", True),
    ("Clone git@github.com:acme/app.", "git", "github.com/acme/app", True),
    ("Clone github.com/acme/app", "git", "github.com/acme/app2", False),
    ("Sum up s3://reports/2026/a.csv.", "s3", "s3://reports/2026/a.csv", True),
    ("Sum up s3://reports/2026/a.csv", "s3", "reports/2026/a.csv", True),
    ("Sum up s3://reports/2026/a.csv", "s3", "s3://reports/2026/b.csv", False),
    ("Sum up the reports", "s3", "reports", False),  # a plain word is no bucket
    ('Count the rows of Sales."Orders"', "table", 'sales."Orders"', True),
    ("Count the rows of SALES.orders?", "table", "sales.orders", True),
    ("Restart staging/Deployment/web", "k8s", "staging/deployments.apps/web", True),
    ("Read arn:aws:s3:::team-1/x.", "arn", "arn:aws:s3:::team-1/x", True),
    ("Read arn:aws:s3:::team-1/x", "arn", "not an arn", False),
])
def test_a_resource_is_named_in_whatever_notation(task: str, kind: str, value: str, said: bool) -> None:
    assert names(task, value, kind) is said
