"""``ringwall pins``: which tool definitions were reviewed, what became of them, and pinning another one."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from ringwall.call import Json
from ringwall.cli import common
from ringwall.cli.definitions import summary
from ringwall.cli.text import plain

_STATES: Final = {"pinned": "", "changed": "CHANGED, its calls are refused", "unavailable": "not listed now"}


@click.group()
def pins() -> None:
    """Tool definitions are pinned when first seen; a server that changes one is refused until it is reviewed."""


@pins.command("list")
@click.argument("tenant", default="")
@common.state_option
@common.json_option
def listed(tenant: str, state: Path, *, as_json: bool) -> None:
    """List the pinned tools, of TENANT or of all."""
    found = common.operate(state, "pins.list", {"tenant": tenant} if tenant else {}, as_json=as_json)
    if as_json:
        common.print_json(found)
        return
    for row in found["pins"]:
        name = f"{row['tenant']} {row['tool']}"
        click.echo(f"{plain(name):<40} {row['pinned'][:12]}  {_STATES[row['state']]}".rstrip())


@pins.command()
@click.argument("tenant")
@click.argument("tool")
@common.state_option
@common.json_option
def show(tenant: str, tool: str, state: Path, *, as_json: bool) -> None:
    """Show how the definition of TOOL (server/operation) differs from the one that was pinned."""
    row = _one(state, tenant, tool, as_json=as_json)
    if as_json:
        common.print_json(row)
        return
    _print(row)
    if row["state"] == "changed":
        click.echo(f"Agents may not call it. Accept: ringwall pins accept {plain(tenant)} {plain(tool)}", err=True)


@pins.command()
@click.argument("tenant")
@click.argument("tool")
@click.option("--yes", "-y", is_flag=True, help="Do not ask first.")
@common.state_option
@common.json_option
def accept(tenant: str, tool: str, state: Path, *, yes: bool, as_json: bool) -> None:
    """Pin the definition that the server of TOOL lists now, after showing the difference.

    It is pinned by its hash: should the server list yet another one meanwhile, that one is refused.
    """
    row = _one(state, tenant, tool, as_json=as_json)
    if not as_json:
        _print(row)
    if not yes and row["state"] == "changed":
        click.confirm("An agent reads this text, and its calls have this form. Pin it?", abort=True, err=True)
    args: dict[str, Json] = {"tenant": tenant, "tool": tool, "definition": row["listed"] or ""}
    found = common.operate(state, "pins.accept", args, as_json=as_json)
    if as_json:
        common.print_json(found)
    elif "proposed" in found:
        click.echo(common.proposed(found["proposed"]))
    else:
        click.echo(f"pinned: {plain(tool)} {found['pinned'][:12]} ({found['record']})")
        if found["state"] != "pinned":
            click.echo(f"but meanwhile: {_STATES[found['state']]}")


def _one(state: Path, tenant: str, tool: str, *, as_json: bool) -> Mapping[str, Any]:
    found = common.operate(state, "pins.list", {"tenant": tenant, "tool": tool}, as_json=as_json)
    return found["pins"][0]


def _print(row: Mapping[str, Any]) -> None:
    """The difference, with colour as a second sign on a terminal."""
    for line in _difference(row):
        colour = {"+": "green", "-": "red"}.get(line[:1]) or ("yellow" if line.startswith("  !") else None)
        click.echo(common.styled(line, fg=colour) if colour else line)


def _difference(row: Mapping[str, Any]) -> Iterator[str]:
    """Both definitions as a diff; every character that is not printed is spelled out."""
    yield f"{plain(row['tool'])} of {plain(row['tenant'])}: {_STATES[row['state']] or 'as it was pinned'}"
    if row["now"] is None:
        yield "Its server does not list it now, or is down: `ringwall status`."
        return
    if row["was"] is None:
        yield "Only the hash of the pinned definition was kept. What is listed now, whole:"
    was, now = _lines(row["was"]), _lines(row["now"])
    if was == now:
        yield from now
        return
    if row["was"] is not None:
        yield from summary(row["was"], row["now"])
    names = (f"pinned {row['pinned'][:12]}", f"listed {row['listed'][:12]}")
    yield from difflib.unified_diff(was, now, *names, lineterm="")


def _lines(definition: Mapping[str, Any] | None) -> list[str]:
    """A definition line by line: the description by its sentences, so that a small change is a small difference.

    Two definitions never have the same lines.
    """
    if definition is None:
        return []
    text = definition.get("description")
    rest = {name: value for name, value in definition.items() if name != "description" or not isinstance(text, str)}
    lines = json.dumps(rest, indent=1, sort_keys=True, ensure_ascii=True).split("\n")
    return [*_sentences(text), *lines] if isinstance(text, str) else lines


def _sentences(text: str) -> Iterator[str]:
    """``description`` begins each of its lines, spaces what follows in one."""
    for line in text.split("\n"):
        for number, sentence in enumerate(line.split(". ")):
            yield f"{'' if number else 'description':<12}{json.dumps(sentence, ensure_ascii=True)}"
