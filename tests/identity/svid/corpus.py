"""The certificate corpus: every family of notes on what an X.509-SVID must not be, each with what must be said.

Whoever judges peers' certificates (verifier, sidecar, Envoy) is held to it. ``BUNDLES`` is what is trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID as Eku
from tests.identity.svid.workshop import (
    NOW,
    UNKNOWN,
    Ca,
    Ext,
    Leaf,
    Signer,
    ecdsa,
    ed,
    edited,
    pss,
    raw_san,
    rsa_key,
    uri,
    usage,
)

from ringwall.identity.svid.interface import Bundle

OURS = "spiffe://example.org/tenant/a/agent/b/role/c"
THEIRS = "spiffe://partner.test/tenant/a/agent/b/role/c"


@dataclass(frozen=True, kw_only=True)
class Case:
    """``code``: empty if it must be accepted, as ``id``. ``chain``: leaf first, DER."""

    family: str
    name: str
    chain: Sequence[bytes]
    code: str = ""
    id: str = OURS
    at: float = NOW

    def __str__(self) -> str:
        return f"{self.family}: {self.name}"


@cache
def root() -> Signer:
    return Ca(name="root").by()


@cache
def root_rsa() -> Signer:
    return Ca(name="root-rsa", key=rsa_key("root-rsa")).by()


@cache
def root_nameless() -> Signer:
    return Ca(name="root-nameless", id="").by()


@cache
def root_tight() -> Signer:
    return Ca(name="root-tight", pathlen=0).by()


@cache
def root_over() -> Signer:
    return Ca(name="root-over", ends=NOW - 1).by()


@cache
def partner() -> Signer:
    return Ca(name="partner", id="spiffe://partner.test").by()


@cache
def bundles() -> dict[str, Bundle]:
    """What is trusted: two trust domains, and one that trusts nobody."""
    own = [root(), root_rsa(), root_nameless(), root_tight(), root_over()]
    return {
        "example.org": Bundle(trust_domain="example.org", authorities=tuple(one.certificate for one in own)),
        "partner.test": Bundle(trust_domain="partner.test", authorities=(partner().certificate,)),
        "empty.test": Bundle(trust_domain="empty.test"),
    }


def cases() -> list[Case]:
    """All of them."""
    families: list[Callable[[], Iterator[Case]]] = [
        _valid, _names, _dns, _syntax, _domains, _profile, _extended, _times, _keys, _chains, _bytes,
    ]
    return [case for family in families for case in family()]


def _ext(value: x509.ExtensionType, critical: bool = False) -> Ext:
    return Ext(value=value, critical=critical)


def _both(*more: x509.ObjectIdentifier) -> Ext:
    return _ext(x509.ExtendedKeyUsage([Eku.SERVER_AUTH, Eku.CLIENT_AUTH, *more]))


def _constraint(*names: x509.GeneralName, excluded: bool = False) -> Ext:
    value = x509.NameConstraints(None, list(names)) if excluded else x509.NameConstraints(list(names), None)
    return _ext(value, critical=True)


def _valid() -> Iterator[Case]:
    def case(name: str, chain: Sequence[bytes], id: str = OURS, at: float = NOW) -> Case:  # noqa: A002
        return Case(family="valid", name=name, chain=chain, id=id, at=at)

    ours = x509.UniformResourceIdentifier(OURS)
    below = Ca(name="below").by(root())
    lower = Ca(name="lower").by(below)
    yield case("plain", [Leaf().by(root())])
    yield case("extended usage for both sides", [Leaf(extended=_both()).by(root())])
    yield case("extended usage for both sides and mail", [Leaf(extended=_both(Eku.EMAIL_PROTECTION)).by(root())])
    yield case("DNS name beside it", [Leaf(names=(ours, x509.DNSName("b.example.org"))).by(root())])
    yield case("DNS name before it", [Leaf(names=(x509.DNSName("b.example.org"), ours)).by(root())])
    others = (x509.RFC822Name("b@example.org"), x509.IPAddress(ip_address("10.0.0.1")))
    yield case("mail and address beside it", [Leaf(names=(ours, *others)).by(root())])
    yield case("critical names", [Leaf(san_critical=True).by(root())])
    yield case("no subject, critical names", [Leaf(subject="", san_critical=True).by(root())])
    yield case("no basic constraints", [Leaf(basic=None).by(root())])
    several = _ext(usage("digital_signature", "key_agreement", "key_encipherment"), critical=True)
    yield case("more key usages", [Leaf(key_usage=several).by(root())])
    yield case("unknown extension, not critical",
               [Leaf(more=[_ext(x509.UnrecognizedExtension(UNKNOWN, b"\x05\x00"))]).by(root())])
    yield case("P-384", [Leaf(key=ecdsa("leaf", "p384")).by(root())])
    yield case("P-521", [Leaf(key=ecdsa("leaf", "p521")).by(root())])
    yield case("RSA 2048", [Leaf(key=rsa_key("leaf")).by(root())])
    yield case("signed by RSA", [Leaf().by(root_rsa())])
    yield case("signed by RSA with PSS", [Leaf(padding=pss()).by(root_rsa())])
    yield case("signed with SHA-384", [Leaf(hash=hashes.SHA384()).by(root_rsa())])
    yield case("authority without an ID", [Leaf().by(root_nameless())])
    yield case("one between", [Leaf().by(below), below.certificate])
    yield case("two between", [Leaf().by(lower), lower.certificate, below.certificate])
    yield case("two between, out of order", [Leaf().by(lower), below.certificate, lower.certificate])
    yield case("the root presented too", [Leaf().by(below), below.certificate, root().certificate])
    yield case("somebody else's root presented too", [Leaf().by(root()), partner().certificate])
    yield case("path length kept", [Leaf().by(root_tight())])
    yield case("DNS constraint that touches no name of it", [
        Leaf().by(inner := Ca(name="dns-bound", more=[_constraint(x509.DNSName("other.test"))]).by(root())),
        inner.certificate])
    yield case("partner", [Leaf(names=(x509.UniformResourceIdentifier(THEIRS),)).by(partner())], THEIRS)
    yield case("path of another shape", [Leaf(names=(uri("spiffe://partner.test/ns/x/sa/Y_z.1-2"),)).by(partner())],
               "spiffe://partner.test/ns/x/sa/Y_z.1-2")
    long = "spiffe://example.org/" + "a" * (2048 - 21)
    yield case("2048 bytes", [Leaf(names=(uri(long),)).by(root())], long)
    yield case("first second", [Leaf().by(root())], at=NOW - 30)
    yield case("last second", [Leaf().by(root())], at=NOW + 600)


def _names() -> Iterator[Case]:
    def case(name: str, code: str, *uris: str, signer: Signer | None = None) -> Case:
        made = Leaf(names=tuple(uri(one) for one in uris)).by(signer or root())
        return Case(family="names", name=name, chain=[made], code=code)

    yield case("two of ours", "svid_many_ids", OURS, OURS.replace("/b/", "/d/"))
    yield case("the same twice", "svid_many_ids", OURS, OURS)
    yield case("ours and https", "svid_many_ids", OURS, "https://example.org/a")
    yield case("https and ours", "svid_many_ids", "https://example.org/a", OURS)
    yield case("ours and theirs", "svid_many_ids", OURS, THEIRS)
    yield case("theirs and ours", "svid_many_ids", THEIRS, OURS)
    yield case("theirs and ours, by the partner", "svid_many_ids", THEIRS, OURS, signer=partner())
    yield case("ours and theirs, by the partner", "svid_many_ids", OURS, THEIRS, signer=partner())
    yield case("three", "svid_many_ids", OURS, THEIRS, OURS)
    yield case("none at all", "svid_no_id")
    yield case("only https", "svid_bad_id", "https://example.org/tenant/a/agent/b/role/c")
    yield case(";URI= inside", "svid_bad_id", f"spiffe://example.org/x;URI={OURS}")
    yield case(",URI= inside", "svid_bad_id", f"spiffe://example.org/x,URI={OURS}")
    yield case(", URI: inside", "svid_bad_id", f"spiffe://example.org/x, URI:{OURS}")
    yield case("empty", "svid_bad_id", "")
    yield Case(family="names", name="an empty list of names", code="svid_no_id",
               chain=[Leaf(san=raw_san()).by(root())])
    yield Case(family="names", name="no subject, names not critical", code="svid_bad_name",
               chain=[Leaf(subject="").by(root())])


def _dns() -> Iterator[Case]:
    ours, theirs = OURS.encode(), THEIRS.encode()

    def case(name: str, code: str, *names: tuple[int, bytes], signer: Signer) -> Case:
        return Case(family="ID in another name", name=name, code=code,
                    chain=[Leaf(san=raw_san(*names)).by(signer)])

    yield case("DNS name alone", "svid_no_id", (2, ours), signer=root())
    yield case("DNS name beside the partner's", "svid_bad_name", (6, theirs), (2, ours), signer=partner())
    yield case("DNS name before the partner's", "svid_bad_name", (2, ours), (6, theirs), signer=partner())
    yield case("DNS name beside ours", "svid_bad_name", (6, ours), (2, ours), signer=root())
    yield case("mail alone", "svid_no_id", (1, ours), signer=root())
    yield case("empty DNS name", "svid_bad_name", (6, ours), (2, b""), signer=root())
    yield case("DNS name with a NUL", "svid_bad_name", (6, ours), (2, b"a.test\0.example.org"), signer=root())
    yield case("DNS name longer than any", "svid_bad_name", (6, ours), (2, b"a" * 300), signer=root())
    yield Case(family="ID in another name", name="common name alone", code="svid_no_id",
               chain=[Leaf(names=(), subject=OURS[:60]).by(root())])


_BAD_IDS = {
    "trailing slash": OURS + "/",
    "empty segment": "spiffe://example.org/tenant//agent",
    "dot": "spiffe://example.org/./a",
    "dot dot": "spiffe://example.org/a/../b",
    "percent": "spiffe://example.org/a%62",
    "percent slash": "spiffe://example.org/a%2fb",
    "query": OURS + "?a=b",
    "empty query": OURS + "?",
    "fragment": OURS + "#a",
    "user": "spiffe://user@example.org/a",
    "user and password": "spiffe://u:p@example.org/a",
    "port": "spiffe://example.org:443/a",
    "empty port": "spiffe://example.org:/a",
    "bad character": "spiffe://example.org/a!b",
    "tilde": "spiffe://example.org/~a",
    "colon in the path": "spiffe://example.org/a:b",
    "backslash": "spiffe://example.org\\a/b",
    "http": "http://example.org/a",
    "upper-case scheme": "SPIFFE://example.org/a",
    "upper-case domain": "spiffe://Example.org/a",
    "newline at the end": OURS + "\n",
    "newline inside": "spiffe://example.org\n/a",
    "carriage return": OURS + "\r",
    "NUL at the end": OURS + "\x00",
    "NUL and more": OURS + "\x00.evil.test",
    "space before": " " + OURS,
    "space at the end": OURS + " ",
    "space inside": "spiffe://example.org/a b",
    "tab": OURS + "\t",
    "no domain": "spiffe:///a/b",
    "no slashes": "spiffe:example.org/a",
    "one slash": "spiffe:/example.org/a",
    "three slashes": "spiffe:///example.org/a",
    "nothing but the scheme": "spiffe://",
    "2049 bytes": "spiffe://example.org/" + "a" * (2049 - 21),
    "a domain of 256": "spiffe://" + "a" * 256 + "/a",
    "star": "spiffe://example.org/*",
    "comma": "spiffe://example.org/a,b",
    "brackets": "spiffe://[::1]/a",
    "plus": "spiffe://example.org/a+b",
}


def _syntax() -> Iterator[Case]:
    def case(name: str, san: x509.ExtensionType, code: str) -> Case:
        return Case(family="ID syntax", name=name, code=code, chain=[Leaf(san=san).by(root())])

    for name, text in _BAD_IDS.items():
        yield case(name, raw_san((6, text.encode())), "svid_bad_id")
    yield case("the trust domain itself", raw_san((6, b"spiffe://example.org")), "svid_root_id")
    yield case("UTF-8", raw_san((6, "spiffe://example.org/ä".encode())), "svid_bad_id")
    yield case("look-alike letter", raw_san((6, "spiffe://ex\u0430mple.org/a".encode())), "svid_bad_id")
    yield case("no UTF-8", raw_san((6, b"spiffe://example.org/\xff")), "svid_malformed")


def _domains() -> Iterator[Case]:
    def case(name: str, code: str, chain: Sequence[bytes]) -> Case:
        return Case(family="trust domain", name=name, chain=chain, code=code)

    theirs = x509.UniformResourceIdentifier(THEIRS)
    yield case("ours by the partner", "svid_untrusted", [Leaf().by(partner())])
    yield case("theirs by us", "svid_untrusted", [Leaf(names=(theirs,)).by(root())])
    like = Ca(name="root", key=ecdsa("imitation"), id="spiffe://example.org").by(partner())
    yield case("the partner's authority, named like ours", "svid_untrusted", [Leaf().by(like), like.certificate])
    mine = Ca(name="mine").by()
    yield case("own root presented", "svid_untrusted", [Leaf().by(mine), mine.certificate])
    same = Ca(name="root", key=ecdsa("same-name")).by()
    yield case("own root with our root's name", "svid_untrusted", [Leaf().by(same), same.certificate])
    yield case("own root with our root's name, both presented", "svid_untrusted",
               [Leaf().by(same), same.certificate, root().certificate])
    yield case("signed by itself", "svid_untrusted",
               [Leaf().by(Signer(key=ecdsa("leaf"), name=x509.Name([])))])
    yield case("a domain nobody knows", "svid_unknown_domain",
               [Leaf(names=(uri("spiffe://unknown.test/a"),)).by(root())])
    yield case("a subdomain of ours", "svid_unknown_domain",
               [Leaf(names=(uri("spiffe://sub.example.org/a"),)).by(root())])
    yield case("ours with a dot at the end", "svid_unknown_domain",
               [Leaf(names=(uri("spiffe://example.org./a"),)).by(root())])
    yield case("a domain that trusts nobody", "svid_no_authority",
               [Leaf(names=(uri("spiffe://empty.test/a"),)).by(root())])
    other = Ca(name="foreign-named", id="spiffe://partner.test").by(root())
    yield case("an authority of another domain below our root", "svid_bad_issuer",
               [Leaf().by(other), other.certificate])


def _profile() -> Iterator[Case]:
    def case(name: str, code: str, leaf: Leaf) -> Case:
        return Case(family="leaf profile", name=name, chain=[leaf.by(root())], code=code)

    def used(*names: str, critical: bool = True) -> Leaf:
        return Leaf(key_usage=_ext(usage(*names), critical))

    authority = _ext(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    yield case("cA", "svid_is_ca", Leaf(basic=authority))
    yield case("cA with path length 0", "svid_is_ca",
               Leaf(basic=_ext(x509.BasicConstraints(ca=True, path_length=0), critical=True)))
    yield case("cA, not critical", "svid_is_ca", Leaf(basic=_ext(x509.BasicConstraints(ca=True, path_length=None))))
    yield case("cA and keyCertSign", "svid_is_ca",
               Leaf(basic=authority, key_usage=_ext(usage("digital_signature", "key_cert_sign"), critical=True)))
    yield case("keyCertSign", "svid_key_usage", used("digital_signature", "key_cert_sign"))
    yield case("cRLSign", "svid_key_usage", used("digital_signature", "crl_sign"))
    yield case("no key usage", "svid_key_usage", Leaf(key_usage=None))
    yield case("key usage not critical", "svid_key_usage", used("digital_signature", critical=False))
    yield case("no digitalSignature", "svid_key_usage", used("key_agreement"))
    yield case("key usage without any", "svid_key_usage", used())
    yield case("unknown critical extension", "svid_bad_extension",
               Leaf(more=[_ext(x509.UnrecognizedExtension(UNKNOWN, b"\x05\x00"), critical=True)]))
    yield case("critical policies", "svid_bad_extension", Leaf(more=[_ext(
        x509.CertificatePolicies([x509.PolicyInformation(UNKNOWN, None)]), critical=True)]))
    yield case("name constraints", "svid_bad_extension", Leaf(more=[_constraint(x509.DNSName("a.test"))]))
    yield case("name constraints, not critical", "svid_bad_extension",
               Leaf(more=[_ext(x509.NameConstraints([x509.DNSName("a.test")], None))]))


def _extended() -> Iterator[Case]:
    usages = {
        "server only": [Eku.SERVER_AUTH], "client only": [Eku.CLIENT_AUTH], "mail": [Eku.EMAIL_PROTECTION],
        "code signing": [Eku.CODE_SIGNING], "any": [Eku.ANY_EXTENDED_KEY_USAGE],
        "any and server": [Eku.ANY_EXTENDED_KEY_USAGE, Eku.SERVER_AUTH], "OCSP and client":
        [Eku.OCSP_SIGNING, Eku.CLIENT_AUTH],
    }
    for name, oids in usages.items():
        for critical in (False, True):
            leaf = Leaf(extended=_ext(x509.ExtendedKeyUsage(oids), critical))
            yield Case(family="extended key usage", name=f"{name}{', critical' if critical else ''}",
                       code="svid_extended_usage", chain=[leaf.by(root())])


def _times() -> Iterator[Case]:
    def case(name: str, code: str, chain: Sequence[bytes], at: float = NOW) -> Case:
        return Case(family="time", name=name, chain=chain, code=code, at=at)

    yield case("expired", "svid_expired", [Leaf(begins=NOW - 900, ends=NOW - 1).by(root())])
    yield case("a moment too late", "svid_expired", [Leaf().by(root())], at=NOW + 600.001)
    yield case("not yet", "svid_not_yet", [Leaf(begins=NOW + 1).by(root())])
    yield case("a moment too early", "svid_not_yet", [Leaf().by(root())], at=NOW - 30.001)
    yield case("expired years ago", "svid_expired", [Leaf(begins=0, ends=1).by(root())])
    yield case("only after 2050", "svid_not_yet", [Leaf(begins=2_600_000_000, ends=2_600_000_900).by(root())])
    over = Ca(name="over", ends=NOW - 1).by(root())
    early = Ca(name="early", begins=NOW + 1).by(root())
    yield case("an authority between has expired", "svid_expired", [Leaf().by(over), over.certificate])
    yield case("an authority between is not valid yet", "svid_not_yet", [Leaf().by(early), early.certificate])
    yield case("the root has expired", "svid_untrusted", [Leaf().by(root_over())])


def _keys() -> Iterator[Case]:
    def case(name: str, code: str, *chain: bytes) -> Case:
        return Case(family="keys", name=name, chain=chain, code=code)

    yield case("RSA 1024", "svid_weak_key", Leaf(key=rsa_key("small", 1024)).by(root()))
    yield case("RSA 2047-ish", "svid_weak_key", Leaf(key=rsa_key("less", 2040)).by(root()))
    yield case("RSA exponent 3", "svid_weak_key", Leaf(key=rsa_key("three", 2048, 3)).by(root()))
    yield case("P-224", "svid_weak_key", Leaf(key=ecdsa("leaf", "p224")).by(root()))
    yield case("secp256k1", "svid_weak_key", Leaf(key=ecdsa("leaf", "k256")).by(root()))
    yield case("Ed25519", "svid_weak_key", Leaf(key=ed("leaf")).by(root()))
    small = Ca(name="small-between", key=rsa_key("small-between", 1024)).by(root())
    yield case("RSA 1024 between", "svid_weak_key", Leaf().by(small), small.certificate)
    edwards = Ca(name="ed-between", key=ed("between")).by(root())
    yield case("signed by Ed25519", "svid_algorithm", Leaf().by(edwards), edwards.certificate)
    for name, last in (("SHA-1", 5), ("MD5", 4)):  # PKCS #1: 1.2.840.113549.1.1.n; no library signs so any more
        pkcs1 = bytes.fromhex("2a864886f70d0101")
        old = Leaf().by(root_rsa()).replace(pkcs1 + b"\x0b", pkcs1 + bytes([last]))
        yield case(f"signed with {name}", "svid_algorithm", old)
    yield case("signed with SHA-224", "svid_algorithm", Leaf(hash=hashes.SHA224()).by(root()))


def _chains() -> Iterator[Case]:
    def case(name: str, code: str, *chain: bytes) -> Case:
        return Case(family="chain", name=name, chain=chain, code=code)

    def below(name: str, code: str, ca: Ca, above: Signer | None = None, *more: bytes) -> Case:
        signer = ca.by(above or root())
        return case(name, code, Leaf().by(signer), signer.certificate, *more)

    leaf_key = ecdsa("other-leaf")
    other = Leaf(key=leaf_key, subject="other leaf").by(root())
    signer = Signer(key=leaf_key, name=x509.load_der_x509_certificate(other).subject)
    yield case("a leaf as issuer", "svid_bad_issuer", Leaf().by(signer), other)
    between = Ca(name="between").by(root())
    yield case("missing between", "svid_untrusted", Leaf().by(between))
    tight = Ca(name="tight", pathlen=0).by(root())
    more = Ca(name="more").by(tight)
    yield case("path length of one between", "svid_untrusted", Leaf().by(more), more.certificate, tight.certificate)
    yield below("path length of the root", "svid_untrusted", Ca(name="under-tight"), root_tight())
    yield below("without keyCertSign", "svid_bad_issuer", Ca(name="no-sign", usage=("crl_sign",)))
    yield below("only digitalSignature", "svid_bad_issuer", Ca(name="signs", usage=("digital_signature",)))
    yield below("without key usage", "svid_bad_issuer", Ca(name="no-usage", usage=None))
    yield below("without basic constraints", "svid_bad_issuer", Ca(name="no-basic", basic=False))
    yield below("cA false", "svid_bad_issuer", Ca(name="no-ca", ca=False))
    yield below("with a workload's ID", "svid_bad_issuer", Ca(name="with-path", id="spiffe://example.org/a"))
    yield below("with a URI that is no ID", "svid_bad_issuer", Ca(name="with-http", id="https://example.org"))
    yield below("unknown critical extension", "svid_untrusted", Ca(name="unknown", more=[
        _ext(x509.UnrecognizedExtension(UNKNOWN, b"\x05\x00"), critical=True)]))
    yield below("URI constraint that it violates", "svid_untrusted",
                Ca(name="bound", more=[_constraint(x509.UniformResourceIdentifier("other.test"))]))
    yield below("URI constraint that excludes it", "svid_untrusted",
                Ca(name="excluded", more=[_constraint(uri("example.org"), excluded=True)]))
    yield below("URI constraint that it keeps", "svid_untrusted",  # the library knows none: refused, never ignored
                Ca(name="kept", more=[_constraint(x509.UniformResourceIdentifier("example.org"))]))
    yield case("DNS constraint that it violates", "svid_untrusted",
               Leaf(names=(x509.UniformResourceIdentifier(OURS), x509.DNSName("b.example.org"))).by(
                   bound := Ca(name="dns-bound-2", more=[_constraint(x509.DNSName("other.test"))]).by(root())),
               bound.certificate)
    yield case("wrong key of the right name", "svid_untrusted",
               Leaf().by(Signer(key=ecdsa("wrong"), name=root().name)))
    deep = root()
    chain: list[bytes] = []
    for number in range(4):
        deep = Ca(name=f"deep-{number}").by(deep)
        chain.insert(0, deep.certificate)
    yield case("four between", "svid_untrusted", Leaf().by(deep), *chain)
    yield case("seven presented", "svid_chain_too_long", *[Leaf().by(root())] * 7)
    yield case("nothing presented", "svid_chain_too_long")
    yield case("the authority first", "svid_root_id", root().certificate)
    yield case("the wrong way round", "svid_root_id", between.certificate, Leaf().by(between))
    one, two = Ca(name="loop-1"), Ca(name="loop-2")
    first = Signer(key=ecdsa("loop-1"), name=one.by().name)
    second = two.by(first)
    yield case("a loop", "svid_untrusted", Leaf().by(second), second.certificate, one.by(second).certificate)


def _bytes() -> Iterator[Case]:
    def case(name: str, code: str, *chain: bytes) -> Case:
        return Case(family="bytes", name=name, chain=chain, code=code)

    good, key = Leaf().by(root()), root().key
    yield case("empty", "svid_malformed", b"")
    yield case("no DER", "svid_malformed", b"\0" * 64)
    yield case("cut", "svid_malformed", good[:-1])
    yield case("a byte behind it", "svid_malformed", good + b"\0")
    yield case("twice in one", "svid_malformed", good + good)
    yield case("garbage between", "svid_malformed", good, b"\x30\x03\x02\x01\x01")
    yield case("too large", "svid_too_large", b"\x30" * (20 << 10))
    yield case("PEM", "svid_malformed", b"-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n")
    yield case("signature changed", "svid_untrusted", good[:-1] + bytes([good[-1] ^ 1]))
    forged = good.replace(OURS.encode(), OURS.replace("/b/", "/d/").encode())
    yield case("ID changed after signing", "svid_untrusted", forged)

    def changed(old: bytes, new: bytes, certificate: bytes = good) -> bytes:
        return edited(certificate, key, lambda tbs: tbs.replace(old, new, 1))

    yield case("serial 0", "svid_malformed", changed(b"\x02\x01\x07", b"\x02\x01\0"))
    yield case("negative serial", "svid_malformed", changed(b"\x02\x01\x07", b"\x02\x01\xff"))
    yield case("version 2", "svid_malformed", changed(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x01"))
    twice = Leaf(more=[_ext(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.99"), raw_san(
        (6, THEIRS.encode())).value))]).by(root())
    yield case("two lists of names", "svid_malformed",
               changed(bytes.fromhex("0603551d63"), bytes.fromhex("0603551d11"), twice))
    yield case("boolean that is neither", "svid_malformed", changed(b"\x01\x01\xff", b"\x01\x01\x01"))
    yield case("names of garbage", "svid_malformed", Leaf(
        san=x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.17"), b"\x30\x80")).by(root()))
