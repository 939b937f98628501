"""Reads tables of figures that others published: CSV with a header, one row per model and device.

Known columns (others are kept as provenance, word for word)::

    board      required: the device                     model    required
    runtime    runtime and version                      precision, threads, input
    p50_ms  p90_ms  p95_ms  p99_ms                      latencies in milliseconds
    energy_j                                            energy per inference in joules
    source                                              where the row comes from

A table with other headings is read through a mapping such as ``{"board": "device name", "p50_ms": "median"}``.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError, NotFoundError

from edgeloop.domain.third_party import PREFIX

__all__ = ["COLUMNS", "PublishedRow", "read_published"]

_FIGURES = {
    "p50_ms": ("latency_p50", 1e-3),
    "p90_ms": ("latency_p90", 1e-3),
    "p95_ms": ("latency_p95", 1e-3),
    "p99_ms": ("latency_p99", 1e-3),
    "energy_j": ("energy", 1.0),
}
_NAMES = ("board", "model", "runtime", "precision", "threads", "input", "source")
COLUMNS = (*_NAMES, *_FIGURES)
"""Names that a mapping may speak of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """One row as it was published."""

    #: Line in the file, from 2.
    line: int
    device: str
    model: str
    #: Name for people: model, precision, runtime, threads and input where they are stated.
    label: str
    runtime: str
    #: Everything of the row, under names that begin with "third_party.".
    context: tuple[tuple[str, str], ...]


def read_published(path: Path, mapping: Mapping[str, str]) -> tuple[PublishedRow, ...]:
    """Read a table.

    Args:
        path: the CSV file.
        mapping: known column -> heading in this file; the others are looked for under their own names.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: no CSV, a column that is missing or unknown, a figure that is none, or a row twice.
    """
    unknown = sorted(set(mapping) - set(COLUMNS))
    if unknown:
        raise InvalidInputError(f"there is no column {unknown[0]!r} to map; known are {', '.join(COLUMNS)}.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            headings = {name: mapping.get(name, name) for name in COLUMNS}
            _require(path, headings, mapping, reader.fieldnames or ())
            rows = tuple(_row(path, number, row, headings) for number, row in enumerate(reader, start=2))
    except FileNotFoundError as error:
        raise NotFoundError(f"{path} does not exist.") from error
    except (csv.Error, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path.name} cannot be read as CSV: {error}.") from error
    if not rows:
        raise InvalidInputError(f"{path.name} holds no rows.")
    return _numbered(rows)


def _require(
    path: Path, headings: Mapping[str, str], mapping: Mapping[str, str], found: Sequence[str]
) -> None:
    needed = {"board", "model", *mapping}
    missing = [headings[name] for name in COLUMNS if name in needed and headings[name] not in found]
    if missing:
        raise InvalidInputError(
            f"{path.name} has no column {missing[0]!r}; it has {', '.join(found) or 'none'}.",
            next_step="Map it, for example --column board='device name'.",
        )
    if not any(headings[name] in found for name in _FIGURES):
        raise InvalidInputError(f"{path.name} states no figure; known are {', '.join(_FIGURES)}.")


def _row(path: Path, line: int, row: Mapping[str, str | None], headings: Mapping[str, str]) -> PublishedRow:
    if None in row or None in row.values():
        raise InvalidInputError(f"{path.name}, line {line}: it has not as many cells as the header.")
    cells = {name: (row.get(heading) or "").strip() for name, heading in headings.items()}
    if not cells["board"] or not cells["model"]:
        raise InvalidInputError(f"{path.name}, line {line}: it names no board or no model.")
    figures = {
        PREFIX + quantity: repr(_number(path, line, name, cells[name]) * scale)
        for name, (quantity, scale) in _FIGURES.items()
        if cells[name]
    }
    verbatim = {f"{PREFIX}column.{name}": str(text) for name, text in row.items() if text}
    parts = [cells["model"], cells["precision"], cells["runtime"]]
    parts += [f"{cells['threads']} threads" if cells["threads"] else "", cells["input"]]
    return PublishedRow(
        line=line,
        device=cells["board"],
        model=cells["model"],
        label=", ".join(filter(None, parts)),
        runtime=cells["runtime"],
        context=tuple({**figures, **verbatim, f"{PREFIX}source": cells["source"]}.items()),
    )


def _number(path: Path, line: int, name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value > 0):
        raise InvalidInputError(f"{path.name}, line {line}: {name} is {text!r}, not a positive number.")
    return value


def _numbered(rows: tuple[PublishedRow, ...]) -> tuple[PublishedRow, ...]:
    """Tell rows of one label on one device apart by their line: sources differ, and none is dropped."""
    from collections import Counter
    from dataclasses import replace

    counts = Counter((row.device, row.label) for row in rows)
    return tuple(
        replace(row, label=f"{row.label} (line {row.line})") if counts[row.device, row.label] > 1 else row
        for row in rows
    )
