"""Spans and moments as handlers give them: numbers are seconds, and a time without a zone is UTC."""


def seconds(value, what):
    """A timedelta or a number, as seconds; None stays None."""
    if value is None:
        return None
    if hasattr(value, "total_seconds"):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
        raise TypeError(f"{what}: expected a timedelta or a number of seconds, got {value!r:.60}")
    return int(value) if value == int(value) else value


def milliseconds(value, what):
    return None if value is None else round(seconds(value, what) * 1000)


def moment(value, what):
    """A datetime or an ISO text, as RFC 3339 in UTC."""
    from datetime import datetime, timezone

    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    if not isinstance(value, datetime):
        raise TypeError(f"{what}: expected a datetime, got {value!r:.60}")
    aware = value.replace(tzinfo=timezone.utc) if value.tzinfo is None else value.astimezone(timezone.utc)
    return aware.isoformat(timespec="milliseconds").replace("+00:00", "Z")
