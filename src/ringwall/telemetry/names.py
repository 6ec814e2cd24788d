"""Every name that OpenTelemetry's conventions give us, and our own, in one place.

From ``semantic-conventions-genai`` as of 2026-10, where all of this is "Development": its constants in Python are
deprecated, so they are spelled here, and a change there is a change of this file. What is not in the conventions
(decision, record, policy) is called ``ringwall.*``.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ringwall.wire.mcp.methods import OPERATIONS

OPERATION: Final = "gen_ai.operation.name"
EXECUTE_TOOL: Final = "execute_tool"
CHAT: Final = "chat"
INVOKE_AGENT: Final = "invoke_agent"

TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_TYPE: Final = "gen_ai.tool.type"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
REQUEST_MODEL: Final = "gen_ai.request.model"
PROVIDER: Final = "gen_ai.provider.name"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
AGENT_ID: Final = "gen_ai.agent.id"
AGENT_NAME: Final = "gen_ai.agent.name"
CONVERSATION: Final = "gen_ai.conversation.id"
MCP_METHOD: Final = "mcp.method.name"
ERROR_TYPE: Final = "error.type"

KIND: Final = "ringwall.kind"
DECISION: Final = "ringwall.decision"  # allow, deny or ask
RING: Final = "ringwall.ring"  # which one refused
CODE: Final = "ringwall.code"
END: Final = "ringwall.end"
RECORD: Final = "ringwall.record"  # the audit record: "<tenant>/<n>"
SPIFFE_ID: Final = "ringwall.spiffe_id"
TENANT: Final = "ringwall.tenant"
POLICY: Final = "ringwall.policy.revision"
PEER_DIRECTION: Final = "ringwall.direction"

TOOLS_CALL: Final = "tools/call"
METHODS: Final[Mapping[str, str]] = MappingProxyType({op: method for method, op in OPERATIONS.items()})
"""The operations with reserved names of an MCP server, and the method behind each. All others are tools."""
