"""``ringwall demo``: attacks on an office on this machine, with the worst model there is."""

from __future__ import annotations

import shutil
import sys

import click

from ringwall.cli import common
from ringwall.errors import RingwallError


@click.command()
@common.json_option
@click.option("--keep", is_flag=True, help="Keep the state folder, to look further.")
def demo(*, as_json: bool, keep: bool) -> None:
    """Run every attack without Ringwall, then with it.

    Exit code 0 only if each attack works bare and fails behind Ringwall, and all ordinary tasks succeed.
    """
    from ringwall.redteam.demo import run
    from ringwall.redteam.table import show

    def say(text: str) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{text[:78]}", nl=False, err=True)
        else:
            click.echo(text, err=True)

    try:
        result = run(say)
    except RingwallError as fault:
        common.fail(fault, as_json=as_json)
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
    if as_json:
        common.print_json(result.as_json())
    else:
        click.echo(show(result, keep=keep))
    if not keep:
        shutil.rmtree(result.state.parents[1], ignore_errors=True)
    raise SystemExit(common.DONE if result.ok else common.FAILED)
