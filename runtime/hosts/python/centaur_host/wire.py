"""
JSON as it goes over the wire.

What a step returns is read back from its own JSON, in the way in which the worker would: the first run must not see a
tuple, a datetime or 1.0 where a replay sees a list, a text or 1.
"""

import json
import json.encoder

from .errors import NotJsonError

LINE_MOST = 16 * 1024 * 1024
# Beside the value of a message there is its envelope
VALUE_MOST = LINE_MOST - 64 * 1024
SAFE_INTEGER = 2**53 - 1
# Whose values are written as text. The UUIDs of asyncpg are of its own kind
TEXTS = frozenset(("datetime", "uuid", "decimal", "pathlib", "pathlib._local", "zoneinfo", "ipaddress"))


def plain(value):
    """What JSON has no word for but a common one is used: dataclasses, times, UUIDs, decimals, enums, mappings."""
    kind = type(value)
    if hasattr(kind, "__dataclass_fields__"):
        fields = kind.__dataclass_fields__
        return {name: getattr(value, name) for name in fields if fields[name]._field_type.name == "_FIELD"}
    if TEXTS.intersection(base.__module__ for base in kind.__mro__) or kind.__name__ == "UUID":
        return value.isoformat() if hasattr(value, "isoformat") else str(value)
    if hasattr(kind, "_value2member_map_"):
        return value.value
    if hasattr(kind, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(kind, "keys") and hasattr(kind, "items"):
        return dict(value.items())
    raise TypeError(f"{kind.__name__} has no JSON")



# The encoder of one shot, made once: json.dumps would make it anew for each message
if json.encoder.c_make_encoder is not None:
    _make = json.encoder.c_make_encoder
    _unicode = _make(None, plain, json.encoder.encode_basestring, None, ":", ",", False, False, False)

    def _encode(value):
        return "".join(_unicode(value, 0))

else:
    _encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=plain).encode

loads = json.loads
quote = json.encoder.encode_basestring


def dumps(value, what="value"):
    """:raises NotJsonError: naming the path of what JSON cannot hold"""
    kind = type(value)
    if kind is str:
        return quote(value)
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise NotJsonError(f"{what}: {_blame(value, error)}") from None


def round_trip(value, what):
    """The JSON of a value, and the value as a replay will see it."""
    text = dumps(value, what)
    if too_long(text):
        problem = f"{len(text)} characters of JSON are too many for a message; store it elsewhere and return a reference"
        raise NotJsonError(f"{what}: {problem}", "TOO_LARGE")
    if not text.isascii():
        _check_unicode(text, what)
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return text, value
    try:
        return text, _read_back(text)
    except _TooLong as error:
        raise NotJsonError(f"{what}: the whole number {error} is beyond 2^53, where JSON loses digits: return it as text") from None


def too_long(text):
    """For one message, in bytes: of which a character has one to four."""
    return len(text) > VALUE_MOST or (len(text) * 4 > VALUE_MOST and len(text.encode("utf-8", "replace")) > VALUE_MOST)


def _check_unicode(text, what):
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NotJsonError(f"{what}: half of a surrogate pair is no text") from None


class _TooLong(ValueError):
    pass


def _whole(digits):
    number = int(digits)
    if -SAFE_INTEGER <= number <= SAFE_INTEGER:
        return number
    raise _TooLong(digits)


def _fraction(digits):
    number = float(digits)
    return int(number) if number.is_integer() and -1e21 < number < 1e21 else number


_read_back = json.JSONDecoder(parse_int=_whole, parse_float=_fraction).decode


def lenient(value):
    """For logs: what has no JSON becomes text."""
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(_texts(value, 0))


def _texts(value, depth):
    if isinstance(value, dict) and depth < 8:
        return {str(key): _texts(each, depth + 1) for key, each in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)) and depth < 8:
        return [_texts(each, depth + 1) for each in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)


def _blame(value, error):
    found = _find(value, "$", 0)
    return f"{found[0]} is {found[1]}, which JSON cannot hold" if found else str(error)


def _find(value, path, depth):
    """The first part of a value that JSON cannot hold: its path, and what it is."""
    if value is None or isinstance(value, (bool, int, str)):
        return None
    if depth > 200:
        return path, "nested too deeply, or refers to itself"
    if isinstance(value, float):
        return None if value - value == 0 else (path, str(value))
    if isinstance(value, dict):
        for key, each in value.items():
            if not (key is None or isinstance(key, (bool, int, float, str))):
                return f"{path}.{key}", f"under a key that is a {type(key).__name__}"
            found = _find(each, f"{path}.{key}", depth + 1)
            if found:
                return found
        return None
    if isinstance(value, (list, tuple)):
        for at, each in enumerate(value):
            found = _find(each, f"{path}[{at}]", depth + 1)
            if found:
                return found
        return None
    try:
        inner = plain(value)
    except Exception:  # whatever a foreign class does here, it is not JSON
        article = "an" if type(value).__name__[:1].lower() in "aeio" else "a"
        return path, f"{article} {type(value).__name__}"
    return _find(inner, path, depth + 1)
