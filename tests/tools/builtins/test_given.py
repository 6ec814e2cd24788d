"""Credentials by descriptor: taken when they are there, forgotten when they are dropped or over."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import FakeClock
from tests.tools.builtins.places import VALUES, handed

from ringwall.clock import SystemClock
from ringwall.errors import Refused, Unavailable
from ringwall.tools.builtins import given as g
from ringwall.tools.builtins.given import Given, Hand
from ringwall.tools.giving import Giving
from ringwall.vault.brokers import protocol
from ringwall.vault.interface import Credential
from ringwall.wire import frames


def until(done: Callable[[], bool]) -> None:
    over = time.monotonic() + 20
    while not done():
        assert time.monotonic() < over
        threading.Event().wait(0.01)


def missing(hand: Hand, name: str, seconds: float = 0.0) -> bool:
    try:
        hand.take(name, seconds)
    except Unavailable as fault:
        assert fault.code == "credential_missing"
        return True
    return False


def test_it_is_waited_for_and_has_what_was_given() -> None:
    with handed() as (core, hand):
        taken: list[Given] = []
        waiter = threading.Thread(target=lambda: taken.append(hand.take("le1", 20)))
        waiter.start()
        core.give("le1", expires_at=4e9)
        waiter.join()
        assert dict(taken[0].values) == VALUES
        assert taken[0].expires_at == 4e9
        assert VALUES["secret_access_key"] not in repr(taken[0])
        assert missing(hand, "le2")


def test_what_is_dropped_is_forgotten_and_ends_the_work_under_way() -> None:
    with handed() as (core, hand):
        core.give("le1")
        core.give("le2")
        one, other = hand.take("le1"), hand.take("le2")
        shut = threading.Event()
        with pytest.raises(Refused) as caught, one.using(shut.set):
            core.drop("le1")
            assert shut.wait(20)
            raise ConnectionResetError
        assert caught.value.code == "credential_ended"
        assert missing(hand, "le1")
        assert not other.ended
        with pytest.raises(Refused), one.using(shut.set):
            pytest.fail("it is over")


def test_it_is_over_when_its_time_is() -> None:
    clock = FakeClock()
    with handed(clock) as (core, hand):
        core.give("le1", expires_at=1900.0)
        one = hand.take("le1")
        clock.seconds = 1899.9
        assert hand.take("le1") is one
        clock.seconds = 1900.0
        assert missing(hand, "le1")
        until(lambda: one.ended)


def test_one_that_is_over_already_is_not_given() -> None:
    clock = FakeClock()
    with handed(clock) as (core, hand):
        core.give("le1", expires_at=clock.seconds)
        core.give("le2", expires_at=clock.seconds + 1)
        hand.take("le2")
        assert missing(hand, "le1")


def test_when_the_core_is_gone_so_is_all_it_gave_and_nobody_waits() -> None:
    with handed() as (core, hand):
        core.give("le1")
        one = hand.take("le1")
        core.sock.close()
        until(lambda: one.ended)
        assert missing(hand, "le1", seconds=1000)
        assert missing(hand, "le2", seconds=1000)


def test_one_that_is_given_again_takes_the_place_of_the_first() -> None:
    with handed() as (core, hand):
        core.give("le1")
        first = hand.take("le1")
        core.give("le1", {"password": "p"})
        until(lambda: first.ended)
        assert dict(hand.take("le1").values) == {"password": "p"}


def test_one_that_is_renewed_goes_on() -> None:
    clock = FakeClock()
    with handed(clock) as (core, hand):
        core.give("le1", expires_at=1100.0)
        one = hand.take("le1")
        core.give("le1", expires_at=1900.0)
        core.give("le2")
        hand.take("le2")
        clock.seconds = 1800.0
        assert hand.take("le1") is one
        assert not one.ended


@pytest.mark.parametrize("raw", [
    b"\xff\xff\xff\xff", struct.pack(">I", g.MAX_FRAME + 1), frames.encode(b"[]"), frames.encode(b"{"),
    frames.encode(b'{"give": 5}'), frames.encode(b'{"give": "a", "values": {"b": 1}}'), frames.encode(b"[" * 5000),
    frames.encode(b'{"give": "a", "values": {"b": "\xff"}}'), frames.encode(b""),
])
def test_what_the_core_would_not_write_ends_everything(raw: bytes) -> None:
    with handed() as (core, hand):
        core.give("le1")
        one = hand.take("le1")
        core.sock.sendall(raw)
        until(lambda: one.ended)
        assert missing(hand, "le1", seconds=1000)


@settings(max_examples=40)
@given(st.binary(max_size=200), st.integers(1, 50))
def test_any_bytes_in_any_pieces_leave_it_waiting_or_ended(data: bytes, size: int) -> None:
    ours, theirs = socket.socketpair()
    hand = Hand(theirs, SystemClock())
    hand.begin()
    with ours:
        for at in range(0, len(data), size):
            with contextlib.suppress(OSError):  # it has hung up
                ours.sendall(data[at:at + size])
    assert missing(hand, "never", seconds=1000)  # at once: the core is gone


def test_what_the_core_gives_arrives_and_what_it_drops_is_gone() -> None:
    """With the core's own end."""
    lent = Credential(lease="le1", secret="store", expires_at=4e9, values=VALUES)

    async def core() -> None:
        giving = Giving()
        hand = Hand(socket.socket(fileno=await giving.open("acme", "store")), SystemClock())
        hand.begin()
        name = giving.give("acme", "store", lent)
        one = await asyncio.to_thread(hand.take, name)
        assert dict(one.values) == VALUES
        giving.drop(name)
        await asyncio.to_thread(until, lambda: one.ended)
        giving.give("acme", "store", lent)
        again = await asyncio.to_thread(hand.take, name)
        giving.close("acme", "store")
        await asyncio.to_thread(until, lambda: again.ended)

    asyncio.run(core())


def test_a_call_without_one_says_so() -> None:
    with pytest.raises(Unavailable, match="credential_missing"):
        g.current()
    one = Given({}, 4e9)
    with g.during(one):
        assert g.current() is one
    with pytest.raises(Unavailable):
        g.current()


def test_the_largest_credential_that_a_broker_may_give_is_taken_and_costs_no_other() -> None:
    values = {f"value_{n}": '"' * protocol.MAX_VALUE for n in range(protocol.MAX_VALUES)}  # each escaped

    async def scenario() -> None:
        giving = Giving()
        hand = Hand(socket.socket(fileno=await giving.open("acme", "store")), SystemClock())
        hand.begin()
        giving.give("acme", "store", Credential(lease="le1", secret="s", expires_at=4e9, values=VALUES))
        giving.give("acme", "store", Credential(lease="le2", secret="s", expires_at=4e9, values=values))
        assert dict((await asyncio.to_thread(hand.take, "le2", 20)).values) == values
        assert dict(hand.take("le1").values) == VALUES
        giving.close("acme", "store")

    asyncio.run(scenario())
