"""Push notifications between agents: where they go in truth stays with the core that made the configuration.

An agent's server gets a URL of its own door and nothing else, so it can push to nobody but the peer whose task it
is; the peer is given a URL of its caller's listener, and only that caller's core knows what stands behind it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from ringwall.call import Call, CallId, Chunk, Json, Last, Peer, as_array, as_object, canonical
from ringwall.errors import BadInput
from ringwall.identity.spiffe import SpiffeId
from ringwall.manifest.peers import find_peer, name_of
from ringwall.manifest.types import Agent, Manifest
from ringwall.peers.interface import Line, Views
from ringwall.peers.pushes import Pushes
from ringwall.peers.task import Direction, Pair

CREATE: Final = "CreateTaskPushNotificationConfig"
DELETE: Final = "DeleteTaskPushNotificationConfig"
DOOR: Final = "/a2a/push/"  # of the agent's own door over TCP
LISTENER: Final = "/push/"  # of a caller's listener
_Config: TypeAlias = Mapping[str, Json]
_Check: TypeAlias = Callable[[_Config], None]  # raises Unfit
_Place: TypeAlias = Callable[[_Config, str], dict[str, Json]]  # under our name for it
_SENDING: Final = frozenset({"SendMessage", "SendStreamingMessage"})


class Unfit(BadInput):
    """A configuration that cannot be kept: nothing was sent."""


class Pushing:
    """What becomes of push configurations on their way out and in.

    Args:
        manifest: who listens where.
        pushes: the configurations that are kept.

    """

    def __init__(self, manifest: Manifest, pushes: Pushes) -> None:
        self._manifest = manifest
        self._pushes = pushes
        self._fresh: dict[CallId, str] = {}  # of calls under way: the name of the configuration they made

    # --- on the way

    async def outward(self, local: SpiffeId, agent: Agent, call: Call) -> dict[str, Json]:
        """The parameters as the peer gets them. Raises Unfit, AuditError."""

        def place(config: Mapping[str, Json], name: str) -> dict[str, Json]:
            return {**_bare(config), "url": f"https://{agent.listen}{LISTENER}{name}"}

        def check(config: Mapping[str, Json]) -> None:
            _, port, _ = _local(str(config.get("url", "")))
            if agent.push is None or port != agent.push or not agent.listen:
                raise _unfit(f"push notifications of this agent go to http://127.0.0.1:{agent.push or '<push>'}/")

        return await self._rewritten(local, call, check, place)

    async def inward(self, local: SpiffeId, agent: Agent, call: Call) -> dict[str, Json]:
        """The parameters as the agent's own server gets them. Raises Unfit, AuditError."""
        other = str(call.args["peer"])

        def place(config: Mapping[str, Json], name: str) -> dict[str, Json]:
            return {**_bare(config), "url": f"http://127.0.0.1:{agent.door}{DOOR}{name}"}

        def check(config: Mapping[str, Json]) -> None:
            found = find_peer(self._manifest, local.tenant, name_of(self._manifest, local.tenant, other))
            there = found.agent.listen if found is not None and found.agent is not None else ""
            url = str(config.get("url", ""))
            if agent.door is None or not there or not url.startswith(f"https://{there}{LISTENER}"):
                raise _unfit("push notifications go to the caller's own listener, if it has one")

        return await self._rewritten(local, call, check, place)

    async def _rewritten(self, local: SpiffeId, call: Call, check: _Check, place: _Place) -> dict[str, Json]:
        method, params = str(call.args["method"]), dict(call.args["params"])
        if method == CREATE:
            return await self._kept(local, call, params, str(params.get("taskId", "")), check, place)
        asked = as_object(params.get("configuration")) if method in _SENDING else None
        config = as_object((asked or {}).get("taskPushNotificationConfig"))
        if asked is None or config is None:
            return params
        task = str(params["message"].get("taskId", ""))
        kept = await self._kept(local, call, config, task, check, place)
        return {**params, "configuration": {**asked, "taskPushNotificationConfig": kept}}

    async def _kept(
        self, local: SpiffeId, call: Call, config: dict[str, Json], task: str, check: _Check, place: _Place
    ) -> dict[str, Json]:
        check(config)
        made = await self._pushes.set(
            local=local, direction=_direction(call), other=str(call.args["peer"]), task=task,
            config=str(config.get("id", "")), url=str(config["url"]), token=str(config.get("token", "")),
            authentication=config.get("authentication"), session=call.session,
        )
        self._fresh[call.id] = made.name
        return place(config, made.name)

    # --- on the way back

    async def restored(self, call: Call, local: SpiffeId, value: Json, view: Views | None) -> Json:
        """An answer with the URLs that the asker knows; the configuration of a new task is bound to it."""
        method = str(call.args["method"])
        fresh = self._fresh.get(call.id)
        if fresh is not None and view is not None and method in _SENDING:
            await self._pushes.bind(fresh, view.task)
        pair = Pair(local, _direction(call), str(call.args["peer"]))
        if method == DELETE:
            asked = call.args["params"]
            for push in self._pushes.find(pair, str(asked.get("taskId", ""))):
                if push.config in {"", asked.get("id")}:
                    await self._pushes.drop(push.name)
        for config in _configs(method, value):
            self._restore(pair, config)
        return value

    def _restore(self, pair: Pair, config: dict[str, Json]) -> None:
        name = str(config.get("url", "")).rpartition("/")[2]
        try:
            push = self._pushes.get(name)
        except BadInput:
            push = None
        if push is None or push.pair != pair:
            config["url"] = ""  # one of before a restart, or of somebody else: where it goes is not told
            return
        config["url"] = push.url
        if push.token:
            config["token"] = push.token
        if push.authentication is not None:
            config["authentication"] = push.authentication

    def over(self, call: Call) -> None:
        """The call has ended."""
        self._fresh.pop(call.id, None)

    # --- a notification

    async def deliver(
        self, local: SpiffeId, agent: Agent, call: Call, line: Line
    ) -> AsyncGenerator[Chunk | Last, None]:
        """A notification for an agent of ours: to where it wanted to be told."""
        push = self._pushes.get(str(call.args["params"]["push"]))
        pair = Pair(local, "out", str(call.args["peer"]))
        if not isinstance(call.subject, Peer) or push.pair != pair:
            raise BadInput("no such configuration for push notifications is known", code="unknown_push")
        _, port, path = _local(push.url)
        if port != agent.push:
            raise BadInput("the agent takes no push notifications there any more", code="unknown_push")
        event = canonical(call.args["params"]["event"])
        last = await line.notify(launch=call.subject.launch, port=port, path=path, body=event, token=push.token)
        if last.end == "done":
            yield Chunk(value=None)
        yield last

    def remote_name(self, name: str) -> str:
        """The name by which the caller's core knows a configuration. Raises BadInput (``unknown_push``)."""
        return self._pushes.get(name).url.rpartition(LISTENER)[2]


