"""A good bundle replaces the policy at once and in the log first; a bad one changes nothing but what is said."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from ringwall.call import Event
from ringwall.errors import AuditError, BadInput, PolicyError
from ringwall.interface import Seq
from ringwall.policy.reload import Reloader, Reloading, signature


class Backend:
    """Answers with its revision, once it may."""

    def __init__(self, revision: str) -> None:
        self.revision = revision
        self.may = asyncio.Event()
        self.may.set()
        self.closed = False

    async def decide(self, entry_point: str, document: Any) -> Any:
        await self.may.wait()
        assert not self.closed
        return self.revision

    async def status(self) -> dict[str, Any]:
        return {"revision": self.revision, "fault": ""}

    async def close(self) -> None:
        self.closed = True


class Log:
    """Keeps events, or fails."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.fails = False
        self.on_note: Callable[[], None] = lambda: None

    async def note(self, event: Event) -> Seq:
        if self.fails:
            raise AuditError("the disk is full", code="audit_disk_full")
        self.on_note()
        self.events.append(event)
        return Seq(len(self.events))


class Bundle:
    """A file whose text is the revision of its policy; "bad" cannot be loaded."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "policy.tar.gz"
        self.made: list[Backend] = []
        self.write("one")

    def write(self, text: str) -> None:
        draft = self.path.with_suffix(".new")
        draft.write_text(text)
        draft.replace(self.path)

    def load(self) -> Backend:
        text = self.path.read_text() if self.path.exists() else "bad"
        if text == "bad":
            raise PolicyError("the bundle has no signature", code="bundle_unsigned", remedy="sign it")
        self.made.append(Backend(text))
        return self.made[-1]


class Steps:
    """A sleep that returns when the test says so; the test waits until the watch sleeps again."""

    def __init__(self) -> None:
        self.asleep = asyncio.Event()
        self.wake = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        self.asleep.set()
        await self.wake.wait()
        self.wake.clear()

    async def step(self) -> None:
        await self.asleep.wait()
        self.asleep.clear()
        self.wake.set()
        await self.asleep.wait()


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return Bundle(tmp_path)


def watched(bundle: Bundle, test: Callable[[Reloader, Log, Steps], Coroutine[Any, Any, None]]) -> None:
    """Run a test beside a reloader that watches."""

    async def run() -> None:
        log, steps = Log(), Steps()
        reloader = Reloader(bundle.path, bundle.load, log, steps.sleep)
        watch = asyncio.create_task(reloader.watch())
        try:
            await test(reloader, log, steps)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    asyncio.run(run())


def test_a_bad_bundle_at_start_keeps_the_core_from_starting(bundle: Bundle) -> None:
    bundle.write("bad")
    with pytest.raises(PolicyError) as caught:
        Reloader(bundle.path, bundle.load, Log())
    assert (caught.value.code, caught.value.remedy) == ("bundle_unsigned", "sign it")


def test_an_operator_reloads_and_the_log_knows_before_it_holds(bundle: Bundle) -> None:
    async def run() -> None:
        log = Log()
        reloader = Reloader(bundle.path, bundle.load, log)
        log.on_note = lambda: seen.append(reloader.backend.revision)
        bundle.write("two")
        assert await reloader.reload("operator:ana") == {"revision": "two", "before": "one", "changed": True}
        assert [(e.type, e.tenant, dict(e.body)) for e in log.events] == [
            ("policy_loaded", "system", {"by": "operator:ana", "revision": "two", "before": "one"})]
        assert await reloader.backend.decide("x", {}) == "two"

    seen: list[str] = []
    asyncio.run(run())
    assert seen == ["one"]
    assert [one.closed for one in bundle.made] == [True, False]


def test_the_same_revision_again_is_no_change_and_no_event(bundle: Bundle) -> None:
    async def run() -> None:
        log = Log()
        reloader = Reloader(bundle.path, bundle.load, log)
        assert (await reloader.reload("operator:ana"))["changed"] is False
        assert log.events == []

    asyncio.run(run())


def test_a_bad_bundle_leaves_the_old_policy_serving_and_says_so(bundle: Bundle) -> None:
    async def run() -> None:
        log = Log()
        reloader = Reloader(bundle.path, bundle.load, log)
        bundle.write("bad")
        with pytest.raises(PolicyError):
            await reloader.reload("operator:ana")
        assert await reloader.backend.decide("x", {}) == "one"
        assert [(e.type, dict(e.body)) for e in log.events] == [("policy_refused", {
            "by": "operator:ana", "revision": "one", "code": "bundle_unsigned",
            "cause": "the bundle has no signature"})]
        assert await reloader.backend.status() == {
            "revision": "one", "fault": "", "stale": "the bundle has no signature", "stale_code": "bundle_unsigned",
            "stale_remedy": "sign it"}
        bundle.write("two")
        await reloader.reload("operator:ana")
        assert await reloader.backend.status() == {"revision": "two", "fault": ""}

    asyncio.run(run())


def test_what_cannot_be_written_down_does_not_hold(bundle: Bundle) -> None:
    async def run() -> None:
        log = Log()
        reloader = Reloader(bundle.path, bundle.load, log)
        bundle.write("two")
        log.fails = True
        with pytest.raises(AuditError):
            await reloader.reload("operator:ana")
        assert reloader.backend.revision == "one"
        assert (await reloader.backend.status())["stale_code"] == "audit_disk_full"
        assert [one.closed for one in bundle.made] == [False, True]

    asyncio.run(run())


def test_the_watch_sees_a_new_file_once(bundle: Bundle) -> None:
    async def test(reloader: Reloader, log: Log, steps: Steps) -> None:
        await steps.step()
        assert log.events == []
        bundle.write("two")
        await steps.step()
        assert reloader.backend.revision == "two"
        await steps.step()
        assert [e.type for e in log.events] == ["policy_loaded"]
        assert log.events[0].body["by"] == "watch"

    watched(bundle, test)


def test_the_watch_notes_a_bad_bundle_once_and_takes_the_next_good_one(bundle: Bundle) -> None:
    async def test(reloader: Reloader, log: Log, steps: Steps) -> None:
        for text in ("bad", "two"):
            bundle.write(text)
            for _ in range(3):
                await steps.step()
        assert [e.type for e in log.events] == ["policy_refused", "policy_loaded"]
        assert reloader.backend.revision == "two"

    watched(bundle, test)


def test_a_bundle_that_is_taken_away_leaves_the_policy_serving(bundle: Bundle) -> None:
    async def test(reloader: Reloader, log: Log, steps: Steps) -> None:
        bundle.path.unlink()
        await steps.step()
        assert [e.type for e in log.events] == ["policy_refused"]
        assert await reloader.backend.decide("x", {}) == "one"

    watched(bundle, test)


def test_the_watch_tries_again_until_the_change_is_in_the_log(bundle: Bundle) -> None:
    async def test(reloader: Reloader, log: Log, steps: Steps) -> None:
        log.fails = True
        bundle.write("two")
        await steps.step()
        assert reloader.backend.revision == "one"
        log.fails = False
        await steps.step()
        assert reloader.backend.revision == "two"

    watched(bundle, test)


def test_a_decision_that_has_begun_ends_with_the_policy_it_began_with() -> None:
    async def run() -> None:
        old, new = Backend("old"), Backend("new")
        old.may.clear()
        backend = Reloading(old)
        begun = asyncio.create_task(backend.decide("x", {}))
        await asyncio.sleep(0)
        replaced = asyncio.create_task(backend.replace(new))
        await asyncio.sleep(0)
        assert await backend.decide("x", {}) == "new"
        assert not old.closed
        old.may.set()
        assert await begun == "old"
        await replaced
        assert old.closed
        await backend.close()
        assert new.closed

    asyncio.run(run())


def test_without_a_bundle_there_is_nothing_to_reload() -> None:
    async def run() -> None:
        reloader = Reloader(None, lambda: Backend("shipped"), Log())
        await reloader.watch()
        with pytest.raises(BadInput) as caught:
            await reloader.reload("operator:ana")
        assert caught.value.code == "no_bundle"

    asyncio.run(run())


def test_two_reloads_at_once_follow_each_other(bundle: Bundle) -> None:
    async def run() -> None:
        log = Log()
        reloader = Reloader(bundle.path, bundle.load, log)
        bundle.write("two")
        first, second = await asyncio.gather(reloader.reload("a"), reloader.reload("b"))
        assert (first["changed"], second["changed"]) == (True, False)
        assert len(log.events) == 1

    asyncio.run(run())


def test_a_signature_changes_with_content_and_with_replacement(bundle: Bundle) -> None:
    before = signature(bundle.path)
    assert signature(bundle.path) == before != ()
    os.utime(bundle.path, ns=(1, 1))
    changed = signature(bundle.path)
    assert changed != before
    bundle.write("one")
    assert signature(bundle.path) not in {before, changed}
    assert signature(bundle.path.with_name("none")) == signature(None) == ()
