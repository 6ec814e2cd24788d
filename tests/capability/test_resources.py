"""capability/resources: one spelling per resource, and patterns that cover no more than they say."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ringwall.call import Resource
from ringwall.capability.resources import TYPES, canonical, covers, parse_pattern
from ringwall.errors import BadInput
from ringwall.manifest.spell import KINDS


def resource(type_name: str, text: str) -> Resource:
    found = canonical(type_name, text)
    return Resource(type=type_name, id=found.id, key=found.key, action="read", argument="x")


# Pattern, value, covered? None: the value has no canonical form. The first rows are the checks that looked right.
COVERAGE = [
    ("path:/srv/team-1/", "/srv/team-10/x", False),
    ("path:/srv/team-1", "/srv/team-10", False),
    ("path:/srv/team-1/", "/srv/team-1/../payroll/x", None),
    ("path:/srv/team-1/", "/srv/team-1/a/b.c/d.txt", True),  # no character stops a subtree
    ("path:/srv/team-1/a.txt", "/srv/team-1/a.txt/b", False),  # and nothing widens a file
    ("path:/srv/docs/public/", "/srv/docs/public/a.txt", True),
    ("path:/srv/docs/public/", "/srv/docs/public", True),
    ("path:/srv/docs/public/", "/srv/docs/public/", True),
    ("path:/srv/docs/public/", "/srv//docs/./public/a.txt", True),
    ("path:/srv/docs/public/", "/srv/docs/public/a%20b.txt", True),
    ("path:/srv/docs/public/", "/srv/docs/Public/a.txt", False),
    ("path:/srv/docs/public/", "/srv/docs/publiс/a.txt", False),  # the last letter is Cyrillic
    ("path:/srv/docs/public/", "/srv/docs", False),
    ("path:/srv/docs/public/", "/", False),
    ("path:/srv/docs/public/", "srv/docs/public/a.txt", None),
    ("path:/srv/docs/public/", "/srv/docs/public/%2e%2e/private/x", None),
    ("path:/srv/docs/public/", "/srv/docs/public/%2E%2E%2fprivate", None),
    ("path:/srv/docs/public/", "/srv/docs/public/%252e%252e/private", None),
    ("path:/srv/docs/public/", "/srv/docs/public/%c0%ae%c0%ae/private", None),
    ("path:/srv/docs/public/", "/srv/docs/public/%00", None),
    ("path:/srv/docs/public/", "/srv/docs/public/a\x00.txt", None),
    ("path:/srv/docs/public/", "/srv/docs/public\\..\\private", None),
    ("path:/srv/docs/public/", "/srv/docs/public/．．/private", None),
    ("path:/srv/docs/public/", "/srv／docs/public/a", None),
    ("path:/srv/docs/public/", "/srv/docs/public/a\u200b.txt", None),
    ("path:/srv/docs/public/", "/srv/docs/public/\u202etxt.a", None),
    ("path:/srv/docs/public/", "/srv/docs/public/a\ufe0f", None),
    ("path:/srv/docs/public/", "/srv/docs/public/cafe\u0301.txt", None),
    ("path:/srv/docs/public/", "/srv/docs/public/caf\u00e9.txt", True),
    ("path:/srv/docs/public/", "/srv/docs/public/.. /private", None),
    ("path:/srv/docs/public/", "/srv/docs/public/.../private", None),
    ("path:/srv/docs/public/", "/srv/docs/public/a.txt.", None),
    ("path:/srv/docs/public/", "/srv/docs/public/a\n", None),
    ("path:/srv/docs/public/", "file:///srv/docs/public/a.txt", None),
    ("path:/srv/docs/public/", "~/x", None),
    ("path:/srv/docs/public/", "", None),
    ("path:/srv/docs/public/", "/srv/docs/public/" + "a" * 256, None),
    ("url:https://api.example/v1/", "https://api.example/v1/users", True),
    ("url:https://api.example/v1/", "HTTPS://API.Example.:443/v1/%75sers?q=1#part", True),
    ("url:https://api.example/v1/", "https://api.example/v1", True),  # the subtree's own root
    ("url:https://api.example/v1/", "https://api.example/v10/users", False),
    ("url:https://api.example/v1/", "http://api.example/v1/users", False),
    ("url:https://api.example/v1/", "https://api.example:8443/v1/users", False),
    ("url:https://api.example/v1/", "https://api.example.evil.example/v1/users", False),
    ("url:https://api.example/v1", "https://api.example/v1/", False),
    ("url:https://api.example/v1", "https://api.example/v1?all=1", False),
    ("url:https://api.example/", "https://api.example", True),
    ("url:https://api.example/v1/", "https://api.example/v1/../admin", None),
    ("url:https://api.example/v1/", "https://api.example/v1/%2e%2e/admin", None),
    ("url:https://api.example/v1/", "https://api.example/v1/..;/admin", None),
    ("url:https://api.example/v1/", "https://api.example/v1/..%20/admin", None),
    ("url:https://api.example/v1/", "https://api.example/v1/..%3fx/admin", None),
    ("url:https://api.example/v1/", "https://api.example/v1/..%2fadmin", None),
    ("url:https://api.example/v1/", "https://api.example/v1/%252e%252e/admin", None),
    ("url:https://api.example/v1/", "https://api.example/v1//admin", None),
    ("url:https://api.example/v1/", "https://api.example\\@evil.example/v1/", None),
    ("url:https://api.example/v1/", "https://api.example@evil.example/v1/", None),
    ("url:https://api.example/v1/", "https://evil.example#@api.example/v1/", False),
    ("url:https://api.example/v1/", "https://ap%69.example/v1/", None),
    ("url:https://api.example/v1/", "https://аpi.example/v1/", None),  # Cyrillic а
    ("url:https://api.example/v1/", "https:/api.example/v1/", None),
    ("url:https://api.example/v1/", "//api.example/v1/", None),
    ("url:https://api.example/v1/", "javascript://api.example/v1/", None),
    ("url:https://api.example/v1/", "https://api.example:0/v1/", None),
    ("url:https://api.example/v1/", "https://api.example:65536/v1/", None),
    ("url:https://api.example/v1/", "https://api.example/v1/a b", None),
    ("url:http://127.0.0.1/", "http://127.0.0.1/x", True),
    ("url:http://127.0.0.1/", "http://0x7f.0.0.1/x", None),
    ("url:http://127.0.0.1/", "http://0177.0.0.1/x", None),
    ("url:http://127.0.0.1/", "http://127.1/x", None),
    ("url:http://127.0.0.1/", "http://2130706433/x", None),
    ("url:http://127.0.0.1/", "http://127.0.0.1./x", None),
    ("url:http://127.0.0.1/", "http://[::ffff:127.0.0.1]/x", None),
    ("url:http://127.0.0.1/", "http://[::ffff:7f00:1]/x", None),
    ("url:http://127.0.0.1/", "http://[::7f00:1]/x", None),
    ("url:http://127.0.0.1/", "http://[64:ff9b::7f00:1]/x", None),
    ("url:http://127.0.0.1/", "http://[64:ff9b:1::7f00:1]/x", None),
    ("url:http://[::1]/", "http://[0:0:0:0:0:0:0:1]/x", True),
    ("url:http://[2001:db8::1]/", "http://[2001:0DB8:0:0:0:0:0:1]:80/x", True),
    ("url:http://[fe80::1]/", "http://[fe80::1%25eth0]/x", None),
    ("email:@customer.example", "bob@customer.example", True),
    ("email:@customer.example", "bob@CUSTOMER.example.", True),
    ("email:@customer.example", "bob@sub.customer.example", False),
    ("email:@customer.example", "bob@notcustomer.example", False),
    ("email:bob@customer.example", "Bob@customer.example", False),
    ("email:bob@customer.example", "bobby@customer.example", False),
    ("email:@customer.example", "Bob <bob@customer.example>", None),
    ("email:@customer.example", "eve@evil.example,bob@customer.example", None),
    ("email:@customer.example", "eve@evil.example;bob@customer.example", None),
    ("email:@customer.example", "eve@evil.example bob@customer.example", None),
    ("email:@customer.example", "eve@evil.example\r\nBcc: bob@customer.example", None),
    ("email:@customer.example", "eve%evil.example@customer.example", None),
    ("email:@customer.example", "evil.example!eve@customer.example", None),
    ("email:@customer.example", '"eve@evil.example"@customer.example', None),
    ("email:@customer.example", "eve@evil.example@customer.example", None),
    ("email:@customer.example", "bob@customer。example", None),
    ("email:@customer.example", "bob@[127.0.0.1]", None),
    ("email:@customer.example", "bob@10.0.0.1", None),
    ("email:@customer.example", "@customer.example", None),
    ("email:@customer.example", "bob..x@customer.example", None),
    ("email:@customer.example", "mailto:bob@customer.example", None),
    ("iban:DE89370400440532013000", "DE89 3704 0044 0532 0130 00", True),
    ("iban:DE89370400440532013000", "de89370400440532013000", True),
    ("iban:DE89370400440532013000", "GB82WEST12345698765432", False),
    ("iban:DE89370400440532013000", "DE88370400440532013000", None),
    ("iban:DE89370400440532013000", "DE89-3704-0044-0532-0130-00", None),
    ("iban:DE89370400440532013000", "DE89３７0400440532013000", None),
    ("iban:DE89370400440532013000", "DE89", None),
    ("id:invoice-7", "invoice-7", True),
    ("id:invoice-7", "Invoice-7", False),
    ("id:invoice-7", "invoice-70", False),
    ("id:invoice-7", "invoice%2d7", None),
    ("id:invoice-7", " invoice-7", None),
    ("id:invoice-7", "invoice-7\u2060", None),
    ("payee:ACME GmbH", "ACME GmbH", True),
    ("payee:ACME GmbH", "ACME  GmbH", None),
    ("payee:ACME GmbH", "ACME\u00a0GmbH", None),
]


@pytest.mark.parametrize(("pattern", "value", "covered"), COVERAGE, ids=[f"{p} {v[:40]!a}" for p, v, _ in COVERAGE])
def test_a_pattern_covers_what_it_says_and_nothing_that_looks_like_it(
        pattern: str, value: str, covered: bool | None) -> None:
    type_name = pattern.partition(":")[0]
    if covered is None:
        with pytest.raises(BadInput) as caught:
            canonical(type_name, value)
        assert caught.value.code == "bad_argument"
        assert str(caught.value).isascii()
    else:
        assert covers(parse_pattern(pattern), resource(type_name, value)) is covered


def test_a_pattern_of_one_type_covers_no_resource_of_another() -> None:
    assert not covers(parse_pattern("id:a@x.example"), resource("email", "a@x.example"))
    assert not covers(parse_pattern("payee:a"), resource("member", "a"))


@pytest.mark.parametrize(("text", "code"), [
    ("/srv", "bad_pattern"),
    ("", "bad_pattern"),
    ("s9:x", "unknown_resource_type"),
    ("Path:/srv/", "unknown_resource_type"),
    ("path:", "bad_pattern"),
    ("path:/", "bad_pattern"),
    ("path://", "bad_pattern"),
    ("path:srv/docs/", "bad_pattern"),
    ("path:/srv/../etc/", "bad_pattern"),
    ("path:/srv/*", "bad_pattern"),
    ("id:*", "bad_pattern"),
    ("email:*@x.example", "bad_pattern"),
    ("email:@", "bad_pattern"),
    ("email:@com", "bad_pattern"),
    ("url:https://", "bad_pattern"),
    ("url:https://x.example/a#b", "bad_pattern"),
    ("iban:DE00", "bad_pattern"),
    ("id:", "bad_pattern"),
])
def test_a_pattern_that_says_anything_or_nothing_is_refused(text: str, code: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_pattern(text)
    assert caught.value.code == code


@pytest.mark.parametrize(("text", "spelled"), [
    ("path:/srv//docs/", "path:/srv/docs/"),
    ("path:/srv/a.txt", "path:/srv/a.txt"),
    ("email:@X.Example", "email:@x.example"),
    ("url:HTTPS://x.example:443/a/", "url:https://x.example/a/"),
    ("url:https://x.example", "url:https://x.example/"),
    ("iban:de89 3704 0044 0532 0130 00", "iban:DE89370400440532013000"),
])
def test_a_pattern_is_named_by_its_canonical_spelling(text: str, spelled: str) -> None:
    assert parse_pattern(text).text == spelled


PIECES = st.sampled_from([
    "/", "//", ".", "..", "%2e", "%2f", "%25", "%41", "%", "a", "B", "é", "e\u0301", "http://", "https://",
    "x.example", "EXAMPLE", "@", ":", ":80", ":443", "?", "#", ";", "[", "]", "::1", "127.0.0.1", "0x7f", " ", "\\",
    "\u200b", "．", "1", "de89", "DE89370400440532013000", "-", "\x00", "+", "~", "xn--"])
SPELLED = st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=30)


@given(st.sampled_from(sorted(TYPES)), SPELLED)
@settings(max_examples=500, deadline=None)
@example("url", "https://x.example/%25%34%31")
@example("path", "/%25%34%31")
def test_canonical_is_a_fixed_point_and_ids_and_keys_name_the_same_things(type_name: str, text: str) -> None:
    try:
        once = canonical(type_name, text)
    except BadInput:
        return
    again = canonical(type_name, once.id)
    assert (again.id, again.key) == (once.id, once.key)
    assert all(isinstance(part, str) for part in once.key)
    if type_name == "path":
        assert ".." not in once.key


@given(st.sampled_from(sorted(TYPES)), SPELLED, SPELLED)
@settings(max_examples=300, deadline=None)
def test_a_pattern_gives_two_spellings_of_one_resource_one_answer(type_name: str, text: str, other: str) -> None:
    try:
        first, pattern = resource(type_name, text), parse_pattern(f"{type_name}:{other}")
    except BadInput:
        return
    again = resource(type_name, first.id)
    assert covers(pattern, first) == covers(pattern, again)


def _spell(path: tuple[str, ...], encode: list[bool], extra: list[str]) -> str:
    out = ""
    for i, segment in enumerate(path):
        out += extra[i % len(extra)] if extra else "/"
        out += "".join(f"%{ord(c):02x}" if encode[i % len(encode)] else c for c in segment)
    return out


@given(st.lists(st.text("abcxyz", min_size=1, max_size=5), min_size=1, max_size=5).map(tuple),
       st.lists(st.booleans(), min_size=1), st.lists(st.sampled_from(["/", "//", "/./"]), max_size=4))
@settings(max_examples=200, deadline=None)
def test_every_spelling_of_a_path_has_the_same_id(
        path: tuple[str, ...], encode: list[bool], extra: list[str]) -> None:
    assert canonical("path", _spell(path, encode, extra)).key == path


def test_a_path_that_climbs_is_told_so() -> None:
    with pytest.raises(BadInput, match="climbs"):
        canonical("path", "/srv/docs/../x")


def test_the_manifest_and_this_package_know_the_same_types() -> None:
    assert set(KINDS) == TYPES
