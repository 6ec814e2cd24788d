"""Bytes to one canonical call: a strict parse, then typed resources. What is judged is what runs."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Final, cast

from ringwall.call import Approval, Call, CallId, Json, Kind, Resource, SessionId, Target
from ringwall.capability.catalogue import OWN_SERVER, Catalogues
from ringwall.capability.resources import canonical
from ringwall.capability.roles import resource_type
from ringwall.errors import BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.workload.interface import JWT, MAX_AUDIENCE, MAX_AUDIENCES, X509
from ringwall.interface import Origin
from ringwall.manifest.types import ArgumentRole, Manifest, Operation
from ringwall.wire import strict

LIST: Final = f"{OWN_SERVER}/list"
MAX_BODY: Final[Mapping[str, int]] = {
    "tool": 1 << 20, "model": 8 << 20, "operate": 64 << 10, "secret": 16 << 10}  # bytes, by kind
"""A model request carries a whole conversation; an operator's call a command line, a secret's a few names."""
MAX_RESOURCES: Final = 256  # in one call: more recipients or files than any single honest call
MAX_NAME: Final = 128  # of a server, operation, model, verb or approval
_NAME: Final = frozenset(string.ascii_letters + string.digits + "._-")


def _bad(cause: str, code: str = "bad_request", remedy: str = "") -> BadInput:
    return BadInput(cause, code=code, remedy=remedy)


class ManifestResolver:
    """Resolves by what the manifest declares. Implements ``interface.Resolver``."""

    def __init__(self, manifest: Manifest, catalogues: Catalogues, ids: Callable[[], str],
                 parse_model: Callable[[Json], Json]) -> None:
        """Take the manifest, the registered tools, a source of call ids, and the model wire.

        Args:
            manifest: roles of arguments and effect classes.
            catalogues: definitions and defaults, by tenant.
            ids: a fresh call id each time.
            parse_model: a parsed chat request to its canonical form; raises BadInput.

        """
        self._manifest = manifest
        self._catalogues = catalogues
        self._ids = ids
        self._parse_model = parse_model

    def resolve(self, origin: Origin, kind: Kind, raw: bytes) -> Call:
        """Parse and resolve one request. Raises BadInput; an unknown tool is a call all the same."""
        limit = MAX_BODY.get(kind)
        if limit is None:
            raise _bad(f"calls of kind {kind!r} are not served", "unknown_kind")
        body = _object(strict.parse(raw, max_bytes=limit), "the request")
        if kind == "tool":
            return self._tool(origin, body)
        if kind == "model":
            return self._model(origin, body)
        if kind == "secret":
            return self._svid(origin, body)
        _only(body, {"verb", "args"})
        return self._call(origin, kind, Target(name=_name(body, "verb")), _object(body.get("args"), "'args'"))

    def _call(self, origin: Origin, kind: Kind, target: Target, args: Json,
              resources: tuple[Resource, ...] = (), approval: Approval | None = None) -> Call:
        session = SessionId(origin.session) if origin.session is not None else None
        return Call.make(id=CallId(self._ids()), kind=kind, subject=origin.subject, session=session, target=target,
                         args=args, resources=resources, approval=approval)

    def _model(self, origin: Origin, body: dict[str, Json]) -> Call:
        _only(body, {"model", "request", "approval"})
        request = self._parse_model(_object(body.get("request"), "'request'"))
        return self._call(origin, "model", Target(name=_name(body, "model")), request, approval=_approval(body))

    def _svid(self, origin: Origin, body: dict[str, Json]) -> Call:
        """An identity for the process itself: nothing is named but its kind and the audiences of a token."""
        _only(body, {"svid", "audience", "spiffe_id"})
        target = {"x509": X509, "jwt": JWT}.get(str(body.get("svid")))
        if target is None:
            raise _bad("'svid' must be x509 or jwt")
        if target == X509:
            _only(body, {"svid"})
            return self._call(origin, "secret", Target(name=target), {})
        args: dict[str, Json] = {"audience": _audiences(body.get("audience"))}
        if "spiffe_id" in body:
            args["spiffe_id"] = str(SpiffeId.parse(str(body["spiffe_id"])))
        return self._call(origin, "secret", Target(name=target), args)

    def _tool(self, origin: Origin, body: dict[str, Json]) -> Call:
        _only(body, {"tool", "args", "approval"})
        name = _tool_name(body)
        args = _object(body.get("args"), "'args'")
        approval = _approval(body)
        operation = self._operation(name)
        if operation is None:  # unknown: the rings refuse it, and the record says what was asked
            return self._call(origin, "tool", Target(name=name), args, approval=approval)
        tool = self._catalogues.of(origin.subject.tenant).tool(name)
        if tool is not None:
            args = {**tool.defaults, **args}
        args, resources = resolve_arguments(operation, args)
        target = Target(name=name, definition=tool.definition if tool is not None else None)
        return self._call(origin, "tool", target, args, resources, approval)

    def _operation(self, name: str) -> Operation | None:
        server, _, op = name.partition("/")
        declared = self._manifest.tools.get(server)
        return declared.ops.get(op) if declared is not None else None


def resolve_arguments(operation: Operation, args: dict[str, Json]) -> tuple[dict[str, Json], tuple[Resource, ...]]:
    """Replace each typed argument by its canonical value and list what it names. Undeclared ones stay as sent.

    Raises:
        BadInput: an argument names nothing in one spelling, or too many things.

    """
    resolved = dict(args)
    resources: list[Resource] = []
    for name, role in operation.args.items():
        if not resource_type(role) or args.get(name) is None:
            continue  # inert, or names nothing: whether it may be absent or null is for the schema
        value = args[name]
        if isinstance(value, list):
            items = cast("list[Json]", value)
            if len(items) > MAX_RESOURCES:
                raise _bad(f"argument {name!r} has more than {MAX_RESOURCES} items", "too_many_resources")
            found = [_one(f"{name}/{i}", role, item, operation.effect) for i, item in enumerate(items)]
            resolved[name] = [item for item, _ in found]
        else:
            found = [_one(name, role, value, operation.effect)]
            resolved[name] = found[0][0]
        resources += [resource for _, resource in found]
    if len(resources) > MAX_RESOURCES:
        raise _bad(f"the call names more than {MAX_RESOURCES} resources", "too_many_resources")
    return resolved, tuple(resources)


def _one(argument: str, role: ArgumentRole, value: Json, effect: str) -> tuple[Json, Resource]:
    """One canonical value and its resource. Raises BadInput (``bad_argument``)."""
    type_name = resource_type(role)
    number = isinstance(value, int) and not isinstance(value, bool) and type_name == "id"
    if not isinstance(value, str) and not number:
        raise _bad(f"argument {argument!r} must be a text that names one {type_name}", "bad_argument")
    try:
        found = canonical(type_name, str(value))
    except BadInput as error:
        raise _bad(f"argument {argument!r}: {error.cause}", error.code, error.remedy) from None
    resource = Resource(type=type_name, id=found.id, key=found.key, action=effect, argument=argument)
    return (value if number else found.id), resource


def _object(value: Json, what: str) -> dict[str, Json]:
    if not isinstance(value, dict):
        raise _bad(f"{what} must be an object")
    return cast("dict[str, Json]", value)


def _only(body: dict[str, Json], known: set[str]) -> None:
    if unknown := sorted(set(body) - known):
        raise _bad(f"the request has an unknown key {unknown[0][:80]!a}",
                   remedy=f"known: {', '.join(sorted(known))}")


def _audiences(value: Json) -> list[str]:
    """Who a token is for: a few names, each once, as their owners spell them."""
    if not isinstance(value, list) or not 0 < len(cast("list[Json]", value)) <= MAX_AUDIENCES:
        raise _bad(f"a token is for 1 to {MAX_AUDIENCES} audiences", "bad_audience")
    found = [item for item in cast("list[Json]", value) if isinstance(item, str) and 0 < len(item) <= MAX_AUDIENCE]
    if len(found) != len(cast("list[Json]", value)) or len(set(found)) != len(found):
        raise _bad(f"an audience is a text of 1 to {MAX_AUDIENCE} characters, and named once", "bad_audience")
    return found


def _plain(text: Json, what: str) -> str:
    if not isinstance(text, str) or not 0 < len(text) <= MAX_NAME or not set(text) <= _NAME:
        raise _bad(f"{what} must be 1 to {MAX_NAME} letters, digits, '.', '_' or '-'", "bad_name")
    return text


def _name(body: dict[str, Json], key: str) -> str:
    return _plain(body.get(key), f"{key!r}")


def _tool_name(body: dict[str, Json]) -> str:
    name = body.get("tool")
    if not isinstance(name, str) or name.count("/") != 1:
        raise _bad("'tool' must be <server>/<operation>", "bad_name")
    server, _, op = name.partition("/")
    return f"{_plain(server, 'the server of a tool')}/{_plain(op, 'the operation of a tool')}"


def _approval(body: dict[str, Json]) -> Approval | None:
    """The record that a request claims as its approval: a claim, which the wall and the rings must verify."""
    if "approval" not in body:
        return None
    record = body["approval"]
    if not isinstance(record, str):
        raise _bad("'approval' must name a record such as acme/57")
    tenant, _, number = record.partition("/")
    if not (number.isascii() and number.isdigit() and len(number) <= MAX_NAME):
        raise _bad("'approval' must name a record such as acme/57")
    return Approval(record=f"{_plain(tenant, 'the tenant of an approval')}/{number}")
