"""``ringwall policy``: build, lint and test a policy, ask it, and let the running core load it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click

from ringwall.call import Json
from ringwall.capability.resources import parse_pattern
from ringwall.cli import common
from ringwall.cli.policy_cases import Outcome, run_table
from ringwall.errors import BadInput, PolicyError, RingwallError
from ringwall.manifest.load import load as load_manifest
from ringwall.policy.build import CAPABILITIES, SECONDS, SOURCES, need_compiler, write_files
from ringwall.policy.bundle.folder import DATA, Folder, read_folder
from ringwall.policy.bundle.make import make, spelled
from ringwall.policy.bundle.reading import load, open_bundle
from ringwall.policy.bundle.signature import SigningKey
from ringwall.policy.data import policy_data
from ringwall.wire import strict

MAX_INPUT: Final = 8 << 20  # bytes; what the core itself hands to a policy at most

_folder = click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
_whole = click.option("--whole", is_flag=True,
                      help="DIR is a policy of its own (package ringwall.decide), not rules beside the shipped.")


@click.group()
def policy() -> None:
    """Build, lint and test a policy, ask it, and let the running core load it.

    DIR holds Rego files of package ringwall.site, which can only tighten what ringwall.toml gives. docs/policy.md
    shows how.
    """


@policy.command()
@_folder
@click.option("-o", "--output", metavar="FILE", required=True, type=click.Path(dir_okay=False, path_type=Path),
              help="Where the bundle goes (.tar.gz).")
@click.option("--key", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A private key (PEM: Ed25519, P-256 or RSA) that signs it.")
@click.option("--scope", default="", metavar="NAME", help="What it is signed for, as [policy] scope names it.")
@_whole
@common.json_option
def build(folder: Path, output: Path, key: Path | None, scope: str, *, whole: bool, as_json: bool) -> None:
    """Compile, lint and pack DIR into one bundle, for the core and for OPA.

    Needs opa. The same DIR gives the same bytes.
    """
    with _faults(as_json):
        if scope and key is None:
            raise BadInput("a scope is part of the signature, and there is no --key", code="bad_use")
        signer = SigningKey.load(key) if key is not None else None
        raw = make(need_compiler(os.environ), read_folder(folder), whole=whole, key=signer, scope=scope)
        bundle = open_bundle(raw)
        bundle.policy({"ringwall": {}})  # what could not be loaded is not written
        _replace(output, raw)
    if as_json:
        common.print_json({"file": str(output), "revision": bundle.revision, "bytes": len(raw),
                           "signed": signer is not None})
        return
    click.echo(f"wrote {output} (revision {bundle.revision[:12]}, {len(raw)} bytes, "
               f"{'signed' if signer is not None else 'not signed'})")


@policy.command()
@_folder
@_whole
@common.json_option
def lint(folder: Path, *, whole: bool, as_json: bool) -> None:
    """Name what in DIR may decide otherwise than it reads, or does not compile. Exit code 1 if anything does."""
    with _faults(as_json):
        made = make(need_compiler(os.environ), read_folder(folder), whole=whole)
        open_bundle(made).policy({"ringwall": {}})
    if as_json:
        common.print_json({"ok": True})
        return
    click.echo(f"{folder}: ok")


@policy.command()
@_folder
@_whole
@common.json_option
def test(folder: Path, *, whole: bool, as_json: bool) -> None:
    """Run DIR's Rego tests (*_test.rego) and tables of calls (*.calls.toml, *.calls.json).

    Rego tests run in opa; tables on the policy as the core executes it. Exit code 1 if one fails.
    """
    with _faults(as_json):
        opa = need_compiler(os.environ)
        found = read_folder(folder)
        bundle = open_bundle(make(opa, found, whole=whole))
        said, passed = _rego_tests(opa, found, whole=whole)
        outcomes = [outcome for table in found.tables for outcome in run_table(table, bundle)]
    wrong = [outcome for outcome in outcomes if outcome.difference]
    if as_json:
        common.print_json({
            "ok": passed and not wrong, "rego": said, "rows": len(outcomes),
            "failed": [{"table": one.table, "name": one.name, "difference": one.difference} for one in wrong]})
    else:
        _say(found, said, outcomes)
    raise SystemExit(common.DONE if passed and not wrong else common.FAILED)


@policy.command(name="eval")
@click.option("--bundle", metavar="FILE", required=True, type=click.Path(dir_okay=False, path_type=Path),
              help="A bundle that `ringwall policy build` made. Its signature is not asked for.")
@click.option("--entrypoint", default="ringwall/decide/call", show_default=True, metavar="PATH",
              help="What is asked.")
@click.option("--input", "document", metavar="FILE", type=click.Path(path_type=Path), required=True,
              help="The input as JSON; - is standard input.")
@click.option("--manifest", "-m", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path),
              help="Whose grants are the data; without it there are none.")
def evaluate(bundle: Path, entrypoint: str, document: Path, manifest: Path | None) -> None:
    """Print a bundle's decision as JSON, made as the core makes it: to compare with `opa eval`."""
    with _faults(as_json=False):
        raw = sys.stdin.buffer.read(MAX_INPUT + 1) if str(document) == "-" else _content(document)
        asked = strict.parse(raw, max_bytes=MAX_INPUT)
        base: Json = {"ringwall": {}}
        if manifest is not None:
            base = policy_data(load_manifest(manifest, check_pattern=parse_pattern), parse_pattern)
        common.print_json(load(bundle).policy(base).evaluate(entrypoint, asked))


