"""A power mode is the same board with fewer cores, a lower clock and a budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import edgeloop_profiles
import pytest
from edgeloop_foundation.errors import InvalidInputError, NotFoundError
from edgeloop_profiles import Profile, check_profile, load_profile
from edgeloop_profiles.predict import board_power_w, predict_latency
from edgeloop_protocol.types.artifact import Kernel

ORIN = "jetson_orin_nano"


def power_w(profile: Profile) -> float:
    processor = profile.processor
    return board_power_w(
        profile,
        busy_threads=processor.logical_cores,
        frequency_hz=processor.max_frequency_hz,
        precision="int8",
    )


def test_a_mode_changes_name_digest_cores_and_clock() -> None:
    low, default = load_profile(f"{ORIN}@7w"), load_profile(ORIN)
    assert (low.name, low.power_mode, default.name, default.power_mode) == (f"{ORIN}@7w", "7w", ORIN, "15w")
    assert len({low.digest, default.digest, load_profile(f"{ORIN}@25w").digest}) == 3
    assert (low.processor.logical_cores, low.processor.max_frequency_hz) == (4, 0.96e9)
    assert len(low.runtimes[0].threads.speedup) == 4
    assert "power mode 7w" in low.processor.source
    assert [mode.name for mode in low.power_modes] == ["15w", "7w", "25w", "maxn_super"]


def test_the_default_mode_has_the_figures_of_its_name() -> None:
    named, default = load_profile(f"{ORIN}@15w"), load_profile(ORIN)
    assert dataclasses.replace(named, name=ORIN, digest="") == dataclasses.replace(default, digest="")


@pytest.mark.parametrize("board", [ORIN, "jetson_nano", "jetson_xavier_nx"])
def test_every_mode_stays_within_its_budget(board: str) -> None:
    for mode in load_profile(board).power_modes:
        assert power_w(load_profile(f"{board}@{mode.name}")) <= mode.budget_w * (1 + 1e-9)


def test_a_lower_clock_is_slower_by_its_ratio_where_arithmetic_decides(
    architecture: Callable[[str, int, str], tuple[Kernel, ...]],
) -> None:
    table = architecture("resnet50", 224, "fp32")
    fast, slow = load_profile(f"{ORIN}@maxn_super"), load_profile(f"{ORIN}@7w")
    ratio = predict_latency(slow, table, threads=1).point_s / predict_latency(fast, table, threads=1).point_s
    clocks = fast.processor.max_frequency_hz / slow.processor.max_frequency_hz
    assert 0.9 * clocks < ratio <= clocks
    same = predict_latency(fast, table, threads=1, frequency_hz=slow.processor.max_frequency_hz)
    assert predict_latency(slow, table, threads=1).point_s == pytest.approx(same.point_s)


def test_an_unknown_mode_lists_the_allowed_ones() -> None:
    with pytest.raises(NotFoundError, match=r"no power mode '60w'.*15w, 7w, 25w, maxn_super"):
        load_profile(f"{ORIN}@60w")
    with pytest.raises(NotFoundError, match=r"nuc11 has no power mode '15w'.*It has none"):
        load_profile("nuc11@15w")


def test_modes_that_cannot_be_are_refused_all_at_once(tmp_path: Path) -> None:
    path = tmp_path / f"{ORIN}.toml"
    text = (Path(edgeloop_profiles.__file__).parent / "boards" / path.name).read_text()
    for old, new in (
        ('default_power_mode = "15w"', 'default_power_mode = "turbo"'),
        ('name = "25w"\ncores = 6', 'name = "7w"\ncores = 9'),
        ("max_frequency_hz = 1.344e9\nbudget_w = 25.0", "max_frequency_hz = 9e9\nbudget_w = 1.0"),
        ('shown = "2 MAXN_SUPER"\n', ""),
    ):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    (problem,) = check_profile(path)
    for part in ("name twice", "'turbo'", "cores: found 9", "found 9e+09", "budget_w: found 1"):
        assert part in problem.message
    assert "power_modes.maxn_super.shown: found nothing" in problem.message


@pytest.mark.parametrize("shown", ["25W", "1", "1 ", "one 25W", "1 25 W", "-1 25W"])
def test_what_a_mode_shows_is_a_number_and_a_name(shown: str) -> None:
    mode = load_profile(ORIN).power_modes[0]
    with pytest.raises(InvalidInputError, match=r"shown: found .* allowed is a number and a name"):
        dataclasses.replace(mode, shown=shown)


@pytest.mark.parametrize("board", [ORIN, "jetson_nano", "jetson_xavier_nx"])
def test_the_sensor_of_modes_follows_the_mode_and_nothing_else_does(board: str) -> None:
    for mode in load_profile(board).power_modes:
        sensors = {sensor.name: sensor.text for sensor in load_profile(f"{board}@{mode.name}").sensors}
        assert {name: text for name, text in sensors.items() if text} == {"nvpmodel": mode.shown}
