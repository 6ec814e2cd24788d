"""A secret in an agent's program: a handle that shows its name, and asks for the rest."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.doors.fakes import Served, served

import ringwall
from ringwall import _client, _secret, aio
from ringwall.call import Chunk, Json, Last
from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.interface import Refusal

VALUE = "hunter2-hunter2"


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Served]:
    with served(tmp_path) as found:
        monkeypatch.setenv("RINGWALL_DOOR", str(found.path))
        yield found
        _client.default().close()


def answer(door: Served, value: Json) -> None:
    door.wall.items = [Chunk(value=value), Last(end="done")]


def test_a_handle_prints_as_its_name_wherever_it_is_printed() -> None:
    for handle in (ringwall.secret("db-password"), aio.secret("db-password")):
        shown = "<secret db-password>"
        assert (str(handle), repr(handle), f"{handle}", f"{handle!r}", "".join([format(handle)])) == (shown,) * 5
        assert f"{handle:>22}" == "  " + shown
        assert not hasattr(handle, "__dict__")
        with pytest.raises(AttributeError):
            handle.value = VALUE  # pyright: ignore[reportAttributeAccessIssue]


def test_a_handle_does_not_travel() -> None:
    handle = ringwall.secret("db-password")
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(handle, protocol)
    for duplicate in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="cannot be pickled or copied"):
            duplicate(handle)
    with pytest.raises(TypeError):
        json.dumps(handle)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "\x1b[2J", "x" * 65, "é", 3, None, b"key"])
def test_what_is_no_name_is_no_secret(name: Any) -> None:
    for make in (ringwall.secret, aio.secret):
        with pytest.raises(BadInput, match="bad_arguments"):
            make(name)


def test_making_a_handle_asks_nobody_and_each_revealing_asks_anew(door: Served) -> None:
    handle = ringwall.secret("key")
    assert door.wall.seen == []
    answer(door, {"value": VALUE})
    assert (handle.reveal(), handle.reveal(), handle.reveal_bytes()) == (VALUE, VALUE, VALUE.encode())
    assert [(kind, raw) for _, kind, raw in door.wall.seen] == [("secret", b'{"read":"key"}')] * 3
    assert str(handle) == "<secret key>"


def test_bytes_that_are_no_text_come_as_bytes_only(door: Served) -> None:
    answer(door, {"base64": "/wA="})
    handle = ringwall.secret("key")
    assert handle.reveal_bytes() == b"\xff\x00"
    with pytest.raises(BadInput, match="secret_not_text") as caught:
        handle.reveal()
    assert caught.value.__context__ is None or "xff" not in repr(caught.value.__context__)


def test_the_asynchronous_handle_mirrors_it(door: Served) -> None:
    async def scene() -> None:
        answer(door, {"value": VALUE})
        handle = aio.secret("key")
        assert await handle.reveal() == VALUE
        assert await handle.reveal_bytes() == VALUE.encode()
        door.wall.passage = Refusal(code="not_granted", reason="no", record="acme/9")
        with pytest.raises(Refused, match="not_granted"):
            await handle.reveal()

    asyncio.run(scene())


def test_a_refusal_is_an_exception_like_any_other(door: Served) -> None:
    door.wall.passage = Refusal(code="not_granted", reason="no", record="acme/9")
    with pytest.raises(Refused) as caught:
        ringwall.secret("key").reveal()
    assert caught.value.record == "acme/9"
    door.wall.passage = None
    door.wall.items = [Last(end="failed", error={"code": "vault_sealed", "reason": "not now"})]
    with pytest.raises(RingwallError, match="vault_sealed"):
        ringwall.secret("key").reveal()


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.dictionaries(st.sampled_from(["value", "base64", "x"]), inner, max_size=3)
    | st.lists(inner, max_size=2), max_leaves=6))
def test_whatever_the_door_answers_is_a_value_or_an_error_that_shows_none_of_it(found: Json) -> None:
    handle = _secret.Secret("key")
    try:
        assert isinstance(handle._bytes(found), bytes)  # pyright: ignore[reportPrivateUsage]
    except Unavailable as fault:
        assert str(fault) == "bad_answer: the door's answer for <secret key> cannot be read"
