"""Work with keys that may take the process down is done in another one: a question in JSON, two lines back.

What a token's library does is unknown, and scrypt needs so much memory that a machine may not have it. The core
outlives both.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from typing import Final

from ringwall import hidden

_MAX_ANSWER: Final = 16 * 1024  # bytes; a root key encrypted by age has 300
DONE: Final = "done"
DOWN: Final = "down"


class Answer(Exception):
    """Ends the work in the child with a code and a text."""

    def __init__(self, code: str, text: str = "") -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


def ask(module: str, question: Mapping[str, str], seconds: float) -> tuple[str, str]:
    """Start the child, and wait for its answer.

    Args:
        module: whose ``main`` calls :func:`serve`.
        question: may hold secrets: it goes over a pipe.
        seconds: how long it may take.

    Returns:
        ``DONE`` and bytes in base64; or the code and text of an :class:`Answer`; or ``DOWN`` and what happened.

    """
    try:
        done = subprocess.run([sys.executable, "-I", "-m", module], input=json.dumps(question).encode(),
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=seconds, check=False,
                              env=dict(os.environ))  # libraries of tokens find their settings there
    except subprocess.TimeoutExpired:
        return DOWN, f"it did not answer within {seconds} s"
    except OSError as fault:
        return DOWN, f"its process cannot be started: {fault.strerror}"
    lines = done.stdout[:_MAX_ANSWER].decode("utf-8", "replace").split("\n")
    if done.returncode != 0 or len(lines) != 3 or lines[2]:
        return DOWN, "its process crashed"
    return lines[0], lines[1]


def serve(work: Callable[[dict[str, str]], bytes]) -> None:
    """In the child: read the one question, answer it, end.

    Args:
        work: gives the bytes, or raises :class:`Answer`. Whatever else it raises is a crash.

    """
    hidden.hide()
    out = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no answer
    question = json.loads(sys.stdin.buffer.read())
    try:
        code, text = DONE, base64.b64encode(work(question)).decode()
    except Answer as answer:
        code, text = answer.code, " ".join(answer.text.split())
    os.write(out, f"{code}\n{text}\n".encode())
    os._exit(0)  # libraries of tokens are known to crash while they are unloaded
