"""How far predicted latencies are from published ones that were left out, beside what simpler predictors reach."""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import numpy as np  # noqa: E402
from edgeloop.calibrate.conformal import conformal_quantile  # noqa: E402
from edgeloop.calibrate.pooled import Pool  # noqa: E402
from fidelity_metrics import (  # noqa: E402
    HEADER,
    Figures,
    SignLine,
    SignPair,
    balanced,
    balanced_interval,
    figures,
    sign_lines,
    told_apart,
)
from published_rows import THREAD_EXPONENT, Published, read  # noqa: E402

DATA = HERE.parents[1] / "tests" / "device_profiles" / "data" / "published_latency.csv"
PRIOR = HERE / "data" / "ncnn_boards.csv"
BOARDS = DATA.with_name("published_boards.csv")
CACHE = Path("build/fidelity/tables.json")
CELLS_BOARD = "raspberry_pi_4"
FOLDS = 5
MONDRIAN_MIN = 9
CELL_MIN = 10


@dataclass(slots=True)
class Split:
    """Rows that were left out, with what each predictor said about them."""

    what: str
    rows: list[Published] = field(default_factory=list)
    seconds: dict[str, list[float]] = field(default_factory=dict)
    factors: list[float] = field(default_factory=list)

    def add(
        self, test: Sequence[Published], train: Sequence[Published], group: Callable[[Published], str]
    ) -> None:
        """Predict rows from others; ``group`` is what the intervals' errors are left out by."""
        points, factors = predicted(test, train, group)
        self.rows += test
        self.factors += factors
        self.seconds.setdefault("edgeloop", []).extend(points)
        for name, seconds in baselines(test, train).items():
            self.seconds.setdefault(name, []).extend(seconds)

    def lines(self) -> list[Figures]:
        measured = [row.latency_s for row in self.rows]
        return [
            figures(
                self.what if name == "edgeloop" else f"    {name}",
                seconds,
                measured,
                self.factors if name == "edgeloop" else None,
            )
            for name, seconds in self.seconds.items()
        ]


def predicted(
    test: Sequence[Published], train: Sequence[Published], group: Callable[[Published], str]
) -> tuple[list[float], list[float]]:
    """Return seconds and interval factors: the spread that the pool sees, times what left-out errors were of it."""
    pool = Pool([row.row for row in train])
    points, spreads = pool.predict([row.row for row in test])
    errors, deviations = pool.left_out([group(row) for row in train])
    scores = np.abs(errors) / deviations
    factors = []
    for row, spread in zip(test, spreads, strict=True):
        factors.append(math.exp(conformal_quantile(scores[_alike(row, train)]) * float(spread)))
    return [float(value) for value in np.exp(points)], factors


def _alike(row: Published, train: Sequence[Published]) -> np.ndarray:
    """Return the rows whose errors speak for this one: of its family, cell or board where they are enough, else all."""
    for alike in (
        lambda other: (other.cell, other.family) == (row.cell, row.family),
        lambda other: other.cell == row.cell,
        lambda other: other.board == row.board,
    ):
        chosen = np.array([alike(other) for other in train])
        if chosen.sum() >= MONDRIAN_MIN:
            return chosen
    return np.ones(len(train), bool)


def baselines(test: Sequence[Published], train: Sequence[Published]) -> dict[str, list[float]]:
    """Return what simpler predictors say, fitted to the rows of the cell, else to those of the precision."""
    found: dict[str, list[float]] = {
        "MACs x scalar": [],
        "datasheet roofline": [],
        "roofline x scalar": [],
        "best constant": [],
    }
    for row in test:
        near = (
            [r for r in train if r.cell == row.cell and r.threads == row.threads]
            or [r for r in train if r.precision == row.precision]
            or list(train)
        )
        same = near[0].cell == row.cell

        def cycles(other: Published, same: bool = same) -> float:
            # Across boards arithmetic goes with the clock and with the threads.
            return other.macs if same else other.macs / _speed(other)

        scale = statistics.median(r.latency_s / cycles(r) for r in near)
        found["MACs x scalar"].append(scale * cycles(row))
        found["datasheet roofline"].append(row.roofline_s)
        found["roofline x scalar"].append(
            row.roofline_s * statistics.median(r.latency_s / r.roofline_s for r in near)
        )
        found["best constant"].append(math.exp(statistics.fmean(math.log(r.latency_s) for r in near)))
    return found


def _speed(row: Published) -> float:
    return row.frequency_hz * row.threads**THREAD_EXPONENT


