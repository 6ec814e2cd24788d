"""``ringwall audit forget``: what a session's records carried, made unreadable for good."""

from __future__ import annotations

from pathlib import Path

import click

from ringwall.cli import common
from ringwall.cli.text import fold, plain


@click.command()
@click.argument("tenant")
@click.argument("session")
@click.option("--yes", "-y", is_flag=True, help="Do not ask first.")
@common.state_option
@common.json_option
def forget(tenant: str, session: str, state: Path, *, yes: bool, as_json: bool) -> None:
    """Destroy the keys of SESSION in TENANT's log: nobody can read what its calls carried, ever again.

    Who asked for what when, what each ring said and how it ended stay readable, and every proof still holds. Copies
    of `session-keys` in backups keep their keys. The session must be over; `ringwall audit show` names it.
    """
    if not yes:
        click.confirm(
            f"What calls and launches of session {plain(session)} of {plain(tenant)} carried (arguments, facts, "
            "tasks, reasons) can then never be read again. Destroy its keys?",
            abort=True,
            err=True,
        )
    found = common.operate(state, "audit.forget", {"tenant": tenant, "session": session}, as_json=as_json)
    if as_json:
        common.print_json(found)
        return
    if "proposed" in found:
        click.echo(common.proposed(found["proposed"]))
        return
    gone = ", ".join(f"{count} x {kind}" for kind, count in sorted(found["unreadable"].items())) or "none was"
    for line in fold(f"forgotten ({found['record']}). No longer readable, bodies of: {plain(gone)}", ""):
        click.echo(line)
    for line in fold("Still readable: who asked for what and when, verdicts, digests, how each call ended.", ""):
        click.echo(line)
