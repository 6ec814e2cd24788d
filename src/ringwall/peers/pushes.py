"""Where push notifications go in truth: outside, each configuration is known by a name of ours and nothing else."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, cast, get_args

from ringwall.call import Event, Json, SessionId, as_object
from ringwall.clock import Clock
from ringwall.errors import AuditError, BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.interface import Journal
from ringwall.peers.task import Direction, Pair

PUSH_SECONDS: Final = 86_400.0  # as long as a task may be unfinished
MAX_OF_PAIR: Final = 64  # configurations
MAX_OF_AGENT: Final = 256  # of an agent with all others
MAX_TEXT: Final = 2_048  # characters of a URL, token or name of a configuration
_NAME_BYTES: Final = 16  # of our name: nobody guesses it


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One configuration for push notifications.

    Args:
        name: ours, in the URL that the other end is given.
        pair: whose task it is about, and from which side the agent of ours sees it.
        task: the task's id; empty until it is known.
        config: the id that its maker gave it, or empty.
        url: where its maker wants to be told.
        token: what its maker wants to see beside each notification, or empty.
        authentication: the same, as A2A's AuthenticationInfo, or None.
        at: when it was made, seconds since the epoch.
        until: monotonic: when it is forgotten.
        session: of the agent of ours that made it.

    """

    name: str
    pair: Pair
    task: str
    config: str
    url: str
    token: str = field(repr=False)
    authentication: Json = field(repr=False)
    at: float
    until: float
    session: SessionId | None


