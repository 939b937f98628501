"""How good predictions are: the figures that both fidelity scripts print."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

HEADER = (
    f"{'what':44} {'n':>4} {'MAPE':>7} {'median':>7} {'<10%':>5} {'<20%':>5} "
    f"{'rank':>6} {'bias':>7} {'worst':>7}  90 % interval covers"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """One line of a table."""

    what: str
    count: int
    mape: float
    median_ape: float
    within_10: float
    within_20: float
    #: Rank correlation; absent with fewer than three different latencies.
    spearman: float | None
    #: Mean of the signed relative error.
    bias: float
    worst: float
    #: Share of measured values inside the interval with its exact 95 % binomial interval; absent where none was given.
    coverage: float | None = None
    coverage_low: float | None = None
    coverage_high: float | None = None
    #: Median of the factor between the point and either end.
    factor: float | None = None

    def line(self) -> str:
        rank = "-" if self.spearman is None else f"{self.spearman:.3f}"
        text = (
            f"{self.what:44} {self.count:4d} {self.mape:7.1%} {self.median_ape:7.1%} {self.within_10:5.0%} "
            f"{self.within_20:5.0%} {rank:>6} {self.bias:+7.1%} {self.worst:7.0%}"
        )
        if self.coverage is None or self.coverage_low is None or self.coverage_high is None:
            return text
        return (
            f"{text}  {self.coverage:.0%} [{self.coverage_low:.0%}, {self.coverage_high:.0%}] x/\N{DIVISION SIGN} "
            f"{self.factor:.2f}"
        )

    def tree(self) -> dict[str, object]:
        return asdict(self)


def figures(
    what: str, predicted: Sequence[float], measured: Sequence[float], factors: Sequence[float] | None = None
) -> Figures:
    """Return the figures of predictions in any unit; ``factors`` are those of the 90 % intervals."""
    errors = [p / m - 1.0 for p, m in zip(predicted, measured, strict=True)]
    apes = sorted(abs(error) for error in errors)
    count = len(apes)
    covered: tuple[float | None, float | None, float | None] = (None, None, None)
    if factors is not None:
        hits = sum(1 / f <= p / m <= f for p, m, f in zip(predicted, measured, factors, strict=True))
        covered = (hits / count, *binomial_interval(hits, count))
    return Figures(
        what=what,
        count=count,
        mape=sum(apes) / count,
        median_ape=middle(apes),
        within_10=sum(ape <= 0.1 for ape in apes) / count,
        within_20=sum(ape <= 0.2 for ape in apes) / count,
        spearman=spearman(predicted, measured),
        bias=sum(errors) / count,
        worst=apes[-1],
        coverage=covered[0],
        coverage_low=covered[1],
        coverage_high=covered[2],
        factor=middle(sorted(factors)) if factors else None,
    )


def middle(ordered: Sequence[float]) -> float:
    """Return the median of sorted values."""
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def spearman(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return the rank correlation; None where it has no meaning."""
    if len(set(one)) < 3 or len(set(other)) < 3:
        return None
    left, right = _ranks(one), _ranks(other)
    mean = sum(left) / len(left)
    up = sum((a - mean) * (b - mean) for a, b in zip(left, right, strict=True))
    return up / math.sqrt(sum((a - mean) ** 2 for a in left) * sum((b - mean) ** 2 for b in right))


def _ranks(values: Sequence[float]) -> list[float]:
    ordered = sorted(range(len(values)), key=lambda index: values[index])
    ranks = [0.0] * len(values)
    place = 0
    while place < len(ordered):
        same = [i for i in ordered[place:] if values[i] == values[ordered[place]]]
        for index in same:
            ranks[index] = place + (len(same) - 1) / 2
        place += len(same)
    return ranks


