"""From a folder to its tool: `pyproject.toml` says what it is called and may use, `_client()` of its module what it can do."""

import inspect
import os
import re
import sys
import tomllib

from centaur_host.errors import NotJsonError
from centaur_host.loading import Problem, Source, as_package, load
from centaur_host.wire import dumps, loads

from .schema import Signature

READS = re.compile(r"(?:get|list|search|read|find|fetch|query|describe|count)_|health")
# Of the original, by the names that the vault has for them
KINDS = {"aws_auth": "aws_sigv4", "hmac_sign": "hmac"}
METHOD_FIELDS = ("risk", "description", "idempotent", "timeout", "timeout_s")


class Tool:
    """A loaded tool. `declared` is told in discovery; `methods` has what a call needs."""

    def __init__(self, manifest, module, source, path):
        centaur = table(manifest, ("tool", "centaur"), path)
        project = table(manifest, ("project",), path)
        client = client_of(module, source)
        self.methods = {name: Method(name, function, source) for name, function in methods_of(client)}
        if not self.methods:
            raise source.problem("_client", f"what _client() returns has no public methods; it is a {type(client).__name__}")
        given = table(centaur, ("methods",), path)
        for name in given:
            if name not in self.methods:
                raise Problem(path, f"tool.centaur.methods.{name}: there is no such method; there are {', '.join(self.methods)}")
        self.guessed_risks = []
        declared = {
            "description": project.get("description") or first_paragraph(module.__doc__) or first_paragraph(type(client).__doc__) or "",
            "secrets": [secret_of(each) for each in centaur.get("secrets") or []],
            "optional_secrets": [secret_of(each) for each in centaur.get("optional_secrets") or []],
            "hosts": centaur.get("hosts") or [],
            "methods": {name: self._method(method, table(given, (name,), path)) for name, method in self.methods.items()},
        }
        for field in ("name", "timeout", "timeout_s", "concurrency"):
            if centaur.get(field) is not None:
                declared[field] = centaur[field]
        try:
            self.declared = loads(dumps(declared, "the tool"))
        except NotJsonError as error:
            raise Problem(path, str(error)) from None
        concurrency = declared.get("concurrency")
        self.concurrency = concurrency if isinstance(concurrency, int) else 16

    def _method(self, method, given):
        risk = given.get("risk") or method.risk
        if risk is None:
            risk = "read" if READS.match(method.name) else "write"
            self.guessed_risks.append(method.name)
        told = {
            "description": method.description,
            "input": method.signature.schema(),
            **{field: given[field] for field in METHOD_FIELDS if field in given},
            "risk": risk,
        }
        output = method.signature.output()
        return told if output is None else {**told, "output": output}


class Method:
    def __init__(self, name, function, source):
        self.name = name
        self.function = function
        self.is_async = inspect.iscoroutinefunction(inspect.unwrap(function))
        self.risk = getattr(function, "__centaur_risk__", None)
        doc = inspect.getdoc(function)
        self.description = first_paragraph(doc) or name.replace("_", " ")
        try:
            self.signature = Signature(function, doc)
        except (TypeError, ValueError) as error:
            raise source.problem(name, f"{name}: its signature cannot be read: {error}") from None


def prepare(root):
    """Once in a process: what tools of a root share can be imported by name, and the root itself as `tools`."""
    import centaur_sdk  # noqa: F401  before any folder could have a module of that name

    sys.path.insert(0, root)
    as_package("tools", [root])


def load_tool(root, file):
    """
    :param file: its `pyproject.toml`, relative to the root
    :raises Problem: saying where in its files
    """
    path = os.path.join(root, file)
    folder = os.path.dirname(path)
    try:
        with open(path, "rb") as opened:
            manifest = tomllib.load(opened)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise Problem(path, f"it is no TOML: {error}", line=int(line[1]) if line else None) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Problem(path, f"it cannot be read: {error}") from None
    given = table(manifest, ("tool", "centaur"), path).get("module") or "client.py"
    name = given if isinstance(given, str) else ""
    module_path = os.path.normpath(os.path.join(folder, name if name.endswith(".py") else name.replace(".", "/") + ".py"))
    if not module_path.startswith(folder + os.sep) or not os.path.isfile(module_path):
        raise Problem(path, f"tool.centaur.module: there is no file {given!r:.200} in the tool's folder")
    # what stands beside it, and in its category, can be imported by name
    for place in (os.path.dirname(folder), folder):
        sys.path.insert(0, place)
    try:
        source = Source(module_path, folder)
        return Tool(manifest, load(source), source, path)
    except OSError as error:
        raise Problem(module_path, f"it cannot be read: {error}") from None
    except Problem as problem:
        raise installable(problem) from problem.__cause__


def installable(problem):
    """A module that nobody has installed: which, and where to."""
    cause = problem.__cause__
    if not isinstance(cause, ModuleNotFoundError) or not cause.name:
        return problem
    missing = cause.name.split(".")[0]
    if missing in sys.modules or missing in ("tools", "centaur_workflows"):
        return problem
    message = f"the module {missing} is not installed: install it into the Python of tools with {sys.executable} -m pip install {missing}"
    return Problem(problem.path, message, line=problem.entry.get("line"))


def client_of(module, source):
    make = getattr(module, "_client", None)
    if not callable(make):
        raise source.problem("_client", "_client is missing: a tool needs `def _client(): return …`, whose public methods are the tool's")
    try:
        return make()
    except Exception as error:
        if isinstance(error, ModuleNotFoundError):
            raise Problem(source.path, f"{type(error).__name__}: {error}", line=source.line_of("_client")) from error
        raise source.problem("_client", f"_client() failed: {type(error).__name__}: {error}") from error


def methods_of(client):
    """In the order in which they are written, the client's own before those that it inherits."""
    kinds = type(client).__mro__[:-1]
    names = dict.fromkeys(name for kind in kinds for name in vars(kind))
    if inspect.ismodule(client):
        names = dict.fromkeys(name for name, each in vars(client).items() if getattr(each, "__module__", None) == client.__name__)
    for name in [*names, *(each for each in getattr(client, "__dict__", ()) if each not in names)]:
        if name.startswith("_") or isinstance(inspect.getattr_static(client, name, None), property):
            continue
        value = getattr(client, name, None)
        if inspect.isroutine(value) or inspect.ismethod(value):
            yield name, value


def secret_of(given):
    return {**given, "type": KINDS.get(given["type"], given["type"])} if isinstance(given, dict) and isinstance(given.get("type"), str) else given


def table(value, names, path):
    for at, name in enumerate(names):
        value = value.get(name, {})
        if not isinstance(value, dict):
            raise Problem(path, f"{'.'.join(names[: at + 1])}: expected a table")
    return value


def first_paragraph(doc):
    if not doc:
        return ""
    return " ".join(inspect.cleandoc(doc).split("\n\n")[0].split())
