"""Bytes to one canonical call: a strict parse, then typed resources. What is judged is what runs."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Final, TypedDict, cast, get_args

from ringwall.call import Approval, Call, CallId, Form, Json, Kind, Process, Resource, SessionId, Target, Trait
from ringwall.capability.catalogue import OWN_SERVER, Catalogues
from ringwall.capability.reading import an_object, approval_of, bad, only, plain, trace_of
from ringwall.capability.resources import canonical
from ringwall.capability.roles import resource_type
from ringwall.errors import BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.workload.interface import JWT, MAX_AUDIENCE, MAX_AUDIENCES, X509
from ringwall.interface import Origin
from ringwall.manifest.types import ArgumentRole, Manifest, Operation
from ringwall.vault.interface import READ
from ringwall.wire import strict

LIST: Final = f"{OWN_SERVER}/list"
MAX_BODY: Final[Mapping[str, int]] = {
    "tool": 1 << 20, "model": 8 << 20, "operate": 64 << 10, "secret": 16 << 10}  # bytes, by kind
"""A model request carries a whole conversation; an operator's call a command line, a secret's a few names."""
WRAPPING: Final = (8 << 20) // 3 + 4096  # a provider's body comes in Base64, with a few names around it
MAX_RESOURCES: Final = 256  # in one call: more recipients or files than any single honest call
_TRAITS: Final[tuple[Trait, ...]] = get_args(Trait)


class _Wish(TypedDict):
    """What an MCP client says beside the arguments: how it wants the answer, and what the tool had asked for."""

    form: Form
    progress: bool
    client: tuple[Trait, ...]
    trace: str
    inputs: Json


def for_nobody(session: SessionId | None) -> tuple[str, ...]:
    """Nobody but itself: no task of another agent is under way."""
    return ()


class ManifestResolver:
    """Resolves by what the manifest declares. Implements ``interface.Resolver``."""

    def __init__(self, manifest: Manifest, catalogues: Catalogues, ids: Callable[[], str],
                 parse_model: Callable[[str, Json], Json],
                 acting_for: Callable[[SessionId | None], tuple[str, ...]] = for_nobody,
                 messages: Callable[[Origin, bytes], Call] | None = None) -> None:
        """Take the manifest, the registered tools, a source of call ids, and the model wire.

        Args:
            manifest: roles of arguments and effect classes.
            catalogues: definitions and defaults, by tenant.
            ids: a fresh call id each time.
            parse_model: a parsed request in the words of an API (``wire.models.Api``) to its canonical form; raises
                BadInput, also for an API that there is not.
            acting_for: the SPIFFE IDs whose unfinished tasks the process of a session works on.
            messages: what resolves calls of kind ``message`` (``messages.resolve_message``); None: there are none.

        """
        self._manifest = manifest
        self._catalogues = catalogues
        self._ids = ids
        self._parse_model = parse_model
        self._acting_for = acting_for
        self._messages = messages

    def resolve(self, origin: Origin, kind: Kind, raw: bytes) -> Call:
        """Parse and resolve one request. Raises BadInput; an unknown tool is a call all the same."""
        if kind == "message" and self._messages is not None:
            return self._messages(origin, raw)
        limit = MAX_BODY.get(kind)
        if limit is None:
            raise bad(f"calls of kind {kind!r} are not served", code="unknown_kind")
        around = WRAPPING if kind == "model" else 0
        body = an_object(strict.parse(raw, max_bytes=limit + around), "the request")
        if kind == "tool":
            return self._tool(origin, body)
        if kind == "model":
            return self._model(origin, body)
        if kind == "secret":
            return self._read(origin, body) if "read" in body else self._svid(origin, body)
        only(body, {"verb", "args"})
        return self._call(origin, kind, Target(name=_name(body, "verb")), an_object(body.get("args"), "'args'"))

    def _call(self, origin: Origin, kind: Kind, target: Target, args: Json,
              resources: tuple[Resource, ...] = (), approval: Approval | None = None, form: Form = "value",
              trace: str = "", progress: bool = False, client: tuple[Trait, ...] = (), inputs: Json = None) -> Call:
        session = SessionId(origin.session) if origin.session is not None else None
        acting_for = self._acting_for(session) if isinstance(origin.subject, Process) else ()
        return Call.make(id=CallId(self._ids()), kind=kind, subject=origin.subject, session=session, target=target,
                         args=args, resources=resources, approval=approval, acting_for=acting_for, form=form,
                         trace=trace, progress=progress, client=client, inputs=inputs)

    def _model(self, origin: Origin, body: dict[str, Json]) -> Call:
        """In our own words, or a provider's body as it came (``doors.envelopes.model_call``)."""
        if "body" not in body:
            only(body, {"model", "request", "approval"})
            api, wanted = "chat", {**an_object(body.get("request"), "'request'"), "model": _name(body, "model")}
            if wanted.get("stream") is True:
                raise bad("an answer comes whole here", remedy="leave `stream` out, or ask at /openai/v1")
        else:
            only(body, {"api", "body", "approval", "trace"})
            api, wanted = body.get("api"), an_object(strict.parse(_unwrapped(body), max_bytes=MAX_BODY["model"]),
                                                     "the request")
        request = self._parse_model(str(api), wanted)
        return self._call(origin, "model", Target(name=_name(request, "model")), {"api": api, "request": request},
                          approval=approval_of(body), trace=trace_of(body))

    def _read(self, origin: Origin, body: dict[str, Json]) -> Call:
        """A secret for the process itself, by its name and nothing else: whose it is, is who asks."""
        only(body, {"read"})
        return self._call(origin, "secret", Target(name=f"{READ}{_name(body, 'read')}"), {})

    def _svid(self, origin: Origin, body: dict[str, Json]) -> Call:
        """An identity for the process itself: nothing is named but its kind and the audiences of a token."""
        only(body, {"svid", "audience", "spiffe_id"})
        target = {"x509": X509, "jwt": JWT}.get(str(body.get("svid")))
        if target is None:
            raise bad("'svid' must be x509 or jwt")
        if target == X509:
            only(body, {"svid"})
            return self._call(origin, "secret", Target(name=target), {})
        args: dict[str, Json] = {"audience": _audiences(body.get("audience"))}
        if "spiffe_id" in body:
            args["spiffe_id"] = str(SpiffeId.parse(str(body["spiffe_id"])))
        return self._call(origin, "secret", Target(name=target), args)

    def _tool(self, origin: Origin, body: dict[str, Json]) -> Call:
        only(body, {"tool", "args", "approval", "form", "progress", "client", "trace", "inputs"})
        name = _tool_name(body)
        args = an_object(body.get("args"), "'args'")
        form = body.get("form", "value")
        if form not in ("value", "mcp"):
            raise bad("'form' must be value or mcp")
        approval, wish = approval_of(body), _Wish(form=form, progress=body.get("progress") is True,
                                                  client=_client(body),
                                                  trace=trace_of(body), inputs=_inputs(body))
        operation = self._operation(name)
        if operation is None:  # unknown: the rings refuse it, and the record says what was asked
            return self._call(origin, "tool", Target(name=name), args, approval=approval, **wish)
        tool = self._catalogues.of(origin.subject.tenant).tool(name)
        if tool is not None:
            args = {**tool.defaults, **args}
        args, resources = resolve_arguments(operation, args)
        target = Target(name=name, definition=tool.definition if tool is not None else None)
        return self._call(origin, "tool", target, args, resources, approval, **wish)

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
                raise bad(f"argument {name!r} has more than {MAX_RESOURCES} items", code="too_many_resources")
            found = [_one(f"{name}/{i}", role, item, operation.effect) for i, item in enumerate(items)]
            resolved[name] = [item for item, _ in found]
        else:
            found = [_one(name, role, value, operation.effect)]
            resolved[name] = found[0][0]
        resources += [resource for _, resource in found]
    if len(resources) > MAX_RESOURCES:
        raise bad(f"the call names more than {MAX_RESOURCES} resources", code="too_many_resources")
    return resolved, tuple(resources)


