"""What an agent imports: its functions against a real door, and against doors that misbehave."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.doors.fakes import LAUNCH, Served, served

import ringwall
from ringwall import _client
from ringwall.call import Chunk, Last
from ringwall.errors import BadInput, Held, Limited, Refused, RingwallError, Unavailable
from ringwall.interface import HeldCall, Refusal


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Served]:
    with served(tmp_path) as found:
        monkeypatch.setenv("RINGWALL_DOOR", str(found.path))
        yield found
        _client.default().close()


def body(door: Served) -> dict[str, Any]:
    return json.loads(door.wall.seen[-1][2])


def test_importing_ringwall_loads_the_standard_library_and_its_errors_only() -> None:
    program = """
import sys
before = set(sys.modules)
import ringwall
own = {name for name in sys.modules if name.partition('.')[0] == 'ringwall'}
assert own == {'ringwall', 'ringwall.errors'}, own
rest = {name.partition('.')[0] for name in set(sys.modules) - before - own}
assert rest <= sys.stdlib_module_names, rest
slow = {'json', 'socket', 'http', 'email', 'asyncio', 'threading', 'ssl', 'inspect'} & rest
assert not slow, slow
import ringwall.aio
own = {name for name in sys.modules if name.partition('.')[0] == 'ringwall'}
assert own == {'ringwall', 'ringwall.errors', 'ringwall.aio', 'ringwall._client', 'ringwall._secret'}, own
rest = {name.partition('.')[0] for name in set(sys.modules) - before - own}
assert rest <= sys.stdlib_module_names, rest
"""
    source = str(Path(ringwall.__file__).parents[1])
    path = f"import sys; sys.path.insert(0, {source!r})\n"
    subprocess.run([sys.executable, "-S", "-I", "-c", path + program], check=True, timeout=60)


def test_a_tool_is_called_with_its_arguments_from_both_sides(door: Served) -> None:
    assert ringwall.call_tool("docs/read", {"path": "/a"}, name="x", args=[1]) == "fine"
    assert body(door) == {"tool": "docs/read", "args": {"path": "/a", "name": "x", "args": [1]}}
    with pytest.raises(BadInput, match="twice"):
        ringwall.call_tool("docs/read", {"path": "/a"}, path="/b")


def test_listing_and_completing_give_what_their_types_say(door: Served) -> None:
    door.wall.items = [Chunk(value=[{"name": "docs/read"}]), Last(end="done")]
    assert ringwall.list_tools() == [{"name": "docs/read"}]
    door.wall.items = [Chunk(value={"object": "chat.completion"}), Last(end="done")]
    answer = ringwall.complete("small", [{"role": "user", "content": "hé"}], temperature=0)
    assert answer == {"object": "chat.completion"}
    assert body(door) == {
        "model": "small",
        "request": {"messages": [{"role": "user", "content": "hé"}], "temperature": 0},
    }
    for ask in (ringwall.list_tools, lambda: ringwall.complete("small", [])):
        door.wall.items = [Chunk(value=3), Last(end="done")]
        with pytest.raises(Unavailable, match="bad_answer"):
            ask()


def test_every_refusal_becomes_its_exception(door: Served) -> None:
    cases: list[tuple[Refusal | HeldCall, type[RingwallError]]] = [
        (Refusal(code="not_granted", reason="no", record="acme/1"), Refused),
        (Refusal(code="rate", reason="slow down", record="acme/2", retry_after=2.5), Limited),
        (Refusal(code="ring_failed", reason="down"), Unavailable),
        (HeldCall(record="acme/3", question="?"), Held),
    ]
    for refusal, kind in cases:
        door.wall.passage = refusal
        with pytest.raises(kind) as caught:
            ringwall.call_tool("a/b")
        assert type(caught.value) is kind
        assert getattr(caught.value, "record", "") == (refusal.record if kind is not Unavailable else "")
        assert not isinstance(caught.value, Limited) or caught.value.retry_after == 2.5
    door.wall.passage = Refusal(code="invalid_arguments", reason="schema", errors=("path: missing", "x: unknown"))
    with pytest.raises(Refused, match="path: missing; x: unknown"):
        ringwall.call_tool("a/b")
    door.wall.passage = None
    door.wall.items = [Last(end="failed", error={"code": "tool_error", "reason": "boom"})]
    with pytest.raises(RingwallError, match=r"boom.*acme/57") as failed:
        ringwall.call_tool("a/b")
    assert not isinstance(failed.value, (Refused, Unavailable))


def test_who_asks_with_an_approval_names_it_and_who_waits_says_how_long(door: Served) -> None:
    door.wall.passage = HeldCall(record="acme/3", question="?")
    with pytest.raises(Held) as held:
        ringwall.call_tool("bank/pay", to="x")
    assert (held.value.approval, held.value.record) == ("acme/3", "acme/3")
    assert door.wall.waits == []
    door.wall.over, door.wall.later = True, [None]
    assert ringwall.call_tool("bank/pay", to="x", wait=2.5, approval=held.value.approval) == "fine"
    assert body(door) == {"tool": "bank/pay", "args": {"to": "x"}, "approval": "acme/3"}
    assert door.wall.waits == [("acme/3", 3.0)]
    assert ringwall.call_tool("bank/pay", {"wait": 1, "approval": "mine"}) == "fine"
    assert body(door) == {"tool": "bank/pay", "args": {"wait": 1, "approval": "mine"}}
    door.wall.items = [Chunk(value={}), Last(end="done")]
    ringwall.complete("small", [], wait=1, approval="acme/4")
    assert body(door) == {"model": "small", "request": {"messages": []}, "approval": "acme/4"}


@pytest.mark.parametrize("wait", [-1, float("nan"), float("inf"), 10**7, True, "5"])
def test_a_wait_that_is_no_number_of_seconds_is_not_sent(wait: Any) -> None:
    with pytest.raises(BadInput, match="seconds"):
        ringwall.call_tool("a/b", wait=wait)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"bytes", {(1, 2): 3}])
def test_arguments_that_are_not_json_never_leave_the_process(door: Served, value: Any) -> None:
    with pytest.raises(BadInput, match="bad_arguments"):
        ringwall.call_tool("a/b", x=value)
    deep: list[Any] = []
    deep.append(deep)
    with pytest.raises(BadInput, match="bad_arguments"):
        ringwall.call_tool("a/b", x=deep)
    assert door.wall.seen == []


def test_a_request_over_the_doors_limit_is_refused_and_the_next_call_works(door: Served) -> None:
    with pytest.raises(Refused, match="body_too_large"):
        ringwall.call_tool("a/b", x="y" * 9_000_000)
    assert ringwall.call_tool("a/b") == "fine"


def test_calls_share_one_connection_a_thread(door: Served) -> None:
    def connections(_: int) -> int:
        ringwall.call_tool("a/b")
        return threading.get_ident()

    with ThreadPoolExecutor(4) as pool:
        threads = set(pool.map(connections, range(40)))
    used = {origin.subject.connection for origin, _, _ in door.wall.seen}
    assert len(used) == len(threads)


def test_a_connection_that_was_closed_while_idle_is_opened_anew(door: Served) -> None:
    assert ringwall.call_tool("a/b") == "fine"
    door.run(door.server.remove(LAUNCH))
    with pytest.raises(Unavailable, match="no_door"):
        ringwall.call_tool("a/b")
    door.run(door.server.add(LAUNCH, door.path))
    assert ringwall.call_tool("a/b") == "fine"
    assert len(door.wall.seen) == 2


def test_a_forked_child_does_not_use_its_parents_connection(door: Served) -> None:
    kept = _client._Kept()
    near, far = socket.socketpair()
    with far:
        kept.put(near)
        assert kept._owned is not None
        kept._owned.pid = os.getpid() + 1  # as a child sees it
        assert kept.take() is None
        assert far.recv(1) == b""  # its copy is closed, and nothing was written to it


def test_without_a_door_the_error_says_how_to_start_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RINGWALL_DOOR", str(tmp_path / "nothing"))
    with pytest.raises(Unavailable, match="ringwall run") as caught:
        ringwall.call_tool("a/b")
    assert caught.value.code == "no_door"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "nothing"))
        with pytest.raises(Unavailable, match="door_shut"):
            ringwall.call_tool("a/b")


@contextmanager
def fake_door(folder: Path, serve: Callable[[socket.socket], None]) -> Generator[tuple[_client.Client, list[int]]]:
    """A door that does one thing to each connection; counts them."""
    path = folder / "fake.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        accepted: list[int] = []

        def loop() -> None:
            while True:
                sock, _ = listener.accept()
                with sock:
                    accepted.append(1)
                    if sock.recv(1 << 16) == b"stop":
                        return
                    serve(sock)

        thread = threading.Thread(target=loop)
        thread.start()
        client = _client.Client(str(path))
        try:
            yield client, accepted
        finally:
            client.close()
            with socket.socket(socket.AF_UNIX) as end:
                end.connect(str(path))
                end.sendall(b"stop")
                thread.join()


OK = b'HTTP/1.1 200 OK\r\ncontent-length: 25\r\n\r\n{"result":1,"record":"a"}'


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"", "answer_lost"),
        (OK[:10], "answer_lost"),
        (OK[:-1], "answer_lost"),
        (OK + b"x", "bad_answer"),
        (OK.replace(b"25", b"+25"), "bad_answer"),
        (OK.replace(b"25", b"9" * 12), "answer_too_large"),
        (OK.replace(b"25", b"9" * 13), "bad_answer"),
        (OK.replace(b"content-length: 25", b"transfer-encoding: chunked"), "bad_answer"),
        (OK.replace(b"content-length", b"content-length: 25\r\ncontent-length"), "bad_answer"),
        (OK.replace(b"HTTP/1.1", b"HTTP/1.0"), "bad_answer"),
        (OK.replace(b"200", b"20x"), "bad_answer"),
        (OK.replace(b'"result":1', b'"result":N'), "bad_answer"),
        (OK.replace(b'"result":1', b'"resalt":1'), "bad_answer"),
        (OK.replace(b"200", b"500"), "bad_answer"),
        (b"x" * 20_000, "bad_answer"),
        (b'HTTP/1.1 403 No\r\ncontent-length: 20\r\n\r\n{"error":{"code":7}}', "bad_answer"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 80000\r\n\r\n" + b"[" * 80_000, "bad_answer"),
    ],
)
def test_a_door_that_answers_nonsense_is_unavailable_and_is_asked_only_once(
    tmp_path: Path, answer: bytes, code: str
) -> None:
    with fake_door(tmp_path, lambda sock: sock.sendall(answer)) as (client, accepted):
        with pytest.raises(Unavailable, match=code):
            client.ask("/v1/tools/call", {})
        assert len(accepted) == 1


def test_a_call_that_may_have_run_is_never_repeated(tmp_path: Path) -> None:
    def first_then_nothing(sock: socket.socket) -> None:
        sock.sendall(OK)
        sock.recv(1 << 16)  # the second call is read, and its answer is never given

    with fake_door(tmp_path, first_then_nothing) as (client, accepted):
        assert client.ask("/x", {}) == 1
        with pytest.raises(Unavailable, match="may have run"):
            client.ask("/x", {})
        assert len(accepted) == 1


def test_a_refusal_that_comes_before_the_request_is_read_is_told(tmp_path: Path) -> None:
    refusal = b'{"error":{"code":"too_many","reason":"busy","retry_after":1.0}}'
    head = b"HTTP/1.1 429 No\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(refusal)
    with (
        fake_door(tmp_path, lambda sock: sock.sendall(head + refusal)) as (client, _),
        pytest.raises(Limited, match="busy"),
    ):
        client.ask("/x", {"a": "b" * 5_000_000})


@given(data=st.binary(max_size=300), cut=st.integers(0, 300))
@settings(max_examples=200)
def test_any_bytes_are_a_response_or_unavailable(data: bytes, cut: int) -> None:
    parser = _client.Parser()
    try:
        parser.feed(data[:cut])
        parser.feed(data[cut:])
        if parser.done:
            _client.result(parser)
    except RingwallError:
        pass


@given(
    status=st.sampled_from([200, 400, 403, 429, 502, 503]),
    answer=st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.dictionaries(
            st.sampled_from(["error", "result", "code", "reason", "retry_after", "errors", "x"]), inner, max_size=4
        )
        | st.lists(inner, max_size=2),
        max_leaves=8,
    ),
    cut=st.integers(0, 60),
)
@settings(max_examples=200)
def test_any_json_is_a_result_or_an_error_of_ringwall_however_it_is_cut(status: int, answer: Any, cut: int) -> None:
    raw = json.dumps(answer).encode()
    whole = b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(raw), raw)
    parser = _client.Parser()
    parser.feed(whole[:cut])
    parser.feed(whole[cut:])
    assert parser.done
    try:
        found = _client.result(parser)
    except RingwallError:
        return
    assert status == 200
    assert found == answer["result"]
