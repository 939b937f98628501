"""What an assertion leaves behind: one row, as a property of the test and as a line of the summary."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

__all__ = ["PROPERTY", "Row", "markdown", "rows_of", "terminal_lines"]

PROPERTY = "edgeloop"
"""Name of the JUnit properties; each holds one row as JSON."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One assertion with its answer; figures in SI units, absent ones null."""

    device: str
    model: str
    check: str
    #: "passed", "failed", "undecided" or "recorded".
    verdict: str
    #: "measured", "simulated" or "third_party"; "host" for a fact of the file alone.
    source: str
    #: Basis of predicted figures; empty for measured ones.
    basis: str
    series: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    sample_count: int
    reason: str
    run_id: str

    def text(self) -> str:
        """Return the row as one JSON object."""
        return json.dumps(asdict(self), ensure_ascii=False, allow_nan=False)


def rows_of(properties: Iterable[tuple[str, object]]) -> list[Row]:
    """Return the rows among the properties of a test's report."""
    return [Row(**json.loads(str(value))) for name, value in properties if name == PROPERTY]


def markdown(rows: Sequence[Row]) -> str:
    """Return the rows as a table for a pull request, what did not pass first."""
    ordered = sorted(rows, key=lambda row: row.verdict in ("passed", "recorded"))
    passed = sum(row.verdict in ("passed", "recorded") for row in rows)
    lines = [
        f"### edgeloop: {passed} of {len(rows)} checks passed",
        "",
        "| verdict | device | model | check | value | interval | source | series | why |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ordered:
        cells = (
            row.verdict if row.verdict == "passed" else f"**{row.verdict}**",
            row.device,
            row.model,
            row.check,
            _figure(row, row.value),
            f"{_figure(row, row.low)} to {_figure(row, row.high)}" if row.low is not None else "–",
            _source(row),
            row.series,
            row.reason,
        )
        lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines) + "\n"


def terminal_lines(rows: Sequence[Row]) -> list[str]:
    """Return one line per row for the end of a log."""
    return [
        f"{row.verdict:<9} {row.device}: {row.model}: {row.check} [{_source(row)}, {row.series}]"
        for row in rows
    ]


def _source(row: Row) -> str:
    if row.source == "emulated":
        return f"under emulated resources: {row.basis}"
    return f"predicted, {row.basis}" if row.source == "simulated" else row.source.replace("_", " ")


def _figure(row: Row, value: float | None) -> str:
    from edgeloop.report.units import amount

    if value is None:
        return "–"
    return f"×{value:.3f}" if row.unit == "ratio" else amount(value, row.unit)


def _cell(text: str) -> str:
    """Return text that cannot leave its cell or become markup; names come from devices and users."""
    for char in "\\`*_[]<>|":
        if char != "*" or not text.startswith("**"):
            text = text.replace(char, f"\\{char}")
    return " ".join(text.split())
