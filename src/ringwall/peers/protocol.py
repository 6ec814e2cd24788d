"""The frames between core and sidecar about peers; ``tools.protocol`` joins them into what the link carries.

The core makes sockets, keys and decisions; the sidecar gets them and carries bytes. What it says back is bounded
and closed, because it may be taken over.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Final, Literal, TypeAlias

from msgspec import Meta

from ringwall.identity.spiffe import MAX_ID_BYTES, MAX_TRUST_DOMAIN_BYTES
from ringwall.tools.message import Body, CallNumber, Message, Name

MAX_CHAIN: Final = 6  # certificates: what the strict verifier takes
MAX_CERTIFICATE: Final = 16 << 10  # bytes: the same
MAX_KEY: Final = 8 << 10  # bytes of PKCS #8: RSA 8192 has some 4,800
MAX_AUTHORITIES: Final = 64  # of one trust domain, as in a bundle's document
MAX_DOMAINS: Final = 256  # trust domains in one frame; more federation than anybody has
MAX_ENVELOPE: Final = 16 << 10  # characters: a chain of a hundred usual SPIFFE IDs, or of five of the longest
MAX_URL: Final = 2048  # characters
MAX_JUDGED: Final = 128  # connections that wait for the core's word at once; one word takes it a millisecond
MAX_INSIDE: Final = 64  # sockets passed at once; 253 is the kernel's limit for one message

Certificate: TypeAlias = Annotated[bytes, Meta(min_length=1, max_length=MAX_CERTIFICATE)]
Chain: TypeAlias = Annotated[list[Certificate], Meta(min_length=1, max_length=MAX_CHAIN)]
Connection: TypeAlias = Annotated[int, Meta(ge=1, le=2**53)]
PeerId: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_ID_BYTES)]
Url: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_URL)]
Path: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_URL)]
Port: TypeAlias = Annotated[int, Meta(ge=1, le=65535)]
Token: TypeAlias = Annotated[str, Meta(max_length=MAX_ENVELOPE)]
Domain: TypeAlias = Annotated[str, Meta(min_length=1, max_length=MAX_TRUST_DOMAIN_BYTES)]
Authorities: TypeAlias = Annotated[list[Certificate], Meta(max_length=MAX_AUTHORITIES)]


class Identity(Message, frozen=True, tag="identity"):
    """A launch's SVID: for its gate, and for its connections to peers. A later one takes its place."""

    launch: Name
    spiffe_id: PeerId
    chain: Chain
    key: Annotated[bytes, Meta(min_length=1, max_length=MAX_KEY)]
    expires: float

    def __repr__(self) -> str:
        """Without the key."""
        return f"Identity(launch={self.launch!r}, spiffe_id={self.spiffe_id!r})"


class Trust(Message, frozen=True, tag="trust"):
    """Who is trusted: authorities by trust domain, DER. Takes the place of all that was said before."""

    bundles: Annotated[dict[Domain, Authorities], Meta(max_length=MAX_DOMAINS)]


class Dismiss(Message, frozen=True, tag="dismiss"):
    """A launch is over: forget its key, close its gate, its connections and its inside sockets."""

    launch: Name


class SendPeer(Message, frozen=True, tag="send"):
    """POST ``body`` to a peer, whose certificate must name exactly ``peer``. ``envelope``: empty for none."""

    id: CallNumber
    launch: Name
    peer: PeerId
    url: Url
    body: Body
    envelope: Token = ""
    stream: bool = False


class FetchCard(Message, frozen=True, tag="card"):
    """GET a peer's card; the same proof first."""

    id: CallNumber
    launch: Name
    peer: PeerId
    url: Url


class Deliver(Message, frozen=True, tag="deliver"):
    """POST ``body`` to the agent's own server, over an inside socket."""

    id: CallNumber
    launch: Name
    port: Port
    path: Path
    body: Body
    stream: bool = False


class Notify(Message, frozen=True, tag="notify"):
    """POST a push notification to a port of the agent's own; ``token``: what it asked to be shown, or empty."""

    id: CallNumber
    launch: Name
    port: Port
    path: Path
    body: Body
    token: Token = ""


class FetchOwn(Message, frozen=True, tag="own"):
    """GET something of the agent's own server: its card."""

    id: CallNumber
    launch: Name
    port: Port
    path: Path


class Admit(Message, frozen=True, tag="admit"):
    """The core's word about an incoming connection; if ``ok``, its Pipe comes on the descriptor socket."""

    connection: Connection
    ok: bool


class Gate(Message, frozen=True, tag="gate"):
    """On the descriptor socket, with one listening TCP socket of this launch."""

    launch: Name


class Inside(Message, frozen=True, tag="inside"):
    """On the descriptor socket, with unconnected TCP sockets of the network namespace of this launch."""

    launch: Name


class Pipe(Message, frozen=True, tag="pipe"):
    """On the descriptor socket, with one Unix stream socket: where an admitted connection's bytes go."""

    connection: Connection


class Incoming(Message, frozen=True, tag="incoming"):
    """A peer has proved to OpenSSL that it owns this chain; whether that is enough the core says."""

    connection: Connection
    launch: Name
    chain: Chain


class PeerPiece(Message, frozen=True, tag="peer"):
    """An answer's body, or one event of a stream; with the envelope it came in, empty if it had none."""

    id: CallNumber
    envelope: Token
    body: Body

    @property
    def size(self) -> int:
        """Bytes that it holds."""
        return len(self.envelope) + len(self.body)


PeerCall: TypeAlias = SendPeer | FetchCard | Deliver | Notify | FetchOwn
PeerNews: TypeAlias = Identity | Trust | Dismiss | Admit
ToSidecarPeers: TypeAlias = PeerCall | PeerNews
Passed: TypeAlias = Gate | Inside | Pipe

PeerCode: TypeAlias = Literal[
    "peer_unreachable",
    "peer_untrusted",
    "peer_broken",
    "peer_slow",
    "peer_refused",
    "peer_bad_answer",
    "agent_unreachable",
    "agent_broken",
    "agent_slow",
    "agent_bad_answer",
]

REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "peer_unreachable": "the peer cannot be reached; nothing was sent",
        "peer_untrusted": "who answers there does not prove to be that peer; nothing was sent",
        "peer_broken": "the connection to the peer broke before its answer was whole",
        "peer_slow": "the peer did not answer in time",
        "peer_refused": "the peer refused the request before looking at what it asks",
        "peer_bad_answer": "the peer's answer does not have the form it must have",
        "agent_unreachable": "the agent's own server cannot be reached; nothing was delivered",
        "agent_broken": "the agent's own server broke off before its answer was whole",
        "agent_slow": "the agent's own server did not answer in time",
        "agent_bad_answer": "the answer of the agent's own server does not have the form it must have",
    }
)
