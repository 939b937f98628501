"""Shelly plugs and relays with a power meter, first generation and Gen2 or later, over their local HTTP interface."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import ClassVar

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.measurement import Reading

from edgeloop_agent.meters.base import Meter
from edgeloop_agent.meters.http_json import HttpAddress, number_at
from edgeloop_agent.sensors.base import SensorAbsentError, SensorUnsupportedError

__all__ = ["Shelly"]

_GEN2 = "/rpc/Switch.GetStatus?id={channel}"
_GEN1 = "/status"
_WATT_HOUR_J = 3600.0
_WATT_MINUTE_J = 60.0
_MODES = {"energy": "joule", "power": "watt"}
_RESOLUTION = {"energy": 60.0, "power": 0.1}
"""A first-generation counter counts whole watt-minutes; a Gen2 one is finer, and judged as coarse all the same."""


class Shelly(Meter):
    """``shelly=http://HOST[,quantity=power][,channel=0]``; written against documentation, not run on hardware.

    Gen2 and later: ``/rpc/Switch.GetStatus?id=N`` with ``aenergy.total`` in watt-hours and ``apower`` in watts
    (Shelly API documentation, Gen2, Switch). First generation: ``/status`` with ``meters[N].total`` in watt-minutes
    and ``meters[N].power`` in watts (Gen1, common HTTP API). Which one it is, is found out by asking.

    The counter of energy is the default: its difference misses nothing between two readings. It goes back to 0 when
    a first-generation plug restarts, which is refused, not taken for a wrap. Its documentation states neither
    period, lag nor error of the values; the period of 1 s is ours, so as not to ask more often.
    """

    name: ClassVar[str] = "shelly"
    quantity: ClassVar[str] = "energy"
    unit: ClassVar[str] = "joule"
    period_s: ClassVar[float | None] = 1.0
    resolution: ClassVar[float | None] = _RESOLUTION["energy"]
    option_names: ClassVar[frozenset[str]] = frozenset({"quantity", "channel"})

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
        self._channel = self._chosen_channel()
        self._generation: int | None = None

    def _chosen_channel(self) -> int:
        text = self.options.get("channel", "0")
        if not text.isdecimal() or len(text) > 2:
            raise InvalidInputError(f"channel of a shelly meter is a small number, not {text!r}.")
        return int(text)

    def _measure(self) -> tuple[Reading, ...]:
        if self._generation == 1:
            return self._first_generation()
        try:
            return self._second_generation()
        except SensorAbsentError as no_second:
            if self._generation == 2:
                raise
            try:
                return self._first_generation()
            except SensorAbsentError:
                raise no_second from None

    def _second_generation(self) -> tuple[Reading, ...]:
        path = _GEN2.format(channel=self._channel)
        document, time_ns = self._http.get(path, self._clock_ns)
        if self.quantity == "energy":
            hours = number_at(document, "aenergy", "total")
            value = None if hours is None else hours * _WATT_HOUR_J
        else:
            value = number_at(document, "apower")
        return self._found(value, path, time_ns, 2)

    def _first_generation(self) -> tuple[Reading, ...]:
        document, time_ns = self._http.get(_GEN1, self._clock_ns)
        if self.quantity == "energy":
            minutes = number_at(document, "meters", self._channel, "total")
            value = None if minutes is None else minutes * _WATT_MINUTE_J
        else:
            value = number_at(document, "meters", self._channel, "power")
        return self._found(value, _GEN1, time_ns, 1)

    def _found(self, value: float | None, path: str, time_ns: int, generation: int) -> tuple[Reading, ...]:
        if value is None:
            raise SensorUnsupportedError(
                f"{self._http.source(path)} tells no {self.quantity}: channel {self._channel} of this Shelly has "
                "no power meter"
            )
        self._generation = generation
        return self._one(f"channel-{self._channel}", value, self._http.source(path), time_ns)
