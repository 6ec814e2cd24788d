"""How many recorded calls are judged again in a second: a log written through the real journal, replayed as the
command line does it, with its bodies decrypted.

Beside it: reading the same log alone, every record parsed and checked, none opened or judged. ``--save`` stores the
figures.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import results

from ringwall.audit.journal import AuditJournal, read_records
from ringwall.call import (
    Allowed,
    Call,
    CallId,
    Denied,
    Facts,
    LaunchId,
    Outcome,
    Process,
    Resource,
    RingName,
    SessionId,
    Target,
    Verdict,
    Verdicts,
)
from ringwall.capability.resources import canonical, parse_pattern
from ringwall.clock import SystemClock
from ringwall.explain.judge import Dry
from ringwall.explain.policies import in_force, policy
from ringwall.explain.recorded import calls
from ringwall.explain.replay import Replay, replay
from ringwall.identity.spiffe import SpiffeId
from ringwall.keys.file import FileRootKeys
from ringwall.manifest.load import parse
from ringwall.manifest.types import Manifest

CALLS = 6000
SESSIONS = 20
AT_ONCE = 64
AT_LEAST = 1500  # a second
RINGS: tuple[RingName, ...] = ("identity", "capability", "limits", "flow", "guard", "policy")
MANIFEST = """\
version = 1
trust_domain = "acme.example"
[tools.docs]
command = ["docs"]
[tools.docs.ops.read]
effect = "read"
args = { path = "selector:path", note = "payload" }
[tenants.acme.roles.reader.tools]
"docs/read" = ["path:/srv/public/", "path:/srv/rules/"]
[tenants.acme.agents.ana]
role = "reader"
"""
FACTS: Facts = {
    "identity": {"attested": True, "attestation": "process", "strength": "strong", "number": 0, "confined": True},
    "capability": {"granted": True, "definition": "0" * 64, "effect": "read", "args": {"path": "selector:path"},
                   "resources": [{"id": "/srv/public/a.txt", "covered_by": "path:/srv/public/"}]},
    "limits": {"tenant_calls": {"remaining": 90, "burst": 100}},
    "flow": {"denied": False, "effect": "read", "context": {"integrity": "P", "confidentiality": "public"}},
    "guard": {"blocked": False, "version": "1" * 64, "injection": 0.0, "categories": {}},
    "policy": {"revision": "2" * 64, "approved": False, "denials": 0},
}


async def write(state: Path, keys: FileRootKeys, count: int) -> None:
    """A log of calls, every tenth refused, each intent with its outcome."""
    journal = AuditJournal.open(state, keys, SystemClock(), quota_mib=512)
    who = Process(spiffe_id=SpiffeId.make(trust_domain="acme.example", tenant="acme", agent="ana", role="reader"),
                  launch=LaunchId("l1"), connection=1)

    async def one(number: int) -> None:
        call = made(number, who)
        if number % 10:
            said: tuple[tuple[RingName, Verdict], ...] = tuple((name, Allowed()) for name in RINGS)
            seq = await journal.intent(call, Verdicts(rings=said, facts=FACTS))
            await journal.outcome(seq, Outcome(end="done", seconds=0.01))
        else:
            no = Denied(code="resource_not_granted", reason="outside", detail={"granted": ["path:/srv/public/"]})
            said = (("identity", Allowed()), ("capability", no))
            facts = {name: FACTS[name] for name in ("identity", "capability")}
            await journal.refusal(call, Verdicts(rings=said, facts=facts))

    for start in range(0, count, AT_ONCE):
        await asyncio.gather(*(one(number) for number in range(start, min(start + AT_ONCE, count))))
    await journal.close()


def made(number: int, who: Process) -> Call:
    """One call; every tenth names what was not given."""
    path = f"/srv/{'public' if number % 10 else 'private'}/team-{number % 97}/file-{number}.txt"
    found = canonical("path", path)
    resource = Resource(type="path", id=found.id, key=found.key, action="read", argument="path")
    return Call.make(
        id=CallId(f"{number:016x}"), kind="tool", subject=who, session=SessionId(f"s{number % SESSIONS}"),
        target=Target(name="docs/read"), args={"path": found.id, "note": "n" * 300}, resources=(resource,),
    )


def timed(state: Path, keys: FileRootKeys, manifest: Manifest) -> tuple[Replay, float]:
    """The replay, and its seconds of CPU of this thread."""
    dry = Dry(manifest, policy(in_force(manifest), manifest))
    began = time.thread_time()
    found = asyncio.run(replay(calls(state, "acme", keys), dry))
    return found, time.thread_time() - began


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--save", action="store_true")
    options.add_argument("--calls", type=int, default=CALLS)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="ringwall-replay-") as folder:
        state = Path(folder)
        keys = FileRootKeys.open_or_create(state / "root.key")
        asyncio.run(write(state, keys, chosen.calls))
        edited = MANIFEST.replace('"path:/srv/rules/"', '"path:/srv/private/team-1/"')
        manifest = parse(edited, Path("ringwall.toml"), check_pattern=parse_pattern)
        found, seconds = timed(state, keys, manifest)
        began = time.thread_time()
        records = sum(1 for _ in read_records(state, "acme"))
        reading = time.thread_time() - began
        figures: dict[str, Any] = {
            "calls": found.calls, "newly_allowed": found.newly_allowed, "unchanged": found.unchanged,
            "replayed_per_cpu_second": round(found.calls / seconds),
            "cpu_us_per_call": round(seconds / found.calls * 1e6),
            "records_read_per_cpu_second": round(records / reading),
            "ratio_to_reading_alone": round(seconds / reading, 1),
        }
        for name, value in figures.items():
            print(f"{name:<28} {value}")
        assert found.calls == chosen.calls
        assert found.newly_refused == 0 < found.newly_allowed
        if chosen.save:
            results.save("replay", figures, folder=state)
    return 0 if figures["replayed_per_cpu_second"] >= AT_LEAST else 1


if __name__ == "__main__":
    sys.exit(main())
