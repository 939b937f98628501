"""What the firmware of a Raspberry Pi prints of the rails behind its power management chip."""

from __future__ import annotations

from edgeloop_profiles.profile import Profile, Sensor

from edgeloop_agent.simulate.files.text import Files, required
from edgeloop_agent.simulate.state import BoardState

__all__ = ["pmic"]

_STEP_A = 0.97593e-3
"""Step of the currents that a Raspberry Pi 5 was seen to print (0.06245952 A is 64 of them)."""
_SUPPLY = "EXT5V_V volt(24)=5.10000000V"
"""Has no current, and so no power."""


def pmic(profile: Profile, sensor: Sensor, state: BoardState) -> Files:
    """Return the output of ``vcgencmd pmic_read_adc``: the currents of all rails, then their voltages."""
    volts, chip = required(profile, sensor, "volts", sensor.volts), state.chips[sensor.name]

    def output() -> str:
        lines = [
            f"{rail}_A current({index})={round(chip.power_w(index) / volt / _STEP_A) * _STEP_A:.8f}A"
            for index, (rail, volt) in enumerate(zip(sensor.channels, volts, strict=True))
        ]
        first = len(lines)
        lines += [
            f"{rail}_V volt({first + index})={volt:.8f}V"
            for index, (rail, volt) in enumerate(zip(sensor.channels, volts, strict=True))
        ]
        return "".join(f"{line:>40}\n" for line in [*lines, _SUPPLY])

    return {"commands/vcgencmd_pmic_read_adc": output}
