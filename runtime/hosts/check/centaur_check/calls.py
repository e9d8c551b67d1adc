"""What is asked of `ctx`: methods and keywords that it does not have, and calls that are never awaited."""

import ast
import difflib

from .source import Source
from .surface import ATTRIBUTES, METHODS, NOT_AWAITED, OPEN, RENAMED

Function = ast.FunctionDef | ast.AsyncFunctionDef


def check_calls(source: Source) -> None:
    Visitor(source).visit(source.tree)


def context_names(function: Function | ast.Lambda) -> set[str]:
    """The parameters that are a workflow's context: annotated so, called `ctx`, or the handler's second."""
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    names = {each.arg for each in every if each.arg == "ctx" or is_context(each.annotation)}
    if getattr(function, "name", None) == "handler" and len(arguments.args) == 2:
        names.add(arguments.args[1].arg)
    return names


def is_context(annotation: ast.expr | None) -> bool:
    return annotation is not None and "WorkflowContext" in ast.unparse(annotation)


def parameters(function: Function | ast.Lambda) -> set[str]:
    arguments = function.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    return {each.arg for each in every if each is not None}


class Visitor(ast.NodeVisitor):
    def __init__(self, source: Source):
        self.source = source
        self.contexts: set[str] = set()
        self.is_async = False

    def visit_function(self, node: Function | ast.Lambda) -> None:
        before = self.contexts, self.is_async
        self.contexts = (self.contexts - parameters(node)) | context_names(node)
        self.is_async = isinstance(node, ast.AsyncFunctionDef)
        self.generic_visit(node)
        self.contexts, self.is_async = before

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = visit_function

    def method(self, node: ast.AST) -> str | None:
        """`step` of `ctx.step(…)`."""
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and self.is_ctx(node.func.value):
            return node.func.attr
        return None

    def is_ctx(self, node: ast.expr) -> bool:
        return isinstance(node, ast.Name) and node.id in self.contexts

    def visit_Attribute(self, node: ast.Attribute) -> None:
        if self.is_ctx(node.value) and isinstance(node.ctx, ast.Load) and node.attr not in METHODS and node.attr not in ATTRIBUTES:
            known = [*METHODS, *ATTRIBUTES]
            near = RENAMED.get(node.attr) or next(iter(difflib.get_close_matches(node.attr, known, 1)), None)
            remedy = f"did you mean ctx.{near}?" if near else f"ctx has {', '.join(METHODS)}"
            self.source.report("error", node, f"ctx.{node.attr} does not exist", remedy)
        self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        method = self.method(node.value)
        if self.is_async and method in METHODS and method not in NOT_AWAITED:
            self.source.report("error", node, f"ctx.{method}(…) is never awaited, so nothing happens", f"await ctx.{method}(…)")
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        method = self.method(node)
        if METHODS.get(method or "") is not None:
            self.check_keywords(method, node)
        if method == "step" and len(node.args) + len(node.keywords) < 2 and not any(isinstance(each, ast.Starred) for each in node.args):
            self.source.report("error", node, "ctx.step(name, fn) needs a function", 'await ctx.step("name", lambda: …)')
        self.generic_visit(node)

    def check_keywords(self, method: str, node: ast.Call) -> None:
        known = METHODS[method]
        for keyword in node.keywords:
            if keyword.arg is None or keyword.arg in known:
                continue
            near = difflib.get_close_matches(keyword.arg, known, 1)
            remedy = f"did you mean {near[0]}?" if near else f"it takes {', '.join(sorted(known)) or 'no arguments'}"
            if method in OPEN:
                self.source.report("warning", keyword, f"ctx.{method} does not know the argument {keyword.arg}", remedy)
            else:
                self.source.report("error", keyword, f"ctx.{method} has no argument {keyword.arg}", remedy)
