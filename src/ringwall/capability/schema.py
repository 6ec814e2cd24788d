"""The one place that touches ``jsonschema_rs``: compile a closed schema, check arguments against it."""

from __future__ import annotations

from itertools import islice
from typing import Final

import jsonschema_rs

from ringwall.call import Json
from ringwall.errors import BadInput

MAX_ERRORS: Final = 64  # an agent that needs more of them to find its mistake is not looking for one
MAX_MESSAGE: Final = 400  # characters of one error: it repeats the agent's own value
_REGEX_BYTES: Final = 1 << 20  # compiled size of one pattern: a definition comes from an untrusted server


class Schema:
    """A compiled closed schema; formats are enforced, patterns run in linear time."""

    def __init__(self, closed: dict[str, Json]) -> None:
        """Compile. Raises BadInput (``bad_schema``) if it is no schema or its patterns are not linear."""
        try:
            self._validator = jsonschema_rs.Draft202012Validator(
                closed, validate_formats=True, ignore_unknown_formats=False, offline=True,
                pattern_options=jsonschema_rs.RegexOptions(size_limit=_REGEX_BYTES))
        except (ValueError, jsonschema_rs.ReferencingError) as error:
            cause = ascii(str(error).partition("\n")[0][:MAX_MESSAGE])[1:-1]  # may quote the server's own words
            raise BadInput(f"inputSchema is not valid: {cause}", code="bad_schema") from None

    def errors(self, args: Json) -> tuple[str, ...]:
        """Everything that is wrong with these arguments, each with its place; empty if nothing is."""
        if self._validator.is_valid(args):
            return ()
        found = islice(self._validator.iter_errors(args), MAX_ERRORS)
        return tuple(f"{_pointer(error.instance_path)}: {error.message[:MAX_MESSAGE]}" for error in found)


def _pointer(path: list[str | int]) -> str:
    """RFC 6901; the whole of the arguments is ``/``, which reads better in a list than nothing."""
    return "/" + "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path)
