"""
`ctx.step`: a function that is run once, and whose result is checkpointed.

Where the worker would only say "go on", it is not asked: a function that returns at once makes one message. A function
that takes its time makes two, and asks with the first, so that what the handler calls meanwhile keeps its place.
"""

import asyncio
from contextvars import copy_context

from .delegates import delegates
from .durations import milliseconds
from .errors import StepError, describe
from .inner import INSIDE, Scope
from .retries import retry_of
from .runs import LENT_NAME, is_awaitable
from .wire import dumps, lenient, round_trip

AGAIN = object()


async def run_step(run, name, function, retry, timeout, kind):
    began = None
    if is_awaitable(function):
        if retry is not None:
            raise TypeError(f'step "{name}": an awaitable runs only once; with retry, give the function that makes it')
        began = Pending(function)
    elif delegates(function):
        return await run_delegate(run, name, function)
    elif retry is None and timeout is None and run.may_assume():
        began = call_inside(Scope(name), function)
        if not isinstance(began, Pending):
            return await tell(run, f',"step":{dumps(name)}', name, began)
    question = f',"step":{dumps(name)}'
    if kind is not None:
        question += f',"step_kind":{dumps(kind)}'
    if retry is not None:
        question += f',"retry":{dumps(retry_of(retry))}'
    if timeout is not None:
        question += f',"timeout_ms":{milliseconds(timeout, "timeout")}'
    try:
        asked = run.call("ctx.step.get", question, step=name)
        request_id, scope = str(run.requests), Scope(name, run.seq - 1)
        answer = await asked
    except BaseException:
        discard(began)
        raise
    if answer.get("done") is True:
        discard(began)
        return answer.get("value")
    return await run_attempts(run, scope, function, began, answer, request_id)


async def run_attempts(run, scope, function, began, answer, request_id):
    """Attempts until one succeeds or the worker has had enough; it waits in between, and says when the next one is due."""
    name = scope.name
    target = f',"checkpoint_name":{dumps(answer.get("checkpoint_name", name))}'
    while True:
        scope.again()
        outcome = call_inside(scope, function) if began is None else began
        began = None
        if isinstance(outcome, Pending):
            outcome = await finish_inside(run, scope, outcome.awaitable, request_id)
        if isinstance(outcome, Interrupted):
            if outcome.error is None:
                continue
            raise outcome.error
        run.inner.end_of(scope)
        told = await tell(run, target, name, outcome)
        if told is not AGAIN:
            return told


async def tell(run, target, name, outcome):
    """Gives the worker what came of an attempt. The step's value; AGAIN when the next attempt is due. :raises StepError:"""
    error = outcome.error if isinstance(outcome, Raised) else None
    if error is None:
        try:
            text, value = round_trip(outcome, f'step "{name}"')
        except Exception as problem:  # a value without JSON fails the step like an exception in it
            error = problem
            error.non_retryable = True
    counts = target.startswith(',"step"')
    if error is None:
        await run.call("ctx.step.put", f'{target},"value":{text},"echo":false', counts)
        return value
    try:
        answer = await run.call("ctx.step.fail", f'{target},"error":{lenient(describe(error))}', counts)
    except StepError as failure:
        raise failure from error
    return AGAIN if answer and answer.get("retry") else None


async def run_delegate(run, name, function):
    """The call takes the step's name, if it has none of its own."""
    lent = [name]
    LENT_NAME.set(lent)
    try:
        result = function()
        if is_awaitable(result):
            result = await result
    finally:
        lent.clear()
    return round_trip(result, f'step "{name}"')[1]


def call_inside(scope, function):
    """Calls a step's function: its value, what it raised, or an awaitable that is still to be run."""
    token = INSIDE.set(scope)
    try:
        value = function()
    except Exception as error:  # told to the worker, which decides
        return Raised(error)
    finally:
        INSIDE.reset(token)
    return Pending(value) if is_awaitable(value) else value


async def finish_inside(run, scope, awaitable, request_id):
    """
    Runs an awaitable to its end in a task of its own. The worker may say more about the step meanwhile, as an answer to
    the question that it began with: its time is over. Then the task is cancelled.
    """
    context = copy_context()
    context.run(INSIDE.set, scope)
    task = run.host.loop.create_task(as_coroutine(awaitable), context=context)
    word = run.open[request_id] = run.host.loop.create_future()
    task.add_done_callback(lambda _: word.done() or word.set_result(None))
    try:
        said = await word
    except asyncio.CancelledError:
        task.cancel()
        raise
    except Exception as error:  # the step failed, or the run was cancelled
        task.cancel()
        return Interrupted(error)
    finally:
        run.open.pop(request_id, None)
    if said is not None:
        task.cancel()
        return Interrupted(None)
    if task.cancelled():
        return Raised(asyncio.CancelledError("the function of the step was cancelled"))
    error = task.exception()
    return task.result() if error is None else Raised(error)


async def as_coroutine(awaitable):
    return await awaitable


def discard(began):
    """Closes what was made and will not be run, so that nobody is warned of it."""
    if isinstance(began, Pending) and hasattr(began.awaitable, "close"):
        began.awaitable.close()


class Pending:
    __slots__ = ("awaitable",)

    def __init__(self, awaitable):
        self.awaitable = awaitable


class Raised:
    __slots__ = ("error",)

    def __init__(self, error):
        self.error = error


class Interrupted:
    """The worker ended an attempt; without an error the next one begins."""

    __slots__ = ("error",)

    def __init__(self, error):
        self.error = error
