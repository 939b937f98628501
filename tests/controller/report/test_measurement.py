"""What surrounds the figures is there in every format, and absent things say why."""

from __future__ import annotations

import csv
import html
import io
import itertools
import json
import re
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import pytest
from edgeloop.domain.experiment import DeviceResult, ExperimentResult
from edgeloop.interfaces.present import print_measurements
from edgeloop.report import render
from edgeloop.report.cells import Cell, Table
from edgeloop.report.figures_load import load_figures
from edgeloop.report.measurement import energy_text, measurement_tables, preflight_text, remarks
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.measurement import Estimate

from tests.controller.report import factory, factory_load
from tests.controller.report.test_write import Page


@pytest.fixture(scope="module")
def result() -> ExperimentResult:
    return factory_load.experiment()


@pytest.fixture(scope="module")
def here(result: ExperimentResult) -> DeviceResult:
    return result.devices[0]


def table(device: DeviceResult, title: str) -> Table:
    return next(t for t in measurement_tables(device) if t.title == title)


def column(found: Table, name: str) -> list[Cell]:
    place = found.columns.index(name)
    return [row[place] for row in found.rows]


SAID = (
    "fit to measure after 4.2 s of waiting",
    "other processes used 34 % of the processors, at most 5 % are allowed.",
    "no power sensor",
    "/sys/class/powercap has no readable RAPL domain",
    "ina3221/VDD_IN",
    "10 readings/s",
    "mlcommons-loadgen 6.0.17",
    "unofficial",
    "10 s of at least 600 s",
    "the knee",
    "batch 4 has the highest throughput",
    "no throttle counter on this processor",
    "page cache included",
    "one level throughout all 5 processes",
    "4.80 ms in 81.00 %",
    "governor performance",
)


@pytest.mark.parametrize("format", ["html", "markdown"])
def test_everything_that_was_measured_is_said(result: ExperimentResult, format: str) -> None:
    text = html.unescape(render(result, format)).replace("\\", "")
    assert [words for words in SAID if words not in text] == []


def test_the_terminal_says_it_too(here: DeviceResult, capsys: pytest.CaptureFixture[str]) -> None:
    print_measurements((here,))
    text = capsys.readouterr().out
    assert [words for words in SAID if words not in text and words != "governor performance"] == []


def test_every_table_has_source_and_series(result: ExperimentResult) -> None:
    for device in result.devices:
        for found in measurement_tables(device):
            assert {"source", "series"} <= set(found.columns), found.title
            assert {len(row) for row in found.rows} == {len(found.columns)}
    page = Page(render(result, "html"))
    assert sum("series" in row and "source" in row for row in page.rows) >= len(
        measurement_tables(result.devices[0])
    )


def test_json_keeps_all_of_it_and_reads_back(result: ExperimentResult) -> None:
    text = render(result, "json")
    assert from_json(text, ExperimentResult) == result
    optimised = json.loads(text)["devices"][0]["runs"][1]
    assert optimised["energy"]["gross_j"]["value"] is None
    assert "powercap" in optimised["energy"]["gross_j"]["reason"]


def test_csv_and_junit_name_series_fitness_and_anomalies(result: ExperimentResult) -> None:
    rows = {
        r["candidate"]: r
        for r in csv.DictReader(io.StringIO(render(result, "csv")))
        if r["device"] == "this-machine"
    }
    assert rows["original"]["series"] == "nominal"
    assert rows["original"]["fit"] == "true"
    assert float(rows["original"]["sustained_ratio"]) == pytest.approx(1.34, abs=0.01)
    assert rows["original"]["latency_p50_s_n"] == "700"
    assert rows["dynamic int8"]["anomalies"].startswith("foreign_load: ")
    assert "powercap" in rows["dynamic int8"]["no_energy_because"]
    suite = ElementTree.fromstring(render(result, "junit"))[0]
    known = [(p.get("name"), p.get("value")) for p in suite.iter("property")]
    assert ("series", "nominal") in known
    assert any(name == "anomaly of dynamic int8" for name, _ in known)
    assert any("no power sensor" in (value or "") for _, value in known)


def test_the_heat_is_drawn_beside_latency(here: DeviceResult) -> None:
    figures = {f.title: f for f in load_figures(here, "static int8 U8S8 per channel")}
    assert list(figures) == ["Burst to sustained", "Throughput over batch size", "Latency over rate"]
    spec = figures["Burst to sustained"].spec
    panels = [spec["layout"][f"yaxis{n}"]["title"]["text"] for n in ("", 2, 3)]
    assert panels == ["latency [ms]", "hottest zone [°C]", "clock [GHz]"]
    domains = [spec["layout"][f"yaxis{n}"]["domain"] for n in ("", 2, 3)]
    assert all(upper[0] > lower[1] for upper, lower in itertools.pairwise(domains))
    throttled = [t for t in spec["data"] if "throttled" in t["name"]]
    assert [len(t["x"]) for t in throttled] == [2, 2]
    assert {len(t["x"]) for t in spec["data"] if t["mode"] == "lines"} == {120}
    assert "time to throttle: 400 s" in figures["Burst to sustained"].caption
    knee = figures["Latency over rate"].spec["layout"]["shapes"][0]
    assert knee["x0"] == 200.0


