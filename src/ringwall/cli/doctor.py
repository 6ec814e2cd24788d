"""``ringwall doctor``: what is enforced here, at which strength, and what would mend the rest."""

from __future__ import annotations

import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from ringwall.call import Json
from ringwall.cli import common
from ringwall.cli.text import plain
from ringwall.doors.operator_client import OperatorClient
from ringwall.errors import RingwallError
from ringwall.runtime.state import client_socket

COLOURS: Final = {"strong": "green", "degraded": "yellow", "weak": "yellow", "off": "red"}


@click.command()
@common.state_option
@common.json_option
def doctor(state: Path, *, as_json: bool) -> None:
    """Try out what this machine can enforce, and ask the running core how it is.

    Exit code 1 if anything is off.
    """
    from ringwall.confine.probe import probe as confinement_probe
    from ringwall.identity.probe import probe as identity_probe
    from ringwall.policy.build import COMPILER
    from ringwall.policy.embedded import EmbeddedPolicy
    from ringwall.runtime.doctor import examine

    status: Json = None
    try:
        status = OperatorClient(client_socket(state)).status()
    except RingwallError:
        status = None  # said as a finding
    policy = {"revision": EmbeddedPolicy.default({}).revision, "opa": COMPILER}
    findings = examine(confinement=confinement_probe(), identity=identity_probe(), policy=policy, status=status)
    worst = any(finding.level == "off" for finding in findings)
    if as_json:
        common.print_json({"findings": [asdict(finding) for finding in findings], "ok": not worst})
        raise SystemExit(common.FAILED if worst else common.DONE)
    for finding in findings:
        level = common.styled(f"{finding.level:<9}", fg=COLOURS[finding.level])
        first, *rest = textwrap.wrap(_one_line(finding.detail), 54) or [""]
        click.echo(f"  {finding.area:<12} {level} {first}")
        for line in [*rest, *([f"mend: {_one_line(finding.mend)}"] if finding.mend else [])]:
            click.echo(f"{'':<25}{line}")
    counts = {level: sum(1 for finding in findings if finding.level == level) for level in COLOURS}
    click.echo("  " + ", ".join(f"{number} {level}" for level, number in counts.items()))
    raise SystemExit(common.FAILED if worst else common.DONE)


def _one_line(text: str) -> str:
    """A tool server has a say in what is wrong with it."""
    return plain(text.replace("\n", " "))
