"""The small notations inside strings: names, rates, argument roles, labels, addresses of upstreams."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
from typing import Final, Literal, cast, get_args

from ringwall.errors import BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.workload.interface import MAX_AUDIENCE
from ringwall.manifest.problems import nearest, quoted
from ringwall.manifest.shapes import Wrong
from ringwall.manifest.types import (
    LOOSENING,
    ROLE_VERBS,
    ArgumentRole,
    Clearance,
    Integrity,
    OperatorRole,
    OutputLabel,
    Rate,
)

MAX_NAME: Final = 64  # names become folders, log names and parts of a SPIFFE ID
MAX_SOCKET_PATH: Final = 107  # bytes; unix(7): 108 with the closing NUL
MAX_COUNT: Final = 10**9  # calls or tokens: more is no limit
MAX_MICROS: Final = 10**15  # a thousand million of any currency, and exact in every store
MAX_PORT: Final = 65_535
MAX_UID: Final = (1 << 32) - 2  # the last one stands for nobody at all
UNIT_SECONDS: Final = {"s": 1.0, "sec": 1.0, "min": 60.0, "hour": 3600.0, "day": 86400.0}
KINDS: Final = ("path", "url", "email", "iban", "arn", "s3", "gcs", "table", "git", "k8s", "id", "name", "payee",
                "channel", "member")
RoleName = Literal["target", "payload", "selector", "param", "query", "url", "secret", "ident"]
TYPED_ROLES: Final = frozenset({"target", "selector", "url"})  # their values can be resources
# Message framing belongs to the HTTP client; a secret put there would change where a request goes or ends.
FRAMING_HEADERS: Final = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection",
                                    "te", "trailer", "upgrade", "expect", "keep-alive", "proxy-connection"})
_RATE = re.compile(r"([0-9]{1,10})/([a-z]+)(?: burst ([0-9]{1,10}))?")
_STORE = re.compile(r"(rediss?)://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})/([0-9]{1,3})")
_TOKENS = re.compile(r"([0-9]{1,10})/session")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")  # RFC 9110, section 5.6.2
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")
_URL_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()+,;=:@-]+)*/?")


def name(text: str) -> str:
    """A SPIFFE path segment of at most MAX_NAME characters."""
    if len(text) > MAX_NAME:
        raise Wrong(f"a name has at most {MAX_NAME} characters")
    try:
        SpiffeId.make(trust_domain="x", tenant=text, agent="x", role="x")
    except BadInput as error:
        raise Wrong(f"expected a name: {error.remedy}") from error
    return text


def tenant(text: str) -> str:
    """A name that is not one of Ringwall's own logs."""
    if text == "system":
        raise Wrong('"system" is the name of Ringwall\'s own log')
    return name(text)


def trust_domain(text: str) -> str:
    """A SPIFFE trust domain."""
    try:
        SpiffeId.make(trust_domain=text, tenant="x", agent="x", role="x")
    except BadInput as error:
        raise Wrong(f"expected a trust domain: {error.remedy}") from error
    return text


def operator_role(text: str) -> OperatorRole:
    """A role of a human who operates."""
    if text not in ROLE_VERBS:
        raise Wrong(f"is no role of an operator{nearest(text, ROLE_VERBS)}; expected one of "
                    f"{', '.join(ROLE_VERBS)}")
    return cast("OperatorRole", text)


def loosening(text: str) -> str:
    """A verb that may be made to need two people: one that loosens. What tightens must never wait."""
    if text not in LOOSENING:
        raise Wrong(f"needs nobody else{nearest(text, LOOSENING)}; expected one of {', '.join(LOOSENING)}")
    return text


def filled(text: str) -> str:
    """Any text but the empty one."""
    if not text:
        raise Wrong("is empty")
    return text


def operation_name(text: str) -> str:
    """``server/operation``."""
    server, _, operation = text.partition("/")
    name(server)
    name(operation)
    return text


def field_name(text: str) -> str:
    """A field of an output, or ``*`` for all others."""
    return text if text == "*" else name(text)


def module(text: str) -> str:
    """A dotted Python module name."""
    if not _MODULE.fullmatch(text):
        raise Wrong('expected the name of a Python module such as "acme.tools.math"')
    return text


