"""The probes that clone: also in a process with threads, as the one that runs these tests."""

from __future__ import annotations

import threading

import pytest

from ringwall.confine import probe


def test_a_clone_beside_threads_that_want_the_interpreter_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_CHILD_SECONDS", 5.0)
    over = threading.Event()

    def busy() -> None:
        while not over.is_set():
            pass

    threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        said = [probe._in_child(lambda control: "here", 0, user=False) for _ in range(20)]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert said == [{"ok": "here"}] * 20
