"""The one form of a grant: an ``authorization_details`` object (RFC 9396), in the manifest, in the policy's data
and in tokens.

Of the members that section 2.2 names, ``type``, ``identifier``, ``actions`` and ``locations`` are used; ``max`` and
``approval`` are this type's own. All of an object narrows: a member that is not understood is refused, never
ignored.
"""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, get_args

from ringwall.call import Effectclass, Json, as_array, as_object
from ringwall.errors import BadInput

TYPE: Final = "urn:ringwall:tool"
ACTIONS: Final = frozenset(get_args(Effectclass))
MAX_LOCATIONS: Final = 1024  # of one object; a call names at most 256
MAX_LOCATION: Final = 8208  # characters: the longest resource is a URL of 8192, its kind stands before it
MAX_BOUNDS: Final = 64  # more arguments no tool has
MAX_NAME: Final = 64  # characters, as of all names of a manifest
MOST: Final = 1e15  # below it, every whole number is a float of its own
_MEMBERS: Final = frozenset({"type", "identifier", "actions", "locations", "max", "approval"})
_IN_NAMES: Final = frozenset(string.ascii_letters + string.digits + "._-")
_IN_KINDS: Final = frozenset(string.ascii_lowercase + string.digits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """One tool with what it may touch.

    Args:
        identifier: ``server/operation``.
        actions: effect classes (``call.Effectclass``).
        locations: ``kind:pattern`` as in the manifest's grants, a trailing slash is a subtree; of one call, exactly
            what it names. Empty: the tool touches nothing that has a name.
        max: upper bounds of numeric arguments.
        approval: whether a human must say yes to each call.

    """

    identifier: str
    actions: tuple[str, ...]
    locations: tuple[str, ...] = ()
    max: Mapping[str, float] = field(default_factory=dict[str, float])
    approval: Literal["never", "always"] = "never"
    type: Literal["urn:ringwall:tool"] = TYPE


class Granted(Protocol):
    """A grant as a role has it (``types.Grant``)."""

    @property
    def tool(self) -> str: ...
    @property
    def resources(self) -> tuple[str, ...]: ...
    @property
    def max(self) -> Mapping[str, float]: ...
    @property
    def approval(self) -> Literal["never", "always"]: ...


def granted(grant: Granted, effect: str, locations: tuple[str, ...] | None = None) -> Detail:
    """A grant as an object: of the operation's ``effect``; ``locations`` narrow it, None: all that was granted."""
    return Detail(identifier=grant.tool, actions=(effect,), max=grant.max, approval=grant.approval,
                  locations=grant.resources if locations is None else locations)


def spell(detail: Detail) -> dict[str, Json]:
    """The object as JSON: ``max`` and ``approval`` only where they say something."""
    found: dict[str, Json] = {"type": TYPE, "identifier": detail.identifier, "actions": list(detail.actions),
                              "locations": list(detail.locations)}
    if detail.max:
        found["max"] = dict(detail.max)
    if detail.approval != "never":
        found["approval"] = detail.approval
    return found


def parse(value: Json) -> Detail:
    """Read one object that somebody else wrote.

    Raises:
        BadInput: ``bad_detail``: a member is missing, unknown, repeated or of another form. What grants less than
            it seems to say is refused as well: whoever sent it meant something else.

    """
    fields = as_object(value)
    if fields is None:
        raise _bad("is no object")
    if unknown := sorted(set(fields) - _MEMBERS):
        raise _bad(f"has the unknown member {unknown[0][:80]!a}")
    if fields.get("type") != TYPE:
        raise _bad(f"is not of type {TYPE}")
    identifier = fields.get("identifier")
    if not isinstance(identifier, str) or not _is_tool(identifier):
        raise _bad("names no tool in 'identifier'; expected server/operation")
    actions = _texts(fields, "actions", len(ACTIONS))
    if not actions or not ACTIONS.issuperset(actions):
        raise _bad(f"has 'actions' that are not some of {', '.join(sorted(ACTIONS))}")
    locations = _texts(fields, "locations", MAX_LOCATIONS)
    if not all(_is_location(one) for one in locations):
        raise _bad("has 'locations' that are not kind:pattern")
    approval = fields.get("approval", "never")
    if approval not in ("never", "always"):
        raise _bad("has an 'approval' that is neither never nor always")
    return Detail(identifier=identifier, actions=actions, locations=locations, max=_bounds(fields.get("max", {})),
                  approval=approval)


def _texts(fields: dict[str, Json], name: str, most: int) -> tuple[str, ...]:
    found = as_array(fields.get(name, []))
    if found is None or len(found) > most or not all(isinstance(one, str) for one in found):
        raise _bad(f"has '{name}' that are no list of at most {most} texts")
    if len(set(found)) != len(found):
        raise _bad(f"says one of its '{name}' twice")
    return tuple(found)


def _bounds(value: Json) -> dict[str, float]:
    found = as_object(value)
    if found is None or len(found) > MAX_BOUNDS or not all(map(_is_name, found)):
        raise _bad("has a 'max' that is no object of argument names")
    if any(isinstance(one, bool) or not isinstance(one, int | float) or not -MOST <= one <= MOST
           for one in found.values()):
        raise _bad(f"has a 'max' that is no number within {MOST:g} of nothing")
    return {name: float(one) for name, one in found.items()}


def _is_tool(text: str) -> bool:
    server, slash, operation = text.partition("/")
    return bool(slash) and _is_name(server) and _is_name(operation)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and _IN_NAMES.issuperset(text) and text not in {".", ".."}


def _is_location(text: str) -> bool:
    kind, colon, rest = text.partition(":")
    return bool(colon and rest) and _IN_KINDS.issuperset(kind) and bool(kind) and len(text) <= MAX_LOCATION \
        and text.isprintable()


def _bad(why: str) -> BadInput:
    return BadInput(f"an authorization_details object {why}", code="bad_detail")
