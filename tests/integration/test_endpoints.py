"""Bundle endpoints with the whole runtime: asked and served by confined processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.identity.endpoint.web import (
    ENDPOINT,
    document,
    listening,
    partner_ca,
    served,
    spiffe_pem,
    web_ca,
    web_pem,
)
from tests.stack import Stack, wait_for

from ringwall.clock import SystemClock
from ringwall.identity.endpoint.fetch import fetch
from ringwall.identity.endpoint.protocol import Fetch
from ringwall.identity.svid import bundle as documents

pytestmark = pytest.mark.confined
MANIFEST = """
version = 1
trust_domain = "acme.example"
[identity]
publish = "127.0.0.1:{publish}"
issuer = "https://127.0.0.1:{publish}"
[identity.federation."partner.test"]
bundle = {first}
endpoint = "{spiffe}/bundle.json"
profile = "https_spiffe"
spiffe_id = "{id}"
[identity.federation."web.test"]
endpoint = "{web}/bundle.json"
profile = "https_web"
ca_file = {ca}
[tenants.acme.roles.r]
[tenants.acme.agents.a]
role = "r"
"""


@contextmanager
def endpoint(material: tuple[bytes, bytes], pages: Mapping[str, bytes]) -> Generator[str]:
    """A partner's endpoint, in a thread of its own."""
    ready, over = threading.Event(), threading.Event()
    urls: list[str] = []

    async def serve() -> None:
        async with served(material, pages) as url:
            urls.append(url)
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(20)
        yield urls[0]
    finally:
        over.set()
        thread.join()


def free_port() -> int:
    with listening() as sock:
        port: int = sock.getsockname()[1]
        return port


def federated(stack: Stack) -> Any:
    return stack.status()["svid"]["federated"]


def fetched(stack: Stack, url: str) -> bytes:
    """One of our pages, asked for as a partner does who has our bundle."""
    ours = documents.parse("acme.example", (stack.state / "identity" / "bundle.json").read_bytes())
    order = Fetch(id=1, url=url, spiffe_id="spiffe://acme.example/ringwall/bundle",
                  authorities=list(ours.authorities))
    return asyncio.run(fetch(order, SystemClock()))


def test_bundles_are_fetched_and_ours_is_served_by_confined_processes() -> None:
    known, port = partner_ca(), free_port()
    second = document(known, partner_ca("next"), sequence=2)

    def prepare(folder: Path) -> None:
        (folder / "c" / "first.json").write_bytes(document(known, sequence=1))
        (folder / "c" / "ca.pem").write_text(ssl.DER_cert_to_PEM_cert(web_ca().certificate))

    with (endpoint(spiffe_pem(known), {"/bundle.json": second}) as spiffe,
          endpoint(web_pem(), {"/bundle.json": b'{"keys":[],"spiffe_sequence":7}'}) as web):

        def manifest(folder: Path) -> str:
            return MANIFEST.format(publish=port, first=json.dumps(str(folder / "c" / "first.json")), spiffe=spiffe,
                                   id=ENDPOINT, web=web, ca=json.dumps(str(folder / "c" / "ca.pem")))

        with Stack(manifest, prepare) as stack:
            wait_for("both bundles", lambda: [one["sequence"] for one in federated(stack).values()] == [2, 7])
            noted = [record.body for record in stack.records("system", "federated_bundle")]
            assert {(one["domain"], one["sequence"], one["from"]) for one in noted} == {
                ("partner.test", 1, "start"), ("partner.test", 2, "endpoint"), ("web.test", 7, "endpoint")}
            wait_for("our endpoint", lambda: not stack.status()["svid"]["published"]["fault"])
            url = f"https://127.0.0.1:{port}"
            ours = (stack.state / "identity" / "bundle.json").read_bytes()
            assert fetched(stack, url + "/bundle.json") == ours
            found = json.loads(fetched(stack, url + "/.well-known/openid-configuration"))
            assert found["jwks_uri"] == url + "/keys"
            assert json.loads(fetched(stack, url + "/keys"))["keys"]
            before = stack.pid("publish")
            os.kill(before, signal.SIGKILL)
            wait_for("another process", lambda: stack.running("publish") not in {None, before})
            wait_for("our endpoint again", lambda: not stack.status()["svid"]["published"]["fault"])
            assert fetched(stack, url + "/bundle.json") == ours
            misfits = stack.status()["svid"]["published"]["misfits"]
            assert len(misfits) == 1 and "publish_cert" in misfits[0]
            os.kill(stack.pid("core"), signal.SIGKILL)
            stack.wait_ready(2)
            held = federated(stack)
            assert [one["sequence"] for one in held.values()] == [2, 7]
            wait_for("our endpoint after the core", lambda: not stack.status()["svid"]["published"]["fault"])
            assert json.loads(fetched(stack, url + "/keys"))["keys"]
