"""The configuration file: what it accepts and how it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop.domain.experiment import ExperimentRequest
from edgeloop.interfaces.config import BenchmarkConfig, ExperimentConfig, RuntimeConfig, load_config
from edgeloop.interfaces.options import parse_duration_s, read_thresholds
from edgeloop.interfaces.settings import measurement
from edgeloop_foundation.errors import EdgeloopError, InvalidInputError, NotFoundError
from edgeloop_protocol.types.trial import Benchmark, RuntimeSettings

_HEAD = 'apiVersion = "edgeloop/v1"\nkind = "Config"\n'


def written(directory: Path, text: str) -> Path:
    path = directory / "edgeloop.toml"
    path.write_text(text)
    return path


def test_the_head_alone_gives_the_defaults(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, _HEAD))
    assert config.experiment == ExperimentConfig()
    assert measurement({}, config) == measurement({}, None)


def test_every_default_is_that_of_the_record_but_for_the_series() -> None:
    how = measurement({}, None)
    assert how.benchmark == Benchmark(series="nominal")
    assert how.settings == RuntimeSettings()
    assert how.benchmark == ExperimentRequest(model="m", devices=()).benchmark
    own = {"as_deployed", "batch_sizes"}
    assert set(BenchmarkConfig.model_fields) - own < set(Benchmark.__dataclass_fields__)
    assert set(RuntimeConfig.model_fields) == set(RuntimeSettings.__dataclass_fields__)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind = 'Config'", "edgeloop.toml: apiVersion is missing."),
        (
            "apiVersion = 'edgeloop/v9'\nkind = 'Config'",
            "apiVersion is 'edgeloop/v9', it should be 'edgeloop/v1'",
        ),
        ("apiVersion = 'edgeloop/v1'\nkind = 'Fleet'", "kind is 'Fleet', it should be 'Config'"),
        (_HEAD + "[experiment]\nsede = 1", "unknown key experiment.sede; allowed are model, data, on"),
        (_HEAD + "[experimnt]\n", "unknown key experimnt; allowed are apiVersion, kind, experiment"),
        (_HEAD + "[experiment]\nseed = 'x'", "experiment.seed is 'x', it should be a valid integer"),
        (_HEAD + "[experiment]\nseed = 1.0", "experiment.seed is 1.0, it should be a valid integer"),
        (_HEAD + "[experiment]\non = 'local'", "experiment.on is 'local', it should be a valid list"),
        (_HEAD + "[experiment]\non = [1]", "experiment.on.0 is 1, it should be a valid string"),
        (
            _HEAD + "[experiment]\nthreads = 0",
            "experiment.threads is 0, it should be greater than or equal to 1",
        ),
        (_HEAD + "[benchmark]\nmedian_half_width = 2.0", "benchmark.median_half_width is 2.0"),
        (_HEAD + "[devices.pi]\nadress = 'local'", "devices.pi"),
        (_HEAD + "[benchmark]\nsustaind = '20m'", "unknown key benchmark.sustaind; allowed are rounds"),
        (_HEAD + "[benchmark]\nsustaind = '20m'", "Nearest is sustained."),
        (_HEAD + "[benchmark]\nsustained = 'long'", "benchmark.sustained_s is 'long', it should be seconds"),
        (_HEAD + "[benchmark]\nsettle = 1\nsettle_s_max = 2", "benchmark names settle_s_max twice"),
        (_HEAD + "[benchmark]\narrival = 'often'", "benchmark.arrival is 'often'"),
        (_HEAD + "[runtime]\nprovidrs = []", "Nearest is provider"),
        (_HEAD + "[runtime]\nprecision = 'int4'", "runtime.inference_precision is 'int4'"),
        (_HEAD + "[experiment", "edgeloop.toml is not TOML"),
    ],
)
def test_a_mistake_is_named_with_file_key_found_and_allowed(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load_config(written(tmp_path, text))
    assert message in str(caught.value)
    assert "edgeloop.toml" in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "edgeloop.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInputError, match="not TOML"):
        load_config(path)


def test_an_absent_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="edgeloop init"):
        load_config(tmp_path / "edgeloop.toml")


def test_a_device_of_an_unknown_form_is_refused_when_named(tmp_path: Path) -> None:
    config = load_config(written(tmp_path, _HEAD + "[devices]\npi = 'serial:3'\n"))
    assert config.device("other") is None
    with pytest.raises(InvalidInputError, match="unknown device"):
        config.device("pi")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("10m", 600),
        ("20m", 1200),
        ("250ms", 0.25),
        ("1s500ms", 1.5),
        ("1.5h", 5400),
        ("1h30m", 5400),
        (" 2m5s ", 125),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 m", "-5m", "1m1h", "m", "0m", "1e3s", "ninety"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="duration"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.toml", 'require = ["size < 1MB"]'),
        ("t.yaml", "require:\n  - size < 1MB\n"),
        ("t.json", '{"require": ["size < 1MB"]}'),
    ],
)
def test_thresholds_come_in_three_forms(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_thresholds(tmp_path / name) == {"require": ["size < 1MB"]}


@pytest.mark.parametrize(
    ("name", "text"), [("t.yaml", "- a\n"), ("t.yaml", "a: [\n"), ("t.json", ""), ("t.toml", "a = ")]
)
def test_other_thresholds_are_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(EdgeloopError, match=name):
        read_thresholds(tmp_path / name)
