from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests.audit.support import ROOT, a_call, opened, verdicts

from ringwall.audit.export import newest
from ringwall.audit.reader import log_folder
from ringwall.call import Event, Outcome, SessionId
from ringwall.cli.audit import audit
from ringwall.keys.file import FileRootKeys

ANA = "spiffe://acme.example/tenant/acme/agent/ana/role/reader"


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """acme/0 intent, acme/1 its outcome, acme/2 a refusal, acme/3 an intent without outcome, acme/4 an event."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    made = FileRootKeys.create(state / "root.key")
    monkeypatch.setattr("tests.audit.support.keys", lambda: made)
    monkeypatch.setenv("RINGWALL_STATE", str(state))
    monkeypatch.setenv("COLUMNS", "80")

    async def scene() -> None:
        async with opened(state) as journal:
            seq = await journal.intent(a_call(), verdicts())
            await journal.outcome(seq, Outcome(end="failed", code="tool_error", reason="file is gone"))
            hostile = {"path": "/x\x1b[2J\u202e", "n": "y" * 300}
            call = a_call(hostile, target="docs/\x1b]0;evil\x07")
            await journal.refusal(call, verdicts("flow", "untrusted_value"))
            await journal.intent(a_call(session="s2"), verdicts())
            await journal.note(Event(type="launch", tenant="acme", body={"pid": 7}))

    asyncio.run(scene())
    return state


def _run(*args: str) -> Result:
    return CliRunner().invoke(audit, list(args))


def _json(*args: str) -> Any:
    done = _run(*args, "--json")
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def _fits(text: str) -> bool:
    return all(len(line) <= 80 for line in text.split("\n")) and all(c == "\n" or c.isprintable() for c in text)


def test_show_explains_a_refusal_with_ring_code_reason_digest_and_inclusion(state: Path) -> None:
    done = _run("show", "acme/2")
    assert done.exit_code == 0, done.output
    words = " ".join(done.stdout.split())
    for part in ("refused", "flow · untrusted_value · the argument /secret/path", "ask for it", "digest",
                 "checkpoint of 3 records, signed, included", "/x"):
        assert part in words, part
    assert _fits(done.stdout), done.stdout
    found = _json("show", "acme/2")
    assert found["stopped_by"] == [{"ring": "flow", "code": "untrusted_value"}]
    assert found["body"]["verdicts"][-1]["reason"].startswith("the argument")
    assert found["inclusion"]["holds"] is True


def test_show_of_an_intent_tells_how_it_ended(state: Path) -> None:
    done = _run("show", "acme/0")
    assert "failed · tool_error (acme/1)" in " ".join(done.stdout.split())
    assert "file is gone" in done.stdout
    assert _json("show", "acme/0")["outcome"]["clear"]["end"] == "failed"
    assert _json("show", "acme/1")["name"] == "acme/0"
    assert "no outcome yet" in _run("show", "acme/3").stdout
    assert _fits(done.stdout)


def test_show_tells_outcome_unknown_after_a_restart(state: Path) -> None:
    async def restart() -> None:
        async with opened(state):
            pass

    asyncio.run(restart())
    assert "outcome unknown" in _run("show", "acme/3").stdout


def test_show_works_without_the_root_key_and_says_what_is_missing(state: Path) -> None:
    (state / "root.key").rename(state / "elsewhere")
    done = _run("show", "acme/2")
    assert done.exit_code == 0
    assert "untrusted_value" in done.stdout
    assert "root_key_missing" in done.stdout
    assert "secret/path" not in done.stdout
    assert _json("show", "acme/2")["body"] is None


def test_show_says_that_a_key_was_destroyed(state: Path) -> None:
    async def forget() -> None:
        async with opened(state) as journal:
            await journal.forget("acme", SessionId("s1"))

    asyncio.run(forget())
    assert "key was destroyed" in _run("show", "acme/2").stdout


def test_a_reader_that_has_seen_enough_is_no_fault(state: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "ringwall.cli.main", "audit", "show", "acme/2"], stdout=writer,
                          stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize(("event", "body", "words"), [
    ("launch", {"confined": True, "pid": 7}, "launch   ana"),
    ("launch", {"confined": False}, "launch   ana  NOT CONFINED"),
    ("exit", {"status": 1, "calls": 4, "launch": "f"}, "exit     status 1, calls 4"),
    ("label", {"from": "P public", "to": "U private", "source": "docs/read"},
     "label    P public -> U private  docs/read"),
    ("pin", {"tool": "docs/read", "definition": "0" * 64}, "pin      docs/read"),
    ("refused_before_call", {"kind": "tool", "code": "bad_json", "cause": "no"}, "bad_json  tool"),
    ("stop", {"fault": "", "n": 3}, "stop     n=3"),
])
def test_tail_says_what_happened_in_a_few_words(state: Path, event: str, body: dict[str, Any], words: str) -> None:
    async def note() -> None:
        async with opened(state) as journal:
            await journal.note(Event(type=event, tenant="acme", body=body, subject=ANA))

    asyncio.run(note())
    line = next(line for line in _run("tail", "acme", "-n", "1").stdout.splitlines() if f" {event} " in line)
    assert line.endswith(words)
    assert _fits(line)


def test_show_of_an_event_shows_its_fields(state: Path) -> None:
    assert '"pid": 7' in _run("show", "acme/4").stdout


@pytest.mark.parametrize(("name", "exit_code", "says"), [
    ("acme/99", 1, "no_record"), ("nobody/1", 1, "no_log"), ("acme", 2, "acme/57"), ("acme/x", 2, "acme/57"),
    ("/1", 2, "acme/57"), ("../acme/1", 2, "acme/57"), ("acme/²", 2, "acme/57"),
])
def test_show_of_what_is_not_there_says_so(state: Path, name: str, exit_code: int, says: str) -> None:
    done = _run("show", name)
    assert (done.exit_code, says in done.output) == (exit_code, True), done.output
    assert done.stdout == ""


def test_tail_shows_one_line_a_record_within_80_columns(state: Path) -> None:
    done = _run("tail", "acme")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [f"acme/{n}" for n in range(5)]
    assert "flow: untrusted_value" in lines[2]
    assert _fits(done.stdout)
    assert [line.split()[0] for line in _run("tail", "acme", "-n", "2").stdout.splitlines()] == ["acme/3", "acme/4"]
    assert _run("tail", "acme", "-n", "0").stdout == ""
    everything = _run("tail").stdout
    assert "system/" in everything
    assert "acme/4" in everything


def test_tail_as_json_is_one_object_a_line(state: Path) -> None:
    lines = [json.loads(line) for line in _run("tail", "acme", "--json").stdout.splitlines()]
    assert [line["type"] for line in lines] == ["intent", "outcome", "refused", "intent", "launch"]


def test_tail_follows_a_running_core(state: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", "from ringwall.cli.audit import audit; audit()", "tail", "acme", "-n", "1", "-f",
         "--state", str(state)], stdout=subprocess.PIPE, text=True,
    )
    stuck = threading.Timer(60, child.kill)
    stuck.start()
    try:
        assert child.stdout is not None
        assert child.stdout.readline().startswith("acme/4")

        async def write() -> None:
            async with opened(state) as journal:
                assert await journal.note(Event(type="freeze", tenant="acme")) == "acme/6"

        asyncio.run(write())
        assert child.stdout.readline().startswith("acme/5 ")
        assert "freeze" in child.stdout.readline()
    finally:
        stuck.cancel()
        child.kill()
        child.wait()
        if child.stdout:
            child.stdout.close()


def test_verify_passes_and_after_one_flipped_byte_fails_and_names_the_record(state: Path) -> None:
    done = _run("verify")
    assert (done.exit_code, "records verified" in done.stdout) == (0, True), done.output
    segment = log_folder(state, "acme") / "seg-00000000.log"
    raw = bytearray(segment.read_bytes())
    raw[raw.index(b"untrusted_value")] ^= 1
    segment.write_bytes(raw)
    done = _run("verify")
    assert done.exit_code == 1
    assert "acme/2" in done.stdout
    assert _fits(done.stdout)
    done = _run("verify", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert found["ok"] is False
    assert [p["record"] for log in found["logs"] for p in log["problems"]] == ["acme/2"]
    assert _run("show", "acme/2").exit_code == 1


def test_verify_takes_kept_checkpoints_and_keys(state: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.write_bytes(newest(state, "acme"))
    assert _run("verify", "--checkpoint", str(kept), "--keys", str(state / "audit" / "keys")).exit_code == 0
    kept.write_bytes(b"junk")
    assert _run("verify", "--checkpoint", str(kept)).exit_code == 1
    (tmp_path / "none").mkdir()
    assert _run("verify", "--keys", str(tmp_path / "none")).exit_code == 1


def test_export_writes_files_that_openssl_reads(state: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    files = _json("export", "acme/2", "--to", str(out))["files"]
    assert {Path(f).name for f in files} >= {"checkpoint.txt", "checkpoint.sig", "key.pem", "record.json"}
    kept = out / "checkpoint"
    done = _run("export", "acme", "--to", str(tmp_path / "two"), "--since", str(kept))
    assert done.exit_code == 0
    assert "consistency.proof" in done.stdout
    assert _run("export", "nobody", "--to", str(out)).exit_code == 1
    assert _run("export", "acme/x", "--to", str(out)).exit_code == 2


def test_no_log_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    for verb in ("tail", "verify"):
        done = _run(verb, "--state", str(tmp_path))
        assert done.exit_code == 1
        assert "no_log" in done.stderr
        assert "--state" in done.stderr
    done = _run("verify", "--state", str(tmp_path), "--json")
    assert json.loads(done.stdout)["error"]["code"] == "no_log"


def test_no_colour_reaches_a_pipe(state: Path) -> None:
    assert "\x1b" not in _run("verify").stdout
    assert ROOT not in _run("show", "acme/0").stdout.encode()