@policy.command()
@common.state_option
@common.json_option
def reload(state: Path, *, as_json: bool) -> None:
    """Let the running core load its bundle again, now. A bad bundle changes nothing."""
    done = common.operate(state, "policy.reload", {}, as_json=as_json)
    if as_json:
        common.print_json(done)
        return
    revision = str(done["revision"])[:12]
    before = f"(before: {str(done['before'])[:12]})" if done["changed"] else "as before"
    click.echo(f"policy revision {revision} serves {before}")


@contextmanager
def _faults(as_json: bool) -> Generator[None]:
    try:
        yield
    except RingwallError as fault:
        common.fail(fault, as_json=as_json)


def _replace(output: Path, raw: bytes) -> None:
    """The whole file or none of it: a running core may be watching. Raises BadInput ``file_error``."""
    draft = ""
    try:
        with tempfile.NamedTemporaryFile(dir=output.parent, prefix=f".{output.name}.", delete=False) as file:
            draft = file.name
            file.write(raw)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
        Path(draft).replace(output)
    except OSError as error:
        if draft:
            Path(draft).unlink(missing_ok=True)
        raise BadInput(f"{output} cannot be written: {error.strerror}", code="file_error") from error


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_INPUT + 1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}", code="file_error") from error


def _rego_tests(opa: str, folder: Folder, *, whole: bool) -> tuple[str, bool]:
    """What `opa test` says, and whether all passed; no tests pass."""
    if not folder.tests:
        return "", True
    with tempfile.TemporaryDirectory(prefix="ringwall-policy-") as scratch:
        place = Path(scratch)
        data = {DATA: spelled(folder.data)} if folder.data else {}
        write_files(place / "policy", {**folder.modules(whole=whole), **folder.tests, **data})
        try:
            done = subprocess.run(
                [opa, "test", "--bundle", "--verbose", "--capabilities", str(SOURCES / CAPABILITIES), "policy"],
                cwd=place, capture_output=True, text=True, timeout=SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise PolicyError(f"opa test: {error}", code="bad_policy") from error
    return (done.stdout + done.stderr).strip(), done.returncode == 0


def _say(folder: Folder, said: str, outcomes: list[Outcome]) -> None:
    if said:
        click.echo(said)
    for outcome in outcomes:
        click.echo(f"{outcome.table}: {outcome.name}: {'FAILED' if outcome.difference else 'ok'}")
        if outcome.difference:
            click.echo(outcome.difference)
    failed = sum(1 for outcome in outcomes if outcome.difference)
    rows = f"{len(outcomes) - failed} of {len(outcomes)} rows as wanted"
    click.echo(f"{rows}, {len(folder.tests)} files of Rego tests")
