from helpers.choice import choose

WORKFLOW_NAME = "agents"


async def turn(ctx):
    result = await ctx.agent_turn("What now?", thread_key="crew", metadata={"of": "a test"})
    return result["result_text"]


async def start(ctx):
    agent = await ctx.start_agent("writer", text="Write.")
    meanwhile = await ctx.step("meanwhile", lambda: "meanwhile")
    ended = await ctx.wait_for_agent("writer.end", agent)
    return [ended["result_text"], meanwhile]


async def run(ctx):
    return (await ctx.run_agent("summary", text="Sum it up."))["result_text"]


async def twice(ctx):
    first = await ctx.agent_turn("One.")
    second = await ctx.agent_turn("Two.")
    return [first["result_text"], second["result_text"]]


async def many(ctx):
    ended = await ctx.run_agents([{"name": name, "text": f"You are {name}."} for name in "abc"], max_concurrency=2)
    texts = [result["result_text"] for result in ended["results"]]
    return {"texts": texts, "succeeded": ended["succeeded"], "failed": ended["failed"]}


CASES = {"turn": turn, "start": start, "run": run, "twice": twice, "many": many}


async def handler(inp, ctx):
    return await choose(CASES, inp, ctx)
