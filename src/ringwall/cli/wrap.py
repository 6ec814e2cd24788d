"""``ringwall wrap``: one stdio MCP server behind the wall, for a client that starts its servers as commands."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import Final

import click

from ringwall.cli import common
from ringwall.cli.mcp import Bridge
from ringwall.errors import RingwallError
from ringwall.runtime.wrapping.order import TENANT, Order, check_name, located, name_of
from ringwall.runtime.wrapping.private import Private

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--name", default="", help="What the server is called. Default: as its script or package.")
@click.option("--allow", multiple=True, metavar="OP", help="Give the client this operation. Default: all listed.")
@click.option("--network", multiple=True, metavar="HOST:PORT", help="What the server may reach. Default: nothing.")
@click.option("--read-only", multiple=True, metavar="PATH", help="What the server may read besides its script.",
              type=click.Path(exists=True, path_type=Path, resolve_path=True))
@click.option("--writable", multiple=True, metavar="DIR", help="Folders the server may write.",
              type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True))
@click.option("--print-config", is_flag=True, help="Print the client's configuration and end.")
@common.state_option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def wrap(
    command: tuple[str, ...], state: Path, *, name: str, allow: tuple[str, ...], network: tuple[str, ...],
    read_only: tuple[Path, ...], writable: tuple[Path, ...], print_config: bool,
) -> None:
    """Be an MCP server: COMMAND..., confined, every call of it through the wall.

    Example:

      ringwall wrap --read-only ~/notes -- notes-mcp ~/notes

    At first use its operations are written to a manifest that you can edit. Who calls is not known here, and
    every record says so (attestation: none). All ends when standard input does.
    """
    try:
        located_command, files = located(command, Path.cwd())
        order = Order(
            name=check_name(name or name_of(command)), command=located_command,
            read_only=tuple(dict.fromkeys([*read_only, *files])), writable=writable, network=network, allow=allow,
        )
        if print_config:
            common.print_json(_config(order, state))
            return
        _serve(order, state)
    except RingwallError as fault:
        common.fail(fault)


def _serve(order: Order, state: Path) -> None:
    for number in _SIGNALS:
        signal.signal(number, _leave)
    private = Private(order, state)
    if private.prepare():
        click.echo(f"ringwall: written for review: {private.manifest}", err=True)
    with private:
        click.echo(f"ringwall: {order.name} is behind the wall (records: ringwall audit tail {TENANT} "
                   f"--state {private.state.root})", err=True)
        threading.Thread(target=_watch, args=(private,), daemon=True).start()
        os.environ["RINGWALL_DOOR"] = str(private.door)
        Bridge(f"/mcp/{order.name}", sys.stdin.buffer, sys.stdout.buffer).run()


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)


def _watch(private: Private) -> None:
    """A wall that is gone for good is no server any more: the client sees its end, not errors without one."""
    if private.ended():
        click.echo("ringwall: the private Ringwall has ended", err=True)
        os.kill(os.getpid(), signal.SIGTERM)


def _config(order: Order, state: Path) -> dict[str, object]:
    """What an MCP client's configuration wants: the command line, with nothing that depends on a current folder."""
    ours = shutil.which(Path(sys.argv[0]).name)
    installed = ours is not None and Path(ours).name == "ringwall"
    program, first = (ours, []) if installed else (sys.executable, ["-m", "ringwall.cli.main"])
    options = [
        *(word for op in order.allow for word in ("--allow", op)),
        *(word for host in order.network for word in ("--network", host)),
        *(word for path in order.read_only for word in ("--read-only", str(path))),
        *(word for path in order.writable for word in ("--writable", str(path))),
    ]
    arguments = [*first, "wrap", "--name", order.name, "--state", str(state.absolute()), *options, "--",
                 *order.command]
    return {"mcpServers": {order.name: {"command": program, "args": arguments}}}
