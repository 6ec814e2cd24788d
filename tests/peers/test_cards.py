"""Cards: ours say what the operator declared, a peer's is believed only if its own domain signed it for it."""

from __future__ import annotations

import copy
import hmac
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fakes import run
from tests.identity.svid.world import ANA, ONE, World
from tests.peers.signers import SAM, encoded, envelopes, kid_of, made, parts, private_of, seal, started, stranger

from ringwall.errors import BadInput, Refused, Unavailable
from ringwall.identity.svid import jose, signing
from ringwall.identity.svid.interface import Bundle
from ringwall.manifest.types import Skill
from ringwall.peers import cards, jcs
from ringwall.wire.a2a import check_card

URL = "https://ana.example:8443/"
BASE: dict[str, Any] = {
    "name": "Ana", "description": "Reads \u2014 \u00fcn\u00ef \U0001f600", "version": "1.2",
    "supportedInterfaces": [
        {"url": "http://127.0.0.1:9999/", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
    "provider": {"organization": "Evil", "url": "https://evil.example/"},
    "documentationUrl": "https://evil.example/docs", "iconUrl": "https://evil.example/beacon.png",
    "capabilities": {"streaming": True, "pushNotifications": False,
                     "extensions": [{"uri": "urn:evil:ext", "required": True}]},
    "securitySchemes": {"key": {"apiKeySecurityScheme": {"location": "query", "name": "k"}}},
    "securityRequirements": [{"schemes": {"key": {"list": []}}}],
    "defaultInputModes": ["text/html"], "defaultOutputModes": ["text/html"],
    "skills": [
        {"id": "read", "name": "Read a document", "description": "by the server", "tags": ["docs"],
         "examples": ["read it"], "inputModes": ["video/mp4"]},
        {"id": "hidden", "name": "Not declared", "description": "", "tags": ["x"]},
    ],
}
SKILLS = {"read": Skill(name="read", description="by the operator"),
          "sum": Skill(name="sum", input=("application/json",), output=("text/plain",))}


def card_of(world: World, **other: Any) -> dict[str, Any]:
    return cards.build(**{"agent": ANA, "base": BASE, "skills": SKILLS, "url": URL, "sign": world.authority.sign,
                          **other})


def check(world: World, card: Any, **other: Any) -> dict[str, Any]:
    return cards.check(card, **{"expected": str(ANA), "url": URL, "bundles": world.authority.bundles(), **other})


def code(world: World, card: Any, **other: Any) -> str:
    with pytest.raises(Refused) as no:
        check(world, card, **other)
    return no.value.code


def signed(card: dict[str, Any], key: ec.EllipticCurvePrivateKey, header: dict[str, Any]) -> dict[str, Any]:
    """As somebody else would sign it."""
    bare = {name: value for name, value in card.items() if name != "signatures"}
    message = f"{encoded(header)}.{jose.encode(jcs.canonicalize(bare))}"
    signature = jose.encode(jose.sign(key, message.encode()))
    return {**bare, "signatures": [{"protected": encoded(header), "signature": signature}]}


def test_our_card_is_the_operators_word_and_passes_for_its_agent(tmp_path: Path) -> None:
    world = started(tmp_path)
    card = card_of(world)
    assert check(world, card) == card
    assert [one["id"] for one in card["skills"]] == ["read", "sum"]
    assert card["skills"][0] == {
        "id": "read", "name": "Read a document", "description": "by the operator", "tags": ["docs"],
        "examples": ["read it"], "inputModes": ["text/plain", "application/json"],
        "outputModes": ["text/plain", "application/json"]}
    assert card["defaultInputModes"] == card["defaultOutputModes"] == ["application/json", "text/plain"]
    assert [(one["url"], one["protocolBinding"]) for one in card["supportedInterfaces"]] == [
        (URL, "JSONRPC"), (f"{URL}rest", "HTTP+JSON")]
    assert list(card["securitySchemes"]) == ["mtls"]
    assert card["capabilities"]["streaming"] is True
    assert "pushNotifications" not in card["capabilities"]
    assert not any(word in str(card) for word in ("evil", "hidden", "127.0.0.1", "video", "html"))
    header, _ = parts(f"{card['signatures'][0]['protected']}.e30.")
    assert header == {"alg": "ES256", "kid": kid_of(world), "typ": "JOSE"}


def test_nothing_in_our_card_is_empty_but_the_scopes_of_mutual_tls(tmp_path: Path) -> None:
    """Other verifiers drop what is empty before they look: what they do not see would not be signed."""
    card = card_of(started(tmp_path), base={**BASE, "description": "", "skills": []})

    def empties(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
        if value in ("", [], {}):
            yield path
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for name, inner in items:
            yield from empties(inner, (*path, name))

    assert list(empties(card)) == [("securityRequirements", 0, "schemes", "mtls")]


@pytest.mark.parametrize("base", [None, [], {}, {**BASE, "name": 5}, {**BASE, "name": "\u202eanA"},
                                  {**BASE, "skills": "all"}, {**BASE, "unknown": 1}, {**BASE, "version": ""}])
def test_a_servers_card_that_is_none_makes_none(tmp_path: Path, base: Any) -> None:
    with pytest.raises(BadInput) as no:
        card_of(started(tmp_path), base=base)
    assert no.value.code == "a2a_bad_card"


def test_without_a_key_there_is_no_card(tmp_path: Path) -> None:
    with pytest.raises(Unavailable):
        card_of(World(tmp_path))


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict | list):
        for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, name))
    else:
        yield path, value


