"""A file as it is read: its tree, what its names stand for, and what has been found in it."""

import ast


class Source:
    def __init__(self, path: str, text: bytes):
        self.path = path
        self.tree = ast.parse(text, path)
        self.lines = text.split(b"\n")
        self.names = imported_names(self.tree)
        self.findings = []

    def place(self, node: ast.AST) -> dict:
        """From 1, and in characters: the parser counts bytes."""
        line = self.lines[node.lineno - 1] if node.lineno <= len(self.lines) else b""
        return {"line": node.lineno, "column": len(line[: node.col_offset].decode("utf-8", "replace")) + 1}

    def report(self, level: str, node: ast.AST, message: str, remedy: str | None = None) -> None:
        finding = {"level": level, **self.place(node), "message": message, "remedy": remedy}
        if finding not in self.findings:
            self.findings.append(finding)

    def dotted(self, node: ast.AST) -> str | None:
        """`r.get` is `requests.get` after `import requests as r`; None for what is no chain of names."""
        if isinstance(node, ast.Name):
            return self.names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            before = self.dotted(node.value)
            return None if before is None else f"{before}.{node.attr}"
        return None


def imported_names(tree: ast.AST) -> dict[str, str]:
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.split(".")[0]
                names[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return names


def assigned(tree: ast.Module, name: str) -> tuple[ast.AST, ast.expr] | None:
    """The statement at the top of the file that gives a name its value, and the value; of several, the last."""
    found = None
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(each, ast.Name) and each.id == name for each in node.targets):
            found = (node, node.value)
        elif isinstance(node, ast.AnnAssign) and node.value is not None and getattr(node.target, "id", None) == name:
            found = (node, node.value)
    return found


def functions_of(body: list[ast.stmt]) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    return {node.name: node for node in body if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}
