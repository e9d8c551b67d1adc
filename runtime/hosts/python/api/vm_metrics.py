"""
The first generation's metric functions. Beside the general ones it had dozens by name, such as
`record_etl_items_seen(source, count)`: each is here what its first word says, a counter, a gauge or a histogram.
"""

from typing import Any

from api.metrics import (
    counter,
    emit,
    gauge,
    histogram,
    increment,
    increment_counter,
    observe,
    observe_histogram,
    record_histogram,
    set_gauge,
    workflow_counter,
    workflow_gauge,
    workflow_histogram,
)

__all__ = [
    "counter",
    "gauge",
    "histogram",
    "increment",
    "increment_counter",
    "observe",
    "observe_histogram",
    "record_histogram",
    "set_gauge",
    "workflow_counter",
    "workflow_gauge",
    "workflow_histogram",
]

KINDS = {"record": "counter", "inc": "counter", "increment": "counter", "set": "gauge", "observe": "histogram"}
VALUES = ("value", "count", "amount", "seconds", "chars")


def __getattr__(name: str) -> Any:
    verb, _, rest = name.partition("_")
    if verb not in KINDS or not rest:
        raise AttributeError(f"module 'api.vm_metrics' has no attribute {name!r}")

    def figure(*args: Any, **given: Any) -> None:
        """The last number is the value; all else are labels."""
        labels = {f"label{at + 1}": each for at, each in enumerate(args)} | given
        numbers = [key for key, each in labels.items() if isinstance(each, (int, float)) and not isinstance(each, bool)]
        key = next((each for each in VALUES if each in numbers), numbers[-1] if numbers else None)
        value = 1 if key is None else labels.pop(key)
        emit(KINDS[verb], rest, value, None, labels)

    return figure
