"""
The host itself: takes messages, starts runs, and tells the worker when a run is at rest.

At rest means that the event loop has nothing ready to run. What the runs had to say until then goes out in one write,
for each run in the order in which it was said, with `"rest"` on its last message.
"""

import os
import sys
import threading
import traceback

from .context import WorkflowContext
from .discovery import check_input, discovery
from .errors import WorkflowError
from .loading import Problem
from .runs import Run
from .wire import dumps, loads

# A handler that spins is never at rest; what it said must go out all the same
ROUNDS_MOST = 1000


class Host:
    def __init__(self, loop, registry):
        self.loop = loop
        self.registry = registry
        self.transport = None
        self.runs = {}
        self.said = []
        self.dirty = []
        # Runs with answers that came while they were busy with the one before
        self.waiting = {}
        self.settling = False
        self.rounds = 0
        self.ending = False
        # While files are read and imported, which may take its time
        self.loading = False
        # Deque of asyncio's loops: what is ready to run
        self.ready = getattr(loop, "_ready", None)
        self.takes = {
            "ctx.response": self._response,
            "workflow.start": self._start,
            "workflow.cancel": self._cancel,
            "host.lease": self._lease,
            "host.ping": lambda message: self.say(dumps({"type": "host.pong", "id": message.get("id")})),
            "workflow.discover": self._discover,
            "discover": self._discover,
            "workflow.input": lambda message: self.say(check_input(registry, message)),
        }

    def lines(self, lines):
        for line in lines:
            try:
                if line.strip():
                    self._take(line)
            except Exception as error:  # one bad message must not end the runs of the others
                self._report(f"{type(error).__name__}: {error}", traceback.format_exc())
        self._settle_soon()

    def end(self):
        """The input is over: what was read is answered as far as it goes, then the process ends."""
        self.ending = True
        self._settle_soon()

    def say(self, text):
        """A message that belongs to no run."""
        self.said.append(text + "\n")
        self._settle_soon()

    def queue(self, run, text):
        run.out.append(text)
        self.touch(run)

    def touch(self, run):
        if not run.dirty:
            run.dirty = True
            self.dirty.append(run)
            self._settle_soon()

    def forget(self, run):
        if self.runs.get(run.id) is run:
            del self.runs[run.id]

    def _take(self, line):
        try:
            message = loads(line)
        except ValueError as error:
            self._report(f"a line is not JSON: {error}")
            return
        take = self.takes.get(message.get("type")) if isinstance(message, dict) else None
        if take is None:
            kind = message.get("type") if isinstance(message, dict) else None
            self._report(f"there is no message {dumps(kind)[:200]}")
            return
        self.loading = True
        try:
            take(message)
        finally:
            self.loading = False

    def _discover(self, _message):
        self.say(discovery(self.registry))

    def _report(self, message, trace=None):
        self.say(dumps({"type": "host.error", "message": message, **({} if trace is None else {"traceback": trace})}))

    def _response(self, message):
        run = self.runs.get(message["run_id"])
        if run is None:
            return
        if run.dirty:
            # one at a time, and the next one at rest: in a replay they come like that
            run.inbox.append(message)
            self.waiting[run.id] = run
        else:
            run.answer(message)
            self.touch(run)

    def _start(self, message):
        earlier = self.runs.get(message["run_id"])
        if earlier is not None:
            self.waiting.pop(earlier.id, None)
            earlier.cancel("suspended")
        run = Run(self, message)
        self.runs[run.id] = run
        self.touch(run)
        try:
            workflow = self.registry.find(run.workflow_name)
        except Problem as problem:
            run.fail(WorkflowError(f"{problem.path}: {problem}", "WORKFLOW_NOT_LOADED"))
            return
        if workflow is None:
            run.fail(WorkflowError(f"no file holds a workflow {run.workflow_name}", "UNKNOWN_WORKFLOW"))
            return
        run.begin(workflow, WorkflowContext(run, workflow))

    def _cancel(self, message):
        run = self.runs.get(message["run_id"])
        if run is not None:
            self.waiting.pop(run.id, None)
            run.cancel(message.get("reason"))

    def _lease(self, message):
        for run in self.runs.values():
            run.lease_until = message.get("until")

    def _settle_soon(self):
        if not self.settling:
            self.settling = True
            self.rounds = 0
            self.loop.call_soon(self._settle)

    def _settle(self):
        self.rounds += 1
        if self.rounds < ROUNDS_MOST and (self.ready if self.ready is not None else self.rounds < 64):
            self.loop.call_soon(self._settle)
            return
        self.settling = False
        self._write()
        if self.waiting:
            self._next_answers()
        elif self.ending:
            self.transport.flush()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)

    def _next_answers(self):
        for run in list(self.waiting.values()):
            run.answer(run.inbox.pop(0))
            self.touch(run)
            if not run.inbox or run.silent:
                del self.waiting[run.id]

    def _write(self):
        said = self.said
        for run in self.dirty:
            if run.inner.owed and not run.silent:
                run.inner.make()
            run.dirty = False
            out = run.out
            if run.cancelled is not None:
                out.clear()
            elif out:
                last = out.pop()
                said += [text + "}\n" for text in out]
                said.append(f'{last},"rest":true,"taken":{run.taken}}}\n')
                out.clear()
            elif not run.silent:
                said.append(f'{{"type":"ctx.rest","run_id":{run.id_json},"rest":true,"taken":{run.taken}}}\n')
        self.dirty.clear()
        if said:
            self.transport.write("".join(said).encode("utf-8", "replace"))
            said.clear()


def quiet(loop, context):
    """A run that has left this host leaves its tasks unfinished: that is not worth a word."""
    if context.get("message", "").startswith("Task was destroyed"):
        return
    loop.default_exception_handler(context)


def end_when_blocked(reader, busy):
    """
    The end of the input ends the host even while a handler holds its thread: this one waits for the other side to go.

    `busy` tells of what may take its time, such as loading files.
    """
    import select
    import time

    def watch():
        poll = select.poll()
        poll.register(reader, getattr(select, "POLLRDHUP", 0))
        while not any(event & (select.POLLHUP | select.POLLERR | getattr(select, "POLLRDHUP", 0)) for _, event in poll.poll()):
            time.sleep(0.1)
        time.sleep(1)
        while busy():
            time.sleep(0.1)
        os._exit(0)

    threading.Thread(target=watch, daemon=True).start()
