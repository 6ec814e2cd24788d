"""What OPA answers, read strictly: a decision with where it comes from, or an error that says whose fault it is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeVar

import msgspec

from ringwall.call import Json
from ringwall.errors import BadInput, PolicyError
from ringwall.policy.opa.http import Response
from ringwall.wire import strict

LEAST: Final[tuple[int, ...]] = (1, 21, 3)  # GHSA-g2pf-6v5v-qcc8: before it, a bundle's signature could be skipped
_VERSION: Final = re.compile(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})(?:([-+])[0-9A-Za-z.+-]{1,64})?")
_LIMITS: Final = frozenset({"bad_number", "too_deep", "too_many_values"})
_T = TypeVar("_T")


class Outage(PolicyError):
    """OPA could not answer: not because of what was asked, so it counts for the breaker."""


class Stale(Outage):
    """OPA answered from another state than the one it was left in: it was restarted, or changed."""


class _Bundle(msgspec.Struct, frozen=True):
    revision: str = ""


class _Provenance(msgspec.Struct, frozen=True):
    version: str
    bundles: dict[str, _Bundle] = {}


class Decided(msgspec.Struct, frozen=True):
    """Our wrapper's result: the digest of the data it saw, and the decision; no decision: undefined."""

    digest: str
    decision: list[Json]


class _Data(msgspec.Struct, frozen=True):
    provenance: _Provenance
    result: Json = None

    @property
    def version(self) -> str:
        return self.provenance.version

    def revision(self, bundle: str) -> str:
        """The revision of this bundle that the answer was made from; empty: there is no such bundle."""
        found = self.provenance.bundles.get(bundle)
        return found.revision if found is not None else ""


class _Manifest(msgspec.Struct, frozen=True):
    revision: str = ""
    roots: tuple[str, ...] = ("",)


class _Served(msgspec.Struct, frozen=True):
    manifest: _Manifest


class _Detail(msgspec.Struct, frozen=True):
    code: str = ""
    message: str = ""


class _Error(msgspec.Struct, frozen=True):
    code: str
    message: str
    errors: list[_Detail] = []


def bad_answer(what: str) -> Outage:
    """The error of an answer that is not OPA's."""
    return Outage(f"OPA's answer {what}", code="opa_bad_answer", remedy="look what really listens there")


def data_of(response: Response) -> _Data:
    """An answer of the data API. Raises Outage, or PolicyError for a refusal to evaluate this input."""
    if response.status != 200:
        raise error_of(response)
    return _typed(response.body, _Data)


def decided(data: _Data) -> Decided:
    """The wrapper's result. Raises Stale when it is not there."""
    if data.result is None:
        raise Stale("OPA lost what it was given", code="opa_stale", remedy="it is given to it again")
    try:
        return msgspec.convert(data.result, Decided, strict=True)
    except (msgspec.ValidationError, RecursionError):
        raise bad_answer("has another form than it was asked for") from None


def error_of(response: Response) -> PolicyError:
    """What an error means: an evaluation that failed is an answer about this input, anything else an outage."""
    if not 400 <= response.status <= 599:
        return bad_answer(f"has the status {response.status}")
    try:
        found = _typed(response.body, _Error)
    except Outage as fault:
        fault.cause = f"OPA's answer has the status {response.status} and is not an error of OPA's"
        return fault
    said = "; ".join([found.message, *(detail.message for detail in found.errors)])[:500]
    if response.status == 500 and found.errors and all(d.code.startswith("eval_") for d in found.errors):
        return PolicyError(f"evaluating the policy failed: {said}", code="policy_failed")
    if response.status < 500:
        return PolicyError(f"OPA refuses to be asked ({response.status}): {said}", code="opa_refused",
                           remedy="let Ringwall use /v1/data, /v1/policies and /health of this OPA")
    return Outage(f"OPA failed ({response.status}): {said}", code="opa_failed", remedy="see OPA's own log")


def check_version(version: str) -> None:
    """Raises PolicyError (``opa_too_old``) for what is not at least the release with the signature check mended."""
    found = _VERSION.fullmatch(version)
    numbers: tuple[int, ...] = tuple(int(part) for part in found.groups()[:3]) if found else ()
    if numbers < LEAST or (found is not None and numbers == LEAST and found.group(4) == "-"):
        wanted = ".".join(map(str, LEAST))
        raise Outage(f"OPA {version[:40]!r} is older than {wanted}", code="opa_too_old",
                     remedy=f"run OPA {wanted} or later: before it, a bundle's signature could be skipped")


def serving(bundles: Json, entry_points: tuple[str, ...]) -> tuple[str, str]:
    """Name and revision of the bundle that holds all our entry points. Raises Outage (``opa_no_policy``)."""
    try:
        found = msgspec.convert(bundles if bundles is not None else {}, dict[str, _Served], strict=True)
    except (msgspec.ValidationError, RecursionError):
        raise bad_answer("about its bundles has no known form") from None
    for name, one in found.items():
        if one.manifest.revision and all(_covers(one.manifest.roots, point) for point in entry_points):
            return name, one.manifest.revision
    raise Outage("OPA serves no bundle with a revision and Ringwall's entry points", code="opa_no_policy",
                 remedy="build one with `ringwall policy build`, and start `opa run --server --bundle` with it")


def _covers(roots: Sequence[str], entry_point: str) -> bool:
    return any(root == "" or entry_point == root or entry_point.startswith(f"{root}/") for root in roots)


def _typed(body: bytes, wanted: type[_T]) -> _T:
    try:
        return msgspec.convert(strict.parse(body), wanted, strict=True)
    except BadInput as fault:
        if fault.code in _LIMITS:  # JSON, but more than a decision may hold: an input can bring a policy to that
            raise PolicyError(f"OPA's decision is over a limit: {fault.cause}", code="policy_limit") from fault
        raise bad_answer(f"is damaged: {fault.cause}") from fault
    except (msgspec.ValidationError, RecursionError):
        raise bad_answer("has no known form") from None


def wrapper(package: str, entry_points: Mapping[str, str], digest: str) -> str:
    """The module that asks an entry point and says with which data: ``{name: entry point}``.

    OPA evaluates both in one transaction, so the digest is that of the very data the decision was made with.
    """
    rules = [f"{name} := {{\"digest\": {digest}, \"decision\": [found | found := {_reference(point)}]}}"
             for name, point in entry_points.items()]
    return "\n\n".join([f"package {package}", *rules]) + "\n"


def _reference(entry_point: str) -> str:
    return "data" + "".join(f'["{part}"]' for part in entry_point.split("/"))
