"""From judged arguments to one settled request: every value encoded by us, in its one spelling."""

from __future__ import annotations

from typing import Final, cast
from urllib.parse import quote, unquote

import msgspec

from ringwall.call import Json, canonical
from ringwall.errors import BadInput
from ringwall.tools.answer import MAX_HEADER, HttpRequest
from ringwall.tools.places import MAX_URL, climbs
from ringwall.tools.webapi.document import Object
from ringwall.tools.webapi.operation import BODY, FORM, Body, Parameter, WebOperation

ACCEPT: Final = "application/json"


def _bad(name: str, why: str) -> BadInput:
    return BadInput(f"argument {name[:80]!a} {why}", code="bad_arguments")


def build(operation: WebOperation, url: str, args: Json) -> HttpRequest:
    """The request for one call.

    Args:
        operation: what to ask for.
        url: the server's base URL, without a trailing slash; the request goes nowhere else.
        args: as judged by the operation's schema.

    Raises:
        BadInput: ``bad_arguments``: a value has no safe spelling where it goes, or the URL is too long.

    """
    given = dict(cast("Object", args))
    path = operation.path
    query: list[str] = []
    headers = {"Accept": ACCEPT}
    for one in operation.parameters:
        if one.name not in given:
            continue
        value = given.pop(one.name)
        match one.where:
            case "path":
                path = path.replace("{" + one.name + "}", _segment(one, value))
            case "query":
                query += [f"{_encoded(name)}={text}" for name, text in _pairs(one, value)]
            case "header":
                headers[one.name] = _header(one, value)
    where = url + path + ("?" + "&".join(query) if query else "")
    if "{" in path or climbs(path) or "//" in path:
        raise BadInput("the arguments make a path that could be read as another", code="bad_arguments")
    if len(where) > MAX_URL:
        raise BadInput(f"the arguments make a URL of more than {MAX_URL} characters", code="bad_arguments")
    body = _body(operation.body, given) if operation.body is not None else None
    if given:
        raise _bad(min(given), "is none of this operation")
    if body is not None and operation.body is not None:
        headers["Content-Type"] = operation.body.kind
    return HttpRequest(method=operation.method, url=where, headers=headers, body=body or b"")


def _text(name: str, value: Json) -> str:
    """A value as text; numbers as JSON writes them. Raises BadInput."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int | float):
        return msgspec.json.encode(value).decode()
    raise _bad(name, "is neither text, number nor boolean")


def _encoded(text: str) -> str:
    """Everything but the unreserved characters (RFC 3986, section 2.3)."""
    return quote(text, safe="")


def _items(one: Parameter, value: Json, *, joined: bool) -> list[str]:
    """The texts of a list or of one value; where they are joined, none may hold the separator."""
    values = cast("list[Json]", value) if isinstance(value, list) else [value]
    texts = [_text(one.name, item) for item in values]
    if joined and one.shape == "list" and any("," in text or not text for text in texts):
        raise _bad(one.name, "has an empty item or one with a comma, which have no spelling there")
    return texts


def _segment(one: Parameter, value: Json) -> str:
    texts = _items(one, value, joined=True)
    if any(not text or not text.isprintable() or unquote(text) != text or climbs(text) for text in texts):
        raise _bad(one.name, "is empty, holds invisible or encoded characters, or could be read as a way up")
    return ",".join(map(_encoded, texts))


def _pairs(one: Parameter, value: Json) -> list[tuple[str, str]]:
    """Names, and encoded values, of a query parameter; a separator between values is not encoded (RFC 6570)."""
    if one.shape == "object":
        members = cast("Object", value)
        deep = one.style == "deepObject"
        return [(f"{one.name}[{key}]" if deep else key, _encoded(_text(one.name, item)))
                for key, item in members.items()]
    if one.explode:
        return [(one.name, _encoded(text)) for text in _items(one, value, joined=False)]
    return [(one.name, ",".join(map(_encoded, _items(one, value, joined=True))))]


def _header(one: Parameter, value: Json) -> str:
    text = ",".join(_items(one, value, joined=True))
    if not 0 < len(text) <= MAX_HEADER or not text.isascii() or not text.isprintable() or text != text.strip():
        raise _bad(one.name, "is no plain text that fits into a header")
    return text


def _body(body: Body, given: Object) -> bytes | None:
    """The body, out of what is left of the arguments; None: there is none."""
    if body.fields:
        value: Json = {name: given.pop(name) for name in body.fields if name in given}
        if not value and not body.required:
            return None
    elif BODY in given:
        value = given.pop(BODY)
    else:
        return None
    if body.kind.partition(";")[0].strip().lower() != FORM:
        return canonical(value)
    pairs: list[str] = []
    for name, item in cast("Object", value).items():
        texts = cast("list[Json]", item) if isinstance(item, list) else [item]
        pairs += [f"{_encoded(name)}={_encoded(_text(name, text))}" for text in texts]
    return "&".join(pairs).encode()
