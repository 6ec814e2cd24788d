"""The reference of ``ringwall.toml`` as Markdown (docs/manifest.md), made from the layout and the types."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from ringwall.manifest.layout import LAYOUTS
from ringwall.manifest.shapes import Choice, File, Flag, Layout, ListOf, MapOf, Number, Record, Shape, Text, Whole
from ringwall.manifest.starter import STARTER
from ringwall.manifest.types import Manifest

_INTRO = """\
# The manifest

<!-- Written by scripts/gen_docs.py from src/ringwall/manifest/; do not edit. -->

`ringwall.toml` says which agents there are and what each may do. Everything absent is refused, an unknown key is an
error, and `ringwall check` names every fault at once. Relative paths start at the manifest's folder. The file may
not lie where an agent or tool server can write. Editors complete and check it with `ringwall schema`.

Names (of models, tools, operations, secrets, tenants, roles, agents) are SPIFFE path segments: letters, digits,
`.`, `_` and `-`, at most 64. A tenant cannot be called `system`.
"""


def reference() -> str:
    """The whole page."""
    parts = [_INTRO]
    parts += ["\n".join(_section(heading, layout)) for heading, layout in _sections()]
    parts.append(f"## A first manifest\n\nWhat `ringwall init` writes:\n\n```toml\n{STARTER}```\n")
    return "\n".join(parts)


def _sections() -> Iterator[tuple[str, Layout]]:
    """Each table once, under the key path where it first stands, outermost first."""
    queue: list[tuple[str, type]] = [("", Manifest)]
    seen: set[type] = set()
    while queue:
        where, of = queue.pop(0)
        if of in seen:
            continue
        seen.add(of)
        yield where, LAYOUTS[of]
        inside: list[tuple[str, type]] = []
        for entry in LAYOUTS[of].entries:
            path = f"{where}.{entry.key}" if where else entry.key
            match entry.shape:
                case Record(of=inner):
                    inside.append((path, inner))
                case MapOf(value=Record(of=inner)):
                    name = '"SERVER/OPERATION"' if entry.key == "tools" and where else "NAME"
                    inside.append((f"{path}.{name}", inner))
                case ListOf(item=Record(of=inner)):
                    inside.append((f"{path}[]", inner))
                case _:
                    pass
        rest = LAYOUTS[of].rest
        if rest is not None and isinstance(rest.shape, MapOf) and isinstance(rest.shape.value, Record):
            inside.append((f"{where}.NAME", rest.shape.value.of))
        queue[:0] = inside


def _section(heading: str, layout: Layout) -> Iterator[str]:
    yield f"## `[{heading}]`" if heading else "## Top level"
    yield ""
    yield inspect.cleandoc(layout.of.__doc__ or "").replace("``", "`")
    yield ""
    yield "| key | value | meaning |"
    yield "|---|---|---|"
    for entry in layout.entries:
        need = " (required)" if entry.required else ""
        yield f"| `{entry.key}`{need} | {_value(entry.shape)} | {entry.doc} |".replace("\n", " ")
    if layout.rest is not None:
        yield f"| any other name | {_value(layout.rest.shape)} | {layout.rest.doc} |"
    if layout.later:
        yield ""
        yield "Not available in this version: " + ", ".join(f"`{key}`" for key in layout.later) + "."
    yield ""


def _value(shape: Shape) -> str:
    match shape:
        case Text():
            return shape.what
        case Choice():
            return ", ".join(f"`{option}`" for option in shape.options)
        case Flag():
            return "true or false"
        case Whole():
            return f"{shape.low}" if shape.low == shape.high else f"whole number, {shape.low} to {shape.high}"
        case Number():
            return f"number, {shape.low:g} to {shape.high:g}"
        case File():
            return "path"
        case ListOf(item=Record()):
            return "list of tables"
        case ListOf():
            return f"list, each {_value(shape.item)}"
        case MapOf(value=Record()):
            return "a table each"
        case MapOf():
            return f"table: name = {_value(shape.value)}"
        case Record():
            return "table"
