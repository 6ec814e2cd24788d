"""The office on disk."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from ringwall.errors import Unavailable
from ringwall.redteam.stage import Office


def test_without_what_asks_its_object_store_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "boto3" else found(name))
    with pytest.raises(Unavailable, match="demo_needs_aws") as missing, Office(tmp_path / "office"):
        pass
    assert "ringwall[aws]" in missing.value.remedy
    assert not (tmp_path / "office").exists()
