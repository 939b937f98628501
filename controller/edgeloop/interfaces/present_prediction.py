"""Predictions to standard output: one table over all boards, and below it what a reader has to know of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from edgeloop_protocol.convert import to_json
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Source

from edgeloop.domain.prediction import BoardPrediction
from edgeloop.interfaces.present import print_json, print_table, print_text

__all__ = ["print_predictions"]

_COLUMNS = (
    "board", "threads", "latency", "90 % interval", "basis", "nearest family", "distance", "extrapolated",
    "memory", "of", "runtime", "source",
)  # fmt: skip


def print_predictions(rows: Sequence[BoardPrediction], as_json: bool) -> None:
    """Print one row a board and number of threads; a board that cannot run the model has its reason below."""
    if as_json:
        print_json({"predictions": [_tree(row) for row in rows]})
        return
    print_table(_COLUMNS, [_cells(row) for row in rows], title=_title(rows))
    lines = list(dict.fromkeys(_remarks(rows)))
    if lines:
        print_text("\n".join(lines))


def _tree(row: BoardPrediction) -> dict[str, Any]:
    tree: dict[str, Any] = to_json(row)
    return tree


def _title(rows: Sequence[BoardPrediction]) -> str:
    batch = f", batch {rows[0].batch_size}" if rows[0].batch_size > 1 else ""
    return (
        f"{rows[0].model}{batch}: predicted, not measured"
        if _all_predicted(rows)
        else f"{rows[0].model}{batch}"
    )


def _all_predicted(rows: Sequence[BoardPrediction]) -> bool:
    return all(row.source is Source.SIMULATED for row in rows)


def _cells(row: BoardPrediction) -> list[str]:
    from edgeloop.report.units import MISSING, amount

    return [
        row.board,
        str(row.threads),
        amount(row.latency.value, "s"),
        _interval(row),
        row.basis or MISSING,
        row.nearest_family or MISSING,
        MISSING if row.family_distance is None else f"{row.family_distance:.2f}",
        MISSING if row.reason else str(len(row.extrapolations)),
        f"{amount(row.peak_memory.value, 'B')}{_ends(row.peak_memory, 'B')}",
        amount(row.available_memory_bytes, "B"),
        row.runtime_version,
        row.source.value,
    ]


def _interval(row: BoardPrediction) -> str:
    from edgeloop.report.units import MISSING, interval

    if row.latency.value is None:
        return MISSING
    return interval(row.latency, "s") or MISSING


def _ends(estimate: Estimate, unit: str) -> str:
    from edgeloop.report.units import interval

    ends = interval(estimate, unit)
    return f" ({ends})" if ends else ""


def _remarks(rows: Sequence[BoardPrediction]) -> Iterable[str]:
    for row in rows:
        where = f"{row.board}, {row.threads} thread{'s' if row.threads > 1 else ''}"
        if row.reason:
            yield f"{where}: {row.reason}"
        yield from (f"{where}: extrapolated: {sentence}." for sentence in row.extrapolations)
        if row.source is Source.MEASURED:
            ends = row.latency.confidence or 0.0
            yield f"{where}: {row.notes[0]} Its interval is at {100 * ends:g} %."
