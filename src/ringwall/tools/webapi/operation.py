"""One operation of a description: which arguments it takes, where each goes in the request, and in which spelling.

An argument has one spelling in a request or the operation is unusable: styles that join values with a separator
refuse the separator inside of values, and names that two arguments would share are refused.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias, cast

from ringwall.call import Json
from ringwall.errors import BadInput
from ringwall.tools.answer import Method
from ringwall.tools.places import climbs
from ringwall.tools.webapi.document import Document, Found, Object, a_list, an_object, bad, step, unknown_in_path
from ringwall.tools.webapi.schemas import Schemas

Where: TypeAlias = Literal["path", "query", "header"]
Style: TypeAlias = Literal["simple", "form", "deepObject"]
Shape: TypeAlias = Literal["one", "list", "object"]

BODY: Final = "body"  # the argument that is the whole body, where its members cannot be arguments themselves
MAX_PARAMETERS: Final = 100
MAX_HEADERS: Final = 12  # of 16 that a request to the sidecar may have
MAX_HEADER_NAME: Final = 128  # characters, as there
_KEYS: Final = frozenset({"tags", "summary", "description", "externalDocs", "operationId", "parameters",
                          "requestBody", "responses", "callbacks", "deprecated", "security"})
_PARAMETER_KEYS: Final = frozenset({"name", "in", "description", "required", "deprecated", "schema", "style",
                                    "explode", "example", "examples", "allowEmptyValue", "allowReserved"})
_BODY_KEYS: Final = frozenset({"description", "content", "required"})
_IGNORED_HEADERS: Final = frozenset({"accept", "content-type", "authorization"})  # as the specification says
_TOKEN: Final = frozenset(string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~")
_LITERAL: Final = frozenset(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@/%")
_PRIMITIVE: Final = frozenset({"string", "integer", "number", "boolean"})
_STYLES: Final[Mapping[Where, tuple[Style, ...]]] = {
    "path": ("simple",), "query": ("form", "deepObject"), "header": ("simple",)}
FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One argument outside the body."""

    name: str
    where: Where
    style: Style
    explode: bool
    shape: Shape
    required: bool
    schema: Object


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """The body. ``fields``: the arguments that are its members; empty: the argument BODY is the whole of it."""

    kind: str  # its media type
    fields: tuple[str, ...]
    required: bool
    schema: Object


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOperation:
    """One operation, ready to make requests of."""

    method: Method
    path: str  # with {names}
    parameters: tuple[Parameter, ...]
    body: Body | None
    description: str
    inputs: Object = field(default_factory=dict[str, Json])  # the schema of all arguments


def read(document: Document, found: Found, *, hidden: frozenset[str] = frozenset(),
         pointer: str = "", query: str = "") -> WebOperation:
    """Understand one operation.

    Args:
        document: where it stands.
        found: the operation.
        hidden: headers in lower case that hold what Ringwall injects: no arguments.
        pointer: the place in the body that does (RFC 6901): no argument either; empty: none.
        query: the parameter of the query that does: no argument either; empty: none.

    Raises:
        BadInput: ``bad_openapi``, with the place that is not understood.

    """
    known = {key for key in found.value if not key.startswith("x-")}
    if unknown := [*sorted(known - _KEYS), *unknown_in_path(found.shared)]:
        raise bad(step(found.at, unknown[0]), "is not understood; the host is pinned to `url`")
    if "servers" in found.shared:
        raise bad(step(found.at, "servers"), "names other servers; the host is pinned to `url`")
    schemas = Schemas(document)
    parameters = _parameters(document, found, schemas, hidden, query)
    body = _placed(_body(document, found, schemas, pointer), parameters, found)
    _templates(found, parameters)
    description = "\n\n".join(text for key in ("summary", "description")
                              if isinstance(text := found.value.get(key), str) and text)
    return WebOperation(method=cast("Method", found.method.upper()), path=found.path, parameters=parameters,
                        body=body, description=description, inputs=_inputs(body, parameters))


