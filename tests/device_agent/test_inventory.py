"""Facts from files below an injected root."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeloop_agent import inventory
from edgeloop_foundation.ports.simulated_fs import SimulatedFileSystem

PI_5 = {
    "proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0\0",
    "proc/cpuinfo": (
        "processor\t: 0\nFeatures\t: fp asimd evtstrm aes asimdhp cpuid asimddp\n"
        "CPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"
    ),
    "proc/meminfo": "MemTotal:        8245504 kB\nMemFree: 1 kB\n",
    "proc/sys/kernel/osrelease": "6.6.31+rpt-rpi-2712\n",
    "proc/sys/kernel/random/boot_id": "b00t\n",
    "etc/os-release": 'NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n',
    **{f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{n}\n" for n in range(4)},
    **{f"sys/devices/system/cpu/cpu{n}/cpufreq/cpuinfo_max_freq": "2400000\n" for n in range(4)},
}
NUC = {
    "sys/class/dmi/id/sys_vendor": "Intel(R) Client Systems\n",
    "sys/class/dmi/id/product_name": "NUC11PAHi5\n",
    "proc/cpuinfo": "model name\t: 11th Gen Intel(R) Core(TM) i5-1135G7\nflags\t: fpu avx2 fma avx512_vnni\n",
    "proc/meminfo": "MemTotal:        16000000 kB\n",
    **{
        f"sys/devices/system/cpu/cpu{n}/topology/thread_siblings_list": f"{n % 4},{n % 4 + 4}\n"
        for n in range(8)
    },
}


def plant(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_raspberry_pi_is_recognised(tmp_path: Path) -> None:
    found = inventory.hardware(plant(tmp_path, PI_5), architecture="aarch64", usable_processors=range(4))
    assert (found.model, found.cpu_model) == ("Raspberry Pi 5 Model B Rev 1.0", "Cortex-A76")
    assert found.isa_flags == ("asimd", "asimddp", "asimdhp")
    assert (found.logical_cores, found.physical_cores, found.max_frequency_hz) == (4, 4, 2.4e9)
    assert found.memory_total_bytes == 8245504 * 1024
    system = inventory.operating_system(tmp_path)
    assert (system.name, system.kernel) == ("Debian GNU/Linux 12 (bookworm)", "6.6.31+rpt-rpi-2712")
    assert inventory.boot_id(tmp_path) == "b00t"


def test_a_nuc_is_recognised_and_what_is_absent_stays_absent(tmp_path: Path) -> None:
    found = inventory.hardware(plant(tmp_path, NUC), architecture="x86_64", usable_processors=range(8))
    assert found.model == "Intel(R) Client Systems NUC11PAHi5"
    assert found.isa_flags == ("avx2", "avx512_vnni", "fma")
    assert (found.physical_cores, found.max_frequency_hz) == (4, None)
    empty = inventory.hardware(tmp_path / "nothing", architecture="x86_64", usable_processors=[0])
    assert (empty.model, empty.cpu_model, empty.physical_cores, empty.memory_total_bytes) == ("", "", None, 0)


@pytest.mark.parametrize(
    ("group", "files"),
    [
        ("0::/system.slice/agent\n", {"sys/fs/cgroup/system.slice/memory.max": "1073741824\n"}),
        ("0::/a\n", {"sys/fs/cgroup/a/memory.max": "1073741824\n", "sys/fs/cgroup/memory.max": "max\n"}),
        (
            "9:memory:/docker/x\n",
            {"sys/fs/cgroup/memory/docker/x/memory.limit_in_bytes": "1073741824\n"},
        ),
    ],
)
def test_the_limit_of_the_control_group_counts(tmp_path: Path, group: str, files: dict[str, str]) -> None:
    plant(tmp_path, {**PI_5, **files, "proc/self/cgroup": group})
    assert inventory.hardware(tmp_path).memory_total_bytes == 1 << 30


def test_the_device_keeps_its_identifier_and_a_copied_card_gets_another(tmp_path: Path) -> None:
    fs, state = SimulatedFileSystem(), Path("/state")
    plant(tmp_path, {"etc/machine-id": "m1", "proc/device-tree/serial-number": "one\0"})
    first = inventory.device_id(fs, tmp_path, state)
    assert inventory.device_id(fs.crash(1), tmp_path, state) == first
    assert len(first) == 32
    again = SimulatedFileSystem()
    assert inventory.device_id(again, tmp_path, state) != first
    here = inventory.device_id(again, tmp_path, state)
    plant(tmp_path, {"proc/device-tree/serial-number": "two\0"})
    assert inventory.device_id(again, tmp_path, state) != here


def test_a_simulated_board_is_the_same_for_the_same_seed() -> None:
    one = inventory.simulated_device_id("raspberry_pi_5", 1, "a")
    assert one == inventory.simulated_device_id("raspberry_pi_5", 1, "a")
    assert len({one, inventory.simulated_device_id("raspberry_pi_5", 2, "a")}) == 2
