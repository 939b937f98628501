"""Bounds that must hold, and quantities to be improved."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError

__all__ = ["QUANTITIES", "SHARE_METRICS", "Constraint", "Objective", "Quantity"]


SHARE_METRICS = ("accuracy", "top5", "roc_auc", "auc", "f1_macro", "f1", "recall_at_1")
"""Metrics of quality that are shares, by their names and the short ones that are taken for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """Something candidates are judged by."""

    #: Name as the user writes it.
    name: str
    #: SI unit of its values; "ratio" for a share, "times" for a factor.
    unit: str
    #: Whether less is better.
    lower_is_better: bool
    #: One line for people.
    meaning: str
    #: Whether it is a fact of the device; size and quality come from the host and are real on a simulated board too.
    of_device: bool = True


QUANTITIES: dict[str, Quantity] = {
    q.name: q
    for q in (
        Quantity(name="latency_p50", unit="s", lower_is_better=True, meaning="median steady latency"),
        Quantity(
            name="latency_p90", unit="s", lower_is_better=True, meaning="90th percentile of steady latency"
        ),
        Quantity(
            name="latency_p95", unit="s", lower_is_better=True, meaning="95th percentile of steady latency"
        ),
        Quantity(
            name="latency_p99", unit="s", lower_is_better=True, meaning="99th percentile of steady latency"
        ),
        Quantity(
            name="first_inference", unit="s", lower_is_better=True, meaning="first inference after load"
        ),
        Quantity(
            name="load_time",
            unit="s",
            lower_is_better=True,
            meaning="session creation, model in the page cache",
        ),
        Quantity(
            name="size",
            unit="B",
            lower_is_better=True,
            meaning="bytes that the runtime opens",
            of_device=False,
        ),
        Quantity(
            name="memory", unit="B", lower_is_better=True, meaning="peak resident set of the inferences"
        ),
        Quantity(
            name="energy", unit="J", lower_is_better=True, meaning="energy per inference, idle included"
        ),
        Quantity(
            name="latency_sustained_p50",
            unit="s",
            lower_is_better=True,
            meaning="median latency of the last minute of a sustained run",
        ),
        Quantity(
            name="latency_sustained_p95",
            unit="s",
            lower_is_better=True,
            meaning="95th percentile of latency in the last minute of a sustained run",
        ),
        Quantity(
            name="sustained_ratio",
            unit="times",
            lower_is_better=True,
            meaning="last minute's median latency over the first minute's",
        ),
        Quantity(
            name="throughput",
            unit="Hz",
            lower_is_better=False,
            meaning="items per second of one process in a closed loop",
        ),
        Quantity(
            name="quality",
            unit="ratio",
            lower_is_better=False,
            meaning="the metric the data is judged by",
            of_device=False,
        ),
        Quantity(
            name="quality_drop",
            unit="ratio",
            lower_is_better=True,
            meaning="how much worse than the original",
            of_device=False,
        ),
    )
}
"""Every quantity. ``latency`` is read as p50; the name of the data's metric, such as ``accuracy`` or
``roc_auc_drop``, as ``quality`` or ``quality_drop``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """``quantity operator bound``; the bound is in the quantity's SI unit."""

    quantity: str
    #: "<", "<=", ">" or ">=".
    operator: str
    bound: float
    #: As the user wrote it.
    text: str

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise InvalidInputError(f"unknown quantity {self.quantity!r}; known are {', '.join(QUANTITIES)}.")
        if self.operator not in ("<", "<=", ">", ">="):
            raise InvalidInputError(
                f"unknown operator {self.operator!r} in {self.text!r}; use <, <=, > or >=."
            )

    def holds(self, value: float) -> bool:
        """Return whether ``value`` satisfies the bound."""
        return {
            "<": value < self.bound,
            "<=": value <= self.bound,
            ">": value > self.bound,
            ">=": value >= self.bound,
        }[self.operator]


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A quantity to be improved, with its weight where several are."""

    quantity: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise InvalidInputError(f"unknown quantity {self.quantity!r}; known are {', '.join(QUANTITIES)}.")
        if self.weight <= 0:
            raise InvalidInputError(f"the weight of {self.quantity} is positive, not {self.weight}.")
