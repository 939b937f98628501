"""What a profile declares of heat, clock caps, electrical power, and the sensors that show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from edgeloop_foundation.errors import InvalidInputError

from edgeloop_profiles.bounds import Choice, Fraction, NotNegative, Positive, Text
from edgeloop_profiles.provenance import Figures

__all__ = ["FanStep", "Power", "Sensor", "Thermal", "Throttle", "ThrottleStep", "TripPoint"]

SensorQuantity = Annotated[
    str,
    Choice(("temperature", "frequency", "residency", "events", "power", "energy", "power_mode", "load")),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FanStep:
    """At or above this temperature the fan turns this fast."""

    temperature_celsius: float
    #: From board to ambient while it does.
    board_k_per_w: Positive
    #: What the fan draws.
    power_w: NotNegative


@dataclass(frozen=True, slots=True, kw_only=True)
class TripPoint:
    """A temperature at which the kernel acts, as it is shown in every thermal zone."""

    kind: Annotated[str, Choice(("active", "passive", "hot", "critical"))]
    temperature_celsius: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Thermal(Figures):
    """Two thermal masses in a row: die, then board with heatsink, then ambient."""

    #: What cools it, in words.
    cooling: Text
    ambient_celsius: float
    die_j_per_k: Positive
    #: From die to board.
    die_k_per_w: Positive
    board_j_per_k: Positive
    #: From board to ambient, with the fan at rest where its steps are declared.
    board_k_per_w: Positive
    #: Steps of the fan, rising in temperature, falling in resistance; empty without one that is regulated.
    fan: tuple[FanStep, ...] = ()
    #: The fan slows down this far below the temperature that sped it up.
    fan_hysteresis_kelvin: NotNegative = 0.0
    #: Trip points that the kernel shows.
    trips: tuple[TripPoint, ...] = ()

    def __post_init__(self) -> None:
        temperatures = [step.temperature_celsius for step in self.fan]
        resistances = [self.board_k_per_w, *(step.board_k_per_w for step in self.fan)]
        if temperatures != sorted(temperatures) or resistances != sorted(resistances, reverse=True):
            raise InvalidInputError(
                f"fan: found {list(zip(temperatures, resistances[1:], strict=True))} after {self.board_k_per_w:g} K/W, "
                "allowed are temperatures that rise with resistances that fall."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ThrottleStep:
    """At or above this temperature the clock is capped."""

    temperature_celsius: float
    frequency_hz: Positive


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle(Figures):
    """What the firmware does when it gets hot."""

    #: Rising in temperature, falling in frequency.
    steps: tuple[ThrottleStep, ...]
    #: A cap is lifted this far below the temperature that set it.
    hysteresis_kelvin: NotNegative
    #: Clock while the supply voltage is too low; absent where that does not cap it, or is not noticed.
    under_voltage_frequency_hz: Positive | None = None

    def __post_init__(self) -> None:
        temperatures = [step.temperature_celsius for step in self.steps]
        clocks = [step.frequency_hz for step in self.steps]
        if temperatures != sorted(temperatures) or clocks != sorted(clocks, reverse=True):
            raise InvalidInputError(
                f"steps: found {list(zip(temperatures, clocks, strict=True))}, "
                "allowed are temperatures that rise with frequencies that fall."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Power(Figures):
    """Electrical power of the whole board."""

    idle_w: Positive
    #: Added by each busy core at the highest clock with fp32 arithmetic.
    core_w: Positive
    #: The same for int8, relative to fp32.
    int8_factor: Positive
    #: Dynamic power goes with this power of the clock.
    frequency_exponent: Positive
    #: Share of the power that heats the die; the rest heats the board.
    die_fraction: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Sensor(Figures):
    """What the operating system shows of one sensor, for the agent's driver of that name to read; or its absence."""

    #: Name of the driver.
    name: Text
    quantity: SensorQuantity
    unit: Text
    scope: Text
    #: Channels of the driver; rails in the order in which the chip has them.
    channels: tuple[Text, ...] = ()
    #: Time for which the hardware holds a value; absent when it is that of the reading.
    period_s: Positive | None = None
    #: Smallest step of the hardware where the operating system shows finer ones.
    resolution: Positive | None = None
    #: Power sensors read gain x board power + offset.
    gain: float = 1.0
    offset_w: float = 0.0
    #: Time constant by which a power trails, first order.
    lag_s: NotNegative = 0.0
    #: Standard deviation of one update of a held value, relative to it.
    noise_fraction: NotNegative = 0.0
    #: Whether it also sees what the fan draws.
    sees_fan: bool = False
    #: Part of what the sensor sees, by channel; empty is all of it in every channel.
    shares: tuple[NotNegative, ...] = ()
    #: Voltage by channel, of sensors that show voltage and current.
    volts: tuple[Positive, ...] = ()
    #: Shunt of a chip that measures current.
    shunt_ohm: Positive | None = None
    #: A counter of energy goes back to 0 here.
    range_j: Positive | None = None
    #: Lowest clock that the governor may choose; absent while the clock is held at the highest.
    minimum_hz: Positive | None = None
    #: Where the operating system shows it, below the root, for what differs from board to board.
    path: str = ""
    #: What is shown instead of a figure of the model, for example the name of a power mode.
    text: str = ""
    #: Why it cannot be read; empty when it can.
    reason: str = ""

    def __post_init__(self) -> None:
        if bool(self.channels) == bool(self.reason):
            raise InvalidInputError(
                f"channels: found {list(self.channels)} with reason {self.reason!r}, "
                "allowed is one of them: a sensor is there, or a reason is."
            )
        if self.noise_fraction and self.period_s is None:
            raise InvalidInputError(
                f"noise_fraction: found {self.noise_fraction:g} without period_s, allowed is both: "
                "every update has a noise of its own."
            )
        for field, values in (("shares", self.shares), ("volts", self.volts)):
            if values and len(values) != len(self.channels):
                raise InvalidInputError(
                    f"{field}: found {len(values)} values, allowed is one per channel, {len(self.channels)}."
                )
        if self.path.startswith("/") or ".." in self.path.split("/"):
            raise InvalidInputError(
                f"path: found {self.path!r}, allowed is a path below the root without '..'."
            )
