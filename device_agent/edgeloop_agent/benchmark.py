"""Decisions on the samples: when warm-up ends, how long a batch is, when to stop, whether they settled.

Law: no I/O, no clock, standard library only. Samples come in as nanoseconds and decisions go out, so that
every rule is tested on made-up streams.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence

from edgeloop_foundation.statistics import quantile, quantile_interval, student_t_interval, student_t_quantile
from edgeloop_protocol.types.run import SteadyState
from edgeloop_protocol.types.trial import Benchmark

__all__ = [
    "BATCH_COUNT_MAX",
    "OVERRUN_MAX",
    "ClockCheck",
    "StopRule",
    "WarmUp",
    "batch_count",
    "median_half_width",
    "steady_state",
]

NS_PER_S = 1_000_000_000
WINDOWS = 5
"""Windows per block whose medians show a trend; also the fewest batches of a block."""

BATCH_COUNT_MAX = 8_000
"""More would say nothing new of a microsecond model, and fill the memory of the agent."""

OVERRUN_MAX = 4
"""A block of a slow model gets up to so many budgets for its least count."""

# Sorting all samples after every batch would keep a processor busy beside the one that is measured.
_GROWTH = 1.25
_LOOKED_AT_MAX = 16_384
_FASTER = 0.98
_WINDOW_SAMPLES_MIN = 4
_DRIFT_ALLOWED = 0.02
_CONFIDENCE = 0.95
_DISPUTE_NS = 1_000_000
_DISPUTE_FRACTION = 0.05
_WAY_FRACTION = 0.02


def batch_count(batch_s: float, inference_ns: float, count_max: int = BATCH_COUNT_MAX) -> int:
    """Return how many inferences fill one batch; at least one, and no more than ``count_max``."""
    return max(1, min(round(batch_s * NS_PER_S / max(inference_ns, 1.0)), count_max))


def median_half_width(sorted_samples: Sequence[float]) -> float:
    """Return half the 95 % order-statistic interval of the median, relative to it; infinite when too few."""
    interval = quantile_interval(sorted_samples, 0.5, _CONFIDENCE)
    if interval is None:
        return math.inf
    middle = quantile(sorted_samples, 0.5)
    return (interval[1] - interval[0]) / 2.0 / middle if middle else math.inf


class WarmUp:
    """Warm-up of one process.

    It ends when the least count and time are over and the latest batch is not clearly faster than the two
    before; at the longest time it ends in any case. The first inference counts as the first batch.
    """

    def __init__(self, benchmark: Benchmark, count_min: int = 0) -> None:
        """Begin.

        Args:
            benchmark: has the times, and the least count.
            count_min: least count of this trial instead of the benchmark's; 0 takes that.
        """
        self._benchmark = benchmark
        self._count_min = count_min or benchmark.warmup_count_min
        self._medians: list[float] = []
        self._elapsed_ns = 0
        self.count = 0

    @property
    def inference_ns(self) -> float:
        """Latest typical inference."""
        return self._medians[-1]

    def observe(self, samples_ns: Sequence[int]) -> None:
        """Take in one batch."""
        self._medians.append(statistics.median(samples_ns))
        self._elapsed_ns += sum(samples_ns)
        self.count += len(samples_ns)

    def next_count(self) -> int:
        """Return the size of the next batch: half a steady one, within what is left of the longest time."""
        left_s = self._benchmark.warmup_s_max - self._elapsed_ns / NS_PER_S
        return batch_count(min(self._benchmark.batch_s / 2.0, max(left_s, 0.0)), self.inference_ns)

    @property
    def done(self) -> bool:
        """Whether measuring may begin."""
        elapsed_s = self._elapsed_ns / NS_PER_S
        if elapsed_s >= self._benchmark.warmup_s_max:
            return True
        enough = self.count >= self._count_min and elapsed_s >= self._benchmark.warmup_s_min
        return enough and self._settled()

    def _settled(self) -> bool:
        # The first inference is never typical, so that three more batches are needed.
        if len(self._medians) < 4:
            return False
        *_, before, previous, latest = self._medians
        return latest >= _FASTER * min(before, previous)


class StopRule:
    """When a block of a trial has enough samples."""

    def __init__(self, benchmark: Benchmark) -> None:
        self._benchmark = benchmark
        self._looked_at_count = 0
        self.block_budget_s = benchmark.steady_s_max / benchmark.rounds

    def narrow(self, pooled: Sequence[int], finished_rounds: int, count: int | None = None) -> bool:
        """Whether the samples of all blocks so far pin the median down, given the rounds they stand for.

        Of a great many samples an even part is looked at, whose interval is the wider one: sorting all of them
        would make the device wait between two batches.

        Args:
            pooled: samples of the trial, in any order.
            finished_rounds: rounds whose share of the least count has to be there.
            count: inferences that they stand for, when they were thinned out.
        """
        if (len(pooled) if count is None else count) < self.wanted(finished_rounds):
            return False
        part = pooled[:: max(1, -(-len(pooled) // _LOOKED_AT_MAX))]
        return median_half_width(sorted(part)) <= self._benchmark.median_half_width

    def wanted(self, finished_rounds: int) -> int:
        """Return the least count of samples after so many rounds."""
        return math.ceil(self._benchmark.sample_count_min * finished_rounds / self._benchmark.rounds)

    def block_done(
        self,
        pooled: Sequence[int],
        block_elapsed_ns: int,
        batches: int,
        finished_rounds: int,
        count: int | None = None,
    ) -> bool:
        """Whether a block may end: its budget is spent, or it has its windows and a certain median.

        A slow model whose least count is not there yet gets up to four budgets.
        """
        budget_ns = self.block_budget_s * NS_PER_S
        count = len(pooled) if count is None else count
        if block_elapsed_ns >= budget_ns:
            enough = count >= self.wanted(finished_rounds)
            return enough or block_elapsed_ns >= OVERRUN_MAX * budget_ns
        if batches < WINDOWS or count < _GROWTH * self._looked_at_count:
            return False
        self._looked_at_count = count
        return self.narrow(pooled, finished_rounds, count)

    def next_count(self, inference_ns: float, block_elapsed_ns: int, way_s: float = 0.0) -> int:
        """Return the size of the next batch, within what is left of the budget; at least one.

        Args:
            inference_ns: what one inference takes.
            block_elapsed_ns: what of the budget is spent.
            way_s: of a batch, the way to the runner and back. Where that is more than 2 % of a batch, as on a very
                slow board, batches are longer, until five of them fill the budget.
        """
        left_s = self.block_budget_s - block_elapsed_ns / NS_PER_S
        batch_s = max(self._benchmark.batch_s, min(way_s / _WAY_FRACTION, self.block_budget_s / WINDOWS))
        return batch_count(min(batch_s, max(left_s, 0.0)), inference_ns)


def steady_state(blocks: Sequence[Sequence[int]]) -> SteadyState:
    """Return whether the blocks show no trend.

    Each block is cut into five windows; the slope of their medians over the whole block, relative to the
    block's median, is its drift. Settled means: the 95 % interval of the mean drift (of the slope, for one
    block) holds zero, or the drift is below 2 %. Blocks with fewer than 20 samples are not assessed.
    """
    windows = [_window_medians(block) for block in blocks if len(block) >= WINDOWS * _WINDOW_SAMPLES_MIN]
    if not windows:
        return SteadyState.NOT_ASSESSED
    drifts = [_drift(medians) for medians in windows]
    if len(drifts) == 1:
        mean, half = drifts[0]
        low, high = mean - half, mean + half
    else:
        mean, low, high = student_t_interval([drift for drift, _ in drifts], _CONFIDENCE)
    settled = low <= 0.0 <= high or abs(mean) < _DRIFT_ALLOWED
    return SteadyState.REACHED if settled else SteadyState.NOT_REACHED


def _window_medians(block: Sequence[int]) -> list[float]:
    edges = [len(block) * index // WINDOWS for index in range(WINDOWS + 1)]
    return [statistics.median(block[begin:end]) for begin, end in itertools.pairwise(edges)]


def _drift(medians: list[float]) -> tuple[float, float]:
    """Return the relative change over the block (least squares) with the half-width of its 95 % interval."""
    middle = statistics.median(medians) or 1.0
    positions = [index / (WINDOWS - 1) for index in range(WINDOWS)]
    slope, intercept = statistics.linear_regression(positions, medians)
    squares = sum((m - intercept - slope * p) ** 2 for p, m in zip(positions, medians, strict=True))
    spread = sum((p - 0.5) ** 2 for p in positions)
    error = math.sqrt(squares / (WINDOWS - 2) / spread)
    return slope / middle, student_t_quantile(_CONFIDENCE, WINDOWS - 2) * error / middle


class ClockCheck:
    """The runner's clock held against the agent's, over the batches of a process.

    Not batch by batch: a single late wake-up of the agent is milliseconds, and would dispute honest runs on a
    busy board. Of a process the half of its batches that disagrees least is added up: a clock that is off by 5 %
    is so in all of them, late wake-ups and short batches, of which the way to the runner is a large part, are not.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[float, int, int]] = []
        self.worst: float | None = None
        self.disputed = False

    def add(self, runner_ns: int, agent_ns: int) -> None:
        """Take in how long one batch took for each."""
        if agent_ns > 0:
            self._batches.append((abs(agent_ns - runner_ns) / agent_ns, runner_ns, agent_ns))

    @property
    def way_s(self) -> float:
        """What each batch of the process took the agent longer, at the least: the way to the runner and back.

        Nothing is forgiven for it, since a runner may lie about it: batches are made so long that it hardly counts.
        """
        return max(0, min((agent - runner for _, runner, agent in self._batches), default=0)) / NS_PER_S

    def end_process(self) -> None:
        """Judge one process: a difference beyond max(1 ms, 5 %) disputes the whole run."""
        if not self._batches:
            return
        half = sorted(self._batches)[: (len(self._batches) + 1) // 2]
        agent_ns = sum(agent for _, _, agent in half)
        difference = abs(agent_ns - sum(runner for _, runner, _ in half))
        self.worst = max(self.worst or 0.0, difference / agent_ns)
        if difference > max(_DISPUTE_NS, _DISPUTE_FRACTION * agent_ns):
            self.disputed = True
        self._batches = []