def _parameters(document: Document, found: Found, schemas: Schemas,
                hidden: frozenset[str], query: str) -> tuple[Parameter, ...]:
    """The operation's own, and the path's that it does not have itself."""
    made: dict[tuple[str, str], tuple[Object, str]] = {}
    for holder, at in ((found.shared, found.at.rpartition("/")[0]), (found.value, found.at)):
        here = step(at, "parameters")
        listed = a_list(holder.get("parameters", []), here)
        own: set[tuple[str, str]] = set()
        for i, item in enumerate(listed):
            value, place = document.follow(item, step(here, i))
            name, where = value.get("name"), value.get("in")
            if not isinstance(name, str) or not isinstance(where, str) or (where, name) in own:
                raise bad(place, "has no name or no place, or comes twice")
            own.add((where, name))
            made[where, name] = value, place
    if len(made) > MAX_PARAMETERS:
        raise bad(found.at, f"has more than {MAX_PARAMETERS} parameters")
    parameters = [_parameter(value, place, schemas) for (where, name), (value, place) in made.items()
                  if not (where == "header" and _header(name) in _IGNORED_HEADERS | {*map(_header, hidden)})
                  and not (where == "query" and query and name.casefold() == query.casefold())]
    if sum(one.where == "header" for one in parameters) > MAX_HEADERS:
        raise bad(found.at, f"has more than {MAX_HEADERS} headers")
    _apart([one.name for one in parameters], found.at)
    _apart([one.name.lower() for one in parameters if one.where == "header"], found.at)
    _apart([name for one in parameters if one.where == "query" for name in _spelled(one)], found.at)
    return tuple(parameters)


def _spelled(one: Parameter) -> list[str]:
    """The names that a parameter of the query has there: an object's members have names of their own."""
    if one.shape != "object":
        return [one.name]
    members = list(cast("Object", one.schema["properties"]))
    return [f"{one.name}[{member}]" for member in members] if one.style == "deepObject" else members


def _apart(names: list[str], at: str) -> None:
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise bad(at, f"has several parameters named {twice[0]!r}")


def _header(name: str) -> str:
    """A header's name as the most careless server reads it: to a CGI program ``X_Key`` is ``X-Key``."""
    return name.lower().replace("_", "-")


def _parameter(value: Object, at: str, schemas: Schemas) -> Parameter:
    if unknown := sorted(key for key in value if key not in _PARAMETER_KEYS and not key.startswith("x-")):
        raise bad(step(at, unknown[0]), "is not understood in a parameter")
    name, where = cast("str", value["name"]), value["in"]
    if where not in _STYLES:
        raise bad(step(at, "in"), "is neither path, query nor header")
    if value.get("allowReserved", False) is not False:
        raise bad(step(at, "allowReserved"), "gives a value several spellings")
    styles = _STYLES[where]
    style = value.get("style", styles[0])
    explode = value.get("explode", style == "form")
    if style not in styles or not isinstance(explode, bool):
        raise bad(step(at, "style"), f"is none of {', '.join(styles)}")
    if where == "header" and not (0 < len(name) <= MAX_HEADER_NAME and set(name) <= _TOKEN):
        raise bad(step(at, "name"), "is no name of a header")
    if "schema" not in value:
        raise bad(at, "has no schema")
    schema, shape = flat(schemas.convert(value["schema"], step(at, "schema")), step(at, "schema"))
    if (shape == "object") != (style == "deepObject") and not (shape == "object" and style == "form" and explode):
        raise bad(step(at, "schema"), f"has no single spelling in the style {style!r}")
    if where == "path":
        schema = {**schema, **({"minLength": max(1, _count(schema, "minLength"))} if _is_text(schema) else {})}
    if isinstance(text := value.get("description"), str):
        schema = {"description": text, **schema}
    return Parameter(name=name, where=where, style=style, explode=explode, shape=shape, schema=schema,
                     required=where == "path" or value.get("required") is True)


