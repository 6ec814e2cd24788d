"""Agent cards, closed: AgentCard of A2A 1.0 and all it contains."""

# ruff: noqa: RUF012 (msgspec gives each object an empty list or dict of its own)

from __future__ import annotations

from typing import Annotated, Final

from msgspec import UNSET, Meta, UnsetType

from ringwall.call import Json
from ringwall.wire.a2a import texts
from ringwall.wire.a2a.schemes import MAX_SCHEMES, Prose, SecurityScheme, named, web_urls
from ringwall.wire.a2a.types import MAX_EXTENSIONS, MAX_MODES, Closed, Free, Scoped, checked

# A card is read by people and by models: these are far above any that one of them could take in.
MAX_SKILLS: Final = 256
MAX_TAGS: Final = 64
MAX_EXAMPLES: Final = 64
MAX_INTERFACES: Final = 16
MAX_SIGNATURES: Final = 16
MAX_JWS: Final = 8 << 10  # characters of a protected header or a signature

Words = Annotated[list[str], Meta(max_length=MAX_TAGS)]
Modes = Annotated[list[str], Meta(max_length=MAX_MODES)]
Jws = Annotated[str, Meta(min_length=1, max_length=MAX_JWS)]


def _modes(modes: list[str], what: str) -> None:
    for one in modes:
        texts.mode(one, what)


class AgentProvider(Closed, kw_only=True):
    """Who runs the agent."""

    url: str
    organization: str

    def __post_init__(self) -> None:
        texts.web_url(self.url, "url")
        named(self.organization, "organization")


class AgentInterface(Scoped, kw_only=True):
    """Where the agent can be reached, and how."""

    url: str
    protocol_binding: str
    protocol_version: str

    def __post_init__(self) -> None:
        texts.uri(self.url, "url")  # of gRPC too
        named(self.protocol_binding, "protocolBinding")
        named(self.protocol_version, "protocolVersion")


class AgentExtension(Closed, kw_only=True):
    """An extension of the protocol that the agent knows."""

    uri: str
    description: Prose = ""
    required: bool = False
    params: Free | UnsetType = UNSET

    def __post_init__(self) -> None:
        texts.uri(self.uri, "uri")
        texts.prose(self.description, "description")
        if self.params is not UNSET:
            texts.free(self.params, "params", texts.MAX_METADATA)


class AgentCapabilities(Closed, kw_only=True):
    """What the agent can do beyond answering."""

    streaming: bool | UnsetType = UNSET
    push_notifications: bool | UnsetType = UNSET
    extensions: Annotated[list[AgentExtension], Meta(max_length=MAX_EXTENSIONS)] = []
    extended_agent_card: bool | UnsetType = UNSET


class StringList(Closed, kw_only=True, rename={"entries": "list"}):
    """Scopes of one scheme."""

    entries: Words = []

    def __post_init__(self) -> None:
        for one in self.entries:
            named(one, "list")


class SecurityRequirement(Closed, kw_only=True):
    """Schemes that must all be fulfilled."""

    schemes: Annotated[dict[str, StringList], Meta(max_length=MAX_SCHEMES)] = {}

    def __post_init__(self) -> None:
        for name in self.schemes:
            named(name, "schemes")


Requirements = Annotated[list[SecurityRequirement], Meta(max_length=MAX_SCHEMES)]


class AgentSkill(Closed, kw_only=True):
    """One thing that the agent does for others."""

    id: str
    name: str
    description: Prose = ""
    tags: Words = []
    examples: Annotated[list[Prose], Meta(max_length=MAX_EXAMPLES)] = []
    input_modes: Modes = []
    output_modes: Modes = []
    security_requirements: Requirements = []

    def __post_init__(self) -> None:
        texts.identifier(self.id, "id")
        named(self.name, "name")
        texts.prose(self.description, "description")
        for one in self.tags:
            named(one, "tags")
        for one in self.examples:
            texts.prose(one, "examples")
        _modes(self.input_modes, "inputModes")
        _modes(self.output_modes, "outputModes")


class AgentCardSignature(Closed, kw_only=True):
    """A JWS over the canonical card without its signatures (RFC 7515, JSON serialisation)."""

    protected: Jws
    signature: Jws
    header: Free | UnsetType = UNSET

    def __post_init__(self) -> None:
        texts.base64url(self.protected, "protected")
        texts.base64url(self.signature, "signature")
        if self.header is not UNSET:
            texts.free(self.header, "header", texts.MAX_METADATA)


class AgentCard(Closed, kw_only=True):
    """What an agent says of itself."""

    name: str
    description: Prose = ""
    supported_interfaces: Annotated[list[AgentInterface], Meta(min_length=1, max_length=MAX_INTERFACES)]
    provider: AgentProvider | UnsetType = UNSET
    version: str
    documentation_url: str | UnsetType = UNSET
    capabilities: AgentCapabilities
    security_schemes: Annotated[dict[str, SecurityScheme], Meta(max_length=MAX_SCHEMES)] = {}
    security_requirements: Requirements = []
    default_input_modes: Modes = []
    default_output_modes: Modes = []
    skills: Annotated[list[AgentSkill], Meta(max_length=MAX_SKILLS)] = []
    signatures: Annotated[list[AgentCardSignature], Meta(max_length=MAX_SIGNATURES)] = []
    icon_url: str | UnsetType = UNSET

    def __post_init__(self) -> None:
        named(self.name, "name")
        named(self.version, "version")
        texts.prose(self.description, "description")
        web_urls(("documentationUrl", self.documentation_url), ("iconUrl", self.icon_url))
        for name in self.security_schemes:
            named(name, "securitySchemes")
        _modes(self.default_input_modes, "defaultInputModes")
        _modes(self.default_output_modes, "defaultOutputModes")
        ids = [skill.id for skill in self.skills]
        if len(set(ids)) != len(ids):
            raise ValueError("two skills have the same `id`")


def check_card(value: Json) -> dict[str, Json]:
    """Check an agent card.

    Args:
        value: the parsed JSON of the card, with its signatures if it has any.

    Returns:
        A new object with known fields only. What protobuf calls unset is left out, as the canonical form that
        card signatures cover has it (A2A 1.0, section 8.4.1).

    Raises:
        BadInput: ``a2a_bad_card``; the cause names the field.

    """
    return checked(value, AgentCard, code="a2a_bad_card", what="the agent card")
