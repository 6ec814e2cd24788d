"""An A2A 1.0 server of the standard library, which knows nothing of Ringwall but what a message tells it to do.

``python a2a_agent.py PORT``. A text as a message's first part is echoed as a message; ``{"data": {"do": ...}}``
does what ``send`` knows. Every message that arrives is counted; ``{"do": "seen"}`` tells them.
"""

import json
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import ringwall
from ringwall import RingwallError

TASKS = {}
SEEN = []
PORT = int(sys.argv[1])
CARD = {
    "name": "sam", "description": "quotes", "version": "1", "capabilities": {"streaming": True},
    "supportedInterfaces": [{"url": f"http://127.0.0.1:{PORT}/", "protocolBinding": "JSONRPC",
                             "protocolVersion": "1.0"}],
    "defaultInputModes": ["text/plain"], "defaultOutputModes": ["text/plain"],
    "skills": [{"id": "quote", "name": "quote", "description": "a quote", "tags": ["q"]},
               {"id": "hidden", "name": "hidden", "description": "not declared", "tags": ["q"]}],
}


def reply(*parts, **more):
    return {"message": {"messageId": uuid.uuid4().hex, "role": "ROLE_AGENT", "parts": list(parts), **more}}


def task(name, state):
    TASKS[name] = {"id": name, "contextId": f"c-{name}", "status": {"state": state}}
    return TASKS[name]


def told(function, *args):
    try:
        return {"result": function(*args)}
    except RingwallError as fault:
        return {"error": fault.code, "reason": fault.cause, "record": getattr(fault, "record", "")}


def send(message):
    SEEN.append(message["messageId"])
    part = message["parts"][0]
    if "text" in part:
        return reply({"text": f"you said {part['text']}"})
    order = part["data"]
    match order["do"]:
        case "seen":
            return reply({"data": SEEN})
        case "task":
            name = order.get("id") or uuid.uuid4().hex
            return {"task": task(name, order.get("state", "TASK_STATE_WORKING"))}
        case "call":
            return reply({"data": told(ringwall.call_tool, order["tool"], order["args"])})
        case "send":
            return reply({"data": told(ringwall.send_message, order["peer"], order["skill"], order["parts"])})
        case "fail":
            raise KeyError("failed")
        case "raw":
            return order["answer"]
        case "python":
            found = {}
            exec(order["text"], found)  # noqa: S102 (what a taken-over agent runs)
            return reply({"data": found.get("answer")})
    raise ValueError(order["do"])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body, kind="application/json", status=200):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/.well-known/agent-card.json":
            self.answer(CARD)
        else:
            self.answer({}, status=404)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method, params = asked["method"], asked.get("params", {})
        if method in ("SendStreamingMessage", "SubscribeToTask"):
            self.stream(asked, params)
            return
        try:
            self.answer({"jsonrpc": "2.0", "id": asked["id"], "result": self.result(method, params)})
        except KeyError:
            error = {"code": -32001, "message": "Task not found"}
            self.answer({"jsonrpc": "2.0", "id": asked["id"], "error": error})

    def result(self, method, params):
        match method:
            case "SendMessage":
                return send(params["message"])
            case "GetTask":
                return TASKS[params["id"]]
            case "CancelTask":
                return task(params["id"], "TASK_STATE_CANCELED") if params["id"] in TASKS else TASKS[params["id"]]
            case "ListTasks":
                return {"tasks": list(TASKS.values()), "nextPageToken": "", "pageSize": 50, "totalSize": len(TASKS)}
        raise KeyError(method)

    def stream(self, asked, params):
        name = params.get("id") or uuid.uuid4().hex
        events = [{"task": task(name, "TASK_STATE_WORKING")}]
        if "message" in params:
            SEEN.append(params["message"]["messageId"])
            for word in params["message"]["parts"][0]["text"].split():
                artifact = {"artifactId": "a", "parts": [{"text": word}]}
                events.append({"artifactUpdate": {"taskId": name, "contextId": f"c-{name}", "artifact": artifact}})
        status = task(name, "TASK_STATE_COMPLETED")["status"]
        events.append({"statusUpdate": {"taskId": name, "contextId": f"c-{name}", "status": status}})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        for event in events:
            data = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": event})
            self.wfile.write(f"data: {data}\r\n\r\n".encode())
            self.wfile.flush()
        self.close_connection = True


server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
print(json.dumps({"id": 0, "serving": PORT}), flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
sys.stdin.read()
