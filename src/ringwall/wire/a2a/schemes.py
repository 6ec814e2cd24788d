"""How an agent card says that callers are authenticated: the security schemes of OpenAPI 3.2, closed."""

# ruff: noqa: RUF012 (msgspec gives each object an empty list or dict of its own)

from __future__ import annotations

from typing import Annotated, Final

from msgspec import UNSET, Meta, UnsetType

from ringwall.wire.a2a import texts
from ringwall.wire.a2a.types import Closed

MAX_SCHEMES: Final = 64
MAX_PROSE: Final = 16 << 10  # characters of one description

Prose = Annotated[str, Meta(max_length=MAX_PROSE)]
Scopes = Annotated[dict[str, Prose], Meta(max_length=MAX_SCHEMES)]


def named(text: str, what: str) -> None:
    """A label that must be there. Raises ValueError."""
    texts.label(text, what)
    if not text:
        raise ValueError(f"`{what}` must not be empty")


def web_urls(*urls: tuple[str, str | UnsetType]) -> None:
    """URLs that need not be there: empty or UNSET. Raises ValueError."""
    for what, url in urls:
        if url:
            texts.web_url(str(url), what)


class Described(Closed, kw_only=True):
    """A security scheme, or a part of one."""

    description: Prose = ""

    def __post_init__(self) -> None:
        texts.prose(self.description, "description")


class ApiKeyScheme(Described, kw_only=True):
    """APIKeySecurityScheme."""

    location: str
    name: str

    def __post_init__(self) -> None:
        super().__post_init__()
        named(self.location, "location")
        named(self.name, "name")


class HttpAuthScheme(Described, kw_only=True):
    """HTTPAuthSecurityScheme."""

    scheme: str
    bearer_format: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        texts.scheme(self.scheme)
        texts.label(self.bearer_format, "bearerFormat")


class OAuthFlow(Closed, kw_only=True):
    """What all flows of OAuth 2.0 have."""

    refresh_url: str = ""
    scopes: Scopes = {}

    def __post_init__(self) -> None:
        web_urls(("refreshUrl", self.refresh_url))
        for name, meaning in self.scopes.items():
            named(name, "scopes")
            texts.prose(meaning, "scopes")


class ClientCredentialsFlow(OAuthFlow, kw_only=True):
    """ClientCredentialsOAuthFlow."""

    token_url: str

    def __post_init__(self) -> None:
        super().__post_init__()
        texts.web_url(self.token_url, "tokenUrl")


class AuthorizationCodeFlow(ClientCredentialsFlow, kw_only=True):
    """AuthorizationCodeOAuthFlow."""

    authorization_url: str
    pkce_required: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        texts.web_url(self.authorization_url, "authorizationUrl")


class DeviceCodeFlow(ClientCredentialsFlow, kw_only=True):
    """DeviceCodeOAuthFlow."""

    device_authorization_url: str

    def __post_init__(self) -> None:
        super().__post_init__()
        texts.web_url(self.device_authorization_url, "deviceAuthorizationUrl")


class ImplicitFlow(OAuthFlow, kw_only=True):
    """ImplicitOAuthFlow, deprecated."""

    authorization_url: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        web_urls(("authorizationUrl", self.authorization_url))


class PasswordFlow(OAuthFlow, kw_only=True):
    """PasswordOAuthFlow, deprecated."""

    token_url: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        web_urls(("tokenUrl", self.token_url))


class OAuthFlows(Closed, kw_only=True):
    """Exactly one flow."""

    authorization_code: AuthorizationCodeFlow | UnsetType = UNSET
    client_credentials: ClientCredentialsFlow | UnsetType = UNSET
    implicit: ImplicitFlow | UnsetType = UNSET
    password: PasswordFlow | UnsetType = UNSET
    device_code: DeviceCodeFlow | UnsetType = UNSET

    def __post_init__(self) -> None:
        _one_of(self, "flow")


class OAuth2Scheme(Described, kw_only=True):
    """OAuth2SecurityScheme."""

    flows: OAuthFlows
    oauth2_metadata_url: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        web_urls(("oauth2MetadataUrl", self.oauth2_metadata_url))


class OpenIdScheme(Described, kw_only=True):
    """OpenIdConnectSecurityScheme."""

    open_id_connect_url: str

    def __post_init__(self) -> None:
        super().__post_init__()
        texts.web_url(self.open_id_connect_url, "openIdConnectUrl")


class SecurityScheme(Closed, kw_only=True):
    """Exactly one kind."""

    api_key_security_scheme: ApiKeyScheme | UnsetType = UNSET
    http_auth_security_scheme: HttpAuthScheme | UnsetType = UNSET
    oauth2_security_scheme: OAuth2Scheme | UnsetType = UNSET
    open_id_connect_security_scheme: OpenIdScheme | UnsetType = UNSET
    mtls_security_scheme: Described | UnsetType = UNSET

    def __post_init__(self) -> None:
        _one_of(self, "kind")


def _one_of(scheme: Closed, what: str) -> None:
    found = sum(getattr(scheme, name) is not UNSET for name in scheme.__struct_fields__)
    if found != 1:
        raise ValueError(f"there must be exactly one {what}")
