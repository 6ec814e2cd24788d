"""What the office's acting servers did, one JSON line each: the evidence that an attack worked or did not."""

from __future__ import annotations

import json
from pathlib import Path

from ringwall.call import Json


def append(file: Path, **what: Json) -> None:
    """Write one line."""
    if not file.exists():  # each tenant's server writes it, as root under an uid of its own
        file.touch()
        file.chmod(0o666)
    with file.open("a", encoding="utf-8") as out:
        out.write(json.dumps(what) + "\n")


def lines(file: Path) -> list[dict[str, Json]]:
    """All lines; none if nothing was ever done."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
