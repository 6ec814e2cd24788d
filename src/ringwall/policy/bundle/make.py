"""Making a bundle: one archive that OPA serves over REST and that the core executes itself.

Inside: ``.manifest`` (revision, roots, and how the plan was made), ``.signatures.json`` if it is signed, the Rego,
``data.json``, ``plan.json`` (OPA's plan) and ``capabilities.json`` (the built-ins it may use).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from ringwall.call import Json
from ringwall.policy.build import CAPABILITIES, COMPILER, SOURCES, compile_plan, revision
from ringwall.policy.bundle import archive, signature
from ringwall.policy.bundle.folder import DATA, Folder
from ringwall.policy.bundle.lint import Module, check_modules, parse_modules, raise_if_any
from ringwall.policy.bundle.lint_plan import check_plan
from ringwall.policy.bundle.signature import SigningKey

MANIFEST: Final = ".manifest"
PLAN: Final = "plan.json"
_CANONICAL: Final = msgspec.json.Encoder(order="sorted")


def make(opa: str, folder: Folder, *, whole: bool = False, key: SigningKey | None = None,
         scope: str = "") -> bytes:
    """Compile, lint, pack and sign. The same folder gives the same bytes.

    Args:
        opa: the compiler, checked (``build.need_compiler``).
        folder: what the user wrote.
        whole: it is a policy of its own, with its own ``ringwall.decide``, and not rules beside the shipped one.
        key: signs it; None: nobody does.
        scope: what it is signed for.

    Raises:
        PolicyError: ``bad_policy``, ``policy_lint`` or ``bundle_...``.

    """
    modules = folder.modules(whole=whole)
    parsed = parse_modules(opa, modules)
    own = set(folder.sources if whole else folder.placed())
    capabilities = (SOURCES / CAPABILITIES).read_bytes()
    raise_if_any(check_modules([one for one in parsed if one.name in own], whole=whole))
    plan = compile_plan(opa, {**modules, **_written(folder.data)}, capabilities)
    raise_if_any(one for one in check_plan(plan) if one.file in own)
    files = contents(modules=modules, data=folder.data, plan=plan, capabilities=capabilities,
                     owned=roots(parsed, folder.data))
    if key is not None:
        files[signature.FILE] = key.sign(files, scope=scope)
    return archive.write(files)


def contents(*, modules: Mapping[str, bytes], data: Mapping[str, Json], plan: bytes, capabilities: bytes,
             owned: Sequence[str]) -> dict[str, bytes]:
    """The files of a bundle that is not signed yet, by name."""
    counted = revision({**modules, **_written(data)}, capabilities, COMPILER)
    manifest: dict[str, Any] = {
        "revision": counted, "roots": list(owned), "rego_version": 1,
        "metadata": {"ringwall": {"opa": COMPILER, "plan": hashlib.sha256(plan).hexdigest()}},
    }
    return {**modules, DATA: spelled(data), CAPABILITIES: capabilities, PLAN: plan, MANIFEST: spelled(manifest)}


def _written(data: Mapping[str, Json]) -> dict[str, bytes]:
    """The data file as part of what is compiled and counted: none where there are no data."""
    return {DATA: spelled(data)} if data else {}


def spelled(value: Json) -> bytes:
    """JSON in the one spelling whose bytes are what OPA hashes: sorted, without spaces, escaped as Go does it."""
    return _CANONICAL.encode(value).replace("\u2028".encode(), rb"\u2028").replace("\u2029".encode(), rb"\u2029")


def roots(modules: Iterable[Module], data: Mapping[str, Json]) -> list[str]:
    """What the bundle owns in OPA: its packages and the keys of its data, none below another.

    ``ringwall`` itself is not among them: the core's own data stand there.
    """
    wanted = sorted({"/".join(module.package) for module in modules} | set(data))
    return [root for root in wanted if not any(root.startswith(other + "/") for other in wanted)]
