"""What comes beside the Workload API on its socket: health (grpc.health.v1) and server reflection (v1, v1alpha).

Neither tells anything but that the API is there, so they ask for no header and attest nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from ringwall.errors import BadInput, RingwallError
from ringwall.identity.workload import wire
from ringwall.identity.workload.messages import STRUCT_FILE, WORKLOAD
from ringwall.identity.workload.proto import Field, File, Message, Method, decode, descriptor, encode
from ringwall.identity.workload.server import Exchange, Handler, Status

_PROMPT_SECONDS: Final = 5.0  # between two looks of a health watch
_SERVING, _NOT_SERVING, _SERVICE_UNKNOWN = 1, 2, 3

_CHECK: Final = Message(name="grpc.health.v1.HealthCheckRequest", fields=(
    Field(number=1, name="service", kind="string"),))
_HEALTH: Final = Message(name="grpc.health.v1.HealthCheckResponse", fields=(
    Field(number=1, name="status", kind="enum",
          type_name=".grpc.health.v1.HealthCheckResponse.ServingStatus"),))
HEALTH: Final = File(
    name="grpc/health/v1/health.proto", package="grpc.health.v1", messages=(_CHECK, _HEALTH), service="Health",
    methods=(Method(name="Check", request=_CHECK, response=_HEALTH),
             Method(name="Watch", request=_CHECK, response=_HEALTH, server_streaming=True)),
    enums={"grpc.health.v1.HealthCheckResponse.ServingStatus": {
        "UNKNOWN": 0, "SERVING": 1, "NOT_SERVING": 2, "SERVICE_UNKNOWN": 3}})


def _reflection(package: str) -> File:
    def text(number: int, name: str, **more: Any) -> Field:
        return Field(number=number, name=name, kind="string", **more)

    def of(name: str, *fields: Field) -> Message:
        return Message(name=f"{package}.{name}", fields=fields)

    def holds(number: int, name: str, message: Message, **more: Any) -> Field:
        return Field(number=number, name=name, kind="message", message=message, **more)

    ask, say = "message_request", "message_response"
    extension = of("ExtensionRequest", text(1, "containing_type"),
                   Field(number=2, name="extension_number", kind="int32"))
    request = of("ServerReflectionRequest", text(1, "host"), text(3, "file_by_filename", oneof=ask),
                 text(4, "file_containing_symbol", oneof=ask),
                 holds(5, "file_containing_extension", extension, oneof=ask),
                 text(6, "all_extension_numbers_of_type", oneof=ask), text(7, "list_services", oneof=ask))
    files = of("FileDescriptorResponse", Field(number=1, name="file_descriptor_proto", kind="bytes", repeated=True))
    numbers = of("ExtensionNumberResponse", text(1, "base_type_name"),
                 Field(number=2, name="extension_number", kind="int32", repeated=True))
    service = of("ServiceResponse", text(1, "name"))
    services = of("ListServiceResponse", holds(1, "service", service, repeated=True))
    error = of("ErrorResponse", Field(number=1, name="error_code", kind="int32"), text(2, "error_message"))
    response = of("ServerReflectionResponse", text(1, "valid_host"), holds(2, "original_request", request),
                  holds(4, "file_descriptor_response", files, oneof=say),
                  holds(5, "all_extension_numbers_response", numbers, oneof=say),
                  holds(6, "list_services_response", services, oneof=say),
                  holds(7, "error_response", error, oneof=say))
    info = Method(name="ServerReflectionInfo", request=request, response=response, client_streaming=True,
                  server_streaming=True)
    return File(name=package.replace(".", "/") + "/reflection.proto", package=package,
                messages=(request, extension, response, files, numbers, services, service, error),
                service="ServerReflection", methods=(info,))


REFLECTION: Final = (_reflection("grpc.reflection.v1"), _reflection("grpc.reflection.v1alpha"))
FILES: Final = (WORKLOAD, HEALTH, *REFLECTION)


def health(serving: Callable[[], Awaitable[bool]], names: frozenset[str]) -> dict[str, Handler]:
    """The health service; ``names`` of services it knows, the empty one being the whole server."""

    async def check(exchange: Exchange) -> None:
        status = await _status(serving, names, await _asked(exchange))
        if status == _SERVICE_UNKNOWN:
            raise Status(wire.NOT_FOUND, "there is no such service")
        await exchange.reply(encode(_HEALTH, {"status": status}))

    async def watch(exchange: Exchange) -> None:
        name, said = await _asked(exchange), -1
        while True:
            status = await _status(serving, names, name)
            if status != said:
                await exchange.reply(encode(_HEALTH, {"status": status}))
                said = status
            await asyncio.sleep(_PROMPT_SECONDS)

    return {f"/{_service(HEALTH)}/Check": check, f"/{_service(HEALTH)}/Watch": watch}


async def _asked(exchange: Exchange) -> str:
    try:
        return decode(_CHECK, await exchange.only()).get("service", "")
    except BadInput as fault:
        raise Status(wire.INVALID_ARGUMENT, f"{fault.code}: {fault.cause}") from fault


async def _status(serving: Callable[[], Awaitable[bool]], names: frozenset[str], name: str) -> int:
    if name not in names:
        return _SERVICE_UNKNOWN
    try:
        return _SERVING if await serving() else _NOT_SERVING
    except RingwallError:
        return _NOT_SERVING


def _service(file: File) -> str:
    return f"{file.package}.{file.service}" if file.package else file.service


def reflection() -> dict[str, Handler]:
    """The reflection services, old and new, over the files of this socket."""
    by_name = {one.name: descriptor(one) for one in (*FILES, STRUCT_FILE)}
    by_symbol: dict[str, str] = {}
    for one in (*FILES, STRUCT_FILE):
        by_symbol |= dict.fromkeys([message.name for message in one.messages], one.name)
        if one.service:
            by_symbol |= dict.fromkeys(
                [_service(one), *(f"{_service(one)}.{method.name}" for method in one.methods)], one.name)
    handlers: dict[str, Handler] = {}
    for file in REFLECTION:
        answer = partial(_reflected, file.methods[0], by_name, by_symbol)
        handlers[f"/{_service(file)}/{file.methods[0].name}"] = answer
    return handlers


async def _reflected(method: Method, by_name: Mapping[str, bytes], by_symbol: Mapping[str, str],
                     exchange: Exchange) -> None:
    while (raw := await exchange.message()) is not None:
        try:
            asked = decode(method.request, raw)
        except BadInput as fault:
            raise Status(wire.INVALID_ARGUMENT, f"{fault.code}: {fault.cause}") from fault
        name = asked.get("file_by_filename", by_symbol.get(asked.get("file_containing_symbol", "")))
        if "list_services" in asked:
            services = [{"name": _service(one)} for one in FILES]
            found: dict[str, Any] = {"list_services_response": {"service": services}}
        elif name in by_name:
            found = {"file_descriptor_response": {"file_descriptor_proto": [by_name[name]]}}
        else:
            found = {"error_response": {"error_code": wire.NOT_FOUND, "error_message": "there is no such thing"}}
        await exchange.reply(encode(method.response, {
            "valid_host": asked.get("host", ""), "original_request": asked, **found}))
