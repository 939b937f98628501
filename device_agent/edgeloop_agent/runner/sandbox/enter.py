"""From a plain process to the strongest tier that this machine gives, with the reason why it is not a stronger one."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeloop_protocol.types.isolation_tier import STRONGEST, TIERS

from edgeloop_agent.runner.sandbox.landlock import restrict
from edgeloop_agent.runner.sandbox.namespaces import drop_capabilities, enter_namespaces
from edgeloop_agent.runner.sandbox.probes import CALLS, FILES, probe
from edgeloop_agent.runner.sandbox.seccomp import build_filter, install
from edgeloop_agent.runner.sandbox.syscalls import Architecture, this_architecture

__all__ = ["Bounds", "confine"]

_LIBRARIES = ("/usr", "/lib", "/lib64", "/opt", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
_MACHINE = (
    "/sys", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/vmstat", "/proc/version", "/proc/sys/vm",
    "/proc/sys/kernel", "/proc/filesystems", "/proc/devices", "/proc/modules", "/proc/driver", "/proc/device-tree",
    "/etc/localtime", "/etc/nv_tegra_release",
)  # fmt: skip
_NETWORK, _USERS = Path("/proc/self/ns/net"), Path("/proc/self/ns/user")
_PLAIN_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")
_ACCELERATORS = ("nvidia*", "nvhost*", "nvmap", "dri", "accel", "hailo*", "apex_*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one runner is allowed beyond its own scratch directory, and how far it is to be confined."""

    #: Strongest tier to take; a stronger one is not tried.
    tier: str = STRONGEST
    #: Artifacts to read.
    readable: tuple[Path, ...] = ()
    #: The agent's directory, tried from inside; None leaves files unguarded.
    outside: Path | None = None
    #: The agent's process, tried from inside.
    parent_pid: int = 0


def confine(bounds: Bounds) -> tuple[str, dict[str, bool], str]:
    """Confine this process for the rest of its life.

    Returns:
        The tier whose every layer was found to hold, the layers, and what kept it from a stronger one: empty when
        nothing did.
    """
    architecture = this_architecture()
    problems: list[str] = []
    network, users = _NETWORK.readlink(), _USERS.readlink()
    wanted = TIERS.index(bounds.tier)
    if architecture is None:
        problems.append("no table of system calls for this processor")
    else:
        accelerators = _existing(_ACCELERATORS)
        if wanted >= TIERS.index("unprivileged"):
            _try("namespaces", lambda: enter_namespaces(architecture), problems)
            _try("capabilities", lambda: drop_capabilities(architecture), problems)
            _try("Landlock", lambda: _guard_files(architecture, bounds, accelerators), problems)
        if wanted >= TIERS.index("seccomp"):
            program = build_filter(architecture, os.getpid(), local_sockets=bool(accelerators))
            _try("seccomp", lambda: install(architecture, program), problems)
    layers = probe(architecture, bounds.outside, bounds.parent_pid)
    layers["own_network"] = _NETWORK.readlink() != network
    layers["own_users"] = _USERS.readlink() != users
    if bounds.tier != STRONGEST:
        problems.append(f"the agent was told to use {bounds.tier}")
    tier = _tier(layers)
    if TIERS.index(tier) < wanted:
        lacking = [name for name in (*CALLS, *FILES) if not layers[name]]
        problems.append(f"not refused when tried: {', '.join(lacking)}")
    return tier, layers, "; ".join(problems)


def _tier(layers: dict[str, bool]) -> str:
    if not all(layers[name] for name in CALLS):
        return "process"
    return "unprivileged" if all(layers[name] for name in FILES) else "seccomp"


def _try(what: str, step: Callable[[], object], problems: list[str]) -> None:
    try:
        step()
    except OSError as error:
        problems.append(f"{what}: {error.strerror}")


def _existing(patterns: tuple[str, ...]) -> list[Path]:
    return [path for pattern in patterns for path in Path("/dev").glob(pattern)]


def _guard_files(architecture: Architecture, bounds: Bounds, accelerators: list[Path]) -> None:
    libraries = [
        *_LIBRARIES,
        sys.prefix,
        sys.base_prefix,
        *sys.path,
    ]
    libraries += [entry for entry in os.environ.get("LD_LIBRARY_PATH", "").split(os.pathsep) if entry]
    # Held open for good: the kernel may forget the directory of a process otherwise, and the rule with it.
    own = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY)
    writable = [Path.cwd()]
    if cache := os.environ.get("EDGELOOP_ENGINE_CACHE"):
        writable.append(Path(cache))
    restrict(
        architecture,
        readable=(*map(Path, (*libraries, *_MACHINE, f"/proc/self/fd/{own}")), *bounds.readable),
        devices=(*map(Path, _PLAIN_DEVICES), *accelerators),
        writable=writable,
    )
