"""The forwarded certificate: the one form that Envoy writes, and nothing else."""

from __future__ import annotations

import hashlib
import ssl
import urllib.parse
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringwall.errors import BadInput
from ringwall.identity.svid.verifier import MAX_CHAIN
from ringwall.peers.forwarded import MAX_FORWARDED, read

SAM = "spiffe://acme.example/tenant/acme/agent/sam/role/plain"
ONE, TWO = b"0" * 500, b"1" * 47


def written(chain: Sequence[bytes], by: str = SAM) -> bytes:
    pem = urllib.parse.quote("".join(map(ssl.DER_cert_to_PEM_cert, chain)), safe="")
    return f'By={by};Hash={hashlib.sha256(chain[0]).hexdigest()};Chain="{pem}"'.encode()


GOOD = written([ONE, TWO])


def test_the_certificates_come_out_as_they_were_presented() -> None:
    assert read(GOOD, receiver=SAM) == (ONE, TWO)


@settings(max_examples=100)
@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=MAX_CHAIN))
def test_any_chain_survives_the_way(chain: list[bytes]) -> None:
    assert read(written(chain), receiver=SAM) == tuple(chain)


@pytest.mark.parametrize("bad", [
    b"", b"By=", GOOD[:-1], GOOD + b" ", b" " + GOOD, GOOD + b"," + GOOD, GOOD + b";URI=" + SAM.encode(),
    GOOD.replace(b"By=", b"by="), GOOD.replace(b";Hash", b";URI=spiffe://x;Hash"),
    GOOD.replace(b"sam", b"ana"), GOOD.removeprefix(b"By=" + SAM.encode() + b";"),
    GOOD.replace(b"Hash=", b"Hash=0"), written([TWO]).replace(hashlib.sha256(TWO).hexdigest().encode(), b"0" * 64),
    GOOD.replace(hashlib.sha256(ONE).hexdigest().encode(), hashlib.sha256(ONE).hexdigest().upper().encode()),
    GOOD.replace(b"%0A", b"\n"), GOOD.replace(b"%0A", b"%0D%0A"), GOOD.replace(b"%0A", b"%0a"),
    GOOD.replace(b"%3D", b"="), GOOD.replace(b"CERTIFICATE", b"X509%20CRL"), GOOD.replace(b"Chain", b"Cert"),
    GOOD.replace(b"-----BEGIN", b"Subject%3A%20x%0A-----BEGIN"), GOOD.replace(b"MDAw", b"MD!w", 1),
    GOOD.replace(b"-----END%20CERTIFICATE-----%0A", b"", 1), written([ONE] * (MAX_CHAIN + 1)),
    written([b"0" * MAX_FORWARDED]), GOOD.replace(b"MDAw", "MD\u00e9w".encode("latin-1"), 1),
    b'By=%s;Hash=%s;Chain=""' % (SAM.encode(), hashlib.sha256(b"").hexdigest().encode()),
], ids=range(27))
def test_anything_else_is_refused(bad: bytes) -> None:
    with pytest.raises(BadInput, match="bad_forwarded"):
        read(bad, receiver=SAM)


@settings(max_examples=300)
@given(st.binary(max_size=300), st.integers(0, len(GOOD) - 1), st.integers(0, 40))
def test_whatever_is_written_over_it_only_the_same_certificate_comes_out(
    data: bytes, at: int, length: int
) -> None:
    for raw in (data, GOOD[:at] + data + GOOD[at + length :]):
        try:
            found = read(raw, receiver=SAM)
        except BadInput as fault:
            assert fault.code == "bad_forwarded"
        else:
            assert found[0] == ONE
