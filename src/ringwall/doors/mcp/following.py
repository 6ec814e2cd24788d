"""Clients that follow the news of servers: in a session by a stream of its own, in 2026-07-28 by a request."""

from __future__ import annotations

from collections.abc import Sequence

from ringwall.call import Json
from ringwall.doors.mcp.asking import Caller
from ringwall.doors.mcp.incoming import From
from ringwall.doors.mcp.news import METHODS, News, Stream, Watched
from ringwall.doors.mcp.offers import Offers
from ringwall.doors.mcp.sessions import Session, traits
from ringwall.wire.mcp import methods, revisions, rpc


class Following:
    """Lets clients follow.

    Args:
        news: everybody who does.
        caller: asks the wall about each resource that is to be watched.

    """

    def __init__(self, news: News, caller: Caller) -> None:
        self._news = news
        self._caller = caller

    async def session(self, one: From, session: Session, servers: Sequence[str]) -> None:
        """All news of the servers' lists, and of what this session subscribed to."""
        stream = Stream(one.launch, one.origin.subject, session.watched, _plain)
        session.streams += 1
        try:
            await self._news.follow(stream, servers, session.client, one.reply, one.presence)
        finally:
            session.streams -= 1

    async def asked(self, one: From, id: rpc.Id, params: methods.Listen, found: Offers) -> None:  # noqa: A002
        """The news that were asked for; first of all which of them will be told."""
        client = traits(params.meta.get(revisions.CAPABILITIES_KEY))
        wanted = params.notifications
        told: dict[str, Json] = {name: True for name, wish in wanted.lists.items() if wish}
        whats = {methods.NEWS[name] for name in told}
        server = found.server("resources.subscribe")
        with one.presence.waiting():
            uris = [uri for uri in dict.fromkeys(wanted.resource_subscriptions or ())
                    if server is not None and await self._caller.subscribe(one.origin, server, uri, client)]
        if uris:
            told["resourceSubscriptions"] = uris
        meta = {revisions.SUBSCRIPTION_KEY: id}

        def form(what: str, uri: str) -> bytes | None:
            named = {"uri": uri} if uri else {}
            wished = bool(uri) or what in whats
            return rpc.notification(METHODS[what], {"_meta": meta, **named}) if wished else None

        first = rpc.notification("notifications/subscriptions/acknowledged", {"_meta": meta, "notifications": told})
        stream = Stream(one.launch, one.origin.subject, Watched(uris), form)
        await self._news.follow(stream, found.servers if told else (), client, one.reply, one.presence, first)


def _plain(what: str, uri: str) -> bytes:
    """News in 2025-11-25."""
    return rpc.notification(METHODS[what], {"uri": uri}) if uri else rpc.notification(METHODS[what])
