"""NVML through a library that replays what a device answered; not run on hardware."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from edgeloop_agent.sensors.nvml import NvmlSensor
from edgeloop_agent.sensors.nvml_clock import NvmlClock
from edgeloop_agent.sensors.nvml_power import NvmlPower
from edgeloop_agent.sensors.nvml_throttle import NvmlThrottle
from edgeloop_protocol.types.measurement import Reading

from tests.device_agent.sensors.boards import TREES

ANSWERS = Path(__file__).parents[2] / "fixtures" / "nvml"
DRIVERS: tuple[type[NvmlSensor], ...] = (NvmlPower, NvmlClock, NvmlThrottle)


class Replayed:
    """Has the functions of ``pynvml`` that the drivers call, with recorded answers."""

    class NVMLError(Exception):
        def __init__(self, value: int, text: str) -> None:
            super().__init__(text)
            self.value = value

    def __init__(self, name: str) -> None:
        self._devices = json.loads((ANSWERS / f"{name}.json").read_text())["devices"]

    def nvmlInit(self) -> None: ...

    def nvmlDeviceGetCount(self) -> int:
        return len(self._devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def __getattr__(self, function: str) -> Any:
        def answer(handle: int, *kind: int) -> Any:
            found = self._devices[handle][function]
            if isinstance(found, dict) and "error" in found:
                raise self.NVMLError(found["error"], found["text"])
            return found[str(kind[0])] if kind else found

        return answer


def read(driver: type[NvmlSensor], name: str, root: Path = Path("/nowhere")) -> dict[str, Reading]:
    return {r.name: r for r in driver(root, library=Replayed(name)).read()}


def test_units_are_converted() -> None:
    assert read(NvmlPower, "laptop_gpu")["nvml_power/0/power"].value == pytest.approx(35.123)
    clocks = {name: r.value for name, r in read(NvmlClock, "laptop_gpu").items()}
    assert clocks == {"nvml_clock/0/sm": 1.41e9, "nvml_clock/0/memory": 6.251e9}


def test_throttle_reasons_are_bits() -> None:
    flags = {name for name, r in read(NvmlThrottle, "laptop_gpu").items() if r.value}
    assert flags == {"nvml_throttle/0/power_cap_now", "nvml_throttle/0/software_thermal_slowdown_now"}


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_a_device_does_not_tell_is_a_reason_and_no_number(driver: type[NvmlSensor]) -> None:
    outcome = "failed: " if driver is NvmlThrottle else "unsupported: "
    for reading in read(driver, "not_supported").values():
        assert reading.value is None
        assert reading.reason.startswith(outcome)
    facts = driver(Path("/nowhere"), library=Replayed("not_supported")).probe()
    assert facts.reason.startswith(outcome)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_jetson_and_a_board_without_the_driver_have_none(driver: type[NvmlSensor], tmp_path: Path) -> None:
    jetson = TREES / "jetson_nano/root"
    assert read(driver, "laptop_gpu", jetson) == {}
    assert driver(jetson, library=Replayed("laptop_gpu")).probe().reason.startswith("absent: ")
    assert "no NVIDIA driver" in driver(tmp_path).probe().reason
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidiactl").touch()
    assert driver(tmp_path).probe().reason == "absent: a recorded tree holds no NVML library"


@pytest.mark.skipif(bool(importlib.util.find_spec("pynvml")), reason="the package is installed here")
def test_without_the_package_the_reason_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeloop_agent.sensors.nvml._DEVICES", ("proc/self/status",))
    facts = NvmlPower(Path("/")).probe()
    assert facts.reason.startswith("absent: ")
    assert "nvidia-ml-py" in facts.reason
