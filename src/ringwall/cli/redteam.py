"""``ringwall redteam``: what stops what, proved by taking barriers away."""

from __future__ import annotations

import click

from ringwall.cli import common
from ringwall.errors import RingwallError


@click.command()
@click.option(
    "--matrix", is_flag=True, help="Replace one barrier at a time by a liar; every attack must still fail."
)
@click.option(
    "--claims", is_flag=True, help="Replace all barriers that an attack names by liars; now it must work."
)
@click.option("--attack", "names", multiple=True, metavar="ID", help="Only this attack; may be repeated.")
@click.option("--barrier", "barriers", multiple=True, metavar="NAME", help="Only this column of the matrix.")
@common.json_option
def redteam(
    *, matrix: bool, claims: bool, names: tuple[str, ...], barriers: tuple[str, ...], as_json: bool
) -> None:
    """Attack this installation's own office.

    Exit code 0 only if every barrier does what is said of it.
    """
    if not matrix and not claims:
        raise click.UsageError("say --matrix, --claims or both (or run `ringwall demo`)")
    from ringwall.redteam import claims as checking
    from ringwall.redteam import liars, table
    from ringwall.redteam import matrix as ablation
    from ringwall.redteam.attack import Barrier, all_attacks

    attacks = [attack for attack in all_attacks() if not names or attack.id in names]
    columns: list[Barrier] = [barrier for barrier in liars.BARRIERS if not barriers or barrier in barriers]
    unknown = sorted({*names, *barriers} - {attack.id for attack in attacks} - {*columns})
    if unknown:
        raise click.UsageError(f"no such attack or barrier: {', '.join(unknown)}")

    def say(text: str) -> None:
        click.echo(text, err=True)

    try:
        crossed = ablation.run(say, columns, attacks) if matrix else None
        claimed = checking.run(say, attacks) if claims else None
    except RingwallError as fault:
        common.fail(fault, as_json=as_json)
    if as_json:
        found = {"matrix": crossed, "claims": claimed}
        common.print_json({name: result.as_json() for name, result in found.items() if result is not None})
    else:
        shown = [table.show_matrix(crossed)] if crossed is not None else []
        shown += [table.show_claims(claimed)] if claimed is not None else []
        click.echo("\n\n".join(shown))
    held = all(result.ok for result in (crossed, claimed) if result is not None)
    raise SystemExit(common.DONE if held else common.FAILED)
