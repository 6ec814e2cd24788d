"""The one parser of SPIFFE IDs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.identity.spiffe import MAX_ID_BYTES, AnyId, SpiffeId


@pytest.mark.parametrize("text", [
    "spiffe://example.org", "spiffe://example.org/a", "spiffe://e_x.a-b.1/ns/x/sa/Y", "spiffe://a/.../a..b",
    "spiffe://a/" + "b" * (MAX_ID_BYTES - 11),
])
def test_an_id_of_any_domain_comes_back_as_it_was_written(text: str) -> None:
    assert str(AnyId.parse(text)) == text


def test_the_own_grammar_is_a_part_of_it() -> None:
    text = "spiffe://example.org/tenant/a/agent/b/role/c"
    assert str(SpiffeId.parse(text)) == str(AnyId.parse(text)) == text
    for other in ("spiffe://example.org", "spiffe://example.org/a", text + "/d", text.replace("tenant", "Tenant")):
        AnyId.parse(other)
        with pytest.raises(BadInput, match="bad_spiffe_id"):
            SpiffeId.parse(other)


@given(st.text(max_size=40).map(lambda end: "spiffe://a/" + end) | st.text(max_size=40))
def test_whatever_is_accepted_has_one_spelling(text: str) -> None:
    try:
        found = AnyId.parse(text)
    except BadInput as refused:
        assert refused.cause.isascii() or refused.cause.isprintable()
        return
    assert str(found) == text
    assert text.isascii()
    assert not {"", ".", ".."} & set(found.path)
