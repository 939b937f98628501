"""Fleet files, and the boards that a seed makes of them: names, profiles, labels and a seed each."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from edgeloop_foundation.errors import InvalidInputError

from edgeloop_profiles.bounds import Bounds, NotNegative, Text
from edgeloop_profiles.document import read_document
from edgeloop_profiles.reading import load_profile
from edgeloop_profiles.schema import build

__all__ = [
    "BOARDS_MAX",
    "BoardGroup",
    "BoardPlan",
    "FleetFile",
    "FleetPlan",
    "draw_boards",
    "load_fleet_file",
]

BOARDS_MAX = 10_000
"""Each board holds two or three file descriptors, and a socket name has room for so many numbers."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardGroup:
    """Boards of one kind in a fleet."""

    #: Profile by name, or a path to a ``.toml`` profile from the directory of the file.
    profile: Text
    #: First part of the boards' names; empty is the profile's name.
    name: str = ""
    #: How many there are; 0 leaves it to the share.
    count: Annotated[int, Bounds(minimum=0, maximum=BOARDS_MAX)] = 0
    #: Part of the boards that no group counts, against the shares of the others.
    share: NotNegative = 0.0
    #: Words to select them by.
    labels: tuple[Text, ...] = ()

    def __post_init__(self) -> None:
        if (self.count > 0) == (self.share > 0):
            raise InvalidInputError(
                f"found count {self.count} and share {self.share:g}, allowed is one of them above 0.",
                next_step="Give a count, or a share of --count.",
            )
        if self.name and not _NAME.fullmatch(self.name):
            raise InvalidInputError(
                f"name: found {self.name!r}, allowed are up to 40 letters, digits, - and _."
            )

    @property
    def prefix(self) -> str:
        """Return the first part of the boards' names."""
        return self.name or Path(self.profile).stem


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetFile:
    """A whole file."""

    boards: tuple[BoardGroup, ...]
    #: Fault script, by its path from the directory of the file; empty is none.
    faults: str = ""

    def __post_init__(self) -> None:
        if not self.boards:
            raise InvalidInputError("boards: found none, allowed is at least one group.")
        prefixes = [group.prefix for group in self.boards]
        if twice := next((name for name in prefixes if prefixes.count(name) > 1), ""):
            raise InvalidInputError(
                f"boards: found the name {twice!r} for two groups, allowed is one.",
                next_step="Give each group a name of its own.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardPlan:
    """One board of a fleet."""

    #: Unique within the fleet.
    name: str
    #: Profile by name or absolute path.
    profile: str
    #: Seed of its noise, and part of its identity.
    seed: int
    #: Words to select it by.
    labels: tuple[str, ...] = ()
    #: Unix socket that it is reached by; empty as long as none was given to it.
    socket: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetPlan:
    """A fleet that was started: what its processes serve, and what reaches its boards."""

    #: Unique among the fleets of one controller.
    name: str
    #: Of the fleet; with the boards' names it decides everything random.
    seed: int
    #: Every board, in the order of the file.
    boards: tuple[BoardPlan, ...]
    #: Processes that share them: number ``i`` serves every ``process_count``-th board from ``i`` on.
    process_count: int
    #: Fault script, an absolute path; empty is none.
    faults: str = ""
    #: Directory made for the sockets where the fleet's own has too long a path; empty when it does not.
    socket_directory: str = ""
    #: Digest of everything that was asked for, to tell whether the same is asked for again.
    request_digest: str = ""


def load_fleet_file(path: Path) -> FleetFile:
    """Return the fleet file at a path, its profiles and fault script resolved against its directory.

    Raises:
        NotFoundError: no such file, or no such profile.
        InvalidInputError: it is not TOML, or a field does not hold what it should.
        MissingDependencyError: this Python has no ``tomllib``.
    """
    tree = read_document(path, "Fleet")
    groups = tree.get("boards")
    for group in groups if isinstance(groups, list) else ():
        if isinstance(group, dict) and str(group.get("profile", "")).endswith(".toml"):
            group["profile"] = str((path.parent / str(group["profile"])).absolute())
    if isinstance(tree.get("faults"), str) and tree["faults"]:
        tree["faults"] = str((path.parent / tree["faults"]).absolute())
    found = build(FleetFile, tree, f"{path.name}: ")
    for group in found.boards:
        load_profile(group.profile)
    return found


def draw_boards(fleet: FleetFile, count: int, seed: int) -> tuple[BoardPlan, ...]:
    """Return the boards of a fleet of this size; shares are rounded by largest remainder.

    Args:
        fleet: what kinds there are.
        count: boards in all; 0 is the sum of the counts.
        seed: of the fleet; each board's own is derived from it and its name.

    Raises:
        InvalidInputError: the counts and the size do not go together.
    """
    fixed = sum(group.count for group in fleet.boards)
    sharing = any(group.share for group in fleet.boards)
    total = count or fixed
    if (
        not 1 <= total <= BOARDS_MAX
        or total < fixed
        or (total > fixed and not sharing)
        or (sharing and not count)
    ):
        shares = " plus shares" if sharing else ""
        raise InvalidInputError(
            f"found --count {count or 'absent'} for groups that count {fixed} boards{shares}.",
            next_step=f"Give {f'--count of at least {max(1, fixed)}' if sharing else f'no --count, or {fixed}'}, "
            f"at most {BOARDS_MAX}.",
        )
    sizes = _sizes(fleet.boards, total - fixed)
    return tuple(
        BoardPlan(name=name, profile=group.profile, seed=_board_seed(seed, name), labels=group.labels)
        for group, size in zip(fleet.boards, sizes, strict=True)
        for name in (f"{group.prefix}-{number:04d}" for number in range(size))
    )


def _sizes(groups: Sequence[BoardGroup], left: int) -> list[int]:
    shares = sum(group.share for group in groups) or 1.0
    wanted = [left * group.share / shares for group in groups]
    sizes = [group.count + int(part) for group, part in zip(groups, wanted, strict=True)]
    by_remainder = sorted(range(len(groups)), key=lambda index: (int(wanted[index]) - wanted[index], index))
    for index in by_remainder[: left - sum(int(part) for part in wanted)]:
        sizes[index] += 1
    return sizes


def _board_seed(seed: int, name: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}/{name}".encode()).digest()[:4], "big") >> 1
