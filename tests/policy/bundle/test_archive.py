"""Archives are read strictly: plain files with plain names, once each, within limits."""

from __future__ import annotations

import gzip
import io
import tarfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.policy.bundle.support import code_of, member, tarred

from ringwall.errors import PolicyError
from ringwall.policy.bundle import archive
from ringwall.policy.bundle.archive import read, write

FILES = {"data.json": b"{}", "site/hours.rego": b"package x\n" * 200, ".manifest": b""}
NAMES = st.from_regex(r"[a-z0-9_.]{1,8}(/[a-z0-9_]{1,8}){0,3}", fullmatch=True).filter(
    lambda name: not {".", ".."} & set(name.split("/")))


def test_what_is_written_is_read_and_the_same_files_give_the_same_bytes() -> None:
    assert read(write(FILES)) == FILES
    assert write(FILES) == write(dict(reversed(list(FILES.items()))))


def test_tar_reads_it_too() -> None:
    with tarfile.open(fileobj=io.BytesIO(write(FILES))) as found:
        assert {one.name: found.extractfile(one).read() for one in found} == FILES  # type: ignore[union-attr]


def test_archives_of_tar_are_read() -> None:
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT):
        assert read(tarred(member("a/b.rego", b"x" * 600), member("c", b""), form=form)) == {
            "a/b.rego": b"x" * 600, "c": b""}


@pytest.mark.parametrize(("made", "code"), [
    (member("../etc/passwd", b"x"), "bundle_climbing_name"),
    (member("a/../../b", b"x"), "bundle_climbing_name"),
    (member("..", b"x"), "bundle_climbing_name"),
    (member("/etc/passwd", b"x"), "bundle_absolute_name"),
    (member("a//b", b"x"), "bundle_bad_name"),
    (member("./a", b"x"), "bundle_bad_name"),
    (member("a/", b"x"), "bundle_bad_name"),
    (member("a\\b", b"x"), "bundle_bad_name"),
    (member("a b", b"x"), "bundle_bad_name"),
    (member("a\nb", b"x"), "bundle_bad_name"),
    (member("", b"x"), "bundle_bad_name"),
    (member("h\u00e4user", b"x"), "bundle_bad_name"),
    (member("d" * 40 + "/" + "x" * 90, b"x"), "bundle_bad_name"),
    (member("link", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "bundle_symlink"),
    (member("link", type=tarfile.LNKTYPE, linkname="data.json"), "bundle_hardlink"),
    (member("dev", type=tarfile.CHRTYPE), "bundle_device"),
    (member("dev", type=tarfile.BLKTYPE), "bundle_device"),
    (member("pipe", type=tarfile.FIFOTYPE), "bundle_device"),
    (member("folder", type=tarfile.DIRTYPE), "bundle_bad_member"),
    (member("odd", b"x", type=b"7"), "bundle_bad_member"),
    (member("sparse", b"x", type=b"S"), "bundle_bad_member"),
])
def test_what_no_bundle_needs_is_refused(made: tuple[tarfile.TarInfo, bytes], code: str) -> None:
    assert code_of(read, tarred(member("data.json", b"{}"), made)) == code


def test_extended_headers_are_refused() -> None:
    long = tarred(member("x/" * 60 + "y", b"x"), form=tarfile.PAX_FORMAT)
    assert code_of(read, long) in {"bundle_bad_member", "bundle_bad_name"}
    named, content = member("a", b"x")
    named.pax_headers = {"path": "/etc/passwd"}
    assert code_of(read, tarred((named, content), form=tarfile.PAX_FORMAT)) == "bundle_bad_member"


def test_a_name_twice_is_refused() -> None:
    assert code_of(read, tarred(member("data.json", b"{}"), member("data.json", b"[]"))) == "bundle_duplicate"


def test_a_member_of_one_gibibyte_is_refused_by_its_header_alone() -> None:
    made, _ = member("data.json")
    made.size = 1 << 30
    assert code_of(read, gzip.compress(made.tobuf(tarfile.USTAR_FORMAT))) == "bundle_member_too_large"


def test_a_bomb_is_refused_before_it_is_in_memory() -> None:
    packer = zlib.compressobj(level=9, wbits=31)
    bomb = b"".join([packer.compress(bytes(1 << 20)) for _ in range(200)]) + packer.flush()
    assert len(bomb) < archive.MAX_PACKED
    assert code_of(read, bomb) == "bundle_bomb"


def test_a_file_that_is_too_large_is_not_unpacked() -> None:
    assert code_of(read, bytes(archive.MAX_PACKED + 1)) == "bundle_too_large"


def test_too_many_files_are_refused_on_both_ways() -> None:
    many = {f"f{number}": b"" for number in range(archive.MAX_MEMBERS + 1)}
    assert code_of(write, many) == "bundle_too_many_files"
    assert code_of(read, tarred(*(member(name) for name in many))) == "bundle_too_many_files"


@pytest.mark.parametrize("names", [["../a"], ["/a"], ["a/./b"], [""], ["a" * 101]])
def test_nothing_is_written_that_would_not_be_read(names: list[str]) -> None:
    assert code_of(write, dict.fromkeys(names, b"")).startswith("bundle_")


def test_every_truncation_is_refused() -> None:
    whole = write(FILES)
    for end in range(len(whole)):
        assert code_of(read, whole[:end]) in {"bundle_truncated", "bundle_damaged"}
    plain = gzip.decompress(whole)
    for end in range(0, len(plain) - 1024, 256):
        assert code_of(read, gzip.compress(plain[:end])) == "bundle_truncated"


def test_what_follows_the_end_is_refused() -> None:
    assert code_of(read, write(FILES) + b"x") == "bundle_damaged"
    assert code_of(read, write(FILES) + write(FILES)) == "bundle_damaged"
    assert code_of(read, gzip.compress(gzip.decompress(write(FILES)) + b"x")) == "bundle_damaged"


def test_what_is_no_archive_is_refused() -> None:
    assert code_of(read, b"") == "bundle_truncated"
    assert code_of(read, b"package x") == "bundle_damaged"
    assert code_of(read, gzip.compress(b"package x" * 100)) == "bundle_damaged"
    assert code_of(read, tarred(member("a", b"x"), gz=False)) == "bundle_damaged"


@settings(max_examples=60)
@given(st.dictionaries(NAMES, st.binary(max_size=1500), max_size=6))
def test_all_plain_files_come_back(found: dict[str, bytes]) -> None:
    assert read(write(found)) == found


@settings(max_examples=150)
@given(st.binary(max_size=3000), st.booleans())
def test_any_bytes_are_files_or_a_policy_error(raw: bytes, packed: bool) -> None:
    try:
        found = read(gzip.compress(raw) if packed else raw)
    except PolicyError as error:
        assert error.code.startswith("bundle_")
    else:
        assert read(write(found)) == found


@settings(max_examples=200)
@given(st.data())
def test_a_damaged_archive_never_gives_a_name_that_leads_out(data: st.DataObject) -> None:
    plain = bytearray(gzip.decompress(write(FILES)))
    for _ in range(data.draw(st.integers(1, 4))):
        plain[data.draw(st.integers(0, 1023))] = data.draw(st.integers(0, 255))
    try:
        found = read(gzip.compress(bytes(plain)))
    except PolicyError as error:
        assert error.code.startswith("bundle_")
    else:
        assert not any(name.startswith("/") or ".." in name.split("/") for name in found)