def _direction(call: Call) -> Direction:
    return call.target.direction


def _bare(config: Mapping[str, Json]) -> dict[str, Json]:
    """A configuration without what only its maker need know."""
    return {name: value for name, value in config.items() if name not in {"url", "token", "authentication"}}


def _configs(method: str, value: Json) -> Iterator[dict[str, Json]]:
    """The push configurations that an answer holds."""
    fields = as_object(value)
    if fields is None:
        return
    if method in {CREATE, "GetTaskPushNotificationConfig"}:
        yield fields
    elif method == "ListTaskPushNotificationConfigs":
        for one in as_array(fields.get("configs")) or []:
            if (config := as_object(one)) is not None:
                yield config


def _local(url: str) -> tuple[str, int, str]:
    """``http://127.0.0.1:port/path`` -> host, port, path. Raises Unfit."""
    try:
        parts = urlsplit(url)
        port = parts.port or 0
    except ValueError:
        raise _unfit("the URL cannot be read") from None
    if parts.scheme != "http" or parts.hostname not in {"127.0.0.1", "localhost"} or parts.query or parts.fragment:
        raise _unfit("push notifications go to the agent itself: http://127.0.0.1:<push>/...")
    return "127.0.0.1", port, parts.path or "/"


def _unfit(cause: str) -> Unfit:
    return Unfit(cause, code="push_not_declared", remedy="see `push`, `door` and `listen` of the agents")
