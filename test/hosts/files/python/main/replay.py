from datetime import timedelta

from helpers.choice import choose

WORKFLOW_NAME = "replay"


def millis(moment):
    return round(moment.timestamp() * 1000)


async def drawn(ctx):
    random, ids, times = [ctx.random()], [str(ctx.uuid())], [millis(ctx.now())]
    await ctx.step("one", lambda: 1)
    times.append(millis(ctx.now()))
    await ctx.sleep("nap", timedelta(hours=1))
    times.append(millis(ctx.now()))
    random.append(ctx.random())
    await ctx.step("two", lambda: 2)
    ids.append(str(ctx.uuid()))
    return {"random": random, "ids": ids, "times": times}


async def patched(ctx):
    await ctx.step("begin", lambda: 0)
    new = ctx.patched("p1")
    value = await ctx.step("new" if new else "old", lambda: "new" if new else "old")
    await ctx.step("end", lambda: 0)
    return [value, new]


async def unpatched(ctx):
    """The code before the patch."""
    await ctx.step("begin", lambda: 0)
    value = await ctx.step("old", lambda: "old")
    await ctx.step("end", lambda: 0)
    return [value, False]


CASES = {"drawn": drawn, "patched": patched, "unpatched": unpatched}


async def handler(inp, ctx):
    return await choose(CASES, inp, ctx)
