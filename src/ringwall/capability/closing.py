"""Closing a tool's JSON Schema: what it does not name is refused, at every level.

Only a subset of JSON Schema 2020-12 can be closed without changing what the named part means; everything
outside it makes the tool unusable, with a reason. References are written out, so that a closed schema has no
recursion, and its size bounds the cost of checking.

Why it is sound. Each value has a *location*: the arguments, a property, an item. What stands there is closed once,
from outside; the schemas that combinators apply to the same value are its *parts*.

- A location without parts, and each branch of an ``anyOf`` or ``oneOf`` that stands alone, is closed by
  ``additionalProperties``.
- With parts, the location is closed by ``unevaluatedProperties`` (and ``unevaluatedItems``): a member is let
  through only if ``properties`` of the location, or of a part that holds, has looked at it. Nothing else of a part
  can look at a member: parts are rebuilt from a few keywords, without ``additionalProperties: true`` or ``items``.
  Where parts name nothing more than the location itself, ``additionalProperties`` does the same.
- A value is closed where its member is named first. Other parts may only check it (``_assertion``): closed twice,
  it would have to be named twice.
- To close is to accept less. That holds under ``allOf``, ``anyOf``, ``then`` and ``else``, but a condition or a
  ``oneOf`` that accepts less lets through more elsewhere. So parts in ``if`` may only check what is named outside,
  those in ``oneOf`` may besides name plain values, on both of which closing changes nothing; and beside a ``oneOf``
  of closed branches stands the listed one, which must hold, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, cast

from ringwall.call import Json
from ringwall.capability.keywords import (
    APPLYING,
    AS_THEY_ARE,
    CHECKS,
    COMBINING,
    CONDITION,
    IN_PARTS,
    NOTES,
    SHAPE,
    TYPING,
    UNEVALUATED,
    How,
    Members,
    checks,
    is_plain,
    named,
    unclosable,
)
from ringwall.errors import BadInput

MAX_NODES: Final = 2000  # schemas in one definition once references are written out; real tools have tens
MAX_DEPTH: Final = 24  # nesting of one definition; real tools have three or four levels
_ROOT_ONLY: Final = frozenset({"$schema", "$defs", "definitions"})
_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"  # that a closed schema is in, whatever was listed


def close(schema: Json, allowed: frozenset[str]) -> dict[str, Json]:
    """Close a tool's input schema.

    Args:
        schema: what the tool server listed.
        allowed: the arguments the manifest declares; others are taken out, so that sending one is refused.

    Raises:
        BadInput: ``unclosable_schema``, naming the place and the construct.

    """
    root, plain = _declared(schema, allowed)
    return cast("dict[str, Json]", _Closer(root, allowed=allowed).close(plain, "", ()))


def shown(schema: Json, allowed: frozenset[str]) -> dict[str, Json]:
    """The same as agents see it: without what is checked twice, with the definitions that the server listed.

    They are closed as well. Nothing refers to them; those that cannot be closed, and so are used nowhere, are left
    out. Arguments and raises as ``close``.
    """
    root, plain = _declared(schema, allowed)
    closer = _Closer(root, allowed=allowed, exact=False)
    closed = cast("dict[str, Json]", closer.close(plain, "", ()))
    dialect: dict[str, Json] = {"$schema": _DIALECT} if root.get("$schema") == _DIALECT else {}
    found = closer.definitions()
    return {**dialect, **({"$defs": found} if found else {}), **closed}


def given(schema: Json, allowed: frozenset[str]) -> dict[str, Json]:
    """The same for a definition of our own, whose properties are closed already where they are meant to be."""
    return {**_declared(schema, allowed)[1], "additionalProperties": False}


def _declared(schema: Json, allowed: frozenset[str]) -> tuple[dict[str, Json], dict[str, Json]]:
    """The schema, and its arguments without those that the manifest does not declare. Raises BadInput."""
    if not isinstance(schema, dict):
        raise unclosable("", "is not an object")
    root = cast("dict[str, Json]", schema)
    if root.get("type") != "object" or not isinstance(root.get("properties", {}), dict):
        raise unclosable("", "does not describe an object of arguments")
    properties = cast("dict[str, Json]", root.get("properties", {}))
    required = root.get("required", [])
    if not isinstance(required, list):
        raise unclosable("", "has 'required' that is not a list")
    if extra := [one for one in cast("list[Json]", required) if not (isinstance(one, str) and one in allowed)]:
        raise unclosable("", f"requires {extra[0]!r}, which the manifest does not declare")
    if missing := sorted(allowed - set(properties)):
        raise unclosable("", f"has no argument {missing[0]!r}, which the manifest declares")
    plain = {key: value for key, value in root.items() if key not in _ROOT_ONLY}
    plain["properties"] = {name: value for name, value in properties.items() if name in allowed}
    return root, plain


class _Closer:
    """One pass over one definition, with a budget of nodes.

    ``allowed``: the arguments that there may be; ``exact``: put the listed ``oneOf`` beside a closed one.
    """

    def __init__(self, root: Mapping[str, Json], *, allowed: frozenset[str], exact: bool = True) -> None:
        self._root = root
        self._allowed = allowed
        self._exact = exact
        self._nodes = 0

    def definitions(self) -> dict[str, Json]:
        """The listed definitions that can be closed."""
        listed, closed = self._root.get("$defs"), dict[str, Json]()
        for name, node in (cast("dict[str, Json]", listed) if isinstance(listed, dict) else {}).items():
            try:
                made = self.close(node, f"/$defs/{name}", ())
            except BadInput:
                continue
            anchor = cast("dict[str, Json]", node).get("$anchor") if isinstance(node, dict) else None
            known = isinstance(made, dict) and isinstance(anchor, str) and anchor.isidentifier() and (
                anchor.isascii())
            closed[name] = {"$anchor": anchor, **cast("dict[str, Json]", made)} if known else made
        return closed

    def close(self, node: Json, at: str, refs: tuple[str, ...]) -> Json:
        """What stands at one location."""
        self._count(at)
        if node is False:
            return False
        if not isinstance(node, dict):
            raise unclosable(at, "accepts anything; give it a type")
        schema = {key: value for key, value in cast("dict[str, Json]", node).items() if key != "$anchor"}
        self._known(schema, SHAPE, at)
        if any(schema.get(name, False) is not False for name in UNEVALUATED):
            raise unclosable(at, "lets arbitrary names through ('unevaluatedProperties', 'unevaluatedItems')")
        if "$ref" in schema:
            return self._reference(schema, at, refs)
        applying = APPLYING & set(schema)
        if not applying:
            return self._plain(schema, at, refs)
        alone = len(applying) == 1 and applying <= set(COMBINING) and not set(schema) - NOTES - applying
        if alone and ("allOf" not in schema or len(self._branches(schema, "allOf", at)) == 1):
            return self._combined(schema, at, refs)
        return self._composed(schema, at, refs)

    def _count(self, at: str) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES or at.count("/") > 2 * MAX_DEPTH:
            raise unclosable(at, f"is larger than {MAX_NODES} schemas or nested deeper than {MAX_DEPTH}")

    @staticmethod
    def _known(schema: dict[str, Json], shape: frozenset[str], at: str) -> None:
        if unknown := sorted(set(schema) - NOTES - CHECKS - shape):
            raise unclosable(at, f"uses {unknown[0]!r}, which cannot be closed")
        if not {"then", "else"}.isdisjoint(schema) and "if" not in schema:
            raise unclosable(at, "has 'then' or 'else' without 'if', which cannot be closed")

    def _reference(self, schema: dict[str, Json], at: str, refs: tuple[str, ...]) -> Json:
        found, refs = self._resolved(schema, at, refs)
        closed = self.close(found, at, refs)
        notes = {key: value for key, value in schema.items() if key != "$ref"}
        return cast("dict[str, Json]", closed) | notes if isinstance(closed, dict) else closed

    def _resolved(self, schema: dict[str, Json], at: str, refs: tuple[str, ...]) -> tuple[Json, tuple[str, ...]]:
        """What a reference means, and the references on the way there."""
        name = schema["$ref"]
        if beside := sorted(set(schema) - NOTES - {"$ref"}):
            raise unclosable(at, f"has {beside[0]!r} beside '$ref', which cannot be closed")
        if not isinstance(name, str) or name.count("/") != 2:
            raise unclosable(at, "refers outside its own definitions")
        if name in refs or len(refs) == MAX_DEPTH:
            raise unclosable(at, f"is recursive, or nested too deeply, through {name!r}")
        _, table, key = name.split("/")
        found = self._root.get(table) if name.startswith("#/") and table in _ROOT_ONLY else None
        if not isinstance(found, dict) or key not in found:
            raise unclosable(at, f"refers to {name[:80]!r}, which it does not define")
        return cast("dict[str, Json]", found)[key], (*refs, name)

    @staticmethod
    def _branches(schema: dict[str, Json], name: str, at: str) -> list[Json]:
        branches = schema[name]
        if not isinstance(branches, list) or not branches:
            raise unclosable(at, f"has no list under {name!r}")
        return cast("list[Json]", branches)

    def _combined(self, schema: dict[str, Json], at: str, refs: tuple[str, ...]) -> Json:
        """Branches that stand alone: each is a location of its own."""
        [name] = APPLYING & set(schema)
        branches = self._branches(schema, name, at)
        closed = [self.close(branch, f"{at}/{name}/{i}", refs) for i, branch in enumerate(branches)]
        if name == "oneOf" and self._exact:
            listed = [self._listed(branch, at, refs) for branch in branches]
            if listed != closed:
                return {**schema, name: closed, "allOf": [{name: listed}]}
        return {**schema, name: closed}

    def _composed(self, schema: dict[str, Json], at: str, refs: tuple[str, ...]) -> Json:
        """A location with parts."""
        if not self._typed(schema, at, refs):
            raise unclosable(at, "accepts anything; give it a type")
        own = {key: value for key, value in schema.items() if key not in APPLYING and key not in UNEVALUATED}
        if not TYPING.isdisjoint(own):
            closed = self._plain(own, at, refs)
        elif beside := sorted(set(own) - NOTES - CHECKS):
            raise unclosable(at, f"has {beside[0]!r} without a type, which cannot be closed")
        else:
            closed = own
        mine = set(cast("dict[str, Json]", closed.get("properties", {})))
        members = Members(set(mine))
        parts = self._parts(schema, at, refs, members, How(None if at else self._allowed))
        if schema.get("additionalProperties") is not False and members.all() > mine:
            closed.pop("additionalProperties", None)
        kinds = closed.get("type", ["object", "array"])
        if "object" in kinds and "additionalProperties" not in closed:
            closed["unevaluatedProperties"] = False
        if "array" in kinds and "items" not in closed:
            closed["unevaluatedItems"] = False
        return closed | parts

    def _typed(self, node: Json, at: str, refs: tuple[str, ...]) -> bool:
        """Whether it says what kind of value it takes."""
        if not isinstance(node, dict):
            return node is False
        schema = cast("dict[str, Json]", node)
        if "$ref" in schema:
            self._count(at)
            found, refs = self._resolved(schema, at, refs)
            return self._typed(found, at, refs)
        said = {name: [self._typed(branch, at, refs) for branch in self._branches(schema, name, at)]
                for name in COMBINING if name in schema}
        return (not TYPING.isdisjoint(schema) or any(said.pop("allOf", ()))
                or any(all(branches) for branches in said.values()))

    def _parts(self, schema: dict[str, Json], at: str, refs: tuple[str, ...], members: Members,
               how: How) -> dict[str, Json]:
        """What is applied to the same value: first what always holds, which may name what the others only check."""
        made: dict[str, Json] = {}
        if "allOf" in schema:
            made["allOf"] = [self._part(branch, f"{at}/allOf/{i}", refs, members, how)
                             for i, branch in enumerate(self._branches(schema, "allOf", at))]
        for name in ("anyOf", "oneOf"):
            if name in schema:
                inside = replace(how, plain=True) if name == "oneOf" else how
                branches = {f"{name}/{i}": branch for i, branch in enumerate(self._branches(schema, name, at))}
                made[name] = list(self._either(branches, at, refs, members, inside).values())
        if "if" in schema:
            condition = {"if": schema["if"]}
            made |= self._either(condition, at, refs, members, replace(how, condition=True))
            made |= self._either({name: schema[name] for name in ("then", "else") if name in schema}, at, refs,
                                 members, how)
        return made

    def _either(self, branches: dict[str, Json], at: str, refs: tuple[str, ...], members: Members,
                how: How) -> dict[str, Json]:
        """Parts of which not all need apply."""
        made: dict[str, Json] = {}
        found: set[str] = set()
        for step, branch in branches.items():
            inside = members.branch()
            made[step] = self._part(branch, f"{at}/{step}", refs, inside, how)
            found |= inside.all()
        members.seen.update(found)
        return made

    def _part(self, node: Json, at: str, refs: tuple[str, ...], members: Members, how: How) -> Json:
        """A schema that is applied to the value of a location, and does not close it."""
        self._count(at)
        if isinstance(node, bool):
            return node
        if not isinstance(node, dict):
            raise unclosable(at, "is no schema")
        schema = {key: value for key, value in cast("dict[str, Json]", node).items() if key != "$anchor"}
        if "$ref" in schema:
            found, refs = self._resolved(schema, at, refs)
            return self._part(found, at, refs, members, how)
        self._known(schema, IN_PARTS, at)
        made = checks(schema)
        if schema.get("additionalProperties") is False:
            made["additionalProperties"] = False
        elif schema.get("additionalProperties", True) is not True:
            raise unclosable(at, "lets arbitrary names through ('additionalProperties' with a schema)")
        if "properties" in schema:
            listed = {name: value for name, value in named(schema, at).items()
                      if how.only is None or name in how.only}
            made["properties"] = {name: self._member(value, f"{at}/properties/{name}", name, refs, members, how)
                                  for name, value in listed.items()}
            members.sure.update(listed)
        return made | self._parts(schema, at, refs, members, how)

    def _member(self, node: Json, at: str, name: str, refs: tuple[str, ...], members: Members, how: How) -> Json:
        """What a part says of one member."""
        if name in members.sure:
            return self._assertion(node, at)
        if how.condition:
            raise unclosable(at, "is named by a condition only, which cannot be closed")
        closed = self.close(node, at, refs)
        if (how.plain or name in members.seen) and not is_plain(closed):
            raise unclosable(at, "is no plain value, and described twice or below 'oneOf', which cannot be closed")
        return closed

    def _assertion(self, node: Json, at: str) -> Json:
        """A check of what is closed elsewhere; it looks at no member and at no item."""
        self._count(at)
        if isinstance(node, bool):
            return node
        if not isinstance(node, dict):
            raise unclosable(at, "is no schema")
        schema = cast("dict[str, Json]", node)
        if beside := sorted(set(schema) - NOTES - CHECKS - {"type", "format"}):
            raise unclosable(at, f"is described a second time, with {beside[0]!r}, which cannot be closed")
        return checks(schema)

    def _listed(self, node: Json, at: str, refs: tuple[str, ...]) -> Json:
        """What the server listed, which was closed before, with references written out and nothing closed."""
        self._count(at)
        if not isinstance(node, dict):
            return node
        schema = cast("dict[str, Json]", node)
        if "$ref" in schema:
            found, refs = self._resolved(schema, at, refs)
            return self._listed(found, at, refs)
        made = checks(schema)
        for key in AS_THEY_ARE & set(schema):
            made[key] = schema[key]
        for key in {"items", *CONDITION} & set(schema):
            made[key] = self._listed(schema[key], at, refs)
        for key in {"prefixItems", *COMBINING} & set(schema):
            made[key] = [self._listed(one, at, refs) for one in cast("list[Json]", schema[key])]
        if "properties" in schema:
            made["properties"] = {name: self._listed(value, at, refs) for name, value in named(schema, at).items()}
        return made

    def _plain(self, schema: dict[str, Json], at: str, refs: tuple[str, ...]) -> dict[str, Json]:
        closed = checks(schema)
        types = self._types(schema, at)
        if types:
            closed["type"] = types[0] if len(types) == 1 else types
        elif not {"items", "prefixItems", "additionalProperties"}.isdisjoint(schema):
            raise unclosable(at, "says what is inside, but not its type")
        if "object" in types:
            closed |= self._object(schema, at, refs)
        if "array" in types:
            closed |= self._array(schema, at, refs)
        return closed

    @staticmethod
    def _types(schema: dict[str, Json], at: str) -> list[str]:
        kind = schema.get("type", "object" if "properties" in schema else None)
        if isinstance(kind, str):
            return [kind]
        if isinstance(kind, list) and kind and all(isinstance(one, str) for one in cast("list[Json]", kind)):
            return cast("list[str]", kind)
        if kind is None and ("enum" in schema or "const" in schema):
            return []
        raise unclosable(at, "accepts anything; give it a type")

    def _object(self, schema: dict[str, Json], at: str, refs: tuple[str, ...]) -> dict[str, Json]:
        if not isinstance(schema.get("additionalProperties", False), bool):
            raise unclosable(at, "lets arbitrary names through ('additionalProperties' with a schema)")
        inner = {key: self.close(value, f"{at}/properties/{key}", refs) for key, value in named(schema, at).items()}
        return {"properties": inner, "additionalProperties": False}

    def _array(self, schema: dict[str, Json], at: str, refs: tuple[str, ...]) -> dict[str, Json]:
        first = schema.get("prefixItems", [])
        if not isinstance(first, list):
            raise unclosable(at, "has 'prefixItems' that is not a list")
        if "items" not in schema and not first:
            raise unclosable(at, "is an array of anything; give its items a type")
        prefix = [self.close(one, f"{at}/prefixItems/{i}", refs) for i, one in enumerate(cast("list[Json]", first))]
        closed: dict[str, Json] = {"items": self.close(schema.get("items", False), f"{at}/items", refs)}
        return closed | {"prefixItems": prefix} if prefix else closed
