"""The files and command outputs that the operating system of a simulated board shows, one file a subject.

Law: standard library, profiles and the state of the board. A renderer knows what a kernel or a firmware writes, in its
units and steps; it never knows who reads it. What a driver of the agent's ``sensors/`` does not read is not written.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_profiles.profile import Profile, Sensor

from edgeloop_agent.simulate.files import jetson, power, processor, raspberry_pi
from edgeloop_agent.simulate.files.text import Files
from edgeloop_agent.simulate.state import BoardState

__all__ = ["RENDERERS", "Files", "Renderer", "machine", "render"]

Renderer = Callable[[Profile, Sensor, BoardState], Files]
"""Returns the files of one sensor."""

RENDERERS: dict[str, Renderer] = {
    "thermal": processor.thermal,
    "cpufreq": processor.cpufreq,
    "time_in_state": processor.time_in_state,
    "throttle": processor.throttle,
    "rapl": power.rapl,
    "ina2xx": power.ina2xx,
    "ina3221": power.ina3221,
    "power_supply": power.power_supply,
    "pmic": raspberry_pi.pmic,
    "jetson_power": jetson.jetson_power,
    "jetson_throttle": jetson.jetson_throttle,
    "overcurrent": jetson.overcurrent,
    "nvpmodel": jetson.nvpmodel,
    "devfreq": jetson.devfreq,
    "devfreq_load": jetson.devfreq_load,
}
"""What is shown for a driver of that name."""


def render(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return the files of a sensor that is there.

    Raises:
        InvalidInputError: no driver reads a sensor of that name.
    """
    if sensor.name not in RENDERERS:
        raise InvalidInputError(
            f"{profile.name}.toml: sensors: found the name {sensor.name!r}, allowed is one of "
            f"{', '.join(RENDERERS)}, shelly.",
            next_step="Correct the name.",
        )
    return RENDERERS[sensor.name](profile, sensor, state)


def machine(profile: Profile) -> Files:
    """Return the files that every board has: its model and its memory."""
    figures = profile.memory
    available = figures.total_bytes - figures.reserved_bytes
    memory = f"MemTotal: {figures.total_bytes // 1024} kB\nMemAvailable: {available // 1024} kB\n"
    return {"proc/meminfo": lambda: memory, "proc/device-tree/model": lambda: profile.processor.board_model}
