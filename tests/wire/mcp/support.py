"""What a parser says to bad input."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ringwall.errors import BadInput


def code_of(work: Callable[[], object]) -> str:
    """The code of the refusal."""
    with pytest.raises(BadInput) as caught:
        work()
    return caught.value.code
