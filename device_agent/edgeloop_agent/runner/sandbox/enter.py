"""From a plain process to the strongest tier that this machine gives, with the reason why it is not a stronger one."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edgeloop_protocol.types.isolation_tier import DEFAULT, STRONGEST, TIERS

from edgeloop_agent.runner.sandbox.landlock import restrict
from edgeloop_agent.runner.sandbox.namespaces import drop_capabilities, enter_namespaces
from edgeloop_agent.runner.sandbox.probes import CALLS, ENCLOSED, FILES, UNIT, probe, probe_account
from edgeloop_agent.runner.sandbox.seccomp import build_filter, install
from edgeloop_agent.runner.sandbox.syscalls import Architecture, this_architecture
from edgeloop_agent.system_paths import ACCELERATORS, LOOKED_UP

__all__ = ["Bounds", "Confinement", "add_enclosure_options"]

_LIBRARIES = ("/usr", "/lib", "/lib64", "/opt", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d")
_MACHINE = (
    "/sys", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/vmstat", "/proc/version", "/proc/sys/vm",
    "/proc/sys/kernel", "/proc/filesystems", "/proc/devices", "/proc/modules", "/proc/driver", "/proc/device-tree",
    "/etc/localtime", "/etc/nv_tegra_release",
)  # fmt: skip
_NETWORK, _USERS = Path("/proc/self/ns/net"), Path("/proc/self/ns/user")
_PLAIN_DEVICES = ("/dev/null", "/dev/zero", "/dev/random", "/dev/urandom")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What one runner is allowed beyond its own scratch directory, and how far it is to be confined."""

    #: Strongest tier to take; a stronger one is not tried.
    tier: str = DEFAULT
    #: Artifacts to read.
    readable: tuple[Path, ...] = ()
    #: The agent's directory, tried from inside; None leaves files unguarded.
    outside: Path | None = None
    #: The agent's process, tried from inside.
    parent_pid: int = 0
    #: Directories to change files in, beside its own.
    writable: tuple[Path, ...] = ()
    #: Whether it listens on the machine's network, and takes in what connects there.
    listens: bool = False
    #: Whether a helper program, or the runner's unit, has put it where other files are not.
    enclosed: bool = False
    #: The agent's namespaces, as ``enclosure.outer_namespaces`` names them; empty when they are not known.
    outer_namespaces: str = ""
    #: Why it was not enclosed although it should have been; empty otherwise.
    lacking: str = ""


