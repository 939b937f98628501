"""The pieces of a table, and the two cells that say where a row's figures come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Run, Source, Verdict

from edgeloop.report.units import MISSING, amount, interval

__all__ = [
    "ORIGIN",
    "Cell",
    "Table",
    "estimate_cell",
    "mark_of",
    "origin",
    "rows_of",
    "run_origin",
    "series_text",
    "source_text",
    "verdict_cell",
]

ORIGIN = ("source", "series")
"""Columns of the two cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell: what is read first, what is read second, and its colour."""

    text: str
    #: Interval, or why there is no figure.
    detail: str = ""
    #: "good", "bad", "open", "quiet", "badge" (measured), "simulated" or empty.
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table with a heading of its own; rows are as long as ``columns``."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


def source_text(source: Source | None, basis: str) -> Cell:
    """Return the badge that every row with figures carries."""
    if source is None:
        return Cell(text="not run", tone="quiet")
    if source is Source.SIMULATED:
        return Cell(text=f"simulated: predicted, basis {basis or 'unknown'}", tone="simulated")
    if source is Source.THIRD_PARTY:
        return Cell(text="third party: published, not measured here", tone="simulated")
    if source is Source.EMULATED:
        return Cell(
            text=f"emulated: measured under emulated resources: {basis or 'unknown'}", tone="simulated"
        )
    return Cell(text=source.value.replace("_", " "), tone="badge")


def mark_of(source: Source | None) -> str:
    """Return what follows a decision whose figures no real device gave, in parentheses; empty otherwise."""
    if source is Source.SIMULATED:
        return " (predicted)"
    return " (under emulated resources)" if source is Source.EMULATED else ""


def series_text(series: str) -> str:
    """Return a series as people read it."""
    return series.replace("_", " ") or MISSING


def origin(source: Source | None, basis: str, series: str) -> tuple[Cell, Cell]:
    """Return source and series of a row's figures."""
    return source_text(source, basis), Cell(text=series_text(series), tone="" if series else "quiet")


def run_origin(run: Run) -> tuple[Cell, Cell]:
    """Return source and series of a run."""
    series = run.preflight.series if run.preflight else run.benchmark.series
    return origin(run.source, run.basis, series)


def estimate_cell(estimate: Estimate | None, unit: str, absent: str = "") -> Cell:
    """Return a value with its interval, or a dash with the reason."""
    if estimate is None:
        return Cell(text=MISSING, detail=absent, tone="quiet")
    if estimate.value is None:
        return Cell(text=MISSING, detail=estimate.reason, tone="quiet")
    return Cell(text=amount(estimate.value, unit), detail=interval(estimate, unit))


_VERDICT_TONE = {Verdict.PASSED: "good", Verdict.FAILED: "bad", Verdict.UNDECIDED: "open"}


def verdict_cell(verdict: Verdict | None, detail: str = "") -> Cell:
    """Return the answer of a check in its colour."""
    if verdict is None:
        return Cell(text=MISSING, detail=detail or "not checked", tone="quiet")
    return Cell(text=verdict.value, detail=detail, tone=_VERDICT_TONE[verdict])


def rows_of(rows: Iterable[Sequence[Cell]]) -> tuple[tuple[Cell, ...], ...]:
    """Return rows as a table holds them."""
    return tuple(tuple(row) for row in rows)