def cells(rows: Sequence[Published], prior: Sequence[Published]) -> Iterable[tuple[str, Split]]:
    """Yield each cell of the Pi 4 in family and out of family."""
    board = [row for row in rows if row.board == CELLS_BOARD]
    others = [row for row in (*rows, *prior) if _device(row.board) != CELLS_BOARD]
    models = sorted({row.model for row in board})
    order = np.random.default_rng(0).permutation(len(models))
    fold_of = {models[place]: int(index) % FOLDS for index, place in enumerate(order)}
    large = [c for c in sorted({r.cell for r in board}) if sum(r.cell == c for r in board) >= CELL_MIN]
    within = {cell: Split(f"{cell.partition('/')[2]} in family") for cell in large}
    beyond = {cell: Split(f"{cell.partition('/')[2]} out of family") for cell in large}
    strict = {cell: Split(f"{cell.partition('/')[2]} family seen nowhere") for cell in large}
    for fold in range(FOLDS):
        train = [row for row in board if fold_of[row.model] != fold] + others
        seen = {(row.cell, row.family) for row in train}
        for cell, split in within.items():
            test = [
                r for r in board if r.cell == cell and fold_of[r.model] == fold and (cell, r.family) in seen
            ]
            if test:
                split.add(test, train, lambda row: f"{row.board}/{row.model}")
    for family in sorted({row.family for row in board if row.cell in large}):
        rest = [row for row in board if row.family != family]
        for cell in large:
            test = [row for row in board if row.cell == cell and row.family == family]
            if test and any(row.cell == cell for row in rest):
                beyond[cell].add(test, rest + others, lambda row: f"{row.board}/{row.family}")
                nowhere = [row for row in rest + others if row.family != family]
                strict[cell].add(test, nowhere, lambda row: row.family)
    for kind, splits in (("in family", within), ("out of family", beyond), ("seen nowhere", strict)):
        for split in splits.values():
            if split.rows:
                yield kind, split


def boards(rows: Sequence[Published], prior: Sequence[Published]) -> Iterable[tuple[str, Split]]:
    """Yield each board from the others, with 0, 1 and 3 rows of its own, and from inside and outside its tier.

    The two clusters of one processor, and one processor at two clocks, are two boards, but neither helps the other.
    """
    everything = [*rows, *prior]
    for board in sorted({row.board for row in everything}):
        own = [row for row in everything if row.board == board]
        rest = [row for row in everything if _device(row.board) != _device(board)]
        order = [own[index] for index in np.random.default_rng(1).permutation(len(own))]
        for count in (0, 1, 3):
            chosen, test = order[:count], order[count:]
            if not test:
                continue
            split = Split(f"{board} ({own[0].tier}), {count} own rows")
            split.add(test, rest + chosen, lambda row: row.board)
            yield f"{count} own rows", split
        for what, train in (
            ("inside its tier", [row for row in rest if row.tier == own[0].tier]),
            ("across tiers", [row for row in rest if row.tier != own[0].tier]),
        ):
            if train:
                split = Split(f"{board} ({own[0].tier}), from {what}")
                split.add(own, train, lambda row: row.board)
                yield what, split


def _device(board: str) -> str:
    return board.removesuffix("_a53").removesuffix("_a72").removesuffix("_1500mhz")


def merged(what: str, splits: Iterable[Split]) -> Split:
    whole = Split(what)
    for split in splits:
        whole.rows += split.rows
        whole.factors += split.factors
        for name, seconds in split.seconds.items():
            whole.seconds.setdefault(name, []).extend(seconds)
    return whole


def sign_pairs(splits: Sequence[Split]) -> Iterable[SignPair]:
    """Yield each pair of an int8 and a float latency that differ in nothing else."""
    for split in splits:
        found = {
            (r.board, r.runtime, r.threads, r.model, r.precision): (guess, (r.latency_s, r.repeated_s))
            for r, guess in zip(split.rows, split.seconds["edgeloop"], strict=True)
        }
        for (*where, precision), (guess, measured) in found.items():
            for other in ("fp32", "fp16"):
                pair = found.get((*where, other))
                if precision == "int8" and pair:
                    yield SignPair(
                        board=where[0],
                        predicted=guess < pair[0],
                        actual=measured[0] < pair[1][0],
                        determined=told_apart(measured, pair[1]),
                    )


def energy(rows: Sequence[Published]) -> list[Figures]:
    """Return the error of watts by runtime and precision times the measured latency, each row left out in turn."""
    known = [row for row in rows if row.energy_j and row.watts]
    ours, constant, measured = [], [], []
    for row in known:
        rest = [other for other in known if other is not row]
        near = [other for other in rest if other.cell == row.cell] or rest
        ours.append(statistics.median(_watts(other) for other in near) * row.latency_s)
        constant.append(statistics.median(_watts(other) for other in rest) * row.latency_s)
        measured.append(row.energy_j or 0.0)
    if not known:
        return []
    return [
        figures("energy from the measured latency", ours, measured),
        figures("    one wattage for everything", constant, measured),
    ]


