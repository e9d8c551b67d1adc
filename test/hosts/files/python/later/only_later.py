WORKFLOW_NAME = "only_later"


async def handler(inp, ctx):
    return "from the later folder"
