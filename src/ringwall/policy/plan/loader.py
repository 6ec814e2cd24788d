"""A plan (OPA's IR, ``opa build -t plan``) made executable.

Everything that can be refused is refused here, at load: a damaged plan, a built-in that is missing or not
allowed, recursion, nesting beyond what one decision may use.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ringwall.errors import PolicyError
from ringwall.policy.builtins import BUILTINS
from ringwall.policy.builtins.table import Builtin
from ringwall.policy.plan import ops, reader
from ringwall.policy.plan.compiler import Member, Program
from ringwall.policy.plan.index import MIN_RUN
from ringwall.policy.plan.limits import MAX_PLAN_BYTES, MAX_STEPS
from ringwall.policy.plan.reader import Node, broken
from ringwall.policy.plan.values import Value


class Plan:
    """The entry points of one plan. Immutable after construction and safe to share between threads.

    Args:
        plan: the bytes of ``plan.json``.
        allowed: the built-ins that the plan may use; None: all that exist here.
        strict: a built-in's error ends the decision (OPA: ``strict-builtin-errors``); otherwise it is undefined,
            as OPA has it by default.
        indexed: from how many rules that begin with a comparison on they are looked up (``plan.index``).
        traced: decisions note where the members of rules' sets come from (``trace``); slower.

    Raises:
        PolicyError: ``bad_plan``, or ``unsupported_builtin``.

    """

    def __init__(self, plan: bytes, *, allowed: Collection[str] | None = None, strict: bool = True,
                 indexed: int = MIN_RUN, traced: bool = False) -> None:
        tree = _parse(plan)
        static = reader.field(tree, "static")
        builtins = _builtins(static, allowed)
        try:
            self._program = Program(tree, builtins, strict=strict, indexed=indexed, traced=traced)
        except (RecursionError, MemoryError, SyntaxError, ValueError, OverflowError) as error:
            raise broken("it is too large or nests too deep for this Python") from error

    def evaluate(self, entry_point: str, document: Value, data: Value, *, max_steps: int = MAX_STEPS,
                 now_ns: int | None = None) -> list[Value]:
        """The results of an entry point, each an object of bindings; empty: undefined.

        Args:
            entry_point: as named at build time, for instance ``ringwall/decide/call``.
            document: ``input``; ``U`` for none. Never changed.
            data: the base data document. Never changed.
            max_steps: what this decision may take.
            now_ns: nanoseconds since the epoch for the time built-ins; None: they fail.

        Raises:
            PolicyError: unknown entry point, limit reached, or evaluation failed.

        """
        return self._run(entry_point, ops.Context(steps=max_steps, now_ns=now_ns), document, data)

    def trace(self, entry_point: str, document: Value, data: Value, *,
              max_steps: int = MAX_STEPS) -> tuple[list[Value], list[Member]]:
        """The results as ``evaluate`` gives them, and every member that rules put into their sets, in that order.

        Only for a plan loaded with ``traced``; from another one no member is known.
        """
        context = ops.Context(steps=max_steps)
        results = self._run(entry_point, context, document, data)
        return results, [self._program.member(*found) for found in context.found]

    def _run(self, entry_point: str, context: ops.Context, document: Value, data: Value) -> list[Value]:
        entry = self._program.entries.get(entry_point)
        if entry is None:
            raise PolicyError(f"the policy has no entry point {entry_point[:80]!r}", code="unknown_entry_point")
        try:
            return entry(context, document, data)
        except PolicyError:
            raise
        except RecursionError as error:
            raise PolicyError("the decision nests too deep", code="policy_limit") from error
        except Exception as error:  # whatever went wrong, it is a refusal
            raise PolicyError(f"evaluating the policy failed: {error}", code="policy_failed") from error


def _parse(plan: bytes) -> Node:
    if len(plan) > MAX_PLAN_BYTES:
        raise broken(f"it has {len(plan)} bytes, more than {MAX_PLAN_BYTES}")
    try:
        return reader.node(msgspec.json.decode(plan), "the plan")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise broken("it is not JSON") from error


def _builtins(static: Node, allowed: Collection[str] | None) -> dict[str, Builtin]:
    found: dict[str, Builtin] = {}
    for item in reader.nodes(static, "builtin_funcs"):
        name = reader.text(item, "name")
        builtin = BUILTINS.get(name)
        if builtin is None or (allowed is not None and name not in allowed):
            raise PolicyError(f"built-in {name[:80]} is not supported", code="unsupported_builtin",
                              remedy="compute it before the decision and pass it as a fact")
        found[name] = builtin
    return found
