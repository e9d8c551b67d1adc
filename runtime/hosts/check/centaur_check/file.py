"""One file, from top to bottom: does it parse, what does it declare, can it be imported, what does it ask of `ctx`, and
what of it could happen twice. Modules of one's own that it imports are looked at for their imports only."""

import os

from .calls import check_calls
from .imports import check_imports
from .metadata import check_metadata
from .replay import check_replay
from .source import Source


def check_files(files: list[dict], paths: list[str]) -> list[dict]:
    given = {os.path.realpath(each["path"]) for each in files}
    results = []
    helpers: list[tuple[str, list[str]]] = []
    for each in files:
        roots = list(dict.fromkeys([each["root"], os.path.dirname(each["root"]), *paths]))
        result, own = check_file(each["path"], each["named"], roots)
        results.append(result)
        helpers += [(path, roots) for path in own]
    while helpers:
        path, roots = helpers.pop()
        if os.path.realpath(path) not in given:
            given.add(os.path.realpath(path))
            result, own = check_file(path, False, roots)
            results.append(result)
            helpers += [(each, roots) for each in own]
    return results


def check_file(path: str, named: bool, paths: list[str]) -> tuple[dict, list[str]]:
    result = {"path": path, "workflow": None, "findings": []}
    try:
        with open(path, "rb") as file:
            source = Source(path, file.read())
    except OSError as error:
        result["findings"].append({"level": "error", "message": f"cannot be read: {error.strerror}", "remedy": None})
        return result, []
    except (SyntaxError, ValueError) as error:
        place = {"line": getattr(error, "lineno", None) or 1, "column": getattr(error, "offset", None) or 1}
        message = f"{type(error).__name__}: {getattr(error, 'msg', error)}"
        result["findings"].append({"level": "error", **place, "message": message, "remedy": None})
        return result, []
    result["workflow"] = check_metadata(source, named, paths)
    own = check_imports(source, paths)
    if result["workflow"] is not None:
        check_calls(source)
        check_replay(source)
    result["findings"] = source.findings
    return result, own
