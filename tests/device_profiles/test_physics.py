"""Heat, power and sensors of a profile refuse what cannot be, and name it."""

from __future__ import annotations

import dataclasses

import pytest
from edgeloop_foundation.errors import InvalidInputError
from edgeloop_profiles import load_profile
from edgeloop_profiles.profile import FanStep, Sensor


def sensor(**fields: object) -> Sensor:
    words = {"kind": "assumed", "source": "test", "name": "pmic", "quantity": "power", "unit": "watt"}
    return Sensor(scope="rail", channels=("a", "b"), **words, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "steps",
    [((60.0, 3.0), (50.0, 2.0)), ((50.0, 2.0), (60.0, 3.0)), ((50.0, 7.0),)],
    ids=["falling temperature", "rising resistance", "worse than at rest"],
)
def test_a_fan_cools_better_the_hotter_it_gets(steps: tuple[tuple[float, float], ...]) -> None:
    thermal = load_profile("raspberry_pi_4").thermal
    fan = tuple(
        FanStep(temperature_celsius=celsius, board_k_per_w=resistance, power_w=0.1)
        for celsius, resistance in steps
    )
    with pytest.raises(InvalidInputError, match=r"fan: found .* after 6 K/W, allowed are"):
        dataclasses.replace(thermal, fan=fan)


@pytest.mark.parametrize(("field", "values"), [("shares", (1.0,)), ("volts", (5.0, 5.0, 5.0))])
def test_what_is_told_by_channel_is_told_for_every_channel(field: str, values: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInputError, match=f"{field}: found {len(values)} values, allowed is .* 2"):
        sensor(**{field: values})
    assert getattr(sensor(**{field: (1.0, 2.0)}), field) == (1.0, 2.0)


@pytest.mark.parametrize("path", ["/sys/class/hwmon/hwmon1", "sys/../../etc", ".."])
def test_a_path_stays_below_the_root(path: str) -> None:
    with pytest.raises(InvalidInputError, match=r"path: found .* allowed is a path below the root"):
        sensor(path=path)
    assert sensor(path="sys/class/hwmon/hwmon1").path


def test_noise_needs_updates_to_be_of() -> None:
    with pytest.raises(InvalidInputError, match=r"noise_fraction: found 0.03 without period_s"):
        sensor(noise_fraction=0.03)
    assert sensor(noise_fraction=0.03, period_s=0.1).noise_fraction == 0.03
