"""The command ``ringwall``."""

from __future__ import annotations

import click

from ringwall.cli.audit import audit
from ringwall.cli.demo import demo
from ringwall.cli.doctor import doctor
from ringwall.cli.manifest import check, init, schema
from ringwall.cli.redteam import redteam
from ringwall.cli.run import run
from ringwall.cli.up import status, up


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ringwall")
def main() -> None:
    """Ringwall: a security runtime for AI agents.

    Exit codes: 0 done; 1 refused or failed check; 2 wrong use or bad manifest; 3 not available here (the
    message has the line that would help); 4 internal fault, nothing was allowed. `run` passes on the
    program's own code.
    """


for command in (init, check, schema, up, run, status, doctor, audit, demo, redteam):
    main.add_command(command)
if __name__ == "__main__":
    main()
