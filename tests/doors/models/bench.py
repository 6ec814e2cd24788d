"""A wall that does what a test says, and the doors of model providers without a socket."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from tests.models import provider

from ringwall.call import Call, CallId, Chunk, Denied, Kind, Last, LaunchId, Process, SessionId, Target
from ringwall.doors.models.door import ModelDoor
from ringwall.doors.models.offers import Provider
from ringwall.doors.protocol import Presence
from ringwall.errors import BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import HeldCall, Origin, Refusal, Stopped
from ringwall.wire.models import wire
from ringwall.wire.models.pieces import text_pieces

ALICE = SpiffeId.make(trust_domain="example.org", tenant="acme", agent="alice", role="reader")
ORIGIN = Origin(
    subject=Process(spiffe_id=ALICE, launch=LaunchId("l1"), connection=1), session="s1", key=str(ALICE)
)
RECORD = "acme/57"
DONE = Last(end="done")
PATHS = {
    "chat": "/openai/v1/chat/completions",
    "responses": "/openai/v1/responses",
    "messages": "/anthropic/v1/messages",
}
OPEN = {"open": {"id": "a1", "created": 1, "model": "m"}}
USAGE = {"tokens_in": 3, "tokens_out": 4}
Item = Chunk | Last | Stopped


def text(words: str, part: int = 0) -> Chunk:
    (value,) = text_pieces(part, "text", words)
    return Chunk(value=value, whole=False)


def called(name: str, arguments: str = "{}", part: int = 1, id_: str = "c1") -> Chunk:
    return Chunk(value={"part": part, "call": {"id": id_, "name": name, "arguments": arguments}})


def closed(finish: str = "stop") -> Chunk:
    return Chunk(value={"close": {"finish": finish, "usage": USAGE}})


def stop(code: str = "injection") -> Stopped:
    return Stopped(Denied(code=code, reason="the text carries instructions"))


class FakeWall:
    """Gives ``items`` as a canonical answer; everything that came is kept."""

    def __init__(self, *items: Item) -> None:
        self.turned: list[str] = []  # what the door refused by itself
        self.items = items
        self.admission: Refusal | None = None
        self.passages: list[Refusal | HeldCall] = []  # what the next calls get instead of an answer
        self.over = False
        self.knocks: list[bytes] = []
        self.knocked: Refusal | None = None
        self.admitted: list[dict[str, Any]] = []
        self.performed: list[Call] = []
        self.weighed: list[dict[str, Any]] = []
        self.denied: dict[str, Denied] = {}
        self.settled = 0
        self.waits: list[tuple[str, float]] = []
        self.told: list[int] = []  # how many messages had been sent when each item was asked for
        self.sent: list[Mapping[str, Any]] = []
        self.record = RECORD
        self.last: Last | None = None

    def turned_away(self, origin: Origin, kind: Kind, code: str) -> None:
        self.turned.append(code)

    def knock(self, origin: Origin, kind: Kind, raw: bytes) -> Refusal | None:
        self.knocks.append(raw)
        return self.knocked

    async def admit(self, origin: Origin, kind: Kind, raw: bytes, *, counted: bool = False) -> Call | Refusal:
        body = json.loads(raw)
        self.admitted.append(body)
        if self.admission is not None:
            return self.admission
        try:
            request = wire(body["api"]).parse_request(json.loads(base64.b64decode(body["body"])))
        except BadInput as fault:
            return Refusal(code=fault.code, reason=fault.cause, record=RECORD)
        return Call.make(
            id=CallId("c"),
            kind=kind,
            subject=origin.subject,
            session=SessionId("s1"),
            target=Target(name=request["model"]),
            args={"api": body["api"], "request": request},
        )

    async def weigh(self, origin: Origin, kind: Kind, raw: bytes) -> Denied | None:
        call = json.loads(raw)
        self.weighed.append(call)
        return self.denied.get(call["tool"])

    @asynccontextmanager
    async def perform(self, call: Call) -> AsyncGenerator[FakeWall | HeldCall | Refusal, None]:
        self.performed.append(call)
        try:
            yield self.passages.pop(0) if self.passages else self
        finally:
            self.settled = len(self.sent)

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        for item in self.items:
            self.told.append(len(self.sent))
            if isinstance(item, Stopped):
                raise item
            if isinstance(item, Last):
                self.last = item
                return
            yield item

    async def decided(self, record: str, seconds: float) -> bool:
        self.waits.append((record, seconds))
        return self.over


class FakeOffers:
    def models(self, origin: Origin, provider: Provider) -> list[str]:
        return {"openai": ["main", "small"], "anthropic": ["claude"]}[provider]

    def judged(self, origin: Origin, name: str) -> str:
        return {"mail__send": "mail/send", "mail/send": "mail/send", "docs__read": "docs/read"}.get(name, "")


class Reply:
    """What was sent."""

    def __init__(self, sent: list[Mapping[str, Any]]) -> None:
        self.sent = sent
        start = sent[0]
        self.status: int = start["status"]
        self.headers = {name.decode(): value.decode() for name, value in start["headers"]}
        self.body = b"".join(message["body"] for message in sent[1:])
        self.ended = not sent[-1].get("more_body", False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of each event of a stream."""
        lines = [line[6:] for line in self.body.decode().splitlines() if line.startswith("data: ")]
        return [json.loads(line) if line != "[DONE]" else line for line in lines]


def ask(
    wall: FakeWall, path: str, body: Any = None, *, method: str = "POST", query: bytes = b"", **headers: str
) -> Reply:
    """One request."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    more = {name.replace("_", "-"): value for name, value in headers.items()}
    fields = {"content-type": "application/json", **more}
    scope = {
        "method": method,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
    }

    async def send(message: Any) -> None:
        wall.sent.append(dict(message))

    asyncio.run(ModelDoor(wall, wall, FakeOffers()).answer(scope, raw, Presence(), ORIGIN, send))
    return Reply(wall.sent)


def request(api: str, **more: Any) -> Any:
    return provider.request(api, tools=("mail__send", "docs__read", "mine"), **more)


def whole(api: Any, *calls: provider.Called) -> Chunk:
    """A canonical answer."""
    asked = wire(api).parse_request(request(api))
    raw = json.dumps(provider.answer(api, "hello", calls)).encode()
    return Chunk(value=wire(api).parse_answer(raw, asked)[0])
