"""The ablation: every attack against every single liar. An attack that works shows a barrier that stood alone."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ringwall.call import Json
from ringwall.redteam import liars
from ringwall.redteam.attack import Attack, Barrier, all_attacks
from ringwall.redteam.benign import BENIGN
from ringwall.redteam.demo import walled
from ringwall.redteam.walled import folder_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """What worked under which liar."""

    attacks: tuple[Attack, ...]
    worked: Mapping[Barrier, frozenset[str]]  # ids of attacks that worked
    done: Mapping[Barrier, frozenset[str]]  # ids of ordinary tasks that were done
    held: Mapping[Barrier, frozenset[str]] = field(default_factory=dict[Barrier, frozenset[str]])  # not refused

    def cell(self, attack: Attack, barrier: Barrier) -> str:
        """``.`` refused, ``h`` held for a human who is not there, ``a`` worked and accepted, ``X`` worked."""
        if attack.id not in self.worked[barrier]:
            return "h" if attack.id in self.held.get(barrier, frozenset()) else "."
        return "a" if attack.accepted and barrier in attack.barriers else "X"

    def benign(self, barrier: Barrier) -> str:
        """``ok`` if all ordinary tasks were done under this liar; else the column does not count."""
        return "ok" if len(self.done[barrier]) == len(BENIGN) else "FAIL"

    @property
    def ok(self) -> bool:
        return all(self.benign(barrier) == "ok" for barrier in self.worked) and not any(
            self.cell(attack, barrier) == "X" for attack in self.attacks for barrier in self.worked
        )

    def as_json(self) -> Json:
        return {
            "ok": self.ok,
            "barriers": list(self.worked),
            "attacks": [
                {
                    "id": attack.id,
                    "barriers": list(attack.barriers),
                    "accepted": attack.accepted,
                    "cells": {barrier: self.cell(attack, barrier) for barrier in self.worked},
                }
                for attack in self.attacks
            ],
            "benign": {barrier: self.benign(barrier) for barrier in self.worked},
        }


def run(
    say: Callable[[str], None],
    barriers: Sequence[Barrier] = liars.BARRIERS,
    attacks: Sequence[Attack] | None = None,
) -> Matrix:
    """One runtime a liar, one after the other."""
    attacks = all_attacks() if attacks is None else tuple(attacks)
    worked: dict[Barrier, frozenset[str]] = {}
    done: dict[Barrier, frozenset[str]] = {}
    held: dict[Barrier, frozenset[str]] = {}
    for barrier in barriers:
        folder = folder_for("matrix")
        found = walled(
            folder / "office",
            (*attacks, *BENIGN),
            lambda text, b=barrier: say(f"{b} lies: {text}"),
            up=liars.command(barrier),
        )
        worked[barrier] = frozenset(attack.id for attack in attacks if attack.harm(found[attack.id][0]))
        held[barrier] = frozenset(
            attack.id for attack in attacks if found[attack.id][1].held and not found[attack.id][1].refused
        )
        done[barrier] = frozenset(task.id for task in BENIGN if task.good(found[task.id][0]))
        shutil.rmtree(folder, ignore_errors=True)
    return Matrix(attacks=attacks, worked=worked, done=done, held=held)
