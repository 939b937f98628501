"""What a sensor driver has to offer, and how it reads files, commands and the time."""

from __future__ import annotations

import math
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import ClassVar

from edgeloop_foundation.errors import EdgeloopError, NotFoundError, UnavailableError, UnsupportedError
from edgeloop_protocol.types.facts import SensorFacts
from edgeloop_protocol.types.measurement import Reading

__all__ = [
    "FileSensor",
    "Sensor",
    "SensorAbsentError",
    "SensorFailedError",
    "SensorUnsupportedError",
    "Source",
    "read_head",
    "reason_of",
]

_NS = 1e-9
_COST_READINGS = 3
_COST_LONG_S = 0.05
"""What takes this long is not taken again just to know it better."""
_FILE_BYTES_MAX = 1 << 16
"""Far above anything that sysfs shows (one page) or a command prints; a file beyond that is not what it seems."""
_buffers = threading.local()
_NUMBER_DIGITS_MAX = 32
_LABEL_LENGTH_MAX = 48


class SensorAbsentError(NotFoundError):
    """This device has no such sensor."""


class SensorUnsupportedError(UnsupportedError):
    """The sensor is there, but not in a form that this driver reads."""


class SensorFailedError(UnavailableError):
    """The sensor is there and could not be read: permission, I/O."""


_PREFIX: dict[type[EdgeloopError], str] = {
    SensorAbsentError: "absent",
    SensorUnsupportedError: "unsupported",
    SensorFailedError: "failed",
}

Source = Callable[[], Iterable[Reading]]
"""One file, or one group of files, of a sensor: called, it gives the readings of now."""


