"""The errors a workflow can meet, each with a stable `code`, and how what was raised is told to the worker."""


class WorkflowError(Exception):
    """Base of what the platform raises into a workflow. Compare `code`, which is the same in a replay."""

    code = "WORKFLOW_ERROR"

    def __init__(self, message="", code=None, **details):
        super().__init__(message)
        if code is not None:
            self.code = code
        self.message = message
        self.request_id = None
        for name, value in details.items():
            setattr(self, name, value)


class NonRetryableError(WorkflowError):
    """Raise it in a step or a handler to say that trying again cannot help."""

    code = "NON_RETRYABLE"


class StepError(WorkflowError):
    """A step failed for good. `step_name`, `attempts`, and `cause_name`, the name of the exception that its function raised."""

    code = "STEP_FAILED"
    step_name = None
    attempts = None
    cause_name = None


class WaitTimeoutError(WorkflowError, TimeoutError):
    """A wait passed its timeout."""

    code = "WAIT_TIMEOUT"


class ChildRunError(WorkflowError):
    """A child run that was waited for failed or was cancelled."""

    code = "CHILD_FAILED"
    child_run_id = None


class RunCancelledError(WorkflowError):
    """The run was cancelled. Catch it only to tidy up in memory: the run is over."""

    code = "RUN_CANCELLED"


class ApprovalRefusedError(NonRetryableError):
    """What was asked was not approved: `answer` says why, `code` is APPROVAL_DENIED, APPROVAL_EXPIRED or APPROVAL_CANCELLED."""

    answer = None


def require_approved(answer):
    """The arguments that were approved. :raises ApprovalRefusedError: for any other verdict"""
    verdict = answer["verdict"]
    if verdict == "approved":
        return answer["args"]
    why = f": {answer['reason']}" if answer.get("reason") else ""
    message = f"approval {answer['approval_id']} was not given ({verdict}){why}"
    raise ApprovalRefusedError(message, f"APPROVAL_{verdict.upper()}", answer=answer)


class NotJsonError(WorkflowError):
    """A value that JSON cannot hold; the message names its path."""

    code = "NOT_JSON"


class DefinitionError(Exception):
    """A file whose workflow cannot be served. `field` is where to look for it in the file."""

    def __init__(self, field, message):
        super().__init__(message)
        self.field = field


BY_NAME = {each.__name__: each for each in (WorkflowError, StepError, WaitTimeoutError, ChildRunError, RunCancelledError)}
DETAILS = ("step_name", "attempts", "cause_name", "child_run_id")


def from_response(message, request_id):
    """The exception of an answer with `"ok": false`."""
    info = message.get("error_info") or {}
    text = info.get("message") or message.get("error") or "the call failed"
    details = {name: info[name] for name in DETAILS if name in info}
    error = BY_NAME.get(info.get("name"), WorkflowError)(text, info.get("code"), **details)
    error.request_id = request_id
    return error


def describe(error):
    """The `error` of `workflow.error` and `ctx.step.fail`."""
    error = only_one(error)
    code = getattr(error, "code", None)
    info = {
        "name": type(error).__name__,
        "code": code if isinstance(code, str) and code else "ERROR",
        "message": str(error) or type(error).__name__,
        "non_retryable": isinstance(error, NonRetryableError) or getattr(error, "non_retryable", False) is True,
    }
    request_id = request_behind(error)
    if request_id is not None:
        info["request_id"] = request_id
    return info


def only_one(error):
    """What a TaskGroup wraps around a single failure says nothing: the failure itself."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error


def request_behind(error):
    """The call whose failure this is, or which it was raised from."""
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        request_id = getattr(error, "request_id", None)
        if isinstance(error, WorkflowError) and request_id is not None:
            return request_id
        if isinstance(error, BaseExceptionGroup):
            return next((found for found in map(request_behind, error.exceptions) if found is not None), None)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return None


def traceback_of(error):
    """At most 8,000 characters, its end kept: that is where the author's own lines are."""
    import traceback

    return "".join(traceback.format_exception(only_one(error)))[-8000:]
