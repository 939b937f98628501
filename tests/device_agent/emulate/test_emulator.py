"""Shares of the machine: where groups are made on both versions, what is written there, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from edgeloop_agent.emulate.emulator import Emulator
from edgeloop_agent.emulate.group import RunnerGroup, Share
from edgeloop_agent.emulate.places import Place, find_places
from edgeloop_agent.runner.own_limits import read_own_limits
from edgeloop_foundation.errors import UnsupportedError
from edgeloop_protocol.types.emulation import Emulation, EmulationReading


def write(path: Path, text: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def version_1(root: Path) -> None:
    write(root / "proc/self/cgroup", "3:memory:/here\n2:cpu,cpuacct:/\n1:cpuset:/\n0::/\n")
    for name in ("memory/here", "cpu,cpuacct", "cpuset"):
        write(root / "sys/fs/cgroup" / name / "cgroup.procs")
    write(root / "sys/fs/cgroup/cpuset/cpuset.mems", "0\n")


def version_2(root: Path, offered: str) -> None:
    write(root / "proc/self/cgroup", "0::/user/agent\n")
    write(root / "sys/fs/cgroup/user/agent/cgroup.subtree_control")
    write(root / "sys/fs/cgroup/user/cgroup.subtree_control", offered)


def test_each_controller_of_version_1_has_a_place_of_its_own(tmp_path: Path) -> None:
    version_1(tmp_path)
    places, missing = find_places(tmp_path, ["memory", "cpu", "cpuset"])
    mount = tmp_path / "sys/fs/cgroup"
    assert [p.directory for p in places] == [mount / "cpu,cpuacct", mount / "cpuset", mount / "memory/here"]
    assert not missing


def test_version_2_takes_the_nearest_group_that_may_have_children(tmp_path: Path) -> None:
    version_2(tmp_path, "cpu memory pids")
    (place,), missing = find_places(tmp_path, ["memory", "cpu"])
    assert place == Place(
        directory=tmp_path / "sys/fs/cgroup/user", version=2, controllers=frozenset({"memory", "cpu"})
    )
    assert not missing


def test_limits_are_written_in_the_words_of_each_version(tmp_path: Path) -> None:
    share = Share(memory_bytes=1 << 29, processors=(1,), quota_us=2000, period_us=4000)
    mount = tmp_path / "sys/fs/cgroup"
    version_1(tmp_path)
    group = RunnerGroup.make(find_places(tmp_path, ["memory", "cpu", "cpuset"])[0], "g", share)
    assert (mount / "memory/here/g/memory.limit_in_bytes").read_text() == "536870912\n"
    assert (mount / "cpu,cpuacct/g/cpu.cfs_quota_us").read_text() == "2000\n"
    assert (mount / "cpu,cpuacct/g/cpu.cfs_period_us").read_text() == "4000\n"
    assert (mount / "cpuset/g/cpuset.cpus").read_text() == "1\n"
    assert (mount / "cpuset/g/cpuset.mems").read_text() == "0\n"
    command = group.entering(["python", "-m", "runner"])
    assert str(mount / "memory/here/g/cgroup.procs") in command
    assert command[-4:] == ("--", "python", "-m", "runner")
    write(mount / "cpu,cpuacct/g/cpu.stat", "nr_periods 9\nnr_throttled 4\nthrottled_time 2000000000\n")
    spent = group.quota_time()
    assert spent is not None
    assert (spent.period_count, spent.throttled_count, spent.throttled_s) == (9, 4, 2.0)


def test_version_2_is_limited_and_read_back_from_inside(tmp_path: Path) -> None:
    version_2(tmp_path, "cpu memory")
    share = Share(memory_bytes=1 << 29, quota_us=2000, period_us=4000)
    RunnerGroup.make(find_places(tmp_path, ["memory", "cpu"])[0], "g", share)
    write(tmp_path / "proc/self/cgroup", "0::/user/g\n")
    assert read_own_limits(tmp_path, processor_count=2) == EmulationReading(
        cgroup_version=2, memory_bytes=1 << 29, processor_count=2, quota_s=0.002, period_s=0.004
    )


@pytest.mark.parametrize(("asked", "said"), [("memory", "a memory budget"), ("cpu", "a compute scale")])
def test_without_a_place_the_missing_part_is_named(tmp_path: Path, asked: str, said: str) -> None:
    version_2(tmp_path, "pids")
    limits = Emulation(memory_bytes=1 << 29) if asked == "memory" else Emulation(compute_fraction=0.5)
    with pytest.raises(UnsupportedError, match=said):
        Emulator(limits, tmp_path)


def test_more_processors_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"cpus is 3; this machine offers 2"):
        Emulator(Emulation(processor_count=3), tmp_path, usable=(0, 1))


def test_each_thread_gets_its_part_and_a_difference_is_told(tmp_path: Path) -> None:
    asked = Emulation(processor_count=2)
    emulator = Emulator(asked, tmp_path, usable=(0, 1, 2))
    assert emulator.share(1).processors == (1, 2)
    assert not emulator.disagreement(EmulationReading(processor_count=2), 1)
    assert "processors: asked 2, read 3" in emulator.disagreement(EmulationReading(processor_count=3), 1)


def test_groups_of_a_killed_agent_are_swept_and_those_of_a_living_one_stay(tmp_path: Path) -> None:
    version_1(tmp_path)
    stat = Path(f"/proc/{os.getpid()}/stat").read_text()
    write(tmp_path / f"proc/{os.getpid()}/stat", stat)
    begin = stat.rpartition(")")[2].split()[19]
    dead, alive = (
        tmp_path / "sys/fs/cgroup/cpuset" / f"edgeloop-emulated-{owner}-ab"
        for owner in ("999999999-5", f"{os.getpid()}-{begin}")
    )
    dead.mkdir()
    alive.mkdir()
    emulator = Emulator.__new__(Emulator)
    emulator._root, emulator._places = tmp_path, find_places(tmp_path, ["cpuset"])[0]
    emulator._sweep()
    assert not dead.exists()
    assert alive.exists()
