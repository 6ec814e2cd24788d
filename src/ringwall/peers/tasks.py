"""The tasks of agents with one another: whose each is, in which state, and on whose behalf a session works.

A task belongs for ever to the two agents that made it. What is bound or over is in the log before anybody is told;
states in between are not, because they change nothing of what is allowed.
"""

from __future__ import annotations

import secrets
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from ringwall.call import Event, Json, SessionId, as_array
from ringwall.clock import Clock
from ringwall.errors import BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import Journal
from ringwall.peers.acting import Acting
from ringwall.peers.contexts import Contexts
from ringwall.peers.interface import Views
from ringwall.peers.messages import KEEP_SECONDS, Messages, named
from ringwall.peers.pushes import Pushes
from ringwall.peers.shelf import MAX_KEPT, Shelf
from ringwall.peers.task import MAX_SESSIONS, Direction, Pair, Task, check_name, expired, joined, read, unreadable

TASK_SECONDS: Final = 86_400.0  # a task that nobody finished in a day is over: it would restrict its agent for ever
OVER_SECONDS: Final = 86_400.0  # for which what is over is remembered
RESTORED: Final = 16_384  # tasks of a log in memory at a time while it is read: some 20 MB
WORK_SECONDS: Final = 900.0  # a server may work on a message of which nothing was heard; longer work makes a task


@dataclass(frozen=True, slots=True)
class Token:
    """An inbound message under way."""

    session: SessionId | None
    chain: tuple[str, ...]
    name: str


