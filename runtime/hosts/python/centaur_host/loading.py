"""
From a file to its module.

Each folder of workflows is a package under a name of its own, so that relative imports of two folders do not meet, and
is on the search path with its parent, so that `import helper` and `from workflows.helper import x` work as well.
"""

import importlib
import os
import re
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

from .errors import DefinitionError

ASSIGNS_NAME = re.compile(r"""^[ \t]*WORKFLOW_NAME\b[^=\n]*=(?!=)[ \t]*(?:(['"])(?P<name>[\w.-]+)\1[ \t]*(?:#.*)?$)?""", re.MULTILINE)


ASSIGNS_PROMPT = re.compile(r"^PROMPT\b[^=\n]*=", re.MULTILINE)
ASSIGNS_CHANNEL = re.compile(r"^SLACK_CHANNEL\b[^=\n]*=", re.MULTILINE)


class Problem(Exception):
    """A file that cannot be served, and where to look."""

    def __init__(self, path, message, line=None, column=None, field=None):
        super().__init__(message)
        self.path = path
        self.entry = {"source_path": path, "message": message}
        for key, value in (("line", line), ("column", column), ("field", field)):
            if value is not None:
                self.entry[key] = value


class Source:
    """A file as it is on the disk. `declares` says whether it holds a workflow, `name` which one, where that can be read off."""

    def __init__(self, path, folder):
        self.path = path
        self.folder = folder
        with open(path, "rb") as file:
            self.code = file.read()
        text = self.code.decode("utf-8", "replace")
        match = ASSIGNS_NAME.search(text)
        # a prompt and a channel are a workflow of the first generation, called after its file
        prompt = match is None and ASSIGNS_PROMPT.search(text) is not None and ASSIGNS_CHANNEL.search(text) is not None
        self.declares = match is not None or prompt
        self.name = match["name"] if match else os.path.basename(path)[: -len(".py")] if prompt else None

    def line_of(self, field):
        """The line on which a module-level name is defined."""
        pattern = rb"^(?:async[ \t]+def|def|class)?[ \t]*%s\b" % re.escape(field.encode())
        match = re.search(pattern, self.code, re.MULTILINE)
        return None if match is None else self.code.count(b"\n", 0, match.start()) + 1

    def problem(self, field, message):
        line = self.line_of(field.split("[")[0].split(".")[0])
        return Problem(self.path, message, line=line, column=None if line is None else 1, field=field)


def prepare_imports(folders):
    """A later folder shadows an earlier one, and none the package `api` that comes with the host."""
    importlib.import_module("api")
    for folder in folders:
        for place in (os.path.dirname(folder), folder):
            if place in sys.path:
                sys.path.remove(place)
            sys.path.insert(0, place)


def load(source):
    """:raises Problem: saying where in the file"""
    name = module_name(source)
    module = ModuleType(name)
    module.__file__ = source.path
    module.__package__ = name.rpartition(".")[0]
    module.__spec__ = ModuleSpec(name, None, origin=source.path)
    sys.modules[name] = module
    try:
        code = compile(source.code, source.path, "exec", dont_inherit=True)
        exec(code, module.__dict__)
    except BaseException as error:
        sys.modules.pop(name, None)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise located(source.path, error) from error
    return module


def module_name(source):
    """`centaur_workflows.<folder>.<path with dots>`, with its packages in place."""
    relative = os.path.relpath(source.path, source.folder) if source.folder else os.path.basename(source.path)
    root = source.folder or os.path.dirname(source.path)
    parts = relative[: -len(".py")].split(os.sep)
    package = as_package("centaur_workflows", [])
    package = as_package(f"{package}.{as_identifier(root)}", [root])
    for at, part in enumerate(parts[:-1]):
        package = as_package(f"{package}.{part}", [os.path.join(root, *parts[: at + 1])])
    return f"{package}.{parts[-1]}"


def as_package(name, places):
    if name not in sys.modules:
        package = ModuleType(name)
        package.__path__ = places
        package.__package__ = name
        package.__spec__ = ModuleSpec(name, None, is_package=True)
        package.__spec__.submodule_search_locations = places
        sys.modules[name] = package
    return name


def as_identifier(path):
    return re.sub(r"\W", "_", path)


def located(path, error):
    """What went wrong while a file was loaded, as a problem of that file with the line in it."""
    if isinstance(error, DefinitionError):
        return Problem(path, str(error), field=error.field)
    if isinstance(error, SyntaxError):
        message = f"SyntaxError: {error.msg}"
        if error.filename == path:
            return Problem(path, message, line=error.lineno, column=error.offset)
        message = f"{message} ({error.filename}:{error.lineno})"
    else:
        message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    line, trace = None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == path:
            line = trace.tb_lineno
        trace = trace.tb_next
    return Problem(path, message, line=line)
