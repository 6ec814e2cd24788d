"""Every method of A2A 1.0 by an ordinary a2a-sdk client: what came of each, as one JSON object.

``python matrix.py URL BINDING PUSH_PORT [UDS]``: URL is where the agent's card lies, BINDING is JSONRPC or
HTTP+JSON, PUSH_PORT is where this program takes push notifications. Ids and times are named in order of appearance,
so that two runs can be compared.
"""

import asyncio
import json
import re
import sys
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.types import a2a_pb2 as types
from google.protobuf.json_format import MessageToDict

URL, BINDING, PUSH_PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])
PUSHED = []
ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|\b[0-9a-f]{32}\b")


class Hook(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        PUSHED.append({"path": self.path, "token": self.headers.get("X-A2A-Notification-Token"), "body": body})
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()


def message(text, **more):
    part = types.Part(text=text)
    return types.SendMessageRequest(message=types.Message(
        message_id=str(uuid.uuid4()), role=types.Role.ROLE_USER, parts=[part], **more))


async def told(outcomes, name, work):
    """What came of one call: its answer or events, or the error by type and message."""
    try:
        if hasattr(work, "__aiter__"):
            found = [MessageToDict(event) async for event in work]
        else:
            answer = await work
            found = MessageToDict(answer) if answer is not None else None
    except Exception as fault:  # noqa: BLE001 (an error is an outcome)
        # What kind of error it is; its words and details name URLs and who says so.
        print(f"{name}: {fault}", file=sys.stderr)
        found = {"error": type(fault).__name__}
    outcomes[name] = found
    return found


async def until(condition, seconds=20.0):
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        await asyncio.sleep(0.05)


async def first_event(events):
    async for event in events:
        return MessageToDict(event)
    return None


async def run(http):
    outcomes = {}
    card = await A2ACardResolver(http, URL).get_agent_card()
    outcomes["card"] = {"name": card.name, "skills": [skill.id for skill in card.skills],
                        "bindings": [one.protocol_binding for one in card.supported_interfaces]}
    make = lambda streaming: ClientFactory(ClientConfig(  # noqa: E731
        streaming=streaming, httpx_client=http, supported_protocol_bindings=[BINDING])).create(card)
    plain, stream = make(False), make(True)
    await told(outcomes, "send: message", plain.send_message(message("message")))
    done = await told(outcomes, "send: task", plain.send_message(message("task")))
    failed = await told(outcomes, "send: fail", plain.send_message(message("fail")))
    await told(outcomes, "send: boom", plain.send_message(message("boom")))
    task, context = done[0]["task"]["id"], done[0]["task"]["contextId"]
    await told(outcomes, "send: to a task that is over", plain.send_message(message("task", task_id=task)))
    await told(outcomes, "send: unknown task", plain.send_message(message("task", task_id=str(uuid.uuid4()))))
    await told(outcomes, "send: same context", plain.send_message(message("task", context_id=context)))
    await told(outcomes, "stream: message", stream.send_message(message("message")))
    await told(outcomes, "stream: task", stream.send_message(message("task")))
    await told(outcomes, "stream: fail", stream.send_message(message("fail")))
    await told(outcomes, "get", plain.get_task(types.GetTaskRequest(id=task)))
    await told(outcomes, "get: short history", plain.get_task(types.GetTaskRequest(id=task, history_length=1)))
    await told(outcomes, "get: unknown", plain.get_task(types.GetTaskRequest(id=str(uuid.uuid4()))))
    await told(outcomes, "cancel: over", plain.cancel_task(types.CancelTaskRequest(id=task)))
    await told(outcomes, "cancel: unknown", plain.cancel_task(types.CancelTaskRequest(id=str(uuid.uuid4()))))
    over = types.SubscribeToTaskRequest(id=failed[0]["task"]["id"])
    await told(outcomes, "subscribe: over", stream.subscribe(over))

    slow = await first_event(stream.send_message(message("slow")))
    slow = slow["task"]["id"]
    events, seen = [], asyncio.Event()

    async def follow():
        async for event in stream.subscribe(types.SubscribeToTaskRequest(id=slow)):
            events.append(MessageToDict(event))
            seen.set()

    following = asyncio.create_task(follow())
    await asyncio.wait({asyncio.create_task(seen.wait()), following}, timeout=20, return_when="FIRST_COMPLETED")

    config = types.TaskPushNotificationConfig(task_id=slow, url=f"http://127.0.0.1:{PUSH_PORT}/hook", token="t-1")
    made = await told(outcomes, "push: create", plain.create_task_push_notification_config(config))
    name = made.get("id", "")
    ask = {"task_id": slow, "id": name}
    await told(outcomes, "push: get", plain.get_task_push_notification_config(
        types.GetTaskPushNotificationConfigRequest(**ask)))
    await told(outcomes, "push: list", plain.list_task_push_notification_configs(
        types.ListTaskPushNotificationConfigsRequest(task_id=slow)))
    await told(outcomes, "cancel", plain.cancel_task(types.CancelTaskRequest(id=slow)))
    await asyncio.wait({following}, timeout=20)
    outcomes["subscribe"] = [sorted(event) for event in events[-1:]]
    await until(lambda: PUSHED)
    outcomes["push: came"] = [{**one, "body": sorted(one["body"])} for one in PUSHED[-1:]]
    await told(outcomes, "push: delete", plain.delete_task_push_notification_config(
        types.DeleteTaskPushNotificationConfigRequest(**ask)))
    await told(outcomes, "push: get deleted", plain.get_task_push_notification_config(
        types.GetTaskPushNotificationConfigRequest(**ask)))
    listed = await told(outcomes, "list", plain.list_tasks(types.ListTasksRequest(context_id=context)))
    assert "tasks" in listed or "error" in listed
    extended = await told(outcomes, "extended card", plain.get_extended_agent_card(
        types.GetExtendedAgentCardRequest()))
    outcomes["extended card"] = extended.get("name", extended)
    return outcomes


def named(value):
    """Ids and times by their order of appearance."""
    text = json.dumps(value, sort_keys=True)
    names = {}
    text = ID.sub(lambda found: names.setdefault(found.group(), f"<id {len(names)}>"), text)
    return json.loads(re.sub(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "<time>", text))


async def main():
    uds = sys.argv[4] if len(sys.argv) > 4 else None
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=uds), timeout=30) as http:
        print(json.dumps(named(await run(http))).replace(f":{PUSH_PORT}/", ":<port>/"), flush=True)


hook = ThreadingHTTPServer(("127.0.0.1", PUSH_PORT), Hook)
threading.Thread(target=hook.serve_forever, daemon=True).start()
asyncio.run(main())