def test_a_device_without_thermometer_draws_latency_alone_and_says_so(here: DeviceResult) -> None:
    blind = tuple(
        replace(
            run,
            sustained=replace(
                run.sustained,
                windows=tuple(
                    replace(w, temperature_celsius=None, frequency_hz=None) for w in run.sustained.windows
                ),
                time_to_throttle_s=Estimate.absent("this device does not tell of throttling"),
            ),
        )
        if run.sustained
        else run
        for run in here.runs
    )
    figure = load_figures(replace(here, runs=blind), "")[0]
    assert "yaxis2" not in figure.spec["layout"]
    assert "cannot be read on this device" in figure.caption
    assert "this device does not tell of throttling" in figure.caption


def test_a_sensor_is_shown_with_rate_error_and_what_it_costs(here: DeviceResult) -> None:
    found = table(here, "Energy")
    sensors = column(found, "sensor")
    assert sensors[0].text == "ina3221/VDD_IN, board"
    assert sensors[0].detail == "10 readings/s; error 2 %; reading it took 0.12 % of the time"
    assert column(found, "idle after")[0].text == "2.90 W"
    assert [cell.text for cell in sensors[1:]] == ["none"] * 4
    assert column(found, "energy per inference")[1].detail.startswith("no power sensor: ")


def test_memory_stands_in_its_phases(here: DeviceResult) -> None:
    found = table(here, "Memory of the runner")
    wanted = ["after import", "after load", "peak of load", "peak of inference"]
    assert [c for c in found.columns if c in wanted] == wanted
    assert column(found, "peak of control group")[0].detail == "version 2, page cache included"
    assert column(found, "drop of available memory")[0].text == "38.8 MB"


def test_placement_counts_nodes_and_time_of_each_provider(here: DeviceResult) -> None:
    run = here.runs[0]
    assert run.placement is not None
    nodes = tuple(
        replace(node, provider="XnnpackExecutionProvider") if i < 5 else node
        for i, node in enumerate(run.placement.nodes)
    )
    split = (("CPUExecutionProvider", 15), ("XnnpackExecutionProvider", 5))
    placed = replace(run, placement=replace(run.placement, nodes=nodes, nodes_per_provider=split))
    found = table(replace(here, runs=(placed,)), "Placement")
    assert [cell.text for cell in column(found, "nodes")] == ["15", "5"]
    shares = [float(cell.text.removesuffix(" %")) for cell in column(found, "share of their time")]
    assert sum(shares) == pytest.approx(100.0, abs=0.02)
    assert shares[1] > 25.0, "the first five are the longest"


def test_every_number_names_interval_count_conditions_and_run(here: DeviceResult) -> None:
    found = table(here, "Where each number comes from")
    first = dict(zip(found.columns, found.rows[0], strict=True))
    assert first["quantity"].text == "latency p50"
    assert re.fullmatch(r"4\.9\d to 4\.9\d, 95 % interval", first["value"].detail)
    assert first["n"].text == "700"
    assert "onnxruntime 1.23.2, 2 threads, governor performance, load 0.31 before" in first["taken by"].detail
    assert first["run"].text == here.runs[0].run_id[:12]
    energy = [row for row in found.rows if row[3].text == "energy"]
    assert energy == [], "the evidence of this experiment knows no energy"


def test_a_predicted_number_says_how_far_it_can_be_trusted(result: ExperimentResult) -> None:
    board = next(device for device in result.devices if device.runs and device.runs[0].simulation)

    def said(**changes: Any) -> str:
        runs = tuple(
            replace(run, simulation=replace(run.simulation, **changes)) if run.simulation else run
            for run in board.runs
        )
        found = table(replace(board, runs=runs), "Where each number comes from")
        return column(found, "taken by")[0].detail

    assert "90 % interval of the prediction x/\N{DIVISION SIGN} 2," in said()
    assert "nearest measured family" not in said()
    fitted = said(
        nearest_family="mobile", family_distance=0.125, extrapolations=("4 threads were not measured",)
    )
    assert "nearest measured family mobile at distance 0.12" in fitted
    assert "extrapolated: 4 threads were not measured" in fitted
    simulation = board.runs[0].simulation
    assert simulation is not None
    stale = replace(board.runs[0], simulation=replace(simulation, stale=True))
    assert stale.basis == "transferred, unvalidated, stale"


def test_an_unfit_device_says_what_was_found_and_required() -> None:
    text = preflight_text(factory_load.preflight(fit=False))
    assert "not fit to measure" in text
    assert "governor is powersave, required is performance" in text


def test_a_reason_is_not_said_twice() -> None:
    energy = factory.experiment().devices[0].runs[0].energy
    assert energy is not None
    once = replace(
        energy, gross_j=Estimate.absent("no power sensor can be read on this board (rapl: absent)")
    )
    assert energy_text(once) == "no power sensor can be read on this board (rapl: absent)"


def test_an_anomaly_tops_the_page(here: DeviceResult) -> None:
    bad = [remark.text for remark in remarks(here) if remark.tone == "bad"]
    assert len(bad) == 1
    assert bad[0].startswith("No gate accepts the figures of dynamic int8: foreign load in round 3")


def test_points_of_a_sweep_stand_in_their_own_tables_only(here: DeviceResult) -> None:
    labels = {cell.text for cell in column(table(here, "Load and steady phase"), "candidate")}
    assert not any("batch" in label or "requests" in label for label in labels)
    assert len(table(here, "Throughput over batch size").rows) == 4
    assert len(table(here, "Latency over rate").rows) == 4