def binomial_interval(hits: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of Clopper and Pearson (1934), by bisection."""
    tail = (1 - level) / 2

    def at_most(share: float, most: int) -> float:
        return sum(math.comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(most + 1))

    def solve(inside: object, low: float, high: float) -> float:
        for _ in range(60):
            half = (low + high) / 2
            low, high = (half, high) if inside(half) else (low, half)  # type: ignore[operator]
        return (low + high) / 2

    lower = 0.0 if hits == 0 else solve(lambda p: 1 - at_most(p, hits - 1) < tail, 0.0, 1.0)
    upper = 1.0 if hits == count else solve(lambda p: at_most(p, hits) > tail, 0.0, 1.0)
    return lower, upper


def balanced_accuracy(predicted: Sequence[bool], actual: Sequence[bool]) -> float | None:
    """Return the mean of both classes' hit rates; None where one class does not occur."""
    rates = []
    for value in (True, False):
        chosen = [p == a for p, a in zip(predicted, actual, strict=True) if a == value]
        if not chosen:
            return None
        rates.append(sum(chosen) / len(chosen))
    return sum(rates) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class SignPair:
    """An int8 and a float latency of one model on one board, and which of the two is the shorter."""

    board: str
    #: Whether int8 is faster: as predicted, and as published.
    predicted: bool
    actual: bool
    #: Whether the source's own repeats tell which is faster; see `told_apart`.
    determined: bool = True


def told_apart(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Return whether repeats tell two latencies apart: what is usual of the shorter is below the best of the longer.

    Args:
        one: seconds of the best repeat, and of a usual one.
        other: the same of the other latency.
    """
    shorter, longer = sorted((one, other))
    return shorter[1] < longer[0]


def balanced(pairs: Sequence[SignPair]) -> float | None:
    """Return the balanced accuracy of the pairs' signs; None where one sign does not occur."""
    return balanced_accuracy([pair.predicted for pair in pairs], [pair.actual for pair in pairs])


def balanced_interval(pairs: Sequence[SignPair], draws: int = 2000) -> tuple[float, float] | None:
    """Return the 90 % interval of the balanced accuracy over boards drawn anew; None where one sign does not occur.

    Pairs of one board are right or wrong together, so boards are drawn and not pairs (the bootstrap of hierarchical
    data, Davison and Hinkley 1997, 3.8). Draws without one of the signs say nothing and are left out.
    """
    by_board: dict[str, list[SignPair]] = {}
    for pair in pairs:
        by_board.setdefault(pair.board, []).append(pair)
    draw, names = random.Random(0), sorted(by_board)
    drawn = (
        [pair for name in draw.choices(names, k=len(names)) for pair in by_board[name]] for _ in range(draws)
    )
    found = sorted(value for value in map(balanced, drawn) if value is not None)
    return (found[len(found) // 20], found[-len(found) // 20]) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignLine:
    """How often the sign was right on one board that was left out."""

    HEADER: ClassVar[str] = (
        f"{'board':28} {'pairs':>5} {'faster':>6} {'right':>6}  95 % interval   always int8 faster"
    )

    board: str
    pairs: int
    #: Share of the pairs in which int8 is faster, which is what the constant answer gets right.
    faster: float
    right: float
    low: float
    high: float

    def line(self) -> str:
        return (
            f"{self.board:28} {self.pairs:5d} {self.faster:6.0%} {self.right:6.0%}  "
            f"[{self.low:4.0%}, {self.high:4.0%}]   {self.faster:6.0%}"
        )

    def tree(self) -> dict[str, object]:
        return asdict(self)


def sign_lines(pairs: Sequence[SignPair]) -> list[SignLine]:
    """Return a line per board, with its exact binomial interval."""
    lines = []
    for board in sorted({pair.board for pair in pairs}):
        own = [pair for pair in pairs if pair.board == board]
        hits = sum(pair.predicted == pair.actual for pair in own)
        low, high = binomial_interval(hits, len(own))
        faster = sum(pair.actual for pair in own) / len(own)
        lines.append(
            SignLine(board=board, pairs=len(own), faster=faster, right=hits / len(own), low=low, high=high)
        )
    return lines
