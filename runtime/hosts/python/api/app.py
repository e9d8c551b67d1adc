"""`get_tool_manager()`: the tools, for code that has no `ctx` at hand."""

from typing import Any

from centaur_host.errors import WorkflowError
from centaur_host.runs import CURRENT
from centaur_host.tools import Tool


class ToolManager:
    """Calls tools as `ctx.call_tool` of the run that the calling code belongs to."""

    durable = True

    async def call_tool(self, tool: str, method: str, args: dict[str, Any] | None = None, **more: Any) -> Any:
        return await current().call_tool(tool, method, args, **more)

    call_tool_raw = call_tool

    def __getattr__(self, tool: str) -> Any:
        if tool.startswith("_"):
            raise AttributeError(tool)
        return Tool(current(), tool)


def current() -> Any:
    context = CURRENT.get()
    if context is None:
        raise WorkflowError("tools can be called only from a workflow's run", "NO_RUN")
    return context


def get_tool_manager() -> ToolManager:
    return ToolManager()
