"""``ringwall init``, ``check`` and ``schema``: the manifest before anything runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NoReturn

import click

from ringwall.capability.closing import close
from ringwall.capability.schema import Schema
from ringwall.cli.common import FAILED, WRONG_USE, json_option, print_json
from ringwall.errors import BadInput, ManifestError
from ringwall.manifest.reference import reference
from ringwall.manifest.schema import schema as json_schema
from ringwall.manifest.starter import FILE_NAME, STARTER
from ringwall.manifest.types import Manifest
from ringwall.runtime.reading import read_manifest
from ringwall.tools.webapi.api import web_api


@click.command()
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
@json_option
def init(folder: Path, *, as_json: bool) -> None:
    """Write a commented ringwall.toml into DIR (default: here). Never overwrites one."""
    path = folder / FILE_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER)
    except FileExistsError:
        _fail(path, (f"{path}\n  is there already, and is left as it is",), as_json=as_json, status=FAILED)
    except OSError as error:
        _fail(path, (f"{path}\n  cannot be written: {error.strerror}",), as_json=as_json, status=FAILED)
    if as_json:
        print_json({"file": str(path), "written": True})
        return
    click.echo(f"wrote {path}")
    click.echo(f"Check it    ringwall check {path}\nStart it    ringwall up", err=True)


@click.command()
@click.argument("file", metavar="[FILE]", default=FILE_NAME, type=click.Path(path_type=Path))
@json_option
def check(file: Path, *, as_json: bool) -> None:
    """Check FILE (default: ringwall.toml) and name every fault in it."""
    try:
        manifest = read_manifest(file)
    except ManifestError as error:
        _fail(file, error.problems, remedy=error.remedy, as_json=as_json, status=WRONG_USE)
    if problems := _descriptions(manifest):
        _fail(file, problems, as_json=as_json, status=WRONG_USE)
    counts = _counts(manifest)
    if as_json:
        print_json({"file": str(file), "ok": True, "revision": manifest.revision, **counts, "problems": []})
        return
    parts = ", ".join(f"{number} {name if number != 1 else name[:-1]}" for name, number in counts.items())
    click.echo(f"{file}: ok ({parts})")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="The JSON Schema on one line.")
@click.option("--markdown", is_flag=True, help="The reference for people instead.")
def schema(*, as_json: bool, markdown: bool) -> None:
    """Print the JSON Schema of ringwall.toml, for editors."""
    if as_json and markdown:
        raise click.UsageError("--json and --markdown exclude each other")
    click.echo(reference() if markdown else json.dumps(json_schema(), indent=None if as_json else 2))


def _descriptions(manifest: Manifest) -> tuple[str, ...]:
    """Why web APIs cannot be used as declared. A start would go on without those operations."""
    problems: list[str] = []
    for server in manifest.tools.values():
        if server.openapi is None:
            continue
        try:
            api = web_api(manifest, server)
        except BadInput as fault:
            problems.append(f"tools.{server.name}.openapi\n  {fault.cause}")
            continue
        problems += [f"tools.{server.name}\n  {text}" for text in api.problems]
        for op, operation in api.operations.items():
            try:
                Schema(close(operation.inputs, frozenset(server.ops[op].args)))
            except BadInput as fault:
                problems.append(f"tools.{server.name}.ops.{op}\n  {fault.cause}")
    return tuple(problems)


def _counts(manifest: Manifest) -> dict[str, int]:
    tenants = manifest.tenants.values()
    return {"tenants": len(tenants), "agents": sum(len(tenant.agents) for tenant in tenants),
            "tools": len(manifest.tools), "models": len(manifest.models), "secrets": len(manifest.secrets)}


def _fail(file: Path, problems: tuple[str, ...], *, as_json: bool, status: int, remedy: str = "") -> NoReturn:
    """Say what is wrong, on stdout as JSON or on stderr as text, and end with ``status``."""
    if as_json:
        print_json({"file": str(file), "ok": False, "problems": list(problems), "remedy": remedy})
    else:
        click.echo("\n".join([*problems, *([remedy] if remedy else [])]), err=True)
    raise SystemExit(status)
