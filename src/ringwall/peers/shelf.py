"""Where tasks are kept in memory: found by pair and name, bounded, forgotten in time. No log, no clock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from ringwall.errors import BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.peers.task import Direction, Pair, Task

MAX_OPEN: Final = 256  # unfinished tasks of a pair
MAX_OPEN_OF_AGENT: Final = 1_024  # unfinished tasks of an agent with all others, in one direction
MAX_KEPT: Final = 1_024  # tasks of a pair, with those that are over: the oldest of these are forgotten first
MAX_KEPT_OF_AGENT: Final = 8_192  # the same of an agent with all others, in one direction: some 10 MB
_Side = tuple[SpiffeId, Direction]


class Shelf:
    """Tasks, unfinished and over."""

    def __init__(self) -> None:
        self._pairs: dict[Pair, dict[str, Task]] = {}
        self._open: dict[tuple[Pair, str], Task] = {}  # oldest first
        self._over: dict[tuple[Pair, str], Task] = {}  # what ended first comes first
        self._count: Counter[Pair | _Side] = Counter()  # unfinished ones
        self._kept: Counter[_Side] = Counter()
        self._owners: dict[tuple[SpiffeId, str, str], Counter[str]] = {}

    def find(self, pair: Pair, name: str) -> Task | None:
        """The task that this pair calls so."""
        return self._pairs.get(pair, {}).get(name)

    def of(self, pair: Pair) -> Mapping[str, Task]:
        """All of a pair's."""
        return self._pairs.get(pair, {})

    def unfinished(self) -> Iterable[Task]:
        """All that are not over."""
        return self._open.values()

    def sizes(self) -> tuple[int, int]:
        """How many are unfinished, and how many are over."""
        return len(self._open), len(self._over)

    def anothers(self, pair: Pair, kind: str, name: str) -> bool:
        """Whether the agent of ours serves a task or context of this name to somebody else, and not to this one."""
        if pair.direction != "in" or not name:
            return False
        owners = self._owners.get((pair.local, kind, name))
        return owners is not None and pair.other not in owners

    def check_room(self, pair: Pair) -> None:
        """Raises BadInput (``too_many_tasks``)."""
        if self._count[pair] >= MAX_OPEN or self._count[_side(pair)] >= MAX_OPEN_OF_AGENT:
            raise BadInput("too many tasks are unfinished already", code="too_many_tasks",
                           remedy="finish or cancel some of them")

    def put(self, task: Task) -> list[Task]:
        """Keep it; gives those that are over and had to make room for it."""
        self._pairs.setdefault(task.pair, {})[task.name] = task
        self._kept[_side(task.pair)] += 1
        self._enter(task)
        return list(self._room(task.pair))

    def change(self, task: Task, new: Task) -> None:
        """The task becomes like ``new``, which is of the same pair and name."""
        ends = new.over != task.over
        self._leave(task, reorder=ends)
        task.state, task.context, task.until, task.ended = new.state, new.context, new.until, new.ended
        task.sessions, task.chain, task.noted = new.sessions, new.chain, new.noted
        self._enter(task)

    def remove(self, task: Task) -> None:
        """Forget it."""
        pair = self._pairs[task.pair]
        del pair[task.name]
        if not pair:
            del self._pairs[task.pair]
        self._kept[_side(task.pair)] -= 1
        self._leave(task, reorder=True)

    def due(self, now: float) -> Iterator[Task]:
        """Whose time is up: unfinished ones, which have expired, and those to be forgotten. Settle each at once."""
        for tasks in (self._open, self._over):
            while tasks:
                task = next(iter(tasks.values()))
                if task.until > now:
                    break
                yield task

    def _enter(self, task: Task) -> None:
        if task.over:
            self._over.setdefault(task.key, task)
        else:
            self._open.setdefault(task.key, task)
            self._count.update((task.pair, _side(task.pair)))
        for owner in _owned(task):
            self._owners.setdefault(owner, Counter())[task.pair.other] += 1

    def _leave(self, task: Task, *, reorder: bool) -> None:
        if reorder:
            (self._over if task.over else self._open).pop(task.key, None)
        if not task.over:
            for one in (task.pair, _side(task.pair)):
                self._count[one] -= 1
                if not self._count[one]:
                    del self._count[one]
        for owner in _owned(task):
            others = self._owners[owner]
            others[task.pair.other] -= 1
            if not others[task.pair.other]:
                del others[task.pair.other]
            if not others:
                del self._owners[owner]

    def _room(self, pair: Pair) -> Iterator[Task]:
        """Forget what is over, oldest first, until pair and agent are within their bounds."""
        while len(self.of(pair)) > MAX_KEPT and (gone := self._oldest(pair)) is not None:
            self.remove(gone)
            yield gone
        side = _side(pair)
        while self._kept[side] > MAX_KEPT_OF_AGENT:
            largest = max((one for one in self._pairs if _side(one) == side), key=lambda one: len(self._pairs[one]))
            gone = self._oldest(largest)
            if gone is None:
                return  # all unfinished: check_room bounds those
            self.remove(gone)
            yield gone

    def _oldest(self, pair: Pair) -> Task | None:
        return next((task for task in self.of(pair).values() if task.over), None)


def _side(pair: Pair) -> _Side:
    return pair.local, pair.direction


def _owned(task: Task) -> list[tuple[SpiffeId, str, str]]:
    """What only one caller of our agent may have, because the agent's server does not tell callers apart."""
    if task.pair.direction != "in":
        return []
    named = [("task", task.name), *([("context", task.context)] if task.context else [])]
    return [(task.pair.local, kind, name) for kind, name in named]
