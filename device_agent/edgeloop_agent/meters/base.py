"""What a driver of an external meter has to offer, beyond being a sensor."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError
from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.sensors.base import Sensor

__all__ = ["Meter"]

_NS = 1e-9
_RETRY_S = 5.0
"""A meter that did not answer is asked again after this: every try may take its whole deadline."""
_SCOPES = ("rail", "board", "wall")


class Meter(Sensor):
    """A meter outside of the board, which measures what the board as a whole takes.

    It is asked once per period at most; in between it repeats its last reading, which keeps its time. A meter that
    fails is asked again after some seconds.

    Args:
        address: where it is.
        options: by name; each is taken or refused. Every kind takes ``scope``: "rail", "board" or "wall".
        now_ns: the board's monotonic clock.
    """

    scope: ClassVar[str] = "wall"
    #: Reading one waits for something outside of the board, which keeps no processor busy.
    waits_outside: ClassVar[bool] = True
    #: Names of the options that this kind takes beside ``scope``.
    option_names: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self,
        address: str,
        options: Mapping[str, str] | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__(Path("/"))
        self.address = address
        self.options = dict(options or {})
        self._clock_ns = now_ns
        self._kept: tuple[Reading, ...] | EdgeloopError = ()
        self._next_ns: int | None = None
        unknown = sorted(set(self.options) - self.option_names - {"scope"})
        if unknown:
            known = ", ".join(sorted(self.option_names | {"scope"}))
            raise InvalidInputError(f"a {self.name} meter has no option {unknown[0]!r}; it has {known}.")
        self.scope = self.choice("scope", _SCOPES)  # type: ignore[misc]  # one instance is one meter

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """Return an option that has to be one of ``allowed``; the class's own value when it is not given.

        Raises:
            InvalidInputError: it is something else.
        """
        value = self.options.get(name, str(getattr(self, name)))
        if value not in allowed:
            raise InvalidInputError(
                f"{name} of a {self.name} meter is one of {', '.join(allowed)}, not {value!r}."
            )
        return value

    def _readings(self) -> tuple[Reading, ...]:
        now_ns = self._clock_ns()
        if self._next_ns is None or now_ns >= self._next_ns:
            self._ask()
        if isinstance(self._kept, EdgeloopError):
            raise self._kept.with_traceback(None)
        return self._kept

    def _ask(self) -> None:
        wait_s = self.period_s or 0.0
        try:
            self._kept = self._measure()
        except EdgeloopError as error:
            self._kept, wait_s = error, _RETRY_S
        # From the end of the question: a meter that takes long is not asked without a pause.
        self._next_ns = self._clock_ns() + round(wait_s / _NS)

    @abstractmethod
    def _measure(self) -> tuple[Reading, ...]:
        """Ask the meter.

        Raises:
            SensorAbsentError: nothing is there.
            SensorUnsupportedError: something is there that this driver cannot use.
            SensorFailedError: it did not answer.
        """

    def _one(self, channel: str, value: float, source: str, time_ns: int) -> tuple[Reading, ...]:
        """Return the one reading of a meter."""
        return (
            Reading(
                name=f"{self.name}/{channel}", unit=self.unit, value=value, source=source, time_ns=time_ns
            ),
        )
