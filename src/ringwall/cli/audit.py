"""``ringwall audit``: read and verify the log, offline or beside a running core. Nothing here writes to it."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from ringwall.audit.checkpoint import VerifierKey
from ringwall.audit.export import export_checkpoint, export_consistency, export_record
from ringwall.audit.journal import read_records
from ringwall.audit.reader import LogReader, key_folder, log_folder, tenants
from ringwall.audit.records import CALL_TYPES, Record, parse_record
from ringwall.audit.segments import Damage
from ringwall.audit.show import Shown, stopped_by
from ringwall.audit.show import show as look_up
from ringwall.audit.verify import LogReport, load_keys
from ringwall.audit.verify import verify as verify_logs
from ringwall.call import Json, as_object
from ringwall.cli.common import FAILED, fail, json_option, print_json, state_option, styled
from ringwall.cli.text import COLUMNS, fold, plain
from ringwall.errors import AuditError, RingwallError
from ringwall.keys.file import FileRootKeys
from ringwall.keys.interface import RootKeys

FOLLOW_SECONDS: Final = 0.25  # how often the files are looked at


def record_name(value: str) -> tuple[str, int]:
    """Tenant and number of a record's name such as ``acme/57``. Raises click's usage error."""
    tenant, _, number = value.partition("/")
    if not tenant or not number.isascii() or not number.isdigit() or len(number) > 18:
        raise click.BadParameter(f"{value!r} is no record; they are called like acme/57")
    return tenant, int(number)


@click.group()
def audit() -> None:
    """Read and verify the audit log: offline, or beside a running core."""


@audit.command()
@click.argument("tenant", required=False)
@click.option("-n", "count", type=click.IntRange(0, 100_000), default=20, show_default=True, help="How many.")
@click.option("--follow", "-f", is_flag=True, help="Go on with new records until interrupted.")
@state_option
@json_option
def tail(tenant: str | None, count: int, follow: bool, state: Path, as_json: bool) -> None:
    """Show the newest records of TENANT, or of all logs. With --json, one object a line."""
    with said_faults(as_json):
        _tail(state, tenant, count, follow, as_json)


def _tail(state: Path, tenant: str | None, count: int, follow: bool, as_json: bool) -> None:
    def say(log: str, record: Record) -> None:
        if as_json:
            print_json({"name": f"{log}/{record.number}", **record.clear})
        else:
            click.echo(_line(log, record))

    names = [tenant] if tenant else tenants(state)
    found = [(log, r) for log in names for r in _newest(state, log, count)]
    found.sort(key=lambda item: item[1].time)
    shown = found[-count:] if count else []
    for log, record in shown:
        say(log, record)
    seen = {log: r.number + 1 for log, r in found}
    if follow and not count:
        seen = {log: r.number + 1 for log in names for r in _newest(state, log, 1)}
    while follow:
        time.sleep(FOLLOW_SECONDS)
        for log in [tenant] if tenant else tenants(state):
            for record in read_records(state, log, seen.get(log, 0)):
                say(log, record)
                seen[log] = record.number + 1


def _newest(state: Path, log: str, count: int) -> Iterator[Record]:
    for number, raw in LogReader(log_folder(state, log)).last(count):
        yield parse_record(number, raw)


@audit.command()
@click.argument("name")
@state_option
@json_option
def show(name: str, state: Path, as_json: bool) -> None:
    """Explain the record NAME, for instance acme/57: who wanted what, what each ring said, how it ended."""
    with said_faults(as_json):
        _show(state, record_name(name), as_json)


def _show(state: Path, name: tuple[str, int], as_json: bool) -> None:
    tenant, number = name
    found = look_up(state, tenant, number, public_key(state, tenant), root_keys(state))
    if as_json:
        print_json(found.as_json())
    else:
        for line in _explained(found):
            click.echo(line)


@audit.command()
@click.option("--keys", type=click.Path(exists=True, file_okay=False, path_type=Path),
              help="Your own copy of the public keys (default: those in the state folder).")
@click.option("--checkpoint", "checkpoints", multiple=True,
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A checkpoint kept elsewhere, which the log must contain. Repeatable.")
@state_option
@json_option
def verify(keys: Path | None, checkpoints: tuple[Path, ...], state: Path, as_json: bool) -> None:
    """Recompute every log and compare it with every checkpoint; exit 1 and name the record if one is wrong."""
    with said_faults(as_json):
        _verify(state, keys, checkpoints, as_json)


def _verify(state: Path, keys: Path | None, checkpoints: tuple[Path, ...], as_json: bool) -> None:
    report = verify_logs(state, load_keys(keys) if keys else None, [p.read_bytes() for p in checkpoints])
    if as_json:
        print_json({
            "ok": report.ok,
            "logs": [
                {"log": log.log, "records": log.records, "root": log.root, "notes": list(log.notes),
                 "problems": [{"record": p.record, "cause": p.cause} for p in log.problems]}
                for log in report.logs
            ],
        })
    else:
        for log in report.logs:
            _say_log(log)
        total = sum(log.records for log in report.logs)
        click.echo(f"{total} records verified" if report.ok else "The log does not verify.")
    if not report.ok:
        raise SystemExit(FAILED)


def _say_log(log: LogReport) -> None:
    verdict = styled("DAMAGED", fg="red", bold=True) if log.problems else styled("ok", fg="green")
    click.echo(f"{plain(log.log):<24} {log.records:>9} records  {verdict}")
    for problem in log.problems:
        _wrapped(f"{problem.record}: {problem.cause}")
    for note in log.notes:
        _wrapped(f"note: {note}")


@audit.command()
@click.argument("what")
@click.option("--to", "target", required=True, type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the files.")
@click.option("--since", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="An older checkpoint: also write the proof that nothing before it changed.")
@state_option
@json_option
def export(what: str, target: Path, since: Path | None, state: Path, as_json: bool) -> None:
    """Write the newest checkpoint of the log WHAT (a tenant), or with WHAT like acme/57 also that record.

    docs/audit.md tells how plain openssl verifies the files.
    """
    name = record_name(what) if "/" in what else None
    with said_faults(as_json):
        _export(state, what, name, target, since, as_json)


def _export(
    state: Path, what: str, name: tuple[str, int] | None, target: Path, since: Path | None, as_json: bool
) -> None:
    tenant = name[0] if name else what
    key = public_key(state, tenant)
    files = list(export_checkpoint(state, tenant, key, target))
    if name:
        files += export_record(state, tenant, name[1], key, target)
    if since:
        files += export_consistency(state, tenant, since.read_bytes(), key, target)
    if as_json:
        print_json({"files": [str(p) for p in files]})
    else:
        for path in files:
            click.echo(str(path))


@contextmanager
def said_faults(as_json: bool) -> Generator[None, None, None]:
    """Every foreseen fault ends with its words and exit code."""
    try:
        yield
    except KeyboardInterrupt:
        raise SystemExit(0) from None
    except Damage as fault:
        fail(AuditError(f"at record {fault.record}: {fault.cause}", code=fault.code,
                        remedy="see `ringwall audit verify`"), as_json=as_json)
    except RingwallError as fault:
        fail(fault, as_json=as_json)
    except BrokenPipeError:  # the reader, `head` for instance, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the flush at exit fails again
        raise SystemExit(0) from None
    except OSError as fault:
        fail(AuditError(f"{fault.strerror}: {fault.filename}", code="file_error"), as_json=as_json)


def public_key(state: Path, tenant: str) -> VerifierKey:
    """A log's public key. Raises AuditError (``no_log``)."""
    key = load_keys(key_folder(state)).get(tenant)
    if key is None:
        raise AuditError(
            f"there is no log of {tenant!r} in {state}", code="no_log",
            remedy="name the state folder with --state or RINGWALL_STATE",
        )
    return key


