"""
From a run's input to the workflow's `Input`. What does not fit is an issue with the path of its field; a key that `Input`
does not have is a warning. Nothing is dropped without a word, and nothing is guessed.
"""

import sys
import types
import typing

MISSING = object()
BARE = {str: "a string", bool: "true or false", int: "a whole number", float: "a number", dict: "an object", list: "a list"}


class InvalidInput(Exception):
    """`issues` is a list of (path, message)."""

    code = "INVALID_INPUT"
    non_retryable = True

    def __init__(self, issues):
        self.issues = [{"path": path, "message": message} for path, message in issues]
        super().__init__("; ".join(f"{join('input', path)}: {message}" for path, message in issues))


class Collected:
    """What was found on the way: a whole input is looked at before any of it is refused."""

    def __init__(self):
        self.issues = []
        self.warnings = []


def coerce_input(input_class, value):
    """The handler's input and the warnings. :raises InvalidInput:"""
    value = {} if value is None else value
    if input_class is None:
        return value, []
    found = Collected()
    if hasattr(input_class, "model_validate"):
        return by_model(input_class, value), []
    result = dataclass_of(input_class, value, "", found)
    if found.issues:
        raise InvalidInput(found.issues)
    return result, found.warnings


def by_model(model, value):
    """A class that checks by itself, as pydantic's do."""
    try:
        return model.model_validate(value)
    except ValueError as error:
        each = error.errors() if hasattr(error, "errors") else [{"loc": (), "msg": str(error)}]
        raise InvalidInput([(".".join(map(str, one["loc"])), one["msg"]) for one in each]) from error


def dataclass_of(kind, value, path, found):
    if not isinstance(value, dict):
        return refuse(found, path, f"expected an object, got {shown(value)}")
    issues_before = len(found.issues)
    hints = hints_of(kind)
    fields = {name: field for name, field in kind.__dataclass_fields__.items() if field.init and is_field(field)}
    given = {}
    for name, field in fields.items():
        inner = join(path, name)
        hint = hints.get(name, typing.Any)
        if name not in value:
            if is_required(field):
                refuse(found, inner, f"expected {expected(hint)}, it is missing")
            continue
        each = value[name]
        # `topic: str = None` is common, and means that it may be missing
        given[name] = each if each is None and field.default is None else convert(hint, each, inner, found)
    unknown = [key for key in value if key not in fields]
    if unknown:
        known = ", ".join(fields) or "no fields"
        found.warnings += [f"{join('input', join(path, key))}: {kind.__name__} has no such field; it has {known}" for key in unknown]
    if len(found.issues) > issues_before:
        return MISSING
    try:
        return kind(**given)
    except Exception as error:  # what __post_init__ refuses is refused here
        return refuse(found, path, f"{error}" or type(error).__name__)


def is_field(field):
    return field._field_type.name != "_FIELD_CLASSVAR"


def is_required(field):
    from dataclasses import MISSING as NONE

    return field.default is NONE and field.default_factory is NONE


def hints_of(kind):
    """Types of the fields, with annotations that are text resolved where that is possible."""
    try:
        return typing.get_type_hints(kind)
    except Exception:  # a name that only a type checker imports: that one field is not checked
        pass
    names = {**vars(typing), **vars(sys.modules.get(kind.__module__, typing))}
    hints = {}
    for name, field in kind.__dataclass_fields__.items():
        try:
            hints[name] = eval(field.type, names) if isinstance(field.type, str) else field.type
        except Exception:
            hints[name] = typing.Any
    return hints


def convert(hint, value, path, found):
    if hint is typing.Any or hint is object or isinstance(hint, (str, typing.TypeVar, typing.ForwardRef)):
        return value
    if hint is None or hint is type(None):
        return None if value is None else refuse(found, path, f"expected null, got {shown(value)}")
    origin = typing.get_origin(hint)
    if origin is not None:
        return convert_generic(hint, origin, typing.get_args(hint), value, path, found)
    if hasattr(hint, "__supertype__"):
        return convert(hint.__supertype__, value, path, found)
    if not isinstance(hint, type):
        return value
    return convert_class(hint, value, path, found)


def convert_class(kind, value, path, found):
    if hasattr(kind, "__dataclass_fields__"):
        return dataclass_of(kind, value, path, found)
    if hasattr(kind, "model_validate"):
        return attempt(lambda: by_model(kind, value), kind, value, path, found)
    if kind is bool or kind is str or kind is list or typing.is_typeddict(kind) or kind is dict:
        wanted = dict if typing.is_typeddict(kind) else kind
        return value if isinstance(value, wanted) else refuse(found, path, f"expected {BARE[wanted]}, got {shown(value)}")
    if kind is int or kind is float:
        return number(kind, value, path, found)
    if kind in (tuple, set, frozenset):
        return kind(value) if isinstance(value, list) else refuse(found, path, f"expected a list, got {shown(value)}")
    if hasattr(kind, "_value2member_map_"):
        return attempt(lambda: kind(value), kind, value, path, found, one_of([each.value for each in kind]))
    if hasattr(kind, "fromisoformat"):
        return attempt(lambda: kind.fromisoformat(value), kind, value, path, found, f"a {kind.__name__} as ISO 8601 text")
    if kind.__module__ in ("uuid", "decimal", "pathlib", "pathlib._local"):
        return attempt(lambda: kind(value if isinstance(value, str) else str(value)), kind, value, path, found)
    if kind.__name__ == "timedelta":
        return attempt(lambda: kind(seconds=value), kind, value, path, found, "a number of seconds")
    return value


