"""Plugs with Tasmota firmware and an energy monitor, over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import ClassVar

from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.meters.base import Meter
from edgeloop_agent.meters.http_json import HttpAddress, number_at
from edgeloop_agent.sensors.base import SensorUnsupportedError

__all__ = ["Tasmota"]

_STATUS = "/cm?cmnd=Status%208"
_KILOWATT_HOUR_J = 3.6e6
_MODES = {"power": "watt", "energy": "joule"}
_RESOLUTION = {"power": 1.0, "energy": 3600.0}
"""By default the firmware shows whole watts (``WattRes 0``) and three decimals of a kilowatt-hour (``EnergyRes 3``)."""


class Tasmota(Meter):
    """``tasmota=http://HOST[,quantity=energy]``; written against documentation, not run on hardware.

    ``/cm?cmnd=Status%208`` answers ``StatusSNS.ENERGY`` with ``Power`` in watts and ``Total`` in kilowatt-hours
    (Tasmota documentation, Commands and JSON status responses). Power is the default: with the firmware's own setting
    one step of the counter is 3600 J, which is more than most benchmarks take. ``WattRes 1`` on the plug gives power
    a decimal; the resolution stated here is that of the firmware's default.

    The answer's ``Time`` has whole seconds on the plug's own clock, which is too coarse to align by: a reading has
    the time of its exchange. Neither lag nor error is documented; the period of 1 s is ours.
    """

    name: ClassVar[str] = "tasmota"
    quantity: ClassVar[str] = "power"
    unit: ClassVar[str] = "watt"
    period_s: ClassVar[float | None] = 1.0
    resolution: ClassVar[float | None] = _RESOLUTION["power"]
    option_names: ClassVar[frozenset[str]] = frozenset({"quantity"})

    def __init__(
        self,
        address: str,
        options: Mapping[str, str] | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        super().__init__(address, options, now_ns)
        self._http = HttpAddress(self.name, address)
        chosen = self.choice("quantity", tuple(_MODES))
        self.quantity, self.unit = chosen, _MODES[chosen]  # type: ignore[misc]  # one instance is one meter
        self.resolution = _RESOLUTION[chosen]  # type: ignore[misc]

    def _measure(self) -> tuple[Reading, ...]:
        document, time_ns = self._http.get(_STATUS, self._clock_ns)
        source = self._http.source(_STATUS)
        # Without its password the firmware answers a warning with status 200.
        if isinstance(document, dict) and "WARNING" in document:
            raise SensorUnsupportedError(
                f"{source} wants a password, which this driver does not send; clear the web password of the plug, "
                "or put it on a network of its own"
            )
        if self.quantity == "power":
            value = number_at(document, "StatusSNS", "ENERGY", "Power")
        else:
            hours = number_at(document, "StatusSNS", "ENERGY", "Total")
            value = None if hours is None else hours * _KILOWATT_HOUR_J
        if value is None:
            raise SensorUnsupportedError(
                f"{source} tells no {self.quantity}: no Tasmota plug with one energy monitor"
            )
        return self._one("energy", value, source, time_ns)
