"""Tokens by exchange: RFC 8693, for one resource (RFC 8707), narrowed by ``authorization_details`` (RFC 9396).

The agent's JWT-SVID is traded for an access token of the provider's. What comes back is held against what was asked
for: a provider that does not say that it kept to it did not.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Final, cast
from urllib.parse import quote_plus, urlencode

from ringwall.call import Json
from ringwall.clock import Clock
from ringwall.errors import BadInput, Refused, RingwallError
from ringwall.manifest.details import Detail, parse, spell
from ringwall.manifest.types import Secret
from ringwall.vault.brokers.interface import Minted, Order, refused, unavailable
from ringwall.vault.brokers.network import Answer, Network
from ringwall.vault.brokers.protocol import MAX_VALUE, OAuth
from ringwall.wire import strict

MAX_DETAILS: Final = 8 << 10  # bytes of authorization_details as JSON: servers take forms of a few tens of KiB
MAX_LIFE: Final = 10 * 365 * 86400  # seconds; more is no lifetime
_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"  # RFC 8693, section 2.1
_TYPE: Final = "urn:ietf:params:oauth:token-type:"
_ISSUED: Final = (_TYPE + "access_token", _TYPE + "jwt")  # section 3: both are what a resource takes
_FORM: Final = {"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"}
_TOO_BUSY: Final = 429


def make(provider: OAuth, clock: Clock) -> OAuthBroker:
    """The broker of one secret. Raises Unavailable: its ``ca`` cannot be used."""
    network = Network((provider.token_url, provider.revoke_url), ca=provider.ca, private=provider.private)
    return OAuthBroker(provider, network, clock)


def inexpressible(secret: Secret, details: Sequence[Detail]) -> str:
    """Why a token cannot be narrowed to this; empty: it can. RFC 9396 has room for details, up to a length."""
    size = len(_spelled(details))
    if size <= MAX_DETAILS:
        return ""
    return f"authorization_details of {size} bytes for {secret.name}; at most {MAX_DETAILS} are sent"


class OAuthBroker:
    """One token endpoint, one client, one resource."""

    def __init__(self, provider: OAuth, network: Network, clock: Clock) -> None:
        self._provider = provider
        self._network = network
        self._clock = clock

    def mint(self, order: Order) -> Minted:
        """Exchange. Raises as ``interface.Broker``."""
        if not order.token:
            raise unavailable("broker_failed", "there is no token to exchange")
        asked = self._clock.now()
        answer = self._post(self._provider.token_url, self._wish(order), order.login)
        body = _object(answer)
        if answer.status != 200:
            raise _denied(body)
        token = _token(body)
        try:
            self._check(body, order)
            life = _life(body)
        except Refused:
            self._give_back(token, order)
            raise
        return Minted(values={"access_token": token}, expires_at=asked + life, handle=token)

    def renew(self, order: Order, handle: str) -> float:
        """Never: an access token has one life."""
        raise refused("not_renewable", "an exchanged token is not prolonged")

    def revoke(self, order: Order, handle: str) -> None:
        """By RFC 7009; a token that is over already is none of its errors (section 2.2)."""
        if not self._provider.revoke_url or not handle:
            raise refused("not_revocable", "there is nowhere to revoke it, or nothing to revoke it by")
        answer = self._post(self._provider.revoke_url, {"token": handle, "token_type_hint": "access_token"},
                            order.login)
        if answer.status == 200:
            return
        body = _object(answer)
        if body.get("error") == "unsupported_token_type":  # section 2.2.1
            raise refused("not_revocable", "the provider revokes no tokens of this type")
        raise _denied(body)

    def _wish(self, order: Order) -> dict[str, str]:
        """The form, RFC 8693 section 2.1."""
        wish = {"grant_type": _GRANT, "subject_token": order.token, "subject_token_type": _TYPE + "jwt",
                "requested_token_type": _TYPE + "access_token"}
        if self._provider.resource:
            wish["resource"] = self._provider.resource
        if self._provider.scopes:
            wish["scope"] = " ".join(self._provider.scopes)
        if order.details:
            spelled = _spelled(order.details)
            if len(spelled) > MAX_DETAILS:
                raise refused("scope_too_large", "the authorization_details are too long")
            wish["authorization_details"] = spelled
        return wish

    def _post(self, url: str, form: Mapping[str, str], login: str) -> Answer:
        """A form, with who we are: RFC 6749 section 2.3.1. Raises Unavailable for a server that cannot answer."""
        headers, fields = dict(_FORM), dict(form)
        if login:
            both = f"{quote_plus(self._provider.client_id)}:{quote_plus(login)}"
            headers["Authorization"] = "Basic " + base64.b64encode(both.encode()).decode()
        elif self._provider.client_id:
            fields["client_id"] = self._provider.client_id
        answer = self._network.send("POST", url, headers, urlencode(fields).encode())
        if answer.status >= 500 or answer.status == _TOO_BUSY:
            raise unavailable("provider_unreachable", f"the provider answers {answer.status}")
        return answer

    def _check(self, body: Mapping[str, Json], order: Order) -> None:
        """What it gave against what was asked for. Raises Refused."""
        kind, issued = body.get("token_type"), body.get("issued_token_type")
        if not isinstance(kind, str) or kind.lower() != "bearer" or issued not in _ISSUED:
            raise refused("provider_garbage", "it is no bearer token")
        scope = body.get("scope", "")  # absent: as asked, RFC 6749 section 5.1
        if not isinstance(scope, str):
            raise refused("provider_garbage", "its scope is no text")
        wide = set(scope.split(" ")) - {""} - set(self._provider.scopes)
        if self._provider.scopes and wide:
            raise refused("provider_wider", "it has scopes that were not asked for")
        _check_details(body.get("authorization_details"), order.details)

    def _give_back(self, token: str, order: Order) -> None:
        """It will not be used."""
        try:
            self.revoke(order, token)
        except RingwallError:
            pass  # the refusal that led here is what counts; the token ends by itself


def _check_details(given: Json, asked: Sequence[Detail]) -> None:
    """RFC 9396 section 7: the answer names what was granted. Raises Refused."""
    if given is None and not asked:
        return
    if given is None or given == []:
        raise refused("provider_wider", "it does not say that it kept to the authorization_details")
    if not isinstance(given, list):
        raise refused("provider_garbage", "its authorization_details are no list")
    for one in cast("list[Json]", given):
        try:
            granted = parse(one)
        except BadInput:
            raise refused("provider_wider", "it grants something that is not of our kind") from None
        if not any(_within(granted, wanted) for wanted in asked):
            raise refused("provider_wider", "it grants more than was asked for")


def _within(granted: Detail, wanted: Detail) -> bool:
    """Whether all that ``granted`` allows is allowed by ``wanted``. None named where some were: all of them."""
    return (
        granted.identifier == wanted.identifier
        and bool(granted.actions) and set(granted.actions) <= set(wanted.actions)
        and bool(granted.locations) == bool(wanted.locations)
        and all(any(_below(place, top) for top in wanted.locations) for place in granted.locations)
        and all(name in granted.max and granted.max[name] <= bound for name, bound in wanted.max.items())
        and (wanted.approval == "never" or granted.approval == wanted.approval)
    )


def _below(place: str, top: str) -> bool:
    """``team-1/`` has ``team-1/a`` below it, and nothing of ``team-10/``."""
    return place == top or (top.endswith("/") and place.startswith(top) and ".." not in place.split("/"))


def _object(answer: Answer) -> dict[str, Json]:
    """The JSON object of an answer. Raises Refused (``provider_garbage``)."""
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if answer.status not in {200, 400, 401, 403} or kind != "application/json":
        raise refused("provider_garbage", f"status {answer.status}, and not the JSON it should be")
    try:
        body = strict.parse(answer.body)
    except BadInput as fault:
        raise refused("provider_garbage", fault.code) from None
    if not isinstance(body, dict):
        raise refused("provider_garbage", "its JSON is no object")
    return cast("dict[str, Json]", body)


def _denied(body: Mapping[str, Json]) -> RingwallError:
    """RFC 6749 section 5.2."""
    error = body.get("error")
    if not isinstance(error, str):
        return refused("provider_garbage", "an error without a name")
    if error == "temporarily_unavailable":
        return unavailable("provider_unreachable", "the provider says that it is not available")
    return refused("provider_denied", "the provider refuses")


def _token(body: Mapping[str, Json]) -> str:
    token = body.get("access_token")
    if not isinstance(token, str) or not 0 < len(token) <= MAX_VALUE or not token.isascii() \
            or not token.isprintable() or " " in token:  # it goes into a header
        raise refused("provider_garbage", "it gives no token")
    return token


def _life(body: Mapping[str, Json]) -> int:
    """In seconds. RFC 6749 lets it be left out; then nobody knows when it ends, and we do not take it."""
    life = body.get("expires_in")
    if not isinstance(life, int) or isinstance(life, bool) or not 0 < life <= MAX_LIFE:
        raise refused("provider_garbage", "it does not say how long the token lives")
    return life


def _spelled(details: Sequence[Detail]) -> str:
    return json.dumps([spell(one) for one in details], separators=(",", ":"))
