"""Facts of every shipped board: one answer a sensor, and the profile's reason where there is none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from edgeloop_agent.simulate import SimulatedBoard
from edgeloop_profiles import list_profiles, load_profile

MakeBoard = Callable[..., SimulatedBoard]


@pytest.mark.parametrize("name", list_profiles())
async def test_every_sensor_is_named_once_and_absence_has_the_reason_of_the_profile(
    name: str, make_board: MakeBoard
) -> None:
    sensors = (await make_board(name).facts()).sensors
    reasons = {sensor.name: sensor.reason for sensor in sensors}
    assert len(reasons) == len(sensors)
    for declared in load_profile(name).sensors:
        assert reasons[declared.name] == (f"absent: {declared.reason}" if declared.reason else "")
    assert any(not reason for reason in reasons.values()) == (name != "browser_wasm_simd")
