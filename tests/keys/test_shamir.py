from __future__ import annotations

import base64
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shamir_mnemonic import generate_mnemonics
from tests.keys.holding import bound_to_its_generation, code_of, mark

from ringwall.errors import BadInput, Refused, Unavailable
from ringwall.keys.conformance import source_self_check
from ringwall.keys.shamir import ShamirSource


def source(folder: Path) -> ShamirSource:
    return ShamirSource(folder, 5, 3)


def made(folder: Path, generation: int = 1) -> tuple[bytes, list[bytes]]:
    """What tells the root of new shares, and the shares."""
    keys, shown = source(folder).create(generation, ())
    return mark(keys), [one.encode() for one in shown]


def test_shares_keep_every_promise_of_a_source(tmp_path: Path) -> None:
    source_self_check(source(tmp_path), ())
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_one_generation_does_not_pass_as_another_one(tmp_path: Path) -> None:
    bound_to_its_generation(source(tmp_path), tmp_path, ())


def test_any_three_of_five_open_it_in_any_order_and_more_are_no_fault(tmp_path: Path) -> None:
    root, shares = made(tmp_path)
    assert len(set(shares)) == 5
    for some in itertools.permutations(shares, 3):
        assert mark(source(tmp_path).open(1, some)) == root
    assert mark(source(tmp_path).open(1, shares)) == root
    spelled = [one.upper().replace(b" ", b"  ") + b"\n" for one in shares[:3]]
    assert mark(source(tmp_path).open(1, spelled)) == root


def test_too_few_shares_open_nothing_and_say_how_many_are_missing(tmp_path: Path) -> None:
    _, shares = made(tmp_path)
    for some in ([], shares[:2], [shares[0]] * 3, [*shares[:2], shares[1]]):
        with pytest.raises(Unavailable, match=rf"3 different shares of 5.* {len(set(some))} were") as found:
            source(tmp_path).open(1, some)
        assert code_of(found) == "root_key_sealed"


def test_a_damaged_share_is_named_by_its_place_and_not_by_its_words(tmp_path: Path) -> None:
    _, shares = made(tmp_path)
    words = shares[1].split()
    swapped = b" ".join([*words[:8], words[9], words[8], *words[10:]])
    other = b" ".join([*words[:8], b"academic" if words[8] != b"academic" else b"acid", *words[9:]])
    for bad in (swapped, other, b" ".join(words[:-1]), b"", b"\xff\xfe", b"one two three", shares[1] + b" acid",
                b"x" * 2000):
        with pytest.raises(Refused, match="share 2 is damaged") as found:
            source(tmp_path).open(1, [shares[0], bad, shares[2]])
        assert code_of(found) == "root_key_wrong"
        assert words[10].decode() not in str(found.value).split()


def test_shares_of_two_roots_do_not_mix(tmp_path: Path) -> None:
    _, ours = made(tmp_path)
    foreign = [one.encode() for one in generate_mnemonics(1, [(3, 5)], b"r" * 32)[0]]
    with pytest.raises(Refused, match="share 2 belongs to another root key") as found:
        source(tmp_path).open(1, [ours[0], foreign[1], ours[2]])
    assert code_of(found) == "root_key_wrong"
    with pytest.raises(Refused):
        source(tmp_path).open(1, foreign)


def test_shares_that_fit_each_other_and_claim_to_be_ours_are_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shamir_mnemonic.shamir._random_identifier", lambda: 4711)
    root, ours = made(tmp_path)
    (tmp_path / "other").mkdir()
    other, theirs = made(tmp_path / "other")
    assert other != root
    with pytest.raises(Refused, match="fit each other") as found:
        source(tmp_path).open(1, theirs[:3])
    assert code_of(found) == "root_key_wrong"
    with pytest.raises(Refused):
        source(tmp_path).open(1, [ours[0], ours[1], theirs[2]])
    with pytest.raises(Refused, match="same number"):
        source(tmp_path).open(1, [ours[0], theirs[0], ours[1], ours[2]])
    assert mark(source(tmp_path).open(1, ours[:3])) == root


def test_nothing_of_the_root_or_the_shares_is_on_the_disk(tmp_path: Path) -> None:
    keys, shares = source(tmp_path).create(1, ())
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    kept = base64.b64decode(content.split(b"\n")[1])
    assert path.name == "root-1.shamir"
    assert len(kept) == 36
    assert not any(keys._root[at:at + 4] in kept for at in range(29))  # type: ignore[attr-defined]
    assert not any(word.encode() in content.split() for share in shares for word in share.split())


def test_a_damaged_note_is_told(tmp_path: Path) -> None:
    _, shares = made(tmp_path)
    path = tmp_path / "root-1.shamir"
    good = path.read_bytes()
    for bad in (good[:-1], good[:-5] + b"\n", b"", good[:24] + b"AAAA" + good[28:]):
        path.write_bytes(bad)
        with pytest.raises(BadInput) as found:
            source(tmp_path).open(1, shares)
        assert code_of(found) == "bad_root_key"


def test_the_note_keeps_its_mode(tmp_path: Path) -> None:
    root, shares = made(tmp_path)
    (tmp_path / "root-1.shamir").chmod(0o644)
    with pytest.raises(Unavailable) as found:
        source(tmp_path).open(1, shares)
    assert code_of(found) == "root_key_exposed"
    assert root


def test_changed_settings_do_not_lock_out_who_has_the_old_shares(tmp_path: Path) -> None:
    root, shares = made(tmp_path)
    assert mark(ShamirSource(tmp_path, 2, 2).open(1, shares[2:])) == root


def test_shares_cannot_be_chosen_and_hordes_of_them_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as found:
        source(tmp_path).create(1, [b"mine"])
    assert code_of(found) == "bad_answers"
    _, shares = made(tmp_path)
    with pytest.raises(BadInput):
        source(tmp_path).open(1, shares * 13)


@pytest.mark.parametrize(("shares", "threshold"), [(5, 1), (2, 3), (17, 3), (0, 0)])
def test_numbers_that_protect_nothing_are_a_mistake(tmp_path: Path, shares: int, threshold: int) -> None:
    with pytest.raises(ValueError, match="shares"):
        ShamirSource(tmp_path, shares, threshold)


@pytest.mark.parametrize(("shares", "threshold"), [(2, 2), (16, 16), (16, 2)])
def test_the_least_and_the_most_shares_work(tmp_path: Path, shares: int, threshold: int) -> None:
    keys, shown = ShamirSource(tmp_path, shares, threshold).create(1, ())
    assert len(shown) == shares
    opened = ShamirSource(tmp_path, shares, threshold).open(1, [one.encode() for one in shown[-threshold:]])
    assert mark(opened) == mark(keys)


@given(answers=st.lists(st.one_of(st.binary(max_size=300), st.text(max_size=300).map(str.encode)), max_size=5))
def test_no_bytes_in_the_place_of_shares_open_anything(
    tmp_path_factory: pytest.TempPathFactory, answers: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("shares")
    made(folder)
    with pytest.raises((Refused, Unavailable)) as found:
        source(folder).open(1, answers)
    assert found.value.code in {"root_key_wrong", "root_key_sealed"}
