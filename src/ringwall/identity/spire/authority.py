"""SVIDs and bundles of an existing SPIRE agent, behind the same interface as our own authority.

What an agent's process gets is what SPIRE issues for its uid: one key and one serial for all its processes, living
as long as SPIRE says. Who may have it at all is still asked here, process by process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final

from ringwall.call import Denied, Event, Json, LaunchId
from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.spire import reading
from ringwall.identity.spire.agent import SpireAgent
from ringwall.identity.svid import issue
from ringwall.identity.svid.interface import Bundle, JwtSvid, X509Svid
from ringwall.identity.svid.tokens import TokenValidator, read
from ringwall.interface import Journal

LOG: Final = "system"
BACK_OFF: Final = (1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before the next attempt to follow a stream
START_SECONDS: Final = 10.0  # that a start waits for the first bundles; it goes on without them
LEAST_SECONDS: Final = 30.0  # of life that an SVID must have left to be handed out
STREAMS: Final = ("FetchX509Bundles", "FetchJWTBundles")


class SpireAuthority:
    """Implements ``interface.Authority``. Used from one event loop.

    Args:
        trust_domain: the manifest's; SPIRE's must be the same.
        socket: of the agent, for messages.
        own: the agent as this process reaches it: bundles come from there.
        caller: the agent as it is reached on behalf of an identity, by its own uid.
        single: started by an ordinary user: SPIRE sees one uid, so there is one identity, the first it names.
        clock: what time it is.
        journal: where issued SVIDs are counted.
        entitled: asked for every SVID.
        frozen: why an agent is frozen, or empty.
        foreign: bundles of the manifest's own federation; they go before those that SPIRE federates.

    """

    def __init__(
        self, *, trust_domain: str, socket: str, own: SpireAgent, caller: Callable[[SpiffeId], SpireAgent],
        single: bool, clock: Clock, journal: Journal, entitled: Callable[[SpiffeId, LaunchId], Denied | None],
        frozen: Callable[[SpiffeId], str], foreign: Callable[[], Mapping[str, Bundle]],
    ) -> None:
        self._domain = trust_domain
        self._socket = socket
        self._own = own
        self._caller = caller
        self._single = single
        self._clock = clock
        self._journal = journal
        self._entitled = entitled
        self._frozen = frozen
        self._foreign = foreign
        self._answers: dict[str, Mapping[str, bytes]] = {}  # by stream
        self._known: dict[str, Bundle] = {}
        self._faults: dict[str, str] = dict.fromkeys(STREAMS, "not asked yet")
        self._callbacks: dict[object, Callable[[], None]] = {}
        self._first = asyncio.Event()

    async def start(self) -> None:
        """Wait a moment for the first bundles of those who ``tend``. Without them nothing is verified or issued."""
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._first.wait()
        except TimeoutError:
            return

    async def tend(self) -> None:
        """Follow SPIRE's bundles, for ever; a stream that ends is begun again."""
        await asyncio.gather(*(self._follow(method) for method in STREAMS))

    async def _follow(self, method: str) -> None:
        failures = 0
        while True:
            try:
                async with aclosing(self._own.stream(method, {})) as answers:
                    async for answer in answers:
                        self._take(method, answer.get("bundles", {}))
                        failures = 0
                self._faults[method] = "the SPIRE agent ended the stream"
            except Refused as fault:
                self._faults[method] = str(fault)
                self._take(method, {})  # it was withdrawn: absent data is no data (Workload API, section 5.2.1)
            except RingwallError as fault:
                self._faults[method] = str(fault)
            await asyncio.sleep(BACK_OFF[min(failures, len(BACK_OFF) - 1)])
            failures += 1

    def _take(self, method: str, found: Mapping[str, bytes]) -> None:
        """Bundles as they are from now on. Raises BadInput: those from before hold."""
        answers = {**self._answers, method: found}
        known = reading.bundles(*(answers.get(one, {}) for one in STREAMS))
        if found:
            self._faults[method] = "" if self._domain in known else f"SPIRE is not of {self._domain}"
        self._answers = answers
        if known != self._known:
            self._known = known
            self.changed()
        if all(self._answers.get(one) for one in STREAMS):
            self._first.set()

    async def x509_svid(self, spiffe_id: SpiffeId, launch: LaunchId, csr: bytes | None = None) -> X509Svid:
        """See ``interface.Authority``. SPIRE makes the key. Raises also what ``SpireAgent`` and ``reading`` do."""
        if csr is not None:
            raise BadInput("SPIRE makes the keys of its SVIDs itself", code="svid_bad_csr")
        self._check(spiffe_id, launch)
        answer = await self._caller(spiffe_id).one("FetchX509SVID", {})
        found = reading.svid(self._named(answer, spiffe_id), spiffe_id, self.bundles(), self._clock)
        self._check(spiffe_id, launch)  # it may be withdrawn by now
        self._alive(found.expires_at)
        self._count(spiffe_id, "x509")
        return found

    async def jwt_svid(
        self, spiffe_id: SpiffeId, launch: LaunchId, audience: Sequence[str], details: Sequence[Json] = ()
    ) -> JwtSvid:
        """See ``interface.Authority``. SPIRE's tokens say nothing of ``details``.

        Raises also what ``SpireAgent`` and ``TokenValidator`` do.
        """
        issue.check_audience(audience)
        self._check(spiffe_id, launch)
        asked = {"audience": list(audience), "spiffe_id": str(spiffe_id)}
        answer = await self._caller(spiffe_id).one("FetchJWTSVID", asked)
        token = str(self._named(answer, spiffe_id).get("svid", ""))
        seen = TokenValidator(self.bundles, self._clock).validate(token, audience, expected=str(spiffe_id))
        given: str | list[str] = read(token)[1]["aud"]  # one text, or a list of some: it is validated
        if not ({given} if isinstance(given, str) else set(given)) <= set(audience):
            raise BadInput("SPIRE's token is for more audiences than were asked for", code="spire_bad_answer")
        self._check(spiffe_id, launch)
        self._alive(seen.expires_at)
        self._count(spiffe_id, "jwt")
        return JwtSvid(spiffe_id=spiffe_id, token=token, issued_at=self._clock.now(), expires_at=seen.expires_at)

    async def system_token(self, part: str, audience: str) -> str:
        """As of the embedded authority, which is the only one that can: SPIRE issues to workloads.

        Raises Unavailable (``svid_source_cannot``).
        """
        raise Unavailable(f"SPIRE gives no token for Ringwall's own {part} (audience {audience[:80]})",
                          code="svid_source_cannot",
                          remedy="use another kind of secret for it, or Ringwall's own authority")

    def bundle(self) -> Bundle:
        """See ``interface.Authority``."""
        found = self._known.get(self._domain)
        if found is None:
            raise Unavailable(f"SPIRE has given no bundle of {self._domain}", code="svid_not_ready",
                              remedy="`ringwall status` says why")
        return found

    def bundles(self) -> Mapping[str, Bundle]:
        """See ``interface.Authority``. Nothing but SPIRE stands for the own domain."""
        return {**self._known, **self._foreign(), self._domain: self.bundle()}

    def sign(self, typ: str, payload: bytes) -> str:
        """SPIRE signs SVIDs and nothing else. Raises Unavailable (``svid_no_signing``)."""
        raise Unavailable(f"SPIRE signs no {typ[:40]}", code="svid_no_signing",
                          remedy="leave [identity] spire out where agents talk to each other")

    def revoke(self, launch: LaunchId) -> None:
        """A launch is withdrawn: streams look again. SPIRE's SVIDs are its uid's, and go on until they expire."""
        self.changed()

    def revoked(self, spiffe_id: str, number: str) -> str:
        """See ``interface.Authority``: only a freeze, nothing is known of single SVIDs."""
        try:
            agent = SpiffeId.parse(spiffe_id)
        except BadInput:
            return ""
        return self._frozen(agent) if agent.trust_domain == self._domain else ""

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """See ``interface.Authority``."""
        mark = object()
        self._callbacks[mark] = callback

        def end() -> None:
            self._callbacks.pop(mark, None)

        return end

    def changed(self) -> None:
        """Tell everybody to look again."""
        for callback in list(self._callbacks.values()):
            callback()

    def status(self) -> Json:
        """See ``interface.Authority``. ``weaker``: what our own authority does better."""
        faults = dict.fromkeys(fault for fault in self._faults.values() if fault)
        seen = "one uid for everybody, so there is one identity" if self._single else "the uid of each agent"
        return {
            "source": "spire", "socket": self._socket, "trust_domain": self._domain,
            "known": self._domain in self._known, "fault": "; ".join(faults),
            "weaker": [
                f"SPIRE attests {seen}, and not the process",
                "all processes of an agent have one key and one serial",
                "SVIDs live as long as SPIRE says, also when their launch is withdrawn",
            ],
        }

    def _named(self, answer: Mapping[str, Any], spiffe_id: SpiffeId) -> Mapping[str, Any]:
        found: list[Mapping[str, Any]] = answer.get("svids", [])
        return reading.named(found[:1] if self._single else found, spiffe_id)

    def _check(self, spiffe_id: SpiffeId, launch: LaunchId) -> None:
        if spiffe_id.trust_domain != self._domain:
            raise Refused(f"{spiffe_id.trust_domain} is not this trust domain", code="svid_wrong_domain")
        denied = self._entitled(spiffe_id, launch)
        if denied is not None:
            raise Refused(denied.reason, code=denied.code, remedy=denied.remedy)

    def _alive(self, expires_at: float) -> None:
        if expires_at < self._clock.now() + LEAST_SECONDS:
            raise Unavailable("SPIRE's SVID is about to expire, and it has renewed none", code="svid_not_ready",
                              remedy="look at the SPIRE agent's log")

    def _count(self, spiffe_id: SpiffeId, use: str) -> None:
        body: dict[str, Json] = {"use": use, "from": "spire"}
        self._journal.count(Event(type="svid_issued", tenant=LOG, subject=str(spiffe_id), body=body))
