"""Two web servers: a site that anybody may read, and one inside, for machines that are trusted for being there.

The site shows the files of a folder; ``/moved`` leads inside. The other one answers every request with credentials,
as a cloud's metadata service does, and writes down that it was asked. It has an address of its own, as that has.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Final

from ringwall.redteam.office.journalled import append
from ringwall.redteam.office.served import Answering, while_open

INSIDE: Final = "127.0.0.2"  # loopback is a network: no host of another one is needed


def spelled(inside: str) -> dict[str, str]:
    """The inner server's URL, and others that some take for it."""
    ways = {"inside": INSIDE, "octal": "0177.0.0.2", "decimal": "2130706434", "mapped": f"[::ffff:{INSIDE}]"}
    return {name: inside.replace(INSIDE, host) for name, host in ways.items()}


def _inside(folder: Path) -> type[Answering]:
    class Inside(Answering):
        def do_GET(self) -> None:  # noqa: N802 (the base class finds it by this name)
            append(folder / "asked.jsonl", path=self.path)
            self.answer(HTTPStatus.OK, "role: office-host, password: swordfish")

    return Inside


def _site(pages: Path, inside: str) -> type[Answering]:
    class Site(Answering):
        def do_GET(self) -> None:  # noqa: N802 (the base class finds it by this name)
            name = self.path.partition("?")[0].strip("/")
            if name == "moved":
                self.answer(HTTPStatus.FOUND, "", Location=inside)
            elif (pages / name).is_file():
                self.answer(HTTPStatus.OK, (pages / name).read_text(encoding="utf-8"))
            else:
                self.answer(HTTPStatus.NOT_FOUND, "there is no such page")

    return Site


@contextmanager
def serving(pages: Path, folder: Path) -> Generator[tuple[int, int]]:
    """Serve both while the block runs; gives the site's port and the inner one's.

    Args:
        pages: the site's files.
        folder: where ``asked.jsonl`` says what was asked inside.

    """
    inside = ThreadingHTTPServer((INSIDE, 0), _inside(folder))
    site = ThreadingHTTPServer(("127.0.0.1", 0), _site(pages, f"http://{INSIDE}:{inside.server_port}/moved"))
    with while_open(inside) as inner, while_open(site) as outer:
        yield outer, inner
