"""``edgeloop.toml``: the options of the command line, written down.

Options given on the command line win. pydantic and tomllib are imported with this module, so import it
lazily.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from edgeloop_foundation.errors import InvalidInputError, NotFoundError, UnsupportedError
from edgeloop_protocol.types.trial import Benchmark
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgeloop.domain.device import DeviceSpec

__all__ = [
    "CONFIG_NAME",
    "BenchmarkConfig",
    "Config",
    "DeviceConfig",
    "ExperimentConfig",
    "load_config",
    "read_toml",
]

CONFIG_NAME = "edgeloop.toml"
"""Read from the current directory unless another is named."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class ExperimentConfig(_Table):
    """Defaults of ``edgeloop run``."""

    model: str = ""
    data: str = ""
    on: list[str] = []
    require: list[str] = []
    prefer: str = "latency_p50"
    recipes: str = ""
    seed: int = 0
    budget: str = ""
    report: str = ""
    state: list[str] = []
    threads: int = Field(default=1, ge=1)


class BenchmarkConfig(_Table):
    """How trials are measured; names, units and meaning are those of the record."""

    rounds: int = Field(default=5, ge=1)
    batch_size: int = Field(default=1, ge=1)
    warmup_count_min: int = Field(default=10, ge=0)
    warmup_s_min: float = Field(default=0.2, ge=0)
    warmup_s_max: float = Field(default=5.0, ge=0)
    median_half_width: float = Field(default=0.02, gt=0, lt=1)
    sample_count_min: int = Field(default=64, ge=1)
    steady_s_max: float = Field(default=5.0, gt=0)

    def benchmark(self) -> Benchmark:
        """Return the value that travels."""
        return Benchmark(**self.model_dump())


class DeviceConfig(_Table):
    """A device with options of its transport, such as TLS files."""

    address: str
    options: dict[str, str] = {}


class Config(_Table):
    """The whole file."""

    api_version: Literal["edgeloop/v1"] = Field(alias="apiVersion")
    kind: Literal["Config"]
    experiment: ExperimentConfig = ExperimentConfig()
    benchmark: BenchmarkConfig = BenchmarkConfig()
    devices: dict[str, str | DeviceConfig] = {}

    def device(self, name: str) -> DeviceSpec | None:
        """Return a device by its name in the file; None when it has none of that name.

        Raises:
            InvalidInputError: its address is none of the known forms.
        """
        found = self.devices.get(name)
        if found is None:
            return None
        if isinstance(found, str):
            return DeviceSpec.parse(f"{name}={found}")
        plain = DeviceSpec.parse(f"{name}={found.address}")
        return DeviceSpec(
            name=name,
            transport=plain.transport,
            address=plain.address,
            options=tuple(sorted(found.options.items())),
        )


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: not TOML, or a key or value that is not allowed; names file, key, found and
            allowed.
        UnsupportedError: this Python has no TOML reader (it needs 3.11).
    """
    tree = read_toml(path)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise InvalidInputError(_explain(path.name, error)) from error


def read_toml(path: Path) -> dict[str, Any]:
    """Return the content of a TOML file.

    Raises:
        NotFoundError: no such file.
        InvalidInputError: not TOML.
        UnsupportedError: this Python has no TOML reader (it needs 3.11).
    """
    if sys.version_info < (3, 11):
        raise UnsupportedError(
            f"{path.name} cannot be read on Python {sys.version_info.major}.{sys.version_info.minor}.",
            next_step="Run the controller on Python 3.11 or newer.",
        )
    import tomllib

    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise NotFoundError(
            f"{path} does not exist.", next_step=f"Write an {CONFIG_NAME} with: edgeloop init"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path.name} is not TOML: {error}.") from error


def _explain(name: str, error: ValidationError) -> str:
    first = error.errors()[0]
    # The members of a union and the keys of a literal appear as further steps of the location.
    where = [str(step) for step in first["loc"] if step not in ("str", "DeviceConfig")]
    key = ".".join(where)
    if first["type"] == "missing":
        return f"{name}: {key} is missing."
    if first["type"] == "extra_forbidden":
        return f"{name}: unknown key {key}; allowed are {', '.join(_allowed(where[:-1]))}."
    wanted = first["msg"].removeprefix("Input ").replace("Value error, ", "")
    return f"{name}: {key} is {first['input']!r}, it {wanted}."


def _allowed(table: list[str]) -> list[str]:
    models: dict[str, type[_Table]] = {
        "": Config,
        "experiment": ExperimentConfig,
        "benchmark": BenchmarkConfig,
        "devices": DeviceConfig,
    }
    model = models[table[0] if table else ""]
    return [field.alias or name for name, field in model.model_fields.items()]
