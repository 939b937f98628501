"""The board itself: what jobs see instead of ``RealBoard``."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from edgeloop_foundation.ports.process import ProcessPort
from edgeloop_profiles.predict import basis_of
from edgeloop_profiles.profile import Profile
from edgeloop_protocol.types.conditions import Conditions
from edgeloop_protocol.types.facts import Facts, SensorFacts
from edgeloop_protocol.types.run import Simulation

from edgeloop_agent.board import RealBoard, RunnerSession, RunnerStart
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.fitness.idle_temperature import IdleTemperature
from edgeloop_agent.fitness.vitals import ClockPolicy, Seen, Vitals
from edgeloop_agent.power.sampler import Sampler, SensorReader, SteppedSampler
from edgeloop_agent.simulate.clock import SimulatedJobClock
from edgeloop_agent.simulate.facts import build_facts
from edgeloop_agent.simulate.parity import ParitySession
from edgeloop_agent.simulate.session import SimulatedSession
from edgeloop_agent.simulate.state import BoardState
from edgeloop_agent.simulate.stress import Stress
from edgeloop_agent.simulate.workload import Workload, runtime_version

__all__ = ["SimulatedBoard"]

_DISTURBED = ", with scripted faults"


class SimulatedBoard:
    """A board that follows a profile; a process of the agent simulates one, or a share of a fleet.

    Heat lives as long as this object: a new agent starts with a cold board, so that one seed and the same
    jobs give the same records.

    Args:
        profile: what it simulates.
        seed: of its noise.
        name: the device's name for people.
        state_directory: the agent's own directory.
        processes: starts the real runners that parity needs.
        boot: how often it was started before; every boot has an identifier of its own.
        stress: what weighs on it beyond its profile; its records then say that its faults are scripted.
        on_pass: told the job time, in nanoseconds, whenever some has passed.
    """

    def __init__(
        self,
        profile: Profile,
        seed: int,
        name: str,
        state_directory: Path,
        processes: ProcessPort,
        *,
        boot: int = 0,
        stress: Stress | None = None,
        on_pass: Callable[[int], None] | None = None,
    ) -> None:
        self.simulation: Simulation | None = Simulation(
            profile=profile.name,
            profile_digest=profile.digest,
            # A record of a board that was disturbed on purpose never passes for a plain prediction.
            basis=basis_of(profile, profile.runtimes[0].name) + (_DISTURBED if stress is not None else ""),
            seed=seed,
            # One figure for all records of the board, so the widest of its runtimes and precisions.
            interval_factor=max(
                interval.factor for runtime in profile.runtimes for interval in runtime.intervals
            ),
        )
        self._profile, self._seed, self._name = profile, seed, name
        self._state_directory = state_directory
        self._boot = boot
        self._state = BoardState(profile, stress)
        self.idle_temperature = IdleTemperature()
        self.clock = SimulatedJobClock(
            idle=lambda seconds: self._state.advance(seconds, 0, "fp32"),
            on_pass=on_pass,
            stress=self._state.stress,
        )
        self._host = RealBoard(state_directory, name, processes)

    async def facts(self) -> Facts:
        """Return the profile as facts, marked as simulated."""
        facts = await asyncio.to_thread(
            build_facts, self._profile, self._seed, self._name, self._state_directory, self._boot
        )
        gone = self._state.stress.gone_sensors
        if not gone:
            return facts
        sensors = tuple(
            dataclasses.replace(sensor, reason="it cannot be read any more")
            if sensor.name in gone
            else sensor
            for sensor in facts.sensors
        )
        return dataclasses.replace(facts, sensors=sensors)

    async def conditions(self) -> Conditions:
        """Return simulated temperature, clock, throttling and power; what is not simulated is absent."""
        figures = self._profile.memory
        disk = await asyncio.to_thread(shutil.disk_usage, self._state_directory)
        return Conditions(
            wall_time_s=self.clock.wall_s(),
            monotonic_ns=self.clock.monotonic_ns(),
            available_memory_bytes=figures.total_bytes - figures.reserved_bytes,
            free_disk_bytes=disk.free,
            governor=self._profile.processor.governor,
            readings=self._state.readings(),
        )

    async def vitals(self, runner_pids: Sequence[int] = ()) -> Vitals:
        """Return what is simulated: sensors, memory, and a clock that does not follow the load."""
        figures, processor = self._profile.memory, self._profile.processor
        return Vitals(
            monotonic_ns=self.clock.monotonic_ns(),
            policies=Seen(
                value=(
                    ClockPolicy(
                        name="policy0",
                        governor=processor.governor,
                        minimum_hz=processor.max_frequency_hz,
                        maximum_hz=processor.max_frequency_hz,
                    ),
                )
            ),
            available_memory_bytes=Seen(value=figures.total_bytes - figures.reserved_bytes),
            readings=self._state.readings(),
        )

    async def loop_speed(self) -> float | None:
        """Return the simulated clock."""
        return self._state.frequency_hz

    def sampler(self, sensor: SensorFacts) -> Sampler:
        """Return a sampler that looks between batches: job time passes with them, not by itself."""
        reader = SensorReader(read=self._state.readings, now_ns=self.clock.monotonic_ns, wrap_count=lambda: 0)
        return SteppedSampler(sensor, reader)

    async def start_runner(self, start: RunnerStart) -> RunnerSession:
        """Return a simulated process; for parity, a real one of this machine: real numerics.

        Raises:
            RunnerFailure: the real one could not be started.
        """
        if start.purpose == "parity" and self._accepts(start):
            # Processors of the simulated board need not exist here; numerics do not depend on them.
            settings = dataclasses.replace(start.settings, affinity=())
            runner = await self._host.start_runner(dataclasses.replace(start, settings=settings))
            return ParitySession(runner, runtime_version(self._profile.runtime(settings.runtime)))
        return SimulatedSession(
            self._profile, start, clock=self.clock, state=self._state, board_seed=self._seed
        )

    def _accepts(self, start: RunnerStart) -> bool:
        """Return whether the board could run this; if not, a simulated session says why at ``open``."""
        try:
            workload = Workload(self._profile, start.artifact, start.settings, start.batch_size)
            workload.check_memory(start.memory_bytes)
        except RunnerFailure:
            return False
        return True
