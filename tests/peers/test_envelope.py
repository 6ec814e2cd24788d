"""Envelopes: for one message, one sender, one receiver, once, for a minute, and only from our own trust domain."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.fakes import FakeClock, run
from tests.identity.svid.world import ANA, ONE
from tests.peers.signers import (
    BOB,
    BODY,
    ELSEWHERE,
    SAM,
    encoded,
    envelopes,
    kid_of,
    made,
    parts,
    private_of,
    seal,
    started,
    stranger,
)

from ringwall.errors import BadInput, Refused, Unavailable
from ringwall.identity.svid import issue, jose, signing
from ringwall.identity.svid.interface import Bundle
from ringwall.peers import envelope
from ringwall.peers.envelope import Envelope, Envelopes
from ringwall.peers.interface import answers

HEADER = {"alg": "ES256", "kid": "k", "typ": signing.ENVELOPE}


def open_(one: Envelopes, token: str, **other: Any) -> Envelope:
    return one.open(token, **{"sender": str(ANA), "receiver": SAM, "body": BODY, **other})


def code(one: Envelopes, token: str, **other: Any) -> str:
    with pytest.raises(Refused) as no:
        open_(one, token, **other)
    return no.value.code


def test_what_was_sealed_is_what_opens(tmp_path: Path) -> None:
    world = started(tmp_path)
    one, other = envelopes(world), envelopes(world)
    token, name = one.seal(sender=str(ANA), receiver=SAM, body=BODY, label="U secret", chain=[BOB, ELSEWHERE],
                           record="acme/57", trace="ab" * 16)
    assert open_(other, token) == Envelope(
        sender=str(ANA), receiver=SAM, label="U secret", chain=(BOB, ELSEWHERE), record="acme/57", id=name,
        trace="ab" * 16, reply_to="", expires=world.clock.now() + 60,
    )


def test_it_holds_for_one_sender_receiver_body_and_exchange_only(tmp_path: Path) -> None:
    world = started(tmp_path)
    one = envelopes(world)
    token = seal(one)
    assert code(one, token, sender=BOB) == "envelope_sender"
    assert code(one, token, receiver=BOB) == "envelope_receiver"
    assert code(one, token, body=BODY + b" ") == "envelope_body"
    assert code(one, token, reply_to="ab") == "envelope_reply"
    answer = seal(one, sender=SAM, receiver=str(ANA), reply_to="ab")
    assert code(one, answer, sender=SAM, receiver=str(ANA)) == "envelope_reply"
    assert code(one, answer, sender=SAM, receiver=str(ANA), reply_to="cd") == "envelope_reply"
    assert open_(one, token).sender == str(ANA)  # refusals used nothing up


def test_a_request_opens_once_and_the_pieces_of_an_answer_each_time(tmp_path: Path) -> None:
    one = envelopes(started(tmp_path))
    token, answer = seal(one), seal(one, reply_to="ab")
    open_(one, token)
    assert code(one, token) == "envelope_replayed"
    assert open_(one, answer, reply_to="ab") == open_(one, answer, reply_to="ab")


def test_it_lives_for_a_minute_and_not_before_its_time(tmp_path: Path) -> None:
    world = started(tmp_path)
    one = envelopes(world)
    token = seal(one)
    world.clock.seconds += 59.9
    open_(one, token)
    world.clock.seconds += 0.1
    assert code(one, token) == "envelope_expired"
    world.clock.seconds += 1000
    ahead = seal(one)
    world.clock.seconds -= 31
    assert code(one, ahead) == "envelope_not_yet"
    world.clock.seconds += 1
    open_(one, ahead)


def test_a_clock_that_jumps_brings_nothing_back(tmp_path: Path) -> None:
    world = started(tmp_path)
    one = envelopes(world)
    token = seal(one)
    open_(one, token)
    world.clock.seconds += 3_600
    open_(one, seal(one))  # by now the first one is forgotten
    assert len(one._opened._ids) == 1
    world.clock.seconds -= 3_600
    assert code(one, token) == "envelope_replayed"
    world.clock.seconds += 1  # what is made from now on expires after what was forgotten
    open_(one, seal(one))


def test_a_restarted_core_opens_nothing_that_another_may_have_opened_before(tmp_path: Path) -> None:
    world = started(tmp_path)
    one = envelopes(world)
    token = seal(one)
    open_(one, token)
    world.clock.seconds += 5
    again = envelopes(world)
    assert code(again, token) == "envelope_replayed"
    open_(again, seal(again))


def test_a_core_that_started_under_a_wrong_clock_works_when_it_is_put_right(tmp_path: Path) -> None:
    world = started(tmp_path)
    world.clock.seconds += 86_400
    one = envelopes(world)
    world.clock.seconds -= 86_400
    open_(one, seal(one))


def test_the_memory_is_bounded_and_nobody_fills_it_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "MAX_OPENED", 5)
    monkeypatch.setattr(envelope, "MAX_OPENED_OF", 3)
    world = started(tmp_path)
    one = envelopes(world)
    for _ in range(3):
        open_(one, seal(one))
    assert code(one, seal(one)) == "envelope_flood"
    for _ in range(2):
        open_(one, seal(one, sender=BOB), sender=BOB)
    assert code(one, seal(one, sender=BOB), sender=BOB) == "envelope_flood"
    world.clock.seconds += 60
    open_(one, seal(one))
    assert len(one._opened._ids) == 1


def test_one_that_expires_late_keeps_none_behind_it_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "MAX_OPENED_OF", 3)
    world = started(tmp_path)
    one = envelopes(world)
    world.clock.seconds += 29
    late = seal(one)
    world.clock.seconds -= 29
    open_(one, late)
    for _ in range(2):
        open_(one, seal(one))
    world.clock.seconds += 61
    open_(one, seal(one))
    assert len(one._opened._ids) == 2


def test_only_the_own_trust_domain_counts(tmp_path: Path) -> None:
    theirs, bundle = stranger()
    world = started(tmp_path, foreign={"partner.example": bundle})
    one = envelopes(world)
    _, said = parts(seal(one))
    assert code(one, made({**HEADER, "kid": "theirs"}, said, theirs)) == "envelope_no_key"
    assert code(one, made({**HEADER, "kid": kid_of(world)}, said, theirs)) == "envelope_signature"
    assert code(one, seal(one, sender=ELSEWHERE), sender=ELSEWHERE) == "envelope_foreign"


def test_without_a_bundle_or_key_nothing_is_opened_or_sealed(tmp_path: Path) -> None:
    world = started(tmp_path)
    token = seal(envelopes(world))
    blind = Envelopes(sign=world.authority.sign, bundles=dict[str, Bundle], trust_domain="example.org",
                      clock=world.clock)
    assert code(blind, token) == "envelope_no_key"
    with pytest.raises(Unavailable):
        seal(envelopes(type(world)(tmp_path / "fresh")))


def hs256(token: str, public: ec.EllipticCurvePublicKey) -> str:
    """The oldest trick: a MAC under the public key."""
    _, said = parts(token)
    message = f"{encoded({**HEADER, 'alg': 'HS256', 'kid': parts(token)[0]['kid']})}.{encoded(said)}"
    secret = str(jose.to_jwk(public)).encode()
    return f"{message}.{jose.encode(hmac.digest(secret, message.encode(), 'sha256'))}"


def test_no_other_algorithm_or_curve_signs(tmp_path: Path) -> None:
    world = started(tmp_path)
    one, kid = envelopes(world), kid_of(world)
    token = seal(one)
    header, said = parts(token)
    public = world.authority.bundle().jwt_keys[kid]
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert code(one, hs256(token, public)) == "envelope_algorithm"
    for name in ("none", "None", "ES384", "es256", "", None, 256, ["ES256"]):
        assert code(one, made({**header, "alg": name}, said, private_of(world))) == "envelope_algorithm"
    assert code(one, f"{encoded({**header, 'alg': 'none'})}.{encoded(said)}.") == "envelope_algorithm"
    other = ec.generate_private_key(ec.SECP384R1())
    odd = Bundle(trust_domain="example.org", jwt_keys={kid: other.public_key()})
    wrong = Envelopes(sign=world.authority.sign, bundles=lambda: {"example.org": odd}, trust_domain="example.org",
                      clock=world.clock)
    message = f"{encoded(header)}.{encoded(said)}"  # P-384 under the name of ES256
    r, s = decode_dss_signature(other.sign(message.encode(), ec.ECDSA(hashes.SHA256())))
    assert code(wrong, f"{message}.{jose.encode(r.to_bytes(48, 'big') + s.to_bytes(48, 'big'))}") \
        == "envelope_malformed"  # too long for any signature of ES256
    assert code(wrong, f"{message}.{jose.encode(r.to_bytes(48, 'big')[-32:] + s.to_bytes(48, 'big')[-32:])}") \
        == "envelope_signature"


@pytest.mark.parametrize("change", [
    {"kid": None}, {"kid": ["k"]}, {"kid": "x"}, {"kid": "../../etc/passwd"}, {"kid": "k" * 1000},
])
def test_a_key_that_nobody_knows_is_none(tmp_path: Path, change: dict[str, Any]) -> None:
    world = started(tmp_path)
    one = envelopes(world)
    header, said = parts(seal(one))
    assert code(one, made({**header, **change}, said, private_of(world))) == "envelope_no_key"


@pytest.mark.parametrize("change", [
    {"jku": "https://evil.example/keys"}, {"jwk": {}}, {"x5u": "https://evil.example"}, {"crit": ["exp"]},
    {"b64": False}, {"typ": "JWT"}, {"typ": "JOSE"}, {"typ": None}, {"typ": "Ringwall-Envelope+JWS"},
])
def test_a_header_with_more_or_of_another_type_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    world = started(tmp_path)
    one = envelopes(world)
    header, said = parts(seal(one))
    assert code(one, made({**header, **change}, said, private_of(world))) == "envelope_header"


def test_an_envelope_is_no_jwt_svid_and_a_jwt_svid_no_envelope(tmp_path: Path) -> None:
    world = started(tmp_path)
    one = envelopes(world)
    token = seal(one)
    for audience in (["example.org"], [SAM], [str(ANA)]):
        with pytest.raises(Refused) as no:
            world.validator().validate(token, audience)
        assert no.value.code == "token_header"
    svid = run(world.authority.jwt_svid(ANA, ONE, [SAM])).token
    assert code(one, svid) == "envelope_header"
    # Nor would its claims pass under the right header, signed by the right key.
    header, _ = parts(token)
    assert code(one, made(header, parts(svid)[1], private_of(world))) == "envelope_claims"


MUTATIONS: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("no label", lambda s: s.pop("label")), ("one more", lambda s: s.update(sub=str(ANA))),
    ("a label of ours only in part", lambda s: s.update(label="M")),
    ("a label in another case", lambda s: s.update(label="m private")),
    ("a label with more", lambda s: s.update(label="M private ")), ("no text", lambda s: s.update(record=5)),
    ("null", lambda s: s.update(trace=None)), ("a long record", lambda s: s.update(record="a" * 129)),
    ("a new line", lambda s: s.update(record="acme/1\n")), ("no ASCII", lambda s: s.update(record="acme/\u0661")),
    ("no id", lambda s: s.update(id="")), ("a chain that is a text", lambda s: s.update(chain=BOB)),
    ("a chain of numbers", lambda s: s.update(chain=[1])),
    ("a chain too long", lambda s: s.update(chain=[BOB] * 17)),
    ("a trust domain in the chain", lambda s: s.update(chain=["spiffe://example.org"])),
    ("no ID in the chain", lambda s: s.update(chain=["https://example.org/x"])),
    ("a sender that is none", lambda s: s.update({"from": "ana"})),
    ("a receiver look-alike", lambda s: s.update(to=SAM.replace("a", "\u0430"))),
    ("a long life", lambda s: s.update(expires=s["issued"] + 61)),
    ("backwards", lambda s: s.update(expires=s["issued"])), ("a time as text", lambda s: s.update(issued="0")),
    ("a truth value", lambda s: s.update(issued=True)), ("before the epoch", lambda s: s.update(issued=-1.0)),
    ("far too late", lambda s: s.update(issued=2.0**60, expires=2.0**60 + 30)),
]


@pytest.mark.parametrize("change", [change for _, change in MUTATIONS], ids=[name for name, _ in MUTATIONS])
def test_what_is_not_said_as_it_must_be_is_refused_though_well_signed(
    tmp_path: Path, change: Callable[[dict[str, Any]], object]
) -> None:
    world = started(tmp_path)
    one = envelopes(world)
    header, said = parts(seal(one))
    change(said)
    assert code(one, made(header, said, private_of(world))) == "envelope_claims"


@pytest.mark.parametrize("token", [
    "", ".", "..", "a.b", "a.b.c.d", "a.b.c", "\u0661.\u0661.\u0661", "e30.e30.", "W10.e30.AA", "====.e30.AA",
    "e30=.e30.AA", "ey\n.e30.AA",
])
def test_what_is_no_jws_is_refused(tmp_path: Path, token: str) -> None:
    assert code(envelopes(started(tmp_path)), token) in {"envelope_malformed", "envelope_header"}


def test_a_payload_that_is_no_object_or_ambiguous_is_refused(tmp_path: Path) -> None:
    world = started(tmp_path)
    one, key = envelopes(world), private_of(world)
    head = encoded({**HEADER, "kid": kid_of(world)})
    for payload in (b"[]", b'"x"', b"\xff", b'{"id":1,"id":1}', b"[" * 5000, b"", b"{" * 9 + b"}" * 9):
        message = f"{head}.{jose.encode(payload)}"
        token = f"{message}.{jose.encode(jose.sign(key, message.encode()))}"
        assert code(one, token) == "envelope_malformed"


def test_a_huge_token_is_refused_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = envelopes(started(tmp_path))
    monkeypatch.setattr(jose, "decode", lambda _: pytest.fail("it was decoded"))
    assert code(one, "." * (envelope.MAX_TOKEN + 1)) == "envelope_too_large"
    assert code(one, "." * envelope.MAX_TOKEN) == "envelope_malformed"
    assert code(one, f"{'a' * (signing.MAX_HEADER + 1)}.a.a") == "envelope_malformed"


@pytest.mark.parametrize("wrong", [
    {"label": "clean"}, {"label": ""}, {"chain": [BOB] * 17}, {"chain": ["bob"]}, {"record": "a" * 129},
    {"trace": "\x00"}, {"sender": "ana"}, {"receiver": "spiffe://example.org"},
    {"chain": [f"spiffe://example.org/{'a' * 1000}/{n}" for n in range(15)]},
])
def test_what_could_not_be_opened_is_not_sealed(tmp_path: Path, wrong: dict[str, Any]) -> None:
    one = envelopes(started(tmp_path))
    with pytest.raises(BadInput) as no:
        seal(one, **wrong)
    assert no.value.code == "envelope_unfit"


def test_after_a_rotation_old_envelopes_open_as_long_as_the_key_is_known(tmp_path: Path) -> None:
    world = started(tmp_path)
    one = envelopes(world)
    before = kid_of(world)
    run(world.later(12 * 3600))
    assert parts(seal(one))[0]["kid"] != before
    open_(one, seal(one))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(token=st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{0,80}(\.[A-Za-z0-9_-]{0,80}){0,4}"))
def test_nothing_but_a_refusal_comes_of_any_text(tmp_path: Path, token: str) -> None:
    with pytest.raises(Refused) as no:
        open_(ENVELOPES(tmp_path), token)
    assert no.value.code.startswith("envelope_")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    payload=st.dictionaries(
        st.sampled_from(["from", "to", "label", "record", "id", "trace", "reply_to", "body", "chain", "issued",
                         "expires", "x"]),
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20)
        | st.lists(st.text(max_size=9)),
    )
)
def test_nothing_but_a_refusal_comes_of_any_signed_object(tmp_path: Path, payload: dict[str, Any]) -> None:
    key = issue.new_key()
    bundle = Bundle(trust_domain="example.org", jwt_keys={"k": key.public_key()})
    one = Envelopes(sign=lambda *_: "", bundles=lambda: {"example.org": bundle}, trust_domain="example.org",
                    clock=FakeClock())
    with pytest.raises(Refused) as no:
        open_(one, made(HEADER, payload, key))
    assert no.value.code in {"envelope_claims", "envelope_malformed"}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_character_spoils_it(tmp_path: Path, data: st.DataObject) -> None:
    one = ENVELOPES(tmp_path)
    token = seal(one)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda c: c != token[place]))
    code(one, token[:place] + other + token[place + 1:])


def test_nothing_that_passes_for_an_envelope_is_answered_like_an_event_of_another() -> None:
    events = {answers("a.b.c", number) for number in range(20)}
    assert len(events) == 20
    for token in ("a.b.c#1", "1#a.b.c", "0#a.b.c", "#a.b.c", "a.b.c#", ""):
        assert answers(token) not in events  # its refusal, which the core signs, would be an event of the other's


_MADE: dict[Path, Envelopes] = {}


def ENVELOPES(folder: Path) -> Envelopes:  # noqa: N802
    """One authority for all examples of a property."""
    if folder not in _MADE:
        _MADE[folder] = envelopes(started(folder))
    return _MADE[folder]
