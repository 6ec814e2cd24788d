"""When the bundle endpoints of other trust domains are asked, and what becomes of the answers.

An endpoint that is down, lies or goes back changes nothing: the last good bundle holds, and the fault is shown.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Final

from ringwall.call import Event, Json
from ringwall.clock import Clock
from ringwall.errors import AuditError, RingwallError, Unavailable
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid.federation import Federation
from ringwall.identity.svid.interface import REFRESH_HINT, Bundle
from ringwall.interface import Journal

LOG: Final = "system"
LEAST_SECONDS: Final = 60.0  # between two questions, whatever the hint: an endpoint is not ours to flood
MOST_SECONDS: Final = 3600.0  # a domain that hints at more would learn too late of our belief in a withdrawn key
RETRY_SECONDS: Final = 30.0  # after a failure; doubled each time up to the usual pause

Fetching = Callable[[str, Bundle | None], Awaitable[bytes]]
"""Domain and the bundle known so far -> the document's bytes. Raises RingwallError."""


@dataclass(slots=True)
class _Asked:
    """How a domain's endpoint answered last. Times in seconds since the epoch; 0: never."""

    fault: str = "its endpoint was not asked yet"
    failures: int = 0
    answered: float = 0.0


class Polling:
    """Asks each endpoint again and again.

    Args:
        domains: that have an endpoint.
        federation: holds the bundles.
        fetch: asks an endpoint once.
        clock: what time it is.
        journal: one record for each change of a bundle.
        changed: told after each change: what depends on bundles looks again.

    """

    def __init__(
        self, domains: Iterable[str], *, federation: Federation, fetch: Fetching, clock: Clock, journal: Journal,
        changed: Callable[[], None],
    ) -> None:
        self._asked = {domain: _Asked() for domain in domains}
        self._federation = federation
        self._fetch = fetch
        self._clock = clock
        self._journal = journal
        self._changed = changed

    async def run(self, domain: str) -> None:
        """Ask for ever."""
        while True:
            seconds = await self.ask(domain)
            await asyncio.sleep(seconds)

    async def ask(self, domain: str) -> float:
        """Ask once; after how many seconds to ask again. Raises nothing of what an endpoint can cause."""
        asked, known = self._asked[domain], self._federation.bundles().get(domain)
        try:
            changed = self._federation.take(domain, await self._fetch(domain, known))
        except RingwallError as fault:
            asked.fault, asked.failures = f"{fault.code}: {fault.cause}", asked.failures + 1
            usual = pause(known)
            return min(usual, RETRY_SECONDS * 2.0 ** min(asked.failures - 1, 16))
        asked.fault, asked.failures, asked.answered = "", 0, self._clock.now()
        if changed:
            self._changed()
            await noted(self._journal, self._federation.bundles()[domain], "endpoint")
            try:
                await asyncio.to_thread(self._federation.keep, domain)
            except Unavailable as fault:
                asked.fault = str(fault)
        return pause(self._federation.bundles()[domain])

    def status(self, domain: str) -> dict[str, Json]:
        """Of one domain's endpoint."""
        asked = self._asked[domain]
        return {"fault": asked.fault, "answered": asked.answered}


def pause(bundle: Bundle | None) -> float:
    """Seconds between two questions, by the bundle's hint (SPIFFE Trust Domain and Bundle, section 4.1.3)."""
    hint = bundle.refresh_hint if bundle is not None else None
    return min(max(float(REFRESH_HINT if hint is None else hint), LEAST_SECONDS), MOST_SECONDS)


async def noted(journal: Journal, bundle: Bundle, source: str) -> None:
    """Write down that a domain's bundle is another now. It is in force already: it may withdraw a key, and a full
    disk must not keep that one believed; without a log it is counted, and written when there is one again."""
    body: dict[str, Json] = {
        "domain": bundle.trust_domain, "from": source, "sequence": bundle.sequence,
        "authorities": len(bundle.authorities), "keys": len(bundle.jwt_keys),
        "sha256": hashlib.sha256(documents.document(bundle)).hexdigest(),
    }
    event = Event(type="federated_bundle", tenant=LOG, body=body)
    try:
        await journal.note(event)
    except AuditError:
        journal.count(event)
