"""Issuing, rotating, withdrawing: what the embedded authority does, and what stops it."""

from __future__ import annotations

import asyncio
import itertools
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_der_private_key
from tests.fakes import run, until
from tests.identity.svid.world import ANA, ONE, START, TWO, World

from ringwall.call import Denied
from ringwall.errors import AuditError, BadInput, Refused, RingwallError, Unavailable
from ringwall.identity.spiffe import SpiffeId
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid import issue, keyring, ledger
from ringwall.identity.svid.interface import REFRESH_HINT, SVID_SECONDS, TOKEN_SECONDS, Bundle
from ringwall.identity.svid.keyring import KEY_SECONDS, OLD_SECONDS, PREPARED_SECONDS, TURN_SECONDS
from ringwall.identity.svid.tokens import read


def started(folder: Path) -> World:
    world = World(folder)
    run(world.authority.start())
    return world


def csr(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    wanted = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://example.org/tenant/x")])
    made = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).add_extension(wanted, False)
    return made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def test_an_x509_svid_passes_our_own_verifier_and_lives_fifteen_minutes(tmp_path: Path) -> None:
    world = started(tmp_path)
    svid = run(world.authority.x509_svid(ANA, ONE))
    assert str(world.verifier().verify(svid.chain, expected=str(ANA)).spiffe_id) == str(ANA)
    leaf = x509.load_der_x509_certificate(svid.chain[0])
    assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() == SVID_SECONDS == 900
    assert leaf.not_valid_before_utc == datetime.fromtimestamp(START - issue.BACKDATE_SECONDS, UTC)
    key = load_der_private_key(svid.key, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == leaf.public_key()
    assert svid.authorities == world.authority.bundle().authorities
    assert "key" not in repr(svid)


def test_every_svid_has_its_own_key_and_serial(tmp_path: Path) -> None:
    world = started(tmp_path)
    svids = [run(world.authority.x509_svid(ANA, launch)) for launch in (ONE, ONE, TWO)]
    leaves = [x509.load_der_x509_certificate(svid.chain[0]) for svid in svids]
    assert len({leaf.serial_number for leaf in leaves}) == len({svid.key for svid in svids}) == 3


def test_a_csr_gives_its_key_and_nothing_else(tmp_path: Path) -> None:
    world = started(tmp_path)
    key = ec.generate_private_key(ec.SECP256R1())
    svid = run(world.authority.x509_svid(ANA, ONE, csr(key)))
    assert svid.key == b""
    assert x509.load_der_x509_certificate(svid.chain[0]).public_key() == key.public_key()
    assert str(world.verifier().verify(svid.chain).spiffe_id) == str(ANA)


@pytest.mark.parametrize("bad", [
    b"", b"\x30\x00", b"\x30" * 9000, csr(ec.generate_private_key(ec.SECP384R1())),
    csr(rsa.generate_private_key(65537, 2048)),
    csr(ec.generate_private_key(ec.SECP256R1()))[:-1] + b"\0",
], ids=["empty", "no request", "too large", "P-384", "RSA", "signature"])
def test_a_bad_csr_is_refused(tmp_path: Path, bad: bytes) -> None:
    world = started(tmp_path)
    with pytest.raises(BadInput, match="svid_bad_csr"):
        run(world.authority.x509_svid(ANA, ONE, bad))


def test_a_token_has_the_claims_that_vaults_need(tmp_path: Path) -> None:
    world = started(tmp_path)
    svid = run(world.authority.jwt_svid(ANA, ONE, ["vault"]))
    header, claims = read(svid.token)
    assert header == {"alg": "ES256", "typ": "JWT", "kid": next(iter(world.authority.bundle().jwt_keys))}
    assert claims.pop("jti")
    assert claims == {
        "iss": "https://id.example.org", "sub": str(ANA), "aud": ["vault"], "iat": START,
        "exp": START + TOKEN_SECONDS, "tenant": "acme", "agent": "ana", "arole": "reader",
    }
    assert TOKEN_SECONDS <= 300
    assert svid.expires_at == START + TOKEN_SECONDS
    assert str(world.validator().validate(svid.token, ["vault"]).spiffe_id) == str(ANA)


@pytest.mark.parametrize("audience", [[], [""], ["a b"], ["a\n"], ["ä"], ["a", "a"], ["x" * 513], list("abcde")])
def test_a_bad_audience_is_refused(tmp_path: Path, audience: list[str]) -> None:
    with pytest.raises(BadInput, match="svid_bad_audience"):
        run(started(tmp_path).authority.jwt_svid(ANA, ONE, audience))


def test_who_is_not_entitled_gets_nothing(tmp_path: Path) -> None:
    world = started(tmp_path)
    world.denied[ONE] = Denied(code="frozen", reason="this agent is frozen")
    for work in (world.authority.x509_svid(ANA, ONE), world.authority.jwt_svid(ANA, ONE, ["a"])):
        with pytest.raises(Refused, match="frozen"):
            run(work)
    run(world.authority.x509_svid(ANA, TWO))


def test_no_id_of_another_trust_domain_is_issued(tmp_path: Path) -> None:
    other = SpiffeId.parse("spiffe://partner.test/tenant/acme/agent/ana/role/reader")
    with pytest.raises(Refused, match="svid_wrong_domain"):
        run(started(tmp_path).authority.x509_svid(other, ONE))


def test_before_it_started_it_issues_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    for work in (world.authority.x509_svid(ANA, ONE), world.authority.jwt_svid(ANA, ONE, ["a"])):
        with pytest.raises(Unavailable, match="svid_not_ready"):
            run(work)
    with pytest.raises(Unavailable, match="svid_not_ready"):
        world.authority.bundle()


def test_withdrawing_a_launch_revokes_what_it_was_issued_and_nothing_else(tmp_path: Path) -> None:
    world = started(tmp_path)
    one, two = (run(world.authority.x509_svid(ANA, launch)) for launch in (ONE, TWO))
    token = run(world.authority.jwt_svid(ANA, ONE, ["a"])).token
    told: list[bool] = []
    end = world.authority.on_change(lambda: told.append(True))
    world.authority.revoke(ONE)
    assert told == [True]
    for judged in (lambda: world.verifier().verify(one.chain), lambda: world.validator().validate(token, ["a"])):
        with pytest.raises(Refused, match="svid_revoked"):
            judged()
    world.verifier().verify(two.chain)
    end()
    world.authority.changed()
    assert told == [True]


def test_a_frozen_agents_svids_count_no_more_until_it_is_thawed(tmp_path: Path) -> None:
    world = started(tmp_path)
    svid = run(world.authority.x509_svid(ANA, ONE))
    world.frozen[ANA] = "on fire"
    with pytest.raises(Refused, match="svid_revoked"):
        world.verifier().verify(svid.chain)
    world.frozen.clear()
    world.verifier().verify(svid.chain)


def test_issuing_is_counted_and_changes_of_keys_are_noted(tmp_path: Path) -> None:
    world = started(tmp_path)
    assert world.noted() == [("key_prepared", "x509"), ("key_activated", "x509"), ("key_prepared", "jwt"),
                             ("key_activated", "jwt")]
    run(world.authority.x509_svid(ANA, ONE))
    [event] = world.journal.of("count")
    assert (event.type, event.tenant, event.subject) == ("svid_issued", "system", str(ANA))
    assert event.body["use"] == "x509"


def test_what_could_not_be_withdrawn_later_is_not_issued(tmp_path: Path) -> None:
    world = started(tmp_path)
    world.authority._ledger = ledger.Ledger(most=2)
    run(world.authority.x509_svid(ANA, ONE))
    run(world.authority.jwt_svid(ANA, ONE, ["a"]))
    with pytest.raises(Unavailable, match="svid_too_many"):
        run(world.authority.x509_svid(ANA, ONE))
    world.authority.revoke(ONE)
    with pytest.raises(Unavailable, match="svid_too_many"):
        run(world.authority.x509_svid(ANA, TWO))
    world.clock.seconds += SVID_SECONDS + 61
    run(world.authority.x509_svid(ANA, TWO))


def test_a_key_is_published_five_hints_before_it_signs_and_until_all_it_signed_expired(tmp_path: Path) -> None:
    world = started(tmp_path)
    seen: list[tuple[float, frozenset[bytes], bytes]] = []

    async def a_day() -> None:
        for _ in range(0, 30 * 3600, 60):
            await world.later(60)
            svid = await world.authority.x509_svid(ANA, ONE)
            issuer = next(der for der in svid.authorities if x509.load_der_x509_certificate(der).subject
                          == x509.load_der_x509_certificate(svid.chain[0]).issuer)
            seen.append((world.clock.seconds, frozenset(world.authority.bundle().authorities), issuer))

    run(a_day())
    issuers = list(dict.fromkeys(issuer for _, _, issuer in seen))
    assert len(issuers) == 3
    for issuer in issuers[1:]:
        published = next(at for at, known, _ in seen if issuer in known)
        signs = next(at for at, _, who in seen if who == issuer)
        assert signs - published >= PREPARED_SECONDS >= 3 * REFRESH_HINT
    for issuer in issuers[:-1]:
        last = max(at for at, _, who in seen if who == issuer)
        gone = next(at for at, known, _ in seen if at > last and issuer not in known)
        assert SVID_SECONDS <= gone - last <= OLD_SECONDS + 121
    assert max(len(known) for _, known, _ in seen) <= 3


def test_an_svid_issued_just_before_rotation_holds_to_its_end(tmp_path: Path) -> None:
    world = started(tmp_path)
    run(world.later(TURN_SECONDS - 60))
    svid, token = run(world.authority.x509_svid(ANA, ONE)), run(world.authority.jwt_svid(ANA, ONE, ["a"]))
    run(world.later(TOKEN_SECONDS - 1, step=1))
    world.validator().validate(token.token, ["a"])
    run(world.later(svid.expires_at - world.clock.seconds, step=1))
    assert len(world.noted()) > 6
    world.verifier().verify(svid.chain)


def test_a_bundles_sequence_only_grows_over_restarts_and_a_lost_file(tmp_path: Path) -> None:
    world = started(tmp_path)
    first = world.authority.bundle()
    run(world.restarted().start())
    assert world.authority.bundle() == first
    (world.folder / "keys.json").unlink()
    world.clock.seconds += 60
    run(world.restarted().start())
    assert (world.authority.bundle().sequence or 0) > (first.sequence or 0)
    assert not set(first.authorities) & set(world.authority.bundle().authorities)


def test_after_a_restart_svids_of_before_still_count(tmp_path: Path) -> None:
    world = started(tmp_path)
    svid = run(world.authority.x509_svid(ANA, ONE))
    run(world.restarted().start())
    world.verifier().verify(svid.chain)
    run(world.authority.x509_svid(ANA, ONE))


def test_another_trust_domain_in_the_manifest_gets_other_keys_and_a_higher_sequence(tmp_path: Path) -> None:
    world = started(tmp_path)
    first = world.authority.bundle()
    run(world.restarted(domain="other.test").start())
    second = world.authority.bundle()
    assert second.trust_domain == "other.test"
    assert not set(first.authorities) & set(second.authorities)
    assert (second.sequence or 0) > (first.sequence or 0)


@pytest.mark.parametrize("jump", [-10 * 365 * 86_400, -3600, -60, 3600, 2 * 86_400, 10 * 365 * 86_400])
def test_a_clock_that_jumps_leaves_a_key_that_signs_and_is_believed(tmp_path: Path, jump: int) -> None:
    world = started(tmp_path)

    async def go() -> None:
        for moved in (jump, -jump):
            world.clock.seconds += moved
            await world.authority.turn()
            svid = await world.authority.x509_svid(ANA, ONE)
            world.verifier().verify(svid.chain, expected=str(ANA))
            assert len(world.authority.bundle().authorities) <= keyring.MAX_OLD + 2

    run(go())


def test_a_clock_that_jumps_to_and_fro_fills_neither_bundle_nor_disk(tmp_path: Path) -> None:
    world = started(tmp_path)

    async def go() -> None:
        for jump, _ in itertools.product((2 * 86_400, -2 * 86_400), range(20)):
            world.clock.seconds += jump
            await world.authority.turn()
            assert len(world.authority.bundle().authorities) <= keyring.MAX_OLD + 2

    run(go())


def test_without_a_key_that_is_valid_now_nothing_is_issued(tmp_path: Path) -> None:
    world = started(tmp_path)
    world.clock.seconds += KEY_SECONDS
    with pytest.raises(Unavailable, match="svid_not_ready"):
        run(world.authority.x509_svid(ANA, ONE))


def test_an_svid_never_outlives_its_authority(tmp_path: Path) -> None:
    world = started(tmp_path)
    world.clock.seconds += KEY_SECONDS - 100
    assert run(world.authority.x509_svid(ANA, ONE)).expires_at == START + KEY_SECONDS
    assert run(world.authority.jwt_svid(ANA, ONE, ["a"])).expires_at == START + KEY_SECONDS


@pytest.mark.parametrize("broken", ["log", "disk"])
def test_what_cannot_be_recorded_does_not_rotate_and_is_tried_again(
    tmp_path: Path, broken: str, monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = started(tmp_path)
    before = world.authority.bundle()
    world.clock.seconds += TURN_SECONDS

    async def looked() -> str:
        task = asyncio.create_task(world.authority.tend())
        await until(lambda: world.authority.fault)
        task.cancel()
        return world.authority.fault

    with monkeypatch.context() as patch:
        if broken == "log":
            world.journal.broken.add("note")
        else:
            patch.setattr("os.fsync", _full)
        said = run(looked())
    assert ("full" in said) if broken == "log" else ("svid_keys_unwritable" in said)
    assert world.authority.bundle() == before
    run(world.authority.x509_svid(ANA, ONE))
    world.journal.broken.clear()
    run(world.authority.turn())
    assert not world.authority.fault
    assert len(world.authority.bundle().authorities) == 2


def _full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_a_first_key_that_cannot_be_recorded_starts_nothing(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.journal.broken.add("note")
    with pytest.raises(AuditError):
        run(world.authority.start())


class _Killed(BaseException):
    pass


@pytest.mark.parametrize("at", range(1, 7))
def test_a_core_killed_at_any_write_of_a_rotation_starts_again_with_keys_that_hold(
    tmp_path: Path, at: int, monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = started(tmp_path)
    svid = run(world.authority.x509_svid(ANA, ONE))
    world.clock.seconds += 600
    run(world.authority.turn())
    world.clock.seconds += TURN_SECONDS - PREPARED_SECONDS - 600
    writes = itertools.count(1)
    true_replace = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if next(writes) == at:
            raise _Killed
        return true_replace(self, target)

    monkeypatch.setattr(Path, "replace", replace)

    async def rotate() -> None:
        for wait in (0.0, PREPARED_SECONDS):
            world.clock.seconds += wait
            await world.authority.turn()

    try:
        run(rotate())
    except _Killed:
        pass
    monkeypatch.undo()
    known = set(world.authority.bundle().authorities)
    run(world.restarted().start())
    fresh = run(world.authority.x509_svid(ANA, ONE))
    world.verifier().verify(fresh.chain, expected=str(ANA))
    assert not list(world.folder.glob(".*"))
    assert known & set(world.authority.bundle().authorities)
    assert svid.expires_at < world.clock.seconds  # rotation is far later than any SVID of before


def test_a_new_key_whose_svids_would_be_refused_is_never_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(tmp_path)
    true_authority = issue.authority
    other = issue.new_key()
    monkeypatch.setattr(issue, "authority", lambda _, **fields: true_authority(other, **fields))
    with pytest.raises(RingwallError, match="svid_key_unfit"):
        run(world.authority.start())
    assert not (world.folder / "keys.json").exists()


def test_foreign_bundles_stand_beside_the_own_one_and_never_for_it(tmp_path: Path) -> None:
    world = World(tmp_path, foreign={name: Bundle(trust_domain=name) for name in ("partner.test", "example.org")})
    run(world.authority.start())
    found = world.authority.bundles()
    assert set(found) == {"example.org", "partner.test"}
    assert found["example.org"] is world.authority.bundle()


def test_the_bundle_document_on_disk_is_the_one_in_force(tmp_path: Path) -> None:
    world = started(tmp_path)
    run(world.later(TURN_SECONDS))
    read_back = documents.parse("example.org", (world.folder / "bundle.json").read_bytes())
    assert read_back == world.authority.bundle()


def test_status_names_keys_and_the_next_change_and_no_secret(tmp_path: Path) -> None:
    world = started(tmp_path)
    status = world.authority.status()
    assert {(key["use"], key["phase"]) for key in status["keys"]} == {("x509", "active"), ("jwt", "active")}
    assert status["next"] == START + TURN_SECONDS - PREPARED_SECONDS
    assert status["trust_domain"] == "example.org"
    json.dumps(status)