def root_keys(state: Path) -> RootKeys | str:
    """The root keys of a state folder, or why they are not at hand."""
    try:
        return FileRootKeys.open(state / "root.key")
    except RingwallError as fault:
        return str(fault)


# What a person reads. Texts of agents are shown without anything a terminal would obey.

def _when(record: Record, form: str) -> str:
    try:
        return datetime.fromtimestamp(record.time, UTC).strftime(form)
    except (OverflowError, OSError, ValueError):
        return "?"


def _line(log: str, record: Record) -> str:
    """One record in one line."""
    clear = record.clear
    what = ""
    if record.type in CALL_TYPES:
        what = "".join(f"{ring}: {code}  " for ring, code in stopped_by(record))
        way = (as_object(clear.get("message")) or {}).get("direction")
        what += f"{clear['kind']} {f'{way} ' if way else ''}{clear['target']}"
    elif record.type == "outcome":
        what = f"{log}/{clear['of']} {clear['end']} {clear.get('code', '')}".rstrip()
    elif record.type == "cut":
        what = f"{clear.get('bytes')} bytes of an unfinished batch"
    else:
        what = _happened(record)
        if "count" in clear:
            what = f"{clear['count']} times  {what}"
    text = f"{f'{log}/{record.number}':<14} {_when(record, '%H:%M:%S')}  {record.type:<8} {plain(what)}"
    return text if len(text) <= COLUMNS else text[:COLUMNS - 1] + "…"


