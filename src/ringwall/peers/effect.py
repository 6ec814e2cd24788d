"""The effect of a message: out, to a peer through the tenant's sidecar; in, to the agent's own A2A server.

What was judged is what is sent: the method's parameters, written anew. What comes back is parsed here, strictly,
whoever gave it, and bound to the pair of agents that the task belongs to.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from itertools import count
from typing import Any, Final

from ringwall.call import Call, Chunk, End, Facts, Json, Last, Peer, Process, as_object, digest
from ringwall.errors import BadInput, Refused, Unavailable
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.svid.interface import Bundle
from ringwall.manifest.peers import PeerAgent, find_peer
from ringwall.manifest.types import Agent, Manifest
from ringwall.peers import cards
from ringwall.peers.interface import Answer, Line, Vouching, answers, error_chunk
from ringwall.peers.pushing import Pushing, Unfit
from ringwall.peers.tasks import TaskBook
from ringwall.wire import a2a, strict
from ringwall.wire.a2a import Fault, Request

_NUMBER: Final = 1  # every exchange has one request
PUSH: Final = "PushNotification"
_SENDING: Final = frozenset({"SendMessage", "SendStreamingMessage"})
_READING: Final = frozenset({"GetAgentCard", "GetExtendedAgentCard", "GetTask", "ListTasks"})  # change nothing


class _NotSent(BadInput):
    """It could not be said in an envelope, so nothing was sent."""


class MessageEffect:
    """Runs calls of kind ``message``.

    Args:
        manifest: who is who.
        lines: the sidecar of a tenant, or None.
        vouching: envelopes.
        book: tasks.
        pushing: what becomes of URLs for push notifications.
        label: of all that this subject's process was shown.
        bundles: whose keys sign cards.
        sign: signs our own.
        fits: raises BadInput for an answer with modes or files that the skill does not declare.

    """

    def __init__(
        self,
        *,
        manifest: Manifest,
        lines: Callable[[str], Line | None],
        vouching: Vouching,
        book: TaskBook,
        pushing: Pushing,
        label: Callable[[Call], str],
        bundles: Callable[[], Mapping[str, Bundle]],
        sign: Callable[[str, bytes], str],
        fits: Callable[[Call, Json], None],
    ) -> None:
        self._manifest = manifest
        self._lines = lines
        self._vouching = vouching
        self._book = book
        self._pushing = pushing
        self._label = label
        self._bundles = bundles
        self._sign = sign
        self._fits = fits

    async def run(self, call: Call, facts: Facts) -> AsyncGenerator[Chunk | Last, None]:
        """The answer, or each event of it, then a Last. A server's own error is the chunk of ``error_chunk``."""
        line = self._lines(call.tenant)
        if line is None:
            yield _failed("sidecar_unavailable", "the tenant's sidecar is not there; nothing was sent")
            return
        end: End = "failed" if call.args["method"] in _READING else "unknown"
        try:
            made = self._out(call, facts, line) if call.target.direction == "out" else self._in(call, line)
            async with aclosing(made):
                async for item in made:
                    yield item
        except (Unfit, _NotSent) as fault:
            yield _failed(fault.code, fault.cause)
        except (Refused, Unavailable) as fault:
            yield Last(end=end, error={"code": fault.code, "reason": fault.cause})
        except BadInput as fault:
            yield Last(end=end, error={"code": fault.code, "reason": f"the answer is refused: {fault.cause}"})
        finally:
            self._pushing.over(call)

    # --- out

    async def _out(self, call: Call, facts: Facts, line: Line) -> AsyncGenerator[Chunk | Last, None]:
        subject, method = call.subject, str(call.args["method"])
        peer = find_peer(self._manifest, call.tenant, _peer_name(call))
        if not isinstance(subject, Process) or peer is None or not peer.url:
            yield _failed("peer_unreachable", "the peer has no address; nothing was sent")
            return
        if method == "GetAgentCard":
            raw = await line.card(launch=subject.launch, peer=str(peer.spiffe_id), url=peer.url)
            yield Chunk(value=self._shown(subject.spiffe_id, peer, _json(raw)), label="U public")
            yield Last(end="done")
            return
        local, record = subject.spiffe_id, str(facts.get("audit", {}).get("record", ""))
        agent = self._agent(local)
        if agent is None:
            raise BadInput("this is no agent of ours", code="bad_request")
        params = await self._pushing.outward(local, agent, call)
        if method == PUSH:
            params = {**params, "push": self._pushing.remote_name(str(params["push"]))}
        body = a2a.rpc_request(Request(method=method, params=params, id=_NUMBER))
        try:
            token, _ = self._vouching.seal(
                sender=str(local),
                receiver=str(peer.spiffe_id),
                body=body,
                label=self._label(call),
                chain=call.acting_for,
                record=record,
                trace=str(call.args.get("trace", "")),
            )
        except (BadInput, Unavailable) as fault:
            raise _NotSent(fault.cause, code=fault.code) from fault
        stream = method in a2a.STREAMS
        given = line.send(
            launch=subject.launch, peer=str(peer.spiffe_id), url=peer.url, body=body, envelope=token, stream=stream,
            call=call.id,
        )

        numbers = count()

        def vouched(answer: Answer) -> str:
            """The label of an answer: our own trust domain says it, of all others nothing is believed."""
            if peer.spiffe_id.trust_domain != self._manifest.trust_domain:
                return ""
            return self._vouching.open(
                answer.envelope, sender=str(peer.spiffe_id), receiver=str(local), body=answer.body,
                reply_to=answers(token, next(numbers)),
            ).label

        async for item in self._answers(call, local, given, vouched):
            yield item

    def _shown(self, who: SpiffeId, peer: PeerAgent, card: Json) -> Json:
        """A peer's card as an agent of ours sees it. Raises Refused (``card_...``)."""
        checked = cards.check(card, expected=str(peer.spiffe_id), url=peer.url, bundles=self._bundles())
        return cards.for_agent(checked, f"{self._door(who)}/a2a/{peer.name}")

    def _door(self, who: SpiffeId) -> str:
        """The agent's door as a URL; over a Unix socket, any host means it."""
        agent = self._agent(who)
        return f"http://127.0.0.1:{agent.door}" if agent is not None and agent.door else "http://ringwall"

    # --- in

    async def _in(self, call: Call, line: Line) -> AsyncGenerator[Chunk | Last, None]:
        subject, method = call.subject, str(call.args["method"])
        if not isinstance(subject, Peer):
            raise BadInput("only a peer's message comes in", code="bad_request")
        local, agent = subject.receiver, self._agent(subject.receiver)
        if agent is None or (agent.serve is None and method != PUSH):
            yield _failed("agent_unreachable", "the agent has no server of its own; nothing was delivered")
            return
        if method == "GetAgentCard":
            raw = await line.own_card(launch=subject.launch, port=agent.serve or 0)
            # It counts as public. Once the agent was shown more, the words in it are the operator's alone.
            public = self._label(call).endswith(" public")
            card = _json(raw) if public else cards.unsaid(_json(raw), local.agent)
            yield Chunk(value=self._signed(local, agent, card))
            yield Last(end="done")
            return
        if method == PUSH:
            async for item in self._pushing.deliver(local, agent, call, line):
                yield item
            return
        params = await self._pushing.inward(local, agent, call)
        sender = str(subject.spiffe_id)
        if method in _SENDING:
            message = str(params["message"]["messageId"])
            try:
                await self._book.message(
                    local=local, other=sender, message=message, digest=digest(call.args["params"]),
                    session=call.session, chain=self._told_chain(call),
                    context=str(params["message"].get("contextId", "")),
                )
            except BadInput as fault:  # it came before: nothing is delivered
                yield _failed(fault.code, fault.cause)
                return
        token, answered = self._book.begin(call.session, self._chain(call, sender)), False
        try:
            given = line.deliver(
                launch=subject.launch, port=agent.serve or 0, stream=method in a2a.STREAMS, call=call.id,
                body=a2a.rpc_request(Request(method=method, params=params, id=_NUMBER)),
            )
            async for item in self._answers(call, local, given, lambda _: ""):
                # Before it is handed on: whoever takes it may leave, and what ended has ended.
                answered = isinstance(item, Last) and item.end in {"done", "failed"}
                yield item
        finally:
            self._book.end(token, answered=answered)

    def _signed(self, local: SpiffeId, agent: Agent, card: Json) -> Json:
        """The card of an agent of ours as its peers see it."""
        url = f"https://{agent.listen}/"
        return cards.build(agent=local, base=card, skills=agent.skills, url=url, sign=self._sign)

    def _agent(self, who: SpiffeId) -> Agent | None:
        tenant = self._manifest.tenants.get(who.tenant)
        return tenant.agents.get(who.agent) if tenant is not None else None

    @staticmethod
    def _told_chain(call: Call) -> tuple[str, ...]:
        """On whose behalf the sender works, as its core vouches."""
        told = as_object(call.args.get("envelope")) or {}
        return tuple(str(one) for one in told.get("chain", ()))

    def _chain(self, call: Call, sender: str) -> tuple[str, ...]:
        return (*self._told_chain(call), sender)

    # --- both

    async def _answers(
        self,
        call: Call,
        local: SpiffeId,
        given: AsyncGenerator[Answer | Last, None],
        vouched: Callable[[Answer], str],
    ) -> AsyncGenerator[Chunk | Last, None]:
        """Each answer parsed, its task bound, its label put beside it."""
        method, failed = str(call.args["method"]), False
        asked = _asked(method, call.args["params"])
        async with aclosing(given):
            async for item in given:
                if isinstance(item, Last):
                    refused = _failed("peer_error", "the peer answered an error")
                    yield refused if failed and item.end == "done" else item
                    return
                label = vouched(item)
                value = a2a.parse_rpc_answer(item.body, _NUMBER)
                if isinstance(value, Fault):
                    failed = True
                    yield Chunk(value=error_chunk(value.code, value.message, value.data), label=label)
                    continue
                value, shown = await self._bound(call, local, method, value, asked)
                asked = shown or asked  # a stream is about one task, to its end
                yield Chunk(value=value, label=label)

    def _card(self, call: Call, local: SpiffeId, card: Json) -> Json:
        """An extended card is treated like the one that everybody sees."""
        if call.target.direction == "in":
            agent = self._agent(local)
            return self._signed(local, agent, card) if agent is not None else None
        peer = find_peer(self._manifest, call.tenant, _peer_name(call))
        return self._shown(local, peer, card) if peer is not None else None

    async def _bound(self, call: Call, local: SpiffeId, method: str, value: Json, asked: str) -> tuple[Json, str]:
        """The answer, checked; the task that it shows is this pair's from now on, or was before; and that task."""
        if method == "GetExtendedAgentCard":
            return self._card(call, local, value), ""
        value = a2a.check_event(value) if method in a2a.STREAMS else a2a.check_result(method, value)
        direction, other = call.target.direction, str(call.args["peer"])
        if method == "ListTasks":
            value = _only(value, self._book.known(local=local, direction=direction, other=other))
            self._fits(call, value)
            return value, ""
        self._fits(call, value)
        view = a2a.task_of(value)
        if view is not None:
            chain = self._chain(call, other) if direction == "in" else call.acting_for
            await self._book.seen(
                local=local, direction=direction, other=other, view=view, skill=str(call.args["skill"]),
                session=call.session, chain=chain, asked=asked,
            )
        return await self._pushing.restored(call, local, value, view), view.task if view is not None else ""


def _only(value: Json, known: frozenset[str]) -> Json:
    """A list of tasks without those of others. Numbers that would tell of them are set right."""
    listed: dict[str, Any] = dict(value)
    kept = [task for task in listed.get("tasks", []) if task.get("id") in known]
    if len(kept) != len(listed.get("tasks", [])):
        listed["tasks"], listed["totalSize"] = kept, len(kept)
    listed["totalSize"] = min(int(listed.get("totalSize", 0)), len(known))
    return listed


def _peer_name(call: Call) -> str:
    """The target without its skill."""
    skill = str(call.args["skill"])
    return call.target.name.removesuffix(f"/{skill}") if skill else call.target.name


def _asked(method: str, params: Json) -> str:
    """The task that a call is about; empty: its answer may show a new one."""
    if method in _SENDING:
        return str(params["message"].get("taskId", ""))
    return str(params.get("id", "")) if method in {"GetTask", "CancelTask", "SubscribeToTask"} else ""


def _json(raw: bytes) -> Json:
    return strict.parse(raw, max_bytes=1 << 20)


def _failed(code: str, reason: str) -> Last:
    return Last(end="failed", error={"code": code, "reason": reason})
