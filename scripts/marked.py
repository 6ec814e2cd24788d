"""The parts of hand-written pages that are made from code or measurements: between two marker comments."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TARGET = 4.0  # as in benchmarks/call.py
_NAMES = {
    "base": "base: echo that appends 600 bytes and calls fdatasync",
    "grouped": "the same, waiting requests sharing one fdatasync",
    "wall": "**governed call** (sidecar's built-in echo)",
    "sdk": "governed call to a server of the MCP SDK",
}
# What the attacks' numbers stand for.
_THREATS = {
    1: "Text that gives orders",
    2: "The wrong tool, resource or identity",
    4: "Leaks",
    5: "A way around the wall",
    0: "The wall itself",
}


def fill(page: str, name: str, text: str) -> str:
    """The page with what stands between the markers of ``name`` replaced. Raises ValueError without markers."""
    marked = re.compile(rf"(<!-- {name}: [^>]*-->\n).*?(<!-- end {name} -->)", re.DOTALL)
    filled, count = marked.subn(lambda found: f"{found[1]}{text.rstrip()}\n{found[2]}", page)
    if count != 1:
        raise ValueError(f"{count} places are marked {name!r}")
    return filled


def benchmark(results: Path) -> str:
    """The table of benchmarks/call.py from what it stored."""
    entry: Mapping[str, Any] = json.loads(results.read_text()).get("call", {}) if results.exists() else {}
    if not entry:
        return "Not measured yet: `python benchmarks/call.py --save`."
    lines = ["| connections | | p50 µs | p99 µs | calls/s | times base | in the quietest round |",
             "|---|---|---|---|---|---|---|"]
    for connections, rows in entry["figures"]["connections"].items():
        for name, row in rows.items():
            lines.append(f"| {connections} | {_NAMES[name]} | {row['p50_us']} | {row['p99_us']} | "
                         f"{row['per_second']} | {row['ratio']:.2f} | {row['quiet_ratio']:.2f} |")
    verdicts = [f"{connections} connection{'s' * (connections != '1')}: {_verdict(rows['wall']['ratio'])}"
                for connections, rows in entry["figures"]["connections"].items()]
    versions = ", ".join(f"{package} {number}" for package, number in entry["versions"].items())
    parts = ", ".join(f"{name} {number}" for name, number in entry["figures"]["stages_us"].items())
    target = f"The target is at most {TARGET:g} times the base at the median. {'; '.join(verdicts)}."
    return "\n".join([*lines, "", target, "", f"Where the time goes, in µs at one connection: {parts}.", "",
                      f"Measured on {entry['machine']}; {versions}; commit {entry['commit']}."])


def _verdict(ratio: float) -> str:
    return f"{ratio:.2f}, {'**missed**' if ratio > TARGET else 'met'}"


def attacks() -> str:
    """Every attack with what stops it, from the attacks themselves."""
    from ringwall.redteam.attack import all_attacks

    found = all_attacks()
    lines: list[str] = []
    for number, title in _THREATS.items():
        rows = [attack for attack in found if attack.threat == number]
        if rows:
            lines += [f"### {title}", "", "| attack | what it tests | each of these stops it alone | ids |",
                      "|---|---|---|---|"]
            lines += [f"| `{a.id}`: {a.title} | {a.mitigation} | {', '.join(a.barriers) or '-'} | "
                      f"{', '.join(a.technique)} |" for a in rows]
            lines.append("")
    unknown = {attack.threat for attack in found} - set(_THREATS)
    if unknown:
        raise ValueError(f"threats without a title: {unknown}")
    lines += ["### Accepted single points", "", "| attack | only barrier | why it is accepted |", "|---|---|---|"]
    lines += [f"| `{a.id}` | {', '.join(a.barriers) or 'the resolver'} | {a.accepted} |"
              for a in found if a.accepted]
    return "\n".join(lines)
