"""A foreign meter's trace laid beside a run: the offset is found with its uncertainty, or refused."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from edgeloop.app import App
from edgeloop.interfaces.cli.main import cli
from edgeloop.observe.align import align
from edgeloop.observe.foreign_energy import energy_of
from edgeloop.observe.trace_file import MeterTrace, read_trace
from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_protocol.types.conditions import Phase
from edgeloop_protocol.types.measurement import Estimate
from edgeloop_protocol.types.run import Block, Outcome, Run, Simulation, Source, SpooledRun, Timing
from edgeloop_protocol.types.trial import Benchmark, Trial

S = 1_000_000_000
BOARD_S = 5000.0
IDLE_W, BUSY_W = 2.5, 6.0
COUNT = 400


def phase(name: str, start_s: float, end_s: float, round_index: int = -1) -> Phase:
    return Phase(
        name=name,
        round=round_index,
        start_ns=round((BOARD_S + start_s) * S),
        end_ns=round((BOARD_S + end_s) * S),
    )


PHASES = (
    phase("idle_before", 0, 5),
    phase("load_pulse", 6, 7),
    phase("load_pulse", 8, 10),
    phase("load_pulse", 11, 12),
    *(phase("steady", 15 + 6 * r, 19 + 6 * r, r) for r in range(5)),
    phase("idle_after", 46, 51),
)


def busy(board_s: float) -> bool:
    return any(
        p.start_ns <= (BOARD_S + board_s) * S <= p.end_ns
        for p in PHASES
        if p.name in ("load_pulse", "steady")
    )


def make_trace(
    *,
    seed: int = 1,
    offset_s: float = 1_700_000_000.0 - BOARD_S,
    interval_s: float = 0.1,
    noise_w: float = 0.1,
    watts: Callable[[float], float] = lambda s: BUSY_W if busy(s) else IDLE_W,
    span_s: tuple[float, float] = (-10.0, 60.0),
    quantity: str = "power",
) -> MeterTrace:
    """Values are means over the interval before, as of a meter that integrates, on a clock of its own."""
    source = random.Random(seed)
    times, values, energy = [], [], 0.0
    at = span_s[0] + source.uniform(0, interval_s)
    while at < span_s[1]:
        mean = sum(watts(at + interval_s * (i + 0.5) / 20 - interval_s / 2) for i in range(20)) / 20
        mean += source.gauss(0, noise_w)
        energy += mean * interval_s
        times.append(round((BOARD_S + at + offset_s) * S))
        values.append(mean if quantity == "power" else energy)
        at += interval_s
    return MeterTrace(source="meter.csv", quantity=quantity, times_ns=tuple(times), values=tuple(values))


def make_run(phases: tuple[Phase, ...] = PHASES, source: Source = Source.MEASURED) -> Run:
    absent = Estimate.absent("not here")
    blocks = tuple(
        Block(round=r, position=0, sample_offset=COUNT * r, sample_count=COUNT, inference_count=COUNT)
        for r in range(5)
    )
    simulation = Simulation(profile="p", profile_digest="d", basis="datasheet", seed=0)
    return Run(
        run_id="r1",
        source=source,
        device_id="d",
        device_name="pi",
        boot_id="b",
        agent_version="1",
        job_id="j",
        request_id="q",
        lease_id="l",
        trial=Trial(trial_id="t", label="original", artifact_digest="0" * 64),
        benchmark=Benchmark(),
        started_wall_s=0.0,
        duration_s=1.0,
        outcome=Outcome.SUCCESS,
        timing=Timing(cold_load_s=absent, warm_load_s=absent, first_inference_s=absent, blocks=blocks),
        phases=phases,
        simulation=simulation if source is Source.SIMULATED else None,
    )


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("interval_s", [0.02, 0.1, 0.45])
@pytest.mark.parametrize("offset_s", [-1234.567, 1_700_000_000.25])
def test_the_offset_lies_within_its_uncertainty(seed: int, interval_s: float, offset_s: float) -> None:
    found = align(make_trace(seed=seed, interval_s=interval_s, offset_s=offset_s), PHASES)
    assert abs(found.offset_s - offset_s) <= found.uncertainty_s + 0.01
    assert found.uncertainty_s <= max(0.05, interval_s)
    assert found.correlation > 0.9 > found.runner_up + 0.1


@pytest.mark.parametrize("quantity", ["power", "energy"])
@pytest.mark.parametrize("seed", range(5))
def test_energy_per_inference_is_power_times_time(seed: int, quantity: str) -> None:
    energy = energy_of(make_run(), make_trace(seed=seed, quantity=quantity))
    assert energy.source == "meter.csv"
    truth_j, above_j = BUSY_W * 4.0 / COUNT, (BUSY_W - IDLE_W) * 4.0 / COUNT
    for estimate, truth in ((energy.gross_j, truth_j), (energy.above_idle_j, above_j)):
        assert estimate.value == pytest.approx(truth, rel=0.03)
        assert estimate.low is not None
        assert estimate.high is not None
        assert estimate.low <= truth * 1.01
        assert estimate.high >= truth * 0.99
    assert energy.mean_power_w.value == pytest.approx(BUSY_W, rel=0.03)
    assert energy.idle_power_w.value == pytest.approx(IDLE_W, rel=0.03)


def test_without_phases_of_idling_there_is_no_energy_above_it() -> None:
    phases = tuple(p for p in PHASES if not p.name.startswith("idle"))
    energy = energy_of(make_run(phases), make_trace())
    assert energy.gross_j.value is not None
    assert "idle_s" in energy.above_idle_j.reason


@pytest.mark.parametrize(
    ("trace", "says"),
    [
        (make_trace(watts=lambda _: 3.0), "does not show the load pulses"),
        (
            make_trace(watts=lambda s: BUSY_W if busy(s) or busy(s - 60.0) else IDLE_W, span_s=(-10.0, 80.0)),
            "more than one",
        ),
        (make_trace(interval_s=0.8), "two samples within it"),
        (make_trace(span_s=(0.0, 5.0)), "shorter than the pulses"),
        (make_trace(span_s=(-10.0, 30.0)), "nothing was read at"),
    ],
    ids=["flat", "twice", "slow", "short", "ends early"],
)
def test_what_cannot_be_aligned_is_refused(trace: MeterTrace, says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        energy_of(make_run(), trace)


def test_runs_that_no_meter_can_have_seen_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="0 load pulses"):
        energy_of(make_run(tuple(p for p in PHASES if p.name != "load_pulse")), make_trace())
    with pytest.raises(InvalidInputError, match="simulated"):
        energy_of(make_run(source=Source.SIMULATED), make_trace())
    with pytest.raises(InvalidInputError, match="no steady phase"):
        energy_of(dataclasses.replace(make_run(), timing=None), make_trace())


def rows(count: int = 12, step: float = 0.5) -> list[tuple[float, float]]:
    return [(1_700_000_000 + index * step, 5.0 + index) for index in range(count)]


@pytest.mark.parametrize(
    ("header", "line", "quantity", "first"),
    [
        ("", "{t},{v}", "power", 5.0),
        ("time_s,power_w", "{t},{v}", "power", 5.0),
        ("device;Timestamp;mW", "x;{t};{v}", "power", 0.005),
        ("timestamp_ms\tenergy_wh", "{ms}\t{v}", "energy", 18000.0),
        ("timestamp,energy_kwh", "{iso},{v}", "energy", 18e6),
    ],
)
def test_traces_of_many_forms(tmp_path: Path, header: str, line: str, quantity: str, first: float) -> None:
    lines = [header] if header else []
    for t, v in rows():
        iso = datetime.fromtimestamp(t, timezone.utc).isoformat().replace("+00:00", "Z")
        lines.append(line.format(t=t, v=v, ms=t * 1000, iso=iso))
    (tmp_path / "trace.csv").write_text("\n".join(lines) + "\n\n")
    trace = read_trace(tmp_path / "trace.csv")
    assert (trace.quantity, trace.values[0], len(trace.values)) == (quantity, pytest.approx(first), 12)
    assert trace.times_ns[0] == 1_700_000_000 * S
    assert trace.interval_s == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "it has nothing"),
        ("when,what\n1,2\n", "it has when, what"),
        ("time,power\n1,2\n", "1 rows"),
        ("time,power\n" + "1,2\n" * 12, "do not rise"),
        ("time,power\n1,x\n", "row 2"),
        ("time,power\n1\n", "row 2"),
        ("time,power\n1,nan\n", "row 2"),
    ],
)
def test_a_file_that_is_no_trace_says_why(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "trace.csv").write_text(text)
    with pytest.raises(InvalidInputError, match=says):
        read_trace(tmp_path / "trace.csv")
    with pytest.raises(NotFoundError):
        read_trace(tmp_path / "other.csv")


def test_the_verb_prints_energy_with_its_source(tmp_path: Path) -> None:
    with App.open(tmp_path / "home") as app:
        app.records.ingest(SpooledRun(epoch="e", sequence=1, run=make_run()), "pi")
    trace = make_trace()
    lines = (
        f"{time_ns / S:.6f},{watts}" for time_ns, watts in zip(trace.times_ns, trace.values, strict=True)
    )
    (tmp_path / "plug.csv").write_text("time_s,power_w\n" + "\n".join(lines))

    def call(*words: str) -> Result:
        return CliRunner().invoke(
            cli,
            ["--home", str(tmp_path / "home"), "--quiet", "energy", "align", *words],
        )

    plain = call("r1", "--trace", str(tmp_path / "plug.csv"))
    assert plain.exit_code == 0, plain.output
    assert "per inference" in plain.output
    assert "from plug.csv, aligned to" in plain.output
    document = call("r1", "--trace", str(tmp_path / "plug.csv"), "--json")
    assert document.exit_code == 0, document.output
    (row,) = json.loads(document.stdout)["runs"]
    assert row["energy"]["source"] == "plug.csv"
    assert row["energy"]["gross_j"]["value"] == pytest.approx(BUSY_W * 4.0 / COUNT, rel=0.03)
    assert call("nothing", "--trace", str(tmp_path / "plug.csv")).exit_code == 2
