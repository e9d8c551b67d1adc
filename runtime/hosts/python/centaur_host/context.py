"""
What a handler gets as `ctx`. Every method that is awaited is a checkpoint: its outcome is stored once.

Both generations' shapes are taken: names and arguments by position as by keyword. Their synonyms: `run_input` and
`input`, `trigger_key` and `idempotency_key`, `run_id` and `child_run_id`. `eager_start` has no meaning any more.
"""

import asyncio
from typing import Any

from .agents import agent_args, check_agents, turn_result
from .durations import moment, seconds
from .errors import WorkflowError
from .log import DONE, Log
from .runs import LENT_NAME
from .slack import button_blocks
from .steps import run_step
from .tools import Tools
from .wire import dumps


class WorkflowContext:
    durable = True

    def __init__(self, run, workflow):
        self._run = run
        self._workflow = workflow
        self.run_id = run.id
        self.task_id = run.task_id
        self.workflow_name = run.workflow_name
        self.run_input = run.start.get("input")
        self.attempt = run.start.get("attempt") or 1
        self.trace_id = run.start.get("trace_id")
        self.log = Log(run)
        self.tools = Tools(self)

    # --- steps and waits

    async def step(
        self, name, fn, *, retry=None, timeout=None, step_kind=None, thread=False, execution_id=None, child_run_id=None
    ) -> Any:
        """
        Runs `fn` once and checkpoints its result, which is given as JSON gives it back.

        `fn` is a function, an async one, or an awaitable. A plain function runs in the host's own thread, where nothing else
        runs meanwhile: one that blocks for long takes `thread=True`.
        """
        if thread:
            blocking = fn
            fn = lambda: asyncio.to_thread(blocking)  # a lambda has no name of its own in errors
        return await run_step(self._run, name, fn, retry, timeout, step_kind)

    async def sleep(self, name, duration) -> None:
        await self._call("ctx.sleep", step=name, duration_seconds=seconds(duration, "duration"))

    async def sleep_until(self, name, when) -> None:
        await self._call("ctx.sleep_until", step=name, wake_at=moment(when, "when"))

    async def wait_for_event(self, name, event_type, correlation_id=None, timeout=None) -> Any:
        """The event's payload; one that was sent before counts. :raises WaitTimeoutError: a TimeoutError"""
        return await self._call(
            "ctx.event.wait",
            step=name,
            event_type=event_type,
            correlation_id=correlation_id,
            timeout_seconds=seconds(timeout, "timeout"),
        )

    async def approval(self, name, summary, *, gate=None, tool=None, args=None, editable=None, schema=None, expires=None) -> dict:
        """
        Asks people at a gate of the policy, and parks until they have decided or time is up. Every verdict is returned, with the `args` that
        were decided about; `require_approved` raises for those that are none. `expires` only shortens the gate's time.

        `editable` names paths in `args` that whoever decides may change, `schema` is the JSON Schema that they have to fit then. The answer
        says so: `args` is what was approved, `asked` what was asked, `edited_by` who made one of the other.
        """
        return await self._call(
            "ctx.approval",
            step=name,
            summary=summary,
            gate=gate,
            tool=tool,
            args=args,
            editable=None if editable is None else list(editable),
            schema=schema,
            expires_seconds=seconds(expires, "expires"),
        )

    # --- children

    async def start_workflow(self, name=None, input=None, *, workflow_name=None, **given) -> dict:
        """
        Starts a child run once and goes on. `start_workflow(step, workflow_name=…, run_input=…)` names the step,
        `start_workflow(workflow, input)` leaves that to the platform.
        """
        return await self._start(*child_names(name, workflow_name), input, given)

    async def wait_for_workflow(self, name, run_id=None, timeout=None, *, child_run_id=None) -> dict:
        """How a run ended: `status`, `result`, `error`. One that failed is returned. `run_id` may be what start_workflow gave."""
        child = run_id or child_run_id
        if child is None and isinstance(name, dict):
            name, child = f"wait_{name.get('workflow_name')}", name
        if isinstance(child, dict):
            child = child.get("run_id")
        ended = await self._call("ctx.workflow.wait", step=name, child_run_id=child, timeout_seconds=seconds(timeout, "timeout"))
        return child_result(ended)

    async def run_workflow(self, name, input=None, *, workflow_name=None, timeout=None, **given) -> dict:
        """`start_workflow` and `wait_for_workflow` in one: its checkpoints are `name.start` and `name.wait`."""
        started = await self._start(f"{name}.start", workflow_name or name, input, given)
        return await self.wait_for_workflow(f"{name}.wait", started["run_id"], timeout)

    async def _start(self, step, workflow_name, input, given):
        known = ("queue", "priority", "concurrency_key")
        unknown = [key for key in given if key not in (*known, "run_input", "trigger_key", "idempotency_key", "run_at", "eager_start")]
        if unknown:
            raise TypeError(f"start_workflow() got an unexpected keyword argument '{unknown[0]}'")
        run_at = given.get("run_at")
        return await self._call(
            "ctx.workflow.start",
            step=step,
            workflow_name=workflow_name,
            input=given.get("run_input", input),
            idempotency_key=given.get("idempotency_key", given.get("trigger_key")),
            run_at=None if run_at is None else moment(run_at, "run_at"),
            **{key: given.get(key) for key in known},
        )

    # --- agents

    async def agent_turn(self, text=None, *, name=None, timeout=None, **given) -> dict:
        """A turn on the run's own thread, or on `thread_key`. One that fails is returned, with its `error_text`."""
        given_thread = self.run_input.get("thread_key") if isinstance(self.run_input, dict) else None
        thread = given_thread if isinstance(given_thread, str) and given_thread else f"workflow:{self.run_id}"
        given = {**given, "text": given.get("text", text)}
        if given.get("thread_key") is None and "thread_key" not in (self._workflow.agent_defaults or {}):
            given["thread_key"] = thread
        return await self._turn(name or self._lent("agent_turn"), timeout, given)

    async def run_agent(self, name=None, *, timeout=None, **given) -> dict:
        """A turn, by default on a thread of its own: its checkpoints are `name` and `name.wait`."""
        return await self._turn(name or self._lent("run_agent"), timeout, given)

    async def start_agent(self, name, *, timeout=None, **given) -> dict:
        """Starts a turn once and goes on. Wait for it with `wait_for_agent`, or for its `run_id` with `wait_for_workflow`."""
        args = agent_args({**given, "timeout_seconds": seconds(timeout, "timeout")}, self._workflow.agent_defaults, name)
        return await self._call("ctx.agent.start", step=name, args=args)

    async def wait_for_agent(self, name, agent, timeout=None) -> dict:
        return turn_result(await self._call("ctx.agent.wait", step=name, agent=agent, timeout_seconds=seconds(timeout, "timeout")))

    async def _turn(self, name, timeout, given):
        if timeout is None:
            timeout = given.get("timeout_seconds")
        agent = await self.start_agent(name, timeout=timeout, **{key: each for key, each in given.items() if key != "timeout_seconds"})
        return await self.wait_for_agent(f"{name}.wait", agent, timeout)

    async def run_agents(self, agents, *, max_concurrency=4) -> dict:
        """Several turns at a time, each on a thread of its own; `results` are in the order of `agents`. At most 32."""
        agents = list(agents)
        check_agents(agents, max_concurrency)
        results = [None] * len(agents)
        waiting = iter(enumerate(agents))

        async def work():
            for index, agent in waiting:
                given = {key: each for key, each in agent.items() if key not in ("name", "timeout")}
                result = await self._turn(agent["name"], agent.get("timeout"), given)
                told = {"ok": result.get("status") == "completed", "result": result, "error": result.get("error_text")}
                results[index] = {"index": index, "name": agent["name"], **result, **told}

        await asyncio.gather(*(work() for _ in range(min(max_concurrency, len(agents)))))
        succeeded = sum(each["ok"] for each in results)
        return {"results": results, "succeeded": succeeded, "failed": len(results) - succeeded}

    # --- the world

    async def call_tool(self, tool, method, args=None, **more) -> Any:
        """What the tool gives. Arguments as a dict, by keyword, or both."""
        return await self._call("ctx.call_tool", step=self._lent(None), tool=tool, method=method, args={**(args or {}), **more})

    async def call_tool_and_tell(self, tool, method, args=None, **more) -> dict:
        """`result`, and `edited`: None, or what a person who approved the call changed in its arguments."""
        given = {**(args or {}), **more}
        return await self._call("ctx.call_tool", step=self._lent(None), tool=tool, method=method, args=given, edits="tell")

    async def post_to_slack(self, channel, text="", *, name=None, **args) -> dict:
        """`thread_ts`, `blocks`, `reply_broadcast`, `unfurl_links` … go to Slack as they are. Gives `channel` and `ts`."""
        given = {key: each for key, each in args.items() if each is not None}
        return await self._call("ctx.post_to_slack", step=name or self._lent(None), channel=channel, text=text, args=given)

    async def update_slack(self, message=None, *, name=None, **fields) -> dict:
        """Changes a message: what post_to_slack gave, with a new `text` or `blocks`."""
        changed = {**(message or {}), **{key: each for key, each in fields.items() if each is not None}}
        return await self._call("ctx.update_slack", step=name or self._lent(None), message=changed)

    async def slack_buttons(self, name, *, channel, text, workflow, buttons, input=None, thread_ts=None) -> dict:
        """A message with a button for each action; a click starts a run of `workflow`. Whether the person may, it decides."""
        blocks = button_blocks(text, workflow, buttons, input)
        return await self.post_to_slack(channel, text, name=name, blocks=blocks, thread_ts=thread_ts)

    def metric(self, name, value=1, *, kind="counter", **labels):
        """A figure of this workflow: `counter`, `gauge` or `histogram`. Silent while the run replays."""
        self._run.metric(kind, name, value, labels)
        return DONE

    @property
    def _pool(self):
        from .pool import POOL

        return POOL

    # --- what is the same in every replay

    def now(self):
        """The time of the latest checkpoint, in UTC."""
        from datetime import datetime, timezone

        return datetime.fromtimestamp(self._run.now / 1000, timezone.utc)

    def random(self) -> float:
        """0 to 1. Not for secrets."""
        return int.from_bytes(self._run.draw()[:6], "big") / 2**48

    def uuid(self) -> str:
        """A version 4 UUID. Not for secrets."""
        drawn = bytearray(self._run.draw()[:16])
        drawn[6] = drawn[6] & 0x0F | 0x40
        drawn[8] = drawn[8] & 0x3F | 0x80
        text = drawn.hex()
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def patched(self, patch_id) -> bool:
        """True for runs that reach this line for the first time with this code, false for those that passed it before."""
        return self._run.patched(patch_id)

    def _lent(self, default):
        """The name that a step around this call lends it, or the default."""
        lent = LENT_NAME.get()
        return lent.pop() if lent else default

    def _call(self, kind, **fields):
        parts = [f',"{key}":{dumps(value, f"{kind} {key}")}' for key, value in fields.items() if value is not None]
        return self._run.call(kind, "".join(parts), step=fields.get("step"))


def child_names(name, workflow_name):
    """The step and the workflow, of either generation's shape."""
    if workflow_name is not None:
        return name, workflow_name
    if name is None:
        raise WorkflowError("start_workflow: expected the name of a workflow", "INVALID_REQUEST")
    return None, name


def child_result(ended):
    error = ended.get("error")
    text = error.get("message") if isinstance(error, dict) else error
    return {**ended, "error_text": text}
