"""External meters, one file a kind, named by ``--meter KIND=ADDRESS``: plugs on the network, meters on a serial line.

Law: standard library only. A meter is a sensor (``sensors/base.py``) and keeps its rules: three outcomes besides a
value, SI units, declared scope, period, resolution and error. What is not documented is declared as unknown. It is
never waited for longer than its deadline, and never believed beyond its size limit.

All drivers here are written against the documentation of their makers and tested against servers that speak it; none
has been run on hardware.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.registry import Registry

from edgeloop_agent.meters.base import Meter

__all__ = ["BUILTIN", "METERS", "open_meters"]

BUILTIN = {
    "shelly": "edgeloop_agent.meters.shelly:Shelly",
    "tasmota": "edgeloop_agent.meters.tasmota:Tasmota",
    "serial": "edgeloop_agent.meters.serial:SerialMeter",
}
"""Kind to driver of every built-in meter."""

METERS: Registry[Meter] = Registry("meters", BUILTIN)
"""Every kind of meter that this agent knows, plug-ins included."""


def open_meters(texts: Sequence[str]) -> list[Meter]:
    """Return one meter for each ``KIND=ADDRESS[,OPTION=VALUE...]``; nothing is asked of them yet.

    Raises:
        InvalidInputError: not of that form, a kind twice, or an address or option that the kind does not take.
        NotFoundError: no such kind.
    """
    meters: list[Meter] = []
    for text in texts:
        kind, equals, rest = text.partition("=")
        address, *words = rest.split(",")
        if not equals or not address:
            raise InvalidInputError(
                f"--meter {text!r} is not of the form KIND=ADDRESS.",
                next_step=f"Kinds are {', '.join(METERS.names())}; for example shelly=http://192.0.2.7.",
            )
        if kind in {meter.name for meter in meters}:
            raise InvalidInputError(f"--meter {kind} is given twice: one meter of each kind is read.")
        meters.append(METERS.load(kind)(address, _options(text, words)))
    return meters


def _options(text: str, words: Sequence[str]) -> dict[str, str]:
    options = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise InvalidInputError(f"--meter {text!r}: {word!r} is not of the form OPTION=VALUE.")
        options[name] = value
    return options
