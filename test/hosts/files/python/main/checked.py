"""Its input is checked."""

from dataclasses import dataclass

WORKFLOW_NAME = "checked"


@dataclass
class Options:
    limit: int


@dataclass
class Input:
    channel: str
    options: Options


async def handler(inp: Input, ctx):
    return f"{inp.channel} {inp.options.limit}"
