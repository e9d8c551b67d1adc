"""What tools are, told while they are loaded: one that ends the process takes no answer along but its own."""

import os
import sys

from centaur_host.loading import Problem
from centaur_host.wire import dumps, loads

from .manifest import load_tool, prepare

def answer_questions(reader, writer, root):
    os.environ["CENTAUR_ASKING"] = "1"
    prepare(root)

    def say(message):
        data = (dumps(message) + "\n").encode("utf-8", "replace")
        while data:
            data = data[os.write(writer, data) :]

    for line in lines_of(reader):
        try:
            message = loads(line)
        except ValueError as error:
            say({"type": "host.error", "message": f"a line is not JSON: {error}"})
            continue
        kind = message.get("type") if isinstance(message, dict) else None
        if kind == "host.ping":
            say({"type": "host.pong", "id": message.get("id")})
        elif kind == "tool.discover":
            discover(message, root, say)
        else:
            say({"type": "host.error", "message": f"there is no message {dumps(kind)[:200]}"})
    os._exit(0)


def discover(message, root, say):
    answer = {"type": "tool.discovery", "run_id": message.get("run_id"), "protocol": 1, "tools": [], "problems": [], "done": False}
    for asked in message.get("files") or []:
        path, modules = list(sys.path), set(sys.modules)
        # told before the next one is loaded, which may end this process
        try:
            say({**answer, "tools": [tell(load_tool(root, asked), asked)]})
        except Problem as problem:
            say({**answer, "problems": [{"asked": asked, **problem.entry}]})
        finally:
            forget(os.path.dirname(os.path.join(root, asked)), path, modules)
    say({**answer, "done": True})


def tell(tool, asked):
    return {"source_path": asked, "language": "python", "declared": tool.declared, "guessed_risks": tool.guessed_risks}


def forget(folder, path, modules):
    """The next tool may have a module of the same name."""
    sys.path[:] = path
    inside = folder + os.sep
    for name in sys.modules.keys() - modules:
        module = sys.modules[name]
        if (getattr(module, "__file__", None) or "").startswith(inside):
            del sys.modules[name]


def lines_of(reader):
    rest = b""
    while True:
        try:
            chunk = os.read(reader, 256 * 1024)
        except InterruptedError:
            continue
        except OSError:
            return
        if not chunk:
            return
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (line for line in lines if line.strip())
