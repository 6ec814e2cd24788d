"""What this core vouches for, beside each message between agents: who, to whom, which bytes, with what label.

A compact JWS by a key of the trust domain's own authority. The sidecars carry it and cannot change it, nor use it
for other bytes, another receiver or another answer. Only keys of the own trust domain count: of what others say
about their data nothing is believed.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

import msgspec

from ringwall.call import Json, as_array, as_object
from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused
from ringwall.identity.spiffe import AnyId
from ringwall.identity.svid import signing
from ringwall.identity.svid.interface import Bundle
from ringwall.wire import strict

LIFE_SECONDS: Final = 60.0  # a message is under way for less; an answer's pieces are sealed one by one
SKEW_SECONDS: Final = 30.0  # by which another core's clock may be ahead; expiry knows no such mercy
MAX_TOKEN: Final = 16 << 10  # characters: it travels in a header line, and servers take some 16 KiB of one
MAX_CHAIN: Final = 16  # [a2a] max_hops is never more
MAX_TEXT: Final = 128  # characters of a record's name, a trace, what is answered
MAX_OPENED: Final = 131_072  # remembered: a minute's messages at 2,000 a second, some 35 MB
MAX_OPENED_OF: Final = 16_384  # of one sender: nobody fills the memory for the others
LOOK_SECONDS: Final = 1.0  # between two looks through a long memory: each takes some 5 ms of the core's loop
_LABELS: Final = frozenset(f"{i} {c}" for i in "PTCMU" for c in ("public", "private", "secret"))
_TEXTS: Final = ("from", "to", "label", "record", "id", "trace", "reply_to", "body")
_MEMBERS: Final = frozenset({*_TEXTS, "chain", "issued", "expires"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """What a core of this trust domain vouched for.

    Args:
        sender: SPIFFE ID of the agent that sends.
        receiver: of the agent it is for.
        label: of all that the sender's process was shown (``M private``).
        chain: SPIFFE IDs on whose behalf the sender works, as the sending core knows them.
        record: the sender's audit record of it.
        id: names this envelope.
        trace: W3C trace id, or empty.
        reply_to: which request it answers, or empty.
        expires: seconds since the epoch.

    """

    sender: str
    receiver: str
    label: str
    chain: tuple[str, ...]
    record: str
    id: str
    trace: str
    reply_to: str
    expires: float


class Envelopes:
    """Seals and opens. Used from one event loop.

    Args:
        sign: ``(typ, payload) -> JWS``; see ``EmbeddedAuthority.sign``.
        bundles: by trust domain.
        trust_domain: the own one.
        clock: for validity.

    """

    def __init__(
        self,
        *,
        sign: Callable[[str, bytes], str],
        bundles: Callable[[], Mapping[str, Bundle]],
        trust_domain: str,
        clock: Clock,
    ) -> None:
        self._sign = sign
        self._bundles = bundles
        self._domain = trust_domain
        self._clock = clock
        self._opened = _Opened(clock.now())

    def seal(
        self, *, sender: str, receiver: str, body: bytes, label: str, chain: Sequence[str], record: str, trace: str,
        reply_to: str = "",
    ) -> tuple[str, str]:
        """A new envelope for exactly these bytes, and its id.

        Raises:
            BadInput: ``envelope_unfit``: what is to be said does not fit into one; nothing may be sent.
            Unavailable: there is no key to sign with.

        """
        now, name = self._clock.now(), secrets.token_hex(16)
        said: dict[str, Json] = {
            "from": sender, "to": receiver, "body": _digest(body), "label": label, "chain": list(chain),
            "record": record, "id": name, "trace": trace, "reply_to": reply_to,
            "issued": now, "expires": now + LIFE_SECONDS,
        }
        try:
            _read(said)
        except Refused as no:  # the receiver would say the same
            raise BadInput(f"this cannot be said in an envelope: {no.cause}", code="envelope_unfit") from None
        token = self._sign(signing.ENVELOPE, msgspec.json.encode(said))
        if len(token) > MAX_TOKEN:
            raise BadInput(f"an envelope would have {len(token)} characters", code="envelope_unfit",
                           remedy="shorter names of agents, or fewer that hand a task on")
        return token, name

    def open(self, token: str, *, sender: str, receiver: str, body: bytes, reply_to: str = "") -> Envelope:
        """What a core of this trust domain vouched for about these bytes.

        The envelope of a request opens once; that of an answer only beside the request it answers.

        Args:
            token: as it came.
            sender: whom the connection's certificate proves.
            receiver: whose listener it came to, or who asked.
            body: the bytes it came with.
            reply_to: which request these bytes answer; empty: they are a request.

        Raises:
            Refused: ``envelope_`` and ``too_large``, ``malformed``, ``header``, ``algorithm``, ``no_key``,
                ``signature``, ``claims``, ``foreign``, ``sender``, ``receiver``, ``body``, ``reply``,
                ``expired``, ``not_yet``, ``replayed`` or ``flood``.

        """
        bundle = self._bundles().get(self._domain)
        if bundle is None:
            raise Refused("the own trust domain has no bundle now", code="envelope_no_key")
        said = _object(
            signing.opened(token, typ=signing.ENVELOPE, keys=bundle.jwt_keys, limit=MAX_TOKEN, what="envelope")
        )
        found, issued = _read(said)
        self._meant(found, sender, receiver, reply_to)
        if not secrets.compare_digest(str(said["body"]), _digest(body)):
            raise Refused("it was made for other bytes", code="envelope_body")
        self._timely(found, issued)
        if not reply_to:
            self._opened.once(found, issued, self._clock.now())
        return found

    def _meant(self, found: Envelope, sender: str, receiver: str, reply_to: str) -> None:
        """Raises Refused unless it is about this sender, this receiver and this request."""
        if AnyId.parse(found.sender).trust_domain != self._domain:
            raise Refused("it vouches for an agent of another trust domain", code="envelope_foreign")
        if found.sender != sender:
            raise Refused("it was made for another sender", code="envelope_sender")
        if found.receiver != receiver:
            raise Refused("it was made for another receiver", code="envelope_receiver")
        if found.reply_to != reply_to:
            raise Refused("it belongs to another exchange", code="envelope_reply")

    def _timely(self, found: Envelope, issued: float) -> None:
        now = self._clock.now()
        if now >= found.expires:
            raise Refused(f"it expired {now - found.expires:.0f} s ago", code="envelope_expired",
                          remedy="compare the clocks of the two cores")
        if issued > now + SKEW_SECONDS:
            raise Refused(f"it was made {issued - now:.0f} s ahead of this clock", code="envelope_not_yet",
                          remedy="compare the clocks of the two cores")


class _Opened:
    """Envelopes of requests that were opened, until they expire. What was forgotten cannot come again.

    A restarted core knows none of before: so it opens nothing that was made shortly before it started.

    Args:
        since: when this memory begins, seconds since the epoch.

    """

    def __init__(self, since: float) -> None:
        self._since = since
        self._floor = 0.0  # what expires by then may be among those that were forgotten: a clock can go back
        self._looked = 0.0
        self._ids: dict[str, tuple[float, str]] = {}
        self._of: Counter[str] = Counter()

    def once(self, found: Envelope, issued: float, now: float) -> None:
        """Raises Refused (``envelope_replayed``, ``envelope_flood``)."""
        before = self._since - LIFE_SECONDS - SKEW_SECONDS <= issued < self._since
        if found.id in self._ids or found.expires <= self._floor or before:
            raise Refused("it was opened before", code="envelope_replayed")
        self._forget(now)
        if self._full(found.sender):
            raise Refused("there are too many messages to remember them all", code="envelope_flood",
                          remedy="wait a minute")
        self._ids[found.id] = (found.expires, found.sender)
        self._of[found.sender] += 1

    def _full(self, sender: str) -> bool:
        return len(self._ids) >= MAX_OPENED or self._of[sender] >= MAX_OPENED_OF

    def _forget(self, now: float) -> None:
        """Those that expired: the oldest first, which costs nothing where none has."""
        while self._ids:
            name = next(iter(self._ids))
            if self._ids[name][0] > now:
                break
            self._drop(name)
        # One that expires later than its successors holds them up: look behind it, but not for each message.
        if len(self._ids) >= MAX_OPENED_OF and abs(now - self._looked) >= LOOK_SECONDS:
            self._looked = now
            for name in [name for name, (expires, _) in self._ids.items() if expires <= now]:
                self._drop(name)

    def _drop(self, name: str) -> None:
        expires, sender = self._ids.pop(name)
        self._floor = max(self._floor, expires)
        self._of[sender] -= 1
        if not self._of[sender]:
            del self._of[sender]


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def _object(payload: bytes) -> dict[str, Json]:
    try:
        found = as_object(strict.parse(payload, max_bytes=MAX_TOKEN, max_depth=4, max_nodes=64))
    except BadInput as fault:
        raise Refused(f"its payload is not what it must be: {fault.cause}", code="envelope_malformed") from None
    if found is None:
        raise Refused("its payload is no JSON object", code="envelope_malformed")
    return found


def _read(said: Mapping[str, Json]) -> tuple[Envelope, float]:
    """What is said, if it is all there and of the right types; and when it was. Raises Refused."""
    if said.keys() ^ _MEMBERS:
        raise _claims("it has other members than an envelope")
    texts = {name: said[name] for name in _TEXTS}
    if not all(type(text) is str and text.isascii() for text in texts.values()):
        raise _claims("a member is no plain text")
    short = all(len(texts[name]) <= MAX_TEXT and texts[name].isprintable() for name in _TEXTS[2:])
    if not short or not texts["id"]:
        raise _claims("a member is too long, or not printable")
    if texts["label"] not in _LABELS:
        raise _claims("its label is none")
    chain = as_array(said["chain"])
    if chain is None or len(chain) > MAX_CHAIN or not all(type(one) is str for one in chain):
        raise _claims(f"its chain is no list of at most {MAX_CHAIN} agents")
    issued, expires = _time(said["issued"]), _time(said["expires"])
    if not issued < expires <= issued + LIFE_SECONDS:
        raise _claims(f"it lives for more than {LIFE_SECONDS:.0f} s")
    for name in (texts["from"], texts["to"], *chain):
        _agent(name)
    found = Envelope(
        sender=texts["from"], receiver=texts["to"], label=texts["label"], chain=tuple(cast("list[str]", chain)),
        record=texts["record"], id=texts["id"], trace=texts["trace"], reply_to=texts["reply_to"], expires=expires,
    )
    return found, issued


def _agent(name: str) -> None:
    try:
        if AnyId.parse(name).path:
            return
    except BadInput:
        pass  # said below
    raise _claims("it names something that is no SPIFFE ID of an agent")


def _time(value: Json) -> float:
    if type(value) not in {int, float} or not 0 <= value < 1 << 53:
        raise _claims("a time is none")
    return float(value)


def _claims(why: str) -> Refused:
    return Refused(f"this is no envelope: {why}", code="envelope_claims")
