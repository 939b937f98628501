"""The board itself: what jobs see instead of ``RealBoard``."""

from __future__ import annotations

import asyncio
import dataclasses
import weakref
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from edgeloop_foundation.ports.fs import OsFileSystem
from edgeloop_foundation.ports.process import ProcessPort
from edgeloop_profiles.predict import basis_of
from edgeloop_profiles.profile import Profile
from edgeloop_protocol.types.conditions import Conditions
from edgeloop_protocol.types.facts import Facts, SensorFacts
from edgeloop_protocol.types.measurement import Reading
from edgeloop_protocol.types.run import Simulation

from edgeloop_agent.board import RealBoard, RunnerSession, RunnerStart
from edgeloop_agent.conditions import read_conditions
from edgeloop_agent.directories import SIMULATED_SYSTEM
from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.fitness.idle_temperature import IdleTemperature
from edgeloop_agent.fitness.kernel_files import read_vitals
from edgeloop_agent.fitness.vitals import Seen, Vitals
from edgeloop_agent.power.sampler import Sampler
from edgeloop_agent.sensors import BUILTIN, SensorSet
from edgeloop_agent.simulate.clock import SimulatedJobClock
from edgeloop_agent.simulate.facts import build_facts
from edgeloop_agent.simulate.parity import ParitySession
from edgeloop_agent.simulate.sampler import JobTimeSampler
from edgeloop_agent.simulate.session import SimulatedSession
from edgeloop_agent.simulate.state import BoardState
from edgeloop_agent.simulate.stress import Stress
from edgeloop_agent.simulate.system import PLUG, RenderedSystem
from edgeloop_agent.simulate.workload import Workload, runtime_version
from edgeloop_agent.telemetry.activity import Activity, read_activity

__all__ = ["SimulatedBoard"]

_DISTURBED = ", with scripted faults"


