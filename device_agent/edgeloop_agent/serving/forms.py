"""Two resident forms of one model, of which one answers: the usual one, or a second one while a signal is high.

The signal is the hottest thermal zone, the length of the queue, or what another program writes into a file. Between the
two bounds nothing changes, and no change comes sooner than some seconds after the last one, so that a signal that
trembles does not make the answers tremble. A signal that cannot be read changes nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from edgeloop_foundation.errors import EdgeloopError, InvalidInputError
from edgeloop_protocol.types.serving import SwitchRule

from edgeloop_agent.serving.model import ServedModel
from edgeloop_agent.serving.versions import Versions

__all__ = ["DWELL_S", "Forms", "Gate", "signal_of"]

DWELL_S = 5.0
"""Least time between two changes of form."""

_LOOK_S = 0.5
_SIGNAL_BYTES_MAX = 64

_log = logging.getLogger(__name__)


class Gate:
    """Whether the second form is wanted, by a signal with two bounds and a least time between changes."""

    def __init__(self, rule: SwitchRule, dwell_s: float = DWELL_S) -> None:
        self._rule, self._dwell_s = rule, dwell_s
        self._changed_s = float("-inf")
        #: Whether the second form is wanted.
        self.wanted = False

    def look(self, signal: float | None, now_s: float) -> None:
        """Take in a reading, None for one that could not be had."""
        if signal is None or now_s - self._changed_s < self._dwell_s:
            return
        wanted = signal >= self._rule.high if not self.wanted else signal > self._rule.low
        if wanted != self.wanted:
            self.wanted, self._changed_s = wanted, now_s


def signal_of(
    rule: SwitchRule, queue_length: Callable[[], int], root: Path = Path("/")
) -> Callable[[], float | None]:
    """Return what reads the signal of a rule."""
    if rule.signal == "queue":
        return lambda: float(queue_length())
    if rule.signal == "file":
        return lambda: _written(Path(rule.path))
    # Only who asks for a temperature loads the drivers.
    from edgeloop_agent.fitness.vitals import temperature_of
    from edgeloop_agent.sensors import SensorSet

    sensors = SensorSet(root)
    return lambda: temperature_of(sensors.read()).value


def _written(path: Path) -> float | None:
    """Return the number that a program wrote; None when there is none."""
    try:
        with path.open("rb") as file:
            return float(file.read(_SIGNAL_BYTES_MAX).decode("ascii").strip())
    except (OSError, ValueError):
        return None


class Forms:
    """The second form of a deployment and when it answers.

    Args:
        second: its versions.
        first: the version of the usual form that answers, if any.
        gate: when the second one is wanted.
        signal: reads the signal.
        told: is told when another form answers (True) or cannot although it is wanted (False).
    """

    def __init__(
        self,
        second: Versions[ServedModel],
        first: Callable[[], ServedModel | None],
        gate: Gate,
        signal: Callable[[], float | None],
        told: Callable[[bool], None],
    ) -> None:
        self._second, self._first, self._gate = second, first, gate
        self._signal, self._told = signal, told
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None
        #: The second form while it answers; None while the usual one does.
        self.chosen: ServedModel | None = None
        #: Why the second form does not answer although it is wanted; empty otherwise.
        self.reason = ""

    def start(self) -> None:
        """Follow the signal from now on."""
        self._second.start()
        self._thread = threading.Thread(target=self._follow, name="forms", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Follow it no more."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._second.stop()

    def _follow(self) -> None:
        while not self._ends.wait(_LOOK_S):
            self.look(time.monotonic())

    def look(self, now_s: float) -> None:
        """Read the signal once and let that form answer which is wanted and ready."""
        signal = self._signal()
        self._gate.look(signal, now_s)
        chosen, reason = None, ""
        if self._gate.wanted:
            try:
                chosen = self._ready()
            except EdgeloopError as error:
                reason = f"the second form does not answer: {error}"
        if reason != self.reason:
            self.reason = reason
            self._told(False)
        if chosen is not self.chosen:
            self.chosen = chosen
            why = f"the signal is {signal:g}" if signal is not None else "the signal cannot be read"
            _log.warning("%s form answers: %s", "the second" if chosen else "the usual", why)
            self._told(True)

    def _ready(self) -> ServedModel:
        """Return the second form.

        Raises:
            InvalidInputError: it is not loaded, or takes or returns something else than the first.
        """
        second, first = self._second.current, self._first()
        if second is None:
            raise InvalidInputError(self._second.refused or "no version of it is ready here.")
        if first is None:
            return second
        for name, spec in first.inputs.items():
            other = second.inputs.get(name)
            if other is None or (other.dtype, other.shape) != (spec.dtype, spec.shape):
                raise InvalidInputError(f"its input {name!r} is not that of the usual form.")
        if set(second.inputs) != set(first.inputs) or set(second.output_names) != set(first.output_names):
            raise InvalidInputError("its inputs or outputs are not those of the usual form.")
        return second