def audience(text: str) -> str:
    """An audience of a JWT-SVID, spelled as its recipient compares it."""
    if not 0 < len(text) <= MAX_AUDIENCE or not text.isascii() or not text.isprintable() or " " in text:
        raise Wrong(f"expected 1 to {MAX_AUDIENCE} printable ASCII characters without a space")
    return text


def header(text: str) -> str:
    """A header name that may carry a secret."""
    if not _TOKEN.fullmatch(text):
        raise Wrong('expected the name of a header such as "Authorization"')
    if text.lower() in FRAMING_HEADERS:
        raise Wrong("this header belongs to the connection and may carry no secret")
    return text


def header_format(text: str) -> str:
    """A header's value with ``{}`` once, where the secret goes."""
    if text.count("{}") != 1 or text.replace("{}", "", 1).count("{") or text.replace("{}", "", 1).count("}"):
        raise Wrong('expected {} exactly once, as in "Bearer {}"')
    if not text.isascii() or not text.isprintable():
        raise Wrong("expected printable ASCII")
    return text


def rate(text: str) -> Rate:
    """``60/min burst 10``; without a burst, the whole count may come at once."""
    found = _RATE.fullmatch(text)
    if not found:
        raise Wrong('expected a rate such as "60/min" or "60/min burst 10"')
    if found[2] not in UNIT_SECONDS:
        raise Wrong(f"{quoted(found[2])} is no unit of time{nearest(found[2], UNIT_SECONDS)}; "
                    f"expected one of {', '.join(UNIT_SECONDS)}")
    count = int(found[1])
    burst = int(found[3]) if found[3] else count
    if not 1 <= count <= MAX_COUNT or not 1 <= burst <= MAX_COUNT:
        raise Wrong(f"expected numbers from 1 to {MAX_COUNT}")
    return Rate(count=count, seconds=UNIT_SECONDS[found[2]], burst=burst)


def store(text: str) -> str:
    """``memory``, ``unix:/run/redis.sock``, ``redis://127.0.0.1:6379/0``, ``rediss://`` for another machine."""
    if text == "memory":
        return text
    scheme, _, rest = text.partition(":")
    if scheme == "unix":
        if not rest.startswith("/") or not rest.isprintable() or not rest.isascii():
            raise Wrong("expected an absolute path of a socket after unix:")
        return text
    found = _STORE.fullmatch(text)
    if not found or not (_HOST.fullmatch(found[2]) or _is_address(found[2].strip("[]"))):
        raise Wrong('expected "memory", "unix:/run/redis.sock" or "redis://127.0.0.1:6379/0"')
    if not 1 <= int(found[3]) <= MAX_PORT:
        raise Wrong(f"expected a port from 1 to {MAX_PORT}")
    if scheme == "redis" and not _is_loopback(found[2].strip("[]")):
        raise Wrong("redis:// is for this machine only; write rediss://, which is encrypted")
    return text


def currency(text: str) -> str:
    """A short name such as ``EUR``."""
    if not re.fullmatch(r"[A-Za-z]{1,8}", text):
        raise Wrong('expected a name such as "EUR"')
    return text


def tokens(text: str) -> int:
    """``200000/session``."""
    found = _TOKENS.fullmatch(text)
    if not found or not 1 <= int(found[1]) <= MAX_COUNT:
        raise Wrong('expected a number of tokens a session such as "200000/session"')
    return int(found[1])


def argument_role(text: str) -> ArgumentRole:
    """``selector:path``, ``target:email``, ``payload``."""
    role, colon, kind = text.partition(":")
    roles = get_args(RoleName)
    if role not in roles:
        raise Wrong(f"{quoted(role)} is no role of an argument{nearest(role, roles)}; expected one of "
                    f"{', '.join(roles)}")
    if role == "url" and not colon:
        kind = "url"
    if role not in TYPED_ROLES and colon:
        raise Wrong(f"{quoted(role)} takes no kind; write {quoted(role)}")
    if role == "selector" and not colon:
        return ArgumentRole(role="selector")  # selects freely: a reviewer sees that no resource bounds it
    if role in TYPED_ROLES and kind not in KINDS:
        raise Wrong(f"{quoted(role)} needs the kind of its value, as in {quoted(role + ':path')}"
                    f"{nearest(kind, KINDS)}; expected one of {', '.join(KINDS)}")
    if role == "url" and kind != "url":
        raise Wrong('the kind of "url" is url')
    return ArgumentRole(role=cast("RoleName", role), kind=kind)


