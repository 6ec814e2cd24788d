"""From the roles that the manifest gives to arguments to the types of the resources they name."""

from __future__ import annotations

from ringwall.capability.resources import TYPES
from ringwall.manifest.types import ArgumentRole, Operation


def resource_type(role: ArgumentRole) -> str:
    """The resource type an argument names; empty for an inert one."""
    return role.kind or ("url" if role.role == "url" else "")


def role_text(role: ArgumentRole) -> str:
    """The role as the manifest writes it: ``selector:path``, ``payload``."""
    return f"{role.role}:{role.kind}" if role.kind else role.role


def role_problems(operation: Operation) -> list[str]:
    """What is wrong with the declared roles, one text each."""
    problems: list[str] = []
    for name, role in operation.args.items():
        type_name = resource_type(role)
        if type_name and type_name not in TYPES:
            problems.append(f"argument {name!r} has the kind {type_name!r}, "
                            f"which is none of {', '.join(sorted(TYPES))}")
        elif role.role == "target" and not type_name:
            problems.append(f"argument {name!r} is a target without a kind; write for instance target:email")
    return problems
