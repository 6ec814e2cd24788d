"""The A2A 1.0 wire, sans-I/O: what a message between agents may hold, in both bindings, in both directions.

The schema is closed and camelCase, because the SDKs' parsers are lenient: they drop what they do not know, take
both spellings of a field, numbers for names, and let the last of two win. Whoever judges a message with other
eyes than its receiver judges another message. So a body is parsed once, strictly; what goes on is what was
understood, written anew. Source: A2A specification 1.0 (proto package ``lf.a2a.v1``), and what a2a-sdk sends.
"""

from ringwall.wire.a2a.card import check_card
from ringwall.wire.a2a.faults import Fault, fault_of, rest_fault
from ringwall.wire.a2a.legacy_card import own_card
from ringwall.wire.a2a.rest import parse_rest, rest_result
from ringwall.wire.a2a.rpc import Request, parse_rpc, parse_rpc_answer, rpc_fault, rpc_request, rpc_result
from ringwall.wire.a2a.schema import EXTRA, METHODS, STREAMS, check_event, check_params, check_result
from ringwall.wire.a2a.sse import SseEvent, SseReader, sse_event
from ringwall.wire.a2a.views import TaskView, file_urls, media_types, task_of

__all__ = [
    "EXTRA",
    "METHODS",
    "STREAMS",
    "Fault",
    "Request",
    "SseEvent",
    "SseReader",
    "TaskView",
    "check_card",
    "check_event",
    "check_params",
    "check_result",
    "fault_of",
    "file_urls",
    "media_types",
    "own_card",
    "parse_rest",
    "parse_rpc",
    "parse_rpc_answer",
    "rest_fault",
    "rest_result",
    "rpc_fault",
    "rpc_request",
    "rpc_result",
    "sse_event",
    "task_of",
]