def _happened(record: Record) -> str:
    """An event in a few words; one without words of its own as its fields."""
    body = record.body
    match record.type:
        case "launch":
            agent = str(record.clear.get("subject", "")).partition("/agent/")[2].partition("/")[0]
            if body.get("attestation") == "none":
                return f"{agent}  ATTESTED BY NOTHING"
            return f"{agent}{'' if body.get('confined', True) else '  NOT CONFINED'}".strip()
        case "exit":
            return f"status {body.get('status')}, calls {body.get('calls', 0)}"
        case "label":
            return f"{body.get('from')} -> {body.get('to')}  {body.get('source')}"
        case "pin":
            return str(body.get("tool", ""))
        case "refused_before_call":
            return f"{body.get('code')}  {body.get('kind')}"
        case _:
            return " ".join(f"{k}={v}" for k, v in body.items() if isinstance(v, (str, int, float)) and v != "")


def _explained(found: Shown) -> Iterator[str]:
    record, clear = found.record, found.record.clear
    title = f"{found.name}  {styled(record.type, bold=True)}"
    if record.type in CALL_TYPES:
        title += f"  {plain(clear['kind'])} {plain(clear['target'])}"
    yield from fold(f"{title}  {_when(record, '%Y-%m-%d %H:%M:%S UTC')}", "")
    if record.type in CALL_TYPES:
        yield from _call(found)
    else:
        for ring, code in stopped_by(record):
            cause = (as_object(found.body) or {}).get("cause", "")
            yield from fold(plain(f"{ring} · {code} · {cause}".rstrip(" ·")), "  stopped   ")
        yield from _fields(clear)
    size, holds = found.inclusion.size, "included" if found.inclusion.holds else "NOT INCLUDED"
    yield from fold(f"checkpoint of {size} records, signed, {holds}", "  record    ")
    if found.outcome is not None:
        yield from _ended(found.outcome, found)
    elif record.type == "intent":
        yield "  ended     no outcome yet: it runs, or the core was stopped"
    if found.body is not None:
        yield "  body"
        for line in json.dumps(found.body, indent=1, ensure_ascii=True).split("\n"):
            yield from fold(line, "   ")
    elif record.left_out is not None:
        yield from fold(found.body_note, "  body      ")
    elif record.sealed is not None:
        yield from fold(f"not readable: {plain(found.body_note)}", "  body      ")


def _call(found: Shown) -> Iterator[str]:
    clear = found.record.clear
    yield from fold(plain(clear["subject"]), "  by        ")
    if message := as_object(clear.get("message")):
        way = f"{message['direction']}, to {message['receiver']}  {message['method']}"
        yield from fold(plain(way), "  message   ")
        for name in ("trace", "record"):
            if name in message:
                yield from fold(plain(message[name]), f"  {name:<10}")
    if clear.get("acting_for"):
        yield from fold(plain(" ".join(clear["acting_for"])), "  for       ")
    yield from fold(f"{plain(clear['session']) or '-'}  call {plain(clear['call'])}", "  session   ")
    full = {v["ring"]: v for v in found.body["verdicts"]} if found.body else {}
    for ring, verdict, code in clear["verdicts"]:
        if verdict == "allowed":
            continue
        said: dict[str, Json] = full.get(ring, {})
        text = f"{ring} · {code} · {said.get('reason') or said.get('question') or ''}".rstrip(" ·")
        yield from fold(plain(text), "  stopped   " if verdict == "denied" else "  asked     ")
        if said.get("remedy"):
            yield from fold(plain(said["remedy"]), "  remedy    ")
    if found.record.type == "intent" and clear.get("approval"):
        yield from fold(f"on {plain(clear['approval'])}: a human said yes", "  approved  ")
    allowed = [ring for ring, verdict, _ in clear["verdicts"] if verdict == "allowed"]
    yield from fold(", ".join(allowed) or "-", "  allowed   ")
    yield from fold(clear["digest"], "  digest    ")
    yield from fold(plain(clear.get("policy") or "-"), "  policy    ")
    yield from fold(plain(_pairs(clear.get("identity"))), "  identity  ")
    if clear.get("standing"):
        yield from fold(plain(_pairs(clear["standing"])), "  standing  ")


def _ended(outcome: Record, found: Shown) -> Iterator[str]:
    clear = outcome.clear
    code = f" · {plain(clear['code'])}" if clear.get("code") else ""
    end = "outcome unknown" if clear["end"] == "unknown" else clear["end"]
    yield from fold(f"{plain(end)}{code}  ({found.tenant}/{outcome.number})", "  ended     ")
    if found.outcome_body:
        yield from fold(plain(found.outcome_body.get("reason", "")), "  because   ")


def _fields(clear: object) -> Iterator[str]:
    for line in json.dumps(clear, indent=1, ensure_ascii=True).split("\n"):
        yield from fold(line, "  ")


def _pairs(value: Json) -> str:
    return ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) and value else "-"  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType]


def _wrapped(text: str) -> None:
    for line in fold(plain(text), "  "):
        click.echo(line)
