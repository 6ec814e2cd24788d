"""Tables of calls with the decision that a policy shall make: ``*.calls.toml``, or the same as ``*.calls.json``.

What a table leaves out is what an ordinary call has; how a row becomes the policy's input is not known here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from ringwall.call import Json, as_object
from ringwall.errors import BadInput, PolicyError
from ringwall.policy.decision import Decision, Listing, typed
from ringwall.wire import strict

MAX_BYTES: Final = 1 << 20  # thousands of rows
Want = Literal["allow", "ask", "deny"]


class CallRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One call. Exactly one of ``tool``, ``model`` and ``verb``; ``agent`` is ``tenant/agent``, or ``operator``."""

    name: str
    want: Want
    agent: str = ""
    operator: str = ""
    uid: int = 0
    tool: str = ""
    model: str = ""
    verb: str = ""
    args: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    number: int = 0
    at: datetime | None = None
    approved: bool = False
    codes: tuple[str, ...] | None = None
    facts: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict[str, dict[str, Any]])
    input: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if sum(map(bool, (self.tool, self.model, self.verb))) != 1 or bool(self.agent) == bool(self.operator):
            raise ValueError("needs one of tool, model and verb, and one of agent and operator")
        if self.want == "allow" and self.codes:
            raise ValueError("what is allowed has no codes")


class ListRow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One listing: of all declared operations, those that the policy shall show."""

    name: str
    agent: str
    want: tuple[str, ...]
    number: int = 0
    at: datetime | None = None


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole file. ``at``: the time of every row that names none; ``facts``: added to those of every call."""

    manifest: str
    at: datetime = datetime(2026, 1, 5, 10, 0, tzinfo=UTC)  # a Monday
    facts: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict[str, dict[str, Any]])
    call: tuple[CallRow, ...] = ()
    list: tuple[ListRow, ...] = ()


def read_table(path: Path) -> Table:
    """Read one file.

    Raises:
        PolicyError: ``bad_table``: it cannot be read, or is no such table; its cause names the first fault.

    """
    try:
        raw = path.read_bytes()[:MAX_BYTES + 1]
        if len(raw) > MAX_BYTES:
            raise _bad(path, f"is larger than {MAX_BYTES} bytes")
        tree: object = strict.parse(raw) if path.suffix == ".json" else tomllib.loads(raw.decode())
        table = msgspec.convert(tree, Table, strict=True)
    except OSError as error:
        raise _bad(path, error.strerror or str(error)) from error
    except (BadInput, msgspec.ValidationError, ValueError, RecursionError) as error:  # TOML, UTF-8: ValueErrors
        raise _bad(path, str(error)) from error
    naive = [row.name for row in (*table.call, *table.list) if row.at is not None and row.at.tzinfo is None]
    if naive or table.at.tzinfo is None:
        raise _bad(path, f"{(naive or ['at'])[0]}: a time needs its zone, as in 2026-01-05T10:00:00Z")
    return table


def judge(row: CallRow, answer: Callable[[], Json]) -> str:
    """What is wrong with the decision for a row, as lines for a person; empty: it is as wanted."""
    try:
        decision = typed(answer(), Decision)
    except PolicyError as error:
        return _difference(row, "deny", [error.code], str(error))
    got: Want = "deny" if decision.deny else "ask" if decision.ask else "allow" if decision.permits else "deny"
    found = decision.deny or decision.ask
    because = "; ".join(f"{one.code} ({one.rule})" for one in found)
    return _difference(row, got, [one.code for one in found], because)


def judge_list(row: ListRow, answer: Callable[[], Json]) -> str:
    """The same for a listing."""
    try:
        shown = set(typed(answer(), Listing).targets)
    except PolicyError as error:
        return f"  wanted {', '.join(row.want) or 'nothing'}\n  got    an error: {error}"
    lines = [f"  + {name}  is shown" for name in sorted(shown - set(row.want))]
    lines += [f"  - {name}  is not shown" for name in sorted(set(row.want) - shown)]
    return "\n".join(lines)


def _difference(row: CallRow, got: Want, codes: list[str], because: str) -> str:
    wrong = got != row.want
    unlike = row.codes is not None and sorted(row.codes) != sorted(codes)
    if not wrong and not unlike:
        return ""
    wanted = row.want + (f" ({', '.join(sorted(row.codes))})" if row.codes else "")
    return f"  wanted {wanted}\n  got    {got}" + (f": {because}" if because else "")


def merged(base: Json, over: Mapping[str, Any]) -> Json:
    """``base`` with what ``over`` says, object by object."""
    made = dict(as_object(base) or {})
    for key, value in over.items():
        inner = as_object(value)
        made[key] = value if inner is None else merged(made.get(key), inner)
    return made


def _bad(path: Path, what: str) -> PolicyError:
    return PolicyError(f"{path}: {what}", code="bad_table", remedy="see docs/policy.md, \"Tables of calls\"")


