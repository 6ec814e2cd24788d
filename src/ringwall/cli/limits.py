"""``ringwall limits``: what is used and left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from ringwall.cli import common


@click.command()
@click.argument("tenant", default="")
@common.state_option
@common.json_option
def limits(tenant: str, state: Path, *, as_json: bool) -> None:
    """Show what each agent, and each of its open sessions, has used of its limits, and what is left.

    Only limits that hold are shown. Where several resources have a limit each, none of them is.
    """
    found = common.operate(state, "limits.show", {"tenant": tenant} if tenant else {}, as_json=as_json)
    if as_json:
        common.print_json(found)
        return
    click.echo(f"counted in {found['store']}" + (f", money in millionths of {found['currency']}"
                                               if found["currency"] else ""))
    for line in _lines(found["agents"]):
        click.echo(line)


def _lines(rows: list[Mapping[str, Any]]) -> Iterator[str]:
    shown = ""
    for row in rows:
        if row["tenant"] != shown:
            shown = row["tenant"]
            yield f"\ntenant {shown}"
            yield from _scope(row["limits"]["tenant"])
        yield f"agent {row['agent']}" + (f", session {row['session']}" if row["session"] else "")
        for scope in ("agent", "process"):
            yield from _scope(row["limits"].get(scope, {}))


def _scope(found: Mapping[str, Mapping[str, int]]) -> Iterator[str]:
    for name, one in found.items():
        yield f"  {name.replace('_', ' '):<20}{one['used']:>14} used{one['remaining']:>14} left of {one['limit']}"
