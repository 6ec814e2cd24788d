"""The card that an agent's own server gives: A2A 1.0 with what clients of 0.3 read beside it."""

from __future__ import annotations

from typing import Final

from ringwall.call import Json, as_array, as_object
from ringwall.wire.a2a.card import check_card

# What a2a-sdk adds to the card it serves, so that clients of A2A 0.3 can read it too.
_OLD: Final = ("protocolVersion", "url", "preferredTransport", "additionalInterfaces", "security",
               "supportsAuthenticatedExtendedCard")
_OLD_CAPABILITIES: Final = ("stateTransitionHistory",)
_OLD_SKILL: Final = ("security",)
_OLD_SCHEME: Final = ("type", "description", "in", "name", "scheme", "bearerFormat", "flows", "openIdConnectUrl",
                      "oauth2MetadataUrl")


def own_card(value: Json) -> dict[str, Json]:
    """Check the card that an agent's own server gives: as ``check_card``, but the fields of A2A 0.3 that the SDK
    puts beside those of 1.0 are left out first. Nothing is read from them.

    Raises:
        BadInput: ``a2a_bad_card``; the cause names the field.

    """
    card = _without(value, _OLD)
    if (fields := as_object(card)) is not None:
        if "capabilities" in fields:
            fields["capabilities"] = _without(fields["capabilities"], _OLD_CAPABILITIES)
        if (skills := as_array(fields.get("skills"))) is not None:
            fields["skills"] = [_without(skill, _OLD_SKILL) for skill in skills]
        if (schemes := as_object(fields.get("securitySchemes"))) is not None:
            fields["securitySchemes"] = {name: _without(one, _OLD_SCHEME) for name, one in schemes.items()}
    return check_card(card)


def _without(value: Json, names: tuple[str, ...]) -> Json:
    fields = as_object(value)
    return value if fields is None else {name: item for name, item in fields.items() if name not in names}
