"""What the agent can read about its board from files alone, below an injected root.

Every reader takes the root (``/`` on a board, a recorded tree in a test) and returns what stands there; an
absent file is an absent fact, never a guess.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError
from edgeloop_foundation.ports.fs import FileSystem, make_durable_directory, write_durably
from edgeloop_foundation.ports.process import ProcessPort
from edgeloop_protocol.convert import from_json
from edgeloop_protocol.types.facts import Hardware, OperatingSystem, RuntimeFacts

from edgeloop_agent.kept_runtimes import Described

__all__ = [
    "boot_id",
    "device_id",
    "hardware",
    "operating_system",
    "runner_environment",
    "runtime_facts",
    "simulated_device_id",
]

_KERNEL_FLAGS = frozenset(
    {
        # x86: what int8 and float kernels are chosen by.
        *("sse4_1", "sse4_2", "avx", "avx2", "fma", "f16c", "avx_vnni", "avx512f", "avx512bw", "avx512dq"),
        *("avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16"),
        # Arm, 32 and 64 bit.
        *("neon", "vfpv4", "asimd", "asimddp", "asimdhp", "fphp", "i8mm", "bf16", "sve", "sve2"),
        *("svei8mm", "svebf16", "sme"),
    }
)

_ARM_PARTS = {
    "0xd03": "Cortex-A53",
    "0xd04": "Cortex-A35",
    "0xd05": "Cortex-A55",
    "0xd07": "Cortex-A57",
    "0xd08": "Cortex-A72",
    "0xd09": "Cortex-A73",
    "0xd0a": "Cortex-A75",
    "0xd0b": "Cortex-A76",
    "0xd0c": "Neoverse N1",
    "0xd0d": "Cortex-A77",
    "0xd40": "Neoverse V1",
    "0xd41": "Cortex-A78",
    "0xd42": "Cortex-A78AE",
    "0xd49": "Neoverse N2",
}

_DESCRIBE_BYTES_MAX = 1 << 20


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8", "replace").replace("\0", "").strip()
    except OSError:
        return ""


def _model(root: Path) -> str:
    if tree := _text(root / "proc/device-tree/model"):
        return tree
    dmi = root / "sys/class/dmi/id"
    parts = [_text(dmi / "sys_vendor"), _text(dmi / "product_name")]
    return " ".join(part for part in parts if part)


def _cpu_lines(root: Path) -> dict[str, str]:
    """Return the first value of each key of ``/proc/cpuinfo``."""
    found: dict[str, str] = {}
    for line in _text(root / "proc/cpuinfo").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip(), value.strip())
    return found


def _cpu_model(lines: dict[str, str]) -> str:
    if name := lines.get("model name"):
        return name
    if lines.get("CPU implementer") == "0x41":
        return _ARM_PARTS.get(lines.get("CPU part", "").lower(), "")
    return ""


def _isa_flags(lines: dict[str, str]) -> tuple[str, ...]:
    words = set((lines.get("flags", "") + " " + lines.get("Features", "")).split())
    return tuple(sorted(words & _KERNEL_FLAGS))


def _processors(root: Path) -> list[Path]:
    return sorted((root / "sys/devices/system/cpu").glob("cpu[0-9]*"))


def _physical_cores(root: Path) -> int | None:
    siblings = {_text(cpu / "topology/thread_siblings_list") for cpu in _processors(root)} - {""}
    return len(siblings) or None


def _max_frequency_hz(root: Path) -> float | None:
    texts = (_text(cpu / "cpufreq/cpuinfo_max_freq") for cpu in _processors(root))
    known = [int(text) * 1000.0 for text in texts if text.isdigit()]
    return max(known, default=None)


def _limits(directory: Path, below: Path, name: str) -> Iterable[int]:
    """Yield the limits of a control group and of every one above it."""
    while True:
        text = _text(directory / name)
        if text.isdigit():
            yield int(text)
        if directory == below or below not in directory.parents:
            return
        directory = directory.parent


def _memory_limits(root: Path) -> Iterable[int]:
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        relative = path.strip().lstrip("/")
        if not controllers:
            yield from _limits(mount / relative, mount, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _limits(mount / "memory" / relative, mount / "memory", "memory.limit_in_bytes")


def _memory_total_bytes(root: Path) -> int:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return min([int(line.split()[1]) * 1024, *_memory_limits(root)])
    return min(_memory_limits(root), default=0)


def hardware(
    root: Path, *, architecture: str | None = None, usable_processors: Iterable[int] | None = None
) -> Hardware:
    """Return the board as files below ``root`` describe it.

    Args:
        root: ``/`` or a recorded tree.
        architecture: instruction set family; this machine's when not given.
        usable_processors: processors that the agent may use; this process's affinity when not given.
    """
    lines = _cpu_lines(root)
    usable = os.sched_getaffinity(0) if usable_processors is None else set(usable_processors)
    return Hardware(
        model=_model(root),
        architecture=architecture or os.uname().machine,
        cpu_model=_cpu_model(lines),
        isa_flags=_isa_flags(lines),
        logical_cores=len(usable),
        physical_cores=_physical_cores(root),
        max_frequency_hz=_max_frequency_hz(root),
        memory_total_bytes=_memory_total_bytes(root),
    )


def _pretty_name(root: Path) -> str:
    for file in ("etc/os-release", "usr/lib/os-release"):
        for line in _text(root / file).splitlines():
            key, _, value = line.partition("=")
            if key == "PRETTY_NAME":
                return value.strip().strip("\"'")
    return ""


def _libc() -> str:
    try:
        return os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return ""


def operating_system(root: Path) -> OperatingSystem:
    """Return distribution, kernel, C library and Python."""
    return OperatingSystem(
        name=_pretty_name(root) or os.uname().sysname,
        kernel=_text(root / "proc/sys/kernel/osrelease") or os.uname().release,
        libc=_libc(),
        python_version=".".join(str(part) for part in sys.version_info[:3]),
    )


def boot_id(root: Path) -> str:
    """Return the random identifier of this boot; empty when the kernel tells none."""
    return _text(root / "proc/sys/kernel/random/boot_id")


def device_id(fs: FileSystem, root: Path, state_directory: Path) -> str:
    """Return the stable identifier of this device: 32 hexadecimal digits.

    A random part is kept in the state directory; the machine's identifier and the board's serial number enter
    too, so that a copied memory card does not carry one device's name to another.
    """
    path = state_directory / "device_id"
    if not fs.exists(path):
        make_durable_directory(fs, state_directory)
        write_durably(fs, path, secrets.token_hex(16).encode() + b"\n")
    stored = fs.read(path).decode("ascii", "replace").strip()
    if not stored:
        raise CorruptDataError(
            f"{path} is empty but holds the identifier of this device.",
            next_step="Delete it to enrol as a new device.",
        )
    serial = _text(root / "proc/device-tree/serial-number")
    machine = _text(root / "etc/machine-id")
    return hashlib.sha256("\n".join((stored, machine, serial)).encode()).hexdigest()[:32]


def simulated_device_id(profile: str, seed: int, name: str) -> str:
    """Return the identifier of a simulated board: the same one for the same profile, seed and name."""
    return hashlib.sha256(f"simulated\n{profile}\n{seed}\n{name}".encode()).hexdigest()[:32]


def runner_environment() -> dict[str, str]:
    """Return the exact environment of a runner: nothing of ours but what keeps runtimes quiet and engines kept."""
    names = ("PATH", "LANG", "LD_LIBRARY_PATH", "EDGELOOP_ENGINE_CACHE")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "ORT_DISABLE_TELEMETRY": "1", "ORT_TELEMETRY_DISABLED": "1"}


async def runtime_facts(processes: ProcessPort, argv: Sequence[str], scratch: Path) -> Described:
    """Ask the runner which runtimes it has; takes as long as importing them.

    The runner prints one line of JSON: the RuntimeFacts, and whether they last. A runner that cannot start is a
    runtime that is absent with the reason.

    Args:
        processes: starts it.
        argv: the command.
        scratch: a directory of its own.
    """
    own = {"HOME": str(scratch), "TMPDIR": str(scratch), "OPENBLAS_NUM_THREADS": "1"}
    child = await processes.spawn(argv, {**runner_environment(), **own}, str(scratch))
    line = bytearray()
    try:
        with contextlib.suppress(EOFError):
            while not line.endswith(b"\n") and len(line) < _DESCRIBE_BYTES_MAX:
                line += await child.read_exactly(1)
        status = await child.wait()
    finally:
        child.kill()
    try:
        said = json.loads(line)
        runtimes = tuple(from_json(entry, RuntimeFacts) for entry in said["runtimes"])
        return Described(runtimes=runtimes, lasting=said["lasting"] is True and status == 0)
    except (ValueError, TypeError, KeyError, InvalidInputError):
        tail = child.log_tail().strip().splitlines()[-1:] or ["it wrote nothing"]
        absent = RuntimeFacts(name="onnxruntime", reason=f"the runner ended with {status}: {tail[0]}")
        return Described(runtimes=(absent,))
