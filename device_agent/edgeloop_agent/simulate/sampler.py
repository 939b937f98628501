"""Samples a sensor of power of a simulated board at the sensor's own rate, on job time."""

from __future__ import annotations

from edgeloop_protocol.types.facts import SensorFacts

from edgeloop_agent.power.sampler import Sampled, SensorReader, SteppedSampler, interval_of
from edgeloop_agent.simulate.state import BoardState, Look

__all__ = ["JobTimeSampler"]


class JobTimeSampler(SteppedSampler):
    """What a thread does on a real board, the passing of job time does here: also while batches run.

    A counter of energy needs no samples in between: it is read at both ends.
    """

    def __init__(self, sensor: SensorFacts, reader: SensorReader, state: BoardState) -> None:
        super().__init__(sensor, reader)
        self._interval_s = None if sensor.quantity == "energy" else interval_of(sensor)
        self._state = state
        self._look: Look | None = None

    async def begin(self) -> None:
        """Take the first sample and go on."""
        self._halt()
        await super().begin()
        if self._interval_s is not None:
            self._look = self._state.every(self._interval_s, self.take)

    async def step(self) -> None:
        """Do nothing: job time samples by itself."""

    async def end(self) -> Sampled:
        """Take the last sample and stop."""
        self._halt()
        return await super().end()

    def _halt(self) -> None:
        look, self._look = self._look, None
        if look is not None:
            self._state.cancel(look)
