"""The report for a pull request or a build summary."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from edgeloop.domain.experiment import ExperimentResult
from edgeloop.report.cells import Cell, Table
from edgeloop.report.host import host_tables, provenance
from edgeloop.report.units import MISSING
from edgeloop.report.view import DeviceView, device_view

__all__ = ["grid", "markdown", "plain"]

_SPECIAL = re.compile(r"([\\`*\[\]<>|~])")
_MARK = {"good": "✅", "bad": "❌", "open": "❔"}


def markdown(result: ExperimentResult) -> str:
    """Return the result as GitHub-flavoured Markdown."""
    views = [device_view(result, device) for device in result.devices]
    asked = "; ".join(result.request.require) or "nothing"
    blocks = [
        f"# {plain(result.model.name)}",
        f"Required: {plain(asked)}. Preferred: {plain(result.request.prefer)}.",
        _summary(views),
        *(block for view in views for block in _device(view)),
        *(_folded(table) for table in host_tables(result)),
        "<details><summary>Provenance</summary>\n\n"
        + "\n".join(f"- {name}: {plain(value)}" for name, value in provenance(result))
        + "\n\n</details>",
    ]
    return "\n\n".join(blocks) + "\n"


def _summary(views: Sequence[DeviceView]) -> str:
    rows = []
    for view in views:
        figures = [
            f"{m.name} {m.original} → {m.chosen}" + (f", {m.gain}" if m.gain else "") for m in view.metrics
        ]
        mark = _MARK.get(view.tone, "")
        rows.append([view.name, view.source.text, f"{mark} {view.headline}".strip(), "; ".join(figures[:3])])
    return grid(("device", "source", "answer", "original → this one"), rows)


def _device(view: DeviceView) -> Iterable[str]:
    yield f"## {plain(view.name)} ({plain(view.source.text)})"
    yield f"**{plain(view.headline)}.** {plain(view.hardware)}"
    if view.reasons:
        yield "\n".join(f"- {plain(reason)}" for reason in view.reasons)
    if view.remarks:
        yield "\n".join(
            f"- {_MARK.get(r.tone, '')} {plain(r.text)}".replace("-  ", "- ") for r in view.remarks
        )
    for number, table in enumerate(view.tables):
        yield _table(table) if number == 0 else _folded(table)


def _folded(table: Table) -> str:
    body = grid(table.columns, [[_cell(cell) for cell in row] for row in table.rows])
    return f"<details><summary>{plain(table.title)} ({len(table.rows)})</summary>\n\n{body}\n\n</details>"


def _table(table: Table) -> str:
    return grid(table.columns, [[_cell(cell) for cell in row] for row in table.rows])


def _cell(cell: Cell) -> str:
    if cell.text == MISSING and cell.detail:
        return f"{MISSING} {cell.detail}"
    return f"{cell.text} ({cell.detail})" if cell.detail else cell.text


def grid(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table of plain texts."""
    lines = [columns, ["---"] * len(columns), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
