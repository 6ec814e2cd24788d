"""The demo: each attack against the same agent, tools and model, first bare, then behind Ringwall."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringwall.audit.budget import BEFORE_CALL
from ringwall.audit.journal import read_records
from ringwall.audit.records import Record
from ringwall.audit.show import stopped_by
from ringwall.call import Json
from ringwall.guard.strings import MARKERS
from ringwall.redteam.attack import LAYERS, Attack, Benign, Evidence, all_attacks, interpreter
from ringwall.redteam.bare import Bare
from ringwall.redteam.benign import BENIGN
from ringwall.redteam.stage import Listener, Office
from ringwall.redteam.walled import Walled, Watched, folder_for

Say = Callable[[str], None]

_ANSWERS: Final = {"bad_answer": "wire", "upstream_echoes_secret": "egress"}
_KERNEL: Final = re.compile(r"\[Errno \d+\]")  # how Python reports the kernel's answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """What stopped an attack, and the record that says so."""

    by: str
    record: str
    held: bool = False  # not refused: a human would have been asked, and nothing happens before that


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackResult:
    """One attack, both ways."""

    attack: Attack
    without: bool
    within: bool  # succeeded with Ringwall
    stop: Stop

    @property
    def as_it_should(self) -> bool:
        return self.without and not self.within and bool(self.stop.record)


@dataclass(frozen=True, slots=True, kw_only=True)
class BenignResult:
    """One ordinary task, both ways."""

    task: Benign
    without: bool
    within: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """All of it."""

    attacks: tuple[AttackResult, ...]
    benign: tuple[BenignResult, ...]
    seconds: float
    records: int
    verified: bool
    state: Path

    @property
    def ok(self) -> bool:
        return (
            self.verified
            and all(result.as_it_should for result in self.attacks)
            and all(result.without and result.within for result in self.benign)
        )

    def as_json(self) -> Json:
        return {
            "ok": self.ok,
            "attacks": [
                {
                    "id": r.attack.id,
                    "title": r.attack.title,
                    "threat": r.attack.threat,
                    "mitigation": r.attack.mitigation,
                    "technique": list(r.attack.technique),
                    "barriers": list(r.attack.barriers),
                    "accepted": r.attack.accepted,
                    "without": {"succeeded": r.without},
                    "with": {"succeeded": r.within, "stopped_by": r.stop.by, "record": r.stop.record,
                             "held": r.stop.held},
                }
                for r in self.attacks
            ],
            "benign": [
                {"id": b.task.id, "title": b.task.title, "without": b.without, "with": b.within}
                for b in self.benign
            ],
            "records": self.records,
            "verified": self.verified,
            "seconds": round(self.seconds, 1),
            "state": str(self.state),
        }


def run(say: Say) -> Demo:
    """Both runs side by side: they share nothing."""
    started = time.monotonic()
    folder = folder_for("demo")
    attacks = all_attacks()
    with ThreadPoolExecutor(2) as pool:
        bare = pool.submit(_bare, folder / "without", attacks, say)
        behind = pool.submit(walled, folder / "with", (*attacks, *BENIGN), say)
        without, within = bare.result(), behind.result()
    shutil.rmtree(folder / "without")
    state = folder / "with" / "state"
    verified, records = verify(state)
    return Demo(
        attacks=tuple(
            AttackResult(
                attack=attack,
                without=attack.harm(without[attack.id]),
                within=attack.harm(within[attack.id][0]),
                stop=stop_of(attack, state, *within[attack.id]),
            )
            for attack in attacks
        ),
        benign=tuple(
            BenignResult(task=task, without=task.good(without[task.id]), within=task.good(within[task.id][0]))
            for task in BENIGN
        ),
        seconds=time.monotonic() - started,
        records=records,
        verified=verified,
        state=state,
    )


def _bare(folder: Path, attacks: Sequence[Attack], say: Say) -> dict[str, Evidence]:
    found: dict[str, Evidence] = {}
    with Office(folder) as office, Listener() as listener, Bare(office, listener) as runner:
        for number, item in enumerate((*attacks, *BENIGN), 1):
            say(f"without {number}/{len(attacks) + len(BENIGN)} {item.title}")
            found[item.id] = runner.run(item.steps)
    return found


def walled(
    folder: Path, items: Sequence[Attack | Benign], say: Say, up: tuple[str, ...] = ()
) -> dict[str, tuple[Evidence, Watched]]:
    """Each item behind a runtime of its own office. ``up``: what starts it, if not ``ringwall up``."""
    found: dict[str, tuple[Evidence, Watched]] = {}
    say("starting Ringwall")
    with Office(folder) as office, Listener() as listener, Walled(office, listener, up=up) as runner:
        for number, item in enumerate(items, 1):
            say(f"with    {number}/{len(items)} {item.title}")
            found[item.id] = runner.run(item.steps)
    return found


def verify(state: Path) -> tuple[bool, int]:
    """`ringwall audit verify`, as an outsider would run it; with the number of records."""
    done = subprocess.run(
        [interpreter(), "-m", "ringwall.cli.main", "audit", "verify", "--state", str(state), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    report = json.loads(done.stdout)
    return done.returncode == 0, sum(int(log.get("size") or log.get("records") or 0) for log in report["logs"])


def stop_of(attack: Attack, state: Path, evidence: Evidence, seen: Watched) -> Stop:
    """What stopped it, and the record that shows it: the first refusal, or what the kernel or the guard did.

    A barrier that the attack does not name, or a run that shows none of these, is no explanation: the record
    stays empty, and the demo fails.
    """
    if seen.refused:
        stop = _refusal(state, seen.refused[0])
    elif seen.held:
        stop = dataclasses.replace(_refusal(state, seen.held[0]), held=True)
    elif (met := _met(state, (seen.launch, seen.beside))) is not None:
        stop = met
    elif (failed := _gateway(state, seen)) is not None:
        stop = failed
    elif attack.steps.program:
        stop = Stop(by="kernel" if _KERNEL.search(evidence.output) else "", record=seen.launch)
    elif any(_KERNEL.search(str(query["fault"])) for query in evidence.queries):
        stop = Stop(by="kernel", record=_failed(state, seen))
    else:
        withheld = any(marker and marker in evidence.output for marker in MARKERS.values())
        stop = Stop(by="guard" if withheld else "", record=seen.last)
    named = {
        "kernel": bool(set(LAYERS) & set(attack.barriers)),
        "resolver": not attack.barriers,
        "task book": not attack.barriers,
    }
    return stop if named.get(stop.by, stop.by in attack.barriers) else Stop(by=stop.by or "nothing", record="")


def _refusal(state: Path, name: str) -> Stop:
    tenant, _, number = name.partition("/")
    record = next(read_records(state, tenant, int(number)))
    if record.type == "refused_before_call":
        return Stop(by="resolver", record=name)
    return Stop(by=next(iter(stopped_by(record)), ("", ""))[0], record=name)


def _met(state: Path, launches: Sequence[str]) -> Stop | None:
    """What these launches' sessions have on record that is no refusal of a call of their own: peers turned away,
    calls of peers refused, bytes that another process sent, messages that had come before."""
    for tenant, number in (launch.split("/") for launch in launches if launch):
        records = list(read_records(state, tenant, int(number)))
        session = records[0].clear["session"]
        for record in records[1:]:
            if record.clear.get("session") == session and (by := _met_by(record)):
                return Stop(by=by, record=f"{tenant}/{record.clear.get('of', record.number)}")
    return None


def _met_by(record: Record) -> str:
    if record.type == "peer_refused":
        return "certificate"
    if record.clear.get("code") == "duplicate_message":
        return "task book"
    return next(iter(stopped_by(record)), ("", ""))[0] if record.type in {"refused", BEFORE_CALL} else ""


def _gateway(state: Path, seen: Watched) -> Stop | None:
    """A call of this launch that was let through, and whose answer was not believed or not handed over."""
    tenant, _, first = seen.launch.partition("/")
    records = list(read_records(state, tenant, int(first))) if first else []
    calls = {one.number for one in records if one.clear.get("session") == records[0].clear["session"]}
    for record in records:
        if record.clear.get("of") in calls and (by := _ANSWERS.get(str(record.clear.get("code")))):
            return Stop(by=by, record=f"{tenant}/{record.clear['of']}")
    return None


def _failed(state: Path, seen: Watched) -> str:
    """The tool call of this launch that failed."""
    tenant, _, first = seen.launch.partition("/")
    after = read_records(state, tenant, int(first))
    return next((f"{tenant}/{r.clear['of']}" for r in after if r.clear.get("end") == "failed"), "")
