"""Every refusal in the demo's log is explained, and each suggested change allows its call and nothing else."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.redteam.shown import Shown

from ringwall.audit.journal import read_records
from ringwall.audit.reader import key_folder
from ringwall.audit.show import show
from ringwall.audit.verify import load_keys
from ringwall.explain.judge import Dry
from ringwall.explain.policies import in_force, policy
from ringwall.explain.recorded import Recorded, Unreadable, calls
from ringwall.explain.replay import Replay, replay
from ringwall.explain.suggest import Advisor
from ringwall.explain.why import Explanation, explain
from ringwall.keys.file import FileRootKeys
from ringwall.runtime.reading import read_manifest

TENANT = "office"
REFUSED = frozenset({"refused", "held", "refused_before_call"})


@dataclass(frozen=True)
class Log:
    """The demo's log, with all that explaining takes."""

    state: Path
    manifest: Path
    keys: FileRootKeys
    calls: tuple[Recorded | Unreadable, ...]

    def explained(self, number: int) -> Explanation:
        path = self.manifest
        advisor = Advisor(path.read_text(), path, lambda manifest: policy(in_force(manifest), manifest))
        found = show(self.state, TENANT, number, load_keys(key_folder(self.state))[TENANT], self.keys)
        return asyncio.run(explain(found, advisor, policy(in_force(advisor.manifest), advisor.manifest)))

    def replayed(self, manifest: Path) -> Replay:
        read = read_manifest(manifest)
        return asyncio.run(replay(self.calls, Dry(read, policy(in_force(read), read))))


@pytest.fixture(scope="module")
def log(shown: Shown) -> Log:
    keys = FileRootKeys.open(shown.state / "root.key")
    return Log(state=shown.state, manifest=shown.state.parent / "config" / "ringwall.toml", keys=keys,
               calls=tuple(calls(shown.state, TENANT, keys)))


def one_of_each(log: Log) -> dict[tuple[Any, ...], int]:
    """A refusal of each kind: a flood is refused the same way a hundred times."""
    found: dict[tuple[Any, ...], int] = {}
    for record in read_records(log.state, TENANT, 0, REFUSED):
        clear = record.clear
        found.setdefault((record.type, clear.get("subject"), clear.get("target"), str(clear.get("verdicts")),
                          str(clear.get("event")), (clear.get("hashes") or {}).get("*")), record.number)
    return found


def asked(seen: Recorded) -> tuple[Any, ...]:
    return seen.input["subject"]["id"], seen.input["call"]["target"], str(seen.input["call"]["args"])


@pytest.mark.confined
def test_the_log_replays_to_itself(log: Log) -> None:
    found = log.replayed(log.manifest)
    assert found.calls > 100
    assert (found.changed, found.not_replayable) == (0, 0), found.as_json()


@pytest.mark.confined
def test_every_refusal_is_explained_and_each_diff_allows_its_call_and_changes_nothing_else(
        log: Log, tmp_path: Path) -> None:
    changed = 0
    for number in one_of_each(log).values():
        found = log.explained(number)
        assert found.result in {"refused", "held"}, found
        assert found.ring and found.code and found.told, found
        assert found.suggestion.diff or found.suggestion.advice, found
        if found.suggestion.diff:
            changed += 1
            check(log, number, found, tmp_path)
    assert changed >= 8  # tools, resources, arguments, maxima, and a rate


def check(log: Log, number: int, found: Explanation, folder: Path) -> None:
    """Apply the diff as a person would, and replay the whole log with it."""
    edited = folder / "ringwall.toml"
    edited.write_text(log.manifest.read_text())
    subprocess.run(["git", "apply", "-"], cwd=folder, input=found.suggestion.diff, text=True, check=True)
    again = log.replayed(edited)
    assert found.suggestion.proved
    assert (again.newly_refused, again.newly_asked) == (0, 0), (found, again.as_json())
    if found.ring == "limits":
        assert again.newly_allowed == 0  # what there had been before stands in the record
        return
    seen = {one.name: one for one in log.calls if isinstance(one, Recorded)}
    wanted = asked(seen[f"{TENANT}/{number}"])
    allowed = [example.record for group in again.sorted() for example in group.examples]
    assert f"{TENANT}/{number}" in allowed
    assert again.newly_allowed == sum(asked(one) == wanted and one.record.type != "intent" for one in seen.values())


@pytest.mark.confined
def test_what_stopped_each_attack_is_explained(shown: Shown, log: Log) -> None:
    for attack in shown.report["attacks"]:
        record = attack["with"]["record"]
        found = log.explained(int(record.partition("/")[2]))
        if attack["with"]["stopped_by"] == "kernel" and found.result == "launched":
            assert found.facts["self_test"], attack["id"]
        assert found.suggestion.diff or found.suggestion.advice or found.suggestion.command, attack["id"]
