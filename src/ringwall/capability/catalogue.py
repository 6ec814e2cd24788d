"""The tools there are: definitions as the servers list them, closed, compiled and pinned.

A tool server is untrusted and its definitions are arguments too: what it says today may differ from what was
reviewed, so the first definition seen is pinned by its hash, and a changed one refuses until an operator pins
it again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Protocol, cast

from ringwall.call import Digest, Json, as_object, canonical, digest
from ringwall.call import texts as words
from ringwall.capability.closing import close, given, shown
from ringwall.capability.imitation import Names
from ringwall.capability.roles import resource_type, role_problems
from ringwall.capability.schema import Schema
from ringwall.errors import BadInput
from ringwall.manifest.types import Operation, ToolServer

CHANGED: Final = "its definition changed since it was pinned"
OWN_SERVER: Final = "ringwall"  # ``ringwall/list``; no tool server may take the name
MAX_DEFINITION: Final = 64 << 10  # bytes of one definition; the longest real descriptions are a tenth of it
_ALWAYS: Final = ("name", "description", "inputSchema", "annotations")
_IF_LISTED: Final = ("title", "outputSchema")  # only then, so that pins from before they were looked at still hold
_REFERENCES: Final = ("$ref", "$dynamicRef", "$recursiveRef")
_DIALECTS: Final = ("http://json-schema.org/", "https://json-schema.org/")  # of the drafts: known, never fetched
_HINTS: Final[Mapping[str, type]] = MappingProxyType({
    "title": str, "readOnlyHint": bool, "destructiveHint": bool, "idempotentHint": bool, "openWorldHint": bool})


class Pins(Protocol):
    """Where pinned hashes are kept; an implementation writes the log first, then its store."""

    def get(self, name: str) -> Digest | None:
        """The pinned hash of ``server/operation``. Raises Unavailable."""
        ...

    def set(self, name: str, definition: Digest, listed: Json) -> None:
        """Pin a definition (``listed``, of that hash) seen for the first time. Raises Unavailable or AuditError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """One usable operation."""

    name: str  # "server/operation"
    server: str
    op: str
    operation: Operation
    schema: Schema
    definition: Digest  # of what the server lists now
    pinned: Digest  # of what was reviewed
    public: Json  # what an agent is shown: name, description, closed inputSchema; title, outputSchema, annotations
    defaults: Mapping[str, Json]  # of typed arguments: an argument that is left out is judged all the same
    listed: Json = None  # what ``definition`` is the hash of

    @property
    def changed(self) -> bool:
        """Whether the server lists something else than was pinned."""
        return self.definition != self.pinned

    @property
    def effect(self) -> str:
        """The effect class that the manifest declares."""
        return self.operation.effect


