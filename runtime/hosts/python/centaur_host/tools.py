"""`ctx.tools.<tool>.<method>(**args)`: each call is `ctx.call_tool`."""


class Tools:
    durable = True

    def __init__(self, context):
        self._context = context

    def __getattr__(self, tool):
        if tool.startswith("_"):
            raise AttributeError(tool)
        return Tool(self._context, tool)


class Tool:
    def __init__(self, context, name):
        self._context = context
        self._name = name

    def __getattr__(self, method):
        if method.startswith("_"):
            raise AttributeError(method)
        context, tool = self._context, self._name

        async def call(args=None, **more):
            return await context.call_tool(tool, method, args, **more)

        return call