def output_label(text: str) -> OutputLabel:
    """``U private``: integrity, and confidentiality where it is not private."""
    integrity, space, confidentiality = text.partition(" ")
    if integrity not in get_args(Integrity):
        raise Wrong('expected an integrity P, T, C, M or U, and a confidentiality, as in "U private"')
    if not space:
        return OutputLabel(integrity=cast("Integrity", integrity))
    if confidentiality not in get_args(Clearance):
        known = get_args(Clearance)
        raise Wrong(f"{quoted(confidentiality)} is no confidentiality{nearest(confidentiality, known)}; "
                    f"expected one of {', '.join(known)}")
    return OutputLabel(integrity=cast("Integrity", integrity),
                       confidentiality=cast("Clearance", confidentiality))


def resource_pattern(text: str) -> str:
    """``path:/srv/docs/``: a known kind and something after the colon. The kind's own grammar is checked apart."""
    kind, _, rest = text.partition(":")
    if kind not in KINDS:
        raise Wrong(f"{quoted(kind)} is no kind of resource{nearest(kind, KINDS)}; expected one of "
                    f"{', '.join(KINDS)}, then ':'")
    if not rest:
        raise Wrong(f"expected something after {quoted(kind + ':')}")
    return text


def upstream(text: str) -> str:
    """An https URL, or http on this machine; no user, query or fragment. A trailing slash is dropped."""
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise Wrong("expected a URL of printable ASCII")
    try:
        url = urllib.parse.urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise Wrong(f"expected a URL: {error}") from error
    if url.scheme not in {"http", "https"} or not (_HOST.fullmatch(host) or _is_address(host)):
        raise Wrong('expected a URL such as "https://llm.acme.example/v1"')
    if "@" in url.netloc:
        raise Wrong("a URL here has no user or password; use [secrets]")
    if "?" in text or "#" in text:
        raise Wrong("a URL here has no query and no fragment")
    if url.scheme == "http" and not _is_loopback(host):
        raise Wrong("http is for this machine only; write https")
    if port == 0 or url.netloc.endswith(":"):
        raise Wrong("expected a port from 1 to 65535")
    if not _URL_PATH.fullmatch(url.path) or {".", ".."} & set(url.path.split("/")):
        raise Wrong("expected a plain path: no empty, '.', '..' or escaped parts")
    return text.rstrip("/")


def issuer(text: str) -> str:
    """An https URL without a trailing slash: verifiers compare it letter by letter."""
    url = upstream(text)
    if not url.startswith("https://"):
        raise Wrong("expected an https URL")
    return url


def opa(text: str) -> str:
    """``http://`` on a loopback address, or ``unix:`` and an absolute path. A trailing slash is dropped."""
    if text.startswith("unix:"):
        return _socket(text)
    url = upstream(text)
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not _is_address(parts.hostname or "") or parts.path:
        raise Wrong('expected an address of this machine such as "http://127.0.0.1:8181" or "unix:/run/opa.sock"')
    return url


def _socket(text: str) -> str:
    path = text.removeprefix("unix:")
    if not path.startswith("/") or ".." in path.split("/") or not path.isprintable() \
            or len(path.encode()) > MAX_SOCKET_PATH:
        raise Wrong(f'expected "unix:" and an absolute path of at most {MAX_SOCKET_PATH} bytes')
    return text


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return "%" not in host  # no zone identifiers: their meaning is this machine's alone


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def webhook(text: str) -> str:
    """``http://127.0.0.1:9000/held`` or ``unix:/run/held.sock``: the core connects nowhere else."""
    if text.startswith("unix:"):
        return _socket(text)
    url = urllib.parse.urlsplit(upstream(text))
    if url.scheme != "http" or not _is_address(url.hostname or "") or not url.port:
        raise Wrong('expected "http://127.0.0.1:PORT/…", "http://[::1]:PORT/…" or "unix:/…"; '
                    "what is further away needs a forwarder of yours on this machine")
    return text
