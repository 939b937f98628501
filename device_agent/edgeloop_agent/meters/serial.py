"""A meter that writes one line of numbers per sample to a serial line."""

from __future__ import annotations

import contextlib
import math
import os
import select
import stat
import termios
import time
from collections.abc import Callable, Mapping
from typing import ClassVar

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.meters.base import Meter
from edgeloop_agent.sensors.base import SensorAbsentError, SensorFailedError, SensorUnsupportedError

__all__ = ["SerialMeter"]

_UNITS = {
    "mV": ("V", 1e-3),
    "V": ("V", 1.0),
    "mA": ("A", 1e-3),
    "A": ("A", 1.0),
    "mW": ("W", 1e-3),
    "W": ("W", 1.0),
}
_SKIPPED = "-"
_BUFFER_BYTES = 4096
_LINE_BYTES_MAX = 256
_LINE_WAIT_S = 1.5
_OLD_S = 1.0
_NS = 1e-9


class SerialMeter(Meter):
    """``serial=/dev/ttyUSB0[,columns=mV:mA][,baud=115200][,period=0.1]``; tested on pseudo-terminals, not on hardware.

    ``columns`` says what the numbers of a line are, in order: mV, V, mA, A, mW or W, and "-" for what is skipped.
    There has to be a power, or a voltage and a current, which are multiplied. Numbers are parted by blanks, commas,
    semicolons or tabs. Lines are taken as they come; the newest complete one is the reading, and its time is that
    of its arrival. A line that does not fit is no sample.

    ``scope`` is "board" here: such meters sit in the supply of the board, behind its power brick.
    """

    name: ClassVar[str] = "serial"
    quantity: ClassVar[str] = "power"
    unit: ClassVar[str] = "watt"
    scope: ClassVar[str] = "board"
    period_s: ClassVar[float | None] = 0.1
    option_names: ClassVar[frozenset[str]] = frozenset({"columns", "baud", "period"})

    def __init__(
        self,
        address: str,
        options: Mapping[str, str] | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__(address, options, now_ns)
        self._columns = _columns(self.options.get("columns", "mV:mA"))
        self._speed = _speed(self.options.get("baud", "115200"))
        self.period_s = _period_s(self.options.get("period", "0.1"))  # type: ignore[misc]  # one instance, one meter
        self._descriptor: int | None = None
        self._buffer = b""
        #: Whether the buffer begins with the begin of a line.
        self._whole = False
        self._read_ns: int | None = None

    def _measure(self) -> tuple[Reading, ...]:
        descriptor = self._opened()
        try:
            self._drop_old(descriptor)
            line, time_ns = self._newest_line(descriptor)
        except SensorFailedError:
            # It is an OSError too, and has its sentence.
            raise
        except OSError as error:
            self.close()
            raise SensorFailedError(f"{self.address}: {error.strerror}; was it unplugged?") from error
        self._read_ns = time_ns
        return self._one("input", self._power(line), self.address, time_ns)

    def _drop_old(self, descriptor: int) -> None:
        """Forget what was written while nobody read: the kernel keeps the oldest lines, not the newest."""
        long_ns = round(max(_OLD_S, 3.0 * (self.period_s or 0.0)) / _NS)
        if self._read_ns is None or self._clock_ns() - self._read_ns > long_ns:
            termios.tcflush(descriptor, termios.TCIFLUSH)
            self._buffer, self._whole = b"", False

    def close(self) -> None:
        """Close the line; the next reading opens it again."""
        descriptor, self._descriptor = self._descriptor, None
        self._read_ns = None
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _opened(self) -> int:
        if self._descriptor is not None:
            return self._descriptor
        try:
            descriptor = os.open(self.address, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise SensorAbsentError(f"no {self.address}") from error
        except OSError as error:
            advice = (
                "; is the agent's user in the group dialout?" if isinstance(error, PermissionError) else ""
            )
            raise SensorFailedError(f"{self.address}: {error.strerror}{advice}") from error
        try:
            if not stat.S_ISCHR(os.fstat(descriptor).st_mode) or not os.isatty(descriptor):
                raise SensorUnsupportedError(f"{self.address} is no serial line")
            _set_raw(descriptor, self._speed)
        except termios.error as error:
            os.close(descriptor)
            raise SensorUnsupportedError(f"{self.address} cannot be set to this speed") from error
        except SensorUnsupportedError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        return descriptor

    def _newest_line(self, descriptor: int) -> tuple[str, int]:
        """Return the newest complete line and when it was there; waits for one, up to a deadline."""
        wait_s = max(_LINE_WAIT_S, 3.0 * (self.period_s or 0.0))
        deadline_ns = self._clock_ns() + round(wait_s / _NS)
        newest: tuple[str, int] | None = None
        while True:
            left_s = 0.0 if newest else max(0.0, (deadline_ns - self._clock_ns()) * _NS)
            ready, _, _ = select.select([descriptor], [], [], left_s)
            if not ready:
                break
            try:
                data = os.read(descriptor, _BUFFER_BYTES)
            except BlockingIOError:
                data = b""
            if not data:
                raise OSError(5, "the line was closed")
            newest = self._take(data) or newest
            if self._clock_ns() >= deadline_ns:
                break
        if newest is None:
            raise SensorFailedError(f"{self.address} wrote no line in {wait_s:g} s")
        return newest

    def _take(self, data: bytes) -> tuple[str, int] | None:
        *complete, rest = (self._buffer + data).split(b"\n")
        self._buffer = rest[-_LINE_BYTES_MAX:]
        if complete and not self._whole:
            # Reading began somewhere within the first line.
            del complete[0]
            self._whole = True
        lines = [line for line in complete if line.strip()]
        return (lines[-1].decode("ascii", "replace").strip(), self._clock_ns()) if lines else None

    def _power(self, line: str) -> float:
        words = line.replace(",", " ").replace(";", " ").split()
        if len(words) != len(self._columns) or len(line) > _LINE_BYTES_MAX:
            raise SensorUnsupportedError(
                f"{self.address} wrote {line[:40]!r}, not {len(self._columns)} numbers ({':'.join(self._columns)})"
            )
        found: dict[str, float] = {}
        for column, word in zip(self._columns, words, strict=True):
            if column == _SKIPPED:
                continue
            quantity, scale = _UNITS[column]
            found[quantity] = self._value_of(word, line) * scale
        return found["W"] if "W" in found else found["V"] * found["A"]

    def _value_of(self, word: str, line: str) -> float:
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise SensorUnsupportedError(f"{self.address} wrote {line[:40]!r}: {word[:20]!r} is no number")
        return value


def _columns(text: str) -> tuple[str, ...]:
    columns = tuple(text.split(":"))
    named = [column for column in columns if column != _SKIPPED]
    quantities = sorted(_UNITS[column][0] for column in named if column in _UNITS)
    if len(quantities) != len(named) or quantities not in (["W"], ["A", "V"], ["A", "V", "W"]):
        raise InvalidInputError(
            f"columns={text} does not say where a power is.",
            next_step="Name each number of a line once, for example mV:mA, or -:W with the first one skipped.",
        )
    return columns


def _speed(text: str) -> int:
    speed = getattr(termios, f"B{text}", None) if text.isdecimal() and text != "0" else None
    if not isinstance(speed, int):
        raise InvalidInputError(f"baud={text} is no speed of a serial line; 9600 and 115200 are usual.")
    return speed


def _period_s(text: str) -> float:
    try:
        period_s = float(text)
    except ValueError:
        period_s = math.nan
    if not 0.001 <= period_s <= 60.0:
        raise InvalidInputError(f"period={text}: it is the seconds between two lines, from 0.001 to 60.")
    return period_s


def _set_raw(descriptor: int, speed: int) -> None:
    """Set eight data bits, no echo, no translation, no flow control, at this speed."""
    attributes = termios.tcgetattr(descriptor)
    attributes[0] = attributes[1] = attributes[3] = 0
    attributes[2] = termios.CS8 | termios.CREAD | termios.CLOCAL
    attributes[4] = attributes[5] = speed
    attributes[6][termios.VMIN], attributes[6][termios.VTIME] = 1, 0
    termios.tcsetattr(descriptor, termios.TCSANOW, attributes)
