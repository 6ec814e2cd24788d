"""``ringwall leases``: credentials that were minted for agents, and are good for minutes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ringwall.call import Json
from ringwall.cli import common
from ringwall.cli.text import plain


@click.group(invoke_without_command=True)
@click.option("--agent", default="", metavar="TENANT/AGENT", help="Only of this agent.")
@click.option("--tenant", default="", help="Only of this tenant.")
@click.option("--prefix", default="", help="Only those whose SECRET/LEASE begins so.")
@common.state_option
@common.json_option
@click.pass_context
def leases(ctx: click.Context, agent: str, tenant: str, prefix: str, state: Path, *, as_json: bool) -> None:
    """List the leases: each is a credential of one agent that its provider was asked for.

    `ringwall leases list` is the same.
    """
    if ctx.invoked_subcommand is None:
        _list(state, _chosen("", agent, tenant, prefix), as_json=as_json)
        return
    for name in ctx.params:  # what is read here reaches no subcommand: `--state X revoke` would ask another core
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"write the options behind `{ctx.invoked_subcommand}`")


@leases.command("list")
@click.option("--agent", default="", metavar="TENANT/AGENT", help="Only of this agent.")
@click.option("--tenant", default="", help="Only of this tenant.")
@click.option("--prefix", default="", help="Only those whose SECRET/LEASE begins so.")
@common.state_option
@common.json_option
def listed(agent: str, tenant: str, prefix: str, state: Path, *, as_json: bool) -> None:
    """List the leases that have not ended."""
    _list(state, _chosen("", agent, tenant, prefix), as_json=as_json)


@leases.command()
@click.argument("lease")
@common.state_option
@common.json_option
def renew(lease: str, state: Path, *, as_json: bool) -> None:
    """Let LEASE live longer, never past 900 s from its issue."""
    done = common.operate(state, "leases.renew", {"lease": lease}, as_json=as_json)
    if as_json:
        common.print_json(done)
    else:
        click.echo(_line(done, time.time()))


@leases.command()
@click.argument("lease", default="")
@click.option("--agent", default="", metavar="TENANT/AGENT", help="All of this agent.")
@click.option("--tenant", default="", help="All of this tenant.")
@click.option("--prefix", default="", help="All whose SECRET/LEASE begins so.")
@common.state_option
@common.json_option
def revoke(lease: str, agent: str, tenant: str, prefix: str, state: Path, *, as_json: bool) -> None:
    """End LEASE, or all that the options name: refused here at once, and at the provider as soon as it answers.

    Exit code 1 if a provider could not be told yet; that is tried again by itself.
    """
    if not (lease or agent or tenant or prefix):
        raise click.UsageError("name a LEASE, --agent, --tenant or --prefix")
    done = common.operate(state, "leases.revoke", _chosen(lease, agent, tenant, prefix), as_json=as_json)
    late = [one for one in done["leases"] if one["state"] != "ended"]
    if as_json:
        common.print_json(done)
    else:
        for one in done["leases"]:
            click.echo(_line(one, time.time()))
        click.echo(f"{len(done['leases'])} ended here, {len(late)} still to be told to their provider")
    raise SystemExit(common.FAILED if late else common.DONE)


def _list(state: Path, chosen: dict[str, Json], *, as_json: bool) -> None:
    found = common.operate(state, "leases.list", chosen, as_json=as_json)
    if as_json:
        common.print_json(found)
        return
    if not found["leases"]:
        click.echo("none")
    for one in found["leases"]:
        click.echo(_line(one, time.time()))


def _chosen(lease: str, agent: str, tenant: str, prefix: str) -> dict[str, Json]:
    of, slash, name = agent.partition("/")
    if agent and (not of or not slash or not name):
        raise click.UsageError(f"{agent!r} is no agent; they are called like acme/ana")
    if agent and tenant and tenant != of:
        raise click.UsageError("--agent names another tenant than --tenant")
    return {"lease": lease, "tenant": of or tenant, "agent": name, "prefix": prefix}


def _line(one: Mapping[str, Any], now: float) -> str:
    """One lease on one line, and why it has not ended."""
    left = f"{max(0, round(one['expires_at'] - now))} s left" if one["state"] == "active" else one["state"]
    why = f"  {plain(one['reason'])}" if one["reason"] else ""
    fault = f"  {plain(one['fault'])} ({one['tries']} tries)" if one["fault"] else ""
    who = f"{one['tenant']}/{one['agent']}" if not one["agent"].startswith("@") else f"{one['tenant']} (Ringwall)"
    return f"{one['lease']}  {plain(who):<24} {plain(one['secret']):<16} {left}{why}{fault}"
