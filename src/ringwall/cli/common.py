"""What all verbs share: exit codes, the state option, errors as a person reads them."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from ringwall.call import Json
from ringwall.doors.operator_client import OperatorClient
from ringwall.errors import ManifestError, RingwallError, Unavailable
from ringwall.runtime.state import client_socket, default_state

DONE: Final = 0
FAILED: Final = 1  # refused, or a check failed
WRONG_USE: Final = 2  # wrong use or bad manifest
NOT_HERE: Final = 3  # not available here; the message has the line that would help
INTERNAL: Final = 4  # a fault of Ringwall's; nothing was allowed

_F = TypeVar("_F", bound=Callable[..., Any])


def state_option(command: _F) -> _F:
    """``--state DIR``."""
    return click.option(
        "--state",
        metavar="DIR",
        type=click.Path(file_okay=False, path_type=Path),
        default=default_state,
        help="State folder (default: $RINGWALL_STATE, else the usual place).",
    )(command)


def json_option(command: _F) -> _F:
    """``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON object instead of text.")(command)


def client(state: Path) -> OperatorClient:
    """Asks the running core."""
    return OperatorClient(client_socket(state))


def operate(state: Path, verb: str, args: dict[str, Json], *, as_json: bool = False) -> Json:
    """Ask the running core for an act of an operator; its answer. A refusal ends the program (see ``fail``)."""
    try:
        return client(state).operate(verb, args)
    except RingwallError as fault:
        fail(fault, as_json=as_json)


def proposed(waiting: Mapping[str, Json]) -> str:
    """Told for an act that waits for a second operator."""
    minutes = waiting["seconds"] / 60
    return (f"not done yet: proposed by {waiting['by']} ({waiting['record']}); within {minutes:.0f} minutes "
            "another operator must run the same command")


def fail(fault: RingwallError, *, as_json: bool = False) -> NoReturn:
    """Say what is wrong and end with the fitting exit code."""
    if as_json:
        click.echo(
            json.dumps(
                {
                    "error": {
                        "code": fault.code,
                        "cause": fault.cause,
                        "remedy": fault.remedy,
                        "record": fault.record,
                    }
                }
            )
        )
    else:
        click.echo(f"ringwall: {fault}", err=True)
    if isinstance(fault, ManifestError):
        raise SystemExit(WRONG_USE)
    raise SystemExit(NOT_HERE if isinstance(fault, Unavailable) else FAILED)


def print_json(value: Json) -> None:
    """One object on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False))


def styled(text: str, **style: Any) -> str:
    """Colour on a terminal only, and never as the only sign."""
    plain = "NO_COLOR" in os.environ or not sys.stdout.isatty()
    return text if plain else click.style(text, **style)
