"""What a policy's text may not hold, found in OPA's own parse of it (``opa parse --format json``)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast

from ringwall.errors import PolicyError
from ringwall.policy.build import run_opa, write_files

Node = dict[str, Any]
SITE: Final = ("ringwall", "site")
DECIDE: Final = ("ringwall", "decide")
SITE_SETS: Final = ("deny", "ask", "hide")
FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "deny": ("code", "reason", "rule"), "ask": ("code", "question", "rule"),
}
RESERVED: Final = ("system", "ringwall_core")  # first names of packages that OPA and the core keep for themselves
DECISION: Final = ("allow", "deny", "ask", "remedy")
# What differs each time it is asked, or reaches out: a decision must depend on its input alone.
CLOCKS: Final = frozenset({
    "time.now_ns", "rand.intn", "uuid.rfc4122", "http.send", "net.lookup_ip_addr", "opa.runtime",
    "io.jwt.decode_verify", "io.jwt.encode_sign", "io.jwt.encode_sign_raw",
})
MAX_SHOWN: Final = 20  # findings in one error; more than a person mends in one go


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Finding:
    """One fault: where, what, and what to write instead."""

    file: str
    row: int  # 1-based
    check: str
    what: str
    instead: str

    def __str__(self) -> str:
        return f"{self.file}:{self.row}: {self.what}\n  {self.instead} ({self.check})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """One parsed file."""

    name: str
    package: tuple[str, ...]
    rules: Sequence[Node]
    imports: Sequence[Node]


def raise_if_any(findings: Iterable[Finding]) -> None:
    """Raises PolicyError ``policy_lint`` with every finding."""
    found = sorted(set(findings))
    if found:
        shown = "\n".join(str(one) for one in found[:MAX_SHOWN])
        more = f"\nand {len(found) - MAX_SHOWN} more" if len(found) > MAX_SHOWN else ""
        raise PolicyError(f"the policy holds what may decide otherwise than it reads\n{shown}{more}",
                          code="policy_lint", remedy="see docs/policy.md, \"What lint refuses\"")


def parse_modules(opa: str, modules: Mapping[str, bytes]) -> list[Module]:
    """OPA's parse of each file. Raises PolicyError ``bad_policy``."""
    found: list[Module] = []
    with TemporaryDirectory(prefix="ringwall-policy-") as scratch:
        write_files(Path(scratch), modules)
        for name in modules:
            text = run_opa(opa, "parse", "--format", "json", "--json-include", "locations", name, cwd=Path(scratch))
            tree = cast("Node", json.loads(text))
            path = tuple(str(part["value"]) for part in tree["package"]["path"][1:])
            found.append(Module(name=name, package=path, rules=tree.get("rules") or [],
                                imports=tree.get("imports") or []))
    return found


def check_modules(modules: Iterable[Module], *, whole: bool) -> Iterator[Finding]:
    """Everything that the text alone shows."""
    for module in modules:
        yield from _package(module, whole=whole)
        aliases = _input_aliases(module)
        for rule in module.rules:
            for node in _nodes(rule):
                yield from _clock(module, node)
                if node.get("negated") is True:
                    yield from _negation(module, node, aliases)
            yield from _head(module, rule)


def _package(module: Module, *, whole: bool) -> Iterator[Finding]:
    ours = module.package[:1] == ("ringwall",) and not whole and module.package[:2] != SITE
    if ours or module.package[:1] in {(name,) for name in RESERVED}:
        name = ".".join(module.package)
        yield Finding(file=module.name, row=1, check="foreign_package", what=f"package {name} is not a site's",
                      instead="write: package ringwall.site, or a name of your own; --whole replaces everything")


