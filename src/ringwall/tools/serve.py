"""Serve an ordinary Python module as an MCP server over stdio: ``python -m ringwall.tools.serve pkg.mod``.

Every public function the module defines (or names in ``__all__``) becomes a tool. Schemas come from the
annotations and are closed; arguments are validated strictly, so that what the wall judged is what the function
gets: the string ``"5"`` is no number, ``'["a"]'`` no list. (The SDK's own MCPServer converts both, which is why
its low-level server is used here.)
"""

from __future__ import annotations

import importlib
import inspect
import sys
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import anyio.to_thread
import mcp_types as types
import pydantic_core
from anyio.streams.memory import MemoryObjectSendStream
from mcp.server.lowlevel.server import Server
from mcp.server.stdio import stdio_server
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from pydantic import BaseModel, ConfigDict, Field, PydanticUserError, ValidationError, create_model

from ringwall.errors import RingwallError
from ringwall.tools.protocol import SETTLED

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream, WriteStream

MAX_ERROR: Final = 4096  # characters of an exception's text


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A function as a tool."""

    function: Callable[..., Any]
    arguments: type[BaseModel]
    definition: types.Tool


Answer: TypeAlias = Callable[[Served, types.CallToolRequestParams], Awaitable[types.CallToolResult]]
"""Runs one tool."""


def functions(module: ModuleType) -> dict[str, Served]:
    """The tools of a module, by name.

    Raises:
        RingwallError: code ``bad_module``; a public function cannot be served, or there is none.

    """
    names = getattr(module, "__all__", None)
    found: dict[str, Served] = {}
    for name, item in inspect.getmembers(module, inspect.isfunction):
        public = (
            name in names
            if names is not None
            else (not name.startswith("_") and item.__module__ == module.__name__)
        )
        if public:
            found[name] = serve_one(name, item)
    if not found:
        raise _bad(f"{module.__name__} has no public function", "define one, or name it in __all__")
    return found


def serve_one(name: str, function: Callable[..., Any]) -> Served:
    """One function as a tool. Raises RingwallError as ``functions`` does."""
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except NameError as fault:
        raise _bad(f"{name}: {fault}", "import the type at run time") from fault
    fields: dict[str, Any] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in {parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY}:
            raise _bad(f"{name}: parameter {parameter.name} is not given by name", "give it a plain name")
        if parameter.name not in hints:
            raise _bad(f"{name}: parameter {parameter.name} has no annotation", "annotate it, for instance `: str`")
        default = ... if parameter.default is parameter.empty else parameter.default
        # An alias, because a parameter may have a name that pydantic keeps for itself.
        fields[f"p_{parameter.name}"] = (hints[parameter.name], Field(default=default, alias=parameter.name))
    try:
        arguments = create_model(
            name, __config__=ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=False), **fields
        )
        schema = arguments.model_json_schema(by_alias=True)
    except (PydanticUserError, TypeError, NameError) as fault:
        raise _bad(f"{name}: a parameter's type has no JSON form: {fault}"[:500], "use JSON types") from fault
    definition = types.Tool(name=name, description=inspect.getdoc(function) or "", input_schema=schema)
    return Served(function=function, arguments=arguments, definition=definition)


async def call(served: Served, arguments: Mapping[str, Any] | None) -> types.CallToolResult:
    """Run one function, a plain one in a thread. Its exception becomes an answer with ``isError``."""
    try:
        # As JSON: strictness then means JSON's own types, with text for dates and lists for tuples.
        given = served.arguments.model_validate_json(pydantic_core.to_json(dict(arguments or {})))
        names = {name: getattr(given, name) for name in type(given).model_fields}
        work = partial(served.function, **{name.removeprefix("p_"): value for name, value in names.items()})
        asynchronous = inspect.iscoroutinefunction(served.function)
        value = await work() if asynchronous else await anyio.to_thread.run_sync(work)
        result = pydantic_core.to_jsonable_python(value)
    except ValidationError as fault:
        return failed("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in fault.errors()))
    except RingwallError as fault:
        return failed(str(fault))
    except Exception as fault:  # noqa: BLE001 (the function is a user's; its failure is its answer)
        return failed(f"{type(fault).__name__}: {fault}")
    text = result if isinstance(result, str) else pydantic_core.to_json(result).decode()
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content={"result": result}
    )


def failed(text: str) -> types.CallToolResult:
    """The answer of a tool that did not work."""
    return types.CallToolResult(content=[types.TextContent(type="text", text=text[:MAX_ERROR])], is_error=True)


def server(module: ModuleType) -> Server[Any]:
    """The MCP server of a module. Raises RingwallError as ``functions`` does."""
    return serving(module.__name__, functions(module), _plainly)


async def _plainly(tool: Served, params: types.CallToolRequestParams) -> types.CallToolResult:
    return await call(tool, params.arguments)


def serving(name: str, tools: Mapping[str, Served], answer: Answer) -> Server[Any]:
    """An MCP server of these tools."""

    async def listing(_context: Any, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool.definition for tool in tools.values()])

    async def calling(_context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        tool = tools.get(params.name)
        return failed("there is no such function") if tool is None else await answer(tool, params)

    return Server(name, on_list_tools=listing, on_call_tool=calling)


async def run(served: Server[Any]) -> None:
    """Serve over standard input and output until they end."""
    async with stdio_server() as (reads, writes):
        heard, reads_on = anyio.create_memory_object_stream[SessionMessage | Exception](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_relay, reads, heard, writes)
            await served.run(reads_on, writes, served.create_initialization_options())
            tasks.cancel_scope.cancel()


async def _relay(
    reads: ReadStream[SessionMessage | Exception], heard: MemoryObjectSendStream[SessionMessage | Exception],
    writes: WriteStream[SessionMessage],
) -> None:
    """Hand requests on, so that the end of one that was cancelled is told: nothing else says when a function that
    cannot be interrupted is done, because MCP has cancelled requests go unanswered."""
    async with heard:
        async for item in reads:
            if isinstance(item, SessionMessage) and isinstance(item.message, types.JSONRPCRequest):
                hook = partial(_settled, writes, item.message.id)
                await heard.send(SessionMessage(item.message, ServerMessageMetadata(on_request_unanswered=hook)))
            else:
                await heard.send(item)


async def _settled(writes: WriteStream[SessionMessage], number: types.RequestId) -> None:
    params = {"requestId": number}
    await writes.send(SessionMessage(types.JSONRPCNotification(jsonrpc="2.0", method=SETTLED, params=params)))


def _bad(cause: str, remedy: str) -> RingwallError:
    return RingwallError(cause, code="bad_module", remedy=remedy)


def main(argv: list[str]) -> int:
    """Exit code 2: the module cannot be served."""
    if len(argv) != 2:
        print("usage: python -m ringwall.tools.serve PACKAGE.MODULE", file=sys.stderr)
        return 2
    try:
        module = importlib.import_module(argv[1])
        functions(module)
    except (ImportError, RingwallError) as fault:
        print(f"ringwall: {argv[1]} cannot be served: {fault}", file=sys.stderr)
        return 2
    anyio.run(run, server(module))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
