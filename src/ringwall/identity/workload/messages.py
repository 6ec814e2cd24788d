"""The messages of the Workload API, field by field as its ``workload.proto`` has them, and claims as a Struct."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ringwall.call import Json, as_array, as_object
from ringwall.identity.workload.proto import Field, File, Message, Method, encode, map_field

_VALUE_NAME: Final = ".google.protobuf.Value"
STRUCT: Final = Message(name="google.protobuf.Struct", fields=(
    map_field(1, "fields", "google.protobuf.Struct", "message", _VALUE_NAME),))
_LIST: Final = Message(name="google.protobuf.ListValue", fields=(
    Field(number=1, name="values", kind="message", repeated=True, type_name=_VALUE_NAME),))
_VALUE: Final = Message(name="google.protobuf.Value", fields=(
    Field(number=1, name="null_value", kind="enum", oneof="kind", type_name=".google.protobuf.NullValue"),
    Field(number=2, name="number_value", kind="double", oneof="kind"),
    Field(number=3, name="string_value", kind="string", oneof="kind"),
    Field(number=4, name="bool_value", kind="bool", oneof="kind"),
    Field(number=5, name="struct_value", kind="message", oneof="kind", type_name=".google.protobuf.Struct"),
    Field(number=6, name="list_value", kind="message", oneof="kind", type_name=".google.protobuf.ListValue")))
STRUCT_FILE: Final = File(
    name="google/protobuf/struct.proto", package="google.protobuf", messages=(STRUCT, _VALUE, _LIST),
    enums={"google.protobuf.NullValue": {"NULL_VALUE": 0}})


def struct(claims: Mapping[str, Json]) -> bytes:
    """A JSON object as an encoded Struct; a claim that is a large number loses digits, as in any JSON reader."""
    return encode(STRUCT, {"fields": {name: _value(item) for name, item in claims.items()}})


def _value(item: Json) -> bytes:
    one: dict[str, Any]
    if item is None:
        one = {"null_value": 0}
    elif isinstance(item, bool):
        one = {"bool_value": item}
    elif isinstance(item, int | float):
        one = {"number_value": float(item)}
    elif isinstance(item, str):
        one = {"string_value": item}
    elif (fields := as_object(item)) is not None:
        one = {"struct_value": struct(fields)}
    else:
        one = {"list_value": encode(_LIST, {"values": [_value(inner) for inner in as_array(item) or ()]})}
    return encode(_VALUE, one)


def _text(number: int, name: str, *, repeated: bool = False) -> Field:
    return Field(number=number, name=name, kind="string", repeated=repeated)


def _blob(number: int, name: str, *, repeated: bool = False) -> Field:
    return Field(number=number, name=name, kind="bytes", repeated=repeated)


X509_REQUEST: Final = Message(name="X509SVIDRequest")
_X509_SVID: Final = Message(name="X509SVID", fields=(
    _text(1, "spiffe_id"), _blob(2, "x509_svid"), _blob(3, "x509_svid_key"), _blob(4, "bundle"), _text(5, "hint")))
X509_RESPONSE: Final = Message(name="X509SVIDResponse", fields=(
    Field(number=1, name="svids", kind="message", repeated=True, message=_X509_SVID),
    _blob(2, "crl", repeated=True), map_field(3, "federated_bundles", "X509SVIDResponse", "bytes")))
X509_BUNDLES_REQUEST: Final = Message(name="X509BundlesRequest")
X509_BUNDLES: Final = Message(name="X509BundlesResponse", fields=(
    _blob(1, "crl", repeated=True), map_field(2, "bundles", "X509BundlesResponse", "bytes")))
JWT_REQUEST: Final = Message(name="JWTSVIDRequest", fields=(
    _text(1, "audience", repeated=True), _text(2, "spiffe_id")))
_JWT_SVID: Final = Message(name="JWTSVID", fields=(_text(1, "spiffe_id"), _text(2, "svid"), _text(3, "hint")))
JWT_RESPONSE: Final = Message(name="JWTSVIDResponse", fields=(
    Field(number=1, name="svids", kind="message", repeated=True, message=_JWT_SVID),))
JWT_BUNDLES_REQUEST: Final = Message(name="JWTBundlesRequest")
JWT_BUNDLES: Final = Message(name="JWTBundlesResponse", fields=(
    map_field(1, "bundles", "JWTBundlesResponse", "bytes"),))
VALIDATE_REQUEST: Final = Message(name="ValidateJWTSVIDRequest", fields=(_text(1, "audience"), _text(2, "svid")))
VALIDATE_RESPONSE: Final = Message(name="ValidateJWTSVIDResponse", fields=(
    _text(1, "spiffe_id"), Field(number=2, name="claims", kind="message", type_name="." + STRUCT.name)))

WORKLOAD: Final = File(
    name="workload.proto",
    imports=(STRUCT_FILE.name,),
    messages=(X509_REQUEST, X509_RESPONSE, _X509_SVID, X509_BUNDLES_REQUEST, X509_BUNDLES, JWT_REQUEST,
              JWT_RESPONSE, _JWT_SVID, JWT_BUNDLES_REQUEST, JWT_BUNDLES, VALIDATE_REQUEST, VALIDATE_RESPONSE),
    service="SpiffeWorkloadAPI",
    methods=(
        Method(name="FetchX509SVID", request=X509_REQUEST, response=X509_RESPONSE, server_streaming=True),
        Method(name="FetchX509Bundles", request=X509_BUNDLES_REQUEST, response=X509_BUNDLES, server_streaming=True),
        Method(name="FetchJWTSVID", request=JWT_REQUEST, response=JWT_RESPONSE),
        Method(name="FetchJWTBundles", request=JWT_BUNDLES_REQUEST, response=JWT_BUNDLES, server_streaming=True),
        Method(name="ValidateJWTSVID", request=VALIDATE_REQUEST, response=VALIDATE_RESPONSE),
    ),
)
