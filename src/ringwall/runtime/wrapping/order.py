"""What is wrapped: a command, what it may see, and the manifest that is written for exactly that."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from ringwall.call import Digest, Json, as_object
from ringwall.capability.catalogue import hash_of
from ringwall.errors import BadInput
from ringwall.manifest import spell
from ringwall.manifest.shapes import Wrong

TENANT: Final = "local"
CLIENT: Final = "client"
MAX_NAME: Final = 24  # its folder's path must leave room for a socket's
MAX_OPS: Final = 1000  # what a server lists at first use is written down and reviewed
_SAFE: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
_TAKEN: Final = "ringwall"  # the server name of our own tools


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One server to wrap.

    Args:
        name: of the server, in the client's eyes and ours.
        command: program and arguments, files among them as absolute paths.
        read_only: what it may read besides its installation.
        writable: folders it may write.
        network: ``host:port``, all that it reaches.
        allow: operations that the client is given; empty: all that are listed at first use.

    """

    name: str
    command: tuple[str, ...]
    read_only: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    network: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()


class _Listed(NamedTuple):
    """An operation as the server lists it. ``definition``: its hash, which every client's Ringwall holds it to."""

    effect: str
    arguments: tuple[str, ...]
    definition: Digest


def located(command: Sequence[str], cwd: Path) -> tuple[tuple[str, ...], tuple[Path, ...]]:
    """The command with its files as absolute paths, and these files: the server runs in another folder, and sees
    nothing that it is not shown. A program is found by its name when it starts."""
    program, *arguments = command
    found: list[Path] = []
    out = [str(cwd / program) if "/" in program else program]
    for argument in arguments:
        path = cwd / argument
        is_file = not argument.startswith("-") and path.is_file()
        out.append(str(path) if is_file else argument)
        found += [path] if is_file else []
    return tuple(out), tuple(dict.fromkeys(found))


def name_of(command: Sequence[str]) -> str:
    """A name for a server that was given none: of its script or package, else of its program."""
    plain = [argument for argument in command[1:] if not argument.startswith("-")]
    last = (plain[0] if plain else command[0]).rstrip("/").rpartition("/")[2].partition("@")[0]
    stem = last.lower().rsplit(".", 1)[0] if not last.startswith(".") else last.lower()
    name = "".join(char if char in _SAFE else "-" for char in stem).strip("-")[:MAX_NAME].strip("-")
    return name if name and name != _TAKEN else "server"


def check_name(name: str) -> str:
    """Give a name back. Raises BadInput."""
    if not 0 < len(name) <= MAX_NAME or not set(name) <= _SAFE or name.strip("-") != name or name == _TAKEN:
        raise BadInput(f"{name[:60]!a} cannot be a server's name here", code="bad_name",
                       remedy=f"1 to {MAX_NAME} of a-z, 0-9 and '-', as in --name files")
    return name


def manifest(order: Order, definitions: Sequence[Json]) -> str:
    """The manifest: every operation that the server lists, with free arguments, given to one client.

    Args:
        order: what is wrapped.
        definitions: what the server lists; untrusted. Nothing of its texts gets into the file but names of the
            manifest's own grammar.

    Raises:
        BadInput: an operation to allow is not listed, or nothing usable is.

    """
    ops = dict(_operations(definitions))
    if unknown := [op for op in order.allow if op not in ops]:
        raise BadInput(f"the server lists no operation {unknown[0][:60]!a}", code="unknown_operation",
                       remedy=f"it lists: {', '.join(sorted(ops)) or 'none'}")
    if not ops:
        raise BadInput("the server lists no operation that could be used", code="no_operations",
                       remedy="look at what it lists with another client first")
    given = [op for op in ops if not order.allow or op in order.allow]
    return "\n".join([*_head(order), *_tables(order, ops), *_client(order, given), ""])


def _head(order: Order) -> Iterator[str]:
    yield "# Made by `ringwall wrap` when it first saw this server. Review it and edit it: from now on this file"
    yield "# counts, and the options on the command line do not. Delete it to have it made anew."
    yield "# effect is a guess from what the server says of itself. An argument that names a file, URL or address"
    yield '# is bounded by a kind (path = "selector:path") and a list of resources in the grant below:'
    yield "# docs/resources.md."
    yield ""
    yield "version = 1"
    yield f'trust_domain = "{order.name}.wrap.internal"'
    yield ""


def _tables(order: Order, ops: Mapping[str, _Listed]) -> Iterator[str]:
    yield f"[tools.{order.name}]"
    yield f"command = {_list(order.command)}"
    for key, values in (("read_only", order.read_only), ("writable", order.writable), ("network", order.network)):
        if values:
            yield f"{key} = {_list(map(str, values))}"
    yield 'clearance = "private"  # it may be sent what it answered before'
    for op, listed in ops.items():
        yield ""
        yield f"[tools.{order.name}.ops.{_key(op)}]"
        yield f'effect = "{listed.effect}"'
        yield f'definition = "{listed.definition}"'
        inside = ", ".join(f'{_key(argument)} = "payload"' for argument in listed.arguments)
        yield f"args = {{ {inside} }}" if inside else "args = {}"


def _client(order: Order, given: Sequence[str]) -> Iterator[str]:
    yield ""
    yield f"[tenants.{TENANT}.roles.{CLIENT}.tools]"
    for op in given:
        yield f'"{order.name}/{op}" = []'
    yield ""
    yield f"[tenants.{TENANT}.agents.{CLIENT}]"
    yield f'role = "{CLIENT}"'
    yield 'attestation = "none"  # nobody starts it here: any process of yours may be it'


def _operations(definitions: Sequence[Json]) -> Iterator[tuple[str, _Listed]]:
    """Each operation that has a usable name. Those left out are refused, as all else."""
    for item in definitions[:MAX_OPS]:
        definition = as_object(item) or {}
        name, schema = definition.get("name"), as_object(definition.get("inputSchema")) or {}
        arguments = tuple(as_object(schema.get("properties")) or {})
        if isinstance(name, str) and _is_name(name):
            named = tuple(one for one in arguments if _is_name(one))
            yield name, _Listed(_effect(definition), named, hash_of(definition))


def _effect(definition: Mapping[str, Json]) -> str:
    """As the server says: unproved, so the worst that fits is taken where it says nothing."""
    hints = as_object(definition.get("annotations")) or {}
    if hints.get("readOnlyHint") is True:
        return "read"
    return "delete" if hints.get("destructiveHint") is True else "write"


def _is_name(text: str) -> bool:
    try:
        spell.name(text)
    except Wrong:
        return False
    return True


def _key(name: str) -> str:
    return f'"{name}"'  # a name may hold dots, which would nest


def _list(texts: Iterable[str]) -> str:
    return json.dumps(list(texts), ensure_ascii=False)
