"""Protocol Buffers, the part the Workload API needs: messages declared as tables, one strict reader for all.

Written out rather than generated, because the core reads these bytes from agents: this is all that touches them.
(Encoding: protobuf.dev/programming-guides/encoding.)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ringwall.errors import BadInput

MAX_FIELDS: Final = 256  # in one message: an honest request has a handful
MAX_DEPTH: Final = 8  # messages inside messages; ours go three deep
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_NUMBER: Final = (1 << 29) - 1  # of a field
_MAX_VARINT: Final = 10  # bytes

FieldKind = Literal["string", "bytes", "message", "int32", "enum", "bool", "double"]
_WIRE: Final[Mapping[str, int]] = {"int32": _VARINT, "enum": _VARINT, "bool": _VARINT, "double": _FIXED64}


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """One field of a message. ``map``: entries of key (string) and value. A message field without ``message`` holds
    bytes that are encoded already: of a type that contains itself, or of one that nobody here looks into."""

    number: int
    name: str
    kind: FieldKind
    repeated: bool = False
    map: bool = False
    message: Message | None = None
    oneof: str = ""  # the group of which at most one is set; its members are written even when empty
    type_name: str = ""  # of an enum, or of a message that is not given; with the leading dot


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message type. ``name`` in full, without the leading dot; ``nested``: types declared inside it."""

    name: str
    fields: tuple[Field, ...] = field(default=())
    nested: tuple[Message, ...] = ()
    map_entry: bool = False


def map_field(number: int, name: str, of: str, kind: FieldKind, type_name: str = "") -> Field:
    """``map<string, kind>``: repeated entries, as the encoding has it."""
    entry = "".join(part.capitalize() for part in name.split("_")) + "Entry"
    parts = (Field(number=1, name="key", kind="string"),
             Field(number=2, name="value", kind=kind, type_name=type_name))
    return Field(number=number, name=name, kind="message", repeated=True, map=True,
                 message=Message(name=f"{of}.{entry}", fields=parts, map_entry=True))


def encode(message: Message, values: Mapping[str, Any]) -> bytes:
    """The bytes of a message. ``values`` by field name; what is absent, or empty outside a oneof, is left out.

    Raises:
        KeyError: a value that the message does not have; that is a fault of ours.

    """
    known = {one.name: one for one in message.fields}
    out = bytearray()
    for name, value in values.items():
        one = known[name]
        if one.map:
            for key, item in value.items():
                _put(out, one, {"key": key, "value": item})
        elif one.repeated:
            for item in value:
                _put(out, one, item)
        elif value or one.oneof:
            _put(out, one, value)
    return bytes(out)


def _put(out: bytearray, one: Field, value: Any) -> None:
    wire = _WIRE.get(one.kind, _BYTES)
    _put_varint(out, one.number << 3 | wire)
    if wire == _VARINT:
        _put_varint(out, int(value) & (1 << 64) - 1)  # a negative int32 takes ten bytes
        return
    if wire == _FIXED64:
        out += struct.pack("<d", value)
        return
    if one.message is not None:
        value = encode(one.message, value)
    elif one.kind == "string":
        value = value.encode()
    _put_varint(out, len(value))
    out += value


def _put_varint(out: bytearray, number: int) -> None:
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def decode(message: Message, data: bytes, depth: int = MAX_DEPTH) -> dict[str, Any]:
    """What a message says, by field name; absent fields are absent, unknown ones are passed over.

    Raises:
        BadInput: ``bad_protobuf``: truncated, an impossible tag, another wire type than declared, text that is not
            UTF-8, too many fields, too deep.

    """
    if not depth:
        raise _bad(f"messages lie more than {MAX_DEPTH} deep in each other")
    known = {one.number: one for one in message.fields}
    found: dict[str, Any] = {}
    for count, (number, wire, value) in enumerate(_fields(data)):
        if count >= MAX_FIELDS:
            raise _bad(f"a message has more than {MAX_FIELDS} fields")
        one = known.get(number)
        if one is None:
            continue
        if wire != _WIRE.get(one.kind, _BYTES):
            raise _bad(f"field {one.name} has another type on the wire")
        read = _read(one, value, depth)
        if one.map:
            found.setdefault(one.name, {})[read.get("key", "")] = read.get("value", "")
        elif one.repeated:
            found.setdefault(one.name, []).append(read)
        else:
            found[one.name] = read  # the last one counts
    return found


def _read(one: Field, value: int | bytes, depth: int) -> Any:
    if isinstance(value, int):
        if one.kind == "bool":
            return value != 0
        low = value & 0xFFFFFFFF  # a longer number is cut to its lower half, as the encoding has it
        return low - (1 << 32) if low >> 31 else low
    if one.kind == "double":
        return struct.unpack("<d", value)[0]
    if one.message is not None:
        return decode(one.message, value, depth - 1)
    if one.kind == "string":
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise _bad(f"field {one.name} is not UTF-8") from None
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number <= _MAX_NUMBER:
            raise _bad("a field has an impossible number")
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in {_FIXED64, _FIXED32}:
            size = 8 if wire == _FIXED64 else 4
        else:
            raise _bad("a field has a wire type that nobody uses")
        if size > end - at:
            raise _bad("it is cut short")
        yield number, wire, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    number = 0
    for shift, byte in enumerate(data[at : at + _MAX_VARINT]):
        number |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            if number >> 64:
                break
            return number, at + shift + 1
    raise _bad("a number is cut short or too long")


