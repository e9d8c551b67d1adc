WORKFLOW_NAME = "investigate"


async def handler(inp, ctx):
    result = await ctx.agent_turn(
        "Investigate this alert and return the next action.",
        thread_key=f"workflow:{ctx.run_id}:agent",
        harness="codex",
        metadata={"workflow": WORKFLOW_NAME},
    )
    return result["result_text"]
