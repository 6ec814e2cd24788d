"""The outsider's certificates are well made: nothing but the names in them is wrong."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from ringwall.clock import SystemClock
from ringwall.errors import Refused
from ringwall.identity.svid import bundle, issue
from ringwall.identity.svid.interface import Bundle
from ringwall.identity.svid.verifier import X509Verifier
from ringwall.redteam import outsider
from ringwall.redteam.bare import named
from ringwall.redteam.liars import LyingVerifier

OFFICE = "office.example"
CODES = ("svid_untrusted", "svid_bad_id", "svid_many_ids")  # as ``outsider.forged`` lists them


def presented(folder: Path, names: Sequence[str]) -> tuple[bytes, bool]:
    """What a server is shown by him, DER, and whether the check that is often written lets him in."""
    server = outsider.context(folder, [outsider.SAME_PATH], server=True)
    server.verify_mode = ssl.CERT_REQUIRED
    server.load_verify_locations(cadata=outsider.authority(folder))
    ours, theirs = socket.socketpair()
    client = outsider.context(folder, names)

    def knock() -> None:
        with client.wrap_socket(theirs, server_hostname="office") as out:
            out.recv(1)

    thread = threading.Thread(target=knock)
    thread.start()
    with server.wrap_socket(ours, server_side=True) as seen:
        leaf, admitted = seen.getpeercert(binary_form=True), named(seen)
        seen.sendall(b".")
    thread.join()
    assert leaf is not None
    return leaf, admitted


@dataclass(frozen=True, slots=True)
class Partner:
    """His folder, and a verifier that trusts him for his domain, and another authority for the office's."""

    folder: Path
    verifier: X509Verifier


@pytest.fixture(scope="module")
def partner(tmp_path_factory: pytest.TempPathFactory) -> Partner:
    folder = tmp_path_factory.mktemp("outsider") / "partner"
    theirs = bundle.parse(outsider.DOMAIN, outsider.prepare(folder))
    now = time.time()
    own = issue.authority(issue.new_key(), trust_domain=OFFICE, name="Office", begins=now - 60, ends=now + 3600)
    trusted = {outsider.DOMAIN: theirs, OFFICE: Bundle(trust_domain=OFFICE, authorities=(own,))}
    return Partner(folder, X509Verifier(lambda: trusted, SystemClock()))


@pytest.mark.parametrize(("names", "code"), [*zip(outsider.forged(), CODES, strict=True)])
def test_the_check_that_is_often_written_lets_a_forged_clerk_in_and_the_strict_one_does_not(
        partner: Partner, names: Sequence[str], code: str) -> None:
    leaf, admitted = presented(partner.folder, names)
    assert admitted
    with pytest.raises(Refused) as refused:
        partner.verifier.verify([leaf])
    assert refused.value.code == code


def test_the_clerks_path_in_his_own_domain_is_a_good_certificate_of_somebody_else(partner: Partner) -> None:
    [names] = outsider.look_alike()
    leaf, admitted = presented(partner.folder, names)
    assert admitted
    assert str(partner.verifier.verify([leaf]).spiffe_id) == outsider.SAME_PATH


def test_the_check_that_is_often_written_turns_others_away(partner: Partner) -> None:
    assert not presented(partner.folder, ["spiffe://partner.example/tenant/office/agent/eve/role/clerk"])[1]


def test_the_lying_verifier_takes_each_forged_clerk_for_the_clerk(partner: Partner) -> None:
    liar = LyingVerifier(dict, SystemClock())
    for names in outsider.forged():
        assert str(liar.verify([presented(partner.folder, names)[0]]).spiffe_id) == outsider.CLERK
    [same_path] = outsider.look_alike()
    assert str(liar.verify([presented(partner.folder, same_path)[0]]).spiffe_id) == outsider.SAME_PATH