class Catalogue:
    """All registered tools, by server. Changed by :meth:`register`, :meth:`repin` and :meth:`drop` only.

    Args:
        pins: what was reviewed.
        names: of all tools that the manifest declares: none may be taken for another server's.

    """

    def __init__(self, pins: Pins, names: Names | None = None) -> None:
        self._pins = pins
        self._names = names or Names({})
        self._servers: dict[str, Mapping[str, Tool]] = {}
        self._problems: dict[str, tuple[str, ...]] = {}

    def register(
        self, server: ToolServer, definitions: Sequence[Json], ours: Collection[str] = frozenset()
    ) -> list[str]:
        """Take what a server lists, all at once: its former tools are gone when this returns.

        Args:
            server: what the manifest says about it.
            definitions: MCP tool definitions: ``name``, ``title``, ``description``, ``inputSchema``,
                ``outputSchema``, ``annotations``.
            ours: operations whose definitions are no server's but the runtime's, closed as far as they are meant to
                be: what answers a server's question may have any members.

        Returns:
            One text per tool that cannot be used (it is not registered) or whose definition changed.

        Raises:
            Whatever the pins raise; then the tools are as they were.

        """
        listed, problems = _by_name(definitions)
        tools: dict[str, Tool] = {}
        for op, operation in server.ops.items():
            name = f"{server.name}/{op}"
            try:
                tool = _build(server.name, op, operation, listed.get(op), self._names, ours=op in ours)
            except BadInput as error:
                problems.append(f"{name}: {error.cause}")
                continue
            reviewed = self._pins.get(name) or Digest(operation.definition) or tool.definition
            tool = replace(tool, pinned=reviewed)
            if tool.changed:
                problems.append(_changed(name))
            tools[name] = tool
        for tool in tools.values():
            if self._pins.get(tool.name) is None and not tool.changed:
                self._pins.set(tool.name, tool.definition, tool.listed)
        self._servers[server.name] = MappingProxyType(tools)
        self._problems[server.name] = tuple(problems)
        return problems

    def repin(self, name: str) -> Tool | None:
        """Hold a tool to its pin as that is now, after an operator changed it; None: it is not usable now."""
        tool = self.tool(name)
        if tool is None:
            return None
        repinned = replace(tool, pinned=self._pins.get(name) or tool.pinned)
        self._servers[tool.server] = MappingProxyType({**self._servers[tool.server], name: repinned})
        others = tuple(text for text in self.problems(tool.server) if text != _changed(name))
        self._problems[tool.server] = (*others, *([_changed(name)] if repinned.changed else []))
        return repinned

    def drop(self, server: str) -> None:
        """Forget a server's tools, because it is gone; their pins stay."""
        self._servers.pop(server, None)
        self._problems.pop(server, None)

    def tool(self, name: str) -> Tool | None:
        """The tool of that name, or None if there is no usable one."""
        return self._servers.get(name.partition("/")[0], {}).get(name)

    def problems(self, server: str) -> tuple[str, ...]:
        """What the last registration of a server found."""
        return self._problems.get(server, ())

    def definitions(self) -> dict[str, Json]:
        """Every usable tool's public definition by name, for a listing."""
        return {name: tool.public for tools in self._servers.values() for name, tool in tools.items()}


def _by_name(definitions: Sequence[Json]) -> tuple[dict[str, dict[str, Json]], list[str]]:
    """Index what was listed; a name that is listed twice has no definition. Names nobody declared are ignored."""
    found: dict[str, dict[str, Json]] = {}
    twice: set[str] = set()
    problems: list[str] = []
    for item in definitions:
        definition = cast("dict[str, Json]", item) if isinstance(item, dict) else {}
        name = definition.get("name")
        if not isinstance(name, str):
            problems.append("the server lists a definition without a name")
        elif name in found:
            twice.add(name)
        else:
            found[name] = definition
    problems += [f"the server lists {name[:80]!a} twice" for name in sorted(twice)]
    return {name: definition for name, definition in found.items() if name not in twice}, problems


def _changed(name: str) -> str:
    return f"{name}: {CHANGED}"


def _build(server: str, op: str, operation: Operation, listed: dict[str, Json] | None, names: Names, *,
           ours: bool) -> Tool:
    """Check, close and compile one definition; pinned to itself. Raises BadInput."""
    if server == OWN_SERVER:
        raise BadInput(f"the name {OWN_SERVER!r} is taken", code="reserved_name")
    if listed is None:
        raise BadInput("the server lists no such tool, or lists it twice", code="unknown_tool")
    if problems := role_problems(operation):
        raise BadInput("; ".join(problems), code="bad_role")
    if why := names.shadowed(server, op):
        raise BadInput(why, code="shadowed_tool")
    definition = _definition(listed)
    args = frozenset(operation.args)
    closed = (given if ours else close)(definition["inputSchema"], args)
    visible = closed if ours else shown(definition["inputSchema"], args)
    texts = _texts(definition, visible)
    if why := names.imitates(server, texts):
        raise BadInput(why, code="shadowed_tool")
    name = f"{server}/{op}"
    made = digest(definition)
    public = {"name": name, "description": texts["description"], "inputSchema": visible, **_shown(definition)}
    return Tool(name=name, server=server, op=op, operation=operation, schema=Schema(closed), definition=made,
                pinned=made, public=public, defaults=_defaults(operation, closed["properties"]), listed=definition)


