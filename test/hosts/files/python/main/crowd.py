"""As many steps as are asked for: one after the other, or at once."""

import asyncio

WORKFLOW_NAME = "crowd"


async def handler(inp, ctx):
    def step():
        return ctx.step("count", lambda: "x" * inp.get("size", 1))

    if inp.get("at_once"):
        return sum(len(value) for value in await asyncio.gather(*[step() for _ in range(inp["steps"])]))
    total = 0
    for _ in range(inp["steps"]):
        total += len(await step())
    return total
