"""What is due when, without any disk or log."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from tests.identity.svid.workshop import NOW, ecdsa

from ringwall.identity.svid.keyring import (
    KEY_SECONDS,
    MAX_OLD,
    OLD_SECONDS,
    Activate,
    Drop,
    Key,
    Prepare,
    active,
    due,
    next_time,
    turned,
)


def key(name: str, **changed: object) -> Key:
    made = Key(name=name, use="x509", phase="active", private=ecdsa("ring"), certificate=b"", created=NOW, turn=NOW,
               expires=NOW + KEY_SECONDS)
    return replace(made, **changed)  # pyright: ignore


TOKENS = key("t", use="jwt")


def test_too_many_old_keys_lose_the_oldest() -> None:
    old = [key(f"o{n}", phase="old", created=NOW - n, drop=NOW + OLD_SECONDS) for n in range(MAX_OLD)]
    assert due([key("a"), TOKENS, *old], NOW) is None
    step = due([key("a"), TOKENS, *old, key("oldest", phase="old", created=NOW - 99, drop=NOW + 1)], NOW)
    assert isinstance(step, Drop)
    assert step.key.name == "oldest"


def test_a_prepared_key_from_the_future_is_dropped() -> None:
    step = due([key("a"), TOKENS, key("p", phase="prepared", created=NOW + 3600)], NOW)
    assert isinstance(step, Drop)
    assert step.key.name == "p"


@given(st.lists(st.floats(-3 * KEY_SECONDS, 3 * KEY_SECONDS), max_size=12))
def test_whatever_the_clock_does_one_key_signs_and_it_is_valid(moves: list[float]) -> None:
    keys: tuple[Key, ...] = ()
    now, made = NOW, 0
    for move in [0.0, *moves]:
        now += move
        for _ in range(40):
            step = due(keys, now)
            if step is None:
                break
            if isinstance(step, Prepare):
                made += 1
                fresh = key(f"k{made}", use=step.use, phase="prepared", created=now, turn=step.turn,
                            expires=now + KEY_SECONDS)
                keys = (*keys, fresh)
            elif isinstance(step, Activate):
                keys = turned(keys, step, now)
            else:
                keys = tuple(one for one in keys if one != step.key)
        assert due(keys, now) is None
        for use in ("x509", "jwt"):
            signing = active(keys, use)
            assert signing is not None and signing.usable(now)
            assert sum(one.use == use and one.phase == "active" for one in keys) == 1
            assert sum(one.use == use for one in keys) <= MAX_OLD + 2
        assert next_time(keys) > now