class Pushes:
    """Use it from one event loop.

    Args:
        journal: where a configuration is written before it counts; its URL and secrets are sealed there.
        clock: the wall clock for the log, the monotonic one for time limits.

    """

    def __init__(self, *, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock
        self._by_name: dict[str, Push] = {}  # oldest first

    async def set(
        self, *, local: SpiffeId, direction: Direction, other: str, task: str, config: str, url: str, token: str,
        authentication: Json, session: SessionId | None,
    ) -> Push:
        """Keep a configuration under a new name; one of the same task and ``config`` is replaced.

        Args:
            local: the agent of ours.
            direction: of the task, as in the TaskBook.
            other: the other end.
            task: the task's id, or empty: a message that makes one carries it; see ``bind``.
            config: the id that its maker gave it, or empty.
            url: where to push to.
            token: what to send along, or empty.
            authentication: the same, or None.
            session: of the agent of ours: under whose key it is sealed.

        Raises:
            BadInput: ``too_many_push_configs``, ``bad_push_config``.
            AuditError: it is not kept.

        """
        self._sweep()
        if any(len(text) > MAX_TEXT for text in (task, config, url, token)) or not url:
            raise BadInput("the configuration has no URL, or a text too long for one", code="bad_push_config")
        pair = Pair(local, direction, other)
        old = next((one for one in self.find(pair, task) if one.config == config), None) if task else None
        self._check_room(pair)
        made = Push(
            name=secrets.token_urlsafe(_NAME_BYTES), pair=pair, task=task, config=config, url=url, token=token,
            authentication=authentication, at=self._clock.now(), until=self._clock.monotonic() + PUSH_SECONDS,
            session=session,
        )
        self._by_name[made.name] = made  # its place is taken while it is written down
        try:
            await self._note(made, "set")
        except BaseException:
            self._by_name.pop(made.name, None)
            raise
        if old is not None and self._by_name.pop(old.name, None) is not None:
            await self._note(old, "dropped")
        return made

    def get(self, name: str) -> Push:
        """By our name. Raises BadInput (``unknown_push``)."""
        self._sweep()
        found = self._by_name.get(name)
        if found is None:
            raise BadInput("no such configuration for push notifications is known", code="unknown_push")
        return found

    def find(self, pair: Pair, task: str) -> tuple[Push, ...]:
        """All of one task."""
        return tuple(one for one in self._by_name.values() if one.pair == pair and one.task == task)

    async def bind(self, name: str, task: str) -> Push:
        """The task that a configuration was made for is known now. Raises BadInput, AuditError."""
        old = self.get(name)
        if old.task == task:
            return old
        if old.task:
            raise BadInput("this configuration belongs to another task", code="unknown_push")
        new = replace(old, task=task)
        await self._note(new, "bound")
        if name in self._by_name:
            self._by_name[name] = new
        return new

    async def drop(self, name: str) -> None:
        """It counts no more, at once. Harmless when repeated. Raises AuditError: after a restart it would again."""
        old = self._by_name.pop(name, None)
        if old is not None:
            await self._note(old, "dropped")

    def forget(self, pair: Pair, task: str) -> None:
        """The task is forgotten, and so is where it was to be told about."""
        for one in self.find(pair, task) if self._by_name else ():
            del self._by_name[one.name]

    def restore(self, tenant: str, body: Mapping[str, Json], sealed: Mapping[str, Json] | None) -> None:
        """Take a ``push`` event of the log, oldest first.

        Args:
            tenant: whose log.
            body: in clear.
            sealed: decrypted; None: its key is gone, and the configuration with it.

        Raises:
            AuditError: ``bad_task_record``.

        """
        name, what = body.get("push"), body.get("what")
        old = self._by_name.get(name) if isinstance(name, str) else None
        if what == "dropped" and isinstance(name, str):
            self._by_name.pop(name, None)
        elif what == "bound" and isinstance(name, str) and type(body.get("task")) is str:
            if old is not None:
                self._by_name[name] = replace(old, task=body["task"])
        elif what == "set" and isinstance(name, str):
            self._restore_set(tenant, name, body, sealed)
        else:
            raise _unreadable(tenant)

    def _restore_set(
        self, tenant: str, name: str, body: Mapping[str, Json], sealed: Mapping[str, Json] | None
    ) -> None:
        texts = [body.get(one) for one in ("local", "other", "task", "config")]
        at, direction, session = body.get("at"), body.get("direction"), body.get("session")
        if not all(type(one) is str for one in texts) or type(at) not in {int, float} \
                or direction not in get_args(Direction) or type(session) not in {str, type(None)}:
            raise _unreadable(tenant)
        local, other, task, config = cast("list[str]", texts)
        left = min(float(at or 0.0) + PUSH_SECONDS - self._clock.now(), PUSH_SECONDS)
        if left <= 0 or sealed is None:
            return
        try:
            pair = Pair(SpiffeId.parse(local), cast("Direction", direction), other)
        except BadInput:
            raise _unreadable(tenant) from None
        url, token = sealed.get("url"), sealed.get("token")
        if pair.local.tenant != tenant or type(url) is not str or type(token) is not str:
            raise _unreadable(tenant)
        self._by_name[name] = Push(
            name=name, pair=pair, task=task, config=config, url=url, token=token,
            authentication=as_object(sealed.get("authentication")), at=float(at or 0.0),
            until=self._clock.monotonic() + left, session=SessionId(session) if session else None,
        )

    def __len__(self) -> int:
        return len(self._by_name)

    async def _note(self, push: Push, what: str) -> None:
        body: dict[str, Json] = {
            "push": push.name, "what": what, "local": str(push.pair.local), "direction": push.pair.direction,
            "other": push.pair.other, "task": push.task, "config": push.config, "at": push.at,
            "session": push.session,
        }
        sealed: dict[str, Json] = {}
        if what == "set":
            sealed = {"url": push.url, "token": push.token, "authentication": push.authentication}
        await self._journal.note(Event(type="push", tenant=push.pair.local.tenant, session=push.session, body=body,
                                       sealed=sealed))

    def _check_room(self, pair: Pair) -> None:
        own = sum(one.pair == pair for one in self._by_name.values())
        agents = sum(one.pair.local == pair.local for one in self._by_name.values())
        if own >= MAX_OF_PAIR or agents >= MAX_OF_AGENT:
            raise BadInput("too many push notifications are configured already", code="too_many_push_configs",
                           remedy="delete some of them")

    def _sweep(self) -> None:
        now = self._clock.monotonic()
        while self._by_name:
            oldest = next(iter(self._by_name.values()))
            if oldest.until > now:
                return
            del self._by_name[oldest.name]


def _unreadable(tenant: str) -> AuditError:
    return AuditError(f"a push configuration in the log of {tenant} cannot be read", code="bad_task_record",
                      remedy="run `ringwall audit verify`")
