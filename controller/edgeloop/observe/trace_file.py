"""CSV files that meters on another machine write: a time and a power, or a time and a count of energy."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from edgeloop_foundation.errors import InvalidInputError, NotFoundError

__all__ = ["MeterTrace", "read_trace"]

_FILE_BYTES_MAX = 256 << 20
_ROWS_MIN = 10
_NS = 1_000_000_000
_TIMES = {
    **dict.fromkeys(("time", "timestamp", "time_s", "timestamp_s", "seconds", "t"), 1.0),
    **dict.fromkeys(("time_ms", "timestamp_ms", "milliseconds"), 1e-3),
    **dict.fromkeys(("time_us", "timestamp_us"), 1e-6),
    **dict.fromkeys(("time_ns", "timestamp_ns"), 1e-9),
}
_POWERS = {
    **dict.fromkeys(("power_w", "watts", "watt", "w", "power", "apower"), 1.0),
    **dict.fromkeys(("power_mw", "mw", "milliwatts"), 1e-3),
}
_ENERGIES = {
    **dict.fromkeys(("energy_j", "joule", "joules", "energy"), 1.0),
    **dict.fromkeys(("energy_wh", "wh"), 3600.0),
    **dict.fromkeys(("energy_kwh", "kwh"), 3.6e6),
}
"""Column names that are understood, in lower case, and what makes SI units of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterTrace:
    """What a meter saw, on its own clock."""

    #: Name of the file.
    source: str
    #: "power" in watt, or "energy" counted up in joule.
    quantity: str
    #: Times in nanoseconds on the meter's clock, rising.
    times_ns: tuple[int, ...]
    #: Power or energy at these times.
    values: tuple[float, ...]

    @property
    def interval_s(self) -> float:
        """Return the typical time between two samples."""
        steps = sorted(later - earlier for earlier, later in itertools.pairwise(self.times_ns))
        return steps[len(steps) // 2] / _NS

    def power(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return times in seconds and power in watt; of a count, its slope in the middle of each step."""
        seconds = tuple(time_ns / _NS for time_ns in self.times_ns)
        if self.quantity == "power":
            return seconds, self.values
        steps = list(zip(itertools.pairwise(seconds), itertools.pairwise(self.values), strict=True))
        return (
            tuple(0.5 * (t0 + t1) for (t0, t1), _ in steps),
            tuple((e1 - e0) / (t1 - t0) for (t0, t1), (e0, e1) in steps),
        )


def read_trace(path: Path) -> MeterTrace:
    """Read a CSV file with a header, or with two columns of seconds and watts without one.

    A time is a number, or a date and time of ISO 8601; without a zone it is taken as UTC.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: too large, no column of time or of power or energy, a value that is none, a time that does
            not rise, or fewer than ten rows.
    """
    try:
        if path.stat().st_size > _FILE_BYTES_MAX:
            raise InvalidInputError(f"{path.name} is larger than {_FILE_BYTES_MAX >> 20} MiB.")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise NotFoundError(f"there is no file {path}.") from error
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{path.name} is no text file, so no CSV.") from error
    rows = [row for row in csv.reader(text.splitlines(), _dialect(text)) if any(cell.strip() for cell in row)]
    columns = _columns(path, rows)
    found = [_sample(path, number, row, columns) for number, row in _data(rows, columns)]
    if len(found) < _ROWS_MIN:
        raise InvalidInputError(f"{path.name} has {len(found)} rows of data; {_ROWS_MIN} are needed.")
    times = tuple(time_ns for time_ns, _ in found)
    if any(later <= earlier for earlier, later in itertools.pairwise(times)):
        raise InvalidInputError(f"{path.name}: its times do not rise from row to row.")
    return MeterTrace(
        source=path.name,
        quantity=columns.quantity,
        times_ns=times,
        values=tuple(value for _, value in found),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Columns:
    time: int
    time_scale: float
    value: int
    value_scale: float
    quantity: str
    has_header: bool


def _dialect(text: str) -> type[csv.Dialect]:
    class Dialect(csv.excel):
        delimiter = max(",;\t", key=text.partition("\n")[0].count)

    return Dialect


def _columns(path: Path, rows: Sequence[Sequence[str]]) -> _Columns:
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if len(header) == 2 and all(map(_is_number, header)):
        return _Columns(time=0, time_scale=1.0, value=1, value_scale=1.0, quantity="power", has_header=False)
    time = next((name for name in header if name in _TIMES), None)
    for quantity, names in (("power", _POWERS), ("energy", _ENERGIES)):
        value = next((name for name in header if name in names), None)
        if time is not None and value is not None:
            return _Columns(
                time=header.index(time),
                time_scale=_TIMES[time],
                value=header.index(value),
                value_scale=names[value],
                quantity=quantity,
                has_header=True,
            )
    found = ", ".join(header[:8]) or "nothing"
    raise InvalidInputError(
        f"{path.name} has no columns of time and of power or energy that are understood; it has {found}.",
        next_step="Name them, for example, time_s and power_w, or timestamp and energy_wh.",
    )


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def _data(rows: Sequence[Sequence[str]], columns: _Columns) -> list[tuple[int, Sequence[str]]]:
    begin = 1 if columns.has_header else 0
    return list(enumerate(rows[begin:], begin + 1))


def _sample(path: Path, number: int, row: Sequence[str], columns: _Columns) -> tuple[int, float]:
    try:
        time_ns = _time_ns(row[columns.time].strip(), columns.time_scale)
        value = float(row[columns.value]) * columns.value_scale
        if not math.isfinite(value):
            raise ValueError
    except (ValueError, IndexError, OverflowError) as error:
        raise InvalidInputError(f"{path.name}, row {number}: {','.join(row)[:80]!r} is no sample.") from error
    return time_ns, value


def _time_ns(text: str, scale: float) -> int:
    if text.lstrip("+-").isdigit() and scale == 1e-9:
        return int(text)
    try:
        return round(float(text) * scale * _NS)
    except ValueError:
        # Python 3.10 does not know the Z.
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * _NS)
