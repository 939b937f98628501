"""A board rests before each job by the rule that was set on it, and what it did is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop_agent.cool_down import Rests
from edgeloop_agent.execution import Progress, StopSignal
from edgeloop_agent.fitness.vitals import Vitals
from edgeloop_foundation.errors import UnsupportedError
from edgeloop_foundation.ports.simulated_clock import SimulatedClock
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem
from edgeloop_protocol.types.lease import CoolDown
from edgeloop_protocol.types.measurement import Reading
from edgeloop_protocol.types.run import Outcome

ROOT = Path("/state/leases")


class Cooling:
    """A board at 80 °C that loses a degree in two seconds down to 40 °C."""

    def __init__(self, *, thermometer: bool = True) -> None:
        self.clock = SimulatedClock(auto_advance=True)
        self._thermometer = thermometer

    @property
    def celsius(self) -> float:
        return max(40.0, 80.0 - self.clock.monotonic_ns() * 1e-9 / 2)

    async def vitals(self) -> Vitals:
        zone = Reading(name="thermal/cpu", unit="celsius", value=self.celsius)
        return Vitals(monotonic_ns=self.clock.monotonic_ns(), readings=(zone,) if self._thermometer else ())


def rests_of(board: Cooling, fs: SimulatedFileSystem | None = None) -> Rests:
    rests = Rests(fs=fs or SimulatedFileSystem(), root=ROOT, board=board)  # type: ignore[arg-type]
    rests.open()
    return rests


def silent(progress: Progress) -> None:
    assert progress.phase == "cool_down"


async def test_without_a_rule_nothing_is_waited_for_and_nothing_is_told() -> None:
    board = Cooling()
    assert await rests_of(board).rest(StopSignal(), silent) is None
    assert board.clock.monotonic_ns() == 0


async def test_time_since_the_last_work_counts_as_rest() -> None:
    rests = rests_of(board := Cooling())
    await rests.set_rule(CoolDown(idle_s=60.0))
    first = await rests.rest(StopSignal(), silent)
    assert first is not None
    assert (first.rested_s, first.waited_s, first.met) == (60.0, 60.0, True)
    rests.note_work()
    await board.clock.sleep(45.0)
    second = await rests.rest(StopSignal(), silent)
    assert second is not None
    assert (second.rested_s, second.waited_s, second.met) == (60.0, 15.0, True)


async def test_heat_is_waited_for_up_to_the_limit() -> None:
    rests = rests_of(Cooling())
    await rests.set_rule(CoolDown(idle_s=10.0, below_celsius=60.0))
    cooled = await rests.rest(StopSignal(), silent)
    assert cooled is not None
    assert cooled.met
    assert 59.0 <= (cooled.temperature_celsius or 0.0) < 60.0
    await rests.set_rule(CoolDown(below_celsius=30.0, limit_s=50.0))
    told: list[Progress] = []
    hot = await rests.rest(StopSignal(), told.append)
    assert hot is not None
    assert (hot.waited_s, hot.met) == (50.0, False)
    assert len(told) == 10
    assert "wanted idle for 0 s, below 30 °C" in told[0].message


async def test_a_job_that_is_told_to_stop_does_not_wait_on() -> None:
    rests, stop = rests_of(Cooling()), StopSignal()
    await rests.set_rule(CoolDown(idle_s=60.0))
    stop.set(Outcome.CANCELLED)
    rest = await rests.rest(stop, silent)
    assert rest is not None
    assert (rest.waited_s, rest.met) == (0.0, False)


async def test_a_board_without_a_thermometer_rests_by_time_alone() -> None:
    rests = rests_of(Cooling(thermometer=False))
    with pytest.raises(UnsupportedError, match="no temperature"):
        await rests.set_rule(CoolDown(below_celsius=60.0))
    await rests.set_rule(CoolDown(idle_s=5.0))
    rest = await rests.rest(StopSignal(), silent)
    assert rest is not None
    assert rest.met
    assert rest.temperature_celsius is None


async def test_the_rule_survives_a_power_cut_and_a_spoiled_one_is_set_aside() -> None:
    fs = SimulatedFileSystem()
    before, rule = CoolDown(idle_s=5.0), CoolDown(idle_s=60.0, below_celsius=55.0, limit_s=300.0)
    await rests_of(Cooling(), fs).set_rule(before)
    fs.settle()
    await rests_of(Cooling(), fs).set_rule(rule)
    assert {rests_of(Cooling(), state).rule for state in fs.crash_states()} == {before, rule}
    assert rests_of(Cooling(), fs).rule == rule
    path = ROOT / "cool_down.json"
    data = fs.read(path)
    fs.remove(path)
    file = fs.create(path)
    file.write(data.replace(b"60", b"61"))
    file.close()
    assert rests_of(Cooling(), fs).rule is None
    assert fs.exists(path.with_suffix(".corrupt"))
    rests = rests_of(Cooling(), fs)
    await rests.set_rule(rule)
    await rests.set_rule(None)
    assert rests_of(Cooling(), fs).rule is None


@pytest.mark.parametrize(
    "words",
    [{}, {"idle_s": -1.0}, {"idle_s": 700.0}, {"below_celsius": 200.0}, {"idle_s": 1.0, "limit_s": 1e6}],
)
def test_rests_that_cannot_be_are_refused(words: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"rest|cools"):
        CoolDown(**words)  # type: ignore[arg-type]
