"""It takes its name from the folder before."""

WORKFLOW_NAME = "steps"


async def handler(inp, ctx):
    return "from the later folder"
