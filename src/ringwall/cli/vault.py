"""``ringwall vault``: the secrets of the embedded vault, by name. Values come from standard input or a file."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from ringwall.call import Json
from ringwall.cli import common, values
from ringwall.cli.text import plain
from ringwall.errors import RingwallError

_F = TypeVar("_F", bound=Callable[..., Any])


@click.group()
def vault() -> None:
    """Secrets that Ringwall keeps: encrypted at rest, each for one agent in its role.

    A value is read from standard input (typed twice and not shown, or from a pipe) or with --file, and never from
    an argument. Nothing here prints one.
    """


def whose(command: _F) -> _F:
    """``TENANT/AGENT``, ``--role``, ``--broker``."""
    command = click.option("--broker", is_flag=True, help="Ringwall's own, of TENANT: what it mints credentials "
                                                          "with.")(command)
    command = click.option("--role", default="", help="Of the agent. Default: as in the manifest.")(command)
    return click.argument("whom", metavar="TENANT[/AGENT]")(command)


def hand_in(state: Path, data: bytes, *, as_json: bool) -> str:
    """Give bytes to the core beside the call. A refusal ends the program."""
    try:
        return common.client(state).upload(data)
    except RingwallError as fault:
        common.fail(fault, as_json=as_json)


def owner(whom: str, role: str, *, broker: bool, every: bool = False) -> dict[str, Json]:
    """Whose, as the acts take it."""
    tenant, slash, agent = whom.partition("/")
    if not tenant or (slash and not agent):
        raise click.UsageError(f"{whom!r} is neither TENANT/AGENT nor TENANT")
    if bool(agent) + broker + every != 1:
        raise click.UsageError("name TENANT/AGENT, or TENANT with "
                               + ("--broker" if not every else "either --all or --broker"))
    found: dict[str, Json] = {"tenant": tenant, "agent": agent, "role": role, "broker": broker}
    return {**found, "every": True} if every else found


@vault.command()
@whose
@click.argument("name")
@click.option("--all", "every", is_flag=True, help="Each agent of TENANT whose role has the secret.")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), help="Read the value from here, as it is.")
@click.option("--cas", type=click.IntRange(0), help="Only if this is the newest version; 0: only if there is none.")
@common.state_option
@common.json_option
def put(
    whom: str, role: str, name: str, file: Path | None, cas: int | None, state: Path, *, broker: bool, every: bool,
    as_json: bool,
) -> None:
    """Keep a new version of the secret NAME. Examples:

    \b
      ringwall vault put acme/ana github-token
      ringwall vault put acme --all openai-key --file key.txt
      pass show db | ringwall vault put acme --broker db-admin

    From a pipe, one closing newline is not part of the value; with --file every byte is.
    """
    where = owner(whom, role, broker=broker, every=every)
    raw = _read(lambda: values.value(file, "value"), as_json=as_json)
    done = _put(state, where, name, raw, cas, as_json=as_json)
    _warned(file)
    if as_json:
        common.print_json(done)
        return
    _kept(done)


@vault.command("import")
@whose
@click.option("--all", "every", is_flag=True, help="Each agent of TENANT whose role has the secret.")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), help="Read the list from here.")
@click.option("--secret", default="", help="Instead: take over this secret of the manifest, from its file.")
@common.state_option
@common.json_option
def import_(
    whom: str, role: str, file: Path | None, secret: str, state: Path, *, broker: bool, every: bool, as_json: bool
) -> None:
    """Put several secrets: lines NAME=value as in a dotenv file, or a JSON object of texts. Examples:

    \b
      ringwall vault import acme/ana < .env
      ringwall vault import acme --all --secret openai-key

    Each name must be one in [secrets]. What one of them is refused for does not keep the others out; then the exit
    code is 1.
    """
    where = owner(whom, role, broker=broker, every=every)
    if secret:
        if file is not None:
            raise click.UsageError("--secret has a file of its own")
        args: dict[str, Json] = {**where, "name": secret, "secret": secret}
        done = common.operate(state, "vault.import", args, as_json=as_json)
        common.print_json(done) if as_json else _kept(done)
        return
    found = _read(lambda: values.several(file), as_json=as_json)
    done, failed = list[Json](), list[dict[str, Json]]()
    client = common.client(state)
    for name, raw in found.items():
        try:
            order = {**where, "name": name, "cas": None, "upload": client.upload(raw)}
            done += client.operate("vault.put", order)["put"]
        except RingwallError as fault:
            failed.append({"name": name, "code": fault.code, "cause": fault.cause, "remedy": fault.remedy})
    _warned(file)
    if as_json:
        common.print_json({"put": done, "failed": failed})
    else:
        _kept({"put": done})
        for one in failed:
            click.echo(f"ringwall: {plain(one['name'])}: {one['code']}: {one['cause']} ({one['remedy']})", err=True)
    raise SystemExit(common.FAILED if failed else common.DONE)


@vault.command("list")
@click.argument("tenant", default="")
@common.state_option
@common.json_option
def listed(tenant: str, state: Path, *, as_json: bool) -> None:
    """List the names of what is kept, of TENANT or of all."""
    found = common.operate(state, "vault.list", {"tenant": tenant}, as_json=as_json)
    if as_json:
        common.print_json(found)
        return
    if not found["secrets"]:
        click.echo("nothing")
    for one in found["secrets"]:
        state_of = "" if one["state"] == "live" else one["state"].upper()
        click.echo(f"{_of(one):<40} {plain(one['name']):<24} {one['version']:>4}  {state_of}".rstrip())


@vault.command()
@whose
@click.argument("name")
@common.state_option
@common.json_option
def versions(whom: str, role: str, name: str, state: Path, *, broker: bool, as_json: bool) -> None:
    """List the versions of the secret NAME."""
    args: dict[str, Json] = {**owner(whom, role, broker=broker), "name": name}
    found = common.operate(state, "vault.versions", args, as_json=as_json)
    if as_json:
        common.print_json(found)
        return
    click.echo(f"{_of(found)} {plain(name)}")
    for one in found["versions"]:
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(one["created"]))
        click.echo(f"{one['version']:>4}  {when}  {one['state']}")


def _version_command(verb: str, said: str, doc: str, *, sure: str = "") -> click.Command:
    """``delete``, ``undelete`` and ``destroy`` differ in a word."""

    @whose
    @click.argument("name")
    @click.argument("version", type=click.IntRange(1))
    @click.option("--yes", "-y", is_flag=True, help="Do not ask first.", hidden=not sure)
    @common.state_option
    @common.json_option
    def change(
        whom: str, role: str, name: str, version: int, state: Path, *, broker: bool, yes: bool, as_json: bool
    ) -> None:
        args: dict[str, Json] = {**owner(whom, role, broker=broker), "name": name, "version": version}
        if sure and not yes:
            click.confirm(sure, abort=True, err=True)
        done = common.operate(state, f"vault.{verb}", args, as_json=as_json)
        if as_json:
            common.print_json(done)
        elif "proposed" in done:
            click.echo(common.proposed(done["proposed"]))
        else:
            click.echo(f"{said}: version {version} of {plain(name)}, {_of(done)}")

    return click.command(verb, help=doc)(change)


vault.add_command(_version_command(
    "delete", "deleted", "Refuse the use of one VERSION of the secret NAME, until `undelete`."))
vault.add_command(_version_command("undelete", "back", "Take a `delete` back."))
vault.add_command(_version_command(
    "destroy", "destroyed", "Forget one VERSION of the secret NAME for good: its key and its ciphertext.",
    sure="Nothing brings this version back. Destroy it?"))


def _put(state: Path, where: Mapping[str, Json], name: str, raw: bytes, cas: int | None, *, as_json: bool) -> Json:
    order = {**where, "name": name, "cas": cas, "upload": hand_in(state, raw, as_json=as_json)}
    return common.operate(state, "vault.put", order, as_json=as_json)


_T = TypeVar("_T")


def _read(read: Callable[[], _T], *, as_json: bool) -> _T:
    try:
        return read()
    except RingwallError as fault:
        common.fail(fault, as_json=as_json)


def _warned(file: Path | None) -> None:
    """What is safe in the vault may still lie open beside it."""
    if file is not None and values.open_to_others(file):
        click.echo(f"ringwall: other users of this machine can read {file}: remove it, or chmod 600", err=True)


def _kept(done: Mapping[str, Json]) -> None:
    for one in done["put"]:
        click.echo(f"kept: {plain(one['name'])} of {_of(one)}, version {one['version']}")


def _of(one: Mapping[str, Json]) -> str:
    if one["agent"].startswith("@"):
        return plain(f"{one['tenant']} (Ringwall's own)")
    return plain(f"{one['tenant']}/{one['agent']} ({one['role']})")