def _head(module: Module, rule: Node) -> Iterator[Finding]:
    head = rule["head"]
    name = _rule_name(head)
    row = _row(head)
    if module.package == SITE and name in {"allow", "given", "call", "list", "remedy"}:
        yield Finding(file=module.name, row=row, check="site_allows", what=f"a site's {name} is asked by nobody",
                      instead="a site can only tighten: deny contains …, ask contains …, hide contains …")
    sets = module.package in {SITE, DECIDE} and name in SITE_SETS
    if sets and name in FIELDS and isinstance(key := head.get("key"), dict):
        yield from _fields(module, row, f"a member of {name}", cast("Node", key), FIELDS[name])
    elif sets and head.get("key") is None and module.package == SITE:
        yield Finding(file=module.name, row=row, check="missing_field", what=f"{name} is not a set of answers",
                      instead=f"write: {name} contains … if …")
    if module.package == DECIDE and name == "call" and isinstance(value := head.get("value"), dict):
        yield from _fields(module, row, "the decision", cast("Node", value), DECISION)


def _fields(module: Module, row: int, what: str, term: Node, wanted: Sequence[str]) -> Iterator[Finding]:
    """An object that is written out must have these fields; one that is computed is checked when it is made."""
    if term.get("type") == "object":
        written = {pair[0].get("value") for pair in term["value"] if pair[0].get("type") == "string"}
        lacking = [field for field in wanted if field not in written]
    elif term.get("type") in {"string", "number", "boolean", "null", "array", "set"}:
        lacking = list(wanted)
    else:
        return
    if lacking:
        yield Finding(file=module.name, row=row, check="missing_field", what=f"{what} lacks {', '.join(lacking)}",
                      instead="write an object with " + ", ".join(f'"{field}"' for field in wanted))


def _clock(module: Module, node: Node) -> Iterator[Finding]:
    name = _reference(node)
    if name in CLOCKS:
        yield Finding(file=module.name, row=_row(node), check="clock_builtin",
                      what=f"{name} answers differently each time",
                      instead="the time is input.time.now (seconds since 1970, UTC); all else is in input.facts")


def _negation(module: Module, node: Node, aliases: frozenset[str]) -> Iterator[Finding]:
    """``not f(input.x)`` holds where ``input.x`` is missing: the very case that nobody thought of."""
    terms = node.get("terms")
    if isinstance(terms, list) and any(_reads_input(term, aliases) for term in cast("list[Node]", terms)[1:]):
        yield Finding(file=module.name, row=_row(node), check="negated_call",
                      what="a negated condition on the input also holds where the input lacks it",
                      instead="give the condition a rule of its own (inside if …) and write: not inside")


def _reads_input(term: Node, aliases: frozenset[str]) -> bool:
    return any(node.get("type") == "ref" and node["value"][0].get("value") in aliases for node in _nodes(term))


def _input_aliases(module: Module) -> frozenset[str]:
    """``input`` and the names under which a file imports parts of it."""
    found = {"input"}
    for one in module.imports:
        path = one["path"]["value"]
        if path[0]["value"] == "input":
            found.add(str(one.get("alias") or path[-1]["value"]))
    return frozenset(found)


def _reference(node: Node) -> str:
    """The dotted name of a reference of constants only; empty: it is none."""
    value = node.get("value")
    if node.get("type") != "ref" or not isinstance(value, list):
        return ""
    parts: list[object] = [part.get("value") for part in cast("list[Node]", value)]
    return ".".join(str(part) for part in parts) if all(isinstance(part, str) for part in parts) else ""


def _rule_name(head: Node) -> str:
    ref = cast("list[Node]", head.get("ref") or [])
    return str(ref[0].get("value", "")) if ref else str(head.get("name", ""))


def _row(node: Node) -> int:
    return int(cast("Node", node.get("location") or {}).get("row") or 1)


def _nodes(tree: object) -> Iterator[Node]:
    """Every object in a parse tree."""
    stack: list[object] = [tree]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            yield cast("Node", item)
            stack.extend(cast("Node", item).values())
        elif isinstance(item, list):
            stack.extend(cast("list[object]", item))
