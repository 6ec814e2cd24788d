"""``ringwall policy replay`` and ``shadow``: what a draft would have changed, and what it would change now."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from ringwall.audit.journal import read_records
from ringwall.audit.reader import tenants
from ringwall.audit.records import CALL_TYPES
from ringwall.call import Json
from ringwall.cli.audit import said_faults
from ringwall.cli.common import json_option, operate, print_json, state_option
from ringwall.cli.explain import find_manifest
from ringwall.cli.text import fold, plain
from ringwall.explain.judge import Dry
from ringwall.explain.policies import built, draft, in_force, policy
from ringwall.explain.recorded import Recorded, Unreadable, calls
from ringwall.explain.replay import Replay
from ringwall.explain.replay import replay as replayed
from ringwall.keys.file import FileRootKeys
from ringwall.manifest.starter import FILE_NAME
from ringwall.runtime.reading import read_manifest

SHOWN: Final = 20  # groups of differences in the text; --json has all


@click.command()
@click.option("--draft", "draft_at", metavar="DIR|BUNDLE", type=click.Path(exists=True, path_type=Path),
              help="A draft of the policy: a folder of Rego (needs opa), or what `ringwall policy build` wrote.")
@click.option("--whole", is_flag=True, help="The folder is a policy of its own, not rules beside the shipped ones.")
@click.option("--manifest", "-m", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help=f"The manifest to judge by (default: that of this state folder's core, else {FILE_NAME} here).")
@click.option("--since", metavar="RECORD|TIME", help="From this record (acme/57) or time (2026-01-31T12:00) on.")
@click.option("--tenant", metavar="NAME", help="The calls of this tenant only.")
@state_option
@json_option
def replay(draft_at: Path | None, manifest: Path | None, since: str | None, tenant: str | None, state: Path, *,
           whole: bool, as_json: bool) -> None:
    """Judge recorded calls again: with a draft of the policy, an edited manifest, or both.

    Identity, limits, flow and guard stand as recorded; capability and policy judge anew. Exit code 0 whatever
    differs.
    """
    with said_faults(as_json):
        found = _replayed(state, draft_at, manifest, since, tenant, whole=whole)
    if as_json:
        print_json(found.as_json())
        return
    for line in _lines(found):
        click.echo(line)


def _replayed(state: Path, draft_at: Path | None, path: Path | None, since: str | None, tenant: str | None, *,
              whole: bool) -> Replay:
    manifest = read_manifest(path or find_manifest(state))
    source = draft(draft_at, os.environ, whole=whole) if draft_at is not None else in_force(manifest)
    dry = Dry(manifest, policy(source, manifest))
    return asyncio.run(replayed(_chosen(state, since, tenant), dry))


def _chosen(state: Path, since: str | None, tenant: str | None) -> Iterator[Recorded | Unreadable]:
    keys = FileRootKeys.open(state / "root.key")
    start = _start(since)
    if isinstance(start, tuple) and tenant not in {None, start[0]}:
        raise click.BadParameter(f"{since} is no record of {tenant}")
    for name in [tenant] if tenant else [start[0]] if isinstance(start, tuple) else tenants(state):
        first = start[1] if isinstance(start, tuple) else _first(state, name, start)
        yield from calls(state, name, keys, first)


def _start(since: str | None) -> tuple[str, int] | float:
    """A record's log and number, or seconds since the epoch. Raises click's usage error."""
    if since is None:
        return 0.0
    log, slash, number = since.rpartition("/")
    if slash and number.isascii() and number.isdigit() and len(number) <= 18:
        return log, int(number)
    try:
        return datetime.fromisoformat(since).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        raise click.BadParameter(f"{since!r} is neither a record such as acme/57 nor a time such as "
                                 "2026-01-31T12:00") from None


def _first(state: Path, name: str, at: float) -> int:
    """The number of the first record that is not older."""
    if at <= 0:
        return 0
    newer = (record.number for record in read_records(state, name, 0, CALL_TYPES) if record.time >= at)
    return next(newer, 1 << 60)


def _lines(found: Replay) -> Iterator[str]:
    yield f"{found.calls} recorded calls judged again"
    for name, count in (("unchanged", found.unchanged), ("newly refused", found.newly_refused),
                        ("newly allowed", found.newly_allowed), ("newly held", found.newly_asked)):
        yield f"  {name:<15} {count}"
    if found.not_replayable:
        yield (f"  {'not replayable':<15} {found.not_replayable}, {found.key_destroyed} of them without a key, "
               f"{found.left_out} without a body")
    groups = found.sorted()
    for group in groups[:SHOWN]:
        word = group.difference.replace("_", " ")
        yield from fold(plain(f"{word}: {group.count} x {group.target}, {group.code}, {group.subject}"), "")
        for one in group.examples:
            unjudged = f" (not judged: {', '.join(one.not_judged)})" if one.not_judged else ""
            yield from fold(plain(f"{one.record}  {one.was} -> {one.now}{unjudged}"), "    ")
    if len(groups) > SHOWN:
        yield f"and {len(groups) - SHOWN} more groups: --json has them"


@click.command()
@click.argument("draft_at", metavar="[DIR|BUNDLE]", required=False, type=click.Path(exists=True, path_type=Path))
@click.option("--whole", is_flag=True, help="The folder is a policy of its own, not rules beside the shipped ones.")
@click.option("--show", is_flag=True, help="What was found so far.")
@click.option("--stop", is_flag=True, help="End it, and say what was found.")
@state_option
@json_option
def shadow(draft_at: Path | None, state: Path, *, whole: bool, show: bool, stop: bool, as_json: bool) -> None:
    """Judge live calls with a draft of the policy beside the active one, which alone decides.

    Differences stand in the log (shadow_difference, counted) and in --show. It ends with --stop or with the core.
    """
    if [draft_at is not None, show, stop].count(True) != 1:
        raise click.UsageError("name one of DIR or BUNDLE, --show and --stop")
    with said_faults(as_json):
        found = _begun(draft_at, state, whole=whole, as_json=as_json) if draft_at is not None else operate(
            state, "policy.shadow", {"show": True} if show else {"stop": True}, as_json=as_json)  # fmt: skip
    if as_json:
        print_json(found)
        return
    for line in _shadowed(found):
        click.echo(line)


def _begun(draft_at: Path, state: Path, *, whole: bool, as_json: bool) -> Json:
    """Hand the draft to the core; a folder is built here, where opa is."""
    if not draft_at.is_dir():
        return operate(state, "policy.shadow", {"bundle": str(draft_at.absolute())}, as_json=as_json)
    with tempfile.TemporaryDirectory(prefix="ringwall-draft-") as folder:
        bundle = Path(folder) / "draft.tar.gz"
        bundle.write_bytes(built(draft_at, os.environ, whole=whole))
        bundle.parent.chmod(0o755)  # the core may be another user, and a policy is no secret
        return operate(state, "policy.shadow", {"bundle": str(bundle)}, as_json=as_json)


def _shadowed(found: Json) -> Iterator[str]:
    if "draft" not in found:
        yield "no draft runs beside the policy"
        return
    yield f"draft {found['draft'][:12]}  {'runs' if found['active'] else 'ended'}"
    for name in ("judged", "same", "not_judged", "unrecorded"):
        yield f"  {name.replace('_', ' '):<15} {found[name]}"
    for group in found["differences"]:
        calls = ", ".join(group["examples"])
        yield from fold(plain(f"{group['count']} x {group['target']}: {group['was']} -> {group['would']} "
                              f"({group['code']}), for instance call {calls}"), "  ")
