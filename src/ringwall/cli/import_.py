"""``ringwall import openapi``: what a manifest has to say of a web API, for a person to review. Writes no file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

import click

from ringwall.call import Json
from ringwall.cli.common import fail, json_option, print_json
from ringwall.cli.text import plain
from ringwall.errors import BadInput
from ringwall.manifest.shapes import Wrong
from ringwall.manifest.spell import MAX_NAME, name, upstream
from ringwall.tools.webapi.document import Document, Found, Object, load
from ringwall.tools.webapi.operation import WebOperation, read

EFFECTS: Final = {
    "get": "read", "head": "read", "post": "send", "put": "write", "patch": "write", "delete": "delete"}
MAX_NOTE: Final = 80  # characters of a summary behind an operation
_PLAIN: Final = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-")


@click.group(name="import")
def import_() -> None:
    """Turn a description of tools into entries for ringwall.toml."""


@import_.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--op", "ops", multiple=True, metavar="ID", help="An operation: its id, or 'GET /users/{id}'.")
@click.option("--name", "server", default="", help="What the tool server is called. Default: as the file.")
@click.option("--url", default="", help="The API's base URL. Default: the first in the description.")
@json_option
def openapi(file: Path, *, ops: tuple[str, ...], server: str, url: str, as_json: bool) -> None:
    """Print the TOML for the operations named with --op of FILE (OpenAPI 3.0 or 3.1, JSON); without --op, list all.

    Nothing is written: every line is a guess for a person to review. Effects and roles of arguments decide what
    agents may do with an operation.
    """
    try:
        document = load(file)
        if not ops:
            _list(document, as_json=as_json)
            return
        found = [document.find(one) for one in ops]
        text = "\n".join(entries(document, found, file, _legal(server or file.stem), _url(url, document)))
    except BadInput as fault:
        fail(fault, as_json=as_json)
    if as_json:
        print_json({"toml": text})
    else:
        click.echo(text)


def entries(document: Document, found: list[Found], file: Path, server: str, url: str) -> Iterator[str]:
    """The lines. Raises BadInput for an operation that could not be used."""
    yield f"[tools.{_key(server)}]  # review: the name that agents see"
    yield f"openapi = {_text(str(file.absolute()))}"
    yield f"url = {_text(url)}  # review: the only host that is asked"
    yield '# secret = "NAME"  # review: what it is asked with, if anything'
    yield 'clearance = "public"  # review: what it may be shown'
    taken: set[str] = set()
    for one in found:
        op = _free(_legal(one.id or one.name), taken)
        yield ""
        yield from _operation(read(document, one), one, f"tools.{_key(server)}.ops.{_key(op)}")


def _operation(operation: WebOperation, found: Found, table: str) -> Iterator[str]:
    summary = plain(operation.description.partition("\n")[0])[:MAX_NOTE]
    yield f"[{table}]  # {plain(found.name)[:MAX_NOTE]}{': ' + summary if summary else ''}"
    yield f"operation = {_text(_findable(found))}"
    yield f'effect = "{EFFECTS[found.method]}"  # review: what it does to the world'
    yield f"[{table}.args]"
    places = {one.name: one.where for one in operation.parameters}
    required = operation.inputs["required"]
    for argument, schema in operation.inputs["properties"].items():
        note = f"{places.get(argument, 'body')}{', required' if argument in required else ''}"
        if _is_name(argument):
            yield f'{_key(argument)} = "{_role(places.get(argument, "body"), schema)}"  # review: {note}'
        elif argument in required:
            raise BadInput(f"{plain(found.name)} requires the argument {argument[:80]!a}, which is no name in a "
                           "manifest", code="bad_openapi")
        else:
            yield f"# {plain(argument)[:MAX_NOTE]} is left out: it is no name in a manifest  # {note}"


def _findable(found: Found) -> str:
    """What names the operation in a manifest, where every character is one that people see. Raises BadInput."""
    for text in (found.id, found.name):
        if text and text.isascii() and text.isprintable() and (" " not in text or text == found.name):
            return text
    raise BadInput(f"{plain(found.name)[:200]} has no name that can stand in a manifest", code="bad_openapi")


def _role(where: str, schema: Json) -> str:
    """The careful guess: what is in a path names a thing; what has room for text may carry some away."""
    known = cast("Object", schema) if isinstance(schema, dict) else {}
    kind = str(known.get("type"))
    if where == "path" and kind in {"string", "integer"}:
        return "selector:id"
    fixed = "enum" in known or "const" in known
    return "param" if fixed or kind in {"integer", "number", "boolean"} else "payload"


def _list(document: Document, *, as_json: bool) -> None:
    rows: list[dict[str, Json]] = []
    for one in document.operations:
        try:
            problem = read(document, one) and ""
        except BadInput as fault:
            problem = fault.cause
        rows.append({"id": one.id, "request": one.name, "problem": problem})
    if as_json:
        print_json({"operations": rows})
        return
    for row in rows:
        tail = f"  (cannot be used: {row['problem']})" if row["problem"] else ""
        click.echo(plain(f"{row['id'] or '-'}  {row['request']}{tail}"))
    click.echo("Take one over: ringwall import openapi FILE --op ID", err=True)


def _url(given: str, document: Document) -> str:
    servers = document.root.get("servers")
    listed = cast("list[Json]", servers) if isinstance(servers, list) else []
    first = cast("Object", listed[0]) if listed and isinstance(listed[0], dict) else {}
    text = given or str(first.get("url", ""))
    try:
        return upstream(text)
    except Wrong as fault:
        raise BadInput(f"{plain(text)[:200] or 'no URL'} cannot be the base URL: {fault}", code="bad_url",
                       remedy="name it with --url") from fault


def _legal(text: str) -> str:
    """A name for the manifest: other characters become ``_``."""
    made = "".join(c if c in _PLAIN else "_" for c in text).strip("_")[:MAX_NAME]
    return made if _is_name(made) else "api"


def _free(wanted: str, taken: set[str]) -> str:
    found = wanted
    for number in range(2, len(taken) + 3):
        if found not in taken:
            break
        found = f"{wanted[: MAX_NAME - 8]}_{number}"
    taken.add(found)
    return found


def _is_name(text: str) -> bool:
    try:
        name(text)
    except Wrong:
        return False
    return True


def _key(text: str) -> str:
    return text if text and set(text) <= _PLAIN else _text(text)


def _text(text: str) -> str:
    """A basic string of TOML; what a terminal would not show is spelled out."""
    inner = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in text)
    return f'"{inner}"'
