"""Serves one tool: calls run beside each other, plain methods in threads, async ones in the loop."""

import asyncio
import base64
import contextvars
import functools
import gc
import inspect
import os
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

from centaur_host import trace_headers
from centaur_host.coerce import InvalidInput
from centaur_host.errors import NotJsonError, only_one
from centaur_host.host import end_when_blocked
from centaur_host.loading import Problem
from centaur_host.transport import Transport, waits
from centaur_host.wire import dumps, lenient, loads
from centaur_sdk import CURRENT, ToolContext, ToolFailure

from .asking import tell
from .manifest import load_tool, prepare

# Bytes of a result's JSON, and of a file beside one
RESULT_MOST = 8 * 1024 * 1024
ATTACHED_MOST = 10 * 1024 * 1024
THREADS_MOST = 64
TEXT_MOST = 8192


def serve(reader, writer, root, file):
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    host = ToolHost(loop, file)
    trace_headers.install()
    prepare(root)
    try:
        host.tool = load_tool(root, file)
    except Problem as problem:
        host.problem = problem
    host.threads = ThreadPoolExecutor(max(1, min(THREADS_MOST, host.tool.concurrency if host.tool else 1)), "call")
    host.transport = Transport(loop, reader, writer, host.lines, host.end)
    if waits(reader):
        end_when_blocked(reader, lambda: False)
    # what is here by now stays: the collector need not look at it again
    gc.freeze()
    while True:
        try:
            loop.run_forever()
        except (SystemExit, KeyboardInterrupt) as error:
            # raised in a task of a method, it would end the calls of all others
            print(f"{type(error).__name__} in a tool's task is ignored", file=sys.stderr)


class ToolHost:
    def __init__(self, loop, file):
        self.loop = loop
        self.file = file
        self.tool = None
        self.problem = None
        self.threads = None
        self.transport = None
        self.thread = threading.get_ident()
        self.calls = {}
        self.said = []

    def lines(self, lines):
        for line in lines:
            try:
                if line.strip():
                    self._take(loads(line))
            except Exception as error:  # one bad message must not end the calls of the others
                self.say({"type": "host.error", "message": f"{type(error).__name__}: {error}"})

    def end(self):
        self.transport.flush()
        os._exit(0)

    def say(self, message):
        """From any thread."""
        text = message if isinstance(message, str) else dumps(message)
        if threading.get_ident() == self.thread:
            self._say(text)
        else:
            self.loop.call_soon_threadsafe(self._say, text)

    def _say(self, text):
        self.said.append(text + "\n")
        if len(self.said) == 1:
            self.loop.call_soon(self._write)

    def _write(self):
        data = "".join(self.said).encode("utf-8", "replace")
        self.said.clear()
        self.transport.write(data)

    def _take(self, message):
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "tool.call":
            call = Call(self, message)
            self.calls[call.id] = call
            call.task = self.loop.create_task(self._serve(call, message))
        elif kind == "tool.cancel":
            call = self.calls.get(message.get("run_id"))
            if call is not None:
                call.cancel()
        elif kind == "tool.attached":
            call = self.calls.get(message.get("run_id"))
            if call is not None:
                call.attached(message)
        elif kind == "host.ping":
            self.say({"type": "host.pong", "id": message.get("id")})
        elif kind == "tool.discover":
            self._tell_ready(message)
        else:
            self.say({"type": "host.error", "message": f"there is no message {dumps(kind)[:200]}"})

    def _tell_ready(self, message):
        answer = {"type": "tool.discovery", "run_id": message.get("run_id"), "protocol": 1, "done": True}
        tools = [tell(self.tool, self.file)] if self.tool else []
        problems = [{"asked": self.file, **self.problem.entry}] if self.problem else []
        self.say({**answer, "tools": tools, "problems": problems})

    async def _serve(self, call, message):
        try:
            text = await self._run(call, message)
            self.say(f'{{"type":"tool.result","run_id":{dumps(call.id)},"ok":true,"value":{text}}}')
        except BaseException as error:  # also what would end the process: each call gets its one answer
            self.say({"type": "tool.result", "run_id": call.id, "ok": False, **failure(error)})
        finally:
            self.calls.pop(call.id, None)
            call.end()

    async def _run(self, call, message):
        if self.tool is None:
            raise ToolFailure("TOOL_NOT_LOADED", str(self.problem))
        name = f"{message.get('tool')}.{message.get('method')}"
        method = self.tool.methods.get(message.get("method"))
        if method is None:
            raise ToolFailure("UNKNOWN_METHOD", f"there is no method {name}")
        call.is_async = method.is_async
        if call.context.cancelled:
            raise asyncio.CancelledError
        positional, named = method.signature.arguments(message.get("args") or {})
        CURRENT.set(call.context)
        trace_headers.enter(message.get("context") or {})
        if method.is_async:
            value = await method.function(*positional, **named)
        else:
            run = functools.partial(contextvars.copy_context().run, method.function, *positional, **named)
            value = await self.loop.run_in_executor(self.threads, run)
            if inspect.isawaitable(value):
                value = await value
        text = dumps(value, f"the result of {name}")
        size = len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
        if size > RESULT_MOST:
            raise ToolFailure("TOO_LARGE", f"the result of {name}: {size} bytes of JSON are over the limit of {RESULT_MOST}")
        return text


