import asyncio
from datetime import timedelta

from api.workflow_engine import NonRetryableError, RetryPolicy, StepError, WorkflowContext
from helpers.choice import choose
from helpers.effects import effect
from helpers.errors import Broken

WORKFLOW_NAME = "steps"

tries = {}


async def sequence(ctx):
    values = []

    def do(name):
        effect(ctx, name)
        return {"next": len(values) + 1}

    for name in ("one", "two", "three"):
        value = await ctx.step(name, lambda: do(name))
        values.append(value["next"])
    return values


async def waiting(ctx):
    async def slowly(name, value):
        await asyncio.sleep(0.002)
        effect(ctx, name)
        return value

    first = await ctx.step("first", lambda: slowly("first", "a"))
    return [first, await ctx.step("second", lambda: slowly("second", "b"))]


async def twice(ctx):
    def same(value):
        effect(ctx, f"same {value}")
        return value

    return [await ctx.step("same", lambda: same(1)), await ctx.step("same", lambda: same(2))]


async def retry(ctx):
    def flaky():
        tried = tries.get(ctx.run_id, 0)
        tries[ctx.run_id] = tried + 1
        if tried < 2:
            raise RuntimeError("not yet")
        effect(ctx, "flaky")
        return "third time lucky"

    value = await ctx.step("flaky", flaky, retry=RetryPolicy(limit=7, delay=timedelta(seconds=10)))
    await ctx.step("after", lambda: effect(ctx, "after"))
    return value


def fails():
    raise Broken("it is broken")


async def exhausted(ctx):
    def instead():
        effect(ctx, "instead")
        return "instead"

    try:
        await ctx.step("broken", fails, retry=RetryPolicy(limit=1, delay=timedelta(seconds=1)))
    except StepError as error:
        name, step, attempts, cause, message = type(error).__name__, error.step_name, error.attempts, error.cause_name, str(error)
    then = await ctx.step("instead", instead)
    return {"name": name, "step": step, "attempts": attempts, "cause": cause, "message": message, "then": then}


async def non_retryable(ctx):
    def hopeless():
        raise NonRetryableError("no use")

    try:
        await ctx.step("hopeless", hopeless, retry=RetryPolicy(limit=4))
    except StepError as error:
        return {"attempts": error.attempts, "cause": error.cause_name}


async def slow(ctx):
    async def slowly():
        await asyncio.sleep(0.06)
        effect(ctx, "slow")
        return "slow"

    def quick():
        effect(ctx, "quick")
        return "quick"

    async def nap():
        await ctx.sleep("nap", timedelta(hours=1))
        return "slept"

    done = await asyncio.gather(ctx.step("slow", slowly), ctx.step("quick", quick), nap())
    await ctx.step("after", lambda: effect(ctx, "after"))
    return list(done)


async def round_trip(ctx):
    value = await ctx.step("odd", lambda: {"pair": (1, 2)})
    await ctx.step("after", lambda: None)
    return {"plain": isinstance(value["pair"], list)}


async def not_json(ctx):
    try:
        await ctx.step("odd", lambda: {"deep": [object()]})
        outcome = "taken"
    except Exception:
        outcome = "refused"
    await ctx.step("after", lambda: effect(ctx, "after"))
    return outcome


async def nothing(ctx):
    return {"nothing": await ctx.step("nothing", lambda: None) is None}


async def timeout(ctx):
    async def endless():
        await asyncio.sleep(30)

    try:
        await ctx.step("endless", endless, timeout=timedelta(milliseconds=40))
        code = None
    except StepError as error:
        code = error.code
    await ctx.step("after", lambda: effect(ctx, "after"))
    return {"code": code}


async def overdue(ctx):
    """Its first attempt does not listen, and ends while the second is at work."""
    second_began = asyncio.Event()
    first_ended = asyncio.Event()
    attempts = []

    async def attempt():
        attempts.append(1)
        if len(attempts) > 1:
            second_began.set()
            await first_ended.wait()
            await asyncio.sleep(0.02)
            return "second"
        while not second_began.is_set():
            try:
                await second_began.wait()
            except asyncio.CancelledError:
                pass
        first_ended.set()
        return "first"

    return await ctx.step("overdue", attempt, timeout=2, retry=RetryPolicy(limit=1))


CASES = {
    "sequence": sequence,
    "waiting": waiting,
    "twice": twice,
    "retry": retry,
    "exhausted": exhausted,
    "non_retryable": non_retryable,
    "slow": slow,
    "round_trip": round_trip,
    "not_json": not_json,
    "nothing": nothing,
    "timeout": timeout,
    "overdue": overdue,
}


async def handler(inp, ctx: WorkflowContext):
    return await choose(CASES, inp, ctx)