def _one(argument: str, role: ArgumentRole, value: Json, effect: str) -> tuple[Json, Resource]:
    """One canonical value and its resource. Raises BadInput (``bad_argument``)."""
    type_name = resource_type(role)
    number = isinstance(value, int) and not isinstance(value, bool) and type_name == "id"
    if not isinstance(value, str) and not number:
        raise bad(f"argument {argument!r} must be a text that names one {type_name}", code="bad_argument")
    try:
        found = canonical(type_name, str(value))
    except BadInput as error:
        raise bad(f"argument {argument!r}: {error.cause}", code=error.code, remedy=error.remedy) from None
    resource = Resource(type=type_name, id=found.id, key=found.key, action=effect, argument=argument)
    return (value if number else found.sent), resource


def _client(body: dict[str, Json]) -> tuple[Trait, ...]:
    """What an MCP client says of itself: known words, each once."""
    said = cast("list[Json]", body.get("client", []))
    if not isinstance(cast("Json", said), list) or any(one not in _TRAITS or said.count(one) > 1 for one in said):
        raise bad(f"'client' must be a list of {', '.join(_TRAITS)}")
    return tuple(trait for trait in _TRAITS if trait in said)


def _inputs(body: dict[str, Json]) -> Json:
    """Answers to what a tool asked for, by their names, and the state it gave for its next round."""
    if "inputs" not in body:
        return None
    inputs = an_object(body["inputs"], "'inputs'")
    only(inputs, {"responses", "state"})
    state = inputs.get("state", "")
    if not isinstance(state, str):
        raise bad("'state' must be a text")
    return {"responses": an_object(inputs.get("responses", {}), "'responses'"), "state": state}


def _unwrapped(body: dict[str, Json]) -> bytes:
    try:
        return base64.b64decode(str(body["body"]), validate=True)
    except ValueError:
        raise bad("'body' must be Base64") from None


def _audiences(value: Json) -> list[str]:
    """Who a token is for: a few names, each once, as their owners spell them."""
    if not isinstance(value, list) or not 0 < len(cast("list[Json]", value)) <= MAX_AUDIENCES:
        raise bad(f"a token is for 1 to {MAX_AUDIENCES} audiences", code="bad_audience")
    found = [item for item in cast("list[Json]", value) if isinstance(item, str) and 0 < len(item) <= MAX_AUDIENCE]
    if len(found) != len(cast("list[Json]", value)) or len(set(found)) != len(found):
        raise bad(f"an audience is a text of 1 to {MAX_AUDIENCE} characters, and named once", code="bad_audience")
    return found


def _name(body: dict[str, Json], key: str) -> str:
    return plain(body.get(key), f"{key!r}")


def _tool_name(body: dict[str, Json]) -> str:
    name = body.get("tool")
    if not isinstance(name, str) or name.count("/") != 1:
        raise bad("'tool' must be <server>/<operation>", code="bad_name")
    server, _, op = name.partition("/")
    return f"{plain(server, 'the server of a tool')}/{plain(op, 'the operation of a tool')}"
