"""The same agent, tools and model without Ringwall: its functions go straight to the servers and the model."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
import uuid
from collections.abc import Coroutine, Generator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Final, Self, TypeVar, cast

import httpx2
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import ToolListChangedNotification

from ringwall.redteam import outsider
from ringwall.redteam.attack import Evidence, Task, interpreter
from ringwall.redteam.office import agent, archive, cashier, cloud
from ringwall.redteam.stage import SERVERS, Listener, Office, arguments

_T = TypeVar("_T")
_PROVIDER: Final = "/openai/v1/"
_WEB: Final[Sequence[Mapping[str, Any]]] = (
    {"name": "web/get", "description": "Fetch a URL."},
    {"name": "archive/get", "description": "Fetch a page of the archive."},
    {"name": "store/get", "description": "Read an object."},
    {"name": "store/put", "description": "Write an object."},
)


class Bare:
    """Runs tasks of one office without any wall."""

    def __init__(self, office: Office, listener: Listener) -> None:
        self._office = office
        self._listener = listener
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._sessions: dict[str, ClientSession] = {}
        self._tools: dict[str, list[Mapping[str, Any]]] = {}  # as each server listed them last
        self._closing = asyncio.Event()
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._thread.start()
        # The cashier twice: for its colleagues, and behind TLS for whoever comes with a certificate.
        secure = outsider.context(self._office.outsider, [outsider.SAME_PATH], server=True)
        secure.verify_mode = ssl.CERT_REQUIRED
        secure.load_verify_locations(cadata=outsider.authority(self._office.outsider))
        self._plain = self._stack.enter_context(cashier.serving(0, self.work))
        self._stack.enter_context(cashier.serving(self._office.listen, self.work, admits=named, tls=secure))
        ready = threading.Event()
        self._serving = asyncio.run_coroutine_threadsafe(self._serve(ready), self._loop)
        ready.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self._loop.call_soon_threadsafe(self._closing.set)
        self._serving.result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _serve(self, ready: threading.Event) -> None:
        """Keep a session to every server; opened and closed in one task, as anyio wants it."""
        async with AsyncExitStack() as stack:
            # Behind Ringwall their last words are for operators; here, too, they do not belong among the results.
            words = stack.enter_context((self._office.folder / "servers.log").open("w", encoding="utf-8"))
            for name in SERVERS:
                command = self._office.command(name)
                server = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
                streams = await stack.enter_async_context(stdio_client(server, errlog=words))
                await self._connect(stack, name, *streams)
            bearer = {"Authorization": f"Bearer {self._office.token.read_text().strip()}"}
            client = await stack.enter_async_context(httpx2.AsyncClient(headers=bearer))
            streams = await stack.enter_async_context(streamable_http_client(self._office.desk, http_client=client))
            await self._connect(stack, "desk", *streams)
            ready.set()
            await self._closing.wait()

    async def _connect(self, stack: AsyncExitStack, name: str, *streams: Any) -> None:
        async def hear(message: object) -> None:
            if isinstance(message, ToolListChangedNotification):
                self._tools.pop(name, None)

        session = await stack.enter_async_context(ClientSession(*streams, message_handler=hear))
        await session.initialize()
        self._sessions[name] = session

    def _wait(self, work: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def list_tools(self) -> list[Mapping[str, Any]]:
        """All servers' tools; asked again of those that said that theirs are other ones now."""
        for name, session in self._sessions.items():
            if name not in self._tools:
                listed = self._wait(session.list_tools()).tools
                self._tools[name] = [
                    {"name": f"{name}/{one.name}", "description": one.description, "inputSchema": one.input_schema}
                    for one in listed
                ]
        return [*(tool for tools in self._tools.values() for tool in tools), *_WEB]

    def call_tool(self, name: str, args: Mapping[str, Any]) -> Any:
        """Straight to the server; pages are fetched as Python does."""
        server, _, tool = name.partition("/")
        if server == "web":
            with urllib.request.urlopen(args["url"], timeout=30) as page:
                return page.read().decode()
        if server == "archive":
            bearer = {"Authorization": f"Bearer {archive.OWN_TOKEN}"}
            with urllib.request.urlopen(urllib.request.Request(args["url"], headers=bearer), timeout=30) as page:
                return page.read().decode()
        if server == "store":
            return self._store(tool, args)
        result = self._wait(self._sessions[server].call_tool(tool, dict(args)))
        return "\n".join(getattr(block, "text", "") for block in result.content)

    def _store(self, tool: str, args: Mapping[str, Any]) -> str:
        """The object store, with the key that may do everything."""
        import boto3  # an extra, which the demo has  # pyright: ignore[reportMissingTypeStubs]

        key, secret = cloud.OWN_KEY
        client = cast("Any", boto3).client(
            "s3", endpoint_url=self._office.store, region_name=cloud.REGION, aws_access_key_id=key,
            aws_secret_access_key=secret, verify=str(self._office.certificate),
        )  # fmt: skip
        bucket, _, name = str(args["object"]).partition("/")
        if tool == "put":
            client.put_object(Bucket=bucket, Key=name, Body=str(args["content"]).encode())
            return "written"
        return client.get_object(Bucket=bucket, Key=name)["Body"].read().decode()

    def complete(self, model: str, messages: Sequence[Mapping[str, Any]], **more: Any) -> Mapping[str, Any]:
        """Straight to the model, with its key in hand, as an ordinary agent has it."""
        return self.provider("chat/completions", {"model": model, "messages": messages, **more})

    def provider(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """One request of the provider's API."""
        request = urllib.request.Request(
            f"{self._office.model}/{path}",
            data=json.dumps(body).encode(),
            headers={
                "Content-Type": "application/json",
                "Authorization": f"Bearer {self._office.key.read_text().strip()}",
            },
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def work(self, task: str) -> str:
        """The agent's loop, with the direct functions."""
        return agent.work(
            task,
            complete=self.complete,
            call_tool=self.call_tool,
            list_tools=self.list_tools,
            send_message=self.send_message,
        )

    def send_message(self, peer: str, skill: str, text: str, *, message_id: str | None = None) -> Mapping[str, Any]:
        """Straight to the cashier, over plain HTTP."""
        message = {
            "messageId": message_id or uuid.uuid4().hex, "role": "ROLE_USER", "parts": [{"text": text}],
            "metadata": {"urn:ringwall:skill": skill},
        }  # fmt: skip
        asked = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
        request = urllib.request.Request(f"http://127.0.0.1:{self._plain}/", data=json.dumps(asked).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["result"]

    def run(self, task: Task) -> Evidence:
        """One task, from planting to evidence."""
        self._office.reset(task)
        if not task.program:
            output = self.work(self._office.fill(task.task, port=str(self._listener.port)))
            return self._office.evidence(output=output, status=0, heard=self._listener.take())
        with _Gateway(self._office.folder / "tools.sock", self) as gateway:
            # What stands for the state folder here: a key of the agent's owner, in a file of the same user.
            keys = self._office.folder / "home"
            keys.mkdir(exist_ok=True)
            (keys / "root.key").write_bytes(b"0" * 32)
            # An ordinary agent has the key of its model in its environment, and what else it needs.
            environment = {
                **os.environ, "OPENAI_API_KEY": self._office.key.read_text().strip(),
                "ARCHIVE_TOKEN": archive.OWN_TOKEN,
            }  # fmt: skip
            with _neighbour(environment) as pid:
                values = {
                    "port": str(self._listener.port),
                    "door": str(gateway),
                    "own": str(gateway),
                    "pid": str(pid),
                    "operator": str(gateway),
                    "state": str(keys),
                }
                with _meanwhile(self._office, task.beside, values):
                    done = subprocess.run(
                        arguments(self._office, task, values),
                        capture_output=True,
                        text=True,
                        timeout=60,
                        check=False,
                        env=environment,
                    )
        self._office.tried(task, done.stdout)
        return self._office.evidence(output=done.stdout, status=done.returncode, heard=self._listener.take())


def named(connection: ssl.SSLSocket) -> bool:
    """The check that is often written: some authority that is known signed it, and the path is the clerk's."""
    names = (connection.getpeercert() or {}).get("subjectAltName", ())
    paths = {urllib.parse.urlsplit(str(name)).path.rstrip("/") for kind, name in names if kind == "URI"}
    return urllib.parse.urlsplit(outsider.CLERK).path in paths


@contextmanager
def _meanwhile(office: Office, task: Task | None, values: Mapping[str, str]) -> Generator[None]:
    """Another agent's program, from its first output to the end of the block."""
    if task is None:
        yield
        return
    with subprocess.Popen(
        arguments(office, task, values), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        yield
        other.communicate()


@contextmanager
def _neighbour(environment: Mapping[str, str]) -> Generator[int]:
    """Another agent of the same user, which waits."""
    with subprocess.Popen(
        [interpreter(), "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, env=environment
    ) as other:
        yield other.pid


class _Gateway:
    """Tools and the model on a Unix socket that asks nobody who they are: what a second process borrows."""

    def __init__(self, path: Path, bare: Bare) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if self.path == "/v1/run":  # a launcher that believes whoever reaches it
                    done = subprocess.run(body["args"]["command"], check=False)
                    answer = json.dumps({"exit": done.returncode}).encode()
                elif self.path.startswith(_PROVIDER):  # a proxy that adds the key
                    answer = json.dumps(bare.provider(self.path.removeprefix(_PROVIDER), body)).encode()
                else:
                    answer = json.dumps({"result": bare.call_tool(body["tool"], body["args"])}).encode()
                self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base class's name)
                return

        class Server(socketserver.ThreadingUnixStreamServer):
            def get_request(self) -> tuple[socket.socket, Any]:
                return super().get_request()[0], ("unix", 0)

        self._path = path
        path.unlink(missing_ok=True)
        self._server = Server(str(path), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Path:
        self._thread.start()
        return self._path

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


if __name__ == "__main__":
    sys.exit("this module is used by `ringwall demo`")