class Sensor(ABC):
    """One source of readings below a root directory.

    Args:
        root: where ``/proc`` and ``/sys`` are; "/" on a device.
        now_ns: the board's monotonic clock.
    """

    #: Registered name; also the stem of the driver's file.
    name: ClassVar[str]
    #: What it reads, for example "temperature".
    quantity: ClassVar[str]
    #: Unit of every value.
    unit: ClassVar[str]
    #: What it covers: "process", "package", "rail", "board" or "wall".
    scope: ClassVar[str]
    #: Shortest useful time between two readings; absent when unknown.
    period_s: ClassVar[float | None] = None
    #: Smallest step of a value; absent when unknown.
    resolution: ClassVar[float | None] = None
    #: Stated relative error of a value; absent when unknown.
    error_fraction: ClassVar[float | None] = None
    #: Time by which a value trails the quantity; absent when unknown.
    lag_s: ClassVar[float | None] = None

    def __init__(self, root: Path, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._root = root
        self._now_ns = now_ns

    def probe(self) -> SensorFacts:
        """Look for channels anew and return what is there, with the measured cost of a reading.

        Where nothing can be read, the facts hold a reason that begins with "absent", "unsupported" or "failed".
        """
        channels: tuple[str, ...] = ()
        reason = ""
        cost_s: float | None = None
        try:
            self._find_anew()
            readings, cost_s = self._timed()
            channels = tuple(reading.name for reading in readings)
            if all(reading.value is None for reading in readings):
                reason = readings[0].reason if readings else "absent: no channel"
        except (SensorAbsentError, SensorUnsupportedError, SensorFailedError) as error:
            reason = reason_of(error)
        return SensorFacts(
            name=self.name,
            quantity=self.quantity,
            unit=self.unit,
            scope=self._scope(),
            period_s=self._period_s(),
            resolution=self._resolution(),
            channels=channels,
            reason=reason,
            error_fraction=self.error_fraction,
            lag_s=self.lag_s,
            cost_s=cost_s,
        )

    def read(self) -> tuple[Reading, ...]:
        """Return one reading per channel; none for an absent sensor, one with the reason for a failed one."""
        try:
            return self._readings()
        except SensorAbsentError:
            return ()
        except (SensorUnsupportedError, SensorFailedError) as error:
            return (Reading(name=self.name, unit=self.unit, reason=reason_of(error)),)

    @abstractmethod
    def _readings(self) -> tuple[Reading, ...]:
        """Read every channel.

        Raises:
            SensorAbsentError: the device has none.
            SensorUnsupportedError: it has one that this driver cannot use.
            SensorFailedError: it could not be read.
        """

    def _find_anew(self) -> None:  # noqa: B027 - most drivers from elsewhere keep nothing
        """Forget which channels were found; a driver that keeps none has nothing to do."""

    def _scope(self) -> str:
        """Return the scope; a driver whose scope depends on the board overrides it."""
        return self.scope

    def _period_s(self) -> float | None:
        """Return the period; a driver whose chips tell theirs overrides it."""
        return self.period_s

    def _resolution(self) -> float | None:
        """Return the resolution; a driver whose step depends on what is fitted overrides it."""
        return self.resolution

    def _timed(self) -> tuple[tuple[Reading, ...], float]:
        """Return fresh readings and the shortest time that taking them took.

        Wall time, not processor time: what a child process or a bus makes the reader wait is part of it.
        """
        cost_s = float("inf")
        readings: tuple[Reading, ...] = ()
        for _ in range(_COST_READINGS):
            start_ns = time.perf_counter_ns()
            readings = self._fresh()
            cost_s = min(cost_s, (time.perf_counter_ns() - start_ns) * _NS)
            if cost_s > _COST_LONG_S:
                break
        return readings, cost_s

    def _fresh(self) -> tuple[Reading, ...]:
        """Read every channel now, even if the last reading is still within the period."""
        return self._readings()

    def _value(self, channel: str, value: float, source: str) -> Reading:
        """Return one value, taken now; what is not finite is no value."""
        if not math.isfinite(value):
            reason = f"unsupported: {value} is no measured value"
            return Reading(name=f"{self.name}/{channel}", unit=self.unit, reason=reason, source=source)
        return Reading(
            name=f"{self.name}/{channel}", unit=self.unit, value=value, source=source, time_ns=self._now_ns()
        )

    def _reading(self, channel: str, path: Path, scale: float) -> Reading:
        """Return one number from one file, times ``scale``; with the reason when that fails."""
        try:
            value = self._number(path) * scale
        except (SensorAbsentError, SensorUnsupportedError, SensorFailedError) as error:
            return self._missing(channel, path, reason_of(error))
        return self._value(channel, value, self._source(path))

    def _missing(self, channel: str, path: Path, reason: str) -> Reading:
        return Reading(
            name=f"{self.name}/{channel}", unit=self.unit, reason=reason, source=self._source(path)
        )

    def _source(self, path: Path) -> str:
        """Return the path as it is on the device, whatever the root."""
        return f"/{path.relative_to(self._root)}"

    def _text(self, path: Path) -> str:
        try:
            data = read_head(path, _FILE_BYTES_MAX + 1)
            if len(data) > _FILE_BYTES_MAX:
                raise SensorUnsupportedError(
                    f"{self._source(path)} holds more than {_FILE_BYTES_MAX} bytes, too much for a reading"
                )
            return data.decode().strip()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise SensorAbsentError(f"no {self._source(path)}") from error
        except UnicodeDecodeError as error:
            raise SensorFailedError(f"{self._source(path)}: not text") from error
        except OSError as error:
            raise SensorFailedError(f"{self._source(path)}: {error.strerror}") from error

    def _number(self, path: Path) -> int:
        text = self._text(path)
        try:
            if len(text) > _NUMBER_DIGITS_MAX:
                raise ValueError
            return int(text, 0)
        except ValueError as error:
            raise SensorUnsupportedError(f"{self._source(path)} holds {text[:40]!r}, no number") from error

    def _label(self, path: Path) -> str:
        """Return the text of a file that names something, fit to be printed; empty when it cannot be read."""
        try:
            text = self._text(path)
        except (SensorAbsentError, SensorFailedError, SensorUnsupportedError):
            return ""
        return "".join(character for character in text[:_LABEL_LENGTH_MAX] if character.isprintable())

    def _children(self, directory: str, prefix: str) -> list[Path]:
        """Return the entries of a directory that are ``prefix`` and a number, in the order of the numbers."""
        parent = self._root / directory
        try:
            names = [path.name for path in parent.iterdir()]
        except OSError:
            return []
        length = len(prefix)
        numbered = [name for name in names if name.startswith(prefix) and name[length:].isdecimal()]
        return [parent / name for name in sorted(numbered, key=lambda name: int(name[length:]))]


class FileSensor(Sensor):
    """A sensor whose channels are looked for once; from then on, absence costs nothing.

    Channels that vanish later give a reason; those that appear later, or could not be looked for, are found by the
    next ``probe``. A driver
    whose ``refresh_s`` is set is read at most that often: in between it repeats its last readings, which keep the
    time at which they were taken.
    """

    #: Shortest time between two readings of a source that is slow to read; 0 for files.
    refresh_s: ClassVar[float] = 0.0

    def __init__(self, root: Path, now_ns: Callable[[], int] = time.monotonic_ns) -> None:
        super().__init__(root, now_ns)
        self._sources: Sequence[Source] | None = None
        self._absence: EdgeloopError | None = None
        self._last: tuple[Reading, ...] | EdgeloopError = ()
        self._last_ns: int | None = None

    @abstractmethod
    def _find(self) -> Sequence[Source]:
        """Return the sources of every channel.

        Raises:
            SensorAbsentError: the device has none.
            SensorUnsupportedError: it has one that this driver cannot use.
            SensorFailedError: it could not be read.
        """

    def _find_anew(self) -> None:
        self._sources, self._absence, self._last_ns = None, None, None

    def _readings(self) -> tuple[Reading, ...]:
        if self._last_ns is not None and self._now_ns() - self._last_ns < self._refresh_s() / _NS:
            return _given(self._last)
        return self._fresh()

    def _refresh_s(self) -> float:
        """Return the shortest time between two readings; a driver with a fast and a slow source overrides it."""
        return self.refresh_s

    def _fresh(self) -> tuple[Reading, ...]:
        self._found()
        if not self._refresh_s():
            return self._sample()
        try:
            self._last = self._sample()
        except (SensorUnsupportedError, SensorFailedError) as error:
            # What is slow to read is not asked more often because it fails.
            self._last = error
        self._last_ns = self._now_ns()
        return _given(self._last)

    def _sample(self) -> tuple[Reading, ...]:
        sources = self._found()
        try:
            return tuple(reading for source in sources for reading in source())
        except SensorAbsentError as error:
            raise SensorFailedError(f"{error}: it was there before") from error

    def _found(self) -> Sequence[Source]:
        if self._absence is not None:
            raise self._absence.with_traceback(None)
        if self._sources is None:
            try:
                self._sources = self._find()
            except (SensorAbsentError, SensorUnsupportedError, SensorFailedError) as error:
                self._absence = error
                raise
        return self._sources


def _given(outcome: tuple[Reading, ...] | EdgeloopError) -> tuple[Reading, ...]:
    """Return readings that were kept, or raise the error that was."""
    if isinstance(outcome, EdgeloopError):
        # Without this, every raise would add to the traceback that the exception keeps.
        raise outcome.with_traceback(None)
    return outcome


def read_head(path: Path, size_bytes: int) -> bytes:
    """Return the beginning of a file, at most this much of it."""
    # Not blocking: a pipe in the place of a file must not hang the agent.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        # Into a buffer that stays: one for each of thousands of readings, cut down to some bytes, tears up the heap.
        buffer = _buffer_of_thread(size_bytes)
        return bytes(buffer[: os.readv(descriptor, [buffer])])
    finally:
        os.close(descriptor)


def _buffer_of_thread(size_bytes: int) -> memoryview:
    kept: bytearray = getattr(_buffers, "kept", bytearray())
    if len(kept) < size_bytes:
        kept = _buffers.kept = bytearray(size_bytes)
    return memoryview(kept)[:size_bytes]


def reason_of(error: EdgeloopError) -> str:
    """Return the outcome and the sentence of one of the three errors."""
    return f"{_PREFIX[type(error)]}: {error}"
