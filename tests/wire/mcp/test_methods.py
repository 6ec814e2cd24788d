"""Parameters are closed, for each method of each revision; and the SDK's own requests fit."""

from __future__ import annotations

from typing import Any

import mcp_types as types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire.mcp.support import code_of

from ringwall.errors import BadInput
from ringwall.tools import mcp_ops
from ringwall.wire.mcp import methods

REQUESTS: list[types.Request[Any, Any]] = [
    types.CallToolRequest(params=types.CallToolRequestParams(name="t", arguments={"a": 1})),
    types.ListToolsRequest(params=types.PaginatedRequestParams(cursor="c")),
    types.ReadResourceRequest(params=types.ReadResourceRequestParams(uri="note://a")),
    types.ListResourcesRequest(), types.ListResourceTemplatesRequest(), types.ListPromptsRequest(),
    types.GetPromptRequest(params=types.GetPromptRequestParams(name="p", arguments={"who": "Bo"})),
    types.CompleteRequest(params=types.CompleteRequestParams(
        ref=types.PromptReference(type="ref/prompt", name="p"),
        argument=types.CompletionArgument(name="who", value="B"))),
    types.SubscribeRequest(params=types.SubscribeRequestParams(uri="note://a")),
    types.SetLevelRequest(params=types.SetLevelRequestParams(level="info")), types.PingRequest(),
]  # fmt: skip


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda one: one.method)
def test_the_sdks_requests_fit_and_one_field_more_does_not(request_: Any) -> None:
    params = request_.model_dump(mode="json", by_alias=True, exclude_none=True).get("params", {})
    methods.check(methods.WITH_SESSION, request_.method, params)
    more = {**params, "smuggled": 1}
    assert code_of(lambda: methods.check(methods.WITH_SESSION, request_.method, more)) == "mcp_bad_params"


@pytest.mark.parametrize(("method", "params"), [
    ("tools/call", {}), ("tools/call", {"name": 1}), ("tools/call", {"name": ""}),
    ("tools/call", {"name": "t", "arguments": []}), ("tools/call", {"name": "x" * 259}),
    ("tools/call", {"name": "t", "task": {}}), ("tools/call", {"name": "t", "_meta": 1}),
    ("tools/call", {"name": "t", "inputResponses": {}}), ("resources/read", {"uri": "x" * 8193}),
    ("prompts/get", {"name": "p", "arguments": {"who": 1}}), ("logging/setLevel", {"level": "loud"}),
    ("completion/complete", {"ref": {"type": "ref/odd"}, "argument": {"name": "a", "value": ""}}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p", "x": 1},
                             "argument": {"name": "a", "value": ""}}),
    ("tools/list", {"cursor": 1}),
])  # fmt: skip
def test_parameters_that_do_not_fit_are_refused(method: str, params: Any) -> None:
    assert code_of(lambda: methods.check(methods.WITH_SESSION, method, params)) == "mcp_bad_params"


@pytest.mark.parametrize("method", ["initialize", "ping", "logging/setLevel", "resources/subscribe", "x/y"])
def test_what_2026_07_28_took_out_is_no_method_there(method: str) -> None:
    assert code_of(lambda: methods.check(methods.STATELESS, method, {})) == "mcp_unknown_method"


def test_answers_to_earlier_questions_are_taken_in_2026_07_28_only() -> None:
    again = {"name": "t", "inputResponses": {"k": {"action": "accept"}}, "requestState": "s"}
    found = methods.check(methods.STATELESS, "tools/call", again)
    assert isinstance(found, methods.CallToolAgain)
    assert found.request_state == "s"
    assert methods.operands(found) == {"name": "t", "arguments": {}}
    assert code_of(lambda: methods.check(methods.WITH_SESSION, "tools/call", again)) == "mcp_bad_params"


def test_the_operations_with_reserved_names_are_those_of_the_tool_side() -> None:
    assert frozenset(mcp_ops.RESERVED) == methods.RESERVED
    for method, op in {**methods.OPERATIONS, **methods.ANSWERS}.items():
        assert mcp_ops.method_of(op) == method
    for method, capability in methods.CLIENT_CAPABILITY.items():
        assert mcp_ops.ANSWERS[methods.ANSWERS[method]] == capability


_JSON = st.recursive(st.none() | st.integers() | st.text(max_size=6),
                     lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner,
                                                                                 max_size=3), max_leaves=6)
_FIELDS = st.sampled_from(["name", "arguments", "uri", "cursor", "level", "ref", "argument", "_meta",
                           "inputResponses", "requestState", "notifications"])


@given(st.sampled_from(sorted({*methods.WITH_SESSION, *methods.STATELESS})),
       st.dictionaries(_FIELDS, _JSON, max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_parameters_fit_or_are_refused(method: str, params: Any) -> None:
    for known in (methods.WITH_SESSION, methods.STATELESS):
        try:
            found = methods.check(known, method, params)
        except BadInput as fault:
            assert fault.code in {"mcp_bad_params", "mcp_unknown_method"}
        else:
            assert set(methods.operands(found)) <= {*params, "arguments"}
