"""``ringwall up`` and ``status``: start everything, and see how it is."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from ringwall.cli import common
from ringwall.cli.freeze import frozen_line
from ringwall.cli.text import plain
from ringwall.doors.operator_client import OperatorClient
from ringwall.errors import RingwallError
from ringwall.runtime.state import State, client_socket

WAIT_S: Final = 60.0  # for `status --wait`: importing several MCP servers on a busy machine; usual is 2 s
LOOK_S: Final = 0.1


@click.command()
@click.option(
    "--manifest",
    "-m",
    metavar="FILE",
    default="ringwall.toml",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="What is granted.",
)
@common.state_option
def up(manifest: Path, state: Path) -> None:
    """Start the runtime and stay in the foreground; Ctrl-C stops it."""
    # The zygote is forked before a loop, a thread or a secret exists here.
    from ringwall.confine.zygote import Zygote
    from ringwall.runtime.supervisor import Supervisor

    try:
        root = State.open(state).root
        supervisor = Supervisor(zygote=Zygote.start(), state=root, manifest=manifest.absolute())
    except RingwallError as fault:
        common.fail(fault)
    click.echo(f"ringwall: starting (state {root}, pid {os.getpid()})", err=True)
    raise SystemExit(asyncio.run(supervisor.run()))


@click.command()
@click.option("--wait", is_flag=True, help=f"Wait until it is up, at most {WAIT_S:.0f} s: for scripts.")
@common.state_option
@common.json_option
def status(state: Path, *, wait: bool, as_json: bool) -> None:
    """Show what runs: processes, tool servers, agents, problems."""
    client = OperatorClient(client_socket(state))
    until = time.monotonic() + (WAIT_S if wait else 0.0)
    while True:
        try:
            found = client.status()
            break
        except RingwallError as fault:
            if time.monotonic() >= until:
                common.fail(fault, as_json=as_json)
        time.sleep(LOOK_S)
    if as_json:
        common.print_json(found)
        return
    for name, how in _rows(found):
        line = f"{name:<20} {how}".replace("\n", " ")  # a tool server has a say in what is wrong with it
        click.echo(plain(line))


def _rows(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "core", f"up, pid {found['pid']}, {_times(found['restarts'])}"
    for process in found["processes"]:
        how = "up" if process["ready"] else f"down: {process['fault']}"
        yield process["name"], f"{how}, {_times(process['restarts'])}"
    for server in found["servers"]:
        yield f"server {server['name']}", f"{'up' if server['running'] else 'down'} ({server['tenant']})"
    for run in found["runs"]:
        yield f"agent {run['agent']}", f"{run['calls']} calls ({run['tenant']}, run {run['run']})"
    for frozen in found["frozen"]:
        yield "FROZEN", frozen_line(frozen)
    for proposed in found["proposed"]:
        yield "proposed", (f"{proposed['verb']} by {proposed['by']}, waits for a second operator "
                           f"({proposed['seconds']} s)")
    told = found.get("identity")
    if told:
        yield "attestation", f"{told['strength']}, by {told['method']}, sender of {told['sender']} checked"
    yield from _identity(found.get("svid"))
    yield from _secrets(found)
    policy = found["policy"]
    yield "policy", f"revision {policy['revision'][:12]} ({policy['backend']})"
    if policy.get("stale"):
        yield "problem", f"policy: a newer bundle was refused: {policy['stale']}"
    for name, problem in found["problems"].items():
        yield "problem", f"{name}: {problem}"
    yield "manifest", str(found["manifest"])


def _secrets(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The vault, unless nobody needs one, and the credentials that are out."""
    vault, leases = found.get("vault"), found.get("leases")
    if vault and (vault["needed"] or vault["state"] != "absent"):
        from ringwall.runtime.doctor import opening

        why = f": {vault['fault']['cause']}" if vault["fault"] else ""
        opens = f"; {opening(vault)}" if vault["state"] != "open" else ""
        yield "vault", f"{vault['state']}{why} (root key: {vault['root']}){opens}"
    if leases and leases["fault"]:
        yield "problem", f"leases: {leases['fault']}"
    if leases and leases["held"]:
        late = f", {leases['late']} still to be told to their provider" if leases["late"] else ""
        yield "leases", f"{leases['held']}{late}"


def _identity(svid: Mapping[str, Any] | None) -> Iterator[tuple[str, str]]:
    """The authority: which keys sign, and when that changes."""
    if svid is None:
        return
    yield from _spire(svid) if svid.get("source") == "spire" else _authority(svid)
    for domain, one in svid["federated"].items():
        known = f"sequence {one['sequence']}" if one["known"] else "NOT KNOWN: nobody of it is believed"
        yield f"federated {domain}", known
        if one["fault"]:
            yield "problem", f"federated {domain}: {one['fault']}"
    published = svid.get("published")
    if published is not None:
        yield "published", f"{published['address']} ({published['profile']})"
        if published["fault"]:
            yield "problem", f"published: {published['fault']}"


def _spire(svid: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    known = "" if svid["known"] else ", NO BUNDLE: nobody is believed"
    yield "trust domain", f"{svid['trust_domain']}, from SPIRE at {svid['socket']}{known}"
    if svid["fault"]:
        yield "problem", f"SPIRE: {svid['fault']}"


def _authority(svid: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    signing = ", ".join(f"{key['use']} key {key['key']}" for key in svid["keys"] if key["phase"] == "active")
    prepared = ", ".join(f"{key['use']} key {key['key']} from {_when(key['turn'])}" for key in svid["keys"]
                         if key["phase"] == "prepared")
    yield "trust domain", f"{svid['trust_domain']}, bundle {svid['sequence']}, {svid['alive']} SVIDs alive"
    yield "authority", f"{signing or 'NO KEY'}; next change {_when(svid['next'])}"
    if prepared:
        yield "prepared", prepared
    if svid["fault"]:
        yield "problem", f"authority: {svid['fault']}"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _times(restarts: int) -> str:
    return "never restarted" if restarts < 1 else f"restarted {restarts} time{'s' if restarts > 1 else ''}"
