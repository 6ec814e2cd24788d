"""Which keys of ``[identity]`` there are: part of the table in ``layout``."""

from __future__ import annotations

from typing import Final

from ringwall.manifest import spell, spell_peers, types
from ringwall.manifest.shapes import Choice, Entry, File, Layout, MapOf, Record, Text

_HTTPS = "^[Hh][Tt][Tt][Pp][Ss]://"
TRUST_DOMAIN: Final = Text(what="a trust domain", read=spell.trust_domain, pattern="^[a-z0-9._-]{1,255}$")
FEDERATED: Final = Layout(
    of=types.Federated, key_attr="trust_domain",
    entries=(
        Entry(key="bundle", shape=File(),
              doc="Its SPIFFE bundle document. It is read again when it changes. Whoever can write it decides who "
                  "is believed for that domain, so it lies where only you can. With `endpoint`: the first bundle, "
                  "and a newer one if the endpoint can no longer be verified."),
        Entry(key="endpoint", shape=Text(what="an https URL", read=spell_peers.peer_url, pattern="^https://"),
              doc="The https URL of its bundle endpoint, asked again and again as the bundle says."),
        Entry(key="profile", shape=Choice(options=("https_web", "https_spiffe")),
              doc="How the endpoint proves itself, required with `endpoint`: `https_web`, a certificate of the "
                  "web; `https_spiffe`, an X.509-SVID with `spiffe_id`, verified by the bundle known so far, so "
                  "that `bundle` is required too."),
        Entry(key="spiffe_id", doc="The SPIFFE ID of the endpoint, of the same trust domain; `https_spiffe` only.",
              shape=Text(what="a SPIFFE ID", read=spell_peers.spiffe_id, pattern="^spiffe://[^/]+/.")),
        Entry(key="ca_file", shape=File(),
              doc="Who signs the endpoint's certificate (PEM); `https_web` only. Absent: whom the system trusts."),
    ),
)
IDENTITY: Final = Layout(
    of=types.IdentitySettings,
    entries=(
        Entry(key="issuer", doc="The `iss` of JWT-SVIDs: an https URL under which outsiders find the keys. "
                                "Default: `https://` and the trust domain.",
              shape=Text(what="an https URL", read=spell.issuer, pattern=_HTTPS)),
        Entry(key="federation", shape=MapOf(name=TRUST_DOMAIN, value=Record(of=types.Federated)),
              doc="Other trust domains whose SVIDs are verified here, each by its own bundle and nothing else."),
        Entry(key="publish",
              doc="`host:port` of this machine where others fetch, over https, our bundle (`/bundle.json`), OIDC "
                  "discovery and the keys of our tokens (`/keys`). Absent: nowhere.",
              shape=Text(what='a host and a port such as "127.0.0.1:8443"', read=spell_peers.listen,
                         pattern=":[0-9]{1,5}$")),
        Entry(key="publish_cert", shape=File(),
              doc="Its certificate with all between it and the root (PEM), read again when it changes. Absent: an "
                  "X.509-SVID of `spiffe://<trust domain>/ringwall/bundle` (`https_spiffe`)."),
        Entry(key="publish_key", shape=File(),
              doc="The key of `publish_cert` (PEM, without a passphrase): mode 0600, where no process looks."),
        Entry(key="spire", shape=File(),
              doc="The socket of a SPIRE agent's Workload API. It issues instead of Ringwall's own authority."),
    ),
)
LAYOUTS: Final = (IDENTITY, FEDERATED)
