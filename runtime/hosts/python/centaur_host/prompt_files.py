"""Files that only say what an agent shall do: a `PROMPT`, and the Slack channel that its answer is owed to."""


def prompt_handler(prompt, channel):
    async def handler(inp, ctx):
        given = inp if isinstance(inp, dict) else {}
        delivery = given.get("delivery")
        if delivery is None and isinstance(channel, str) and channel:
            delivery = {"platform": "slack", "channel": channel}
        return await ctx.agent_turn(prompt, delivery=delivery, metadata=given.get("metadata"))

    return handler
