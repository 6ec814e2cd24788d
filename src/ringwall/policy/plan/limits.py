"""How much one decision and one plan may take. Each figure has its reason beside it."""

from __future__ import annotations

from typing import Final

MAX_STEPS: Final = 1_000_000  # scans and calls of one decision: about 0.3 s of CPU; the default policy needs < 300
MAX_TEXT: Final = 1 << 22  # characters of one string that a built-in makes: half of the largest answer
MAX_BITS: Final = 1 << 13  # of one integer: multiplying in a loop squares it each time, and takes 3 us at this size
MAX_CALL_DEPTH: Final = 100  # plan functions on the stack: far under CPython's recursion limit with splits counted
MAX_DYNAMIC_DEPTH: Final = 50  # the same for calls whose target is known only when they run

MAX_PLAN_BYTES: Final = 32 << 20  # the default policy's plan has 0.2 MiB; 10,000 rules of one comparison 11 MiB
MAX_FUNCTIONS: Final = 20_000
MAX_STATEMENTS: Final = 400_000
MAX_LOCALS: Final = 50_000  # of one function
MAX_BLOCK_DEPTH: Final = 80  # CPython's tokenizer allows 100 levels of indentation
MAX_LOOPS: Final = 12  # CPython refuses more than 20 nested blocks; beyond this a nested function is made
MAX_NUMBER_TEXT: Final = 400  # characters of one number in a plan
MAX_RANGE: Final = 1 << 18  # elements of one list or set that a built-in makes (numbers.range, net.cidr_expand)
MAX_REGEX_BYTES: Final = 1 << 20  # memory of one compiled pattern (google-re2's own budget)
LONG: Final = 255  # elements or characters: from here on, what a built-in takes and makes costs steps by its size