class TaskBook:
    """Use it from one event loop.

    Args:
        journal: where tasks are written before they count.
        clock: the wall clock for the log, the monotonic one for every limit of time.

    """

    def __init__(self, *, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._shelf = Shelf()
        self._acting = Acting(clock)
        self._messages = Messages(clock)
        self._contexts = Contexts(clock)
        self._heirs: dict[tuple[Pair, str], set[SessionId]] = {}  # sessions that began while a task was unfinished
        self._sessions: dict[SpiffeId, deque[SessionId]] = {}  # the last ones of each agent
        self._expired = 0
        self.pushes = Pushes(journal=journal, clock=clock)

    # --- messages

    async def message(
        self, *, local: SpiffeId, other: str, message: str, digest: str, session: SessionId | None,
        chain: tuple[str, ...] = (), context: str = "",
    ) -> None:
        """A message to an agent of ours is about to be delivered. Durable on return.

        Args:
            local: the receiver.
            other: the sender.
            message: its ``messageId``.
            digest: of all of it.
            session: the receiver's.
            chain: on whose behalf the sender works.
            context: which one it names, or empty; the sender's from now on.

        Raises:
            BadInput: ``duplicate_message``: it came before; ``unknown_context``: it is another's; it must not be
                delivered.
            AuditError: it is not written down, so it must not be delivered.

        """
        name, place = named(message), named(context) if context else ""
        self._messages.take(str(local), other, name, digest)
        new = False
        body: dict[str, Json] = {"local": str(local), "other": other, "message": name, "digest": digest,
                                 "at": self._clock.now(), "session": session, "chain": list(chain),
                                 "context": place}
        try:
            new = bool(place) and self._contexts.claim(str(local), other, place)
            await self._journal.note(Event(type="message", tenant=local.tenant, session=session, body=body))
        except BaseException:
            self._messages.drop(str(local), other, name)
            if new:
                self._contexts.drop(str(local), other, place)
            raise

    def begin(self, session: SessionId | None, chain: tuple[str, ...]) -> Token:
        """An inbound message goes to the agent's server now: until ``end`` its session works for these."""
        token = Token(session, chain, secrets.token_hex(8))
        if session is not None:
            self._acting.hold(session, token, chain)
        return token

    def end(self, token: Token, *, answered: bool) -> None:
        """It is not under way any more.

        Args:
            token: from ``begin``.
            answered: whether the server gave its answer, or a task that is bound by now. If not (the sender went
                away, the stream broke), the server may still be at it: the session goes on working for these
                for WORK_SECONDS.

        """
        if token.session is None:
            return
        self._acting.drop(token.session, token)
        if not answered:
            self._left(token.session, token.chain, WORK_SECONDS)

    def acting_for(self, session: SessionId | None) -> tuple[str, ...]:
        """SPIFFE IDs on whose behalf this session works now, sorted, each once."""
        self._sweep()
        return self._acting.of(session) if session is not None else ()

    def inherit(self, session: SessionId, local: SpiffeId) -> None:
        """A new session of an agent goes on with what earlier ones left unfinished: they share a workspace.

        Args:
            session: of the new launch.
            local: the agent.

        """
        self._sweep()
        tasks = {task.key: task for task in self._shelf.unfinished()}
        for task in tasks.values():
            if task.pair.local == local and task.pair.direction == "in":
                self._heirs.setdefault(task.key, set()).add(session)
                self._hold(task)
        earlier = self._sessions.setdefault(local, deque(maxlen=MAX_SESSIONS))
        # A task that is finished lifts its own restriction; a message that nobody answered only time.
        unanswered = {one for before in earlier for one in self._acting.of(before, lambda name: name not in tasks)}
        self._left(session, tuple(unanswered), WORK_SECONDS)
        if session not in earlier:
            earlier.append(session)

    def _left(self, session: SessionId, chain: tuple[str, ...], seconds: float) -> None:
        if seconds > 0 and chain:
            self._acting.hold(session, ("left", chain), chain, self._clock.monotonic() + seconds)

    # --- tasks

    async def seen(
        self, *, local: SpiffeId, direction: Direction, other: str, view: Views, skill: str,
        session: SessionId | None, chain: tuple[str, ...], asked: str = "",
    ) -> None:
        """An answer or event shows a task. What has to be durable is, on return; before, it must not be shown.

        Args:
            local: the agent of ours.
            direction: ``in``: it serves the task.
            other: the SPIFFE ID of the other end.
            view: what is shown.
            skill: of the call, kept if the task is new.
            session: of the agent of ours.
            chain: on whose behalf it works on it, the sender included; counts for ``in`` only.
            asked: the task that the call was about; empty: the answer may show a new one.

        Raises:
            BadInput: ``unknown_task`` (not the one that was asked for), ``bad_task_id``, ``bad_task_state``,
                ``task_of_another``, ``too_many_tasks``, ``chain_too_long``.
            AuditError: it could not be written down.

        """
        self._sweep()
        check_name(view.task, "task's id")
        if view.context:
            check_name(view.context, "context's id")
        if asked and view.task != asked:
            raise BadInput("the answer shows another task than was asked for", code="unknown_task")
        pair = Pair(local, direction, other)
        while True:
            task = self._shelf.find(pair, view.task)
            if task is None and not view.state:
                self._mine(pair, view)  # a message that names the id its server had ready: there is no task
                return
            task = task or self._bind(pair, view, skill)
            async with task.lock:
                if self._shelf.find(pair, view.task) is task:  # else its first record failed meanwhile: begin again
                    await self._advance(task, view, session, chain)
                    return

    def skill(self, *, local: SpiffeId, direction: Direction, other: str, task: str) -> str:
        """The skill that a task was made with. Raises BadInput (``unknown_task``): it is not this pair's."""
        return self._known(Pair(local, direction, other), task).skill

    def open_for_message(self, *, local: SpiffeId, direction: Direction, other: str, task: str = "",
                         context: str = "") -> None:
        """Whether a message may go to this task, or make a new one.

        Raises:
            BadInput: ``unknown_task``, ``task_over``; ``unknown_context``: it is another pair's;
                ``too_many_tasks``.

        """
        pair = Pair(local, direction, other)
        if task:
            if self._known(pair, task).over:
                raise BadInput("this task is over: begin another", code="task_over")
        else:
            self._sweep()
            self._shelf.check_room(pair)
        if self._anothers_context(pair, context):
            raise BadInput("no such context is known", code="unknown_context")

    def known(self, *, local: SpiffeId, direction: Direction, other: str) -> frozenset[str]:
        """The ids of this pair's tasks."""
        self._sweep()
        found = self._shelf.of(Pair(local, direction, other))
        return frozenset(name for name, task in found.items() if task.noted)

    def status(self) -> Json:
        """For ``ringwall status``: how much is unfinished, by agent, and how long the oldest has been."""
        self._sweep()
        now, agents = self._clock.now(), dict[str, dict[str, Json]]()
        for task in self._shelf.unfinished():
            one = agents.setdefault(str(task.pair.local), {"in": 0, "out": 0, "oldest_s": 0})
            one[task.pair.direction] += 1
            one["oldest_s"] = max(one["oldest_s"], int(now - task.at))
        unfinished, over = self._shelf.sizes()
        return {"unfinished": unfinished, "over": over, "expired": self._expired, "messages": len(self._messages),
                "pushes": len(self.pushes), "agents": agents}

    # --- at start

    def restore(self, tenant: str, events: Iterable[Mapping[str, Json]]) -> None:
        """Take a tenant's tasks and messages from its log, oldest first: bodies of ``task`` and ``message`` events.

        Raises AuditError (``bad_task_record``).
        """
        found: dict[tuple[Pair, str], Task] = {}
        full = RESTORED
        for body in events:
            if "task" in body:
                task = read(tenant, body)
                found.pop(task.key, None)
                found[task.key] = task
                if len(found) >= full:  # a log holds a million of them, a core some thousands
                    found = kept(found, self._clock.now())
                    full = len(found) + RESTORED
            else:
                self._restore_message(tenant, body)
        aged = [self._aged(task) for task in found.values()]
        for task in sorted(aged, key=lambda one: one.until):  # the shelf keeps them in the order they end in
            if task.until > self._clock.monotonic():
                self._put(task)

    def _aged(self, task: Task) -> Task:
        """A task of the log as it is now. A wall clock that went back keeps nothing for longer than it would be."""
        now = self._clock.now()
        if not task.over and task.at + TASK_SECONDS <= now:
            task = expired(task, task.at + TASK_SECONDS, 0.0)
        ends, most = (task.ended, OVER_SECONDS) if task.over else (task.at, TASK_SECONDS)
        task.until = self._clock.monotonic() + min(ends + most - now, most)
        return task

    def _restore_message(self, tenant: str, body: Mapping[str, Json]) -> None:
        at, chain, session = body.get("at"), as_array(body.get("chain")), body.get("session")
        texts = [*(body.get(name) for name in ("local", "other", "message", "digest")), body.get("context", "")]
        if not all(type(text) is str for text in texts) or type(at) not in {int, float} or chain is None \
                or not all(type(one) is str for one in chain) or type(session) not in {str, type(None)}:
            raise unreadable(tenant)
        local, other, name, digest, context = (str(text) for text in texts)
        age = self._clock.now() - float(at or 0.0)
        if age >= KEEP_SECONDS:
            return
        left = min(KEEP_SECONDS - age, KEEP_SECONDS)
        try:
            self._messages.take(local, other, name, digest, seconds=left)
        except BadInput:
            pass  # two records of one message: it was taken again after its first record had failed
        if context and not self._contexts.anothers(local, other, context):
            self._contexts.claim(local, other, context, seconds=left)
        if session:
            # Whether it was answered before the core stopped is not known.
            self._left(SessionId(session), (*chain, other), min(WORK_SECONDS - age, WORK_SECONDS))

    # --- within

    def _known(self, pair: Pair, name: str) -> Task:
        self._sweep()
        task = self._shelf.find(pair, name)
        if task is None or not task.noted:
            raise BadInput("no such task is known", code="unknown_task")
        return task

    def _mine(self, pair: Pair, view: Views) -> None:
        """Raises BadInput if its server mixes up its callers: what it shows this one is another's."""
        if self._shelf.anothers(pair, "task", view.task) or self._anothers_context(pair, view.context):
            raise BadInput("the answer shows a task of somebody else", code="task_of_another")

    def _anothers_context(self, pair: Pair, context: str) -> bool:
        """Whether somebody else has a task in it, or only began to talk."""
        if pair.direction == "in" and context \
                and self._contexts.anothers(str(pair.local), pair.other, named(context)):
            return True
        return self._shelf.anothers(pair, "context", context)

    def _bind(self, pair: Pair, view: Views, skill: str) -> Task:
        """A new task of this pair; nobody is told of it before it is noted."""
        self._mine(pair, view)
        self._shelf.check_room(pair)
        task = Task(pair=pair, name=view.task, at=self._clock.now(), until=self._clock.monotonic() + TASK_SECONDS,
                    skill=skill, context=view.context)
        self._put(task)
        return task

    async def _advance(self, task: Task, view: Views, session: SessionId | None, chain: tuple[str, ...]) -> None:
        try:
            new = joined(task, view.state, view.context, session, chain)
            if new.over and not task.over:
                new.ended, new.until = self._clock.now(), self._clock.monotonic() + OVER_SECONDS
            grown = (new.sessions, new.chain) != (task.sessions, task.chain)
            if not task.noted or new.over != task.over or grown:
                event = Event(type="task", tenant=task.pair.local.tenant, session=session, body=new.body())
                await self._journal.note(event)
        except BaseException:
            if not task.noted:
                self._forget(task)
            raise
        new.noted = True
        self._change(task, new)

    def _put(self, task: Task) -> None:
        for gone in self._shelf.put(task):
            self.pushes.forget(gone.pair, gone.name)
        self._hold(task)

    def _change(self, task: Task, new: Task) -> None:
        sessions = {*task.sessions, *self._heirs.get(task.key, ())}
        self._shelf.change(task, new)
        for session in sessions:
            self._acting.drop(session, task.key)
        self._hold(task)

    def _hold(self, task: Task) -> None:
        if task.over:
            self._heirs.pop(task.key, None)
            return
        for session in {*task.sessions, *self._heirs.get(task.key, ())}:
            self._acting.hold(session, task.key, task.chain, task.until)

    def _forget(self, task: Task) -> None:
        self._shelf.remove(task)
        for session in {*task.sessions, *self._heirs.pop(task.key, ())}:
            self._acting.drop(session, task.key)
        self.pushes.forget(task.pair, task.name)

    def _sweep(self) -> None:
        """What nobody finished in time is over; what has been over for long is forgotten."""
        now = self._clock.monotonic()
        for task in self._shelf.due(now):
            if task.over:
                self._forget(task)
                continue
            self._change(task, expired(task, self._clock.now(), task.until + OVER_SECONDS))
            self._expired += 1
            self._journal.count(Event(type="task_expired", tenant=task.pair.local.tenant,
                                      subject=str(task.pair.local), body={"other": task.pair.other}))


def kept(found: dict[tuple[Pair, str], Task], now: float) -> dict[tuple[Pair, str], Task]:
    """Tasks of a log without those that would be forgotten anyway: over for too long, or older than a pair keeps.

    Args:
        found: in the order of their last records.
        now: seconds since the epoch.

    """
    room, left = Counter[Pair](), list[Task]()
    for task in reversed(found.values()):
        room[task.pair] += task.over
        ended = task.ended if task.over else task.at + TASK_SECONDS
        if ended + OVER_SECONDS > now and not (task.over and room[task.pair] > MAX_KEPT):
            left.append(task)
    return {task.key: task for task in reversed(left)}
