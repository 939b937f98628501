"""What a device remembers of the releases it accepted; nothing in here is ever taken back.

``floor.json``     the lowest versions and counters that may still come, and the latest time that was proved
``metadata.json``  the metadata accepted last, the root above all

Both are sealed. The floor is written first: a power cut between the two leaves a floor that the same bundle meets
again. One without the other, or a spoiled one, is a loss that is told, never a device that is new.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError, StateError
from edgeloop_foundation.ports.fs import FileSystem, make_durable_directory, write_durably
from edgeloop_protocol.convert import from_json, to_canonical_json

from edgeloop_agent.sealed import seal, unseal

__all__ = ["DIRECTORY", "Counter", "RoleFloor", "TrustFiles", "TrustFloor", "TrustState", "TrustedMetadata"]

DIRECTORY = "releases"
"""Name of the directory below the agent's state."""

V = TypeVar("V", "TrustFloor", "TrustedMetadata")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleFloor:
    """The lowest version of one role's metadata, as long as the role has the same keys."""

    #: "timestamp", "snapshot" or "targets".
    role: str
    #: Lowest version that may still come.
    version: int
    #: Digest of the role's keys; others begin anew, which is how a stolen key's high numbers are left behind.
    keys: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counter:
    """The highest counter of one deployment name."""

    #: Name of the deployment.
    name: str
    #: The counter.
    counter: int
    #: SHA-256 of the manifest that had it.
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustFloor:
    """What may not be undercut."""

    #: Lowest version of the root.
    root_version: int
    #: Latest time that verified metadata proved, in seconds since 1970.
    time_floor_s: int = 0
    #: Per role.
    roles: tuple[RoleFloor, ...] = ()
    #: Per deployment name.
    counters: tuple[Counter, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedMetadata:
    """The metadata accepted last, as it was signed; empty before the first bundle, the root excepted."""

    #: root.json.
    root: str
    #: timestamp.json.
    timestamp: str = ""
    #: snapshot.json.
    snapshot: str = ""
    #: targets.json.
    targets: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustState:
    """Both."""

    #: What may not be undercut.
    floor: TrustFloor
    #: What was accepted last.
    metadata: TrustedMetadata


class TrustFiles:
    """One directory; methods block on the disk."""

    def __init__(self, fs: FileSystem, directory: Path) -> None:
        self._fs, self._directory = fs, directory
        self._floor, self._metadata = directory / "floor.json", directory / "metadata.json"

    def read(self) -> TrustState | None:
        """Return the state; None when no root was ever pinned.

        Raises:
            CorruptDataError: TRUST_STATE_LOST: a part is missing or spoiled.
        """
        floor = self._read(self._floor, TrustFloor) if self._fs.exists(self._floor) else None
        metadata = self._read(self._metadata, TrustedMetadata) if self._fs.exists(self._metadata) else None
        if floor is not None and metadata is not None:
            return TrustState(floor=floor, metadata=metadata)
        # Power went while the first root was pinned: nothing had been accepted yet.
        if metadata is None and (floor is None or not (floor.roles or floor.counters)):
            return None
        raise self._lost(self._floor if floor is None else self._metadata, "it is missing")

    def write(self, state: TrustState) -> None:
        """Make a state durable, the floor first.

        Raises:
            StateError: it is lower than what is there.
        """
        self._refuse_lower(state)
        make_durable_directory(self._fs, self._directory)
        for name, _ in self._fs.entries(self._directory):
            if name.endswith(".tmp"):
                self._fs.remove(self._directory / name)
        write_durably(self._fs, self._floor, seal(to_canonical_json(state.floor)))
        write_durably(self._fs, self._metadata, seal(to_canonical_json(state.metadata)))

    def _refuse_lower(self, state: TrustState) -> None:
        known = self.read()
        if known is None:
            return
        counters = {entry.name: entry.counter for entry in state.floor.counters}
        if (
            state.floor.root_version < known.floor.root_version
            or state.floor.time_floor_s < known.floor.time_floor_s
            or any(counters.get(entry.name, 0) < entry.counter for entry in known.floor.counters)
        ):
            raise StateError("the new trust state is lower than the one that is kept.")

    def _read(self, path: Path, kind: type[V]) -> V:
        try:
            return from_json(unseal(self._fs.read(path)), kind)
        except (InvalidInputError, CorruptDataError) as error:
            raise self._lost(path, error.message) from error

    def _lost(self, path: Path, why: str) -> CorruptDataError:
        return CorruptDataError(
            f"TRUST_STATE_LOST: {path}: {why} What serves goes on to serve; nothing new is accepted.",
            next_step=f"If the device was not tampered with, remove {self._directory} on it and deploy again.",
        )
