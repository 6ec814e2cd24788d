"""SPIRE mode with the whole runtime: agents get what SPIRE issues for their uid, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.identity.spire.fake import FakeSpire
from tests.identity.svid.world import ANA, World
from tests.stack import ROOT, Stack

from ringwall.identity.spiffe import SpiffeId

pytestmark = pytest.mark.confined
SAM = SpiffeId.parse("spiffe://example.org/tenant/acme/agent/sam/role/reader")
MANIFEST = """
version = 1
trust_domain = "example.org"
[identity]
spire = {path}
[tenants.acme.roles.reader.svid]
x509 = true
audiences = ["billing"]
[tenants.acme.agents.ana]
role = "reader"
[tenants.acme.agents.sam]
role = "reader"
"""
FETCH = """
import json
from spiffe import WorkloadApiClient
found = []
with WorkloadApiClient() as client:
    for ask in (lambda: client.fetch_x509_svid().spiffe_id, lambda: client.fetch_jwt_svid({"billing"}).spiffe_id):
        try:
            found.append(str(ask()))
        except Exception as no:
            found.append(next((word for word in ("spire_not_registered", "spire_no_identity") if word in str(no)),
                              repr(no)))
print(json.dumps(found))
"""


@contextmanager
def spire(folder: Path, entries: Callable[[int], list[SpiffeId]]) -> Generator[FakeSpire]:
    """A SPIRE agent in a thread of its own."""
    ready, over = threading.Event(), threading.Event()
    made: list[FakeSpire] = []

    async def serve() -> None:
        world = World(folder)
        world.clock.seconds = time.time()
        await world.authority.start()
        made.append(FakeSpire(world.authority, entries))
        async with made[0].listening(folder / "agent.sock"):
            ready.set()
            await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(20)
        yield made[0]
    finally:
        over.set()
        thread.join()


def test_each_agent_gets_the_identity_that_spire_registered_for_its_uid() -> None:
    uids: dict[str, int] = {}
    core = os.geteuid()

    def entries(uid: int) -> list[SpiffeId]:
        """As an ordinary user, one uid is everybody: the first entry is all there is."""
        if uid == core:
            return [ANA, SAM]
        return [ANA] if uid == uids.get("acme/agent/ana") else []

    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with (spire(folder, entries) as made,
              Stack(lambda _: MANIFEST.format(path=json.dumps(str(folder / "agent.sock")))) as stack):
            svid = stack.status()["svid"]
            assert svid["source"] == "spire" and svid["known"] and not svid["fault"], svid
            stack.python("acme/ana", "")  # gives it a uid, if we are root
            if ROOT:
                uids.update(json.loads((stack.state / "uids.json").read_text()))
            ana, sam = (stack.python(f"acme/{agent}", FETCH) for agent in ("ana", "sam"))
            assert ana.json == [str(ANA)] * 2, ana.err
            assert sam.json == ["spire_no_identity" if ROOT else "spire_not_registered"] * 2, sam.err
            if ROOT:
                uids.update(json.loads((stack.state / "uids.json").read_text()))
            assert {uid for uid, method in made.asked if "SVID" in method} == (
                {uids["acme/agent/ana"], uids["acme/agent/sam"]} if ROOT else {core})
            intents = [stack.body("acme", record) for record in stack.records("acme", "intent")]
            assert intents
            assert all(one["input"]["facts"]["identity"]["identity"] == "spire" for one in intents)
            assert stack.verify().ok
