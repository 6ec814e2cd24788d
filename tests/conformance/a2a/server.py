"""An ordinary A2A server on a2a-sdk: nothing in it knows of Ringwall. ``python server.py PORT``.

What a message's text says is what happens: ``message`` is answered by a message, ``task`` by a task that completes,
``slow`` by one that works until it is cancelled or ``finish`` comes for it, ``fail`` by one that fails, ``boom``
raises.
"""

import asyncio
import sys

import httpx
import uvicorn
from a2a.helpers import new_task_from_user_message, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import (
    BasePushNotificationSender,
    InMemoryPushNotificationConfigStore,
    InMemoryTaskStore,
    TaskUpdater,
)
from a2a.types.a2a_pb2 import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette

PORT = int(sys.argv[1])


class Executor(AgentExecutor):
    def __init__(self):
        self.finish = {}

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        word = context.get_user_input()
        if word == "message":
            await event_queue.enqueue_event(new_text_message("a message back", context_id=context.context_id))
            return
        if word == "boom":
            raise RuntimeError("boom")
        task = context.current_task
        if task is None:
            task = new_task_from_user_message(context.message)
            await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await updater.start_work()
        if word == "slow":
            over = self.finish.setdefault(task.id, asyncio.Event())
            await over.wait()
            return
        await updater.add_artifact([new_text_part("first ")], artifact_id="a", name="answer", append=False)
        await updater.add_artifact([new_text_part("second")], artifact_id="a", append=True, last_chunk=True)
        if word == "fail":
            await updater.failed()
        else:
            await updater.complete()

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        updater = TaskUpdater(event_queue, context.task_id, context.context_id)
        await updater.cancel()
        if context.task_id in self.finish:
            self.finish[context.task_id].set()


def card():
    url = f"http://127.0.0.1:{PORT}"
    return AgentCard(
        name="sam", description="gives quotes", version="1.0.0",
        capabilities=AgentCapabilities(streaming=True, push_notifications=True, extended_agent_card=True),
        supported_interfaces=[
            AgentInterface(url=f"{url}/", protocol_binding="JSONRPC", protocol_version="1.0"),
            AgentInterface(url=f"{url}/rest", protocol_binding="HTTP+JSON", protocol_version="1.0"),
        ],
        default_input_modes=["text/plain"], default_output_modes=["text/plain"],
        skills=[AgentSkill(id="quote", name="quote", description="a quote", tags=["q"])],
    )


def app():
    configs = InMemoryPushNotificationConfigStore()
    sender = BasePushNotificationSender(httpx_client=httpx.AsyncClient(trust_env=False), config_store=configs)
    handler = DefaultRequestHandler(
        agent_executor=Executor(), task_store=InMemoryTaskStore(), agent_card=card(),
        push_config_store=configs, push_sender=sender, extended_agent_card=card(),
    )
    return Starlette(routes=[
        *create_agent_card_routes(card()),
        *create_jsonrpc_routes(handler, "/"),
        *create_rest_routes(handler, path_prefix="/rest"),
    ])


if __name__ == "__main__":
    class Told(uvicorn.Server):
        async def startup(self, sockets=None):
            await super().startup(sockets)
            print("ready", flush=True)

    Told(uvicorn.Config(app(), host="127.0.0.1", port=PORT, log_level="warning")).run()
