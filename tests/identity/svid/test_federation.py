"""Bundles of other trust domains, from files."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.fakes import FakeClock
from tests.identity.svid.corpus import partner, root
from tests.identity.svid.workshop import NOW, Leaf, uri

from ringwall.errors import BadInput, Refused
from ringwall.identity.svid import bundle as documents
from ringwall.identity.svid.federation import Federation
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.verifier import X509Verifier

THEIRS = Leaf(names=(uri("spiffe://partner.test/a"),))


def write(path: Path, *, sequence: int | None = 1, authorities: tuple[bytes, ...] = ()) -> None:
    path.write_bytes(documents.document(Bundle(
        trust_domain="partner.test", authorities=authorities or (partner().certificate,), sequence=sequence)))


def made(path: Path) -> Federation:
    return Federation({"partner.test": path}, lambda _: None)


def test_a_bundle_is_taken_and_taken_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "partner.json"
    write(path)
    federation = made(path)
    assert federation.look()
    assert not federation.look()
    write(path, sequence=22)
    assert federation.look()
    assert federation.bundles()["partner.test"].sequence == 22
    assert not federation.faults


@pytest.mark.parametrize("bad", ["gone", "garbage", "folder", "older", "no sequence", "ours", "exposed"])
def test_a_bad_file_leaves_the_last_good_bundle_and_is_said(tmp_path: Path, bad: str) -> None:
    path = tmp_path / "partner.json"
    write(path, sequence=10)
    exposed: list[bool] = []

    def check(_: Path) -> None:
        if exposed:
            raise BadInput("everybody can write it")

    federation = Federation({"partner.test": path}, check)
    federation.look()
    good = federation.bundles()["partner.test"]
    path.unlink()
    match bad:
        case "garbage":
            path.write_bytes(b"{}")
        case "folder":
            path.mkdir()
        case "older":
            write(path, sequence=9)
        case "no sequence":
            write(path, sequence=None)
        case "ours":
            write(path, sequence=11, authorities=(root().certificate,))
        case "exposed":
            write(path, sequence=11)
            exposed.append(True)
        case _:
            pass
    assert not federation.look()
    assert federation.bundles()["partner.test"] is good
    assert str(path) in federation.faults["partner.test"]
    if path.is_dir():
        path.rmdir()
    exposed.clear()
    write(path, sequence=12)
    assert federation.look()
    assert not federation.faults


def test_a_domain_whose_bundle_was_never_read_is_not_known(tmp_path: Path) -> None:
    federation = made(tmp_path / "none.json")
    assert not federation.look()
    clock = FakeClock()
    clock.seconds = NOW
    with pytest.raises(Refused, match="svid_unknown_domain"):
        X509Verifier(federation.bundles, clock).verify([THEIRS.by(partner())])


def test_a_withdrawn_authority_is_not_believed_from_the_next_look_on(tmp_path: Path) -> None:
    path = tmp_path / "partner.json"
    write(path)
    federation = made(path)
    federation.look()
    clock = FakeClock()
    clock.seconds = NOW
    verifier = X509Verifier(federation.bundles, clock)
    verifier.verify([THEIRS.by(partner())])
    path.write_bytes(documents.document(Bundle(trust_domain="partner.test", sequence=2)))
    federation.look()
    with pytest.raises(Refused, match="svid_no_authority"):
        verifier.verify([THEIRS.by(partner())])