def _watts(row: Published) -> float:
    return (row.energy_j or 0.0) / row.latency_s


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    if not options.data.is_file():
        print(
            f"--data: found no file {options.data}, allowed is a CSV; see the default {DATA.name}.",
            file=sys.stderr,
        )
        return 2
    everything, left_out = read([options.data, BOARDS, PRIOR], CACHE)
    rows = [row for row in everything if row.table == options.data.name]
    prior = [row for row in everything if row.table != options.data.name]
    report = Report(options.as_json)
    report.note(
        f"{len(rows)} rows of {options.data.name}, {len(prior)} of {BOARDS.name} and {PRIOR.name} as the prior"
    )
    for reason in left_out:
        report.note(f"left out: {reason}")
    by_cell = list(cells(rows, prior))
    report.table(f"{CELLS_BOARD}: each runtime and precision", [split for _, split in by_cell])
    kinds = {
        kind: merged(f"{CELLS_BOARD}: all {kind}", [s for k, s in by_cell if k == kind])
        for kind, _ in by_cell
    }
    report.table("pooled", list(kinds.values()))
    by_board = list(boards(rows, prior))
    report.table("boards left out", [split for _, split in by_board])
    names = dict.fromkeys(kind for kind, _ in by_board)
    pooled = [merged(f"all boards, {name}", [s for kind, s in by_board if kind == name]) for name in names]
    report.table("boards left out, pooled", pooled)
    pairs = list(sign_pairs([split for kind, split in by_board if kind == "0 own rows"]))
    report.signs(pairs)
    joules = energy(rows)
    report.figures("energy", joules)
    return report.verdicts(kinds, pairs, joules)


class Report:
    """Prints tables as they come, or everything as one JSON object at the end."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._tree: dict[str, object] = {"notes": []}

    def note(self, text: str) -> None:
        self._tree["notes"].append(text)  # type: ignore[attr-defined]
        self._print(text)

    def _print(self, text: str) -> None:
        if not self._as_json:
            print(text, flush=True)

    def table(self, name: str, splits: Sequence[Split]) -> None:
        self.figures(name, [line for split in splits for line in split.lines()])

    def figures(self, name: str, lines: Sequence[Figures]) -> None:
        self._tree[name] = [line.tree() for line in lines]
        self._print(f"\n{name}\n{HEADER}")
        for line in lines:
            self._print(line.line())

    def signs(self, pairs: Sequence[SignPair]) -> None:
        """Print the signs by board, and the balanced accuracy with and without pairs that lie within repeats."""
        name = "int8 faster than float, boards left out"
        lines = sign_lines(pairs)
        self._tree[name] = [line.tree() for line in lines]
        self._print(f"\n{name}\n{SignLine.HEADER}")
        for line in lines:
            self._print(line.line())
        kinds = {
            "all": pairs,
            "those that the source's own repeats tell apart": [pair for pair in pairs if pair.determined],
        }
        shares: dict[str, object] = {}
        for kind, chosen in kinds.items():
            share, between = balanced(chosen), balanced_interval(chosen)
            shares[kind] = {"pairs": len(chosen), "balanced": share, "interval": between}
            if share is not None and between is not None:
                self._print(
                    f"balanced accuracy of {kind} ({len(chosen)} pairs): {share:.1%}, "
                    f"90 % interval over boards [{between[0]:.0%}, {between[1]:.0%}]"
                )
        self._tree["int8 or float"] = shares

    def verdicts(self, kinds: dict[str, Split], pairs: Sequence[SignPair], joules: Sequence[Figures]) -> int:
        aims: list[tuple[str, float | None, bool]] = []
        for kind, most in (("in family", 0.08), ("out of family", 0.15)):
            found = kinds[kind].lines()[0] if kind in kinds else None
            aims.append(
                (f"MAPE {kind} <= {most:.0%}", found and found.mape, bool(found and found.mape <= most))
            )
            covered = found.coverage if found else None
            aims.append(
                (f"coverage {kind} 85-95 %", covered, covered is not None and 0.85 <= covered <= 0.95)
            )
        told = balanced(pairs)
        what = f"int8 or float, balanced accuracy >= 75 % ({len(pairs)} pairs; a constant has 50 %)"
        aims.append((what, told, bool(told and told >= 0.75)))
        if joules:
            aims.append(("MAPE of energy <= 4 %", joules[0].mape, joules[0].mape <= 0.04))
        self._tree["aims"] = [{"aim": a, "found": f, "reached": r} for a, f, r in aims]
        self._print("")
        for aim, found, reached in aims:
            value = "no rows" if found is None else f"{found:.1%}"
            self._print(f"{'reached' if reached else 'MISSED':8} {aim}: {value}")
        if self._as_json:
            print(json.dumps(self._tree))
        return 0 if all(reached for _, _, reached in aims) else 1


if __name__ == "__main__":
    sys.exit(main())
