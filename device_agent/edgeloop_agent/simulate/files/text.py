"""What renderers share: a file is a path and a function that gives its text now."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_profiles.profile import Profile, Sensor

__all__ = ["Files", "constant", "number", "required"]

V = TypeVar("V")

Files = dict[str, Callable[[], str]]
"""Path below the root to what stands in the file at this moment."""


def constant(text: str) -> Callable[[], str]:
    """Return a file's text that never changes."""
    return lambda: text


def number(value: Callable[[], float], scale: float, step: float = 1.0) -> Callable[[], str]:
    """Return a file's text: a whole number, of what is ``scale`` to the unit of the value, in steps of ``step``."""
    return lambda: f"{round(round(value() * scale / step) * step)}\n"


def required(profile: Profile, sensor: Sensor, field: str, value: V | None) -> V:
    """Return a field that this kind of sensor cannot do without.

    Raises:
        InvalidInputError: the profile leaves it out.
    """
    if not value:
        raise InvalidInputError(
            f"{profile.name}.toml: sensors.{sensor.name}.{field}: found nothing, allowed is a figure.",
            next_step="The files of this sensor cannot be written without it.",
        )
    return value
