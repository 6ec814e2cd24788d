"""``ringwall peers``: what stands between agents and their peers."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

import click

from ringwall.cli.common import fail, state_option
from ringwall.errors import BadInput, RingwallError
from ringwall.manifest.starter import FILE_NAME
from ringwall.peers.envoy import configuration
from ringwall.runtime.fronting import PEERS
from ringwall.runtime.reading import read_manifest

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def peers() -> None:
    """What stands between agents and their peers."""


@peers.command("envoy-config")
@click.argument("file", metavar="[FILE]", default=FILE_NAME, type=_FILE)
@click.option("--out", metavar="FILE", type=_FILE, help="Where to write it, whole or not at all. Default: stdout.")
@state_option
def envoy_config(file: Path, out: Path | None, state: Path) -> None:
    """Write Envoy's configuration for FILE (default: ringwall.toml), as JSON.

    It ends the TLS of every agent with `listen`, with an SVID that it gets from the core, and lets through exactly
    those who may send to that agent. The manifest must have `[a2a] terminator = "envoy"`. Write it anew whenever
    the manifest changed.
    """
    try:
        manifest = read_manifest(file)
        if manifest.a2a.terminator != "envoy":
            raise BadInput("by this manifest the sidecars end the TLS of peers", code="envoy_not_in_front",
                           remedy='write [a2a] terminator = "envoy"')
        folder = manifest.a2a.envoy_folder or state.absolute() / PEERS
        text = json.dumps(configuration(manifest, folder), indent=1) + "\n"
        if out is not None:
            _write(out, text)
    except RingwallError as fault:
        fail(fault)
    if out is None:
        click.echo(text, nl=False)
    else:
        click.echo(f"wrote {out}")
        click.echo(f"Start it    envoy -c {out}", err=True)


def _write(out: Path, text: str) -> None:
    """Replace the file: Envoy never reads half of it. Raises BadInput."""
    try:
        number, fresh = tempfile.mkstemp(dir=out.parent, prefix=f".{out.name}.")
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text)
                os.fchmod(file.fileno(), 0o644)  # nothing in it is secret, and Envoy may be another user
            Path(fresh).replace(out)
        except BaseException:
            Path(fresh).unlink(missing_ok=True)
            raise
    except OSError as fault:
        raise BadInput(f"{out} cannot be written: {fault.strerror}", code="file_error") from fault
