"""A retry policy as workflow files give it, as the worker wants it."""

from .durations import milliseconds

FIELDS = ("max_attempts", "delay_ms", "backoff", "factor", "max_delay_ms", "non_retryable")


def retry_of(policy):
    """A RetryPolicy, a dict of the worker's own fields, or a number of retries."""
    if hasattr(policy, "to_declaration"):
        return policy.to_declaration()
    if isinstance(policy, int) and not isinstance(policy, bool):
        return {"max_attempts": policy + 1}
    if not isinstance(policy, dict):
        raise TypeError(f"retry: expected a RetryPolicy, a dict or a number, got a {type(policy).__name__}")
    given = dict(policy)
    if "limit" in given:
        given["max_attempts"] = given.pop("limit") + 1
    for field in ("delay", "max_delay"):
        if field in given:
            given[f"{field}_ms"] = milliseconds(given.pop(field), f"retry.{field}")
    unknown = [field for field in given if field not in FIELDS]
    if unknown:
        raise TypeError(f"retry.{unknown[0]}: unknown; use limit, delay, max_delay or {', '.join(FIELDS)}")
    return given
