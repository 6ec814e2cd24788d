"""The webhook: signed as Standard Webhooks says, without arguments, never in anybody's way."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from tests.approvals.bench import Bench, pay
from tests.fakes import FakeClock, run

from ringwall.approvals.item import Item
from ringwall.approvals.webhook import ATTEMPTS, MAX_QUEUE, Webhook, message_of, read_key, signature
from ringwall.errors import BadInput
from ringwall.manifest.types import ApprovalSettings

KEY = bytes(range(32))
SECRET = b"whsec_" + base64.b64encode(KEY)


def item() -> Item:
    bench = Bench()
    run(bench.held(pay(subject="rent\x1b[2J")))
    return bench.told[0]


def test_the_signature_is_that_of_the_specification() -> None:
    key = read_key(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    assert signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}') == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@pytest.mark.parametrize("secret", [
    b"", b"whsec_", b"whsec_AAAA", base64.b64encode(KEY), b"whsec_" + base64.b64encode(bytes(65)), b"whsec_\xff",
    b"whsec_" + base64.b64encode(KEY) + b"!",
])
def test_a_weak_or_malformed_secret_is_refused(secret: bytes) -> None:
    with pytest.raises(BadInput) as wrong:
        read_key(secret)
    assert wrong.value.code == "bad_webhook_secret"


def test_what_is_told_holds_no_argument() -> None:
    told = message_of(item())
    body = json.loads(told)
    assert body["data"]["id"] == "acme/1"
    assert body["data"]["questions"] == [{"ring": "flow", "code": "untrusted_target"}]
    assert b"DE89" not in told
    assert b"rent" not in told
    assert b"May it" not in told


class Receiver:
    """Answers each request with the next of ``answers``."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.seen: list[tuple[dict[str, str], bytes]] = []
        self.paths: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        fields = dict(line.split(": ", 1) for line in head[1:] if line)
        self.paths.append(head[0])
        self.seen.append((fields, await reader.readexactly(int(fields["Content-Length"]))))
        writer.write(self.answers.pop(0))
        writer.close()


OK = b"HTTP/1.1 204 No Content\r\n\r\n"


async def told(webhook: Webhook, one: Item, over: Any) -> None:
    webhook.tell(one)
    task = asyncio.create_task(webhook.run())
    while not over():  # noqa: ASYNC110 (a counter has no event)
        await asyncio.sleep(0.001)
    task.cancel()


async def no_pause(_: float) -> None:
    return None


def test_each_held_call_is_one_signed_request_to_a_unix_socket(tmp_path: Path) -> None:
    receiver, one = Receiver(OK), item()
    settings = ApprovalSettings(webhook=f"unix:{tmp_path / 'hook.sock'}")

    async def scenario() -> None:
        async with await asyncio.start_unix_server(receiver.serve, tmp_path / "hook.sock"):
            webhook = Webhook(settings, lambda: SECRET, FakeClock(), no_pause)
            await told(webhook, one, lambda: webhook.sent)

    run(scenario())
    fields, body = receiver.seen[0]
    signed = f"{fields['webhook-id']}.{fields['webhook-timestamp']}.".encode() + body
    mac = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert fields["webhook-signature"] == f"v1,{mac}"
    assert fields["webhook-timestamp"] == "1000"
    assert receiver.paths == ["POST / HTTP/1.1"]


def test_a_receiver_that_fails_is_asked_again_and_then_given_up() -> None:
    bad = [b"HTTP/1.1 500 No\r\n\r\n", b"garbage", b"HTTP/1.1 301 Moved\r\nLocation: http://x/\r\n\r\n",
           b"x" * 100_000]
    receiver, one = Receiver(*bad[: ATTEMPTS]), item()

    async def scenario() -> Webhook:
        server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            settings = ApprovalSettings(webhook=f"http://127.0.0.1:{port}/held/here")
            webhook = Webhook(settings, lambda: SECRET, FakeClock(), no_pause)
            await told(webhook, one, lambda: webhook.failed)
            return webhook

    webhook = run(scenario())
    assert (webhook.sent, webhook.failed, len(receiver.seen)) == (0, 1, ATTEMPTS)
    assert webhook.fault
    assert set(receiver.paths) == {"POST /held/here HTTP/1.1"}
    assert len({fields["webhook-id"] for fields, _ in receiver.seen}) == 1  # so that a receiver knows it again


def test_nobody_waits_for_a_webhook_and_its_line_is_bounded() -> None:
    webhook, one = Webhook(ApprovalSettings(webhook="unix:/nowhere"), lambda: SECRET, FakeClock(), no_pause), item()
    for _ in range(MAX_QUEUE + 3):
        webhook.tell(one)
    assert webhook.failed == 3


def test_without_a_webhook_nothing_is_kept() -> None:
    webhook, one = Webhook(ApprovalSettings(), lambda: SECRET, FakeClock(), no_pause), item()
    for _ in range(MAX_QUEUE + 3):
        webhook.tell(one)
    assert webhook.failed == 0
