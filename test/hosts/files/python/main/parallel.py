import asyncio
from datetime import timedelta

from helpers.choice import choose
from helpers.effects import effect
from helpers.errors import Broken

WORKFLOW_NAME = "parallel"


def said(ctx, name):
    def say():
        effect(ctx, name)
        return name

    return ctx.step(name, say)


async def all_kinds(ctx):
    async def nap():
        await ctx.sleep("nap", timedelta(minutes=1))
        return "slept"

    async def turn():
        return (await ctx.agent_turn("Go.", name="turn"))["result_text"]

    done = await asyncio.gather(
        said(ctx, "a"),
        said(ctx, "b"),
        nap(),
        turn(),
        ctx.call_tool("clock", "now", {}),
        ctx.wait_for_event("ready", event_type="ready"),
    )
    return [*done, await said(ctx, "after")]


async def yields(ctx):
    """Each branch goes round the loop another number of times before its next call."""
    order = []

    async def branch(name, pauses):
        for turn in (1, 2):
            await ctx.wait_for_event(f"{name} wait {turn}", event_type=name)
            for _ in range(pauses * turn):
                await asyncio.sleep(0)
            order.append(f"{name}{turn}")
            await ctx.step(f"{name} step {turn}", lambda: len(order))

    await asyncio.gather(branch("x", 9), branch("y", 0), branch("z", 3))
    return order


async def one_fails(ctx):
    def fails():
        raise Broken("it is broken")

    bad = asyncio.ensure_future(ctx.step("bad", fails))
    good = asyncio.ensure_future(said(ctx, "good"))
    try:
        await bad
        caught = None
    except Exception as error:
        caught = str(error)
    kept = await good
    await said(ctx, "after")
    return {"caught": caught, "kept": kept}


async def left_alone(ctx):
    wait = asyncio.ensure_future(ctx.wait_for_event("ready", event_type="ready"))
    await asyncio.sleep(0)
    one = asyncio.ensure_future(said(ctx, "one"))
    await asyncio.sleep(0)
    wait.cancel()
    await one
    await said(ctx, "two")
    return "done"


async def nested(ctx):
    async def one(n):
        loaded = await ctx.step(f"load {n}", lambda: n * 5)
        return await ctx.step(f"double {n}", lambda: loaded * 2)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(n)) for n in (1, 2, 3)]
    return [task.result() for task in tasks]


CASES = {"all": all_kinds, "yields": yields, "one_fails": one_fails, "nested": nested, "left_alone": left_alone}


async def handler(inp, ctx):
    return await choose(CASES, inp, ctx)
