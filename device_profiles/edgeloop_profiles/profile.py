"""What a profile declares about a class of device; each group of figures says where it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgeloop_foundation.errors import InvalidInputError, UnsupportedError

from edgeloop_profiles.bounds import (
    Count,
    Encoding,
    Fraction,
    IsaTier,
    KernelClass,
    NotNegative,
    Positive,
    Precision,
    Ratio,
    Text,
)
from edgeloop_profiles.physics import FanStep, Power, Sensor, Thermal, Throttle, ThrottleStep, TripPoint
from edgeloop_profiles.provenance import Figures

__all__ = [
    "AbsentRuntime",
    "Bandwidth",
    "Caches",
    "CalibratedFamily",
    "Calibration",
    "FanStep",
    "Figures",
    "Interval",
    "Loading",
    "MemorySize",
    "OperatingSystemFigures",
    "Overheads",
    "Power",
    "PowerMode",
    "Processor",
    "Profile",
    "PublishedRows",
    "Rate",
    "RuntimeMemory",
    "RuntimeModel",
    "Sensor",
    "Storage",
    "Tails",
    "Thermal",
    "ThreadScaling",
    "Throttle",
    "ThrottleStep",
    "TripPoint",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor(Figures):
    """The processor and its clock."""

    board_model: Text
    architecture: Text
    cpu_model: Text
    #: What int8 and fp16 kernels can use; figures do not transfer between tiers.
    isa_tier: IsaTier
    isa_flags: tuple[Text, ...]
    physical_cores: Count
    logical_cores: Count
    min_frequency_hz: Positive
    max_frequency_hz: Positive
    #: Name of the frequency governor as shipped.
    governor: Text

    def __post_init__(self) -> None:
        if self.min_frequency_hz > self.max_frequency_hz:
            raise InvalidInputError(
                f"min_frequency_hz: found {self.min_frequency_hz:g}, "
                f"allowed is at most max_frequency_hz {self.max_frequency_hz:g}."
            )
        if self.logical_cores < self.physical_cores:
            raise InvalidInputError(
                f"logical_cores: found {self.logical_cores}, "
                f"allowed is at least physical_cores {self.physical_cores}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches(Figures):
    """The cache hierarchy."""

    l1_data_bytes: Count
    l2_bytes: Count
    #: All of the last level that one process can fill.
    last_level_bytes: Count
    #: Bytes one core moves per cycle while they stay in cache.
    bytes_per_cycle: Positive
    #: The same for what does not fit the second level; absent makes no difference between the levels.
    outer_bytes_per_cycle: Positive | None = None
    #: Share of the shorter of arithmetic and transfer that is hidden behind the longer one; 1 is perfect prefetching.
    hidden_share: Fraction = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySize(Figures):
    """How much main memory there is."""

    total_bytes: Count
    #: Taken by the operating system, its services and the graphics processor.
    reserved_bytes: Count

    def __post_init__(self) -> None:
        if self.reserved_bytes >= self.total_bytes:
            raise InvalidInputError(
                f"reserved_bytes: found {self.reserved_bytes}, "
                f"allowed is below total_bytes {self.total_bytes}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth(Figures):
    """How fast main memory is."""

    one_core_bytes_per_s: Positive
    all_cores_bytes_per_s: Positive

    def __post_init__(self) -> None:
        if self.all_cores_bytes_per_s < self.one_core_bytes_per_s:
            raise InvalidInputError(
                f"all_cores_bytes_per_s: found {self.all_cores_bytes_per_s:g}, "
                f"allowed is at least one_core_bytes_per_s {self.one_core_bytes_per_s:g}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage(Figures):
    """The disk that models are loaded from."""

    read_bytes_per_s: Positive


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatingSystemFigures(Figures):
    """The operating system image that the figures belong to."""

    name: Text
    kernel: Text
    libc: Text
    python_version: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate(Figures):
    """How fast one core runs kernels of some classes; the most specific row that fits a kernel counts."""

    kernel_classes: tuple[KernelClass, ...]
    precision: Precision
    #: Integer encodings this row is for; empty is any.
    encodings: tuple[Encoding, ...] = ()
    #: Operator types this row is for; empty is any.
    op_types: tuple[Text, ...] = ()
    #: True for convolutions whose channels stay in groups, and for those only; depthwise is a class of its own.
    grouped: bool = False
    #: Multiply-accumulates per cycle of one core; absent for kernels that only move bytes.
    macs_per_cycle: Positive | None = None
    #: Bytes touched per cycle of one core; absent when arithmetic alone decides.
    bytes_per_cycle: Positive | None = None
    #: Work per output element beside its own multiply-accumulates, counted in them: loading, packing and
    #: writing back. It is what makes layers with few input channels slow.
    macs_per_output: NotNegative = 0.0
    #: The same per gathered input: a position times the inputs that meet there (for a depthwise kernel and for a
    #: product, each input once). It is what makes layers with few output channels slow.
    macs_per_input: NotNegative = 0.0
    #: The same per parameter. It is what makes layers with few positions slow.
    macs_per_weight: NotNegative = 0.0
    #: Time per kernel beside that of any kernel: layouts to convert, scales to prepare.
    overhead_s: NotNegative = 0.0
    #: Channels are processed in groups of this many.
    channel_block: Count = 1
    #: Share of the rate that is left when the channels do not fill their last group.
    unaligned_factor: Fraction = 1.0

    def __post_init__(self) -> None:
        if self.macs_per_cycle is None and self.bytes_per_cycle is None:
            raise InvalidInputError(
                "macs_per_cycle: found nothing, allowed is it or bytes_per_cycle, or both."
            )
        if not self.kernel_classes:
            raise InvalidInputError("kernel_classes: found an empty list, allowed is at least one class.")
        if not self.unaligned_factor > 0:
            raise InvalidInputError("unaligned_factor: found 0, allowed is above 0 and at most 1.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadScaling(Figures):
    """What more threads bring."""

    #: Speed-up of compute by thread count, from 1; one entry per logical core.
    speedup: tuple[Ratio, ...]

    def __post_init__(self) -> None:
        if not self.speedup or self.speedup[0] != 1.0 or list(self.speedup) != sorted(self.speedup):
            raise InvalidInputError(
                f"speedup: found {list(self.speedup)}, allowed is a list that starts at 1 and never falls."
            )
        over = [n for n, value in enumerate(self.speedup, start=1) if value > n]
        if over:
            raise InvalidInputError(
                f"speedup: found {self.speedup[over[0] - 1]} for {over[0]} threads, "
                f"allowed is at most {over[0]}."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Overheads(Figures):
    """Time that is not arithmetic, at the highest clock."""

    #: Per inference: entering and leaving the runtime.
    inference_s: NotNegative
    #: Per kernel: dispatch and memory planning.
    kernel_s: NotNegative
    #: Per kernel that is split over threads: waking and joining them.
    split_s: NotNegative


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading(Figures):
    """Creation of a session."""

    #: Whatever the model.
    fixed_s: NotNegative
    #: Per kernel: optimising the graph, preparing the kernel.
    kernel_s: NotNegative
    #: Parsing and packing parameters.
    weight_bytes_per_s: Positive
    #: First inference relative to a steady one.
    first_inference_factor: Ratio
    #: Inferences after which that has fallen to a third.
    warmup_inferences: Positive


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeMemory(Figures):
    """Resident memory of a runner process."""

    #: After importing the runtime.
    baseline_bytes: Count
    #: Added by any session.
    session_bytes: Count
    #: Copies of the parameters held once loaded.
    weight_copies: Positive
    #: Copies of the parameters held at the worst moment of loading.
    load_weight_copies: Positive
    #: The 90 % interval of a figure as a factor.
    interval_factor: Ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval(Figures):
    """The 90 % interval of a predicted latency as a factor, by precision."""

    precision: Precision
    factor: Ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRows(Figures):
    """Figures that others published for this runtime on this board, and that its rates were fitted to."""

    precision: Precision
    #: Rows of that precision; three are needed before a prediction may rest on them.
    row_count: Count


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeModel(Figures):
    """One inference runtime on this board."""

    name: Text
    version: Text
    providers: tuple[Text, ...]
    max_opset: Count
    threads: ThreadScaling
    overheads: Overheads
    loading: Loading
    memory: RuntimeMemory
    intervals: tuple[Interval, ...]
    rates: tuple[Rate, ...]
    #: Operator types that the runtime takes into the convolution in front of them on this board.
    absorbed: tuple[Text, ...] = ()
    #: Published rows of this very runtime on this board that the rates were fitted to; without them the rates are
    #: those of other runtimes or boards: transferred, unvalidated.
    published: tuple[PublishedRows, ...] = ()

    def interval(self, precision: str) -> Interval:
        """Return the 90 % interval for kernels of a precision.

        Raises:
            UnsupportedError: the profile has none.
        """
        for interval in self.intervals:
            if interval.precision == precision:
                return interval
        raise UnsupportedError(f"{self.name} {self.version} of this profile has no interval for {precision}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class AbsentRuntime(Figures):
    """A runtime that the board may have but that cannot be predicted, with the reason."""

    name: Text
    #: Execution providers of other runtimes that are absent for the same reason.
    providers: tuple[Text, ...] = ()
    #: Why there are no figures.
    reason: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerMode(Figures):
    """A mode that the board's firmware offers: fewer cores, a lower clock, a budget."""

    #: As it stands behind the @ of ``sim:PROFILE@MODE``.
    name: Text
    #: Cores that are on.
    cores: Count
    max_frequency_hz: Positive
    #: What the board may draw in this mode.
    budget_w: Positive
    #: Number and name that the sensor ``nvpmodel`` shows in it, for example "1 25W"; empty without that sensor.
    shown: str = ""

    def __post_init__(self) -> None:
        if self.shown and not re.fullmatch(r"[0-9]{1,6} \S+", self.shown):
            raise InvalidInputError(
                f"shown: found {self.shown!r}, allowed is a number and a name without spaces, as in '1 25W'."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Tails(Figures):
    """Shape of the noise of steady latency, by precision."""

    precision: Precision
    p90_over_p50: Ratio
    p99_over_p50: Ratio
    #: Share of inferences that are hit by a stall.
    spike_rate: Fraction
    #: Correlation of the noise of two neighbouring inferences.
    autocorrelation: Fraction
    #: Standard deviation of the logarithm of the median from process to process.
    process_spread: NotNegative


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibratedFamily:
    """One family of models that a profile was fitted to."""

    #: Name for people.
    name: Text
    #: Share of the predicted time by group of kernel classes, in the order of ``FAMILY_GROUPS``.
    shares: tuple[Fraction, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration(Figures):
    """What the figures of one runtime were fitted to, and how well they did on what was left out."""

    #: Runtime that was measured.
    runtime: Text
    #: Its version; predictions for another one are stale.
    runtime_version: Text
    #: Device that was measured.
    device_id: Text
    #: Day of the measurement, for example "2026-11-25".
    date: Text
    #: "shrinkage" or "least squares".
    method: Text
    #: Models measured.
    model_count: Count
    #: Mean absolute percentage error of models that were left out, as a fraction.
    held_out_mape: NotNegative
    #: 90 % interval as a factor for models like those measured.
    in_family_factor: Ratio
    #: 90 % interval as a factor for models unlike them.
    out_of_family_factor: Ratio
    #: Fastest and slowest model measured: beyond a factor of three around them a prediction extrapolates.
    fastest_s: Positive
    slowest_s: Positive
    #: Precisions and thread counts that were measured.
    precisions: tuple[Precision, ...]
    threads: tuple[Count, ...]
    #: Families that were measured.
    families: tuple[CalibratedFamily, ...]
    #: Calibrated profile of another device that few measurements of this one corrected; empty after a whole suite.
    transferred_from: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A declared class of device."""

    #: Version of this layout.
    schema_version: Count
    name: Text
    title: Text
    processor: Processor
    caches: Caches
    memory: MemorySize
    bandwidth: Bandwidth
    storage: Storage
    operating_system: OperatingSystemFigures
    runtimes: tuple[RuntimeModel, ...]
    thermal: Thermal
    throttle: Throttle
    power: Power
    sensors: tuple[Sensor, ...]
    tails: tuple[Tails, ...]
    #: Runtimes that a trial is refused for, with the reason.
    absent_runtimes: tuple[AbsentRuntime, ...] = ()
    #: Modes that ``PROFILE@MODE`` chooses from; the figures of the processor are those of all cores at the
    #: highest clock of any mode.
    power_modes: tuple[PowerMode, ...] = ()
    #: The mode that holds where none is named; empty takes the figures as they are.
    default_power_mode: str = ""
    #: What it was fitted to; absent for a profile from datasheets and literature.
    calibration: Calibration | None = None
    #: The mode that the figures are of; set by the loader.
    power_mode: str = field(default="", metadata={"stated": False})
    #: SHA-256 of all files that were read, and of the mode where one was named; set by the loader.
    digest: str = field(default="", metadata={"stated": False})

    def __post_init__(self) -> None:
        problems = [*self._wrong_tables(), *([] if self.power_mode else self._wrong_modes())]
        if problems:
            raise InvalidInputError(" ".join(problems))

    def _wrong_tables(self) -> Iterator[str]:
        if self.schema_version != 1:
            yield f"schema_version: found {self.schema_version}, allowed is 1."
        if not self.runtimes:
            yield "runtimes: found an empty list, allowed is at least one runtime."
        for runtime in self.runtimes:
            if len(runtime.threads.speedup) != self.processor.logical_cores:
                yield (
                    f"runtimes.{runtime.name}.threads.speedup: found {len(runtime.threads.speedup)} entries, "
                    f"allowed is one per logical core, {self.processor.logical_cores}."
                )
        missing = {"fp32", "fp16", "int8"} - {tails.precision for tails in self.tails}
        if missing:
            yield f"tails: found none for {', '.join(sorted(missing))}, allowed is one per precision."

    def _wrong_modes(self) -> Iterator[str]:
        names = [mode.name for mode in self.power_modes]
        if len(set(names)) != len(names):
            yield f"power_modes: found a name twice in {', '.join(names)}, allowed is each once."
        if self.default_power_mode and self.default_power_mode not in names:
            yield (
                f"default_power_mode: found {self.default_power_mode!r}, "
                f"allowed is one of power_modes: {', '.join(names) or 'there are none'}."
            )
        shows_mode = any(sensor.name == "nvpmodel" and sensor.channels for sensor in self.sensors)
        for mode in self.power_modes:
            where, processor = f"power_modes.{mode.name}", self.processor
            if mode.cores > processor.logical_cores:
                yield f"{where}.cores: found {mode.cores}, allowed is at most {processor.logical_cores}."
            if mode.max_frequency_hz > processor.max_frequency_hz:
                yield (
                    f"{where}.max_frequency_hz: found {mode.max_frequency_hz:g}, "
                    f"allowed is at most processor.max_frequency_hz {processor.max_frequency_hz:g}."
                )
            if shows_mode and not mode.shown:
                yield f"{where}.shown: found nothing, allowed is what the sensor nvpmodel shows, as in '1 25W'."
            if mode.budget_w <= self.power.idle_w:
                yield (
                    f"{where}.budget_w: found {mode.budget_w:g}, "
                    f"allowed is above power.idle_w {self.power.idle_w:g}."
                )

    def runtime(self, name: str) -> RuntimeModel:
        """Return the figures of a runtime.

        Raises:
            UnsupportedError: this profile has none for it.
        """
        for runtime in self.runtimes:
            if runtime.name == name:
                return runtime
        known = ", ".join(runtime.name for runtime in self.runtimes)
        if reason := self.absence_of(name):
            raise UnsupportedError(
                f"profile {self.name} has no figures for the runtime {name!r}: {reason}.",
                next_step=f"Choose {known}, or add its figures to the profile.",
            )
        raise UnsupportedError(
            f"profile {self.name} has no figures for the runtime {name!r}, only for {known}.",
            next_step="Choose one of these, or add its figures to the profile.",
        )

    def absence_of(self, name: str) -> str:
        """Return why a runtime or an execution provider has no figures; empty when nothing is said of it."""
        for absent in self.absent_runtimes:
            if name == absent.name or name in absent.providers:
                return absent.reason
        return ""

    def tails_of(self, precision: str) -> Tails:
        """Return the shape of the noise for a precision.

        Raises:
            UnsupportedError: there is none for it.
        """
        for tails in self.tails:
            if tails.precision == precision:
                return tails
        raise UnsupportedError(f"profile {self.name} has no tails for {precision}.")
