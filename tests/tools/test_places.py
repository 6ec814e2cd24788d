"""Where requests go: URLs in one reading, and what lies below a prefix."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.tools.places import below, climbs, place

TOP = "https://docs.example/a/"


@pytest.mark.parametrize(
    "url",
    [
        "https://docs.example/a/",
        "https://docs.example/a/b?x=../y",
        "https://DOCS.example/a/b",
        "https://docs.example:443/a/b%2Fc",
    ],
)
def test_what_is_below_a_prefix_is_found(url: str) -> None:
    assert below(url, [TOP])


@pytest.mark.parametrize(
    "url",
    [
        "https://docs.example/a",
        "https://docs.example:0443/a/",
        "https://[::1]docs.example/a/",
        "https://docs.example/ab",
        "https://docs.example/",
        "http://docs.example/a/",
        "https://docs.example:444/a/",
        "https://docs.example.evil.example/a/",
        "https://evil.example/a/",
        "https://docs.example@evil.example/a/",
        "https://evil.example/https://docs.example/a/",
        "https://docs.example/a/../b",
        "https://docs.example/a/%2E%2E/b",
        "https://docs.example/a/..%2Fb",
        "https://docs.example/a/..%5Cb",
        "https://docs.example/a/%252e%252e/b",
        "https://docs.example/a/..;x/b",
        "https://docs.example/a/.",
        "https://docs.example\\@evil.example/a/",
        "https://docs.example/a/#x",
        "",
        "docs.example/a/",
        "https:/docs.example/a/",
        "https:///docs.example/a/",
        "https://docs.example /a/",
        "https://docs.ex\u0430mple/a/",
    ],
)
def test_what_only_looks_as_if_it_were_below_is_not(url: str) -> None:
    assert not below(url, [TOP])


@pytest.mark.parametrize("segment", [
    "%c0%ae%c0%ae", "%e0%80%ae.", "..%00", "..%00.html", "..%09", "%20..", "..%20", "..%3fx", "..%23", "%EF%BC%8E.",
    "%E2%80%A5", "%01.%01.%01", "..%2500", "..%25c0%25af", ".%E2%80%8B.",
])  # fmt: skip
def test_what_a_careless_server_reads_as_a_way_up_is_one(segment: str) -> None:
    assert climbs(f"/v1/{segment}/admin")
    assert not below(f"{TOP}{segment}/admin", [TOP])


@pytest.mark.parametrize("segment", ["...", "a..", "..a", ".well-known", "%C3%A9", "%E9t%E9", "a%20.", "", "~",
                                     ".a;.."])
def test_what_nobody_reads_as_a_way_up_is_none(segment: str) -> None:
    assert not climbs(f"/v1/{segment}/x")


def test_a_prefix_without_a_slash_is_one_url() -> None:
    assert below("https://id.example/token", ["https://id.example/token"])
    assert not below("https://id.example/token?x", ["https://id.example/token"])
    assert not below("https://id.example/token/", ["https://id.example/token"])
    assert below("https://id.example", ["https://id.example"])


@settings(max_examples=300)
@given(st.text(max_size=40) | st.from_regex(r"https?://[a-z0-9.:@\\[\]%/?#-]{0,30}", fullmatch=True))
def test_any_text_is_a_place_or_refused_and_a_place_names_one_host(text: str) -> None:
    try:
        found = place(text)
    except BadInput as fault:
        assert fault.code == "bad_url"
        return
    assert found.scheme in {"http", "https"}
    assert found.host == found.host.lower() and "@" not in found.host and "/" not in found.host
    assert 0 < found.port < 65536
    assert found.target.startswith(("/", "?"))
    again = place(f"{found.scheme}://{found.authority}{found.target}")
    assert again == found


@settings(max_examples=200)
@given(st.lists(st.sampled_from(["..", ".", "%2e", "%2E", "%252e", "/", "\\", "%2f", "%5c", "a", ";"]), max_size=6))
def test_a_path_that_does_not_climb_has_no_dot_segment_however_often_it_is_decoded(parts: list[str]) -> None:
    from urllib.parse import unquote

    path = "".join(parts)
    if climbs(path):
        return
    for _ in range(3):
        assert not {".", ".."} & set(path.replace("\\", "/").split("/"))
        path = unquote(path)
