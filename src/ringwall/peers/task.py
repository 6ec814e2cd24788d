"""One task as the core knows it, and how it is written to the log and read from it. No state, no clock."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, cast, get_args

from ringwall.call import Json, SessionId, as_array
from ringwall.errors import AuditError, BadInput
from ringwall.identity.spiffe import SpiffeId

Direction = Literal["in", "out"]
State = Literal[
    "TASK_STATE_SUBMITTED", "TASK_STATE_WORKING", "TASK_STATE_INPUT_REQUIRED", "TASK_STATE_AUTH_REQUIRED",
    "TASK_STATE_COMPLETED", "TASK_STATE_FAILED", "TASK_STATE_CANCELED", "TASK_STATE_REJECTED", "expired",
]
EXPIRED: Final[State] = "expired"  # ours: nobody finished it in time
OVER: Final[frozenset[State]] = frozenset({
    "TASK_STATE_COMPLETED", "TASK_STATE_FAILED", "TASK_STATE_CANCELED", "TASK_STATE_REJECTED", EXPIRED,
})
STATES: Final[frozenset[str]] = frozenset(get_args(State)) - {EXPIRED}
MAX_NAME: Final = 256  # characters of a task's or context's id; honest ones are UUIDs
MAX_CHAIN: Final = 64  # agents on whose behalf one task is worked on: several messages, each with its chain
MAX_SESSIONS: Final = 8  # that worked on one task: an agent started again goes on with what its server kept


@dataclass(frozen=True, slots=True)
class Pair:
    """An agent of ours and another, and who of them serves: ``in``, ours."""

    local: SpiffeId
    direction: Direction
    other: str


@dataclass(slots=True, kw_only=True)
class Task:
    """A task of a pair.

    Args:
        pair: whose; it never changes.
        name: its id.
        at: when it was bound, seconds since the epoch.
        ended: when it was over, the same; 0 while it is not.
        until: monotonic: when it expires, or is forgotten once it is over.
        skill: which skill it was made with.
        context: its context's id, or empty.
        state: the last one seen.
        sessions: of the agent of ours that works on it; for ``in`` only.
        chain: on whose behalf; for ``in`` only.
        noted: whether the log knows of it: before that nobody is told.

    """

    pair: Pair
    name: str
    at: float
    until: float
    skill: str
    context: str = ""
    state: State = "TASK_STATE_SUBMITTED"
    sessions: tuple[SessionId, ...] = ()
    chain: tuple[str, ...] = ()
    ended: float = 0.0
    noted: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    @property
    def over(self) -> bool:
        return self.state in OVER

    @property
    def key(self) -> tuple[Pair, str]:
        return self.pair, self.name

    def body(self) -> dict[str, Json]:
        """All there is to know, for the log."""
        return {
            "local": str(self.pair.local), "direction": self.pair.direction, "other": self.pair.other,
            "task": self.name, "at": self.at, "ended": self.ended, "skill": self.skill, "context": self.context,
            "state": self.state, "sessions": list(self.sessions), "chain": list(self.chain),
        }


def read(tenant: str, body: Mapping[str, Json]) -> Task:
    """The reverse of ``Task.body``. Raises AuditError: a task that is lost would lift a restriction."""
    try:
        texts = {name: body[name] for name in ("local", "other", "task", "skill", "context")}
        lists = [as_array(body[name]) for name in ("sessions", "chain")]
        local, times = SpiffeId.parse(texts["local"]), [body["at"], body["ended"]]
        right = all(type(text) is str for text in texts.values())
        right = right and all(type(time) in {int, float} for time in times)
        right = right and all(one is not None and all(type(text) is str for text in one) for one in lists)
        if not right or local.tenant != tenant or body["direction"] not in get_args(Direction) \
                or body["state"] not in get_args(State):
            raise ValueError("a member is not what it must be")
    except (KeyError, TypeError, ValueError, AttributeError, BadInput):
        raise unreadable(tenant) from None
    sessions, chain = cast("list[list[str]]", lists)
    return Task(
        pair=Pair(local, body["direction"], texts["other"]), name=texts["task"], until=0.0,
        at=float(times[0]), ended=float(times[1]),
        skill=texts["skill"], context=texts["context"], state=body["state"],
        sessions=tuple(SessionId(one) for one in sessions), chain=tuple(chain), noted=True,
    )


def unreadable(tenant: str) -> AuditError:
    """A record of a task or message that is none: nothing may start."""
    return AuditError(f"a task in the log of {tenant} cannot be read", code="bad_task_record",
                      remedy="run `ringwall audit verify`")


def check_name(text: str, what: str) -> None:
    """Raises BadInput (``bad_task_id``) unless it is a name of printable ASCII."""
    if not 0 < len(text) <= MAX_NAME or not text.isascii() or not text.isprintable():
        raise BadInput(f"the {what} is no id: 1 to {MAX_NAME} printable ASCII characters", code="bad_task_id")


def state_of(text: str) -> State:
    """Raises BadInput (``bad_task_state``)."""
    if text not in STATES:
        raise BadInput(f"{text[:40]!a} is no state of a task", code="bad_task_state")
    return cast("State", text)


def expired(task: Task, ended: float, until: float) -> Task:
    """The task as nobody finished it.

    Args:
        task: unfinished.
        ended: when it expired, seconds since the epoch.
        until: monotonic: when it is forgotten.

    """
    return Task(pair=task.pair, name=task.name, at=task.at, until=until, skill=task.skill, context=task.context,
                state=EXPIRED, sessions=task.sessions, chain=task.chain, ended=ended, noted=task.noted)


def joined(task: Task, state: str, context: str, session: SessionId | None, chain: tuple[str, ...]) -> Task:
    """The task after what was seen of it.

    Raises:
        BadInput: ``bad_task_state``: what is over stays as it ended, and a task stays in its context;
            ``chain_too_long``.

    """
    new = state_of(state) if state else task.state
    if task.noted and task.over and (not state or new != task.state):
        raise BadInput(f"the task is over ({task.state}), and what came says otherwise", code="bad_task_state")
    if context and task.context and context != task.context:
        raise BadInput("the task belongs to another context than what came says", code="bad_task_state")
    sessions, whole = task.sessions, task.chain
    if task.pair.direction == "in" and new not in OVER:
        if session is not None and session not in sessions:
            sessions = (*sessions, session)[-MAX_SESSIONS:]
        whole = tuple(dict.fromkeys((*whole, *chain)))
        if len(whole) > MAX_CHAIN:
            raise BadInput(f"more than {MAX_CHAIN} agents stand behind this task", code="chain_too_long")
    return Task(
        pair=task.pair, name=task.name, at=task.at, until=task.until, skill=task.skill,
        context=task.context or context, state=new, sessions=sessions, chain=whole, ended=task.ended,
        noted=task.noted,
    )
