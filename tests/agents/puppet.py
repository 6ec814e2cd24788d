"""An agent that does what its standard input says: one JSON object a line, each in a thread of its own."""

import json
import os
import signal
import socket
import sys
import threading

import ringwall
from ringwall import RingwallError

lock = threading.Lock()


def say(number, **answer):
    with lock:
        print(json.dumps({"id": number, **answer}), flush=True)


def tell(function, *args, **kwargs):
    """A call of the client as a JSON object."""
    try:
        return {"result": function(*args, **kwargs)}
    except RingwallError as fault:
        return {"error": type(fault).__name__, "code": fault.code, "reason": fault.cause,
                "record": getattr(fault, "record", "")}


def forked(tool, args):
    """The same call, from a child of this process."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writer, json.dumps({**tell(ringwall.call_tool, tool, args), "pid": os.getpid()}).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        answer = json.load(lines)
    os.waitpid(child, 0)
    return answer


calm = threading.Event()


def storm(tool, mark):
    """Calls, each with a text of its own, until it calms down; what became of each."""
    answers = []
    while not calm.wait(0.01):
        text = f"{mark}{len(answers)}"
        answer = tell(ringwall.call_tool, tool, text=text)
        answers.append({"text": text, "code": answer.get("code", "")})
    return answers


def raw(data, expect):
    """Bytes to the door, as they are; the status line and body of the answer."""
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(20)
        door.connect(os.environ["RINGWALL_DOOR"])
        try:
            door.sendall(data.encode("latin-1"))
        except (BrokenPipeError, ConnectionResetError):
            pass
        answer = b""
        try:
            while piece := door.recv(65536):
                answer += piece
                if expect and expect.encode() in answer:
                    break
        except ConnectionResetError:
            pass
    head, _, body = answer.partition(b"\r\n\r\n")
    return {"status": head.split(b"\r\n")[0].decode("latin-1"), "body": body.decode("latin-1")}


def act(number, do, **more):
    match do:
        case "call":
            answer = tell(ringwall.call_tool, more["tool"], more["args"])
        case "list":
            answer = tell(ringwall.list_tools)
        case "send":
            answer = tell(ringwall.send_message, more["peer"], more["skill"], more["parts"], **more.get("more", {}))
        case "complete":
            answer = tell(ringwall.complete, more["model"], more["messages"])
        case "fork":
            answer = forked(more["tool"], more["args"])
        case "raw":
            answer = raw(more["data"], more.get("expect", ""))
        case "storm":
            answer = {"result": storm(more["tool"], more["mark"])}
        case "calm":
            calm.set()
            answer = {}
        case "pid":
            answer = {"result": os.getpid()}
        case "python":
            found = {}
            try:
                exec(more["text"], found)  # noqa: S102 (what a taken-over agent runs)
                answer = {"result": found["answer"]}
            except OSError as fault:
                answer = {"errno": fault.errno}
    say(number, **answer)


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
for line in sys.stdin:
    order = json.loads(line)
    threading.Thread(target=act, args=(order.pop("id"),), kwargs=order, daemon=True).start()
