"""Imports: what the old API package had and this one has not, and what is not installed where the workflows will run."""

import ast
import difflib
import importlib.util
import os
import sys

from .source import Source
from .surface import API, INSTEAD, PREFIXES

# where the package on the index is called something else
PACKAGES = {
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "dotenv": "python-dotenv",
    "github": "PyGithub",
    "jwt": "PyJWT",
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "yaml": "PyYAML",
}


def check_imports(source: Source, paths: list[str]) -> list[str]:
    """Reports what cannot be imported; gives back the modules of one's own that are, to be looked at as well."""
    own = []
    for node in needed_imports(source.tree.body):
        if isinstance(node, ast.Import):
            for alias in node.names:
                own += check_module(source, node, alias.name, None, paths)
        elif node.level == 0:
            for alias in node.names:
                own += check_module(source, node, node.module or "", alias, paths)
        else:
            own += check_relative(source, node)
    return own


def needed_imports(body: list[ast.stmt]):
    """All but those that the file can do without: for type checkers only, or with an answer to ImportError."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If) and isinstance(node.test, (ast.Name, ast.Attribute)) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from needed_imports(node.orelse)
        elif isinstance(node, ast.Try) and any(catches_import_error(each) for each in node.handlers):
            yield from needed_imports([*node.orelse, *node.finalbody])
        else:
            for field in ("body", "orelse", "finalbody", "handlers", "cases"):
                yield from needed_imports(getattr(node, field, []))


def catches_import_error(handler: ast.ExceptHandler) -> bool:
    caught = "Exception" if handler.type is None else ast.unparse(handler.type)
    return any(name in caught for name in ("ImportError", "ModuleNotFoundError", "Exception"))


def check_module(source: Source, node: ast.stmt, module: str, alias: ast.alias | None, paths: list[str]) -> list[str]:
    top, *rest = module.split(".")
    if top == "api":
        check_api(source, alias or node, rest, alias)
        return []
    if top in sys.stdlib_module_names:
        return []
    found = find_own(module, alias, paths)
    if found is not None:
        return found
    if any(has_own(top, path) for path in paths):
        remedy = "an import names the file with its folders, as seen from the workflow folder or the one above it"
        source.report("error", node, f"there is no module {module}", remedy)
    elif is_installed(top):
        pass
    elif has_own(top, os.path.dirname(source.path)):
        remedy = f"from .{module} import …, or name it with its folders"
        source.report("error", node, f"{module} is beside this file, and not where modules are looked for: in the workflow folder", remedy)
    else:
        python = "Python " + ".".join(map(str, sys.version_info[:3]))
        remedy = f"install it where workflows run: pip install {PACKAGES.get(top, top)}"
        source.report("error", node, f"the package {top} is not installed in {python} ({sys.executable})", remedy)
    return []


def check_api(source: Source, node: ast.AST, rest: list[str], alias: ast.alias | None) -> None:
    if not rest and alias is None:
        return
    name = ".".join(rest) or alias.name
    if name not in API:
        remedy = next((instead for word, instead in INSTEAD if word in name.lower()), None)
        move = "move what you need of it into the workflow file, or into a module beside it"
        source.report("error", node, f"api.{name} is not supported", f"{remedy}, or {move}" if remedy else move)
        return
    wanted = alias.name if rest and alias else None
    names = API[name]
    if wanted in (None, "*") or wanted in names or wanted.startswith(PREFIXES.get(name, ())):
        return
    near = difflib.get_close_matches(wanted, names, 1)
    remedy = f"did you mean {near[0]}?" if near else f"it has {', '.join(sorted(names))}"
    source.report("error", node, f"api.{name} has no {wanted}", remedy)


def check_relative(source: Source, node: ast.ImportFrom) -> list[str]:
    folder = source.path
    for _ in range(node.level):
        folder = os.path.dirname(folder)
    own = []
    for alias in node.names:
        module = node.module or alias.name
        found = find_own(module, alias if node.module else None, [folder])
        if found is None:
            source.report("error", node, f"there is no module {module} in {folder}", "import it by its name from the workflow folder")
        own += found or []
    return own


def find_own(module: str, alias: ast.alias | None, folders: list[str]) -> list[str] | None:
    """The files of a module of one's own; none for a folder without code. None when there is no such module."""
    parts = module.split(".")
    for folder in folders:
        base = os.path.join(folder, *parts)
        if os.path.isfile(base + ".py"):
            return [base + ".py"]
        if os.path.isdir(base) and base not in ("", os.sep) and has_own(parts[0], folder):
            inner = os.path.join(base, alias.name + ".py") if alias else ""
            return [each for each in (os.path.join(base, "__init__.py"), inner) if os.path.isfile(each)]
    return None


def has_own(top: str, folder: str) -> bool:
    base = os.path.join(folder, top)
    if os.path.isfile(base + ".py") or os.path.isfile(os.path.join(base, "__init__.py")):
        return True
    # a folder without code in it is no package, whatever its name
    return os.path.isdir(base) and any(name.endswith(".py") for _, _, files in os.walk(base) for name in files)


def is_installed(top: str) -> bool:
    try:
        return importlib.util.find_spec(top) is not None
    except (ImportError, ValueError):
        return False
