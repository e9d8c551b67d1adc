"""An agent's turn as handlers ask for it, in the spellings of both generations, and what they get back."""

from .errors import WorkflowError

# Each of ours, with the others' names for it
SPELLINGS = {
    "text": ("text", "prompt"),
    "parts": ("parts", "content"),
    "harness": ("harness", "harness_type", "engine"),
    "persona": ("persona", "persona_id"),
    "agents_md": ("agents_md", "agents_md_override"),
    "effort": ("effort", "reasoning_effort", "reasoning"),
    "message_id": ("message_id", "client_message_id"),
}
# What has a meaning here and none for the worker
LEFT_OUT = ("eager_start", "trigger_key")
AGENTS_MOST = 32
CONCURRENCY_MOST = 16


def agent_args(given, defaults, name):
    """The `args` of a turn: what the call says, over the file's AGENT_DEFAULTS. What is None is as if not given."""
    args = one_spelling(defaults or {})
    args.update(one_spelling(given))
    if not args.get("text") and not args.get("parts"):
        raise WorkflowError(f'"{name}": expected text or parts', "INVALID_REQUEST")
    return args


def one_spelling(given):
    args = {key: plain_delivery(value) for key, value in given.items() if value is not None and key not in LEFT_OUT}
    for ours, names in SPELLINGS.items():
        found = [args.pop(name) for name in names if name in args]
        if found:
            args[ours] = found[0]
    return args


def plain_delivery(value):
    return value.to_dict() if hasattr(value, "to_dict") else value


def turn_result(value):
    """How a turn ended, with the keys of both generations: the session's dict, and the run's with `output_json`."""
    text = value.get("result_text") or ""
    execution = {key: value.get(key) for key in ("execution_id", "thread_key", "status", "terminal_reason", "result_text", "error_text")}
    return {
        **value,
        "result_text": text,
        "output_lines": text.splitlines(),
        "output_json": {"result_text": text, "execution_id": value.get("execution_id"), "thread_key": value.get("thread_key")},
        "execution": execution,
    }


def check_agents(agents, most):
    if len(agents) > AGENTS_MOST:
        raise WorkflowError(f"run_agents: {AGENTS_MOST} are the most, got {len(agents)}", "INVALID_REQUEST")
    if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= CONCURRENCY_MOST:
        raise WorkflowError(f"max_concurrency: expected a whole number from 1 to {CONCURRENCY_MOST}", "INVALID_REQUEST")
    names = [each.get("name") for each in agents]
    if not all(isinstance(name, str) and name for name in names):
        raise WorkflowError("run_agents: each agent needs a name", "INVALID_REQUEST")
    if len(set(names)) < len(names):
        raise WorkflowError("run_agents: two agents have the same name", "INVALID_REQUEST")
