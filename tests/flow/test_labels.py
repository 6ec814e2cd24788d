"""The lattice of labels."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringwall.flow.labels import CLEAN, WORST, Label, join

LABELS = st.builds(Label, st.sampled_from("PTCMU"), st.sampled_from(["public", "private", "secret"]))


@given(LABELS, LABELS, LABELS)
def test_join_is_a_least_upper_bound(a: Label, b: Label, c: Label) -> None:
    assert a.join(a) == a
    assert a.join(b) == b.join(a)
    assert a.join(b).join(c) == a.join(b.join(c))
    assert a.join(CLEAN) == a
    assert a.join(WORST) == WORST


@given(LABELS, LABELS)
def test_joining_never_improves_a_label(a: Label, b: Label) -> None:
    joined = a.join(b)
    assert "PTCMU".index(joined.integrity) == max("PTCMU".index(a.integrity), "PTCMU".index(b.integrity))
    assert joined.untrusted == (a.untrusted or b.untrusted)
    assert joined.above("public") == (a.above("public") or b.above("public"))
    assert joined.above("private") == (a.above("private") or b.above("private"))
    assert not joined.above("secret")


@given(LABELS)
def test_a_label_reads_back_as_it_was_written(label: Label) -> None:
    assert Label.parse(str(label)) == label


@given(st.text(max_size=20).filter(lambda text: text not in {f"{i} {c}" for i in "PTCMU"
                                                             for c in ("public", "private", "secret")}))
def test_anything_else_is_no_label(text: str) -> None:
    with pytest.raises(KeyError):
        Label.parse(text)


def test_the_join_of_nothing_is_clean() -> None:
    assert join([]) == CLEAN
    assert join([Label("T", "private"), Label("C", "public")]) == Label("C", "private")
