"""What a serving process counts, as Prometheus text (exposition format 0.0.4)."""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["SECONDS", "Counter", "Histogram", "Metric", "escaped", "exposition", "gauge"]

SECONDS = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
"""Upper bounds of the buckets of every time: fixed, so that devices can be added up."""

Labels = tuple[str, ...]


def escaped(value: str) -> str:
    """Return a label's value as it stands between quotes."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _labelled(name: str, keys: Sequence[str], values: Sequence[str]) -> str:
    inside = ",".join(f'{key}="{escaped(value)}"' for key, value in zip(keys, values, strict=True))
    return f"{name}{{{inside}}}" if inside else name


def _number(value: float) -> str:
    return repr(int(value)) if float(value).is_integer() else repr(float(value))


class Metric:
    """One family; every label's value becomes a series when it is first seen."""

    kind = "untyped"

    def __init__(self, name: str, about: str, keys: Labels) -> None:
        self._name, self._about, self._keys = name, about, keys
        self._lock = threading.Lock()

    def lines(self) -> Iterator[str]:
        """Yield the lines of the family."""
        yield f"# HELP {self._name} {self._about}"
        yield f"# TYPE {self._name} {self.kind}"
        yield from self._series()

    def _series(self) -> Iterator[str]:
        raise NotImplementedError


class Counter(Metric):
    """Counts upward."""

    kind = "counter"

    def __init__(self, name: str, about: str, keys: Labels) -> None:
        super().__init__(name, about, keys)
        self._counts: dict[Labels, int] = {}

    def add(self, *values: str) -> None:
        """Count one."""
        with self._lock:
            self._counts[values] = self._counts.get(values, 0) + 1

    def _series(self) -> Iterator[str]:
        with self._lock:
            counts = sorted(self._counts.items())
        for values, count in counts:
            yield f"{_labelled(self._name, self._keys, values)} {count}"


class Histogram(Metric):
    """Counts values in buckets that never change.

    Args:
        name: of the family.
        about: its help.
        keys: names of its labels.
        bounds: upper bounds of the buckets, ascending; the last, infinite one is understood.
    """

    kind = "histogram"

    def __init__(self, name: str, about: str, keys: Labels, bounds: Sequence[float]) -> None:
        super().__init__(name, about, keys)
        self._bounds = tuple(bounds)
        self._found: dict[Labels, tuple[list[int], list[float]]] = {}

    def observe(self, value: float, *values: str) -> None:
        """Count a value."""
        with self._lock:
            counts, total = self._found.setdefault(values, ([0] * (len(self._bounds) + 1), [0.0]))
            counts[bisect_left(self._bounds, value)] += 1
            total[0] += value

    def _series(self) -> Iterator[str]:
        with self._lock:
            found = [
                (values, list(counts), total[0]) for values, (counts, total) in sorted(self._found.items())
            ]
        for values, counts, total in found:
            below = 0
            for bound, count in zip((*map(_number, self._bounds), "+Inf"), counts, strict=True):
                below += count
                yield f"{_labelled(self._name + '_bucket', (*self._keys, 'le'), (*values, bound))} {below}"
            yield f"{_labelled(self._name + '_sum', self._keys, values)} {_number(total)}"
            yield f"{_labelled(self._name + '_count', self._keys, values)} {below}"


def gauge(name: str, about: str, labels: Mapping[str, str], value: float) -> Iterator[str]:
    """Yield the lines of a family of one series that is read when it is asked for."""
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} gauge"
    yield f"{_labelled(name, tuple(labels), tuple(labels.values()))} {_number(value)}"


def exposition(lines: Iterator[str]) -> bytes:
    """Return the text of a scrape."""
    return ("\n".join(lines) + "\n").encode()