class Confinement:
    """The way into the strongest tier, in two steps: a server opens its listeners between them."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._architecture = this_architecture()
        self._problems: list[str] = []
        self._network, self._users = _NETWORK.readlink(), _USERS.readlink()
        self._accelerators = _existing(ACCELERATORS)
        self._account = probe_account(bounds.parent_pid)

    def _wants(self, tier: str) -> bool:
        return TIERS.index(self._bounds.tier) >= TIERS.index(tier)

    @property
    def counts_own_tasks(self) -> bool:
        """Whether its tasks are counted apart from the agent's: own user namespace, or another account."""
        return self._has_own_users or self._account["own_account"]

    @property
    def _has_own_users(self) -> bool:
        return _USERS.readlink() != self._users or _has_left(self._bounds, "user")

    @property
    def _lacks_namespaces(self) -> bool:
        """Whether it was not started in those that it would make.

        Within bubblewrap they are there; in the unit network and account are its own, and no further one may be made.
        """
        if self._account["own_account"]:
            return not _has_left(self._bounds, "net")
        kinds = ("ipc", "user") if self._bounds.listens else ("ipc", "net", "user")
        return not all(_has_left(self._bounds, kind) for kind in kinds)

    def begin(self) -> None:
        """Leave the machine's users and files behind; this process must have one thread."""
        architecture, bounds = self._architecture, self._bounds
        if architecture is None:
            self._problems.append("no table of system calls for this processor")
        elif self._wants("unprivileged"):
            if self._lacks_namespaces:
                own_network = not bounds.listens
                self._try("namespaces", lambda: enter_namespaces(architecture, own_network=own_network))
            self._try("capabilities", lambda: drop_capabilities(architecture))
            self._try("Landlock", lambda: _guard_files(architecture, bounds, self._accelerators))

    def close(self) -> tuple[str, dict[str, bool], str]:
        """Put the filter on every thread, and try what must not be possible.

        Returns:
            The tier whose every layer was found to hold, the layers, and what kept it from a stronger one: empty when
            nothing did.
        """
        architecture, bounds = self._architecture, self._bounds
        if architecture is not None and self._wants("seccomp"):
            program = build_filter(
                architecture, os.getpid(), local_sockets=bool(self._accelerators), listens=bounds.listens
            )
            self._try("seccomp", lambda: install(architecture, program))
        layers = probe(architecture, bounds.outside, bounds.parent_pid, enclosed=bounds.enclosed)
        layers["own_network"] = _NETWORK.readlink() != self._network or _has_left(bounds, "net")
        layers["own_files"] = bounds.enclosed and _has_left(bounds, "mnt")
        layers["own_processes"] = bounds.enclosed and _has_left(bounds, "pid")
        layers["own_users"] = self._has_own_users
        layers |= self._account
        if bounds.lacking:
            self._problems.append(bounds.lacking)
        if TIERS.index(bounds.tier) < TIERS.index(DEFAULT):
            self._problems.append(f"the agent was told to use {bounds.tier}")
        tier = _tier(layers)
        if TIERS.index(tier) < TIERS.index(bounds.tier):
            self._problems += _shortfall(
                layers, in_unit=bounds.enclosed and bounds.tier == STRONGEST and not bounds.lacking
            )
        # Nothing keeps it from a stronger one than the strongest, whatever it does without there.
        return tier, layers, "" if tier == STRONGEST else "; ".join(self._problems)

    def _try(self, what: str, step: Callable[[], object]) -> None:
        try:
            step()
        except OSError as error:
            self._problems.append(f"{what}: {error.strerror}")


def _tier(layers: dict[str, bool]) -> str:
    if not all(layers[name] for name in CALLS):
        return "process"
    if not all(layers[name] for name in FILES):
        return "seccomp"
    if all(layers[name] for name in UNIT):
        return "systemd"
    return "bubblewrap" if all(layers[name] for name in ENCLOSED) else "unprivileged"


def _shortfall(layers: dict[str, bool], *, in_unit: bool) -> list[str]:
    """Return why the layers are not those of the tier that was to be taken."""
    open_to = ", ".join(name for name in (*CALLS, *FILES) if not layers[name])
    absent = ", ".join(name for name in UNIT if in_unit and not layers[name])
    told = [f"not refused when tried: {open_to}"] if open_to else []
    return [*told, f"not found in the unit: {absent}"] if absent else told


def _has_left(bounds: Bounds, kind: str) -> bool:
    """Return whether this process is in another namespace of a kind than its agent."""
    return bool(bounds.outer_namespaces) and str(Path("/proc/self/ns", kind).readlink()) not in (
        bounds.outer_namespaces.split(",")
    )


def add_enclosure_options(parser: argparse.ArgumentParser) -> None:
    """Add what a process is told that was to be started by a helper program."""
    parser.add_argument(
        "--enclosed", action="store_true", help="a helper has started it: bubblewrap or the runner's unit"
    )
    parser.add_argument("--outer-namespaces", default="", help="the namespaces that it should have left")
    parser.add_argument(
        "--lacking", default="", help="why no helper has started it, or not the one that was wanted"
    )


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
    writable = [Path.cwd(), *bounds.writable]
    if cache := os.environ.get("EDGELOOP_ENGINE_CACHE"):
        writable.append(Path(cache))
    names = LOOKED_UP if bounds.listens else ()
    restrict(
        architecture,
        readable=(*map(Path, (*libraries, *_MACHINE, *names, f"/proc/self/fd/{own}")), *bounds.readable),
        devices=(*map(Path, _PLAIN_DEVICES), *accelerators),
        writable=writable,
        listens=bounds.listens,
    )
