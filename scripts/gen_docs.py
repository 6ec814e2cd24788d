"""Writes the pages that are made from code, and the marked parts of others.

With ``--check`` only says which are out of date (exit 1).
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import marked

from ringwall.manifest.reference import reference

ROOT = Path(__file__).resolve().parent.parent
_CLI_INTRO = """\
# The command line

<!-- Written by scripts/gen_docs.py from src/ringwall/cli/; do not edit. -->
"""
_EXAMPLES = re.compile("\b\n((?:  .*\n?)+)")  # click's mark of lines that it must not wrap, and these


def cli_page() -> str:
    """Every verb of ``ringwall``, from the click commands themselves."""
    from ringwall.cli.main import main

    return "\n".join([_CLI_INTRO, *_command(main, "ringwall")]).rstrip() + "\n"


def pages() -> dict[Path, str]:
    """Each generated page and its text."""
    readme, threats = ROOT / "README.md", ROOT / "docs" / "threats.md"
    measured = marked.benchmark(ROOT / "benchmarks" / "results.json")
    return {
        ROOT / "docs" / "manifest.md": reference().rstrip() + "\n",
        ROOT / "docs" / "cli.md": cli_page(),
        readme: marked.fill(readme.read_text(), "benchmark", measured),
        threats: marked.fill(threats.read_text(), "attacks", marked.attacks()),
    }


def _command(command: click.Command, name: str) -> Iterator[str]:
    context = click.Context(command, info_name=name)
    yield f"## `{name}`"
    yield ""
    yield f"    {name} {' '.join(command.collect_usage_pieces(context))}"
    yield ""
    yield _EXAMPLES.sub(_as_code, inspect.cleandoc(click.unstyle(command.help or "")))
    yield ""
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    if options:
        yield "| option | meaning |"
        yield "|---|---|"
        yield from (_option(option) for option in options if not option.hidden)
        yield ""
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            if found is not None and not found.hidden:
                yield from _command(found, f"{name} {inner}")


def _as_code(found: re.Match[str]) -> str:
    return "".join(f"  {line}" for line in found[1].splitlines(keepends=True))


def _option(option: click.Option) -> str:
    value = "" if option.is_flag else f" {option.metavar or option.name.upper() if option.name else ''}"
    spelled = ", ".join(f"`{text}{value}`" for text in [*option.opts, *option.secondary_opts])
    need = " (required)" if option.required else ""
    return f"| {spelled}{need} | {(option.help or '').replace('|', '&#124;')} |"


def main(arguments: list[str]) -> int:
    """Write or check; the exit code."""
    stale = [(page, text) for page, text in pages().items() if not page.exists() or page.read_text() != text]
    for page, text in stale:
        if "--check" in arguments:
            sys.stderr.write(f"{page.relative_to(ROOT)} is out of date; write it anew with: make docs\n")
        else:
            page.write_text(text)
            sys.stderr.write(f"wrote {page.relative_to(ROOT)}\n")
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
