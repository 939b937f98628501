"""A control group for the runner: made where it may be made, read, reset and removed, or the reason why not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from edgeloop_agent.fitness.memory_group import MemoryGroup, NoGroup
from edgeloop_agent.fitness.system_memory import SystemMemory
from edgeloop_agent.fitness.vitals import Seen, Vitals

PEAK = {1: "memory.max_usage_in_bytes", 2: "memory.peak"}


def tree(root: Path, version: int, group: str, *, controlled: bool = True) -> Path:
    """Lay out a recorded tree and return where the group of the runner is going to be."""
    (root / "proc/self").mkdir(parents=True)
    line = "4:memory:/agent\n0::/\n" if version == 1 else "0::/agent\n"
    (root / "proc/self/cgroup").write_text(line)
    parent = root / ("sys/fs/cgroup/memory/agent" if version == 1 else "sys/fs/cgroup/agent")
    parent.mkdir(parents=True)
    if version == 2:
        (parent / "cgroup.subtree_control").write_text("cpu memory\n" if controlled else "cpu\n")
    # The kernel fills a new directory with its files; a recorded tree has them beforehand.
    (parent / group).mkdir()
    (parent / group / PEAK[version]).write_text("31457280\n")
    return parent / group


@pytest.mark.parametrize("version", [1, 2])
def test_the_runner_is_moved_and_its_peak_read(tmp_path: Path, version: int) -> None:
    directory = tree(tmp_path, version, "g")
    group = MemoryGroup.make(tmp_path, 4711, name="g")
    assert isinstance(group, MemoryGroup)
    assert (directory / "cgroup.procs").read_text() == "4711\n"
    # The reset of a kernel writes the current usage; a file keeps what was written.
    assert (directory / PEAK[version]).read_text().startswith("0")
    (directory / PEAK[version]).write_text("52428800\n")
    header = group.as_header()
    assert (header["cgroup_peak_bytes"], header["cgroup_version"]) == (52428800, version)
    assert "reset when the runner came" in str(header["cgroup_method"])
    group.remove()


def test_without_a_delegated_controller_there_is_a_reason(tmp_path: Path) -> None:
    tree(tmp_path, 2, "g", controlled=False)
    group = MemoryGroup.make(tmp_path, 4711, name="g")
    assert isinstance(group, NoGroup)
    assert "Delegate=memory" in str(group.as_header()["cgroup_reason"])
    empty = MemoryGroup.make(tmp_path / "nothing", 1)
    assert isinstance(empty, NoGroup)
    assert "/proc/self/cgroup" in empty.reason


def test_on_this_machine_there_is_a_peak_or_a_reason() -> None:
    """Where groups may be made, the kernel really counts: 64 MiB that a child touches are in its peak."""
    code = (
        "import sys; input(); x = bytearray(64 << 20); x[::4096] = b'1' * len(x[::4096]); print(1); input()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, text=True) as child:
        group = MemoryGroup.make(Path("/"), child.pid)
        try:
            assert child.stdin
            assert child.stdout
            child.stdin.write("go\n")
            child.stdin.flush()
            assert child.stdout.readline() == "1\n"
            header = group.as_header()
        finally:
            child.kill()
            child.wait()
            group.remove()
    if isinstance(group, NoGroup):
        assert header["cgroup_reason"]
        return
    peak = header["cgroup_peak_bytes"]
    assert isinstance(peak, int)
    assert 64 << 20 <= peak < 256 << 20


class TestSystem:
    """The fall of the available memory."""

    def vitals(self, available: int | None, held: int | None = None) -> Vitals:
        return Vitals(
            monotonic_ns=0,
            available_memory_bytes=Seen(value=available, reason="no meminfo"),
            accelerator_bytes=Seen(value=held),
        )

    def test_it_fell(self) -> None:
        found = SystemMemory.between(self.vitals(1000, 100), self.vitals(400, 600), simulated=False)
        assert (found.drop_bytes, found.reason) == (600, "")
        assert found.method == "fall of MemAvailable, of which NvMap took 500 bytes"

    @pytest.mark.parametrize(
        ("before", "after", "simulated", "why"),
        [
            (1000, 1100, False, "others gave back memory"),
            (None, 1100, False, "no meminfo"),
            (1000, 400, True, "not simulated"),
        ],
    )
    def test_absent_is_never_zero(self, before: int | None, after: int, simulated: bool, why: str) -> None:
        found = SystemMemory.between(self.vitals(before), self.vitals(after), simulated=simulated)
        assert found.drop_bytes is None
        assert why in found.reason


def test_descriptors_of_a_group_are_closed(tmp_path: Path) -> None:
    tree(tmp_path, 1, "g")
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        group = MemoryGroup.make(tmp_path, 4711, name="g")
        group.remove()
    assert len(os.listdir("/proc/self/fd")) == before
