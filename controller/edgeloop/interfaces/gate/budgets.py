"""``edgeloop-budgets.toml``: bounds per model and device class, reviewed like code."""

from __future__ import annotations

import fnmatch
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from edgeloop_foundation.errors import InvalidInputError
from edgeloop_foundation.statistics import sample_floor
from edgeloop_protocol.types.facts import Facts
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeloop.interfaces.config import read_toml
from edgeloop.select.expressions import parse_constraint

__all__ = ["Budget", "device_classes", "matching", "parse_share", "read_budgets", "samples_needed"]

_BOUNDS = (
    "latency_p50", "latency_p90", "latency_p95", "latency_p99", "first_inference", "load_time", "memory", "energy",
    "size",
)  # fmt: skip
_QUANTILES = {"latency_p90": 0.9, "latency_p95": 0.95, "latency_p99": 0.99}


class Budget(BaseModel):
    """The bounds of one model on one class of devices; a key that is not here is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    #: Name or file name of the model; shell wildcards.
    model: str
    #: Name, profile or board of the device, or its transport; shell wildcards.
    device: str = "*"
    latency_p50: str | None = None
    latency_p90: str | None = None
    latency_p95: str | None = None
    latency_p99: str | None = None
    first_inference: str | None = None
    load_time: str | None = None
    memory: str | None = None
    energy: str | None = None
    size: str | None = None
    #: Allowed slowdown beside the baseline, for example "5%".
    max_slowdown: str | None = None
    #: Whether parity on the device is asked for.
    parity: bool = True

    def bounds(self) -> tuple[tuple[str, str], ...]:
        """Return quantity and bound of every one that is set."""
        return tuple((name, getattr(self, name)) for name in _BOUNDS if getattr(self, name) is not None)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    api_version: Literal["edgeloop/v1"] = Field(alias="apiVersion")
    kind: Literal["Budgets"]
    budget: list[Budget] = []


def read_budgets(path: Path) -> tuple[Budget, ...]:
    """Read the file and every bound in it.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: an unknown key, a value of another kind, or a bound that cannot be read.
    """
    try:
        found = _File.model_validate(read_toml(path))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInputError(f"{path.name}: {place}: {first['msg'].rstrip('.')}.") from error
    for budget in found.budget:
        for quantity, bound in budget.bounds():
            parse_constraint(f"{quantity} <= {bound}")
        if budget.max_slowdown is not None:
            parse_share(budget.max_slowdown)
    return tuple(found.budget)


def parse_share(text: str) -> float:
    """Read "5%" or "0.05" as a share.

    Raises:
        InvalidInputError: neither, or negative.
    """
    number, percent = text.strip().removesuffix("%"), text.strip().endswith("%")
    try:
        share = float(number) * (0.01 if percent else 1.0)
    except ValueError:
        share = -1.0
    if not 0.0 <= share < 10.0:
        raise InvalidInputError(f"a slowdown is written like 5% or 0.05, found {text!r}.")
    return share


def device_classes(name: str, transport: str, facts: Facts) -> tuple[str, ...]:
    """Return every name under which a budget may speak of a device."""
    # A board of a fleet is a simulated one, whichever way it is reached.
    kind = "simulated" if facts.simulated and transport == "fleet" else ""
    return tuple(filter(None, (name, facts.profile, facts.hardware.model, transport, kind)))


def samples_needed(budgets: Sequence[Budget]) -> int:
    """Return the fewest samples that allow every quantile that is bounded."""
    asked = {quantity for budget in budgets for quantity, _ in budget.bounds()}
    return max(
        [sample_floor(_QUANTILES[quantity]) for quantity in asked if quantity in _QUANTILES], default=1
    )


def matching(budgets: Sequence[Budget], names: Sequence[str], classes: Sequence[str]) -> tuple[Budget, ...]:
    """Return the budgets of a model, by any of its names, on a device, by any of its classes."""
    return tuple(
        budget
        for budget in budgets
        if any(fnmatch.fnmatchcase(name, budget.model) for name in names)
        and any(fnmatch.fnmatchcase(one, budget.device) for one in classes)
    )
