"""Print the pins of the rule files, for ``PINS`` in this package, after a reviewed change."""

from __future__ import annotations

import sys

from ringwall.guard.rules import measure

for _name, _hash in measure().items():
    sys.stdout.write(f'    "{_name}": "{_hash}",\n')
