"""``edgeloop.toml``: the options of the command line, written down.

Options given on the command line win. pydantic and tomllib are imported with this module, so import it
lazily.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from edgeloop_foundation.errors import InvalidInputError, NotFoundError, UnsupportedError
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from edgeloop.domain.alert import RuleSettings
from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import InventoryEntry
from edgeloop.interfaces.options import parse_duration_s

__all__ = [
    "CONFIG_NAME",
    "AlertsConfig",
    "BenchmarkConfig",
    "Config",
    "DeviceConfig",
    "ExperimentConfig",
    "RuntimeConfig",
    "TelemetryConfig",
    "load_config",
    "read_toml",
]

CONFIG_NAME = "edgeloop.toml"
"""Read from the current directory unless another is named."""


def _seconds(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return parse_duration_s(value, zero=True)
    except InvalidInputError as error:
        raise ValueError("should be seconds, or a text like '20m' or '90s'") from error


Seconds = Annotated[float, BeforeValidator(_seconds)]
"""A number of seconds, or a duration as the command line takes it."""


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    #: Word of the command line -> key, for words that the record spells with their unit.
    WORDS: ClassVar[dict[str, str]] = {}

    @model_validator(mode="before")
    @classmethod
    def _spelled(cls, tree: Any) -> Any:
        if not isinstance(tree, dict):
            return tree
        keys = [cls.WORDS.get(key, key) for key in tree]
        twice = next((key for key in keys if keys.count(key) > 1), "")
        if twice:
            raise ValueError(f"names {twice} twice, by its two spellings")
        return dict(zip(keys, tree.values(), strict=True))


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
    """How trials are measured; names, units and meaning are those of the record, or the words of the command line."""

    WORDS = {
        "samples": "sample_count_min",
        "settle": "settle_s_max",
        "idle": "idle_s",
        "rate": "rate_hz",
        "queue": "queue_count_max",
        "sustained": "sustained_s",
        "window": "window_s",
        "scenario_time": "scenario_s_min",
        "latency_bound": "latency_bound_s",
    }

    rounds: int = Field(default=5, ge=1)
    batch_size: int = Field(default=1, ge=1)
    warmup_count_min: int = Field(default=10, ge=0)
    warmup_s_min: Seconds = Field(default=0.2, ge=0)
    warmup_s_max: Seconds = Field(default=5.0, ge=0)
    median_half_width: float = Field(default=0.02, gt=0, lt=1)
    sample_count_min: int = Field(default=64, ge=1)
    steady_s_max: Seconds = Field(default=5.0, gt=0)
    as_deployed: bool = False
    settle_s_max: Seconds = Field(default=30.0, ge=0)
    idle_s: Seconds = Field(default=0.0, ge=0)
    interleave: Literal["block", "batch"] = "block"
    arrival: Literal["", "closed", "paced", "open_uniform", "open_poisson"] = ""
    rate_hz: float | list[float] = 0.0
    queue_count_max: int = Field(default=64, ge=1)
    sustained_s: Seconds = Field(default=0.0, ge=0)
    window_s: Seconds = Field(default=10.0, gt=0)
    scenario: Literal["", "single_stream", "multi_stream", "server", "offline"] = ""
    scenario_s_min: Seconds = Field(default=10.0, ge=0)
    latency_bound_s: Seconds = Field(default=0.0, ge=0)
    load_pulse: bool = False
    batch_sizes: list[int] = []


class RuntimeConfig(_Table):
    """What trials run on; names and meaning are those of the record, or the words of the command line."""

    WORDS = {
        "provider": "providers",
        "threads": "intra_op_threads",
        "spin": "allow_spinning",
        "arena": "memory_arena",
        "precision": "inference_precision",
        "warmup": "warmup_count_min",
        "option": "options",
    }

    runtime: str | list[str] = "onnxruntime"
    providers: list[str] = []
    intra_op_threads: int | None = Field(default=None, ge=1)
    inter_op_threads: int = Field(default=1, ge=1)
    allow_spinning: bool = False
    graph_optimization: Literal["none", "basic", "extended", "all"] = "all"
    affinity: list[int] = []
    require_provider: bool = False
    memory_arena: bool = True
    inference_precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    warmup_count_min: int = Field(default=0, ge=0)
    options: dict[str, str | int | float | bool] = {}


class TelemetryConfig(_Table):
    """How much telemetry is kept."""

    WORDS = {"age": "age_s"}

    age_s: Seconds = Field(default=30 * 86_400.0, gt=0)
    bytes_max: int = Field(default=1 << 30, ge=1 << 20)


class AlertsConfig(_Table):
    """When alerts begin, and who is told; names, units and meaning are those of ``RuleSettings``."""

    webhook: str = ""
    command: list[str] = []
    offline_after_s: Seconds = Field(default=300.0, gt=0)
    throttling_window_s: Seconds = Field(default=600.0, gt=0)
    throttled_share_max: float = Field(default=0.2, gt=0, lt=1)
    disk_free_share_min: float = Field(default=0.05, gt=0, lt=1)
    certificate_left_s_min: Seconds = Field(default=14 * 86_400.0, ge=0)
    latency_window_s: Seconds = Field(default=600.0, gt=0)
    latency_count_min: int = Field(default=100, ge=10)
    latency_ratio_max: float = Field(default=1.5, gt=1)
    drift_window_s: Seconds = Field(default=1800.0, gt=0)
    drift_row_count_min: int = Field(default=200, ge=10)
    drift_index_max: float = Field(default=0.25, gt=0)
    drift_distance_min: float = Field(default=0.1, gt=0, lt=1)
    resolved_after_s: Seconds = Field(default=120.0, ge=0)

    def settings(self) -> RuleSettings:
        """Return when the rules fire."""
        return RuleSettings(**self.model_dump(exclude={"webhook", "command"}))


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
    runtime: RuntimeConfig = RuntimeConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    alerts: AlertsConfig = AlertsConfig()
    devices: dict[str, str | DeviceConfig] = {}
    #: File of the inventory, seen from this file; devices.toml in the controller's home when empty.
    inventory: str = ""
    #: Address of a running ``edgeloop serve`` that verbs go through; none when empty.
    server: str = ""
    #: File with the token for it, seen from this file.
    server_token_file: str = ""
    #: File with certificates to trust for it, PEM, seen from this file; the system's when empty.
    server_ca: str = ""

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

    def with_devices(self, known: Mapping[str, InventoryEntry]) -> tuple[InventoryEntry, ...]:
        """Return the named devices: those of the inventory, and those of the file, which win but keep their labels.

        Raises:
            InvalidInputError: an address is none of the known forms.
        """
        found = dict(known)
        for name in self.devices:
            spec = self.device(name)
            if spec is not None:
                before = found.get(name)
                found[name] = InventoryEntry(
                    spec=spec, labels=before.labels if before else (), groups=before.groups if before else ()
                )
        return tuple(found.values())


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


_TYPE_STEPS = ("str", "DeviceConfig", "float", "int", "bool", "list[str]", "list[float]")


def _explain(name: str, error: ValidationError) -> str:
    first = error.errors()[0]
    # The members of a union and the keys of a literal appear as further steps of the location.
    where = [str(step) for step in first["loc"] if step not in _TYPE_STEPS]
    key = ".".join(where)
    if first["type"] == "missing":
        return f"{name}: {key} is missing."
    if first["type"] == "extra_forbidden":
        allowed = _allowed(where[:-1])
        near = difflib.get_close_matches(where[-1], [*allowed, *_model(where[:-1]).WORDS], n=1)
        nearest = f" Nearest is {near[0]}." if near else ""
        return f"{name}: unknown key {key}; allowed are {', '.join(allowed)}.{nearest}"
    wanted = first["msg"].removeprefix("Input ").replace("Value error, ", "")
    if isinstance(first["input"], dict):
        return f"{name}: {key} {wanted}."
    return f"{name}: {key} is {first['input']!r}, it {wanted}."


def _model(table: list[str]) -> type[_Table]:
    models: dict[str, type[_Table]] = {
        "": Config,
        "experiment": ExperimentConfig,
        "benchmark": BenchmarkConfig,
        "runtime": RuntimeConfig,
        "telemetry": TelemetryConfig,
        "alerts": AlertsConfig,
        "devices": DeviceConfig,
    }
    return models[table[0] if table else ""]


def _allowed(table: list[str]) -> list[str]:
    model = _model(table)
    return [field.alias or name for name, field in model.model_fields.items()]
