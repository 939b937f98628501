"""Where this machine lets the agent make control groups, for version 1 and version 2."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Place", "find_places"]

_MOUNT = "sys/fs/cgroup"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A group below which others may be made, and what they can limit."""

    #: The group above.
    directory: Path
    #: Version of the control groups.
    version: int
    #: Controllers of ours that work there: "memory", "cpu", "cpuset".
    controllers: frozenset[str]


def find_places(root: Path, controllers: Iterable[str]) -> tuple[tuple[Place, ...], frozenset[str]]:
    """Return the places that together offer these controllers, and the controllers for which there is none."""
    paths = _own_paths(root)
    wanted = frozenset(controllers)
    found = [place for name in sorted(wanted) if (place := _version_1(root, paths, name))]
    rest = wanted - {name for place in found for name in place.controllers}
    if rest and (place := _version_2(root, paths.get("", ""), rest)):
        found.append(place)
        rest -= place.controllers
    return tuple(found), rest


def _own_paths(root: Path) -> dict[str, str]:
    """Return the agent's own group by the controllers of its hierarchy; the empty name is version 2."""
    paths = {}
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, names, path = [*line.split(":", 2), "", ""][:3]
            paths[names] = path.strip().strip("/")
    return paths


def _version_1(root: Path, paths: dict[str, str], controller: str) -> Place | None:
    for names, path in paths.items():
        if controller not in names.split(","):
            continue
        for mount in (root / _MOUNT / names, root / _MOUNT / controller):
            for directory in (mount / path, mount):
                if (directory / "cgroup.procs").exists() and os.access(directory, os.W_OK):
                    return Place(directory=directory, version=1, controllers=frozenset({controller}))
    return None


def _version_2(root: Path, path: str, wanted: frozenset[str]) -> Place | None:
    """Return the nearest group, from the agent's own upwards, that may have children with the most of these."""
    mount = root / _MOUNT
    own = mount / path
    best: Place | None = None
    for directory in (own, *(above for above in own.parents if mount in (above, *above.parents))):
        with contextlib.suppress(OSError):
            offered = wanted & set((directory / "cgroup.subtree_control").read_text().split())
            if offered and os.access(directory, os.W_OK) and (best is None or offered > best.controllers):
                best = Place(directory=directory, version=2, controllers=frozenset(offered))
    return best
