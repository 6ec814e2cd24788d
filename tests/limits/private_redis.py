"""A Redis of one test's own: a process on a Unix socket in a folder of its own, killed afterwards."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Self

import pytest

MISSING = "needs redis-server: apt-get install redis-server"
needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason=MISSING)
START_SECONDS = 30


class PrivateRedis:
    """``with PrivateRedis() as server``; ``stop``, ``kill`` and ``start`` again as a test likes."""

    def __init__(self, *arguments: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rw-redis-", dir="/tmp"))
        self.socket = self.folder / "redis.sock"
        self._arguments = arguments
        self._process: subprocess.Popen[str] | None = None

    @property
    def store(self) -> str:
        return f"unix:{self.socket}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder)

    def start(self) -> None:
        """Returns when it takes connections: it says so itself."""
        self._process = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder),
             "--save", "", "--daemonize", "no", *self._arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        watchdog = threading.Timer(START_SECONDS, self._process.kill)
        watchdog.start()
        assert self._process.stdout is not None
        said: list[str] = []
        for line in self._process.stdout:
            said.append(line)
            if "eady to accept connections" in line:
                break
        watchdog.cancel()
        assert self._process.poll() is None, "".join(said)

    def kill(self) -> None:
        """Without a word, as a crash would."""
        if self._process is not None:
            with self._process:
                self._process.kill()
            self._process = None

    def pause(self) -> None:
        """Let it answer nobody, while connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """One command, in the inline protocol's longer form; the raw answer."""
        request = f"*{len(words)}\r\n" + "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in words)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(10)
            line.connect(str(self.socket))
            line.sendall(request.encode())
            return line.recv(65536).decode()
