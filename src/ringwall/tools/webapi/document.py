"""An OpenAPI description (3.0 or 3.1, JSON): read strictly, its references followed inside itself only.

The file is the operator's, but somebody else wrote it: everything that is not understood makes the operation that
uses it unusable, with the place, and never quietly something else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal, cast
from urllib.parse import unquote

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.manifest.types import HTTP_METHODS
from ringwall.wire.strict import parse

MAX_FILE: Final = 16 << 20  # bytes; the largest public descriptions have some 12 MiB
MAX_DEPTH: Final = 128
MAX_VALUES: Final = 2_000_000
MAX_HOPS: Final = 16  # references that lead to references; honest ones have two or three
_PATH_KEYS: Final = frozenset({
    "summary", "description", "parameters", "servers", "options", "trace", *HTTP_METHODS})
_DIALECTS: Final = frozenset({
    "https://spec.openapis.org/oas/3.1/dialect/base", "https://json-schema.org/draft/2020-12/schema"})

Object = dict[str, Json]


def bad(at: str, why: str) -> BadInput:
    """What is wrong, with the place as a JSON pointer, in ASCII: both are somebody else's words."""
    return BadInput(f"{ascii(at[:200])[1:-1] or 'the description'}: {ascii(why[:300])[1:-1]}", code="bad_openapi")


def an_object(value: Json, at: str) -> Object:
    """The value, if it is an object. Raises BadInput."""
    if not isinstance(value, dict):
        raise bad(at, "is not an object")
    return cast("Object", value)


def a_list(value: Json, at: str) -> list[Json]:
    """The value, if it is a list. Raises BadInput."""
    if not isinstance(value, list):
        raise bad(at, "is not a list")
    return cast("list[Json]", value)


def step(at: str, key: str | int) -> str:
    """The place one level below (RFC 6901)."""
    return f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}"


@dataclass(frozen=True, slots=True)
class Found:
    """One operation where it stands. ``id`` is empty if it has none, or one that others have too."""

    method: str  # in lower case
    path: str
    id: str
    at: str
    shared: Object  # the path item
    value: Object

    @property
    def name(self) -> str:
        """``GET /users/{id}``."""
        return f"{self.method.upper()} {self.path}"


class Document:
    """A description.

    Args:
        value: the JSON of it.

    Raises:
        BadInput: ``bad_openapi``: another version or no description.

    """

    def __init__(self, value: Json) -> None:
        root = an_object(value, "")
        version = root.get("openapi")
        if "swagger" in root:
            raise bad("/swagger", "is OpenAPI 2.0; convert it to 3.0 first")
        if not isinstance(version, str) or not version.startswith(("3.0.", "3.1.")):
            raise bad("/openapi", "expected 3.0 or 3.1")
        dialect = root.get("jsonSchemaDialect")
        if dialect is not None and not (isinstance(dialect, str) and dialect in _DIALECTS):
            raise bad("/jsonSchemaDialect", "is another language of schemas than that of OpenAPI")
        self.root = root
        self.version: Literal["3.0", "3.1"] = "3.0" if version.startswith("3.0.") else "3.1"
        self.operations = _operations(root)

    def find(self, name: str) -> Found:
        """An operation by its ``operationId``, or by ``GET /users/{id}``: a name with a space is never an id.

        Raises:
            BadInput: ``no_such_operation``.

        """
        for one in self.operations:
            if name and name == (one.name if " " in name else one.id):
                return one
        raise BadInput(f"the description has no operation {name[:80]!a}, or several", code="no_such_operation",
                       remedy="`ringwall import openapi FILE` lists them")

    def follow(self, value: Json, at: str) -> tuple[Object, str]:
        """What a value is or refers to, and where that stands. Siblings of a reference are refused.

        For schemas, whose references may have siblings, see ``schemas``.
        """
        for _ in range(MAX_HOPS):
            found = an_object(value, at)
            if "$ref" not in found:
                return found, at
            if set(found) - {"$ref", "summary", "description"}:
                raise bad(at, "has other keys beside '$ref'")
            value, at = self.resolve(found["$ref"], at)
        raise bad(at, "refers to itself, or through too many others")

    def resolve(self, reference: Json, at: str) -> tuple[Json, str]:
        """What a reference points to, and where that stands. Raises BadInput unless it is inside this document."""
        if not isinstance(reference, str) or not reference.startswith("#/"):
            raise bad(at, "refers outside of this file")
        node: Json = self.root
        for part in unquote(reference[2:]).split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict) or key not in node:
                raise bad(at, f"refers to {reference[:120]}, which is not there")
            node = cast("Object", node)[key]
        return node, reference[1:]


def load(path: Path) -> Document:
    """Read a description.

    Raises:
        BadInput: ``bad_openapi``, or what ``wire.strict`` says of the JSON.

    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except OSError as fault:
        raise BadInput(f"cannot read {path}: {fault.strerror}", code="bad_openapi") from fault
    if raw[:1] not in {b"{", b" ", b"\n", b"\r", b"\t"}:
        raise BadInput(f"{path} is not JSON", code="bad_openapi",
                       remedy="a description in YAML is converted first, for instance with `yq -o=json`")
    try:
        return Document(parse(raw, max_bytes=MAX_FILE, max_depth=MAX_DEPTH, max_nodes=MAX_VALUES))
    except BadInput as fault:
        raise BadInput(f"{path}: {fault.cause}", code=fault.code, remedy=fault.remedy) from fault


def _operations(root: Mapping[str, Json]) -> tuple[Found, ...]:
    """All operations in their order. What they hold is looked at when one is used."""
    found: list[Found] = []
    paths = an_object(root.get("paths", {}), "/paths")
    for path, item in paths.items():
        at = step("/paths", path)
        if path.startswith("x-"):
            continue
        shared = an_object(item, at)
        for method in HTTP_METHODS:
            if method in shared:
                here = step(at, method)
                value = an_object(shared[method], here)
                name = value.get("operationId", "")
                if not isinstance(name, str):
                    raise bad(here, "has an operationId that is no text")
                found.append(Found(method, path, name, here, shared, value))
    ids = Counter(one.id for one in found)
    return tuple(replace(one, id=one.id if ids[one.id] == 1 else "") for one in found)


def unknown_in_path(item: Mapping[str, Json]) -> list[str]:
    """Keys of a path item that are not understood."""
    return sorted(key for key in item if key not in _PATH_KEYS and not key.startswith("x-"))
