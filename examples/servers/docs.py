"""Documents of an office: ordinary functions, which Ringwall serves over MCP (`python = "docs"`)."""

from pathlib import Path

FOLDER = Path(__file__).parent.parent / "documents"


def read(name: str) -> str:
    """Read a document by its name."""
    return (FOLDER / name).read_text(encoding="utf-8")
