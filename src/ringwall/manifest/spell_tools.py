"""The small notations of tool servers and models: where they are, what they may reach, where a secret goes."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse

from ringwall.manifest.shapes import Wrong
from ringwall.manifest.spell import MAX_PORT, name, upstream
from ringwall.manifest.spell_peers import listen
from ringwall.manifest.types import HTTP_METHODS

_METHODS = frozenset(method.upper() for method in HTTP_METHODS)
_HOST = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_DATABASE = re.compile("[A-Za-z0-9_][A-Za-z0-9_-]{0,62}")
_PLACE = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
MAX_POINTER = 256  # characters: a place in a body that somebody wrote by hand


def prefix(text: str) -> str:
    """A URL, or with a trailing slash all below it; https, or http on this machine."""
    return upstream(text) + ("/" if text.endswith("/") else "")


def host_port(text: str) -> str:
    """``api.example:443``: one host, one port, lower case."""
    host, colon, port = text.rpartition(":")
    if not colon or not _HOST.fullmatch(host) or ".." in host:
        raise Wrong('expected a host and a port such as "api.example:443"')
    if not port.isdigit() or len(port) > 5 or not 1 <= int(port) <= MAX_PORT:
        raise Wrong(f"expected a port from 1 to {MAX_PORT}")
    return f"{host}:{int(port)}"


def host(text: str) -> str:
    """``api.example``, or an address: as it stands in a URL, without brackets and in lower case."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        pass
    if not _HOST.fullmatch(text) or ".." in text:
        raise Wrong('expected a host such as "api.example", without a port')
    return text


def server_url(text: str) -> str:
    """Where a server is: ``https://…``, or of a database ``postgresql://…``."""
    return postgres(text) if text.startswith("postgresql://") else upstream(text)


def network(text: str) -> str:
    """``10.1.0.0/16``, or one address."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise Wrong(f'expected a network such as "10.1.0.0/16": {error}') from error


def request_path(text: str) -> str:
    """``POST /v1/``: a method, and a path with all below it where it ends in a slash."""
    method, space, path = text.partition(" ")
    if not space or method not in _METHODS or not _PLACE.fullmatch(path) or ".." in path.split("/"):
        raise Wrong('expected a method and a path such as "POST /v1/"')
    return text


def pointer(text: str) -> str:
    """A JSON pointer (RFC 6901) to a member: ``/auth/token``."""
    if not text.startswith("/") or len(text) > MAX_POINTER or not text.isprintable() or not text.isascii():
        raise Wrong('expected a JSON pointer such as "/auth/token"')
    if re.search("~(?![01])", text):
        raise Wrong('in a JSON pointer "~" is written "~0"')
    return text


def sha256(text: str) -> str:
    """64 hexadecimal digits, lower case."""
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise Wrong("expected 64 hexadecimal digits in lower case")
    return text


def granted_model(text: str) -> str:
    """A model's name, or with a tool of its provider: ``main/web_search``."""
    model, slash, tool = text.partition("/")
    name(model)
    if slash:
        name(tool)
    return text


def local_address(text: str) -> str:
    """``127.0.0.1:9464``: an address of this machine."""
    found = listen(text)
    host = found.rpartition(":")[0].strip("[]")
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False  # a name, which may lead anywhere
    if not here:
        raise Wrong("is told to this machine only; put a forwarder of yours in front for others")
    return found


def collector(text: str) -> str:
    """``http://127.0.0.1:4318``: an OpenTelemetry collector on this machine."""
    url = urllib.parse.urlsplit(upstream(text))
    if url.scheme != "http":
        raise Wrong('expected a collector on this machine such as "http://127.0.0.1:4318"')
    return upstream(text)


def postgres(text: str) -> str:
    """``postgresql://db.example:5432/sales``: a host, a port and a database, and nobody's name or password."""
    host, slash, database = text.removeprefix("postgresql://").partition("/")
    if not text.startswith("postgresql://") or not slash or not _DATABASE.fullmatch(database):
        raise Wrong('expected a URL such as "postgresql://db.example:5432/sales"')
    return f"postgresql://{host_port(host if ':' in host else host + ':5432')}/{database}"
