"""``ringwall approvals`` and ``ringwall endorsements``: what waits for a human, and what a role need not ask."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import click

from ringwall.approvals.view import call_lines, endorsement_lines, row
from ringwall.call import Json
from ringwall.cli import common

WATCH_S: Final = 30.0  # one question to the core; it answers at once when something changes


@click.group()
def approvals() -> None:
    """Calls that wait for a human: look at each, then approve or deny it.

    A yes is for exactly that call, once. There is no way to approve several at a time.
    """


@approvals.command("list")
@common.state_option
@common.json_option
def list_(state: Path, *, as_json: bool) -> None:
    """What waits, by session, oldest first."""
    found = common.operate(state, "approvals.list", {}, as_json=as_json)
    if as_json:
        _json(found)
        return
    waiting = [{**item, "now": found["now"]} for item in found["waiting"]]
    if not waiting:
        click.echo("nothing waits")
    for session, items in groupby(sorted(waiting, key=_session), key=_session):
        click.echo(f"{session[0]}, session {session[1]}")
        for item in items:
            click.echo(row(item))


@approvals.command()
@click.argument("ids", nargs=-1)
@click.option("--whole", is_flag=True, help="All of the arguments, however long.")
@common.state_option
@common.json_option
def show(ids: tuple[str, ...], state: Path, *, whole: bool, as_json: bool) -> None:
    """Show held calls in full: IDS such as acme/57, or all that wait.

    Arguments and resources are the agent's words, escaped to plain ASCII.
    """
    if ids:
        items = [common.operate(state, "approvals.show", {"id": one}, as_json=as_json) for one in ids]
    else:
        found = common.operate(state, "approvals.list", {}, as_json=as_json)
        items = [{**item, "now": found["now"]} for item in found["waiting"]]
    if as_json:
        _json({"items": items})
        return
    if not items:
        click.echo("nothing waits")
    for item in items:
        _show(item, whole=whole)


def _show(item: Mapping[str, Json], *, whole: bool) -> None:
    for line in call_lines(item, whole=whole):
        click.echo(line)
    if item.get("beside"):
        click.echo(f"  beside    {', '.join(item['beside'])} of the same session wait too")
    if item["state"] == "pending":
        click.echo(f"  decide    ringwall approvals approve {item['id']}")
        click.echo(f"            ringwall approvals deny {item['id']}")
    click.echo()


@approvals.command()
@click.argument("id_", metavar="ID")
@click.option("--reason", default="", help="For the log.")
@common.state_option
@common.json_option
def approve(id_: str, reason: str, state: Path, *, as_json: bool) -> None:
    """Say yes to the held call ID: exactly this one, once, for a limited time."""
    _decide(state, "approvals.approve", id_, reason, as_json=as_json)


@approvals.command()
@click.argument("id_", metavar="ID")
@click.option("--reason", default="", help="For the log.")
@common.state_option
@common.json_option
def deny(id_: str, reason: str, state: Path, *, as_json: bool) -> None:
    """Say no to the held call ID. The same call is then refused without asking again."""
    _decide(state, "approvals.deny", id_, reason, as_json=as_json)


def _decide(state: Path, verb: str, id_: str, reason: str, *, as_json: bool) -> None:
    done = common.operate(state, verb, {"id": id_, "reason": reason}, as_json=as_json)
    if as_json:
        _json(done)
    else:
        click.echo(_answer(done, done.get("decision", "")))


@approvals.command()
@common.state_option
@common.json_option
def watch(state: Path, *, as_json: bool) -> None:
    """Show each held call as it comes, until interrupted. With --json, one object a line."""
    version, seen = -1, set[str]()
    try:
        while True:
            asked = {"version": version, "seconds": WATCH_S}
            found = common.operate(state, "approvals.watch", asked, as_json=as_json)
            version = found["version"]
            new = [{**item, "now": found["now"]} for item in found["waiting"] if item["id"] not in seen]
            seen = {item["id"] for item in found["waiting"]}
            for item in new:
                if as_json:
                    _json(item)
                else:
                    _show(item, whole=False)
    except KeyboardInterrupt:
        raise SystemExit(common.DONE) from None


@click.group()
def endorsements() -> None:
    """Standing endorsements: calls of a role that need not ask, over typed resources, within bounds, for a while.

    They answer questions. What a ring refuses stays refused.
    """


@endorsements.command("list")
@common.state_option
@common.json_option
def listed(state: Path, *, as_json: bool) -> None:
    """All that count now."""
    found = common.operate(state, "endorsements.list", {}, as_json=as_json)
    if as_json:
        _json(found)
        return
    if not found["endorsements"]:
        click.echo("none")
    for one in found["endorsements"]:
        for line in endorsement_lines(one, now=time.time()):
            click.echo(line)


@endorsements.command()
@click.argument("role")
@click.argument("tool")
@click.option("--resource", "resources", multiple=True, required=True, metavar="KIND:PATTERN",
              help="As in a grant, for instance iban:DE89370400440532013000. Repeatable.")
@click.option("--max", "bounds", multiple=True, metavar="ARGUMENT=NUMBER",
              help="Upper bound of a numeric argument. One without a bound asks as before. Repeatable.")
@click.option("--days", type=click.FloatRange(0, min_open=True), required=True, help="How long.")
@click.option("--uses", type=click.IntRange(1), required=True, help="How many calls.")
@click.option("--reason", required=True, help="For the log, and for whoever looks at it later.")
@common.state_option
@common.json_option
def add(
    role: str, tool: str, resources: tuple[str, ...], bounds: tuple[str, ...], days: float, uses: int, reason: str,
    state: Path, *, as_json: bool,
) -> None:
    """Endorse TOOL for ROLE, which is called tenant/role. Example:

      ringwall endorsements add acme/clerk bank/pay --resource iban:DE89370400440532013000
      --max amount=500 --days 30 --uses 20 --reason "our landlord"
    """
    tenant, slash, name = role.partition("/")
    if not slash or not tenant or not name:
        raise click.BadParameter(f"{role!r} is no role; they are called like acme/clerk")
    order: dict[str, Json] = {
        "tenant": tenant, "role": name, "tool": tool, "resources": list(resources),
        "max": dict(_bound(text) for text in bounds), "days": days, "uses": uses, "reason": reason,
    }
    done = common.operate(state, "endorsements.add", order, as_json=as_json)
    if as_json:
        _json(done)
    else:
        click.echo(_answer(done, "endorsed"))


@endorsements.command()
@click.argument("id_", metavar="ID")
@click.option("--reason", default="", help="For the log.")
@common.state_option
@common.json_option
def revoke(id_: str, reason: str, state: Path, *, as_json: bool) -> None:
    """End the endorsement ID: such calls ask again from now on."""
    done = common.operate(state, "endorsements.revoke", {"id": id_, "reason": reason}, as_json=as_json)
    if as_json:
        _json(done)
    else:
        click.echo(_answer(done, "revoked"))


def _answer(done: Mapping[str, Json], what: str) -> str:
    """Acts that need a second person answer otherwise than what they do."""
    return f"{done['id']} {what}" if "id" in done else json.dumps(done, ensure_ascii=True)


def _bound(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise click.BadParameter(f"{text!r} is no bound; write amount=500") from None


def _session(item: Mapping[str, Any]) -> tuple[str, str]:
    return f"{item['tenant']}/{item['agent']}", str(item["session"])


def _json(value: Json) -> None:
    """ASCII only: a terminal must not obey what an agent wrote, in JSON either."""
    click.echo(json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f"))
