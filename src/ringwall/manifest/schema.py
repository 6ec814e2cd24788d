"""A JSON Schema (2020-12) of ``ringwall.toml`` for editors, made from the layout.

It accepts all that the loader accepts; what only the loader can see (references, hidden characters) it does not.
"""

from __future__ import annotations

from ringwall.call import Json
from ringwall.manifest.layout import LAYOUTS
from ringwall.manifest.shapes import (
    Choice,
    Entry,
    File,
    Flag,
    Layout,
    ListOf,
    MapOf,
    Number,
    Record,
    Shape,
    Text,
    Whole,
)
from ringwall.manifest.types import Manifest


def schema() -> Json:
    """The whole schema as a JSON value."""
    root = _record(LAYOUTS[Manifest])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "ringwall.toml", **root,
            "$defs": {of.__name__: _record(layout) for of, layout in LAYOUTS.items() if of is not Manifest}}


def _record(layout: Layout) -> dict[str, Json]:
    table: dict[str, Json] = {
        "description": _summary(layout.of), "type": "object", "additionalProperties": _rest(layout),
        "properties": {entry.key: _entry(entry) for entry in layout.entries},
    }
    required = [entry.key for entry in layout.entries if entry.required]
    if required:
        table["required"] = required
    if layout.one_of:
        table["oneOf"] = [{"required": [key]} for key in layout.one_of]
    if not layout.short:
        return table
    bare = next(entry for entry in layout.entries if entry.key == layout.short)
    return {"oneOf": [_entry(bare), table]}


def _rest(layout: Layout) -> Json:
    """What may stand under a name that is no key."""
    return _shape(layout.rest.shape.value) if layout.rest and isinstance(layout.rest.shape, MapOf) else False


def _entry(entry: Entry) -> dict[str, Json]:
    return {"description": entry.doc, **_shape(entry.shape)}


def _shape(shape: Shape) -> dict[str, Json]:
    match shape:
        case Text():
            return {"type": "string", **({"pattern": shape.pattern} if shape.pattern else {})}
        case Choice():
            return {"enum": list(shape.options)}
        case Flag():
            return {"type": "boolean"}
        case Whole():
            return {"type": "integer", "minimum": shape.low, "maximum": shape.high}
        case Number():
            return {"type": "number", "minimum": shape.low, "maximum": shape.high}
        case File():
            return {"type": "string", "minLength": 1}
        case ListOf():
            return {"type": "array", "items": _shape(shape.item), "uniqueItems": not shape.repeats}
        case MapOf():
            names: dict[str, Json] = {"enum": list(shape.only)} if shape.only else _shape(shape.name)
            return {"type": "object", "propertyNames": names, "additionalProperties": _shape(shape.value)}
        case Record():
            return {"$ref": f"#/$defs/{shape.of.__name__}"}


def _summary(of: type) -> str:
    return (of.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
