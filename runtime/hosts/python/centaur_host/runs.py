"""A run in this host: its handler, the calls that are open, and what it has to say to the worker."""

import asyncio
import hashlib
import time
from contextvars import ContextVar

from . import trace_headers
from .coerce import InvalidInput, coerce_input
from .errors import NotJsonError, RunCancelledError, WorkflowError, describe, from_response, traceback_of
from .inner import INSIDE, InnerCalls
from .wire import dumps, lenient, quote, round_trip, too_long

# The context of the run that the current code belongs to
CURRENT = ContextVar("centaur_context", default=None)
# A name that a step lends to the call which is all that it does
LENT_NAME = ContextVar("centaur_lent_name", default=None)

monotonic = time.monotonic


class Run:
    """Made by `workflow.start`. `host` has `loop`, `queue(run, text)`, and forgets the run by `forget(run)`."""

    def __init__(self, host, start):
        self.host = host
        self.id = start["run_id"]
        self.workflow_name = start["workflow_name"]
        self.task_id = start.get("task_id") or self.id
        self.start = start
        self.live = start.get("live") is True
        # Milliseconds of the system's monotonic clock
        self.lease_until = start.get("lease_until")
        self.now = start.get("now") or 0
        self.seed = start.get("seed") or ""
        self.history_length = start.get("history_length") or 0
        self.patches = {each["seq"]: each["id"] for each in start.get("patches") or ()}
        self.id_json = quote(self.id)
        # Messages of the current burst, each without its last brace: the last one gets the rest flag
        self.out = []
        # It was given something, or said something, and is not yet at rest
        self.dirty = False
        self.inbox = []
        self.inner = InnerCalls(self)
        # How many messages of this run were taken
        self.taken = 1
        # Answers that are still to come, by request id
        self.open = {}
        self.requests = 0
        # Checkpoints and patches that the handler has made so far
        self.seq = 0
        self.draws = 0
        # Set when nothing of this run is said any more
        self.silent = False
        self.cancelled = None
        self.task = None

    def notify(self, kind, fields):
        """A message without an answer."""
        if not self.silent:
            self.host.queue(self, f'{{"type":"{kind}","run_id":{self.id_json}{fields}')

    def call(self, kind, fields, counts=True, step=None):
        """A message with an answer, as a future. `fields` is JSON that begins with a comma."""
        if self.cancelled is not None:
            raise RunCancelledError(self.cancelled)
        if self.silent:
            return self.host.loop.create_future()
        scope = INSIDE.get()
        if scope is not None and counts:
            return self.inner.call(scope, kind, fields, step)
        if counts:
            self.inner.make()
        return self.send(kind, fields, counts)

    def send(self, kind, fields, counts):
        if too_long(fields):
            raise NotJsonError(f"{kind}: {len(fields)} characters are too many for one message", "TOO_LARGE")
        self.requests += 1
        request_id = str(self.requests)
        if counts:
            self.seq += 1
        future = self.open[request_id] = self.host.loop.create_future()
        self.host.queue(self, f'{{"type":"{kind}","run_id":{self.id_json},"request_id":"{request_id}"{fields}')
        return future

    def answer(self, message):
        self.taken += 1
        self.now = message.get("now") or self.now
        if message.get("live") is True:
            self.live = True
        request_id = message.get("request_id")
        future = self.open.pop(request_id, None)
        if future is None or future.done():
            return
        if message.get("ok") is True:
            future.set_result(message.get("value"))
        else:
            future.set_exception(from_response(message, request_id))

    def may_assume(self):
        """Whether a step's function may run before the worker was asked: it would say yes, and this run is still ours."""
        if INSIDE.get() is not None:
            return False
        return self.live and self.lease_until is not None and monotonic() * 1000 < self.lease_until

    def patched(self, patch_id):
        self.inner.make()
        if self.patches.get(self.seq) == patch_id:
            self.seq += 1
            return True
        if self.seq < self.history_length:
            return False
        self.seq += 1
        self.notify("ctx.patch", f',"id":{quote(patch_id)}')
        return True

    def draw(self):
        """The next bytes of chance: the same in every replay."""
        drawn = hashlib.sha256(f"{self.seed}:{self.draws}".encode()).digest()
        self.draws += 1
        return drawn

    def log(self, level, message, fields):
        if self.live:
            self.notify("ctx.log", f',"level":"{level}","message":{lenient(str(message))},"fields":{lenient(fields)}')

    def metric(self, kind, name, value, labels):
        if self.live:
            known = {str(key): str(label) for key, label in labels.items()}
            self.notify("ctx.metric", f',"kind":"{kind}","name":{lenient(str(name))},"value":{lenient(value)},"labels":{lenient(known)}')

    def begin(self, workflow, context):
        self.task = self.host.loop.create_task(self._handle(workflow, context))

    async def _handle(self, workflow, context):
        CURRENT.set(context)
        trace_headers.enter(self.start)
        try:
            inp, _warnings = coerce_input(workflow.input_class, self.start.get("input"))
            given = {"input": inp, "ctx": context}
            result = workflow.handler(*[given[each] for each in workflow.arity])
            if is_awaitable(result):
                result = await result
            self.finish(result)
        except GeneratorExit:
            raise
        except BaseException as error:  # sys.exit in a handler fails the run, not the host
            self.fail(error)

    def finish(self, result):
        try:
            text, _ = round_trip(result, "the result")
        except NotJsonError as error:
            code = "RESULT_NOT_JSON" if error.code == "NOT_JSON" else error.code
            self.fail(WorkflowError(str(error), code))
            return
        self._end("workflow.result", f'"result":{text}')

    def fail(self, error):
        if self.silent or self.cancelled is not None:
            self.drop()
            return
        info = describe(error)
        if isinstance(error, InvalidInput):
            info["issues"] = error.issues
        message, trace = dumps(info["message"]), lenient(traceback_of(error))
        self._end("workflow.error", f'"message":{message},"traceback":{trace},"error":{lenient(info)}')

    def _end(self, kind, fields):
        if self.cancelled is None and not self.silent:
            ids = f'"workflow_run_id":{self.id_json},"run_id":{self.id_json},"workflow_task_id":{quote(self.task_id)}'
            names = f'"task_id":{quote(self.task_id)},"workflow_name":{quote(self.workflow_name)}'
            self.host.queue(self, f'{{"type":"{kind}",{ids},{names},{fields}')
        self.drop()

    def cancel(self, reason):
        """From outside. Whoever is cancelled may tidy up in memory; a run that only leaves this host is not told."""
        if reason in ("suspended", "shutdown"):
            self.out.clear()
            self.drop()
            return
        self.cancelled = f"the run was cancelled ({reason})" if reason not in (None, "cancelled") else "the run was cancelled"
        self.out.clear()
        waiting, self.open = self.open, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(RunCancelledError(self.cancelled))

    def drop(self):
        self.silent = True
        self.open = {}
        self.host.forget(self)


def is_awaitable(value):
    return asyncio.iscoroutine(value) or hasattr(value, "__await__")
