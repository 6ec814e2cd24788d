"""Every command in README.md and docs/ runs, or says why it does not.

A page's ``console`` blocks run in order, in one fresh folder with an own HOME. Before a block may stand
``<!-- not run: reason -->``, or ``<!-- exits: N -->`` when its last command is meant to end with N. Any block after
``<!-- file: NAME -->`` is saved there, at its place among the commands.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.docs.commands import Block, blocks
from tests.examples.office import ALL

from ringwall.policy.build import find_opa

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
SECONDS = 300  # for one page; what takes longer does not belong where somebody types along


def steps_of(page: Path) -> list[Block]:
    """The blocks of a page that a reader types or saves."""
    return [block for block in blocks(page.read_text()) if block.language == "console" or block.file]


def script(steps: Sequence[Block]) -> str:
    """One shell for a whole page, so that what one block starts the next can use; background jobs end with it."""
    lines = ["set -euo pipefail", "trap 'kill $(jobs -p) 2>/dev/null || true' EXIT"]
    for block in steps:
        if block.file:
            text = "".join(f"{line}\n" for line in block.lines)
            lines.append(f"printf %s {shlex.quote(text)} >{shlex.quote(block.file)}")
        for command in block.commands:
            lines += [f"echo '## line {block.line}:' {shlex.quote(command)}", command]
        if block.exits:
            last = lines.pop()
            lines += ["status=0", f"{{ {last}\n}} || status=$?", f"[ $status = {block.exits} ]"]
    return "\n".join(lines)


def run(steps: Sequence[Block], folder: Path) -> None:
    """Run the steps of one page in a fresh folder.

    Raises AssertionError with the output when one fails, or does not print a line that the page shows.
    """
    home, work = folder / "home", folder / "work"
    home.mkdir()
    work.mkdir()
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    # A short name for the state folder: sockets lie in it.
    with tempfile.TemporaryDirectory(prefix="rw", dir="/tmp", ignore_cleanup_errors=True) as state:
        environment = {**os.environ, "PATH": path, "HOME": str(home), "RINGWALL_STATE": state,
                       "RINGWALL_SOURCE": str(ROOT), "RINGWALL_OPA": find_opa(os.environ) or "", "NO_COLOR": "1"}
        done = subprocess.run(["bash", "-c", script(steps)], cwd=work, env=environment, stdin=subprocess.DEVNULL,
                              text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS,
                              check=False)
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stdout[-4000:]}"
    printed = {line.strip() for line in done.stdout.splitlines()}
    missing = [line for block in steps for line in block.shown if line not in printed]
    assert not missing, f"not printed: {missing}\n{done.stdout[-4000:]}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run(page: Path, tmp_path: Path) -> None:
    if page.name == "policy.md" and find_opa(os.environ) is None:
        pytest.skip("needs_opa: no opa found (RINGWALL_OPA, PATH, ~/go/bin)")
    if page.name == "examples.md" and (lacking := [example.lacks for example in ALL if example.lacks]):
        pytest.skip(f"needs_examples: {lacking[0]}")
    run([block for block in steps_of(page) if not block.not_run], tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_reader_types_stands_in_a_console_block(page: Path) -> None:
    for block in blocks(page.read_text()):
        if any(line.startswith("$ ") for line in block.lines):
            assert block.language == "console", f"{page.relative_to(ROOT)}, line {block.line}"
        if block.language == "console":
            assert block.commands, f"{page.relative_to(ROOT)}, line {block.line}: nothing to type"


def test_notes_count_for_the_next_block_only_and_lines_go_on_after_a_backslash() -> None:
    page = """
<!-- not run: needs a model -->

```console
$ ringwall up
ready
```

<!-- exits: 2 -->
```console
$ ringwall check \\
    no.toml
$ true
```

Text.

```sh
echo
```
"""
    first, second, third = blocks(page)
    assert (first.not_run, first.commands, first.exits) == ("needs a model", ("ringwall up",), 0)
    assert (second.not_run, second.exits) == ("", 2)
    assert second.commands == ("ringwall check \\\n    no.toml", "true")
    assert (third.language, third.commands, third.exits) == ("sh", (), 0)


@pytest.mark.parametrize(("typed", "exits", "passes"), [
    (("$ true", "$ exit 3"), 0, False), (("$ true", "$ (exit 3)"), 3, True), (("$ true",), 3, False),
    (("$ false", "$ true"), 0, False), (("$ sleep 600 &", "$ true"), 0, True),
])
def test_a_block_passes_only_if_it_ends_as_noted(typed: tuple[str, ...], exits: int, passes: bool,
                                                 tmp_path: Path) -> None:
    block = Block(line=1, language="console", lines=typed, exits=exits)
    if passes:
        run([block], tmp_path)
    else:
        with pytest.raises(AssertionError, match="line 1"):
            run([block], tmp_path)


def test_what_a_page_shows_must_be_printed(tmp_path: Path) -> None:
    lines = ("$ echo one", "one", "$ printf '%s\\n' \\", "    two", "  two")
    right = Block(line=1, language="console", lines=lines)
    assert right.shown == ("one", "two")
    run([right], tmp_path)
    (tmp_path / "again").mkdir()
    with pytest.raises(AssertionError, match=r"not printed: \['three'\]"):
        run([Block(line=1, language="console", lines=("$ echo one", "three"))], tmp_path / "again")


def test_a_block_to_save_is_there_for_the_next(tmp_path: Path) -> None:
    page = "<!-- file: it's.py -->\n```python\nprint('a\\tb', \"$x\")\n```\n\n```console\n$ python it*s.py\n```\n"
    saved, typed = blocks(page)
    assert (saved.file, typed.file) == ("it's.py", "")
    run([Block(line=1, language="python", lines=saved.lines, file="its.py"), typed], tmp_path)
    assert (tmp_path / "work" / "its.py").read_text() == "print('a\\tb', \"$x\")\n"


def test_the_next_block_sees_what_the_one_before_left(tmp_path: Path) -> None:
    first = Block(line=1, language="console", lines=("$ x=1; touch here",))
    run([first, Block(line=4, language="console", lines=("$ [ $x = 1 ] && [ -e here ]",))], tmp_path)
