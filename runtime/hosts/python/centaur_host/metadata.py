"""What a module declares about its workflow, in plain JSON. The worker judges what it means; nothing is left out here."""

import os
import re

from .errors import DefinitionError, NotJsonError
from .wire import dumps, loads

NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
KEY_EXPORTS = ("concurrency_key", "CONCURRENCY_KEY", "concurrencyKey")


class Workflow:
    """A loaded workflow: what is told in discovery, and what a run needs."""

    def __init__(self, module, source):
        self.name = workflow_name(module)
        self.source_path = source.path
        self.module = module
        self.input_class = input_class(module)
        self.agent_defaults = plain_json(module, "AGENT_DEFAULTS") or None
        if self.agent_defaults is not None and not isinstance(self.agent_defaults, dict):
            raise DefinitionError("AGENT_DEFAULTS", "AGENT_DEFAULTS must be a dict")
        self.handler = handler_of(module)
        self.arity = parameters_of(self.handler)
        self.concurrency_key = key_function(module)
        self.entry = {
            "workflow_name": self.name,
            "source_path": source.path,
            "webhooks": [
                {"workflow_name": self.name, "source_path": source.path, "spec": spec} for spec in as_list(plain_json(module, "WEBHOOKS"))
            ],
            "schedule": schedule_of(module),
            "principal": plain_json(module, "WORKFLOW_PRINCIPAL"),
            "agent_defaults": self.agent_defaults,
            "queue": plain_json(module, "QUEUE"),
            "retry": plain_json(module, "RETRY"),
            "has_input": self.input_class is not None,
            "has_concurrency_key": self.concurrency_key is not None,
        }


def workflow_name(module):
    name = getattr(module, "WORKFLOW_NAME", None)
    if name is None and isinstance(getattr(module, "PROMPT", None), str):
        name = os.path.basename(module.__file__)[: -len(".py")]
    if isinstance(name, str) and NAME.fullmatch(name):
        return name
    raise DefinitionError("WORKFLOW_NAME", f'WORKFLOW_NAME must be 1 to 128 letters, digits, "_", "-" or "."; it is {name!r:.150}')


def input_class(module):
    given = getattr(module, "Input", None)
    if isinstance(given, type) and (hasattr(given, "__dataclass_fields__") or hasattr(given, "model_validate")):
        return given
    return None


def handler_of(module):
    handler = getattr(module, "handler", None)
    if handler is None and isinstance(getattr(module, "PROMPT", None), str):
        from .prompt_files import prompt_handler

        return prompt_handler(module.PROMPT, getattr(module, "SLACK_CHANNEL", None))
    if handler is None:
        raise DefinitionError("handler", "handler is missing: a workflow needs `async def handler(inp, ctx)`, or a PROMPT")
    if not callable(handler):
        raise DefinitionError("handler", f"handler must be a function (inp, ctx); it is a {type(handler).__name__}")
    return handler


def parameters_of(handler):
    """What a handler is called with: `input`, `ctx`, in its order."""
    code = getattr(handler, "__code__", None)
    if code is None:
        return ("input", "ctx")
    if code.co_flags & 0x04:  # *args takes both
        return ("input", "ctx")
    names = code.co_varnames[: code.co_argcount]
    if hasattr(handler, "__self__"):
        names = names[1:]
    required = len(names) - len(handler.__defaults__ or ())
    if required > 2:
        raise DefinitionError("handler", f"handler must take (inp, ctx); it takes {', '.join(names)}")
    if len(names) >= 2:
        return ("input", "ctx")
    return ("ctx",) if names == ("ctx",) else ("input",) * len(names)


def key_function(module):
    for field in KEY_EXPORTS:
        given = getattr(module, field, None)
        if given is None:
            continue
        if not callable(given):
            raise DefinitionError(field, f"{field} must be a function of the input; it is a {type(given).__name__}")
        return given
    return None


def schedule_of(module):
    """`SCHEDULE`, or the first generation's short forms: `CRON`, with a `TIMEZONE`, and `INTERVAL` in seconds."""
    schedule = plain_json(module, "SCHEDULE")
    if schedule is not None:
        return schedule
    extra = {} if getattr(module, "SLACK_CHANNEL", None) is None else {"slack_channel": plain_json(module, "SLACK_CHANNEL")}
    if getattr(module, "CRON", None) is not None:
        zone = plain_json(module, "TIMEZONE")
        return {"type": "cron", "cron": plain_json(module, "CRON"), **({} if zone is None else {"timezone": zone}), **extra}
    interval = getattr(module, "INTERVAL", None)
    if interval is None:
        return None
    return {"type": "interval", "seconds": int(interval.total_seconds()) if hasattr(interval, "total_seconds") else interval, **extra}


def plain_json(module, field):
    value = getattr(module, field, None)
    if value is None:
        return None
    try:
        return loads(dumps(declared(value), field))
    except NotJsonError as error:
        raise DefinitionError(field, str(error)) from None


def declared(value):
    """The objects of `api.webhooks` and `api.workflow_engine` know their own plain form; the others are as they are."""
    if hasattr(value, "to_declaration"):
        return declared(value.to_declaration())
    if isinstance(value, dict):
        return {key: declared(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [declared(each) for each in value]
    return value


def as_list(value):
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
