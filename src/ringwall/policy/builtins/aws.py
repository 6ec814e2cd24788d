"""``providers.aws.sign_req``: AWS Signature Version 4 over a request object. Nothing is sent."""

# Rego values are dynamic: a type() narrows Any to a container of unknown elements, which strict mode counts
# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportUnknownLambdaType=false, reportUnknownParameterType=false

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, urlsplit

from ringwall import regex
from ringwall.policy.builtins.documents import marshal
from ringwall.policy.builtins.encodings import raw
from ringwall.policy.builtins.table import Builtin, BuiltinError, obj
from ringwall.policy.plan.values import Value

_REQUIRED: Final = ("aws_access_key", "aws_region", "aws_secret_access_key", "aws_service")
_UNSIGNED: Final = frozenset({"authorization", "user-agent", "x-amzn-trace-id"})  # what a proxy may change
_HASHED: Final = frozenset({"s3", "glacier"})  # services that want the body's hash in a header
_REQUEST: Final = frozenset({
    "method", "url", "body", "enable_redirect", "force_json_decode", "force_yaml_decode", "headers", "raw_body",
    "tls_use_system_certs", "tls_ca_cert", "tls_ca_cert_file", "tls_ca_cert_env_variable", "tls_client_cert",
    "tls_client_cert_file", "tls_client_cert_env_variable", "tls_client_key", "tls_client_key_file",
    "tls_client_key_env_variable", "tls_insecure_skip_verify", "tls_server_name", "timeout", "cache",
    "force_cache", "force_cache_duration_seconds", "raise_error", "caching_mode", "max_retry_attempts",
    "cache_ignored_headers",
})
# Of these characters Go keeps a path and query as they are; others would have to be escaped its way.
_URL: Final = regex.text(r"\Ahttps?://[A-Za-z0-9.-]+(:[0-9]{1,5})?(/([A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*)?"
                         r"(\?([A-Za-z0-9._~!$&'()*+,;=:@/?-]|%[0-9A-Fa-f]{2})*)?\z")


def _text(holder: Mapping[str, Value], name: str) -> str:
    value = holder.get(name)
    return value if type(value) is str else ""


def _url(request: Mapping[str, Value]) -> SplitResult:
    if unknown := [name for name in request if name not in _REQUEST]:
        raise BuiltinError(f"invalid request parameter {str(unknown[0])[:40]}")
    if type(request.get("method")) is not str or type(request.get("url")) is not str:
        raise BuiltinError("missing or invalid values for required request parameters method and url")
    if _URL.search(request["url"]) is None:
        raise BuiltinError("the URL is not plain enough to be signed: http or https, escaped, without user")
    return urlsplit(request["url"])


def _body(request: Mapping[str, Value]) -> bytes:
    if "raw_body" in request:
        return raw(_text(request, "raw_body"))
    return raw(marshal(request["body"])) if "body" in request else b""


def _hash(config: Mapping[str, Value], body: bytes) -> str:
    unsigned = config.get("disable_payload_signing", False)
    if type(unsigned) is not bool:
        raise BuiltinError("invalid value for 'disable_payload_signing' in AWS config")
    return "UNSIGNED-PAYLOAD" if unsigned else hashlib.sha256(body).hexdigest()


def _mac(key: bytes, message: str) -> bytes:
    return hmac.new(key, message.encode(), "sha256").digest()


def _moment(value: Value) -> datetime:
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise BuiltinError("could not convert time_ns value into a unix timestamp")
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=value // 1000)


def sign_request(request: Value, config: Value, time_ns: Value) -> Value:
    """The request with the headers that AWS wants."""
    asked, given = obj(request, 1), obj(config, 2)
    if any(type(given.get(name)) is not str for name in _REQUIRED):
        raise BuiltinError("missing required AWS config parameters")
    at, url = _moment(time_ns), _url(asked)
    headers = {name: _text(obj(asked.get("headers", {}), 1), name) for name in obj(asked.get("headers", {}), 1)
               if type(name) is str}
    body_hash, stamp = _hash(given, _body(asked)), at.strftime("%Y%m%dT%H%M%SZ")
    ours = {"host": url.netloc, "x-amz-date": stamp}
    if given["aws_service"] in _HASHED:
        ours["x-amz-content-sha256"] = body_hash
    if _text(given, "aws_session_token"):
        ours["x-amz-security-token"] = given["aws_session_token"]
    signed = ours | {name.lower(): value for name, value in headers.items() if name.lower() not in _UNSIGNED}
    names = ";".join(sorted(signed))
    lines = [f"{name}:{signed[name]}" for name in sorted(signed)]
    canonical = "\n".join([asked["method"], url.path, url.query, *lines, "", names, body_hash])
    scope = f"{stamp[:8]}/{given['aws_region']}/{given['aws_service']}/aws4_request"
    wanted = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(raw(canonical)).hexdigest()}"
    key = raw(f"AWS4{given['aws_secret_access_key']}")
    for part in scope.split("/"):
        key = _mac(key, part)
    line = (f"AWS4-HMAC-SHA256 Credential={given['aws_access_key']}/{scope},SignedHeaders={names},"
            f"Signature={_mac(key, wanted).hex()}")
    return {**asked, "headers": {**headers, "Authorization": line, **ours}}


AWS: Final[Mapping[str, Builtin]] = MappingProxyType({
    "providers.aws.sign_req": Builtin(sign_request, 3, deep=True),
})
