"""The answers to `workflow.discover` and `workflow.input`: what the files hold, and whether an input fits."""

from .coerce import InvalidInput, coerce_input, join
from .loading import Problem
from .wire import dumps


def discovery(registry):
    workflows, problems = registry.discover()
    return dumps(
        {
            "type": "workflow.discovery",
            "protocol": 1,
            "language": "python",
            "workflows": [workflow.entry for workflow in workflows],
            "problems": problems,
        }
    )


def check_input(registry, message):
    answer = {"type": "workflow.input", "run_id": message.get("run_id"), "request_id": message.get("request_id")}
    answer.update(checked(registry, message.get("workflow_name"), message.get("input")))
    return dumps(answer)


def checked(registry, name, value):
    try:
        workflow = registry.find(name)
        if workflow is None:
            return refused([{"path": "", "message": f"no file holds a workflow {name}"}])
        coerced, warnings = coerce_input(workflow.input_class, value)
        key = None if workflow.concurrency_key is None else workflow.concurrency_key(coerced)
    except Problem as problem:
        return refused([{"path": "", "message": f"{problem.path}: {problem}"}])
    except InvalidInput as error:
        return refused(error.issues)
    except Exception as error:  # the author's own function for the key
        return refused([{"path": "", "message": f"concurrency_key: {type(error).__name__}: {error}"}])
    if key is not None and not isinstance(key, str):
        return refused([{"path": "", "message": f"concurrency_key: expected text or None, got a {type(key).__name__}"}])
    return {"ok": True, "concurrency_key": key, "warnings": warnings}


def refused(issues):
    text = "; ".join(f"{join('input', issue['path'])}: {issue['message']}" for issue in issues)
    return {"ok": False, "error": text, "issues": issues, "warnings": []}