def _is_text(schema: Object) -> bool:
    return schema.get("type") == "string"


def _count(schema: Object, key: str) -> int:
    value = schema.get(key, 0)
    return value if isinstance(value, int) else 0


def flat(schema: Json, at: str) -> tuple[Object, Shape]:
    """A schema whose values are one text each, or a list or object of them; without null, which has no spelling.

    Raises:
        BadInput: ``bad_openapi``.

    """
    made = _without_null(an_object(schema, at))
    kind = made.get("type")
    if kind == "array":
        inner = _without_null(an_object(made.get("items", {}), at))
        if "prefixItems" in made or not _primitive(inner):
            raise bad(at, "is a list of more than texts, numbers and booleans")
        return {**made, "items": inner, "minItems": max(1, _count(made, "minItems"))}, "list"
    if kind == "object":
        members = {name: _without_null(an_object(one, at))
                   for name, one in cast("Object", made.get("properties", {})).items()}
        if not members or not all(map(_primitive, members.values())):
            raise bad(at, "is an object of more than texts, numbers and booleans")
        return {**made, "properties": members, "minProperties": max(1, _count(made, "minProperties"))}, "object"
    if not _primitive(made):
        raise bad(at, "is neither text, number nor boolean, nor a list or object of them")
    return made, "one"


def _without_null(schema: Object) -> Object:
    for name in ("anyOf", "oneOf"):
        if name in schema:
            rest = [one for one in cast("list[Json]", schema[name]) if one != {"type": "null"}]
            if len(rest) == 1 and isinstance(rest[0], dict):
                notes = {key: value for key, value in schema.items() if key != name}
                return _without_null({**cast("Object", rest[0]), **notes})
    kind = schema.get("type")
    if isinstance(kind, list):
        kinds = [one for one in cast("list[Json]", kind) if one != "null"]
        schema = {**schema, "type": kinds[0] if len(kinds) == 1 else kinds}
    if isinstance(schema.get("enum"), list):
        schema = {**schema, "enum": [one for one in cast("list[Json]", schema["enum"]) if one is not None]}
    return {key: value for key, value in schema.items() if not (key == "default" and value is None)}


def _primitive(schema: Object) -> bool:
    kind = schema.get("type")
    if kind is None and isinstance(schema.get("enum"), list):  # texts only: the text 1 and the number 1 look alike
        return all(isinstance(one, str) for one in cast("list[Json]", schema["enum"]))
    return isinstance(kind, str) and kind in _PRIMITIVE


def _body(document: Document, found: Found, schemas: Schemas, pointer: str) -> Body | None:
    if "requestBody" not in found.value:
        return None
    value, at = document.follow(found.value["requestBody"], step(found.at, "requestBody"))
    if unknown := sorted(key for key in value if key not in _BODY_KEYS and not key.startswith("x-")):
        raise bad(step(at, unknown[0]), "is not understood in a body")
    if found.method in {"get", "head"}:
        raise bad(at, "is a body where the method has none")
    here = step(at, "content")
    content = an_object(value.get("content"), here)
    kind = _media(list(content), here)
    media = an_object(content[kind], step(here, kind))
    place = step(here, kind)
    if unknown := sorted(key for key in media if key not in {"schema", "example", "examples"}
                         and not key.startswith("x-")):
        raise bad(step(place, unknown[0]), "is not understood in a body")
    schema = an_object(schemas.convert(media.get("schema"), step(place, "schema")), step(place, "schema"))
    if pointer:
        schema = _hide(schema, pointer)
        if schema.get("properties") == {}:
            return None  # nothing is left that an agent could say
    if kind == FORM:
        schema = _form(schema, step(place, "schema"))
    return Body(kind=kind, fields=(), required=value.get("required") is True, schema=schema)


