"""A method's signature: as JSON Schema for those who call it, and from the arguments of a call to what it is given."""

import inspect
import re
import types
import typing

from centaur_host.coerce import Collected, InvalidInput, convert, expected, hints_of
from centaur_host.errors import NotJsonError
from centaur_host.wire import dumps, loads

PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array", type(None): "null"}
LISTS = ("list", "set", "frozenset", "tuple", "Sequence", "Iterable", "Collection", "MutableSequence", "Set")
DICTS = ("dict", "Mapping", "MutableMapping", "defaultdict", "OrderedDict")
FORMATS = {"datetime": "date-time", "date": "date", "time": "time", "UUID": "uuid"}
TEXTS = ("uuid", "decimal", "pathlib", "pathlib._local")
DEPTH_MOST = 8
SECTIONS = re.compile(r"^(?:Args|Arguments|Parameters|Params)\s*:\s*$", re.MULTILINE)
PARAMETER = re.compile(r"^\s+\*{0,2}(\w+)\s*(?:\([^)]*\))?\s*:\s*(.*)$")
FIELD = re.compile(r"^:param\s+(?:[^:]*?\s)?(\w+):\s*(.*)$", re.MULTILINE)


class Signature:
    """:raises ValueError, TypeError: where a function does not tell its signature"""

    def __init__(self, function, doc=None):
        signature = inspect.signature(function)
        hints = annotations_of(function)
        self.returns = hints.get("return", typing.Any)
        self.parameters = [each for each in signature.parameters.values() if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
        self.takes_more = any(each.kind is each.VAR_KEYWORD for each in signature.parameters.values())
        self.hints = {each.name: hints.get(each.name, typing.Any) for each in self.parameters}
        self.words = described(doc or "")

    def schema(self):
        properties, required = {}, []
        for each in self.parameters:
            told = schema_of(self.hints[each.name])
            if each.name in self.words and "description" not in told:
                told = {**told, "description": self.words[each.name]}
            if each.default is each.empty:
                required.append(each.name)
            elif each.default is not None:
                try:
                    told = {**told, "default": loads(dumps(each.default))}
                except NotJsonError:
                    pass
            properties[each.name] = told
        return {
            "type": "object",
            "properties": properties,
            **({"required": required} if required else {}),
            "additionalProperties": self.takes_more,
        }

    def output(self):
        """None where nothing is said, or nothing that would help."""
        told = schema_of(self.returns)
        return told if told.get("type") not in (None, "null") or "anyOf" in told else None

    def arguments(self, given):
        """Positional and named ones. :raises InvalidInput: naming each that does not fit"""
        found = Collected()
        positional, named = [], {}
        for each in self.parameters:
            hint = self.hints[each.name]
            if each.name in given:
                value = given[each.name]
                # `topic: str = None` is common, and means that it may be missing
                if not (value is None and each.default is None):
                    value = convert(hint, value, each.name, found)
            elif each.default is not each.empty:
                value = each.default
            else:
                found.issues.append((each.name, f"expected {expected(hint)}, it is missing"))
                continue
            if each.kind is each.POSITIONAL_ONLY:
                positional.append(value)
            elif each.name in given:
                named[each.name] = value
        more = {key: value for key, value in given.items() if key not in self.hints}
        if more and not self.takes_more:
            known = ", ".join(self.hints) or "none"
            found.issues += [(key, f"there is no such argument; there are {known}") for key in more]
        if found.issues:
            raise InvalidInput(found.issues)
        return positional, {**named, **more}


def annotations_of(function):
    target = inspect.unwrap(function)
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception:  # a name that only a type checker imports: that one is not told
        return {name: each for name, each in getattr(target, "__annotations__", {}).items() if not isinstance(each, str)}


def schema_of(hint, depth=0):
    """`{}` for what nothing can be said about: anything goes."""
    if depth > DEPTH_MOST or hint is typing.Any or hint is object:
        return {}
    if hint is None:
        return {"type": "null"}
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        told = schema_of(args[0], depth)
        words = next((each for each in args[1:] if isinstance(each, str)), None)
        return told if words is None else {**told, "description": words}
    if origin in (typing.Required, typing.NotRequired, typing.Final):
        return schema_of(args[0], depth)
    if origin is typing.Union or origin is types.UnionType:
        return {"anyOf": [schema_of(each, depth + 1) for each in args]}
    if origin is typing.Literal:
        return enumeration(args)
    if hasattr(hint, "__supertype__"):
        return schema_of(hint.__supertype__, depth)
    kind = origin or hint
    if not isinstance(kind, type):
        return {}
    return class_schema(kind, args, depth)


def class_schema(kind, args, depth):
    if hasattr(kind, "__dataclass_fields__"):
        return dataclass_schema(kind, depth)
    if hasattr(kind, "model_json_schema"):
        return kind.model_json_schema()
    if typing.is_typeddict(kind):
        hints = hints_of_dict(kind)
        return object_schema({name: schema_of(each, depth + 1) for name, each in hints.items()}, sorted(kind.__required_keys__))
    if hasattr(kind, "_value2member_map_"):
        return enumeration([each.value for each in kind])
    if kind.__name__ in DICTS:
        inner = schema_of(args[1], depth + 1) if len(args) == 2 else {}
        return {"type": "object", **({"additionalProperties": inner} if inner else {})}
    if kind.__name__ in LISTS:
        return list_schema(kind, args, depth)
    if kind in PLAIN:
        return {"type": PLAIN[kind]}
    if kind.__name__ in FORMATS:
        return {"type": "string", "format": FORMATS[kind.__name__]}
    if kind.__module__ in TEXTS:
        return {"type": "string"}
    return {"type": "number"} if kind.__name__ == "timedelta" else {}


def list_schema(kind, args, depth):
    if kind is tuple and args and args[-1] is not Ellipsis:
        items = [schema_of(each, depth + 1) for each in args]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    inner = schema_of(args[0], depth + 1) if args else {}
    return {"type": "array", **({"items": inner} if inner else {})}


def dataclass_schema(kind, depth):
    from dataclasses import MISSING

    hints = hints_of(kind)
    fields = [field for field in kind.__dataclass_fields__.values() if field.init and field._field_type.name == "_FIELD"]
    required = [field.name for field in fields if field.default is MISSING and field.default_factory is MISSING]
    return object_schema({field.name: schema_of(hints.get(field.name, typing.Any), depth + 1) for field in fields}, required)


def object_schema(properties, required):
    return {"type": "object", "properties": properties, **({"required": required} if required else {})}


def hints_of_dict(kind):
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except Exception:
        return dict.fromkeys(kind.__annotations__, typing.Any)


def enumeration(values):
    kinds = {PLAIN.get(type(each)) for each in values}
    told = {"enum": [each if type(each) in PLAIN else str(each) for each in values]}
    return {"type": kinds.pop(), **told} if len(kinds) == 1 and None not in kinds else told


def described(doc):
    """What a docstring says about parameters: after `Args:`, or as `:param name:`."""
    words = {name: " ".join(text.split()) for name, text in FIELD.findall(doc)}
    section = SECTIONS.search(doc)
    if section is None:
        return words
    indent, name = None, None
    for line in doc[section.end() :].split("\n")[1:]:
        if not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            break
        match = PARAMETER.match(line)
        if match and (indent is None or depth <= indent):
            indent, name = depth, match[1]
            words[name] = match[2].strip()
        elif name is not None:
            words[name] = f"{words[name]} {line.strip()}".strip()
    return words
