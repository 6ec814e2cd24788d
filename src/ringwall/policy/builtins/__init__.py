"""OPA's built-ins, one file a group. What is not in this table is refused when a plan is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ringwall.policy.builtins.aws import AWS
from ringwall.policy.builtins.certificates import CERTIFICATES
from ringwall.policy.builtins.collections import COLLECTIONS
from ringwall.policy.builtins.credentials import CREDENTIALS
from ringwall.policy.builtins.documents import DOCUMENTS
from ringwall.policy.builtins.encodings import ENCODINGS
from ringwall.policy.builtins.net import NET
from ringwall.policy.builtins.numbers import NUMBERS
from ringwall.policy.builtins.objects import OBJECTS
from ringwall.policy.builtins.patterns import PATTERNS
from ringwall.policy.builtins.schemas import SCHEMAS
from ringwall.policy.builtins.strings import STRINGS
from ringwall.policy.builtins.table import Builtin
from ringwall.policy.builtins.times import TIMES
from ringwall.policy.builtins.tokens import TOKENS
from ringwall.policy.builtins.units import UNITS

BUILTINS: Final[Mapping[str, Builtin]] = MappingProxyType({
    **NUMBERS, **COLLECTIONS, **OBJECTS, **STRINGS,
    **DOCUMENTS, **ENCODINGS, **NET, **PATTERNS, **TIMES, **TOKENS, **UNITS,
    **AWS, **CERTIFICATES, **CREDENTIALS, **SCHEMAS,
})
