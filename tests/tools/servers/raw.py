"""A server without an SDK, so that it can say what no SDK says. Standard library only, hence quick to start.

What it does on a call depends on the operation's name.
"""

import json
import sys
import time

out = sys.stdout.buffer


def say(message: object) -> None:
    out.write(json.dumps(message).encode() + b"\n")
    out.flush()


def result(number: object, value: object) -> None:
    say({"jsonrpc": "2.0", "id": number, "result": value})


def text(words: str) -> object:
    return {"content": [{"type": "text", "text": words}]}


changed = False
for line in sys.stdin.buffer:
    message = json.loads(line)
    number, method = message.get("id"), message.get("method")
    if method == "initialize":
        result(
            number,
            {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {"listChanged": True}},
                "serverInfo": {"name": "raw", "version": "1"},
            },
        )
    elif method == "tools/list":
        names = ["other"] if changed else ["plain", "garbage"]
        result(number, {"tools": [{"name": n, "inputSchema": {"type": "object"}} for n in names]})
    elif method in {"resources/read", "logging/setLevel"}:
        result(number, {"asked": message["params"]})
    elif method == "ping":
        result(number, {})
    elif method == "tools/call":
        op = message["params"]["name"]
        if op == "garbage":
            out.write(b"this is no message\n")
            out.flush()
        elif op == "giant":
            block = b"x" * (1 << 20)
            try:
                for _ in range(40):
                    out.write(block)
                out.flush()
            except BrokenPipeError:
                sys.exit(0)
        elif op == "twice":
            result(number, text("first"))
            result(number, text("second"))
        elif op == "foreign":
            result(number + 1000, text("of another call"))
            result(number, text("own"))
        elif op == "shapeless":
            result(number, {"content": "no list"})
        elif op == "refuse":
            say({"jsonrpc": "2.0", "id": number, "error": {"code": -32000, "message": "Connection closed"}})
        elif op == "change":
            changed = True
            say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"})
            result(number, text("changed"))
        elif op == "ask":
            try:
                for n in range(1000):  # long ids, so that the answers fill the pipe that nobody reads
                    say({"jsonrpc": "2.0", "id": str(n) + "x" * 10_000, "method": "ping"})
                time.sleep(3600)
            except BrokenPipeError:
                sys.exit(0)
        elif op == "sample":
            say(
                {
                    "jsonrpc": "2.0",
                    "id": 7,
                    "method": "sampling/createMessage",
                    "params": {"messages": [], "maxTokens": 1},
                }
            )
            answer = json.loads(sys.stdin.buffer.readline())
            result(number, text(json.dumps(answer)))
        elif op == "tell":
            token = message["params"].get("_meta", {}).get("progressToken")
            for said in (
                {"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}},
                {"method": "notifications/progress", "params": {"progressToken": 4711, "progress": 2}},
                {"method": "notifications/message", "params": {"level": "info", "data": "logged"}},
                {"method": "notifications/other", "params": {}},
            ):
                say({"jsonrpc": "2.0", **said})
            result(number, {**text("told"), "_meta": {"a": 1}})
        elif op == "flood":
            for n in range(5000):
                say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": str(n)}})
            result(number, text("flooded"))
        elif op == "elicit":
            asked = {"message": "?", "requestedSchema": {"type": "object", "properties": {}}}
            say({"jsonrpc": "2.0", "id": "q", "method": "elicitation/create", "params": asked})
            result(number, text(json.dumps(json.loads(sys.stdin.buffer.readline()))))
        elif op == "meta":
            result(number, text(json.dumps(message["params"].get("_meta"))))
        elif op == "blocks":
            result(number, {"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]})
        elif op == "exit":
            sys.exit(1)
        elif op == "silent":
            pass
        else:
            result(number, text("plain"))