def number(kind, value, path, found):
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return refuse(found, path, f"expected {BARE[kind]}, got {shown(value)}")
    if kind is float:
        return float(value)
    return int(value) if value == int(value) else refuse(found, path, f"expected a whole number, got {value}")


def attempt(make, kind, value, path, found, words=None):
    try:
        return make()
    except InvalidInput as error:
        for issue in error.issues:
            found.issues.append((join(path, issue["path"]), issue["message"]))
        return MISSING
    except Exception:  # decimal and others have their own kinds of refusal
        return refuse(found, path, f"expected {words or expected(kind)}, got {shown(value)}")


def convert_generic(hint, origin, args, value, path, found):
    if origin is typing.Union or origin is types.UnionType:
        return convert_union(hint, args, value, path, found)
    if origin is typing.Literal:
        if any(value == each and isinstance(value, bool) == isinstance(each, bool) for each in args):
            return value
        return refuse(found, path, f"expected {one_of(args)}, got {shown(value)}")
    if origin in (typing.Annotated, typing.Final, typing.Required, typing.NotRequired) or "InitVar" in str(origin):
        return convert(args[0], value, path, found)
    if not isinstance(origin, type):
        return value
    if origin is tuple or issubclass(origin, (list, set, frozenset)) or origin.__name__ in ("Sequence", "Iterable", "Collection"):
        return convert_list(origin, args, value, path, found)
    if issubclass(origin, dict) or origin.__name__ in ("Mapping", "MutableMapping"):
        if not isinstance(value, dict):
            return refuse(found, path, f"expected an object, got {shown(value)}")
        inner = args[1] if len(args) == 2 else typing.Any
        keys = args[0] if len(args) == 2 else str
        return {key_of(keys, key): convert(inner, each, join(path, key), found) for key, each in value.items()}
    return convert_class(origin, value, path, found)


def key_of(kind, key):
    """JSON has keys of text alone."""
    return int(key) if kind is int and key.lstrip("-").isdigit() else key


def convert_list(origin, args, value, path, found):
    if not isinstance(value, list):
        return refuse(found, path, f"expected a list, got {shown(value)}")
    if origin is tuple and args and args[-1] is not Ellipsis:
        if len(value) != len(args):
            return refuse(found, path, f"expected a list of {len(args)}, got one of {len(value)}")
        kinds = args
    else:
        kinds = [args[0] if args else typing.Any] * len(value)
    items = [convert(kind, each, f"{path}[{at}]", found) for at, (kind, each) in enumerate(zip(kinds, value, strict=True))]
    if origin not in (tuple, set, frozenset):
        return items
    return attempt(lambda: origin(items), origin, value, path, found, "a list of plain values")


def convert_union(hint, args, value, path, found):
    """The first alternative that fits; where one alone can be meant, its own issues are told."""
    tried = []
    for each in sorted(args, key=lambda kind: not exact(kind, value)):
        alone = Collected()
        result = convert(each, value, path, alone)
        if not alone.issues:
            found.warnings += alone.warnings
            return result
        tried.append((each, alone))
    meant = [alone for each, alone in tried if may_mean(each, value)]
    if len(meant) == 1:
        found.issues += meant[0].issues
        return MISSING
    return refuse(found, path, f"expected {expected(hint)}, got {shown(value)}")


def may_mean(kind, value):
    """Whether a list or an object can be meant for this alternative, whatever is wrong in it."""
    origin = typing.get_origin(kind) or kind
    if isinstance(value, dict):
        return hasattr(origin, "__dataclass_fields__") or (isinstance(origin, type) and issubclass(origin, dict))
    return isinstance(value, list) and isinstance(origin, type) and issubclass(origin, (list, tuple, set, frozenset))


def exact(kind, value):
    return kind is type(value) or (kind is type(None) and value is None)


def refuse(found, path, message):
    found.issues.append((path, message))
    return MISSING


def join(path, key):
    return f"{path}.{key}" if path and key else path or key


def expected(hint):
    """A type in words."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or origin is types.UnionType:
        return " or ".join(dict.fromkeys(expected(each) for each in args))
    if origin is typing.Literal:
        return one_of(args)
    kind = origin or hint
    if kind is type(None):
        return "null"
    if kind in (list, tuple, set, frozenset):
        return "a list"
    if kind in BARE:
        return BARE[kind]
    if hasattr(kind, "__dataclass_fields__"):
        return "an object"
    if hasattr(kind, "_value2member_map_"):
        return one_of([each.value for each in kind])
    if hasattr(kind, "fromisoformat"):
        return f"a {kind.__name__} as ISO 8601 text"
    return "a value" if kind is typing.Any or not isinstance(kind, type) else f"a {kind.__name__}"


def one_of(values):
    from .wire import lenient

    texts = [lenient(each) for each in values]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def shown(value):
    """What was given, without its contents: an input may hold what nobody shall read in a log."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return BARE.get(type(value), f"a {type(value).__name__}")
