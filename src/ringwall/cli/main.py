"""The command ``ringwall``. A verb is imported when it is used: most need a small part of all this."""

from __future__ import annotations

from typing import Final

import click

VERBS: Final = (
    "init", "check", "schema", "up", "run", "status", "doctor", "audit", "explain", "approvals",
    "endorsements", "freeze", "thaw", "limits", "policy", "pins", "vault", "leases", "svid", "peers", "mcp",
    "wrap", "import", "demo", "redteam",
)


def verb(name: str) -> click.Command | None:  # noqa: C901 (a table)
    """The command of that name; None: there is none."""
    match name:
        case "init" | "check" | "schema":
            from ringwall.cli import manifest

            return {"init": manifest.init, "check": manifest.check, "schema": manifest.schema}[name]
        case "up" | "status":
            from ringwall.cli import up

            return {"up": up.up, "status": up.status}[name]
        case "run":
            from ringwall.cli import run

            return run.run
        case "doctor":
            from ringwall.cli import doctor

            return doctor.doctor
        case "audit":
            from ringwall.cli import audit
            from ringwall.cli.forget import forget

            audit.audit.add_command(forget)
            return audit.audit
        case "explain":
            from ringwall.cli import explain

            return explain.explain
        case "approvals" | "endorsements":
            from ringwall.cli import approvals

            return {"approvals": approvals.approvals, "endorsements": approvals.endorsements}[name]
        case "freeze" | "thaw":
            from ringwall.cli import freeze

            return {"freeze": freeze.freeze, "thaw": freeze.thaw}[name]
        case "limits":
            from ringwall.cli import limits

            return limits.limits
        case "policy":
            from ringwall.cli import policy
            from ringwall.cli.replay import replay, shadow

            policy.policy.add_command(replay)
            policy.policy.add_command(shadow)
            return policy.policy
        case "pins":
            from ringwall.cli import pins

            return pins.pins
        case "vault":
            from ringwall.cli import vault_keys  # adds its commands to those of cli.vault

            return vault_keys.vault
        case "leases":
            from ringwall.cli import leases

            return leases.leases
        case "svid":
            from ringwall.cli import svid

            return svid.svid
        case "peers":
            from ringwall.cli import peers

            return peers.peers
        case "wrap":
            from ringwall.cli import wrap

            return wrap.wrap
        case "mcp":
            from ringwall.cli import mcp

            return mcp.mcp
        case "import":
            from ringwall.cli import import_

            return import_.import_
        case "demo":
            from ringwall.cli import demo

            return demo.demo
        case "redteam":
            from ringwall.cli import redteam

            return redteam.redteam
        case _:
            return None


class Verbs(click.Group):
    """Finds its commands by ``verb``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return verb(cmd_name)


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ringwall")
def main() -> None:
    """Ringwall: a security runtime for AI agents.

    Exit codes: 0 done; 1 refused or failed check; 2 wrong use or bad manifest; 3 not available here (the
    message has the line that would help); 4 internal fault, nothing was allowed. `run` passes on the
    program's own code.
    """


if __name__ == "__main__":
    main()
