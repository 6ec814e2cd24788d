"""The peers' door: who is behind a connection is the core's finding, and each answer is vouched for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from tests.doors.fakes import looped, read_all
from tests.doors.test_a2a import TalkingWall
from tests.impostor import code_of, http
from uvicorn.config import Config

from ringwall.call import Chunk, Denied, Last, LaunchId, Peer, SessionId
from ringwall.doors.peers import PeersDoor
from ringwall.doors.protocol import Door
from ringwall.errors import Unavailable
from ringwall.identity.spiffe import AnyId, SpiffeId
from ringwall.interface import Refusal, Stopped
from ringwall.peers.interface import PeerConnection, Vouched, answers

ANA = AnyId.parse("spiffe://acme.example/tenant/acme/agent/ana/role/asker")
SAM = SpiffeId.make(trust_domain="acme.example", tenant="acme", agent="sam", role="worker")
ASKED = PeerConnection(number=7, sender=ANA, receiver=SAM, launch=LaunchId("l1"), session=SessionId("s1"),
                       serial="0a", expires_at=1e12)
BODY = json.dumps({"jsonrpc": "2.0", "id": 5, "method": "SendMessage", "params": {}}).encode()
DONE = {"message": {"messageId": "m"}}


@dataclass
class Seals:
    """Vouches for everything, and remembers it."""

    said: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    broken: bool = False

    def seal(self, *, chain: Sequence[str], **said: Any) -> tuple[str, str]:
        if self.broken:
            raise Unavailable("there is no key", code="svid_not_ready")
        self.said.append({**said, "chain": list(chain)})
        return f"seal.{len(self.said)}.x", "id"

    def open(self, token: str, *, sender: str, receiver: str, body: bytes, reply_to: str = "") -> Vouched:
        raise AssertionError("the door opens nothing: the resolver does")


class Behind:
    """One door, and connections to it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, **limits: float) -> None:
        self.loop, self.wall, self.seals = loop, TalkingWall(), Seals()
        self.found: PeerConnection | Denied = ASKED
        self.closed: list[PeerConnection] = []
        app = PeersDoor(self.wall, self.seals, lambda peer: f"label of {peer.launch}")
        told: Any = app  # ASGI, typed without uvicorn's private types
        config = Config(told, http="httptools", ws="none", lifespan="off", interface="asgi3", log_config=None,
                        access_log=False, proxy_headers=False, server_header=False, date_header=False)
        config.load()
        self.door = Door(config, self, **limits)  # type: ignore[arg-type]

    def open(self, sock: object) -> PeerConnection | Denied:
        return self.found

    def close(self, connection: PeerConnection) -> None:
        self.closed.append(connection)

    def connect(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        work = self.loop.connect_accepted_socket(self.door.protocol, theirs)
        asyncio.run_coroutine_threadsafe(work, self.loop).result(20)  # type: ignore[arg-type]
        ours.settimeout(20)
        return ours

    def ask(self, data: bytes) -> tuple[int, dict[str, str], bytes]:
        with self.connect() as sock:
            with contextlib.suppress(BrokenPipeError):
                sock.sendall(data)
            head, _, body = read_all(sock).partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return int(first.split(" ")[1]), headers, body


@contextmanager
def behind(**limits: float) -> Generator[Behind]:
    with looped() as loop:
        found = Behind(loop, **limits)
        yield found

        async def end() -> None:
            found.door.disconnect()
            await asyncio.sleep(0)

        asyncio.run_coroutine_threadsafe(end(), loop).result(20)


@pytest.fixture
def door() -> Generator[Behind]:
    with behind() as found:
        yield found


def closing(body: bytes = BODY, envelope: str = "a.b.c", **more: str) -> bytes:
    return http(body, envelope, **more).replace(b"Host:", b"Connection: close\r\nHost:", 1)


def test_the_subject_is_whom_the_connection_proves_and_the_budget_is_of_the_pair(door: Behind) -> None:
    door.wall.items = [Chunk(value=DONE), Last(end="done")]
    assert door.ask(closing())[0] == 200
    origin, kind, _ = door.wall.seen[0]
    assert origin.subject == Peer(spiffe_id=ANA, receiver=SAM, launch=LaunchId("l1"), connection=7)
    assert (kind, origin.session, origin.key) == ("message", "s1", f"{SAM}|{ANA}")
    assert door.wall.asked() == {"wire": "rpc", "body": BODY, "envelope": "a.b.c"}


def test_agents_of_another_trust_domain_have_one_budget_of_attempts_together(door: Behind) -> None:
    door.found = replace(ASKED, sender=AnyId.parse("spiffe://partner.test/agent/made-up-17"))
    door.wall.items = [Chunk(value=DONE), Last(end="done")]
    assert door.ask(closing())[0] == 200
    assert door.wall.seen[0][0].key == f"{SAM}|spiffe://partner.test"


def test_an_answer_is_vouched_for_byte_by_byte_as_an_answer_to_this_request(door: Behind) -> None:
    door.wall.items = [Chunk(value=DONE), Last(end="done")]
    _, headers, body = door.ask(closing())
    [said] = door.seals.said
    assert headers["ringwall-envelope"] == "seal.1.x"
    assert said["body"] == body
    assert (said["sender"], said["receiver"]) == (str(SAM), str(ANA))
    assert said["reply_to"] == answers("a.b.c")
    assert (said["label"], said["record"], said["trace"]) == ("label of l1", "acme/57", "ab" * 16)


@pytest.mark.parametrize("wrong", [
    Refusal(code="not_granted", reason="no", record="acme/3"), Last(end="unknown", error={"code": "agent_broken"}),
    Stopped(Denied(code="secret_found", reason="no")), Last(end="done"),
])
def test_a_refusal_is_vouched_for_too(door: Behind, wrong: Refusal | Last | Stopped) -> None:
    if isinstance(wrong, Refusal):
        door.wall.passage = wrong
    else:
        door.wall.items = [wrong]
    _, headers, body = door.ask(closing())
    assert code_of(json.loads(body))
    assert headers["ringwall-envelope"] == "seal.1.x"
    assert door.seals.said[0]["body"] == body


def test_each_event_has_an_envelope_of_its_own_over_its_data(door: Behind) -> None:
    door.wall.method = "SendStreamingMessage"
    door.wall.items = [Chunk(value={"n": 1}), Chunk(value={"n": "a\nb"}), Last(end="unknown", error={"code": "x"})]
    _, headers, body = door.ask(closing())
    assert headers["content-type"] == "text/event-stream"
    lines = [line for line in body.split(b"\n") if line.startswith((b"data: ", b"ringwall: "))]
    assert lines[::2] == [b"ringwall: seal.%d.x" % n for n in (1, 2, 3)]
    assert [line[6:] for line in lines[1::2]] == [said["body"] for said in door.seals.said]
    assert [said["reply_to"] for said in door.seals.said] == [answers("a.b.c", n) for n in range(3)]


def test_what_cannot_be_vouched_for_is_not_answered(door: Behind) -> None:
    door.wall.items = [Chunk(value={"secret": 1}), Last(end="done")]
    door.seals.broken = True
    status, headers, body = door.ask(closing())
    assert (status, code_of(json.loads(body))) == (503, "unavailable")  # an unknown end
    assert b"secret" not in body
    assert "ringwall-envelope" not in headers


def test_an_answer_that_has_begun_ends_when_it_cannot_be_vouched_for_any_more(door: Behind) -> None:
    door.wall.method = "SendStreamingMessage"

    class Once(Seals):
        def seal(self, *, chain: Sequence[str], **said: Any) -> tuple[str, str]:
            self.broken = bool(self.said)
            return super().seal(chain=chain, **said)

    door.seals.__class__ = Once
    door.wall.items = [Chunk(value={"n": 1}), Chunk(value={"n": 2}), Last(end="done")]
    _, _, body = door.ask(closing())
    assert b'"n":1' in body
    assert b'"n":2' not in body
    assert not body.endswith(b"0\r\n\r\n"), "a stream that was cut looks like one"


@pytest.mark.parametrize(("method", "path"), [
    ("GET", "/"), ("PUT", "/"), ("POST", "/x"), ("POST", "//"), ("POST", "/rest"),
    ("POST", "/.well-known/agent-card.json"), ("GET", "/.well-known/agent-card.json?a"), ("POST", "/%2f"),
    ("OPTIONS", "*"), ("POST", "http://sam/x"),
])  # fmt: skip
def test_where_there_is_nothing_the_wall_is_not_asked(door: Behind, method: str, path: str) -> None:
    status, _, body = door.ask(closing(method=method, path=path))
    assert status in {400, 404}, body
    assert not door.wall.seen


@pytest.mark.parametrize("more", ["Ringwall-Envelope: d.e.f\r\n", "ringwall-envelope: \r\n"])
def test_two_envelopes_are_none(door: Behind, more: str) -> None:
    door.ask(closing(more=more))
    assert door.wall.asked()["envelope"] == ""


@pytest.mark.parametrize("envelope", ["x" * 12_000, "\xff\xfe", "a b", '"', "a,b"])
def test_an_envelope_is_handed_on_as_text_whatever_it_is(door: Behind, envelope: str) -> None:
    door.ask(closing(envelope="").replace(b"\r\n\r\n", b"\r\nRingwall-Envelope: " + envelope.encode("latin-1")
                                          + b"\r\n\r\n", 1))
    assert door.wall.asked()["envelope"] == envelope


@pytest.mark.parametrize("part", [1, 40, -len(BODY), -1])
def test_a_request_that_comes_too_slowly_is_ended(part: int) -> None:
    with behind(head_seconds=0.05, body_seconds=0.05) as door:
        status, _, body = door.ask(closing()[:part])
        assert (status, json.loads(body)["error"]["code"]) == (408, "too_slow")
        assert not door.wall.seen
        assert door.closed == [ASKED]


def test_who_was_not_admitted_gets_nothing(door: Behind) -> None:
    door.found = Denied(code="peer_unknown", reason="nobody was admitted")
    assert door.ask(closing())[0] == 403
    assert not door.wall.seen


def test_a_peer_that_goes_ends_what_runs_for_it(door: Behind) -> None:
    asyncio.run_coroutine_threadsafe(_block(door), door.loop).result(20)
    with door.connect() as sock:
        sock.sendall(closing())
        assert door.wall.started.wait(20)
    assert door.wall.settling.wait(20)
    assert door.wall.settled == ["cancelled"]


async def _block(door: Behind) -> None:
    door.wall.block = asyncio.Event()


def test_one_connection_carries_one_request_after_the_other(door: Behind) -> None:
    door.wall.items = [Chunk(value=DONE), Last(end="done")]
    with door.connect() as sock:
        for n in range(1, 4):
            sock.sendall(http(BODY, f"e.{n}.e"))
            data = b""
            while b"jsonrpc" not in data:
                data += sock.recv(65536)
        assert [said["reply_to"] for said in door.seals.said] == [answers(f"e.{n}.e") for n in range(1, 4)]
    assert [origin.subject for origin, _, _ in door.wall.seen] == [door.wall.seen[0][0].subject] * 3
