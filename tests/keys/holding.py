"""What the tests of all sources share."""

from __future__ import annotations

import stat
from collections.abc import Sequence
from pathlib import Path

import pytest

from ringwall.errors import BadInput, Refused, RingwallError, Unavailable
from ringwall.keys.interface import RootKeys, RootSource


def mark(keys: RootKeys) -> bytes:
    """What tells one root from another."""
    return keys.derive("test")


def code_of(found: pytest.ExceptionInfo[RingwallError]) -> str:
    assert found.value.cause
    assert found.value.remedy
    return found.value.code


def bound_to_its_generation(source: RootSource, folder: Path, answers: Sequence[bytes]) -> None:
    """A file of generation 1 does not pass as 2: neither renamed, nor with its first line changed too."""
    keys, shown = source.create(1, answers)
    opens = [one.encode() for one in shown] or list(answers)
    old, new = folder / f"root-1.{source.kind}", folder / f"root-2.{source.kind}"
    assert stat.S_IMODE(old.stat().st_mode) == 0o600
    assert mark(source.open(1, opens)) == mark(keys)
    old.rename(new)
    with pytest.raises(Refused, match="generation 1") as found:
        source.open(2, opens)
    assert code_of(found) == "root_key_wrong"
    new.write_bytes(new.read_bytes().replace(f" {source.kind} 1\n".encode(), f" {source.kind} 2\n".encode(), 1))
    with pytest.raises(Refused) as found:
        source.open(2, opens)
    assert code_of(found) == "root_key_wrong"
    source.drop(2)
    assert list(folder.glob("root-*")) == []


def told_when_damaged(source: RootSource, folder: Path, answers: Sequence[bytes] = ()) -> None:
    """A file that is cut, changed, empty, open to others, a link or gone is told, and nothing opens."""
    keys, _ = source.create(1, answers)
    path = folder / f"root-1.{source.kind}"
    good = path.read_bytes()
    middle = len(good) - 20
    for bad in (good[:-1], good[:-9] + b"\n", good[:30], b"", b"\n", b"junk\n" + good, good + b"x",
                b"\xff" * 20_000, good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1:]):
        path.write_bytes(bad)
        with pytest.raises((BadInput, Refused)) as refused:
            source.open(1, answers)
        assert code_of(refused) in {"bad_root_key", "root_key_wrong"}
    path.write_bytes(good)
    path.chmod(0o640)
    with pytest.raises(Unavailable) as found:
        source.open(1, answers)
    assert code_of(found) == "root_key_exposed"
    path.chmod(0o600)
    path.rename(folder / "elsewhere")
    path.symlink_to(folder / "elsewhere")
    with pytest.raises(Unavailable) as found:
        source.open(1, answers)
    assert code_of(found) == "root_key_exposed"
    path.unlink()
    with pytest.raises(Unavailable) as found:
        source.open(1, answers)
    assert code_of(found) == "root_key_missing"
    (folder / "elsewhere").rename(path)
    assert mark(source.open(1, answers)) == mark(keys)
