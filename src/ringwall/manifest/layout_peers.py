"""Which keys of ``ringwall.toml`` say which agents talk to each other: part of the table in ``layout``."""

from __future__ import annotations

from typing import Final

from ringwall.manifest import spell_peers as spell
from ringwall.manifest import types
from ringwall.manifest.shapes import Choice, Entry, File, Layout, ListOf, MapOf, Record, Text, Whole
from ringwall.manifest.spell import MAX_UID
from ringwall.manifest.texts import CLEARANCE, NAME, OPERATION

_NAMES = "[A-Za-z0-9._-]{1,64}"
_PEER = Text(what='a peer such as "sam" or "globex/bob"', read=spell.peer_name, pattern=f"^{_NAMES}(/{_NAMES})?$")
_RELAY = Text(what='a peer and its skill such as "bob/invoice"', read=spell.peer_skill,
              pattern=f"^{_NAMES}(/{_NAMES}){{1,2}}$")
_MEDIA = Text(what='a media type such as "text/plain"', read=spell.media_type, pattern="^[^/]+/[^/]+$")
_PREFIX = Text(what="an https URL that ends in /", read=spell.uri_prefix, pattern="^https://.*/$")
_PORT = Whole(low=1024, high=65_535)  # an agent has no right to ports below, inside its own network or elsewhere
MAX_HOPS: Final = 16  # a chain that long no human follows; each hop's identity travels in the envelope

A2A: Final = Layout(
    of=types.A2ASettings,
    entries=(
        Entry(key="max_hops", shape=Whole(low=1, high=MAX_HOPS),
              doc="How many agents, one after the other, may work on one task. Default: 4."),
        Entry(key="terminator", shape=Choice(options=("sidecar", "envoy")),
              doc="Who ends the TLS of peers that come: each tenant's sidecar, or an Envoy of yours "
                  "(docs/envoy.md). Default: `sidecar`."),
        Entry(key="envoy_uid", shape=Whole(low=0, high=MAX_UID),
              doc="The uid of that Envoy. Default: the user who runs Ringwall."),
        Entry(key="envoy_folder", shape=File(),
              doc="Where that Envoy finds its sockets: a folder that it can enter and that nobody but the user who "
                  "runs Ringwall can write. Default: `peers/` in the state folder, which no other user can enter."),
    ),
)
SKILL: Final = Layout(
    of=types.Skill, key_attr="name",
    entries=(
        Entry(key="input", shape=ListOf(item=_MEDIA),
              doc="Media types a message may bring. Default: `text/plain` and `application/json`."),
        Entry(key="output", shape=ListOf(item=_MEDIA),
              doc="Media types an answer may bring. Default: `text/plain` and `application/json`."),
        Entry(key="uris", shape=ListOf(item=_PREFIX),
              doc="Where files given by URL may lie, both ways, each a prefix that ends in `/`. Absent: no file by "
                  "URL."),
        Entry(key="description", doc="What it is for, as its card says it.",
              shape=Text(what="a text", read=spell.description, pattern=".")),
    ),
)
SEND: Final = Layout(
    of=types.SendGrant, key_attr="peer", short="skills",
    entries=(
        Entry(key="skills", shape=ListOf(item=NAME),
              doc="Which of the peer's skills. A bare list stands for a table with this key only."),
        Entry(key="clearance", shape=CLEARANCE,
              doc="What the peer may be shown. Default: private within the tenant, public to another tenant, and "
                  "what `[peers]` says for an agent elsewhere."),
    ),
)
RECEIVE: Final = Layout(
    of=types.ReceiveGrant, key_attr="peer", short="skills",
    entries=(
        Entry(key="skills", shape=ListOf(item=NAME),
              doc="Which of its own skills. A bare list stands for a table with this key only."),
        Entry(key="lends", shape=ListOf(item=OPERATION),
              doc="Tools of its own role that it may use while it works for this peer, although the peer has not "
                  "got them itself."),
        Entry(key="relays", shape=ListOf(item=_RELAY),
              doc="Messages of its own, as `peer/skill`, that it may send while it works for this peer, although "
                  "the peer may not send them itself."),
    ),
)
AGENT_ENTRIES: Final = (
    Entry(key="skills", shape=MapOf(name=NAME, value=Record(of=types.Skill)),
          doc="What it offers to other agents."),
    Entry(key="send", shape=MapOf(name=_PEER, value=Record(of=types.SendGrant)),
          doc="To whom it may send messages, and for which of their skills: `{ sam = [\"quote\"] }`. A peer is an "
              "agent of the same tenant, `tenant/agent`, or a name in `[peers]`. Both ends must agree."),
    Entry(key="receive", shape=MapOf(name=_PEER, value=Record(of=types.ReceiveGrant)),
          doc="From whom it takes messages, and for which of its skills: `{ ana = [\"quote\"] }`."),
    Entry(key="listen", doc="`host:port` of this machine where its messages arrive, over mutual TLS. Each agent "
                            "has its own. Required with `receive` and with `push`.",
          shape=Text(what='a host and a port such as "10.0.0.5:7443"', read=spell.listen, pattern=":[0-9]{1,5}$")),
    Entry(key="serve", shape=_PORT,
          doc="The port that its own A2A server listens on: 127.0.0.1 inside its own network. Required with "
              "`receive`."),
    Entry(key="push", shape=_PORT,
          doc="The port where it takes push notifications, inside its own network. Absent: it may ask for none."),
    Entry(key="door", shape=_PORT,
          doc="The port of its door over TCP, inside its own network, for programs that know no Unix sockets."),
)
REMOTE: Final = Layout(
    of=types.Remote, key_attr="name",
    entries=(
        Entry(key="spiffe_id", required=True,
              doc="Who it is, exactly. Another trust domain must be in `[identity.federation]`.",
              shape=Text(what="a SPIFFE ID", read=spell.spiffe_id, pattern="^spiffe://[^/]+/.")),
        Entry(key="url", required=True, doc="Where its JSON-RPC interface is: https, over mutual TLS.",
              shape=Text(what="an https URL", read=spell.peer_url, pattern="^https://")),
        Entry(key="clearance", shape=CLEARANCE, doc="What it may be shown. Default: public."),
        Entry(key="skills", shape=MapOf(name=NAME, value=Record(of=types.Skill)),
              doc="Which of its skills are known here, with what they may bring."),
    ),
)
LAYOUTS: Final = (A2A, REMOTE, SKILL, SEND, RECEIVE)
