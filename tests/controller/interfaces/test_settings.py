"""Words of the command line, of the file and of the API lead to the same values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from edgeloop.domain.sweep import SweepPlan
from edgeloop.interfaces.config import Config, load_config
from edgeloop.interfaces.settings import Measurement, measurement
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

from .conftest import Call
from .recorder import Recorder

_HEAD = 'apiVersion = "edgeloop/v1"\nkind = "Config"\n'

_WORDS = [
    word
    for line in (
        "--as-deployed --load-pulse --settle 90s --idle 30s --arrival paced --rate 50 --queue 9",
        "--sustained 20m --window 5s",
        "--scenario multi-stream --scenario-time 1m --latency-bound 50ms --runtime openvino --provider CPU",
        "--require-provider --affinity 0,2-3 --spin --no-arena --precision fp16 --option threads=2",
        "--option a=b --warmup 20 --interleave batch --threads 2 --rounds 3 --batch-size 4 --samples 662",
    )
    for word in line.split()
]
_FILE = """
[benchmark]
as_deployed = true
load_pulse = true
settle = "90s"
idle = 30
arrival = "paced"
rate = 50
queue = 9
sustained = "20m"
window = "5s"
scenario = "multi_stream"
scenario_time = "1m"
latency_bound = "50ms"
interleave = "batch"
rounds = 3
batch_size = 4
samples = 662
[runtime]
runtime = "openvino"
provider = ["CPU"]
require_provider = true
affinity = [0, 2, 3]
spin = true
arena = false
precision = "fp16"
warmup = 20
threads = 2
option = { threads = 2, a = "b" }
"""
_VALUES = (
    Benchmark(
        series="as_deployed",
        load_pulse=True,
        settle_s_max=90.0,
        idle_s=30.0,
        arrival="paced",
        rate_hz=50.0,
        queue_count_max=9,
        sustained_s=1200.0,
        window_s=5.0,
        scenario="multi_stream",
        scenario_s_min=60.0,
        latency_bound_s=0.05,
        interleave="batch",
        rounds=3,
        batch_size=4,
        sample_count_min=662,
    ),
    RuntimeSettings(
        runtime="openvino",
        providers=("CPU",),
        require_provider=True,
        affinity=(0, 2, 3),
        allow_spinning=True,
        memory_arena=False,
        inference_precision="fp16",
        warmup_count_min=20,
        intra_op_threads=2,
        options=(("a", "b"), ("threads", "2")),
    ),
)


def config(directory: Path, text: str) -> Config:
    (directory / "edgeloop.toml").write_text(_HEAD + text)
    return load_config(directory / "edgeloop.toml")


def test_words_and_file_say_the_same(call: Call, tmp_path: Path) -> None:
    api = Recorder()
    result = call("bench", "m.onnx", "--on", "local", *_WORDS, api=api)
    assert result.exit_code == 0, result.output
    assert api.heard[2:4] == _VALUES
    filed = measurement({}, config(tmp_path, _FILE))
    assert (filed.benchmark, filed.settings) == _VALUES
    assert call("run", "m.onnx", "--on", "local", *_WORDS, api=api).exit_code == 0
    assert (api.heard.benchmark, api.heard.settings) == _VALUES


def test_a_word_wins_over_the_file(tmp_path: Path) -> None:
    words = {
        "as_deployed": False,
        "spin": False,
        "idle": "0s",
        "runtime": ("onnxruntime",),
        "rate": ("5",),
        "provider": (),
    }
    how = measurement(words, config(tmp_path, _FILE))
    assert how.benchmark.series == "nominal"
    assert how.benchmark.idle_s == 0.0
    assert how.benchmark.rate_hz == 5.0
    assert how.settings.allow_spinning is False
    assert how.settings.runtime == "onnxruntime"
    assert how.settings.providers == ("CPU",), "an empty list is none given"


@pytest.mark.parametrize("verb", ["bench", "parity"])
def test_every_verb_is_nominal_unless_told(call: Call, verb: str) -> None:
    api = Recorder()
    assert call(verb, "m.onnx", "--on", "local", api=api).exit_code == 0
    assert api.heard[2].series == "nominal"
    assert call(verb, "m.onnx", "--on", "local", "--as-deployed", api=api).exit_code == 0
    assert api.heard[2].series == "as_deployed"


def test_several_rates_and_sizes_are_a_sweep(call: Call, tmp_path: Path) -> None:
    api = Recorder()
    words = ["--rate", "50,10", "--rate", "100", "--batch-sizes", "4,1", "--arrival", "open-uniform"]
    assert call("bench", "m.onnx", "--on", "local", *words, api=api).exit_code == 0
    assert api.sweep == SweepPlan(batch_sizes=(1, 4), rates_hz=(10.0, 50.0, 100.0), arrival="open_uniform")
    assert api.heard[2].arrival == "closed", "beside the sweep stands a closed loop"
    filed = measurement({}, config(tmp_path, "[benchmark]\nrate = [50, 10]\nbatch_sizes = [4, 1]\n"))
    assert (filed.sweep.rates_hz, filed.sweep.batch_sizes) == ((10.0, 50.0), (1, 4))


def test_one_rate_means_poisson_arrivals() -> None:
    how = measurement({"rate": ("50",)}, None)
    assert (how.benchmark.arrival, how.benchmark.rate_hz, bool(how.sweep)) == ("open_poisson", 50.0, False)


def test_the_server_scenario_takes_the_rate_for_itself() -> None:
    words = {"rate": ("50",), "scenario": "server", "latency_bound": "20ms"}
    benchmark = measurement(words, None).benchmark
    assert (benchmark.arrival, benchmark.rate_hz, benchmark.latency_bound_s) == ("closed", 50.0, 0.02)


def test_several_runtimes_are_variants() -> None:
    how = measurement({"runtime": ("onnxruntime", "openvino"), "threads": 2}, None)
    assert how.settings.runtime == "onnxruntime"
    assert [(v.runtime, v.intra_op_threads) for v in how.variants] == [("openvino", 2)]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"rate": ("fast",)}, "--rate is a list of numbers"),
        ({"rate": ("0",)}, "positive"),
        ({"rate": ("5,5",)}, "twice"),
        ({"rate": ("5,6",), "arrival": "closed"}, "schedules none"),
        ({"arrival": "paced"}, "needs --rate"),
        ({"scenario": "server"}, "--rate and --latency-bound"),
        ({"scenario": "server", "rate": ("5,6",)}, "one --rate"),
        ({"batch_sizes": ("1.5",)}, "whole numbers"),
        ({"affinity": "a"}, "0,1 or 0-3"),
        ({"option": ("x",)}, "KEY=VALUE"),
        ({"option": ("x=1", "x=2")}, "twice"),
        ({"require_provider": True}, "Name it with --provider"),
        ({"sustained": "long"}, "a duration is written like"),
        ({"window": "0s"}, "a duration is written like"),
    ],
)
def test_what_does_not_go_together_is_one_sentence(words: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        measurement(words, None)
    assert message in str(caught.value)


def test_parity_takes_no_sweep(call: Call) -> None:
    api = Recorder()
    result = call("parity", "m.onnx", "--on", "local", "--batch-sizes", "1,2", api=api)
    assert result.exit_code == 2
    assert "one point" in result.stderr
    assert api.calls == []


def test_the_help_shows_sections(call: Call) -> None:
    text = call("bench", "--help").stdout
    heads = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert heads == ["Options:", "How much:", "State of the device:", "Load:", "Runtime:"]
    assert text.count("--as-deployed") == 1


def test_nothing_is_the_api_default() -> None:
    assert measurement({}, None) == Measurement(
        benchmark=Benchmark(series="nominal"), settings=RuntimeSettings()
    )
