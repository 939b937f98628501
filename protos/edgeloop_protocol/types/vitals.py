"""How a device is at one moment."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_protocol.types.job import JobEvent
from edgeloop_protocol.types.measurement import Reading

__all__ = ["DeviceVitals"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceVitals:
    """One look at a device; whatever it does not tell is absent."""

    #: Wall clock of the device at the answer, seconds since 1970.
    wall_s: float
    #: How old the look is: 0 for one of its own, more when an earlier one was returned.
    age_s: float = 0.0
    #: How long the look took.
    look_s: float = 0.0
    #: Processor time of the agent meanwhile, all threads together: an upper bound of the look's cost.
    look_cpu_s: float = 0.0
    #: Load average over one minute.
    load_average_1min: float | None = None
    #: Hottest thermal zone.
    temperature_celsius: float | None = None
    #: Highest clock that a group of processors runs at.
    frequency_hz: float | None = None
    #: Frequency governors in force, joined by a comma where they differ; empty where the device does not tell.
    governor: str = ""
    #: Throttle states that hold now, for example "throttled".
    throttled: tuple[str, ...] = ()
    #: Memory for a new process.
    available_memory_bytes: int | None = None
    #: Free space of the file system that holds the agent's state.
    disk_free_bytes: int | None = None
    #: Whether the wall clock is disciplined.
    clock_synchronised: bool | None = None
    #: Who holds the device; of several, their names; empty when nobody does.
    lease_holder: str = ""
    #: Latest event of the job that runs; absent when none does.
    job: JobEvent | None = None
    #: Results that nobody has acknowledged yet.
    spool_waiting_count: int = 0
    #: Every sensor, read in the same look.
    readings: tuple[Reading, ...] = ()
    #: Whether those who hold it share it; False when one has it alone, and when nobody has it.
    lease_shared: bool = False