class SimulatedBoard:
    """A board that follows a profile; a process of the agent simulates one, or a share of a fleet.

    Heat lives as long as this object: a new agent starts with a cold board, so that one seed and the same
    jobs give the same records. Its sensors are read by the agent's own drivers, from the files that its operating
    system would have; ``state`` and ``system`` are what a script of faults takes hold of.

    Args:
        profile: what it simulates.
        seed: of its noise.
        name: the device's name for people.
        state_directory: the agent's own directory.
        processes: starts the real runners that parity needs.
        numerics: "isa" or "host", see ``simulate.parity``.
        boot: how often it was started before; every boot has an identifier of its own.
        stress: what weighs on it beyond its profile; its records then say that its faults are scripted.
        on_pass: told the job time, in nanoseconds, whenever some has passed.
        pace: seconds of job time in one of wall time; 0 is as fast as it goes.
    """

    def __init__(
        self,
        profile: Profile,
        seed: int,
        name: str,
        state_directory: Path,
        processes: ProcessPort,
        *,
        numerics: str = "isa",
        boot: int = 0,
        stress: Stress | None = None,
        on_pass: Callable[[int], None] | None = None,
        pace: float = 0.0,
    ) -> None:
        self._isa_tier = profile.processor.isa_tier if numerics == "isa" else ""
        self._disturbed = disturbed = _DISTURBED if stress is not None else ""
        self.simulation: Simulation | None = Simulation(
            profile=profile.name,
            profile_digest=profile.digest,
            # A record of a board that was disturbed on purpose never passes for a plain prediction.
            basis=basis_of(profile, profile.runtimes[0].name) + disturbed,
            seed=seed,
            # Until a trial has a prediction of its own: the widest of its runtimes and precisions.
            interval_factor=max(
                interval.factor for runtime in profile.runtimes for interval in runtime.intervals
            ),
        )
        self._profile, self._seed, self._name = profile, seed, name
        self._state_directory, self._processes = state_directory, processes
        self._boot = boot
        stress = stress or Stress()
        self.clock = SimulatedJobClock(
            idle=lambda seconds: self.state.advance(seconds, 0, "fp32"),
            on_pass=on_pass,
            stress=stress,
            pace=pace,
        )
        #: Heat, clock and power.
        self.state = BoardState(profile, self.clock, seed, stress)
        #: The files that its operating system shows.
        self.system = RenderedSystem(state_directory / SIMULATED_SYSTEM, profile, self.state)
        # Drivers of others might look at this machine instead of the files.
        self._sensors = SensorSet(self.system.root, self.clock.monotonic_ns, tuple(BUILTIN))
        self._attach_plug()
        self._fs = OsFileSystem()
        self.idle_temperature = IdleTemperature()

    async def facts(self) -> Facts:
        """Return the profile as facts, marked as simulated, with the sensors that the drivers find."""
        self.system.refresh()
        # What a reading costs here says nothing of what it costs there.
        sensors = [dataclasses.replace(sensor, cost_s=None) for sensor in self._sensors.probe()]
        return await asyncio.to_thread(
            build_facts, self._profile, self._seed, self._name, self._state_directory, sensors, self._boot
        )

    async def conditions(self) -> Conditions:
        """Read the simulated files as those of a real board are read; what is not simulated is absent."""
        self.system.refresh()
        conditions = read_conditions(
            self.system.root, self._state_directory, self._fs, self.clock, self._sensors
        )
        return dataclasses.replace(conditions, readings=self._said(conditions.readings))

    async def vitals(self, runner_pids: Sequence[int] = ()) -> Vitals:
        """Read the same files for what decides whether this moment is fit to measure; no process is simulated."""
        self.system.refresh()
        readings = self._said(self._sensors.read())
        return read_vitals(self.system.root, self.clock.monotonic_ns(), readings)

    async def activity(self) -> Activity:
        """Read the simulated files; processor time and network are not simulated, and absent."""
        return read_activity(self.system.root, Seen(value=self._fs.total_bytes(self._state_directory)))

    async def loop_speed(self) -> float | None:
        """Return the simulated clock."""
        return self.state.frequency_hz

    def sampler(self, sensor: SensorFacts) -> Sampler:
        """Return a sampler that reads at the sensor's own rate, driven by job time."""
        drivers = self._sensors
        if sensor.name != PLUG:
            # One of its own: whoever looks at the board meanwhile must not change what is sampled.
            drivers = SensorSet(self.system.root, self.clock.monotonic_ns, (sensor.name,))
        driver = drivers.reader(sensor.name, self.clock.monotonic_ns)

        def read() -> tuple[Reading, ...]:
            self.system.refresh(sensor.name)
            return driver.read()

        return JobTimeSampler(sensor, dataclasses.replace(driver, read=read), self.state)

    def _attach_plug(self) -> None:
        """Put the wall plug that the profile declares in front of the board."""
        for sensor in self._profile.sensors:
            if sensor.name == PLUG and sensor.channels:
                # Imported here: boards without one do without an HTTP server.
                from edgeloop_agent.simulate.plug import SimulatedPlug

                plug = SimulatedPlug(sensor, self.state.chips[sensor.name], self.clock.monotonic_ns)
                weakref.finalize(self, plug.close)
                self._sensors.attach([plug.meter])

    def _said(self, readings: Iterable[Reading]) -> tuple[Reading, ...]:
        """Return readings whose source says that the file was simulated."""
        by = f"simulated by profile {self._profile.name}"

        def source(reading: Reading) -> str:
            # The port of a simulated plug is another one each time.
            return by if not reading.source or "://" in reading.source else f"{reading.source}, {by}"

        return tuple(dataclasses.replace(reading, source=source(reading)) for reading in readings)

    async def keep_spare(self) -> None:
        """Do nothing: a simulated process is there at once."""

    async def start_runner(self, start: RunnerStart) -> RunnerSession:
        """Return a simulated process; for parity, a real one of this machine: real numerics.

        Raises:
            RunnerFailure: the real one could not be started.
        """
        if start.purpose == "parity" and self._accepts(start):
            # Processors of the simulated board need not exist here; numerics do not depend on them.
            settings = dataclasses.replace(start.settings, affinity=())
            # Made when it is needed: it looks for the drivers of this machine, and most boards never need it.
            host = RealBoard(self._state_directory, self._name, self._processes)
            runner = await host.start_runner(dataclasses.replace(start, settings=settings))
            version = runtime_version(self._profile.runtime(settings.runtime))
            return ParitySession(runner, version, self._isa_tier)
        return SimulatedSession(
            self._profile,
            start,
            clock=self.clock,
            state=self.state,
            board_seed=self._seed,
            disturbed=self._disturbed,
        )

    def _accepts(self, start: RunnerStart) -> bool:
        """Return whether the board could run this; if not, a simulated session says why at ``open``."""
        try:
            workload = Workload(self._profile, start.artifact, start.settings, start.batch_size)
            workload.check_memory(start.memory_bytes)
        except RunnerFailure:
            return False
        return True
