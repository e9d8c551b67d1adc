"""What a file says of its workflow: name, handler, input, webhooks, schedules, and its use of the database."""

import ast
import os
import re

from .imports import has_own, is_installed
from .literals import NotLiteral, value_of
from .source import Source, assigned, functions_of

NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
# the file is one as a whole: what it lacks is said at its beginning
WHOLE = ast.Constant(None, lineno=1, col_offset=0)


def check_metadata(source: Source, named: bool, paths: list[str]) -> dict | None:
    """What the file declares; None when it is no workflow file. `named`: its author says that it is one."""
    name = check_name(source, named)
    if name is None:
        return None
    check_handler(source)
    check_input(source)
    check_pool(source, paths)
    return {
        "name": name,
        "webhooks": declared(source, "WEBHOOKS"),
        "schedule": check_schedule(source),
    }


def check_name(source: Source, named: bool) -> str | None:
    found = assigned(source.tree, "WORKFLOW_NAME")
    if found is None and is_prompt(source):
        return os.path.splitext(os.path.basename(source.path))[0]
    if found is None:
        handler = functions_of(source.tree.body).get("handler")
        remedy = 'WORKFLOW_NAME = "my_workflow" at the top of the file'
        if named:
            source.report("error", WHOLE, "WORKFLOW_NAME is missing, so this is no workflow", remedy)
        elif handler is not None:
            source.report("warning", handler, "there is a handler and no WORKFLOW_NAME, so the file is taken for a helper", remedy)
        return None
    value = found[1]
    if not isinstance(value, ast.Constant) or not isinstance(value.value, str):
        remedy = "the host finds workflows without running their files: write the name as a plain text"
        source.report("error", value, "WORKFLOW_NAME is not a literal", remedy)
        return None
    if NAME.fullmatch(value.value) is None:
        source.report("error", value, f"WORKFLOW_NAME {value.value!r} is not 1 to 128 letters, digits, _, - or .", None)
        return None
    return value.value


def is_prompt(source: Source) -> bool:
    """A prompt and a channel make a workflow by themselves, named like the file."""
    return all(assigned(source.tree, name) is not None for name in ("PROMPT", "SLACK_CHANNEL"))


def check_handler(source: Source) -> None:
    handler = functions_of(source.tree.body).get("handler")
    remedy = "async def handler(inp, ctx: WorkflowContext)"
    if handler is None:
        if not is_prompt(source) and assigned(source.tree, "handler") is None and "handler" not in source.names:
            source.report("error", WHOLE, "handler is missing", remedy)
        return
    arguments = handler.args
    positional = [*arguments.posonlyargs, *arguments.args]
    required = len(positional) - len(arguments.defaults)
    needed = [each.arg for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults) if default is None]
    if required > 2 or needed:
        got = ", ".join([each.arg for each in positional] + needed)
        source.report("error", handler, f"handler is called with the input and ctx, and takes {got}", remedy)
    elif len(positional) == 2 and is_first_context(positional):
        source.report("error", handler, "the order of the handler's parameters is input, ctx", remedy)
    if any(isinstance(node, (ast.Yield, ast.YieldFrom)) for node in own_nodes(handler)):
        source.report("error", handler, "handler is a generator: it has a yield in it", "return one value")


def is_first_context(positional: list[ast.arg]) -> bool:
    annotated = ["WorkflowContext" in ast.unparse(each.annotation) if each.annotation else False for each in positional]
    return annotated[0] or (positional[0].arg == "ctx" and not annotated[1])


def own_nodes(function: ast.AST):
    """All nodes but those of inner functions."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield node
            yield from own_nodes(node)


def check_input(source: Source) -> None:
    for node in source.tree.body:
        # one with a base may be a model of pydantic, which the host takes too
        if isinstance(node, ast.ClassDef) and node.name == "Input" and not node.bases:
            decorators = [source.dotted(each.func if isinstance(each, ast.Call) else each) or "" for each in node.decorator_list]
            if not any(name.endswith("dataclass") for name in decorators):
                source.report("warning", node, "Input is no dataclass: the handler gets the input as a plain dict", "@dataclass above it")


def check_pool(source: Source, paths: list[str]) -> None:
    used = next((node for node in ast.walk(source.tree) if isinstance(node, ast.Attribute) and node.attr == "_pool"), None)
    if used is None:
        return
    remedy = "set it for workflows that own their tables; in new ones prefer ctx.call_tool"
    source.report("note", used, "ctx._pool needs DATABASE_URL where workflows run", remedy)
    if not is_installed("asyncpg") and not any(has_own("asyncpg", path) for path in paths):
        source.report("error", used, "ctx._pool needs the package asyncpg, which is not installed", "pip install asyncpg")


def check_schedule(source: Source) -> dict | None:
    """`SCHEDULE`, else the first generation's `CRON`, else its `INTERVAL`, the way the host reads them."""
    found = [key for key in ("SCHEDULE", "CRON", "INTERVAL") if assigned(source.tree, key) is not None]
    for key in found[1:]:
        node, _ = assigned(source.tree, key)
        source.report("warning", node, f"{key} is ignored beside {found[0]}", "write both as a list in SCHEDULE")
    if not found:
        return None
    schedule = declared(source, found[0])
    if found[0] != "SCHEDULE" and schedule.get("value") is not None:
        value = schedule["value"]
        zone = declared(source, "TIMEZONE") or {}
        written = {"type": "cron", "cron": value} if found[0] == "CRON" else {"type": "interval", "seconds": value}
        schedule["value"] = {**written, **({"timezone": zone["value"]} if zone.get("value") and found[0] == "CRON" else {})}
    return schedule


def declared(source: Source, key: str) -> dict | None:
    """The value as JSON, with its place and those of its items; without `value` when only running the file would tell it."""
    found = assigned(source.tree, key)
    if found is None:
        return None
    node, expression = found
    place = {"key": key, **source.place(node)}
    items = expression.elts if isinstance(expression, (ast.List, ast.Tuple)) else [expression]
    try:
        value = value_of(source, expression)
    except NotLiteral as error:
        at = error.node if hasattr(error.node, "lineno") else node
        source.report("note", at, f"{key} is worked out when the file runs, so it is checked when a worker loads it", None)
        return place
    return {**place, "value": value, "items": [source.place(item) for item in items]}
