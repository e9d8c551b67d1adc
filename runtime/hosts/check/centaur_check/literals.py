"""What an expression is worth, as plain JSON, as far as that can be told without running it."""

import ast

from .source import Source, assigned


class NotLiteral(Exception):
    def __init__(self, node: ast.AST):
        self.node = node


# the objects of api.webhooks, as the JSON that the server understands: the type, and the order of their fields
OBJECTS = {
    "api.webhooks.WebhookSpec": (None, ["slug", "provider", "auth", "trigger_key", "allowed_methods", "allowed_content_types"]),
    "api.webhooks.HmacAuth": ("hmac", ["secret_ref", "signature_header", "algorithm", "signature_prefix", "encoding", "timestamp_header", "tolerance_seconds"]),
    "api.webhooks.HmacAuth.github": ("github", ["secret_ref"]),
    "api.webhooks.BearerAuth": ("bearer", ["secret_ref", "header", "scheme"]),
    "api.webhooks.HeaderTriggerKey": ("header", ["header"]),
    "api.webhooks.StaticTriggerKey": ("static", ["value"]),
    "dict": (None, []),
}


def value_of(source: Source, node: ast.expr):
    """@raises NotLiteral naming the part that is not one"""
    match node:
        case ast.Constant(value=value) if value is None or isinstance(value, (str, bool, int, float)):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [value_of(source, item) for item in items]
        case ast.Dict():
            return dict_of(source, node)
        case ast.UnaryOp(op=ast.USub(), operand=operand) if isinstance(number := value_of(source, operand), (int, float)):
            return -number
        case ast.BinOp(left=left, right=right, op=op):
            return sum_of(node, value_of(source, left), op, value_of(source, right))
        case ast.JoinedStr(values=parts):
            return "".join(text_of(source, part) for part in parts)
        case ast.Name(id=name) if (found := assigned(source.tree, name)) is not None and found[1] is not node:
            return value_of(source, found[1])
        case ast.Call():
            return object_of(source, node)
    raise NotLiteral(node)


def dict_of(source: Source, node: ast.Dict) -> dict:
    result = {}
    for key, value in zip(node.keys, node.values):
        if key is None:
            result.update(value_of(source, value))
        else:
            result[value_of(source, key)] = value_of(source, value)
    return result


def sum_of(node: ast.BinOp, left, op: ast.operator, right):
    numbers = isinstance(left, (int, float)) and isinstance(right, (int, float))
    if isinstance(op, ast.Add) and (numbers or type(left) is type(right) and isinstance(left, (str, list))):
        return left + right
    if isinstance(op, ast.Mult) and numbers:
        return left * right
    raise NotLiteral(node)


def text_of(source: Source, part: ast.expr) -> str:
    if isinstance(part, ast.FormattedValue) and part.format_spec is None:
        return str(value_of(source, part.value))
    return str(value_of(source, part))


def object_of(source: Source, call: ast.Call):
    name = source.dotted(call.func) or ""
    if name == "datetime.timedelta":
        return seconds_of(source, call)
    known = OBJECTS.get(name)
    if known is None or len(call.args) > len(known[1]):
        raise NotLiteral(call)
    kind, fields = known
    result = {} if kind is None else {"type": kind}
    for name, argument in zip(fields, call.args):
        result[name] = value_of(source, argument)
    for keyword in call.keywords:
        value = value_of(source, keyword.value)
        result.update(value if keyword.arg is None else {keyword.arg: value})
    return result


SECONDS = {"seconds": 1, "minutes": 60, "hours": 3600, "days": 86_400, "weeks": 604_800}


def seconds_of(source: Source, call: ast.Call) -> int | float:
    if call.args or any(each.arg not in SECONDS for each in call.keywords):
        raise NotLiteral(call)
    return sum(value_of(source, each.value) * SECONDS[each.arg] for each in call.keywords)