def put(card: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(card)
    place: Any = changed
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    return changed


def test_no_leaf_of_a_card_can_be_changed(tmp_path: Path) -> None:
    world = started(tmp_path)
    card = card_of(world)
    changes = [(path, not value if isinstance(value, bool) else f"{value}x") for path, value in leaves(card)]
    assert len(changes) > 25
    for path, value in changes:
        assert code(world, put(card, path, value)).startswith("card_")
    for name in card.keys() - {"securityRequirements"}:  # which is made of empty objects alone
        assert code(world, {one: value for one, value in card.items() if one != name}).startswith("card_")


def test_a_card_is_for_one_agent_at_one_host(tmp_path: Path) -> None:
    world = started(tmp_path)
    card = card_of(world)
    assert code(world, card, expected=SAM) == "card_wrong_id"
    for url in ("https://other.example:8443/", "https://ana.example.evil.example/", "http://ana.example:8443/", ""):
        assert code(world, card, url=url) == "card_wrong_url"
    two = put(card, ("capabilities", "extensions"), card["capabilities"]["extensions"] * 2)
    header = {"alg": "ES256", "kid": kid_of(world)}
    assert code(world, signed(two, private_of(world), header)) == "card_wrong_id"


@pytest.mark.parametrize("url", [
    "http://ana.example:8443/", "https://evil.example/", "https://ana.example@evil.example/",
    "https://evil.example/?https://ana.example:8443/", "https://ana.example.evil.example/", "https://[::1/",
    "grpc://ana.example:8443",
])
def test_an_interface_elsewhere_spoils_a_well_signed_card(tmp_path: Path, url: str) -> None:
    world = started(tmp_path)
    header = {"alg": "ES256", "kid": kid_of(world)}
    moved = put(card_of(world), ("supportedInterfaces", 1, "url"), url)
    assert code(world, signed(moved, private_of(world), header)) == "card_wrong_url"


def test_a_card_without_json_rpc_of_1_x_is_of_no_use(tmp_path: Path) -> None:
    world = started(tmp_path)
    header = {"alg": "ES256", "kid": kid_of(world)}
    for name, value in (("protocolBinding", "GRPC"), ("protocolVersion", "0.3.0"), ("protocolVersion", "10.0")):
        card = put(card_of(world), ("supportedInterfaces", 0, name), value)
        assert code(world, signed(card, private_of(world), header)) == "card_no_interface"


def test_only_the_bundle_of_the_peers_own_domain_says_who_may_sign(tmp_path: Path) -> None:
    key, bundle = stranger()
    world = started(tmp_path, foreign={"partner.example": bundle})
    card = card_of(world)
    theirs = {"alg": "ES256", "kid": "theirs"}
    assert code(world, signed(card, key, theirs)) == "card_no_key"
    assert code(world, signed(card, key, {**theirs, "kid": kid_of(world)})) == "card_signature"
    # The same key is right for its own domain, and ours is not.
    elsewhere = "spiffe://partner.example/y"
    other = put(card, ("capabilities", "extensions", 0, "params", "spiffe_id"), elsewhere)
    assert check(world, signed(other, key, theirs), expected=elsewhere)["name"] == "Ana"
    ours = signed(other, private_of(world), {"alg": "ES256", "kid": kid_of(world)})
    assert code(world, ours, expected=elsewhere) == "card_no_key"
    assert code(world, card, expected="spiffe://nowhere.example/x") == "card_no_key"


def test_a_card_may_say_where_a_key_is_and_nobody_looks(tmp_path: Path) -> None:
    key, _ = stranger()
    world = started(tmp_path)
    card = card_of(world)
    where = {"jku": "https://evil.example/keys", "x5u": "https://evil.example/c",
             "jwk": jose.to_jwk(key.public_key())}
    assert code(world, signed(card, key, {"alg": "ES256", "kid": "evil", **where})) == "card_no_key"
    assert code(world, signed(card, key, {"alg": "ES256", **where})) == "card_no_key"
    right = {"alg": "ES256", "kid": kid_of(world), "typ": "JOSE", **where}
    assert check(world, signed(card, private_of(world), right))


@pytest.mark.parametrize(("header", "wrong"), [
    ({"alg": "none"}, "card_algorithm"), ({"alg": "HS256"}, "card_algorithm"), ({"alg": "ES384"}, "card_algorithm"),
    ({"alg": "RS256"}, "card_algorithm"), ({"alg": None}, "card_algorithm"), ({"typ": "JWT"}, "card_header"),
    ({"typ": signing.ENVELOPE}, "card_header"), ({"crit": ["exp"]}, "card_header"), ({"b64": False}, "card_header"),
])
def test_no_other_algorithm_or_type_signs_a_card(tmp_path: Path, header: dict[str, Any], wrong: str) -> None:
    world = started(tmp_path)
    right = {"alg": "ES256", "kid": kid_of(world), "typ": "JOSE"}
    assert check(world, signed(card_of(world), private_of(world), right))
    assert code(world, signed(card_of(world), private_of(world), {**right, **header})) == wrong


def test_a_mac_under_the_public_key_is_no_signature(tmp_path: Path) -> None:
    world = started(tmp_path)
    bare = {name: value for name, value in card_of(world).items() if name != "signatures"}
    header = encoded({"alg": "HS256", "kid": kid_of(world)})
    message = f"{header}.{jose.encode(jcs.canonicalize(bare))}".encode()
    secret = str(jose.to_jwk(world.authority.bundle().jwt_keys[kid_of(world)])).encode()
    mac = jose.encode(hmac.digest(secret, message, "sha256"))
    assert code(world, {**bare, "signatures": [{"protected": header, "signature": mac}]}) == "card_algorithm"


def test_an_rsa_key_of_the_bundle_signs_no_card(tmp_path: Path) -> None:
    world = started(tmp_path)
    key = rsa.generate_private_key(65537, 2048).public_key()
    bundles = {"example.org": Bundle(trust_domain="example.org", jwt_keys={kid_of(world): key})}
    assert code(world, card_of(world), bundles=bundles) == "card_signature"


def test_one_good_signature_is_enough_and_only_a_few_are_tried(tmp_path: Path) -> None:
    key, _ = stranger()
    world = started(tmp_path)
    good = card_of(world)
    bad = signed(good, key, {"alg": "ES256", "kid": "evil"})["signatures"]
    few, many = bad * (cards.MAX_SIGNATURES - 1), bad * cards.MAX_SIGNATURES
    assert check(world, {**good, "signatures": [*few, *good["signatures"]]})
    assert code(world, {**good, "signatures": [*many, *good["signatures"]]}) == "card_no_key"
    assert code(world, {**good, "signatures": []}) == "card_unsigned"


def test_both_canonical_forms_of_empty_members_are_known(tmp_path: Path) -> None:
    """The specification keeps required members though they are empty; the reference implementation drops them."""
    world = started(tmp_path)
    header = {"alg": "ES256", "kid": kid_of(world)}
    full = {**card_of(world), "description": ""}
    kept = signed(full, private_of(world), header)
    assert "description" not in check(world, kept)
    bare = {name: value for name, value in full.items() if name not in {"description", "securityRequirements"}}
    dropped = {**full, "signatures": signed(bare, private_of(world), header)["signatures"]}
    assert check(world, dropped) == {**check(world, kept), "signatures": dropped["signatures"]}


def test_a_card_signature_is_no_jwt_svid_and_neither_token_signs_a_card(tmp_path: Path) -> None:
    world = started(tmp_path)
    card = card_of(world)
    one = card["signatures"][0]
    whole = f"{one['protected']}.{jose.encode(jcs.canonicalize(cards._signed(card)))}.{one['signature']}"
    assert signing.opened(whole, typ=signing.CARD, keys=world.authority.bundle().jwt_keys, limit=9999, what="card")
    for audience in (["example.org"], [str(ANA)], [URL]):
        with pytest.raises(Refused) as no:
            world.validator().validate(whole, audience)
        assert no.value.code == "token_claims"
    with pytest.raises(Refused) as no:
        envelopes(world).open(whole, sender=str(ANA), receiver=SAM, body=b"")
    assert no.value.code == "envelope_header"
    svid, letter = run(world.authority.jwt_svid(ANA, ONE, [SAM])).token, seal(envelopes(world))
    for token in (svid, letter):
        protected, payload, signature = token.split(".")
        taken = {"protected": protected, "signature": signature}
        assert code(world, {**card, "signatures": [taken]}) == "card_header"
        said = parts(token)[1]
        assert code(world, {**said, "signatures": [taken]}) == "card_malformed"
        assert payload


def test_a_card_whose_server_would_have_it_pass_for_a_token_is_not_signed(tmp_path: Path) -> None:
    world = started(tmp_path)
    claims = {"sub": str(ANA), "aud": ["vault"], "exp": 2_000_000_000}
    with pytest.raises(BadInput) as no:
        card_of(world, base={**BASE, **claims})
    assert no.value.code == "a2a_bad_card"
    with pytest.raises(BadInput) as no:
        world.authority.sign(signing.CARD, jcs.canonicalize({**BASE, **claims}))
    assert no.value.code == "svid_not_signable"


@pytest.mark.parametrize("wrong", [
    None, [], "card", {}, {"name": "x" * 10_000}, {"signatures": [{"protected": "e30", "signature": "AA"}]},
])
def test_what_is_no_card_is_refused(tmp_path: Path, wrong: Any) -> None:
    world = started(tmp_path)
    card = {**card_of(world), **wrong} if isinstance(wrong, dict) and wrong else wrong
    assert code(world, card) in {"card_malformed", "card_algorithm"}


def test_the_agent_is_shown_its_door_and_no_more_than_it_needs(tmp_path: Path) -> None:
    world = started(tmp_path)
    shown = cards.for_agent(check(world, card_of(world)), "http://127.0.0.1:7000/a2a/ana")
    assert [(one["url"], one["protocolBinding"]) for one in shown["supportedInterfaces"]] == [
        ("http://127.0.0.1:7000/a2a/ana", "JSONRPC"), ("http://127.0.0.1:7000/a2a/ana/rest", "HTTP+JSON")]
    assert not {"signatures", "securitySchemes", "securityRequirements"} & shown.keys()
    assert check_card(shown) == shown


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)