def _bad(why: str) -> BadInput:
    return BadInput(f"the request is no such message: {why}", code="bad_protobuf")


_TYPES: Final[Mapping[str, int]] = {  # descriptor.proto, FieldDescriptorProto.Type
    "double": 1, "int32": 5, "bool": 8, "string": 9, "message": 11, "bytes": 12, "enum": 14,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """One method of a service."""

    name: str
    request: Message
    response: Message
    client_streaming: bool = False
    server_streaming: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A ``.proto`` file, for reflection."""

    name: str
    package: str = ""
    imports: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    service: str = ""
    methods: tuple[Method, ...] = ()
    enums: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])


def _one(number: int, name: str, kind: FieldKind, **more: Any) -> Field:
    return Field(number=number, name=name, kind=kind, **more)


_OPTIONS = Message(name="google.protobuf.MessageOptions", fields=(_one(7, "map_entry", "bool"),))
_FIELD = Message(name="google.protobuf.FieldDescriptorProto", fields=(
    _one(1, "name", "string"), _one(3, "number", "int32"), _one(4, "label", "enum"), _one(5, "type", "enum"),
    _one(6, "type_name", "string"), _one(9, "oneof_index", "int32", oneof="set")))
_NAMED = Message(name="google.protobuf.OneofDescriptorProto", fields=(_one(1, "name", "string"),))
_VALUE = Message(name="google.protobuf.EnumValueDescriptorProto", fields=(
    _one(1, "name", "string"), _one(2, "number", "int32", oneof="set")))
_ENUM = Message(name="google.protobuf.EnumDescriptorProto", fields=(
    _one(1, "name", "string"), _one(2, "value", "message", repeated=True, message=_VALUE)))
_INNER = Message(name="google.protobuf.DescriptorProto", fields=(
    _one(1, "name", "string"), _one(2, "field", "message", repeated=True, message=_FIELD),
    _one(7, "options", "message", message=_OPTIONS)))
_OUTER = Message(name="google.protobuf.DescriptorProto", fields=(
    *_INNER.fields, _one(3, "nested_type", "message", repeated=True, message=_INNER),
    _one(4, "enum_type", "message", repeated=True, message=_ENUM),
    _one(8, "oneof_decl", "message", repeated=True, message=_NAMED)))
_METHOD = Message(name="google.protobuf.MethodDescriptorProto", fields=(
    _one(1, "name", "string"), _one(2, "input_type", "string"), _one(3, "output_type", "string"),
    _one(5, "client_streaming", "bool"), _one(6, "server_streaming", "bool")))
_SERVICE = Message(name="google.protobuf.ServiceDescriptorProto", fields=(
    _one(1, "name", "string"), _one(2, "method", "message", repeated=True, message=_METHOD)))
_FILE = Message(name="google.protobuf.FileDescriptorProto", fields=(
    _one(1, "name", "string"), _one(2, "package", "string"), _one(3, "dependency", "string", repeated=True),
    _one(4, "message_type", "message", repeated=True, message=_OUTER),
    _one(5, "enum_type", "message", repeated=True, message=_ENUM),
    _one(6, "service", "message", repeated=True, message=_SERVICE), _one(12, "syntax", "string")))


def descriptor(file: File) -> bytes:
    """The file's FileDescriptorProto, as reflection gives it (descriptor.proto)."""
    service = {"name": file.service, "method": [
        {"name": one.name, "input_type": "." + one.request.name, "output_type": "." + one.response.name,
         "client_streaming": one.client_streaming, "server_streaming": one.server_streaming}
        for one in file.methods]}
    return encode(_FILE, {
        "name": file.name,
        "package": file.package,
        "dependency": file.imports,
        "message_type": [_described(one, file) for one in file.messages],
        "enum_type": _enums(file.package, file.enums),
        "service": [service] if file.service else [],
        "syntax": "proto3",
    })


def _described(message: Message, file: File) -> dict[str, Any]:
    groups = list(dict.fromkeys(one.oneof for one in message.fields if one.oneof))
    inner = [*message.nested, *(one.message for one in message.fields if one.map and one.message is not None)]
    made: dict[str, Any] = {
        "name": message.name.rpartition(".")[2],
        "field": [_field(one, groups) for one in message.fields],
        "options": {"map_entry": True} if message.map_entry else {},
    }
    if not message.map_entry:
        made |= {"nested_type": [_described(one, file) for one in inner],
                 "enum_type": _enums(message.name, file.enums), "oneof_decl": [{"name": name} for name in groups]}
        made = {name: value for name, value in made.items() if value}
    return made


def _field(one: Field, groups: Sequence[str]) -> dict[str, Any]:
    named = "." + one.message.name if one.message is not None else one.type_name
    index = {"oneof_index": groups.index(one.oneof)} if one.oneof else {}
    return {"name": one.name, "number": one.number, "label": 3 if one.repeated else 1, "type": _TYPES[one.kind],
            "type_name": named, **index}


def _enums(scope: str, enums: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    """The enums that are declared directly in a scope."""
    return [{"name": name.rpartition(".")[2],
             "value": [{"name": value, "number": number} for value, number in values.items()]}
            for name, values in enums.items() if name.rpartition(".")[0] == scope]
