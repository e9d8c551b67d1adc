from helpers.choice import choose

WORKFLOW_NAME = "children"


async def start(ctx):
    child = await ctx.start_workflow("child", workflow_name="other", run_input={"n": 1})
    ended = await ctx.wait_for_workflow("child.end", run_id=child["run_id"])
    return ended["result"]


async def run(ctx):
    ended = await ctx.run_workflow("both", workflow_name="other", run_input={"n": 1})
    return ended["result"]


async def failed(ctx):
    ended = await ctx.run_workflow("fails", workflow_name="other", run_input={})
    return await ctx.step("after", lambda: ended["status"])


CASES = {"start": start, "run": run, "failed": failed}


async def handler(inp, ctx):
    return await choose(CASES, inp, ctx)
