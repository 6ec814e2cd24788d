from __future__ import annotations

import secrets
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.keys.file import FileRootKeys
from ringwall.vault.envelope import Macs, Tenant, bound, of_mark, of_tenant, of_version, packed, unpacked
from ringwall.vault.schema import Mark, Path, Version

ROOT = FileRootKeys(bytes(range(32)))
PATH = Path("acme", "ana", "clerk", "db")
VALUE = b"planted-value-1"


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_no_two_lists_of_texts_are_bound_alike(one: list[str], other: list[str]) -> None:
    assert (bound("value", *one) == bound("value", *other)) == (one == other)


def test_each_part_of_a_path_and_each_use_binds() -> None:
    found = {
        of_version(use, PATH._replace(**change), number, created)
        for use in ("value", "key") for number in (1, 11) for created in (1, 2)
        for change in ({}, {"tenant": "zeta"}, {"agent": "ben"}, {"role": "reader"}, {"name": "dbb"},
                       {"agent": "anaclerk", "role": ""})
    }
    assert len(found) == 2 * 2 * 2 * 6


def test_a_value_comes_back_and_is_nowhere_in_what_is_stored() -> None:
    tenant = Tenant.new(ROOT, "acme")
    version, body = tenant.seal(PATH, 1, 5, VALUE)
    assert tenant.unseal(PATH, version, body) == VALUE
    again = Tenant.stored(ROOT, "acme", tenant.salt, tenant.keeping)
    assert again.unseal(PATH, version, body) == VALUE
    assert VALUE not in body + packed(Mark(high=1, versions=(version,)))


def test_each_version_has_a_key_and_a_nonce_of_its_own() -> None:
    tenant = Tenant.new(ROOT, "acme")
    made = [tenant.seal(PATH, 1, 5, VALUE) for _ in range(50)]
    assert len({version.nonce for version, _ in made}) == len({body for _, body in made}) == 50
    one, other = made[0], made[1]
    with pytest.raises(BadInput, match="vault_damaged"):
        tenant.unseal(PATH, one[0], other[1])


@pytest.mark.parametrize("change", [{"tenant": "zeta"}, {"agent": "ben"}, {"role": "reader"}, {"name": "dc"}])
def test_a_version_opens_at_its_own_path_only(change: dict[str, str]) -> None:
    tenant = Tenant.new(ROOT, "acme")
    version, body = tenant.seal(PATH, 1, 5, VALUE)
    with pytest.raises(BadInput, match="vault_damaged"):
        tenant.unseal(PATH._replace(**change), version, body)
    with pytest.raises(BadInput, match="vault_damaged"):
        Tenant.new(ROOT, "acme").moved(PATH._replace(**change), version, tenant)


@pytest.mark.parametrize("change", [{"number": 2}, {"created": 6}, {"nonce": bytes(12)}, {"nonce": b""},
                                    {"wrapped": b""}, {"wrapped": bytes(60)}])
def test_a_version_opens_as_itself_only(change: dict[str, object]) -> None:
    tenant = Tenant.new(ROOT, "acme")
    version, body = tenant.seal(PATH, 1, 5, VALUE)
    stored = {"number": version.number, "created": version.created, "state": version.state,
              "nonce": version.nonce, "wrapped": version.wrapped}
    with pytest.raises(BadInput, match="vault_damaged"):
        tenant.unseal(PATH, Version(**{**stored, **change}), body)


def test_tenants_and_salts_have_keys_of_their_own() -> None:
    one, again, other = Tenant.new(ROOT, "acme"), Tenant.new(ROOT, "acme"), Tenant.new(ROOT, "zeta")
    version, body = one.seal(PATH, 1, 5, VALUE)
    for wrong in (again, other):
        with pytest.raises(BadInput, match="vault_damaged"):
            wrong.unseal(PATH, version, body)
    with pytest.raises(BadInput, match="vault_damaged"):
        Tenant.stored(ROOT, "zeta", one.salt, one.keeping)


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_any_changed_byte_of_a_value_is_found(place: int, mask: int) -> None:
    tenant = Tenant.new(ROOT, "acme")
    version, body = tenant.seal(PATH, 1, 5, VALUE)
    changed = bytearray(body)
    changed[place % len(body)] ^= mask
    with pytest.raises(BadInput, match="vault_damaged"):
        tenant.unseal(PATH, version, bytes(changed))


@given(st.binary(max_size=200))
def test_garbage_in_the_place_of_a_mark_or_a_kept_thing_is_damage(garbage: bytes) -> None:
    with pytest.raises(BadInput, match="vault_damaged"):
        Tenant.new(ROOT, "acme").kept_one(b"", garbage, "it")
    try:
        assert packed(unpacked(PATH, garbage))
    except BadInput as fault:
        assert fault.code == "vault_damaged"


def test_a_moved_version_opens_with_the_new_key_only_and_its_value_stays() -> None:
    old, new = Tenant.new(ROOT, "acme"), Tenant.new(FileRootKeys(secrets.token_bytes(32)), "acme")
    version, body = old.seal(PATH, 1, 5, VALUE)
    moved = new.moved(PATH, version, old)
    assert new.unseal(PATH, moved, body) == VALUE
    assert (moved.nonce, moved.number, moved.created) == (version.nonce, version.number, version.created)
    with pytest.raises(BadInput, match="vault_damaged"):
        old.unseal(PATH, moved, body)


def test_macs_differ_by_use_place_and_root() -> None:
    macs, tenant = Macs(ROOT), Tenant.new(ROOT, "acme")
    made = [macs.check(1), macs.check(2), macs.state(1, 1, 0), macs.state(1, 2, 0), macs.state(2, 1, 0),
            macs.state(1, 1, 1), macs.backup(b""), macs.row(b""), macs.term(b"").to_bytes(32),
            macs.row(of_mark(PATH, b"")), macs.row(of_mark(PATH, b"x")),
            macs.row(of_mark(PATH._replace(name="dc"), b"")), macs.row(of_tenant(tenant)),
            macs.row(of_tenant(Tenant.new(ROOT, "acme"))), Macs(FileRootKeys(bytes(32))).check(1)]
    assert len(set(made)) == len(made)
    assert macs.state(1, 1, -1) == macs.state(1, 1, (1 << 256) - 1)


def test_nothing_shows_a_key() -> None:
    tenant = Tenant.new(ROOT, "acme")
    version, _ = tenant.seal(PATH, 1, 5, VALUE)
    shown = f"{tenant!r} {Macs(ROOT)!r} {version!r} {Mark(high=1, versions=(version,))!r}"
    for hidden in (tenant.keep, tenant.keeping, version.wrapped, VALUE):
        assert repr(hidden)[2:-1] not in shown
    assert {field.name for field in fields(Tenant) if not field.repr} == {"kek", "keep", "keeping"}