@given(name=st.text("aZ \u00e9\u6f22\U0001f600", min_size=1, max_size=30), description=TEXTS,
       tags=st.lists(st.text("ab-", min_size=1, max_size=9), max_size=4))
@settings(max_examples=40, deadline=None)
def test_whatever_a_server_calls_itself_its_card_passes_again(name: str, description: str, tags: list[str]) -> None:
    base = {**BASE, "name": name, "description": description,
            "skills": [{"id": "read", "name": name, "description": description, "tags": tags}]}
    key, bundle = stranger()

    def sign(typ: str, payload: bytes) -> str:
        return signing.compact(key, kid="theirs", typ=typ, payload=payload)

    card = cards.build(agent=ANA, base=base, skills=SKILLS, url=URL, sign=sign)
    assert cards.check(card, expected=str(ANA), url=URL, bundles={"example.org": bundle}) == card


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6)


@given(changes=st.dictionaries(st.sampled_from([*BASE, "signatures", "x"]), JSON, max_size=3), sign=st.booleans())
@settings(max_examples=80, deadline=None)
def test_nothing_but_a_card_or_a_refusal_comes_of_any_json(changes: dict[str, Any], sign: bool) -> None:
    key, bundle = stranger()
    card = {**BASE, **changes}
    if sign:
        try:
            card = signed(card, key, {"alg": "ES256", "kid": "theirs"})
        except BadInput:
            pass  # it has no canonical form
    with pytest.raises(Refused) as no:  # BASE has an interface elsewhere, whatever else it has
        cards.check(card, expected=str(ANA), url=URL, bundles={"example.org": bundle})
    assert no.value.code.startswith("card_")


@given(protected=st.text(max_size=60), signature=st.text(max_size=100))
@settings(max_examples=80, deadline=None)
def test_nothing_but_a_refusal_comes_of_any_signature(protected: str, signature: str) -> None:
    with pytest.raises(Refused) as no:
        signing.check_detached(protected, signature, b"{}", keys={}, what="card")
    assert no.value.code in {"card_malformed", "card_algorithm", "card_no_key", "card_header"}
    key, bundle = stranger()
    token = made({"alg": "ES256", "kid": "theirs"}, {}, key)
    with pytest.raises(Refused):
        signing.check_detached(token.split(".")[0], signature, b"{}", keys=bundle.jwt_keys, what="card")
