"""Nobody's requests take all the memory of a door that several use."""

from __future__ import annotations

from tests.doors.test_protocol import Timers, connected, post, problem, turn


def test_one_who_holds_much_leaves_room_for_the_others() -> None:
    loop = Timers()
    near, _, door = connected(loop, max_held=1000, shares=lambda _: (("ana", 4), ("acme", 2)))
    assert door.take((("bob", 4), ("acme", 2)), 200)
    assert door.take((("ana", 4), ("acme", 2)), 100)
    assert not door.take((("kim", 4), ("acme", 2)), 201)  # a half for all of one tenant
    assert door.take((("eve", 4), ("globex", 2)), 250)
    loop.run_until_complete(loop.sock_sendall(near, post(body=b"x" * 151)))
    assert problem(turn(loop, near, until="end")) == (429, "door_busy")
    assert door.held == 550  # what was refused holds nothing
    for name, size in (("bob", 200), ("ana", 100)):
        door.take(((name, 4), ("acme", 2)), -size)
    door.take((("eve", 4), ("globex", 2)), -250)
    assert door.held == 0 and door.take((("bob", 4), ("acme", 2)), 250)  # nothing is left of it
    near.close()
    loop.close()
