"""``ringwall explain``: why a call was refused, and the smallest change that would allow it. Changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click

from ringwall.audit.journal import SYSTEM, read_records
from ringwall.audit.show import show
from ringwall.cli.audit import public_key, record_name, root_keys, said_faults
from ringwall.cli.common import json_option, print_json, state_option, styled
from ringwall.cli.text import fold, plain
from ringwall.doors.operator_client import OperatorClient
from ringwall.errors import RingwallError
from ringwall.explain.meanings import QUESTIONS
from ringwall.explain.policies import in_force, policy
from ringwall.explain.suggest import Advisor
from ringwall.explain.why import Explanation, Tracing
from ringwall.explain.why import explain as explained
from ringwall.manifest.starter import FILE_NAME
from ringwall.manifest.text import read
from ringwall.runtime.state import State

MAX_FACT: Final = 600  # characters; a conversation has thousands


@click.command()
@click.argument("name", metavar="RECORD")
@click.option(
    "--manifest",
    "-m",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help=f"The manifest to change (default: the one that the core of this state folder has or had, else "
    f"{FILE_NAME} here).",
)
@state_option
@json_option
def explain(name: str, manifest: Path | None, state: Path, *, as_json: bool) -> None:
    """Say why the call of RECORD (for instance acme/57) was refused, and what would allow it.

    The smallest change of the manifest is printed as a diff, proved by judging the recorded call again with it.
    Nothing is changed.
    """
    with said_faults(as_json):
        tenant, number = record_name(name)
        shown = show(state, tenant, number, public_key(state, tenant), root_keys(state))
        advisor, tracing = _advisor(manifest or find_manifest(state))
        found = asyncio.run(explained(shown, advisor, tracing))
    if as_json:
        print_json(found.as_json())
        return
    for line in _lines(found):
        click.echo(line)


def find_manifest(state: Path) -> Path:
    """The manifest that the running core has, else the one its log names, else the one of this folder."""
    try:
        return Path(str(OperatorClient(State(state.absolute()).operator_socket).status()["manifest"]))
    except RingwallError:
        started = [record.body.get("path") for record in read_records(state, SYSTEM, types={"start"})]
        last = started[-1] if started else None
        return Path(last if isinstance(last, str) else FILE_NAME)


def _advisor(path: Path) -> tuple[Advisor | RingwallError, Tracing | None]:
    try:
        advisor = Advisor(read(path), path, lambda manifest: policy(in_force(manifest), manifest))
        return advisor, policy(in_force(advisor.manifest), advisor.manifest)
    except RingwallError as fault:
        return fault, None


def _lines(found: Explanation) -> Iterator[str]:
    yield from fold(f"{found.name}  {styled(found.result, bold=True)}  {plain(found.title)}", "")
    if found.ring:
        yield from fold(f"{found.ring}: {QUESTIONS.get(found.ring, '')}".rstrip(": "), "  ring      ")
    if found.code:
        yield from fold(plain(found.code), "  code      ")
    if found.meaning:
        yield from fold(plain(found.meaning), "  because   ")
    for rule in found.rules:
        place = f"{rule.file}:{rule.row}  " if rule.file else ""
        yield from fold(plain(f"{place}{rule.rule}"), "  rule      ")
    for name, fact in found.facts.items():
        yield from fold(_cut(plain(f"{name} {json.dumps(fact, ensure_ascii=True)}")), "  fact      ")
    for name, text in found.told.items():
        yield from fold(plain(f"{name}: {text if isinstance(text, str) else json.dumps(text)}"), "  told      ")
    yield from _change(found)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_FACT else f"{text[:MAX_FACT]}… (--json has all of it)"


def _change(found: Explanation) -> Iterator[str]:
    change = found.suggestion
    if change.diff:
        yield ""
        yield from fold("The smallest change that would allow this call. It would allow the same again, to whoever "
                        "steers the agent then: make it only if that is meant.", "")
        yield ""
        yield from change.diff.rstrip("\n").split("\n")
        yield ""
    if change.advice:
        yield from fold(plain(change.advice), "  instead   " if not change.diff else "  then      ")
    if change.command:
        yield from fold(plain(change.command), "  type      ")
    for note in change.notes:
        yield from fold(plain(note), "  note      ")
    if change.proved and change.diff:
        yield from fold("judged again with the change: capability and policy let it through", "  proved    ")
    if change.unasked and change.proved:
        yield from fold(f"{', '.join(change.unasked)}: another ring had refused before", "  unjudged  ")