def _media(kinds: list[str], at: str) -> str:
    """The media type that is sent: JSON where there is a choice."""
    def bare(kind: str) -> str:
        return kind.partition(";")[0].strip().lower()

    for wanted in ("application/json", FORM):
        for kind in kinds:
            if bare(kind) == wanted:
                return kind
    for kind in kinds:
        if bare(kind).startswith("application/") and bare(kind).endswith("+json") and set(kind) <= _TOKEN | {"/"}:
            return kind
    raise bad(at, "has neither application/json nor application/x-www-form-urlencoded")


def _form(schema: Object, at: str) -> Object:
    """A form: an object of texts, or of lists of them. Raises BadInput."""
    if schema.get("type") != "object" or "properties" not in schema:
        raise bad(at, "is a form that is no object")
    members: Object = {}
    for name, one in cast("Object", schema["properties"]).items():
        made, shape = flat(one, step(at, name))
        if shape == "object":
            raise bad(step(at, name), "is an object inside a form")
        members[name] = made
    return {**schema, "properties": members}


def _hide(schema: Object, pointer: str) -> Object:
    """The schema without the member that Ringwall fills in."""
    key, _, rest = pointer[1:].partition("/")
    name = key.replace("~1", "/").replace("~0", "~")
    properties = schema.get("properties")
    if not isinstance(properties, dict) or name not in properties:
        return schema
    members = dict(cast("Object", properties))
    inner = members.pop(name)
    if rest and isinstance(inner, dict):
        less = _hide(cast("Object", inner), "/" + rest)
        if less.get("properties") != {}:  # else nothing is left that an agent could say
            members[name] = less
    required = [one for one in cast("list[Json]", schema.get("required", [])) if one in members]
    made = {**schema, "properties": members, "required": required}
    return made if required else {key: value for key, value in made.items() if key != "required"}


def _placed(body: Body | None, parameters: tuple[Parameter, ...], found: Found) -> Body | None:
    """A plain object's members are arguments themselves, so that each can have a role; else the body is one."""
    if body is None:
        return None
    taken = {one.name for one in parameters}
    properties = body.schema.get("properties")
    plain = body.schema.get("type") == "object" and properties not in (None, {})
    if plain and not {"minProperties", "maxProperties", "enum", "const"} & set(body.schema):
        fields = tuple(cast("Object", properties))
        if taken.isdisjoint(fields):
            return Body(kind=body.kind, fields=fields, required=body.required, schema=body.schema)
    if BODY in taken:
        raise bad(found.at, f"has a parameter named {BODY!r} beside a body")
    return body


def _inputs(body: Body | None, parameters: tuple[Parameter, ...]) -> Object:
    properties: Object = {one.name: one.schema for one in parameters}
    required = [one.name for one in parameters if one.required]
    if body is not None and body.fields:
        properties |= cast("Object", body.schema["properties"])
        required += cast("list[str]", body.schema.get("required", []))
    elif body is not None:
        properties[BODY] = body.schema
        required += [BODY] if body.required else []
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _templates(found: Found, parameters: tuple[Parameter, ...]) -> None:
    """Check that the path names its parameters, each once, one in a segment at most. Raises BadInput."""
    at = found.at.rpartition("/")[0]
    names: list[str] = []
    plain = found.path
    for segment in found.path.split("/"):
        before, opened, rest = segment.partition("{")
        if not opened:
            continue
        name, closed, after = rest.partition("}")
        if not closed or not name or {"{", "}"} & set(after + before):
            raise bad(at, "has a segment with several parameters, or half of one")
        names.append(name)
        plain = plain.replace("{" + name + "}", "")
    if not found.path.startswith("/") or "//" in found.path or not set(plain) <= _LITERAL or climbs(plain):
        raise bad(at, "is not a plain path")
    wanted = [one.name for one in parameters if one.where == "path"]
    if sorted(names) != sorted(wanted):
        raise bad(at, "does not name its parameters, each once")


def problem(fault: BadInput) -> str:
    """What to tell an operator."""
    return f"{fault.cause}; {fault.remedy}" if fault.remedy else fault.cause
