"""``ringwall vault`` before a real vault: values come in by standard input or a file, and never go out."""

from __future__ import annotations

import asyncio
import getpass
import json
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.vault_bench import ROOT, VALUE, Bench

from ringwall.cli import common, values, vault_keys
from ringwall.cli.main import main
from ringwall.errors import BadInput, RingwallError
from ringwall.keys.interface import Asks
from ringwall.vault.interface import Owner

ANA = Owner(tenant="acme", agent="ana", role="reader")


class Core:
    """The operator socket's other end, without the socket: the acts themselves."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.instead: dict[str, Any] = {}

    def __call__(self, socket: Path) -> Core:
        return self

    def operate(self, verb: str, args: dict[str, Any]) -> Any:
        self.asked.append((verb, json.loads(json.dumps(args))))
        if verb in self.instead:
            return self.instead[verb]
        return json.loads(json.dumps(asyncio.run(self.bench.ask(verb, **args))))

    def upload(self, data: bytes) -> str:
        return self.bench.hand_in(data)

    def download(self, name: str) -> bytes:
        return self.bench.fetch(name)

    def read(self, name: str = "key", owner: Owner = ANA) -> bytes:
        return self.bench.vault.read(owner, name)


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Asks], Core]:
    def make(asks: Asks) -> Core:
        core = Core(Bench(tmp_path / "vault.db", asks))
        monkeypatch.setattr(common, "OperatorClient", core)
        return core

    return make


@pytest.fixture
def core(made: Callable[[Asks], Core]) -> Core:
    found = made("nothing")
    assert say("init").exit_code == 0
    return found


def say(*words: str, typed: bytes | str = "") -> Result:
    return CliRunner().invoke(main, ["vault", *words, "--state", "/nowhere"], input=typed)


def test_a_value_from_a_pipe_loses_one_newline_and_one_from_a_file_nothing(core: Core, tmp_path: Path) -> None:
    done = say("put", "acme/ana", "key", typed=VALUE + b"\n")
    assert (done.exit_code, done.stdout) == (0, "kept: key of acme/ana (reader), version 1\n")
    assert core.read() == VALUE
    for typed, kept in ((b"a\n\n", b"a\n"), (b"a\r\n", b"a"), (b"\xff\x00 b", b"\xff\x00 b")):
        assert say("put", "acme/ana", "key", typed=typed).exit_code == 0
        assert core.read() == kept
    file = tmp_path / "value"
    file.write_bytes(b"a\n")
    file.chmod(0o644)
    told = say("put", "acme/ana", "key", "--file", str(file))
    assert (told.exit_code, f"other users of this machine can read {file}" in told.stderr) == (0, True)
    file.chmod(0o600)
    assert say("put", "acme/ana", "key", "--file", str(file)).stderr == ""
    assert core.read() == b"a\n"


def test_no_value_is_in_an_argument_an_answer_or_a_call(core: Core) -> None:
    for words in (["put", "acme/ana", "key"], ["put", "acme", "--all", "key", "--json"], ["list"],
                  ["list", "--json"], ["versions", "acme/ana", "key"], ["versions", "acme/ana", "key", "--json"],
                  ["status", "--json"]):
        done = say(*words, typed=VALUE)
        assert done.exit_code == 0, done.output
        assert VALUE.decode() not in done.output
    assert VALUE.decode() not in json.dumps(core.asked)
    assert say("put", "acme/ana", "key", "the-value").exit_code == common.WRONG_USE


@pytest.mark.parametrize(("typed", "code"), [(b"", "value_empty"), (b"\n", "value_empty"),
                                             (b"x" * ((64 << 10) + 1), "value_too_large")])
def test_an_empty_or_too_large_value_never_leaves_the_command(core: Core, typed: bytes, code: str) -> None:
    asked = len(core.asked)
    done = say("put", "acme/ana", "key", typed=typed)
    assert (done.exit_code, code in done.stderr, len(core.asked)) == (common.FAILED, True, asked)
    assert json.loads(say("put", "acme/ana", "key", "--json", typed=typed).stdout)["error"]["code"] == code


def test_a_terminal_is_asked_twice_and_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = ["one", "one", "one", "two", "", ""]
    asked = list[str]()

    def typed(prompt: str, stream: Any) -> str:
        asked.append(prompt)
        return answers.pop(0)

    monkeypatch.setattr(sys, "stdin", type("Terminal", (), {"isatty": lambda _: True})())
    monkeypatch.setattr(getpass, "getpass", typed)
    assert values.value(None, "value") == b"one"
    assert asked == ["value: ", "value again: "]
    with pytest.raises(BadInput, match="not_the_same"):
        values.value(None, "value")
    with pytest.raises(BadInput, match="value_empty"):
        values.value(None, "value")  # the end of the input: nothing is left to be typed again
    assert len(asked) == 5
    with pytest.raises(BadInput, match="value_empty"):
        values.once("share")
    with pytest.raises(BadInput, match="would_be_shown"):
        values.several(None)  # lines of a list would be echoed

    def shown(prompt: str, stream: Any) -> str:
        warnings.warn("it is shown", getpass.GetPassWarning, stacklevel=1)
        return "never"

    monkeypatch.setattr(getpass, "getpass", shown)
    with pytest.raises(BadInput, match="would_be_shown"):
        values.once("share")


@pytest.mark.parametrize("words", [
    ["put", "acme", "key"], ["put", "acme/ana", "key", "--all"], ["put", "/ana", "key"], ["put", "acme/", "key"],
    ["put", "acme", "key", "--all", "--broker"], ["versions", "acme", "key"], ["delete", "acme/ana", "key", "0"],
    ["put", "acme/ana", "key", "--cas", "-1"], ["restore"], ["restore", "f", "--accept-older"],
    ["import", "acme/ana", "--secret", "old", "--file", "x"], ["rotate"], ["nothing"],
])
def test_wrong_use_is_told_before_anything_is_asked(core: Core, words: list[str]) -> None:
    asked = len(core.asked)
    assert (say(*words, typed=b"x").exit_code, len(core.asked)) == (common.WRONG_USE, asked)


def test_versions_are_listed_deleted_and_destroyed_by_their_number(core: Core) -> None:
    for value in (b"one", b"two"):
        say("put", "acme/ana", "key", typed=value)
    assert say("put", "acme/ana", "key", "--cas", "1", typed=b"x").exit_code == common.FAILED
    assert say("delete", "acme/ana", "key", "2").stdout == "deleted: version 2 of key, acme/ana (reader)\n"
    assert say("list").stdout.split() == ["acme/ana", "(reader)", "key", "2", "DELETED"]
    assert say("undelete", "acme/ana", "key", "2").exit_code == 0
    assert core.read() == b"two"
    assert say("destroy", "acme/ana", "key", "1", typed=b"n\n").exit_code == common.FAILED
    assert say("destroy", "acme/ana", "key", "1", typed=b"y\n").exit_code == 0
    lines = say("versions", "acme/ana", "key").stdout.splitlines()
    assert [line.split()[-1] for line in lines[1:]] == ["destroyed", "live"]


def test_what_needs_two_people_says_that_it_waits(core: Core) -> None:
    core.instead["vault.destroy"] = {"proposed": {"by": "ann", "record": "system/4", "seconds": 900}}
    assert "proposed by ann (system/4)" in say("destroy", "acme/ana", "key", "1", "--yes").stdout


def test_several_come_from_a_dotenv_file_and_one_that_is_refused_keeps_no_other_out(core: Core) -> None:
    done = say("import", "acme/ana", typed=b"# ours\n\nexport key='a b'\nnope=1\nold=\"x\\ny\"\n")
    assert done.exit_code == common.FAILED
    assert (core.read(), core.read("old")) == (b"a b", b"x\ny")
    assert "nope: unknown_secret" in done.stderr
    done = say("import", "acme/ana", "--json", typed=b'{"key": "from json"}')
    assert (done.exit_code, json.loads(done.stdout)["failed"], core.read()) == (0, [], b"from json")
    assert say("import", "acme/ana", "--secret", "old").exit_code == 0
    assert core.read("old") == b"from-a-file"


@pytest.mark.parametrize("raw", [
    b"", b"\n# only words\n", b"key", b"=x", b"key=1\nkey=2", b"key='", b'key="x', b'key="\\q"', b"key=a\nb c=d",
    b'{"key": 3}', b'{"key": {"a": "b"}}', b'{"a": "1", "a": "2"}', b'{"key": "x"', b"[]", b"\xff", b'{"a b": "c"}',
    b"{" * 100_000, b"x" * ((1 << 20) + 1), b"key='a'b'",
])
def test_what_is_no_list_of_secrets_is_refused_whole(core: Core, raw: bytes) -> None:
    asked = len(core.asked)
    done = say("import", "acme/ana", typed=raw)
    assert (done.exit_code, "bad_list" in done.stderr, len(core.asked)) == (common.FAILED, True, asked)


@given(st.dictionaries(st.from_regex(r"[A-Za-z0-9._-]{1,8}", fullmatch=True),
                       st.text(st.characters(exclude_categories=("Cs",)), max_size=12), min_size=1, max_size=4))
def test_every_json_object_of_texts_comes_in_as_it_is(wanted: dict[str, str]) -> None:
    text = json.dumps(wanted)
    assert values._object(text) == wanted  # pyright: ignore[reportPrivateUsage]


@given(st.text(max_size=60))
def test_any_text_is_names_and_values_or_an_error_that_repeats_none_of_it(text: str) -> None:
    try:
        found = values._lines(text)  # pyright: ignore[reportPrivateUsage]
    except RingwallError as fault:
        assert fault.code == "bad_list"
        for line in text.split("\n"):
            assert len(line.strip()) < 12 or line.strip() not in str(fault)
    else:
        assert all(name for name in found)


def test_a_backup_is_a_new_file_of_ours_and_comes_back(core: Core, tmp_path: Path) -> None:
    say("put", "acme/ana", "key", typed=VALUE)
    file = tmp_path / "backup"
    assert say("backup", str(file)).exit_code == 0
    assert (file.stat().st_mode & 0o777, VALUE in file.read_bytes()) == (0o600, False)
    assert "file_error" in say("backup", str(file)).stderr
    say("put", "acme/ana", "key", typed=b"second")
    assert say("restore", str(file), typed=b"n\n").exit_code == common.FAILED
    assert core.read() == b"second"
    assert say("restore", str(file), "--yes").stdout.startswith("the vault is open, after ")
    assert core.read() == VALUE
    assert "not_rolled_back" in say("restore", "--accept-older", "--yes").stderr


def test_shares_are_printed_once_one_a_line_with_what_to_do_beside_them(made: Callable[[Asks], Core]) -> None:
    core = made("shares")
    done = say("init")
    shares = done.stdout.splitlines()
    assert shares == ["share 1 0", "share 1 1", "share 1 2"]
    assert "never again" in done.stderr
    assert "Any 2 of the 3" in done.stderr
    core.bench.vault.seal()
    assert say("unseal", typed=shares[0]).stdout == "1 of 2 shares; the vault is still sealed\n"
    status = say("status")
    assert (status.exit_code, "1 of 2 brought" in status.stdout) == (common.FAILED, True)
    assert say("unseal", typed=shares[2] + "\n").stdout == "the vault is open\n"
    new = say("rotate", "root")
    assert "Nothing has changed yet" in new.stderr
    done = say("rotate", "root", "--confirm", typed="\n".join(new.stdout.splitlines()[:2]))
    assert (done.exit_code, core.bench.vault.generation) == (0, 2)
    assert "share" not in json.dumps([args for _, args in core.asked])
    assert json.loads(say("rotate", "root", "--json").stdout)["shares"] == [f"share 3 {n}" for n in range(3)]


def test_a_passphrase_is_read_and_never_an_argument(made: Callable[[Asks], Core]) -> None:
    core = made("passphrase")
    assert say("init", typed="correct horse\n").exit_code == 0
    assert "vault_exists" in say("init").stderr  # and no passphrase is asked for in vain
    assert say("seal").stdout == "the vault is sealed\n"
    done = say("unseal", typed="wrong horse\n")
    assert (done.exit_code, "root_key_wrong" in done.stderr) == (common.FAILED, True)
    assert say("unseal", typed="correct horse\n").stdout == "the vault is open\n"
    misled = say("rotate", "root", "--confirm", typed="a share that is none")  # would be the new passphrase
    assert (misled.exit_code, core.bench.vault.generation) == (common.WRONG_USE, 1)
    assert say("rotate", "root", typed="another horse").exit_code == 0
    assert "horse" not in json.dumps([args for _, args in core.asked])


def test_a_rotation_says_every_second_that_it_goes_on_and_nothing_if_it_is_short(
    core: Core, capsys: pytest.CaptureFixture[str]
) -> None:
    say("put", "acme/ana", "key", typed=VALUE)
    done = say("rotate", "tenant", "acme")
    assert (done.stdout, done.stderr) == ("1 keys of acme are under a new key now\n", "")
    assert say("rotate", "root").stdout.startswith("1 keys are under root key 2 now")

    class Over(threading.Event):
        """Set after two seconds that nobody waits for."""

        waits = 0

        def wait(self, timeout: float | None = None) -> bool:
            assert timeout == vault_keys.PATIENCE_S
            self.waits += 1
            return self.waits == 3

    vault_keys._tell(Over())  # pyright: ignore[reportPrivateUsage]
    assert capsys.readouterr().err == "".join(
        f"wrapping all keys anew, {n} s; secrets can be used meanwhile\n" for n in (1, 2))


def test_the_state_of_a_vault_is_told_with_the_next_step(made: Callable[[Asks], Core]) -> None:
    core = made("nothing")
    done = say("status")
    assert (done.exit_code, "make it: ringwall vault init" in done.stdout) == (common.FAILED, True)
    assert "vault_absent" in say("unseal").stderr
    say("init")
    assert say("status").exit_code == 0
    say("seal")
    assert "ringwall vault unseal" in say("status").stdout
    core.bench.source.down = True
    assert "root_key_missing" in say("unseal").stderr
    assert core.bench.uploads.inward.put(ROOT, b"x")
