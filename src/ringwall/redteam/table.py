"""The demo's and the matrix's tables, at most 80 columns."""

from __future__ import annotations

import textwrap

from ringwall.redteam.claims import Claims
from ringwall.redteam.demo import Demo
from ringwall.redteam.matrix import Matrix

_HEAD = """\
Ringwall demo: an office on this machine, and the worst model there is.
The model is scripted to obey whatever text stands in front of it.
"""


def show(demo: Demo, *, keep: bool) -> str:
    """The table and how to look further."""
    lines = [_HEAD, f"  {'':<3}{'attack':<41}{'without':<8}{'with':<8}{'stopped by':<12}record"]
    for number, result in enumerate(demo.attacks, 1):
        lines.append(
            f"  {number:>2} {result.attack.title:<41}{'worked' if result.without else 'FAILED':<8}"
            f"{'WORKED' if result.within else 'held' if result.stop.held else 'stopped':<8}{result.stop.by:<12}"
            f"{result.stop.record.partition('/')[2]:>6}"
        )
    bare, behind = sum(result.without for result in demo.benign), sum(result.within for result in demo.benign)
    held = sum(result.stop.held for result in demo.attacks)
    verified = "verified" if demo.verified else "NOT VERIFIED"
    lines += [
        "",
        f"  ordinary work: {bare} of {len(demo.benign)} tasks done without, {behind} of {len(demo.benign)} with",
        *([f"  held: {held} waited for a human (ringwall approvals), and nothing happened"] if held else []),
        "",
        "Every attack ran against the same agent, tools and model: first bare, then",
        f"behind Ringwall. {demo.seconds:.0f} s. Log: {demo.records} records, {verified}.",
        "",
    ]
    if keep:
        first = next((r.stop.record for r in demo.attacks if r.stop.record), "")
        lines += [
            f"See why     ringwall explain {first} --state {demo.state}",
            f"See it all  ringwall audit tail --state {demo.state}",
        ]
    else:
        name = next((r.stop.record for r in demo.attacks if r.stop.record), "")
        lines += ["See why     ringwall demo --keep", f"            then: ringwall explain {name} --state …"]
    lines += [
        "Run yours   ringwall init && ringwall up",
        '            ringwall run my-agent --task "…" -- python my_agent.py',
    ]
    return "\n".join(lines)


def show_matrix(matrix: Matrix) -> str:
    """One row an attack, one column a liar: '.' stopped, 'X' it worked, 'a' it worked and that is accepted."""
    columns = list(matrix.worked)
    heads = [barrier[:3] for barrier in columns]
    lines = [
        "Each column: that one barrier replaced by a liar, which allows everything.",
        "'.' the attack was still stopped; 'h' it would have waited for a human, and",
        "nothing happened; 'X' it worked; 'a' it worked, and standing alone there is",
        "accepted, with the reason below.",
        "",
        f" {'attack':<19}" + "".join(f"{head:>4}" for head in heads),
    ]
    for attack in matrix.attacks:
        cells = "".join(f"{matrix.cell(attack, barrier):>4}" for barrier in columns)
        lines.append(f" {attack.id:<19}{cells}")
    lines.append(f" {'ordinary work':<19}" + "".join(f"{matrix.benign(barrier):>4}" for barrier in columns))
    lines += [
        "",
        *textwrap.wrap(f"Columns: {', '.join(columns)}.", 78, subsequent_indent="         "),
        "Audit detects, it does not prevent: no column until there is a witness.",
    ]
    accepted = [attack for attack in matrix.attacks if attack.accepted]
    if accepted:
        lines += ["", "Accepted single points:"]
    for attack in accepted:
        lines += textwrap.wrap(f"{attack.id}: {attack.accepted}", 78, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)


def show_claims(claims: Claims) -> str:
    """One row an attack: what it names, and whether that is true."""
    lines = [
        "With every barrier that an attack names lying, it must work: then nothing else",
        "stopped it. Of three named barriers each must stop it while the others lie;",
        "one that does not is written LIKE?.",
        "",
        f"  {'attack':<22}{'worked':<8}barriers",
    ]
    lines += [
        f"  {claim.attack.id:<22}{'yes' if claim.worked else 'NO':<8}"
        + ", ".join(f"{name.upper()}?" if name in claim.idle else name for name in claim.attack.barriers)
        for claim in claims.claims
    ]
    lines += ["", "Left out:"] if claims.left_out else []
    for name, reason in claims.left_out.items():
        lines += textwrap.wrap(f"{name}: {reason}", 78, initial_indent="  ", subsequent_indent="    ")
    return "\n".join(lines)