def _definition(listed: Mapping[str, Json]) -> dict[str, Json]:
    """The parts of what a server lists that are pinned. Raises BadInput: they are no JSON, or too much."""
    definition = {key: listed.get(key) for key in _ALWAYS}
    definition |= {key: listed[key] for key in _IF_LISTED if listed.get(key) is not None}
    try:
        size = len(canonical(definition))
    except (RecursionError, TypeError, ValueError):
        raise BadInput("its definition is not JSON, or is nested too deeply", code="bad_definition") from None
    if size > MAX_DEFINITION:
        raise BadInput(f"its definition has more than {MAX_DEFINITION} bytes", code="bad_definition")
    return definition


def hash_of(listed: Mapping[str, Json]) -> Digest:
    """What a definition is pinned by. Raises BadInput: it is none."""
    return digest(_definition(listed))


def _texts(definition: Mapping[str, Json], visible: Json) -> dict[str, str]:
    """What people and models read of a definition, by where it stands. Raises BadInput: it is no text."""
    hints = as_object(definition["annotations"]) or {}
    texts = {"description": definition["description"] or "", "title": definition.get("title", "")}
    for what, text in texts.items():
        if not isinstance(text, str):
            raise BadInput(f"its {what} is not a text", code="bad_definition")
    hint = hints.get("title")
    schemas = {"inputSchema": "\n".join(words(visible)),
               "outputSchema": "\n".join(words(definition.get("outputSchema")))}
    return {**texts, **schemas, "annotations.title": hint if isinstance(hint, str) else ""}


def _shown(definition: Mapping[str, Json]) -> dict[str, Json]:
    """What agents see of a definition beside its name, description and arguments. Raises BadInput."""
    shown: dict[str, Json] = {"title": definition["title"]} if "title" in definition else {}
    output = definition.get("outputSchema")
    if output is not None:
        if not isinstance(output, dict) or _refers_out(output):
            raise BadInput("its outputSchema is not an object, or refers outside itself", code="bad_definition")
        shown["outputSchema"] = output
    hints = as_object(definition["annotations"]) or {}
    known = {name: hints[name] for name, kind in _HINTS.items() if isinstance(hints.get(name), kind)}
    return {**shown, "annotations": known} if known else shown


def _refers_out(node: Json) -> bool:
    """Whether whoever uses this schema would fetch another one: clients may."""
    if isinstance(node, list):
        return any(map(_refers_out, cast("list[Json]", node)))
    if not isinstance(node, dict):
        return False
    fields = cast("dict[str, Json]", node)
    refs = [ref for key in _REFERENCES if isinstance(ref := fields.get(key), str)]
    dialect = fields.get("$schema")
    return (any(not ref.startswith("#") for ref in refs)
            or (isinstance(dialect, str) and not dialect.startswith(_DIALECTS))
            or any(map(_refers_out, fields.values())))


def _defaults(operation: Operation, properties: Mapping[str, Json]) -> Mapping[str, Json]:
    """What the tool would use for typed arguments that are left out, as far as its schema says so."""
    found = {name: schema["default"] for name, role in operation.args.items()
             if resource_type(role) and (schema := properties[name]) and schema.get("default") is not None}
    return MappingProxyType(found)


class Catalogues:
    """One catalogue a tenant: what one tenant's server lists never changes another's tools.

    Args:
        pins: makes the pins of a tenant.
        servers: all that the manifest declares: no tool may be taken for another server's.

    """

    def __init__(
        self, pins: Callable[[str], Pins], servers: Mapping[str, ToolServer] = MappingProxyType({})
    ) -> None:
        self._pins = pins
        self._names = Names(servers)
        self._catalogues: dict[str, Catalogue] = {}

    def of(self, tenant: str) -> Catalogue:
        """The tenant's own catalogue, empty at first."""
        found = self._catalogues.get(tenant)
        if found is None:
            found = self._catalogues[tenant] = Catalogue(self._pins(tenant), self._names)
        return found
