"""What a workflow file may import from `api`, and what `ctx` can do. The package itself is in `runtime/hosts/python/api`."""

METRICS = {
    "counter", "gauge", "histogram", "increment", "increment_counter", "observe", "observe_histogram", "record_histogram",
    "set_gauge", "workflow_counter", "workflow_gauge", "workflow_histogram",
}  # fmt: skip

API = {
    "workflow_engine": {
        "WorkflowContext",
        "Delivery",
        "RetryPolicy",
        "NonRetryableError",
        "text_part",
        "WorkflowError",
        "StepError",
        "WaitTimeoutError",
        "ChildRunError",
        "RunCancelledError",
        "ApprovalRefusedError",
        "require_approved",
        "Button",
    },
    "webhooks": {"WebhookSpec", "HmacAuth", "BearerAuth", "HeaderTriggerKey", "StaticTriggerKey"},
    "runtime_control": {"canonical_json", "decode_jsonb", "ControlPlaneError"},
    "app": {"get_tool_manager"},
    "metrics": METRICS,
    "vm_metrics": METRICS,
}

# a module also has every name that begins like this
PREFIXES = {"vm_metrics": ("record_", "inc_", "increment_", "set_", "observe_")}

# what a module of the old API package was for, by a word in its name
INSTEAD = [
    ("slack", "post with ctx.post_to_slack(channel, text)"),
    ("tool", 'call tools with ctx.call_tool(tool, method, args)'),
    ("agent", "ask an agent with ctx.agent_turn(prompt)"),
    ("sandbox", "ask an agent with ctx.agent_turn(prompt)"),
    ("session", "ask an agent with ctx.agent_turn(prompt)"),
    ("db", "use ctx._pool, or a small SQL helper of your own"),
    ("database", "use ctx._pool, or a small SQL helper of your own"),
    ("config", "read os.environ"),
    ("settings", "read os.environ"),
    ("workflow", "import what you need from api.workflow_engine"),
]

AGENT = {
    "name", "prompt", "text", "content", "parts", "history_messages", "thread_key", "message_id", "client_message_id", "user_id",
    "metadata", "delivery", "harness", "harness_type", "engine", "persona", "persona_id", "agents_md", "agents_md_override",
    "model", "provider", "reasoning", "reasoning_effort", "effort", "idle_timeout_ms", "max_duration_ms", "timeout",
    "timeout_seconds", "idempotency_key", "trigger_key", "eager_start",
}  # fmt: skip
CHILD = {
    "name", "workflow_name", "run_input", "input", "trigger_key", "idempotency_key", "eager_start", "queue", "priority",
    "concurrency_key", "run_at",
}  # fmt: skip
SLACK = {"thread_ts", "reply_broadcast", "blocks", "unfurl_links", "unfurl_media", "client_msg_id", "no_attribution"}

# by method: the names of its arguments; None for whatever the other side takes
METHODS = {
    "step": {"name", "fn", "step_kind", "execution_id", "child_run_id", "retry", "timeout", "thread"},
    "sleep": {"name", "duration"},
    "sleep_until": {"name", "when"},
    "wait_for_event": {"name", "event_type", "correlation_id", "timeout"},
    "approval": {"name", "summary", "gate", "tool", "args", "editable", "schema", "expires"},
    "start_workflow": CHILD,
    "wait_for_workflow": {"name", "run_id", "child_run_id", "timeout"},
    "run_workflow": CHILD | {"timeout"},
    "start_agent": AGENT,
    "run_agent": AGENT,
    "agent_turn": AGENT,
    "wait_for_agent": {"name", "agent", "timeout"},
    "run_agents": {"agents", "max_concurrency"},
    "call_tool": None,
    "call_tool_and_tell": None,
    "post_to_slack": {"channel", "text", "name"} | SLACK,
    "update_slack": None,
    "slack_buttons": {"name", "channel", "text", "workflow", "buttons", "input", "thread_ts"},
    "patched": None,
    "log": None,
    "metric": None,
    "now": set(),
    "random": set(),
    "uuid": set(),
}

# what these do not know they pass on
OPEN = {"start_agent", "run_agent", "agent_turn", "post_to_slack"}
NOT_AWAITED = {"patched", "log", "metric", "now", "random", "uuid"}
ATTRIBUTES = {"run_id", "task_id", "workflow_name", "run_input", "attempt", "trace_id", "_pool", "tools"}

# names that the original's users, or those of other engines, reach for
RENAMED = {
    "get_agent": "run_agent",
    "ask_agent": "agent_turn",
    "run_step": "step",
    "activity": "step",
    "execute": "step",
    "wait": "sleep",
    "wait_for": "wait_for_event",
    "wait_event": "wait_for_event",
    "ask_approval": "approval",
    "request_approval": "approval",
    "wait_for_approval": "approval",
    "send_slack": "post_to_slack",
    "slack_post": "post_to_slack",
    "uuid4": "uuid",
    "time": "now",
    "logger": "log",
    "pool": "_pool",
    "db": "_pool",
    "input": "run_input",
}
