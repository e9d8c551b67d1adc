import os
import sys
from datetime import timedelta

from api.workflow_engine import ApprovalRefusedError, require_approved
from api.vm_metrics import workflow_counter
from helpers.choice import choose
from helpers.deep.words import greeting

WORKFLOW_NAME = "outside"


async def tool(ctx):
    return await ctx.call_tool("clock", "now", {"zone": "UTC"})


async def tool_fails(ctx):
    try:
        outcome = await ctx.call_tool("broken", "call", {})
    except Exception as error:
        outcome = {"code": error.code, "message": str(error)}
    return await ctx.step("after", lambda: outcome)


async def approval(ctx):
    question = {"gate": "finance", "tool": "bank.refund", "args": {"amount": 20}, "expires": timedelta(hours=2)}
    approved = require_approved(await ctx.approval("sign off", "Refund 20 EUR?", **question))
    return await ctx.step("refund", lambda: approved["amount"])


async def refused(ctx):
    answer = await ctx.approval("sign off", summary="All of it?", gate="never")
    try:
        return require_approved(answer)
    except ApprovalRefusedError as error:
        return {"code": error.code, "message": str(error)}


async def slack(ctx):
    posted = await ctx.post_to_slack("ops", "It begins.")
    updated = await ctx.update_slack({**posted, "text": "It ends."})
    return [posted["channel"], updated["channel"]]


async def slack_in_step(ctx):
    """As the guide to the migration writes it."""
    posted = await ctx.step("post_summary", lambda: ctx.post_to_slack("ops", "It is done."))
    after = await ctx.step("after", lambda: "after")
    return [posted["channel"], after]


async def log(ctx):
    ctx.log.info("begins", n=1)
    await ctx.step("one", lambda: 1)
    ctx.log.warning("goes on", n=2)
    await ctx.step("two", lambda: 2)
    ctx.log("ends")
    return "logged"


async def metric(ctx):
    workflow_counter("tests_begun", 1, {"of": "hosts"})
    await ctx.step("one", lambda: 1)
    workflow_counter("tests_going_on", 2)
    await ctx.step("two", lambda: 2)
    return "counted"


async def prints(ctx):
    def in_a_step():
        print("in a step")
        return 1

    print('{"type":"workflow.result","result":"not this"}')
    sys.stdout.write("half a line")
    os.write(1, b"past the library\n")
    await ctx.step("one", in_a_step)
    print(greeting("world"))
    return "printed"


CASES = {
    "tool": tool,
    "tool_fails": tool_fails,
    "approval": approval,
    "refused": refused,
    "slack": slack,
    "slack_in_step": slack_in_step,
    "log": log,
    "metric": metric,
    "prints": prints,
}


async def handler(inp, ctx):
    return await choose(CASES, inp, ctx)
