"""How a device and what it serves have been over time."""

from __future__ import annotations

from dataclasses import dataclass

from edgeloop_foundation.errors import InvalidInputError

from edgeloop_protocol.latency_buckets import BUCKET_COUNT

__all__ = [
    "DriftSketch",
    "ServedTelemetry",
    "ShadowTelemetry",
    "TelemetrySample",
    "TelemetryStatus",
    "TimeHistogram",
]

_BINS_MAX = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeHistogram:
    """Counts of times in the buckets of ``latency_buckets``, the empty ones left out."""

    #: Indices of the buckets that are not empty, ascending.
    buckets: tuple[int, ...] = ()
    #: How many times fell into each of those.
    counts: tuple[int, ...] = ()
    #: Sum of all times.
    sum_s: float = 0.0

    def __post_init__(self) -> None:
        ascending = all(low < high for low, high in zip(self.buckets, self.buckets[1:], strict=False))
        within = all(0 <= bucket < BUCKET_COUNT for bucket in self.buckets)
        if (
            len(self.buckets) != len(self.counts)
            or not ascending
            or not within
            or min(self.counts, default=0) < 0
        ):
            raise InvalidInputError("a histogram of times has known buckets in order, with one count each.")

    @property
    def total_count(self) -> int:
        """How many times were counted."""
        return sum(self.counts)

    def since(self, before: TimeHistogram) -> dict[int, int]:
        """Return what was added to an earlier state of the same histogram, by bucket."""
        added = dict(zip(self.buckets, self.counts, strict=True))
        for bucket, count in zip(before.buckets, before.counts, strict=True):
            added[bucket] = added.get(bucket, 0) - count
        return {bucket: count for bucket, count in added.items() if count > 0}


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSketch:
    """How the elements of one tensor are spread over bins whose edges come from the golden pack; no value is in it."""

    #: Name of the tensor.
    tensor: str
    #: True for an output.
    is_output: bool
    #: Elements of the golden pack in each bin; the last bin is for what is no finite number.
    expected: tuple[int, ...]
    #: Elements of served requests in each bin since the version took over.
    counts: tuple[int, ...]
    #: Rows that were looked at.
    row_count: int
    #: Population stability index between halves of the golden pack, the largest of several: less is no drift.
    reference_psi: float

    def __post_init__(self) -> None:
        if (
            not len(self.expected) == len(self.counts) <= _BINS_MAX
            or min(*self.expected, *self.counts, 0) < 0
        ):
            raise InvalidInputError(f"a sketch has as many counts as expected ones, at most {_BINS_MAX}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowTelemetry:
    """What a candidate made of copies of the requests, since its present version took over in this process."""

    #: Name of the deployment that is tried.
    name: str
    #: Counter of its release; 0 before one is ready.
    counter: int = 0
    #: Digest of its artifact; empty before one is ready.
    digest: str = ""
    #: Copies whose outputs were held against the answer.
    compared_count: int = 0
    #: Of these, copies with a value outside the tolerance that the candidate's manifest states against the original.
    outside_count: int = 0
    #: Decisions that were read from both.
    decision_count: int = 0
    #: Of these, decisions that differ.
    changed_decision_count: int = 0
    #: Largest difference, of the largest value of the same output in its answer.
    relative_error_max: float = 0.0
    #: Copies that the candidate failed on.
    failed_count: int = 0
    #: Requests of which it got no copy because it was still at work.
    dropped_count: int = 0
    #: Time of one run of the candidate.
    run: TimeHistogram = TimeHistogram()
    #: Why it is not ready, or how it failed last; empty otherwise.
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedTelemetry:
    """Counts of one serving process since it started."""

    #: Name of the deployment.
    name: str
    #: Random identifier of the process: counts of two processes are never subtracted.
    process: str
    #: Counter of the release that answers; 0 before one does.
    counter: int = 0
    #: Digest of its artifact; empty before one answers.
    digest: str = ""
    #: Requests that were answered.
    request_count: int = 0
    #: Requests that were not, for any reason.
    error_count: int = 0
    #: Requests that wait now.
    queue_length: int = 0
    #: Time from a whole request to its answer, of the version that answers now.
    latency: TimeHistogram = TimeHistogram()
    #: Time of one run of the runtime on a single row, of the version that answers now: what a benchmark measures.
    run: TimeHistogram = TimeHistogram()
    #: One per watched tensor of the version that answers now; empty when drift is not watched.
    drift: tuple[DriftSketch, ...] = ()
    #: Why a sketch is missing; empty otherwise.
    reason: str = ""
    #: Threads of the runtime; 0 when the process told nothing.
    threads: int = 0
    #: What a candidate made of copies of the requests; None when there is none.
    shadow: ShadowTelemetry | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetrySample:
    """One look at the device; whatever it does not tell is absent, with the reason in ``absent``."""

    #: Place in the ring.
    sequence: int
    #: Wall clock of the device, seconds since 1970.
    wall_s: float
    #: Share of all processors' time that was used since the sample before, 0 to 1.
    cpu_busy_share: float | None = None
    #: Load average over one minute.
    load_average_1min: float | None = None
    #: Memory for a new process.
    available_memory_bytes: int | None = None
    #: Hottest thermal zone.
    temperature_celsius: float | None = None
    #: Highest clock that a group of processors runs at.
    frequency_hz: float | None = None
    #: Throttle states that hold now.
    throttled: tuple[str, ...] = ()
    #: A number that rises with every throttle event.
    throttle_event_count: float | None = None
    #: Power of the board, or the sum of its rails where it has no total.
    power_w: float | None = None
    #: Free space of the file system that holds the agent's state.
    disk_free_bytes: int | None = None
    #: Size of that file system.
    disk_total_bytes: int | None = None
    #: Bytes received by all interfaces but loopback since boot.
    network_received_bytes: int | None = None
    #: Bytes sent by them since boot.
    network_sent_bytes: int | None = None
    #: Resident memory of the agent.
    agent_memory_bytes: int | None = None
    #: Processor time that the agent has used since it started.
    agent_cpu_s: float = 0.0
    #: Results that nobody has acknowledged yet.
    spool_waiting_count: int = 0
    #: How old the look at the sensors was.
    look_age_s: float = 0.0
    #: What is served.
    served: tuple[ServedTelemetry, ...] = ()
    #: Name of each field that is absent -> why.
    absent: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryStatus:
    """How the ring of samples stands."""

    #: Random identifier of the ring; another one means that the device lost it.
    epoch: str
    #: Time between two samples; 0 when telemetry is off.
    period_s: float
    #: Number of the oldest sample that is kept; equal to ``next_sequence`` when there is none.
    first_sequence: int
    #: Number that the next sample gets; numbers start at 1 and have no holes but dropped samples.
    next_sequence: int
    #: Samples that gave way to newer ones since the epoch began, whether somebody had read them or not.
    evicted_count: int = 0
    #: Samples that the disk did not take or spoiled since the epoch began.
    spoiled_count: int = 0
    #: Bytes of the ring now.
    kept_bytes: int = 0
    #: Most bytes that the ring takes.
    capacity_bytes: int = 0
    #: Why there are no samples, or fewer than asked for; empty otherwise.
    reason: str = ""
    #: Wall clock of the device at the answer, seconds since 1970.
    wall_s: float = 0.0
    #: The device; empty when the agent does not say.
    device_id: str = ""
