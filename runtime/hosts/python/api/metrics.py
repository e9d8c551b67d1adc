"""Figures of the current run: counters, gauges and histograms. Outside of a run they say nothing."""

from typing import Any

from centaur_host.runs import CURRENT


def counter(name: str, value: float = 1, labels: dict[str, Any] | None = None, **more: Any) -> None:
    emit("counter", name, value, labels, more)


def gauge(name: str, value: float, labels: dict[str, Any] | None = None, **more: Any) -> None:
    emit("gauge", name, value, labels, more)


def histogram(name: str, value: float, labels: dict[str, Any] | None = None, **more: Any) -> None:
    emit("histogram", name, value, labels, more)


def emit(kind: str, name: str, value: float, labels: dict[str, Any] | None, more: dict[str, Any]) -> None:
    context = CURRENT.get()
    if context is not None:
        context.metric(name, value, kind=kind, **{**(labels or {}), **more})


workflow_counter = increment = increment_counter = counter
workflow_gauge = set_gauge = gauge
workflow_histogram = observe = observe_histogram = record_histogram = histogram
