"""The other half of the ablation: whether the barriers that an attack names are true.

With *all* of them lying the attack must work: where it still fails something else stops it, and the list is not
the truth; and a suite whose attacks could not work at all would prove nothing by failing. With all *but one* lying
it must fail, for each of them: the matrix shows that for pairs, this for longer lists.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from ringwall.call import Json
from ringwall.redteam import liars
from ringwall.redteam.attack import Attack, Barrier, all_attacks
from ringwall.redteam.demo import walled
from ringwall.redteam.walled import folder_for

_PAIR: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one attack names. ``worked``: with all of it lying; ``alone``: those that stopped it by themselves."""

    attack: Attack
    worked: bool
    alone: frozenset[Barrier]

    @property
    def idle(self) -> tuple[Barrier, ...]:
        """Named, but stops nothing by itself."""
        return tuple(barrier for barrier in self.attack.barriers if barrier not in self.alone)

    @property
    def ok(self) -> bool:
        return self.worked and not self.idle


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Every attack's. ``left_out``: those that name nothing, and why."""

    claims: tuple[Claim, ...]
    left_out: Mapping[str, str]

    @property
    def ok(self) -> bool:
        return all(claim.ok for claim in self.claims)

    def as_json(self) -> Json:
        return {
            "ok": self.ok,
            "claims": [
                {
                    "id": claim.attack.id,
                    "barriers": list(claim.attack.barriers),
                    "worked": claim.worked,
                    "idle": list(claim.idle),
                }
                for claim in self.claims
            ],
            "left_out": dict(self.left_out),
        }


def run(say: Callable[[str], None], attacks: Sequence[Attack] | None = None) -> Claims:
    """One runtime for each set of liars."""
    attacks = all_attacks() if attacks is None else attacks
    named = [attack for attack in attacks if attack.barriers]
    wanted: dict[frozenset[Barrier], list[Attack]] = {}
    for attack in named:
        for lying in (frozenset(attack.barriers), *_all_but_one(attack)):
            wanted.setdefault(lying, []).append(attack)
    worked = {lying: _worked(lying, group, say) for lying, group in wanted.items()}
    return Claims(
        claims=tuple(
            Claim(
                attack=attack,
                worked=attack.id in worked[frozenset(attack.barriers)],
                alone=frozenset(attack.barriers).difference(
                    *(
                        frozenset(attack.barriers) - lying
                        for lying in _all_but_one(attack)
                        if attack.id in worked[lying]
                    )
                ),
            )
            for attack in named
        ),
        left_out={attack.id: attack.accepted for attack in attacks if not attack.barriers},
    )


def _all_but_one(attack: Attack) -> tuple[frozenset[Barrier], ...]:
    if len(attack.barriers) <= _PAIR:
        return ()
    return tuple(frozenset(attack.barriers) - {barrier} for barrier in attack.barriers)


def _worked(lying: frozenset[Barrier], attacks: Sequence[Attack], say: Callable[[str], None]) -> frozenset[str]:
    """The ids of those that work under these liars."""
    folder = folder_for("claims")
    names = sorted(lying)
    found = walled(
        folder / "office",
        attacks,
        lambda text: say(f"{', '.join(names)} lie: {text}"),
        up=liars.command(*names),
    )
    shutil.rmtree(folder, ignore_errors=True)
    return frozenset(attack.id for attack in attacks if attack.harm(found[attack.id][0]))
