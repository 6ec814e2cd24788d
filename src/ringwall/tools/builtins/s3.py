"""The built-in ``s3``: objects of Amazon S3 and of what speaks like it. What a call may touch, its credential says.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal, TypeAlias, cast

from pydantic import Field

from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.tools.builtins import given
from ringwall.tools.builtins.amazon import Failed, Keys, Service
from ringwall.tools.builtins.https import Https
from ringwall.tools.builtins.serve import Place

MAX_OBJECT: Final = 1 << 20  # bytes, read or written: what a model can use is far less
MAX_KEYS: Final = 1000  # of one listing: the service's own limit of a page
MAX_LISTING: Final = 4 << 20  # bytes of one as XML: 1,000 keys of 1,024 bytes, escaped
MAX_NOTE: Final = 64 << 10  # bytes of an answer without content
_SHOWN: TypeAlias = Annotated[str, Field(max_length=1400)]


def operations(place: Place) -> Sequence[Callable[..., Any]]:
    """``get``, ``put`` and ``list``. Raises BadInput (``bad_place``)."""
    store = S3(place)
    return (store.get, store.put, store.list)


class S3:
    """One service. Each call has a signature of its own credential; nothing is kept between calls.

    Args:
        place: where it is.

    """

    def __init__(self, place: Place) -> None:
        url = place.url.rstrip("/")
        self._https = Https(url, ca=place.ca, proxy=place.proxy, seconds=place.seconds)
        self._service = Service("s3", url=url, region=place.region or "us-east-1")

    def get(self, object: _SHOWN) -> dict[str, str | int]:  # noqa: A002 (the manifest's name)
        """Read an object of at most 1 MiB: `bucket/key`. The answer has `text`, or `base64` if it is no UTF-8."""
        bucket, key = _object(object)
        body = cast("bytes", self._ask("GetObject", MAX_OBJECT, Bucket=bucket, Key=key)["Body"])
        try:
            return {"object": f"{bucket}/{key}", "bytes": len(body), "text": body.decode()}
        except UnicodeDecodeError:
            return {"object": f"{bucket}/{key}", "bytes": len(body), "base64": base64.b64encode(body).decode()}

    def put(self, object: _SHOWN, content: str,  # noqa: A002 (the manifest's name)
            encoding: Literal["text", "base64"] = "text") -> dict[str, str | int]:
        """Write an object of at most 1 MiB, in place of what it held: `bucket/key`. `encoding`: of `content`."""
        bucket, key = _object(object)
        body = _content(content, encoding)
        self._ask("PutObject", MAX_NOTE, Bucket=bucket, Key=key, Body=body)
        return {"object": f"{bucket}/{key}", "bytes": len(body)}

    def list(self, prefix: _SHOWN) -> dict[str, Any]:
        """List objects of a `bucket`, or below `bucket/folder/`: at most 1,000; `more` says there are others."""
        bucket, slash, key = prefix.removeprefix("s3://").partition("/")
        if slash and not key.endswith("/"):
            raise BadInput("a listing is of a bucket, or of what is below a key that ends in a slash",
                           code="bad_arguments", remedy=f"list {bucket}/{key}/")
        answer = self._ask("ListObjectsV2", MAX_LISTING, Bucket=bucket, Prefix=key, MaxKeys=MAX_KEYS)
        found = [_shown(bucket, one) for one in answer.get("Contents", [])]
        return {"objects": found[:MAX_KEYS], "more": bool(answer.get("IsTruncated")) or len(found) > MAX_KEYS}

    def _ask(self, operation: str, most: int, **parameters: Any) -> dict[str, Any]:
        using = given.current()
        try:
            return self._service.ask(operation, _keys(using), partial(self._https.send, using, most), **parameters)
        except Failed as fault:
            raise _said(fault) from None


def _shown(bucket: str, one: Mapping[str, Any]) -> dict[str, str | int]:
    key, size = one.get("Key"), one.get("Size")
    if not isinstance(key, str) or not isinstance(size, int):
        raise Unavailable("the store's listing cannot be read", code="s3_failed")
    return {"object": f"{bucket}/{key}", "bytes": size}


def _object(text: str) -> tuple[str, str]:
    bucket, _, key = text.removeprefix("s3://").partition("/")
    if not bucket or not key or key.endswith("/"):
        raise BadInput("an object is bucket/key, and its key ends in no slash", code="bad_arguments")
    return bucket, key


def _content(content: str, encoding: str) -> bytes:
    try:
        body = content.encode() if encoding == "text" else base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise BadInput(f"the content is no {encoding}", code="bad_arguments") from None
    if len(body) > MAX_OBJECT:
        raise BadInput(f"the content has {len(body)} bytes; at most {MAX_OBJECT} are written", code="bad_arguments")
    return body


def _keys(using: given.Given) -> Keys:
    values = using.values
    try:
        return Keys(access=values["access_key_id"], secret=values["secret_access_key"],
                    token=values["session_token"])
    except KeyError:
        raise Unavailable("the credential of this call is none for S3", code="credential_missing",
                          remedy="operator: the server's secret must be of `aws`") from None


def _said(fault: Failed) -> RingwallError:
    """What the service refused, without what it said besides."""
    if fault.status in {401, 403}:
        return Refused("the store refuses this", code="s3_denied")
    if fault.status == 404:
        return BadInput("there is no such bucket or object", code="s3_not_found")
    if fault.status in {429, 503}:
        return Unavailable("the store is busy", code="s3_busy", remedy="ask again later")
    return Unavailable(f"the store answers {fault.status}", code="s3_failed")
