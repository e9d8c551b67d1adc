"""
Calls inside a step's function that does other work as well: post it, then tell the tool.

A replay finds the step done and does not run its function, so the calls in it would be missing in their places. Hence each of
them is marked by a patch in front of it, `inside:{number of the step}:{n}:{kind}:{name}`, and one that says `done` when the
function has ended, in front of the step's own outcome. The marks are known when a run starts again: where a function was
done, the host makes its calls in their places by itself, and their outcomes, which are in the history, go nowhere. Where it
was not done, it runs again and makes them itself.
"""

from contextvars import ContextVar

from .errors import WorkflowError
from .wire import dumps

# The scope of the step whose function the current code belongs to
INSIDE = ContextVar("centaur_step", default=None)
MARK = "inside:"
# Of a call that is answered from the history, the worker looks at its kind and its name alone
PLACEHOLDER = (
    ',"tool":"-","method":"-","channel":"-","text":"-","args":{"text":"-"},"duration_seconds":0,"wake_at":"1970-01-01T00:00:00Z",'
    '"event_type":"-","workflow_name":"-","input":null,"child_run_id":"-","agent":{"execution_id":"-","thread_key":"-","run_id":"-"},'
    '"message":{"channel":"-","ts":"-","text":"-"}'
)


class Scope:
    """A step whose function runs. `seq` is the number of its checkpoint; None where it has not been asked for."""

    __slots__ = ("count", "fresh", "name", "open", "seq")

    def __init__(self, name, seq=None):
        self.name = name
        self.seq = seq
        self.count = 0
        # Whether a call was made since the last mark of the end
        self.fresh = False
        self.open = seq is not None

    def again(self):
        """Another attempt makes the same calls."""
        self.count = 0
        self.open = True


class InnerCalls:
    """Of one run. `run` sends, and counts what it sends."""

    def __init__(self, run):
        self.run = run
        # What a replay makes by itself, by its number among the checkpoints
        self.owed = calls_owed(run.patches)
        # What was made, by the number of its step and its place in it
        self.made = {}

    def call(self, scope, kind, fields, step):
        if not scope.open:
            raise too_late(kind, scope.name)
        scope.count += 1
        if step is None:
            step = f"{scope.name}.{scope.count}"
            fields += f',"step":{dumps(step)}'
        place = (scope.seq, scope.count)
        earlier = self.made.get(place)
        # an attempt before this one, or the host in a replay, has made this call: it is not made twice
        if earlier is not None and earlier[0] == kind and not has_failed(earlier[1]):
            return earlier[1]
        scope.fresh = True
        self.run.patched(f"{MARK}{scope.seq}:{scope.count}:{kind}:{step}")
        future = self.run.send(kind, fields, True)
        # a step in it whose function did not end runs again in the next attempt
        if kind != "ctx.step.get":
            self.made[place] = (kind, future)
        return future

    def end_of(self, scope):
        """In front of the outcome of a step with calls in it."""
        scope.open = False
        if scope.fresh:
            scope.fresh = False
            self.run.patched(f"{MARK}{scope.seq}:done")

    def make(self):
        """What the functions that were done have called, as soon as their place has come."""
        while self.owed and self.run.seq in self.owed:
            call = self.owed.pop(self.run.seq)
            self.run.seq += 1
            if call is None:
                continue
            place, kind, step = call
            future = self.run.send(kind, f',"step":{dumps(step)}{PLACEHOLDER}', True)
            # nobody may be waiting for it: then its failure is no news
            future.add_done_callback(has_failed)
            self.made[place] = (kind, future)


def calls_owed(patches):
    """What stands at each number: the place, kind and name of a call, or None for the mark of an end."""
    marks = {seq: patch_id[len(MARK) :].split(":", 3) for seq, patch_id in patches.items() if patch_id.startswith(MARK)}
    ends = {parts[0]: seq for seq, parts in sorted(marks.items()) if parts[1] == "done"}
    owed = {}
    for seq, parts in marks.items():
        # what an attempt after the last end has called may have no outcome yet: that attempt will call it again
        if seq <= ends.get(parts[0], -1):
            owed[seq] = None if parts[1] == "done" else ((int(parts[0]), int(parts[1])), parts[2], parts[3])
    return owed


def has_failed(future):
    return future.done() and not future.cancelled() and future.exception() is not None


def too_late(kind, step):
    return WorkflowError(
        f'the function of step "{step}" has returned, and something that it began calls {kind}: a replay would not. Wait for it in the '
        "function, or make it beside the step",
        "NESTED_CALL",
    )
