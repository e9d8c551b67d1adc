"""`WorkflowContext` and what goes with it."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from centaur_host.context import WorkflowContext
from centaur_host.durations import milliseconds
from centaur_host.errors import (
    ApprovalRefusedError,
    ChildRunError,
    NonRetryableError,
    RunCancelledError,
    StepError,
    WaitTimeoutError,
    WorkflowError,
    require_approved,
)
from centaur_host.slack import Button

__all__ = [
    "ApprovalRefusedError",
    "Button",
    "ChildRunError",
    "Delivery",
    "NonRetryableError",
    "RetryPolicy",
    "RunCancelledError",
    "StepError",
    "WaitTimeoutError",
    "WorkflowContext",
    "WorkflowError",
    "require_approved",
    "text_part",
]


@dataclass
class Delivery:
    """Where a final answer is owed."""

    platform: str | None = None
    channel: str | None = None
    thread_ts: str | None = None
    recipient_user_id: str | None = None
    recipient_team_id: str | None = None
    channel_id: str | None = None
    team_id: str | None = None
    mode: str | None = None
    metadata: dict[str, Any] | None = None

    @classmethod
    def slack(cls, channel: str | None = None, thread_ts: str | None = None, **more: Any) -> "Delivery":
        return cls(platform="slack", channel=channel, thread_ts=thread_ts, **more)

    @classmethod
    def dev(cls, **more: Any) -> "Delivery":
        """Nobody is told: the answer stays with the run."""
        return cls(platform="dev", **more)

    @classmethod
    def from_dict(cls, given: "dict[str, Any] | Delivery | None") -> "Delivery":
        if isinstance(given, cls):
            return given
        known = {each.name for each in fields(cls)}
        return cls(**{key: value for key, value in (given or {}).items() if key in known})

    def to_dict(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if value is not None}

    to_declaration = to_dict


@dataclass
class RetryPolicy:
    """`limit` retries after the first attempt. Delays are timedeltas or seconds; `exponential` doubles them up to `max_delay`."""

    limit: int = 0
    delay: Any = None
    backoff: str | None = None
    max_delay: Any = None
    factor: float | None = None
    non_retryable: list[str] = field(default_factory=list)

    def to_declaration(self) -> dict[str, Any]:
        policy = {
            "max_attempts": self.limit + 1,
            "delay_ms": milliseconds(self.delay, "RetryPolicy.delay"),
            "backoff": self.backoff,
            "factor": self.factor,
            "max_delay_ms": milliseconds(self.max_delay, "RetryPolicy.max_delay"),
            "non_retryable": [each if isinstance(each, str) else each.__name__ for each in self.non_retryable] or None,
        }
        return {key: value for key, value in policy.items() if value is not None}


def text_part(text: str) -> dict[str, Any]:
    """A content block of an agent's message."""
    return {"type": "text", "text": text}