class Call:
    def __init__(self, host, message):
        self.host = host
        self.id = message["run_id"]
        self.task = None
        self.is_async = False
        self.attaching = {}
        self.context = ToolContext(self, message.get("tool"), message.get("context") or {})

    def cancel(self):
        self.context.cancelled = True
        # a thread cannot be ended: it may look at the context's `cancelled`
        if self.is_async:
            self.task.cancel()

    def say(self, kind, **fields):
        self.host.say(lenient({"type": kind, "run_id": self.id, **{key: each for key, each in fields.items() if each is not None}}))

    async def attach(self, name, data, mime_type):
        if len(data) > ATTACHED_MOST:
            raise ToolFailure("TOO_LARGE", f"{name}: {len(data)} bytes are over the limit of {ATTACHED_MOST}")
        request_id = str(len(self.attaching))
        waiting = self.attaching[request_id] = self.host.loop.create_future()
        self.say("tool.attach", request_id=request_id, name=name, mime_type=mime_type, data=base64.b64encode(data).decode())
        return await waiting

    def attach_from_thread(self, *given):
        if threading.get_ident() == self.host.thread:
            raise RuntimeError("an async method attaches with: await get_tool_context().attach(name, data, mime_type)")
        return asyncio.run_coroutine_threadsafe(self.attach(*given), self.host.loop).result()

    def attached(self, message):
        waiting = self.attaching.get(message.get("request_id"))
        if waiting is None or waiting.done():
            return
        if message.get("ok"):
            waiting.set_result(message["file"])
        else:
            waiting.set_exception(ToolFailure("NOT_ATTACHED", message.get("message") or "the file was not kept"))

    def end(self):
        for waiting in self.attaching.values():
            waiting.cancel()


def failure(error):
    error = only_one(error)
    if isinstance(error, ToolFailure):
        return {"code": str(error.code)[:128], "message": str(error)[:TEXT_MOST], "retryable": bool(error.retryable)}
    if isinstance(error, InvalidInput):
        return {"code": "INVALID_ARGUMENTS", "message": str(error)[:TEXT_MOST].replace("input.", "", 1), "retryable": False}
    if isinstance(error, NotJsonError):
        return {"code": "RESULT_NOT_JSON", "message": str(error)[:TEXT_MOST], "retryable": False}
    if isinstance(error, asyncio.CancelledError):
        return {"code": "TOOL_CANCELLED", "message": "the call was cancelled", "retryable": True}
    traceback.print_exception(error)
    message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return {"code": "TOOL_FAILED", "message": message[:TEXT_MOST], "retryable": True}
