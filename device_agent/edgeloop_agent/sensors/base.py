"""What a sensor driver has to offer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from edgeloop_foundation.errors import EdgeloopError, NotFoundError, UnavailableError, UnsupportedError
from edgeloop_protocol.types.facts import SensorFacts
from edgeloop_protocol.types.measurement import Reading

__all__ = ["Sensor", "SensorAbsentError", "SensorFailedError", "SensorUnsupportedError"]


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


class Sensor(ABC):
    """One source of readings below a root directory."""

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

    def __init__(self, root: Path) -> None:
        self._root = root

    def probe(self) -> SensorFacts:
        """Return what is there, or a reason that begins with "absent", "unsupported" or "failed"."""
        channels: tuple[str, ...] = ()
        reason = ""
        try:
            readings = self._readings()
            channels = tuple(reading.name for reading in readings)
            if all(reading.value is None for reading in readings):
                reason = readings[0].reason if readings else "absent: no channel"
        except (SensorAbsentError, SensorUnsupportedError, SensorFailedError) as error:
            reason = _reason(error)
        return SensorFacts(
            name=self.name,
            quantity=self.quantity,
            unit=self.unit,
            scope=self.scope,
            period_s=self.period_s,
            resolution=self.resolution,
            channels=channels,
            reason=reason,
        )

    def read(self) -> tuple[Reading, ...]:
        """Return one reading per channel; none for an absent sensor, one with the reason for a failed one."""
        try:
            return self._readings()
        except SensorAbsentError:
            return ()
        except (SensorUnsupportedError, SensorFailedError) as error:
            return (Reading(name=self.name, unit=self.unit, reason=_reason(error)),)

    @abstractmethod
    def _readings(self) -> tuple[Reading, ...]:
        """Read every channel.

        Raises:
            SensorAbsentError: the device has none.
            SensorUnsupportedError: it has one that this driver cannot use.
            SensorFailedError: it could not be read.
        """

    def _reading(self, channel: str, path: Path, scale: float) -> Reading:
        """Return one number from one file, times ``scale``; with the reason when that fails."""
        try:
            value = self._number(path) * scale
        except (SensorAbsentError, SensorUnsupportedError, SensorFailedError) as error:
            return self._missing(channel, path, _reason(error))
        return Reading(name=f"{self.name}/{channel}", unit=self.unit, value=value, source=self._source(path))

    def _missing(self, channel: str, path: Path, reason: str) -> Reading:
        return Reading(
            name=f"{self.name}/{channel}", unit=self.unit, reason=reason, source=self._source(path)
        )

    def _source(self, path: Path) -> str:
        """Return the path as it is on the device, whatever the root."""
        return f"/{path.relative_to(self._root)}"

    def _text(self, path: Path) -> str:
        try:
            return path.read_text().strip()
        except FileNotFoundError as error:
            raise SensorAbsentError(f"no {self._source(path)}") from error
        except (OSError, UnicodeDecodeError) as error:
            what = error.strerror if isinstance(error, OSError) else "not text"
            raise SensorFailedError(f"{self._source(path)}: {what}") from error

    def _number(self, path: Path) -> int:
        text = self._text(path)
        try:
            return int(text, 0)
        except ValueError as error:
            raise SensorUnsupportedError(f"{self._source(path)} holds {text[:40]!r}, no number") from error


def _reason(error: EdgeloopError) -> str:
    return f"{_PREFIX[type(error)]}: {error}"
