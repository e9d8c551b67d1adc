"""What could happen twice: effects in the handler, and in what it calls in its file, that are not inside of a step.

A handler is run again from its beginning after a crash, a wait or a retry, over the stored outcomes of its calls on
`ctx`. So a function given to `ctx.step` is left out here, and everything else that runs is looked at.
"""

import ast
import builtins

from .calls import Function, context_names, parameters
from .effects import CLIENTS, ENVIRONMENT, Effect, effect_of
from .source import Source, functions_of

AGENT_ROUTES = ("/agent/spawn", "/agent/message", "/agent/execute")


def check_replay(source: Source) -> None:
    top = functions_of(source.tree.body)
    if "handler" in top:
        Walk(source, top, handler=True).function(top["handler"])
    load = Walk(source, top, handler=False)
    for node in source.tree.body:
        load.visit(node)
    check_agent_routes(source)


def check_agent_routes(source: Source) -> None:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and any(route in node.value for route in AGENT_ROUTES):
            source.report("warning", node, "talks to the agents' API by itself", "await ctx.agent_turn(prompt), which is a checkpoint")


class Walk(ast.NodeVisitor):
    def __init__(self, source: Source, functions: dict[str, Function], handler: bool):
        self.source = source
        self.functions = functions
        self.handler = handler
        self.contexts: set[str] = set()
        # what local names stand for: a client, the pool, a connection
        self.clients: dict[str, str] = {}
        self.seen: set[ast.AST] = set()

    def function(self, node: Function, contexts: frozenset[str] = frozenset()) -> None:
        """What runs when it is called. Its inner functions run when they are called in turn."""
        if node in self.seen:
            return
        self.seen.add(node)
        before = self.contexts, self.clients, self.functions
        self.contexts = (self.contexts - parameters(node)) | context_names(node) | contexts
        self.clients = {name: what for name, what in self.clients.items() if name not in parameters(node)}
        self.functions = {**self.functions, **functions_of([each for each in ast.walk(node) if each is not node])}
        for each in node.body:
            self.visit(each)
        self.contexts, self.clients, self.functions = before

    def visit_FunctionDef(self, node: Function) -> None:
        pass

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        pass

    def visit_If(self, node: ast.If) -> None:
        # what runs only as a program of its own is no part of the workflow
        if not self.handler and ast.unparse(node.test).startswith("__name__"):
            return
        self.generic_visit(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        # as a key or a default it runs here and now; as a step's function nobody gets this far
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        for target in node.targets:
            self.bind(target, node.value)
            if isinstance(target, ast.Subscript) and self.source.dotted(target.value) == "os.environ":
                self.found(target, "os.environ[…]", ENVIRONMENT)

    def visit_Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Subscript) and self.source.dotted(target.value) == "os.environ":
                self.found(target, "os.environ[…]", ENVIRONMENT)

    def visit_With(self, node: ast.With | ast.AsyncWith) -> None:
        for item in node.items:
            self.visit(item.context_expr)
            if item.optional_vars is not None:
                self.bind(item.optional_vars, item.context_expr)
        for each in node.body:
            self.visit(each)

    visit_AsyncWith = visit_With

    def bind(self, target: ast.expr, value: ast.expr) -> None:
        if not isinstance(target, ast.Name):
            return
        what = self.client_of(value.value if isinstance(value, ast.Await) else value)
        if what is None:
            self.clients.pop(target.id, None)
        else:
            self.clients[target.id] = what

    def client_of(self, value: ast.expr) -> str | None:
        """`httpx.Client()` of a call that makes one; `pool()` of the pool and of a connection from it."""
        if isinstance(value, ast.Attribute) and value.attr == "_pool" and self.is_ctx(value.value):
            return "pool()"
        if isinstance(value, ast.Name):
            return self.clients.get(value.id)
        if isinstance(value, ast.Call):
            name = self.name_of(value.func)
            if name in CLIENTS:
                return f"{name}()"
            if name is not None and name.endswith((".acquire", ".cursor", ".connect", ".transaction")) and "()." in name:
                return name.partition(".acquire")[0].partition(".cursor")[0]
        return None

    def name_of(self, node: ast.expr) -> str | None:
        """Dotted, from the import or the client at its beginning."""
        if isinstance(node, ast.Attribute):
            before = self.client_of(node.value) or self.name_of(node.value)
            return None if before is None else f"{before}.{node.attr}"
        if isinstance(node, ast.Name):
            known = node.id in self.source.names or hasattr(builtins, node.id)
            return self.source.dotted(node) if known else f"?{node.id}"
        if isinstance(node, ast.Call):
            made = self.client_of(node) or self.name_of(node.func)
            return made and (made if made.endswith("()") else f"{made}()")
        return None

    def is_ctx(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self.contexts or isinstance(node, ast.Attribute) and node.attr == "ctx"

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and node.func.attr == "step" and self.is_ctx(node.func.value):
            return self.step(node)
        self.effect(node.func, node)
        self.called(node.func, node)
        self.visit(node.func)
        for argument in [*node.args, *(each.value for each in node.keywords)]:
            # what is handed over, as to asyncio.to_thread or map, will be called
            if isinstance(argument, (ast.Name, ast.Attribute)):
                self.effect(argument, None)
                self.called(argument)
            self.visit(argument)

    def step(self, node: ast.Call) -> None:
        """Its function runs once. A call in its place runs before the step, unless it only makes a coroutine."""
        for index, argument in enumerate([*node.args, *(each.value for each in node.keywords)]):
            is_name = isinstance(argument, (ast.Name, ast.Attribute, ast.Lambda))
            if is_name or (index == 1 and isinstance(argument, ast.Call) and self.is_late(argument)):
                continue
            self.visit(argument)

    def is_late(self, call: ast.Call) -> bool:
        name = self.name_of(call.func)
        is_partial = name in ("functools.partial", "partial")
        return is_partial or isinstance(call.func, ast.Name) and isinstance(self.functions.get(call.func.id), ast.AsyncFunctionDef)

    def called(self, node: ast.expr, call: ast.Call | None = None) -> None:
        if not isinstance(node, ast.Name) or node.id not in self.functions:
            return
        function = self.functions[node.id]
        given = zip(function.args.args, call.args if call else [])
        self.function(function, frozenset(parameter.arg for parameter, value in given if self.is_ctx(value)))

    def effect(self, node: ast.expr, call: ast.Call | None) -> None:
        name = self.name_of(node)
        if name is None or isinstance(node, ast.Name) and node.id in self.functions:
            return
        effect = effect_of(name, call)
        if effect is not None:
            self.found(call or node, name, effect)

    def found(self, node: ast.AST, name: str, effect: Effect) -> None:
        shown = name.replace("pool()", "ctx._pool").replace("()", "(…)").lstrip("?")
        if self.handler:
            again = " outside of a step: a replay does it again" if effect.repeats else ""
            self.source.report(effect.level, node, f"{shown} {effect.what}{again}", effect.remedy)
        elif effect.repeats:
            self.source.report(effect.level, node, f"{shown} {effect.what} whenever the file is loaded", "move it into a step of the handler")
