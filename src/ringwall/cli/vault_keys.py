"""``ringwall vault``: the vault as a whole: made, sealed, opened, its keys changed, backed up and restored."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import click

from ringwall.call import Json
from ringwall.cli import common, values
from ringwall.cli.vault import hand_in, vault
from ringwall.doors.operator_client import MAX_DOWNLOAD
from ringwall.errors import BadInput, RingwallError

PATIENCE_S: Final = 1.0  # so long nobody wonders whether anything happens
_SHARES: Final = """\
These are the shares of the vault's root key, shown now and never again. They are
kept nowhere else. Any {threshold} of the {count} open the vault; fewer say nothing about it.
Give each to another person, on paper or in a password store of theirs; keep no
two in one place, and none on this machine. If they are lost while the vault is
open: ringwall vault rotate root
"""


@vault.command()
@click.option("--anew", is_flag=True, help="Although the log knows of a vault that is gone: all of it is lost.")
@common.state_option
@common.json_option
def init(state: Path, *, anew: bool, as_json: bool) -> None:
    """Make the vault, with the root key that [vault] names. It is open afterwards.

    A passphrase is read like a value. Shares (`root = "shamir"`) are printed once, one a line, on standard output.
    """
    wanted = common.operate(state, "vault.status", {}, as_json=as_json)
    order: dict[str, Json] = {"anew": anew}
    if wanted["asks"] == "passphrase" and wanted["state"] == "absent":  # else it is refused: nobody types in vain
        order["upload"] = _passphrase(state, as_json=as_json)
    done = common.operate(state, "vault.init", order, as_json=as_json)
    shares = _shares(state, done, as_json=as_json)
    if as_json:
        common.print_json({**_without(done), **({"shares": shares} if shares else {})})
        return
    click.echo(f"the vault is open, with root key {done['generation']}", err=bool(shares))
    _print_shares(done, shares)


@vault.command()
@common.state_option
@common.json_option
def status(state: Path, *, as_json: bool) -> None:
    """Show whether there is a vault, whether it is open, and what it needs. Exit code 1 unless it is open."""
    found = common.operate(state, "vault.status", {}, as_json=as_json)
    if as_json:
        common.print_json(found)
    else:
        for line in _told(found):
            click.echo(line)
    raise SystemExit(common.DONE if found["state"] == "open" else common.FAILED)


@vault.command()
@common.state_option
@common.json_option
def seal(state: Path, *, as_json: bool) -> None:
    """Forget all keys: every use of a kept secret is refused until `unseal`, over restarts too."""
    done = common.operate(state, "vault.seal", {}, as_json=as_json)
    if as_json:
        common.print_json(done)
        return
    click.echo(f"the vault is {done['state']}")
    if done.get("durable") is False:
        click.echo("NOT in the log: a restart may open it again", err=True)


@vault.command()
@common.state_option
@common.json_option
def unseal(state: Path, *, as_json: bool) -> None:
    """Open the vault. A passphrase or a share is read from standard input, and not shown.

    Shares come one by one, from several people and several terminals, or several lines at once, within 15 minutes.
    """
    wanted = common.operate(state, "vault.status", {}, as_json=as_json)
    order: dict[str, Json] = {}
    if wanted["state"] == "sealed" and wanted["asks"] != "nothing":
        what = "passphrase" if wanted["asks"] == "passphrase" else "share"
        order["upload"] = hand_in(state, _once(what, as_json=as_json), as_json=as_json)
    done = common.operate(state, "vault.unseal", order, as_json=as_json)
    if as_json:
        common.print_json(done)
    elif done["state"] == "open":
        click.echo("the vault is open")
    else:
        click.echo(f"{done['brought']} of {done['threshold']} shares; the vault is still sealed")


@vault.group()
def rotate() -> None:
    """Put everything under new keys, while it is in use."""


@rotate.command("root")
@click.option("--confirm", is_flag=True, help="Bring the new shares, which only now replace the old ones.")
@common.state_option
@common.json_option
def rotate_root(state: Path, *, confirm: bool, as_json: bool) -> None:
    """Make a new root key. The old one is forgotten, and so are backups under it: make a new one.

    With shares this takes two steps: the new ones are printed; then `--confirm` takes as many of them as open the
    vault, one a line, and only then they count.
    """
    wanted = common.operate(state, "vault.status", {}, as_json=as_json)
    order: dict[str, Json] = {"what": "root"}
    if confirm and wanted["asks"] != "shares":
        raise click.UsageError("--confirm is for shares, and this root key has none: leave it out")
    if confirm:
        order["upload"] = hand_in(state, _once("share", as_json=as_json), as_json=as_json)
    elif wanted["asks"] == "passphrase" and wanted["state"] == "open":
        order["upload"] = _passphrase(state, as_json=as_json)
    done = _patiently(state, order, as_json=as_json)
    shares = _shares(state, done, as_json=as_json)
    if as_json:
        common.print_json({**_without(done), **({"shares": shares} if shares else {})})
    elif shares:
        _print_shares(done, shares)
        click.echo(f"Nothing has changed yet. Bring {done['confirm']} of them: "
                   "ringwall vault rotate root --confirm", err=True)
    else:
        click.echo(f"{done['rewrapped']} keys are under root key {done['generation']} now; older backups cannot be "
                   "read with it")
        if done["old_root_left"]:
            click.echo(f"the old root key could not be removed: {done['old_root_left']}", err=True)


@rotate.command("tenant")
@click.argument("tenant")
@common.state_option
@common.json_option
def rotate_tenant(tenant: str, state: Path, *, as_json: bool) -> None:
    """Make a new key for TENANT."""
    done = _patiently(state, {"what": "tenant", "tenant": tenant}, as_json=as_json)
    if as_json:
        common.print_json(done)
    else:
        click.echo(f"{done['rewrapped']} keys of {tenant} are under a new key now")


@vault.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@common.state_option
@common.json_option
def backup(file: Path, state: Path, *, as_json: bool) -> None:
    """Write all of the vault to the new FILE, encrypted as it is at rest.

    It is of no use without the root key of its generation, which is not in it: keep that as well, elsewhere.
    """
    done = common.operate(state, "vault.backup", {}, as_json=as_json)
    try:
        blob = common.client(state).download(done["download"])
        if hashlib.sha256(blob).hexdigest() != done["sha256"]:
            raise BadInput("the backup did not arrive whole", code="backup_damaged", remedy="try again")
        _write(file, blob)
    except RingwallError as fault:
        common.fail(fault, as_json=as_json)
    if as_json:
        common.print_json({**_without(done), "file": str(file)})
    else:
        click.echo(f"{file}: {done['bytes']} bytes, of root key {done['generation']}")


@vault.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), required=False)
@click.option("--accept-older", is_flag=True,
              help="Instead of FILE: the vault's file counts as it is, although the log knows of a newer one.")
@click.option("--root-key", is_flag=True, help="FILE is of another root key: read its passphrase or shares from "
                                               "standard input.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask first.")
@common.state_option
@common.json_option
def restore(
    file: Path | None, state: Path, *, accept_older: bool, root_key: bool, yes: bool, as_json: bool
) -> None:
    """Put the backup FILE in the place of what is in the vault now."""
    if (file is None) != accept_older:
        raise click.UsageError("either FILE or --accept-older")
    order: dict[str, Json] = {"accept_older": True}
    blob = b""
    if file is not None:
        try:
            blob = values.contents(file, MAX_DOWNLOAD)
        except RingwallError as fault:
            common.fail(fault, as_json=as_json)
        order = {"sha256": hashlib.sha256(blob).hexdigest()}
    if not yes:
        click.confirm("What was written since is lost. Go on?", abort=True, err=True)
    wanted = common.operate(state, "vault.status", {}, as_json=as_json)
    if root_key or (accept_older and wanted["asks"] != "nothing"):
        what = "share" if wanted["asks"] == "shares" else "passphrase"
        order["answers"] = hand_in(state, _once(what, as_json=as_json), as_json=as_json)
    if file is not None:
        order["upload"] = hand_in(state, blob, as_json=as_json)
    done = common.operate(state, "vault.restore", order, as_json=as_json)
    if as_json:
        common.print_json(done)
    elif "proposed" in done:
        click.echo(common.proposed(done["proposed"]))
    else:
        click.echo(f"the vault is {done['state']}, after {done['sequence']} writes")


def _passphrase(state: Path, *, as_json: bool) -> str:
    """A new passphrase, handed in."""
    try:
        raw = values.value(None, "passphrase")
    except RingwallError as fault:
        common.fail(fault, as_json=as_json)
    return hand_in(state, raw, as_json=as_json)


def _once(what: str, *, as_json: bool) -> bytes:
    try:
        return values.once(what)
    except RingwallError as fault:
        common.fail(fault, as_json=as_json)


def _shares(state: Path, done: Mapping[str, Json], *, as_json: bool) -> list[str]:
    """What must be shown once, if there is something."""
    if "download" not in done:
        return []
    try:
        return common.client(state).download(done["download"]).decode().splitlines()
    except RingwallError as fault:
        common.fail(fault, as_json=as_json)


def _print_shares(done: Mapping[str, Json], shares: list[str]) -> None:
    """The shares alone on standard output, what to do with them beside it."""
    if shares:
        click.echo(_SHARES.format(threshold=done["threshold"], count=done["count"]), err=True)
    for share in shares:
        click.echo(share)


def _without(done: Mapping[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in done.items() if name != "download"}


def _patiently(state: Path, order: dict[str, Json], *, as_json: bool) -> Json:
    """The act ``vault.rotate``; after a second it says every second that it goes on."""
    over = threading.Event()
    told = threading.Thread(target=_tell, args=(over,), daemon=True)
    told.start()
    try:
        return common.operate(state, "vault.rotate", order, as_json=as_json)
    finally:
        over.set()
        told.join()


def _tell(over: threading.Event) -> None:
    seconds = 0
    while not over.wait(PATIENCE_S):
        seconds += 1
        click.echo(f"wrapping all keys anew, {seconds} s; secrets can be used meanwhile", err=True)


def _told(found: Mapping[str, Any]) -> list[str]:
    lines = [f"vault     {found['state']}"]
    if found["state"] != "absent":
        lines.append(f"root key  {found['root']}, generation {found['generation']}")
        lines.append(f"written   {found['sequence']} times")
    else:
        lines.append(f"root key  {found['root']}; make it: ringwall vault init")
    if found["secrets"] is not None:
        lines.append(f"secrets   {found['secrets']}")
    if found["state"] == "sealed":
        lines.append("open it   ringwall vault unseal")
    if found.get("shares", {}).get("brought"):
        lines.append(f"shares    {found['shares']['brought']} of {found['shares']['threshold']} brought")
    if found["fault"]:
        lines.append(f"fault     {found['fault']['code']}: {found['fault']['cause']}")
        lines.append(f"mend      {found['fault']['remedy']}")
    return lines


def _write(file: Path, blob: bytes) -> None:
    """A new file of this user's, durable. Raises BadInput (``file_error``)."""
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(number, "wb") as opened:
            opened.write(blob)
            opened.flush()
            os.fsync(number)
    except OSError as fault:
        raise BadInput(f"{file} cannot be written: {fault.strerror}", code="file_error",
                       remedy="name a file that there is not yet") from None
