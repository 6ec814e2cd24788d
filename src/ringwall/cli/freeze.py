"""``ringwall freeze`` and ``ringwall thaw``: the kill switch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from ringwall.call import Json
from ringwall.cli import common

SCOPES: Final = click.Choice(["agent", "tenant", "tool", "all"])
_NAMED: Final = {"agent": "TENANT/AGENT", "tenant": "TENANT", "tool": "SERVER or SERVER/OPERATION"}


@click.command()
@click.argument("scope", type=SCOPES)
@click.argument("name", default="")
@click.option("--reason", required=True, help="One line, for the log and for whoever looks at it later.")
@click.option("--kill", is_flag=True, help="Also kill the processes: agents, or the tool's servers.")
@common.state_option
@common.json_option
def freeze(scope: str, name: str, reason: str, state: Path, *, kill: bool, as_json: bool) -> None:
    """Refuse every new call of an agent, of a tenant, to a tool, or of all; end those under way.

    It holds, over restarts too, until `ringwall thaw`. Examples:

    \b
      ringwall freeze agent acme/analyst --reason "reads what it should not"
      ringwall freeze tool bank/pay --reason "the bank called"
      ringwall freeze all --reason "drill" --kill

    Exit code 1 also if something that was to end had not ended in time.
    """
    _need_name(scope, name)
    args: dict[str, Json] = {"scope": scope, "name": name, "reason": reason, "kill": kill}
    found = common.operate(state, "freeze", args, as_json=as_json)
    if as_json:
        common.print_json(found)
    else:
        for line in _told(found):
            click.echo(line)
    raise SystemExit(common.FAILED if found["late"] or found["alive"] else common.DONE)


@click.command()
@click.argument("scope", type=SCOPES)
@click.argument("name", default="")
@click.option("--reason", required=True, help="Why calls may go on; one line.")
@common.state_option
@common.json_option
def thaw(scope: str, name: str, reason: str, state: Path, *, as_json: bool) -> None:
    """Let calls through again that `ringwall freeze` refuses. Each freeze is thawed by itself."""
    _need_name(scope, name)
    found = common.operate(state, "thaw", {"scope": scope, "name": name, "reason": reason}, as_json=as_json)
    if as_json:
        common.print_json(found)
    elif "proposed" in found:
        click.echo(common.proposed(found["proposed"]))
    else:
        click.echo(f"thawed: {_what(found['thawed'])} ({found['thawed']['record']})")
        for one in found["still"]:
            click.echo(f"still frozen: {frozen_line(one)}")


def frozen_line(frozen: Mapping[str, Any]) -> str:
    """One freeze on one line."""
    where = frozen["record"] or "NOT in the log yet"
    return f"{_what(frozen)}  by {frozen['by']} ({where}): {frozen['reason']}"


def _told(found: Mapping[str, Any]) -> list[str]:
    lines = [f"frozen: {frozen_line(found['frozen'])}",
             f"  after {found['seconds'] * 1000:.1f} ms: {found['calls']} calls ended, {found['begun']} had begun"]
    if found["frozen"]["kill"]:
        lines.append(f"  {found['killed']} processes killed")
    if found["late"] or found["alive"]:
        lines.append(f"  NOT ended in time: {found['late']} calls, {found['alive']} processes")
    if not found["frozen"]["durable"]:
        lines.append("  NOT in the log: a restart forgets it until it could be written (tried again by itself)")
    if found.get("down"):
        lines.append(f"  although: {', '.join(found['down'])}")
    return lines


def _what(frozen: Mapping[str, Any]) -> str:
    return f"{frozen['scope']} {frozen['name']}".strip()


def _need_name(scope: str, name: str) -> None:
    """Raises click's usage error."""
    wanted = _NAMED.get(scope)
    if wanted is None and name:
        raise click.UsageError("`all` takes no name")
    if wanted is not None and not name:
        raise click.UsageError(f"name what to freeze or thaw: {scope} {wanted}")
