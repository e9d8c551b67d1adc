import asyncio

from api.workflow_engine import NonRetryableError
from helpers.choice import choose
from helpers.errors import Broken

WORKFLOW_NAME = "ends"


def fails():
    raise Broken("it is broken")


async def nothing(ctx):
    return None


async def round_trip(ctx):
    return ("1970-01-01", (1, 2))


async def not_json(ctx):
    await ctx.step("one", lambda: 1)
    return {"deep": [object()]}


async def throws(ctx):
    await ctx.step("one", lambda: 1)
    fails()


async def non_retryable(ctx):
    raise NonRetryableError("no use")


async def step_fails(ctx):
    return await ctx.step("broken", fails)


async def raised_from(ctx):
    await ctx.step("one", lambda: 1)
    try:
        await ctx.step("broken", fails)
    except Exception as error:
        raise RuntimeError("so this is, too") from error


async def stray(ctx):
    asyncio.ensure_future(ctx.step("stray", fails))
    await ctx.step("one", lambda: 1)
    return "done"


async def about(ctx):
    """Tells what it was given."""
    return {"attempt": ctx.attempt, "name": ctx.workflow_name, "id": ctx.run_id}


CASES = {
    "nothing": nothing,
    "round_trip": round_trip,
    "not_json": not_json,
    "throws": throws,
    "non_retryable": non_retryable,
    "step_fails": step_fails,
    "raised_from": raised_from,
    "stray": stray,
    "about": about,
}


async def handler(inp, ctx):
    return await choose(CASES, inp, ctx)
