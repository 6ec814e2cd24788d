"""Shapes of single values that more than one layout uses."""

from __future__ import annotations

from typing import Final, get_args

from ringwall.manifest import spell, types
from ringwall.manifest.shapes import Choice, Text

NAME_PATTERN: Final = f"^[A-Za-z0-9._-]{{1,{spell.MAX_NAME}}}$"
NAME: Final = Text(what="a name", read=spell.name, pattern=NAME_PATTERN)
OPERATION: Final = Text(what='"server/operation"', read=spell.operation_name,
                        pattern="^[A-Za-z0-9._-]{1,64}/[A-Za-z0-9._-]{1,64}$")
CLEARANCE: Final = Choice(options=get_args(types.Clearance))
