"""
What tools in Python import: `secret`, the call's context, files beside a result, and failures that say what to do.

    from centaur_sdk import risk, secret

    class Client:
        @risk("write")
        def create_issue(self, title: str, labels: list[str] | None = None) -> dict:
            '''Creates an issue.'''

    def _client():
        return Client()
"""

import mimetypes
import os
from contextvars import ContextVar

__all__ = [
    "RISKS",
    "ToolContext",
    "ToolFailure",
    "current_chat_destination",
    "current_session_context",
    "current_slack_thread",
    "current_thread_key",
    "get_tool_context",
    "risk",
    "save_attachment",
    "save_attachment_from_path",
    "secret",
]

RISKS = ("read", "write", "destructive", "financial", "customer_facing")
# Of the call that the current code belongs to
CURRENT = ContextVar("centaur_tool_call")


class ToolFailure(Exception):
    """What a method raises so that its caller knows what to do. Any other exception is a failure too, and may be tried again."""

    def __init__(self, code, message, *, retryable=False):
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class MissingSecret(KeyError):
    """A KeyError, for tools that catch one; its text is a sentence."""

    def __str__(self):
        return self.args[0]


def secret(key, default=None):
    """
    What stands for a secret in a tool's process: a placeholder, which the firewall exchanges on the way to the secret's hosts.

    :raises KeyError: naming it, when the tool has not declared it or nobody has put it into the vault, and there is no default
    """
    value = os.environ.get(key)
    if value:
        return value
    if default is not None:
        return default
    if os.environ.get("CENTAUR_ASKING"):
        return "not-while-it-is-asked"
    raise MissingSecret(
        f"there is no {key} here: declare it in the tool's secrets, and put it into the vault with: centaur secrets set {key} --for <tool>"
    )


def risk(level):
    """Says what a method may do: one of `RISKS`."""
    if level not in RISKS:
        raise ValueError(f"risk: expected one of {', '.join(RISKS)}; got {level!r}")

    def mark(function):
        function.__centaur_risk__ = level
        return function

    return mark


class ToolContext:
    """What a call knows of itself. `cancelled` becomes true when its caller has gone or time is up: long work looks at it."""

    def __init__(self, call, name, given):
        self._call = call
        self.name = name
        self.call_id = call.id
        # the same for every repeat of one call: for the idempotency key of a service that takes one
        self.idempotency_key = given.get("idempotency_key")
        self.thread_key = given.get("thread_key")
        self.run_id = given.get("workflow_run_id")
        self.trace_id = given.get("trace_id")
        # the same for all calls of one conversation, run or key, and another for everybody else
        self.caller = given.get("caller")
        self.timeout_seconds = (given.get("timeout_ms") or 0) / 1000
        self.cancelled = False

    def log(self, message, **fields):
        self._call.say("tool.log", message=str(message), fields=fields or None)

    def progress(self, message, done=None, total=None):
        """For people who wait. `total` in the same unit as `done`."""
        self._call.say("tool.progress", message=str(message), done=done, total=total)

    async def attach(self, name, data, mime_type=None):
        """A file beside the result: kept with the thread. Plain methods call `save_attachment` instead."""
        return await self._call.attach(*file_of(name, data, mime_type))


def get_tool_context():
    """:raises LookupError: outside of a call"""
    return CURRENT.get()


def current_thread_key():
    """:raises RuntimeError: when the call belongs to no thread"""
    context = CURRENT.get(None)
    if context is None or not context.thread_key:
        raise RuntimeError("this call belongs to no thread, and what it does needs one")
    return context.thread_key


def current_session_context():
    """The thread, and where it is: `{"thread_key", "platform", "slack": {"channel_id", "thread_ts"}}` for one of Slack."""
    key = current_thread_key()
    platform, _, rest = key.partition(":")
    context = {"thread_key": key, "platform": platform if rest else None}
    parts = rest.split(":")
    if platform == "slack" and len(parts) >= 2:
        context["slack"] = {"channel_id": parts[-2], "thread_ts": parts[-1]}
    return context


def current_slack_thread():
    """:raises RuntimeError: when the thread is none of Slack"""
    context = current_session_context()
    if "slack" not in context:
        raise RuntimeError(f"the thread {context['thread_key']} is none of Slack")
    return context["slack"]


def current_chat_destination():
    return {"platform": "slack", **current_slack_thread()}


def save_attachment(*, name, data, mime_type=None, source_url=None):
    """Keeps bytes as a file of the thread; the result may refer to it by its `attachment_id`."""
    kept = get_tool_context()._call.attach_from_thread(*file_of(name, data, mime_type))
    return {
        "attachment_id": kept["attachment_id"],
        "filename": kept["name"],
        "mime_type": kept["mime_type"],
        "size_bytes": kept["size"],
        "download_url": None,
        **({} if source_url is None else {"source_url": source_url}),
    }


def save_attachment_from_path(path, *, name=None, mime_type=None, source_url=None):
    with open(path, "rb") as file:
        data = file.read()
    return save_attachment(name=name or os.path.basename(path), data=data, mime_type=mime_type, source_url=source_url)


def file_of(name, data, mime_type):
    name = os.path.basename(str(name)) or "attachment"
    return name, bytes(data), mime_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
