"""The policy a core starts with, and what an operator's reload does to it."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from tests.policy.bundle.support import files, key_files, signing
from tests.policy.support import CALL, document
from tests.policy.support import manifest as plain_manifest

from ringwall.call import Call, CallId, Event, Operator, Target
from ringwall.clock import SystemClock
from ringwall.errors import BadInput, PolicyError
from ringwall.interface import Seq
from ringwall.manifest.types import Agent, Manifest, PolicySettings, Tenant
from ringwall.policy.bundle import archive, signature
from ringwall.policy.embedded import EmbeddedPolicy
from ringwall.runtime.deciding import Deciding


class Log:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def note(self, event: Event) -> Seq:
        self.events.append(event)
        return Seq(len(self.events))


def manifest(**policy: Any) -> Manifest:
    return dataclasses.replace(plain_manifest(), policy=PolicySettings(**policy))


def bundle(folder: Path, number: int = 1, *, signed: bool = True) -> Path:
    path = folder / "policy.tar.gz"
    found = files(data={"acme": {"number": number}})
    path.write_bytes(archive.write({**found, signature.FILE: signing().sign(found)} if signed else found))
    return path


def order(**args: Any) -> Call:
    who = Operator(name="ana", uid=0, connection=1)
    return Call.make(id=CallId("1"), kind="operate", subject=who, session=None, args=args,
                     target=Target(name="policy.reload"))


def started(found: Manifest, log: Log | None = None) -> Deciding:
    return Deciding(found, SystemClock(), log or Log())


def test_without_a_bundle_the_shipped_policy_decides() -> None:
    assert started(manifest()).backend.revision == EmbeddedPolicy.default({}).revision


def test_a_bundle_decides_with_the_manifests_grants(tmp_path: Path) -> None:
    _, known = key_files(tmp_path)
    backend = started(manifest(bundle=bundle(tmp_path), keys=(known,))).backend
    assert backend.revision != EmbeddedPolicy.default({}).revision
    assert asyncio.run(backend.decide(CALL, document()))["allow"] is True


def test_a_bad_bundle_at_start_is_refused_with_a_remedy(tmp_path: Path) -> None:
    _, known = key_files(tmp_path)
    for found, code in [(manifest(bundle=bundle(tmp_path, signed=False), keys=(known,)), "bundle_unsigned"),
                        (manifest(bundle=tmp_path / "none"), "bundle_unreadable"),
                        (manifest(bundle=known), "bundle_damaged")]:
        with pytest.raises(PolicyError) as caught:
            started(found)
        assert caught.value.code == code and caught.value.remedy


def test_a_bundle_or_key_that_others_can_write_is_refused(tmp_path: Path) -> None:
    _, known = key_files(tmp_path)
    path = bundle(tmp_path)
    for exposed in (path, known):
        exposed.chmod(0o666)
        with pytest.raises(PolicyError) as caught:
            started(manifest(bundle=path, keys=(known,)))
        assert caught.value.code == "bundle_exposed" and "everybody can write it" in caught.value.cause
        exposed.chmod(0o644)
    inside = manifest(bundle=path, keys=(known,))
    agent = Agent(name="ana", role="analyst", work=tmp_path)
    tenant = Tenant(name="acme", agents={"ana": agent})
    with pytest.raises(PolicyError) as caught:
        started(dataclasses.replace(inside, tenants={"acme": tenant}))
    assert caught.value.code == "bundle_exposed" and "an agent or tool server can write" in caught.value.cause


def test_an_operator_reloads(tmp_path: Path) -> None:
    log = Log()
    deciding = started(manifest(bundle=bundle(tmp_path)), log)
    before = deciding.backend.revision
    bundle(tmp_path, 2)
    answer: Any = asyncio.run(_act(deciding, order()))
    assert answer == {"before": before, "revision": deciding.backend.revision, "changed": True}
    assert log.events[0].body["by"] == "operator:ana"


def test_reload_takes_no_arguments_and_needs_a_bundle(tmp_path: Path) -> None:
    with pytest.raises(BadInput) as caught:
        asyncio.run(_act(started(manifest(bundle=bundle(tmp_path))), order(force=True)))
    assert caught.value.code == "bad_act"
    with pytest.raises(BadInput) as caught:
        asyncio.run(_act(started(manifest()), order()))
    assert caught.value.code == "no_bundle"


async def _act(deciding: Deciding, made: Call) -> Any:
    return await deciding.acts()["policy.reload"](made)
