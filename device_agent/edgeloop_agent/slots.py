"""The slots of a device: immutable directories, and one pointer per deployment that says which one serves.

``NAME/slots/COUNTER-DIGEST/``  the artifact's files, those made from them, and ``manifest.json`` with SHA-256 DIGEST
``NAME/pointer.json``           the slot that serves and the one before it, sealed; replaced by one rename
``NAME/record.json``            how far the last installation is, sealed; saved before it is acted upon

Order: every file synced, then the manifest, then the slot's directory and its parent, and only then the pointer.
A slot that neither the pointer nor the record names is left over, and removed.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError, NotFoundError, StateError
from edgeloop_foundation.ports.fs import FileSystem, make_durable_directory, write_durably
from edgeloop_protocol.convert import from_json, to_canonical_json
from edgeloop_protocol.types.artifact import Artifact
from edgeloop_protocol.types.deployment import NO_LIMITS, DeploymentState, ModelLimits, check_deployment_name

from edgeloop_agent.sealed import seal, unseal
from edgeloop_agent.store import ContentStore
from edgeloop_agent.unpack import make_expanded
from edgeloop_agent.workspace import MANIFEST_NAME

__all__ = ["Pointer", "Slot", "SlotFiles", "SlotRecord", "Slots"]

_SLOT = re.compile(r"([1-9][0-9]{0,17})-([0-9a-f]{64})")
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One version of one deployment; its text is the name of its directory."""

    #: Counter of the release.
    counter: int
    #: SHA-256 of the artifact's manifest.
    digest: str

    @property
    def text(self) -> str:
        """Name of the directory."""
        return f"{self.counter}-{self.digest}"

    @classmethod
    def parse(cls, text: str) -> Slot:
        """Read the name of a directory.

        Raises:
            CorruptDataError: it names no slot.
        """
        match = _SLOT.fullmatch(text)
        if match is None:
            raise CorruptDataError(f"{text[:80]!r} names no slot.")
        return cls(counter=int(match[1]), digest=match[2])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """Which slots serve; empty texts stand for none."""

    #: The slot that serves.
    current: str = ""
    #: The slot that served before it.
    previous: str = ""
    #: What was signed for the one that serves.
    current_limits: ModelLimits = NO_LIMITS
    #: What was signed for the one before it.
    previous_limits: ModelLimits = NO_LIMITS

    @property
    def back(self) -> Pointer:
        """The pointer after going back to the slot before."""
        return Pointer(current=self.previous, current_limits=self.previous_limits)

    def __post_init__(self) -> None:
        for text in (self.current, self.previous):
            if text:
                Slot.parse(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRecord:
    """How far the last installation of a deployment is."""

    #: Name of the deployment.
    name: str
    #: Its state.
    state: DeploymentState
    #: Slot that it installs; empty before it was verified.
    slot: str = ""
    #: The pointer as it was before it, which a failed trial goes back to.
    before: Pointer = Pointer()
    #: Why it failed or was rolled back.
    reason: str = ""
    #: What was measured.
    measured: str = ""
    #: How often the agent started during its trial.
    starts: int = 0
    #: Length of its trial in seconds.
    trial_s: float = 0.0
    #: Limits of its terms: bytes and microseconds, 0 for none.
    memory_bytes_max: int = 0
    #: See above.
    latency_us_max: int = 0
    #: Weakest tier of isolation of its terms; empty for none.
    isolation: str = ""
    #: Most threads and processes of its terms, 0 for none.
    process_count_max: int = 0
    #: Longest load or run of its terms in seconds, 0 for none.
    step_s_max: int = 0
    #: Runtime that opens it.
    runtime: str = "onnxruntime"
    #: Time of the last change of the pointer; absent before one.
    switch_s: float | None = None

    @property
    def limits(self) -> ModelLimits:
        """What whoever opens the slot is held in."""
        return ModelLimits(
            isolation=self.isolation,
            memory_bytes_max=self.memory_bytes_max,
            process_count_max=self.process_count_max,
            step_s_max=self.step_s_max,
        )

    def within(self, limits: ModelLimits) -> SlotRecord:
        """Return the record with these limits."""
        return replace(
            self,
            isolation=limits.isolation,
            memory_bytes_max=limits.memory_bytes_max,
            process_count_max=limits.process_count_max,
            step_s_max=limits.step_s_max,
        )


class SlotFiles:
    """The files below one directory, for who only reads them; methods block on the disk."""

    def __init__(self, fs: FileSystem, root: Path) -> None:
        self._fs, self._root = fs, root

    def names(self) -> list[str]:
        """Return the deployments that have a record, sorted."""
        return [
            name
            for name, size in self._fs.entries(self._root)
            if size < 0 and self._fs.exists(self._root / name / "record.json")
        ]

    def directory(self, name: str, slot: str) -> Path:
        """Return where a slot is."""
        return self._root / check_deployment_name(name) / "slots" / Slot.parse(slot).text

    def record(self, name: str) -> SlotRecord:
        """Return the record of a deployment.

        Raises:
            NotFoundError: there is none.
            CorruptDataError: the disk changed it.
        """
        path = self._root / check_deployment_name(name) / "record.json"
        if not self._fs.exists(path):
            raise NotFoundError(
                f"there is no deployment {name!r} on this device.", next_step="Deploy it first."
            )
        record: SlotRecord = self._unsealed(path, SlotRecord)
        return record

    def pointer(self, name: str) -> Pointer:
        """Return which slots serve; an empty pointer before the first activation.

        Raises:
            CorruptDataError: the disk changed it.
        """
        path = self._root / check_deployment_name(name) / "pointer.json"
        return self._unsealed(path, Pointer) if self._fs.exists(path) else Pointer()

    def limits(self, name: str, slot: str) -> ModelLimits:
        """Return what was signed for a slot that serves or served before; nothing for another one."""
        pointer = self.pointer(name)
        if slot == pointer.current:
            return pointer.current_limits
        return pointer.previous_limits if slot == pointer.previous else NO_LIMITS

    def _unsealed(self, path: Path, kind: type[SlotRecord] | type[Pointer]) -> Any:
        try:
            return from_json(unseal(self._fs.read(path)), kind)
        except (InvalidInputError, CorruptDataError) as error:
            raise CorruptDataError(f"{path}: {error.message}") from error

    def verify(self, name: str, slot: str) -> Artifact:
        """Return the manifest of a slot after checking every byte of it.

        Raises:
            CorruptDataError: it is not what was signed.
        """
        directory = self.directory(name, slot)
        manifest = self._hashed(directory / MANIFEST_NAME, Slot.parse(slot).digest)
        artifact = from_json(manifest, Artifact)
        for entry in (*artifact.files, *(expansion.made for expansion in artifact.expansions)):
            self._hashed(directory / entry.name, entry.digest, keep=False)
        return artifact

    def _hashed(self, path: Path, digest: str, *, keep: bool = True) -> bytes:
        hasher, kept = hashlib.sha256(), bytearray()
        try:
            for chunk in self._fs.read_chunks(path, 0, _CHUNK_BYTES):
                hasher.update(chunk)
                if keep:
                    kept += chunk
        except FileNotFoundError:
            raise CorruptDataError(f"{path} is missing.") from None
        if hasher.hexdigest() != digest:
            raise CorruptDataError(f"{path} is not what was signed.", next_step="Deploy it again.")
        return bytes(kept)


class Slots(SlotFiles):
    """The files below one directory, and what changes them; methods block on the disk."""

    def __init__(self, fs: FileSystem, root: Path, store: ContentStore) -> None:
        super().__init__(fs, root)
        self._store = store

    def save(self, record: SlotRecord) -> None:
        """Make a record durable."""
        directory = self._root / check_deployment_name(record.name)
        make_durable_directory(self._fs, directory)
        self._sweep_temporaries(directory)
        write_durably(self._fs, directory / "record.json", seal(to_canonical_json(record)))

    def _sweep_temporaries(self, directory: Path) -> None:
        for entry, _ in self._fs.entries(directory):
            if entry.endswith(".tmp"):
                self._fs.remove(directory / entry)

    def point(self, name: str, pointer: Pointer) -> None:
        """Let another slot serve, after verifying it: the one durable step that a client can see.

        Raises:
            CorruptDataError: the slot is not whole; the pointer stays.
        """
        if pointer.current:
            self.verify(name, pointer.current)
        path = self._root / check_deployment_name(name) / "pointer.json"
        write_durably(self._fs, path, seal(to_canonical_json(pointer)))

    def stage(self, name: str, slot: str, artifact: Artifact) -> None:
        """Copy an artifact out of the store into its slot, make what did not travel, verify and sync each file.

        Raises:
            StateError: the slot is in use.
            NotFoundError: a blob is missing.
            CorruptDataError: a blob, or what is made from it, does not match its digest.
        """
        pointer = self.pointer(name)
        if slot in (pointer.current, pointer.previous):
            raise StateError(f"{name}: slot {slot[:20]} is in use already.")
        directory = self.directory(name, slot)
        self._fs.remove_tree(directory)
        make_durable_directory(self._fs, directory)
        for entry in artifact.files:
            self._copy(entry.digest, directory / entry.name)
        for expansion in artifact.expansions:
            make_expanded(self._fs, expansion, directory, sync=True)
        self._copy(Slot.parse(slot).digest, directory / MANIFEST_NAME)
        self._fs.sync_directory(directory)
        self._fs.sync_directory(directory.parent)

    def _copy(self, digest: str, destination: Path) -> None:
        hasher = hashlib.sha256()
        file = self._fs.create(destination)
        try:
            for chunk in self._store.read_chunks(digest):
                hasher.update(chunk)
                file.write(chunk)
            file.sync()
        finally:
            file.close()
        if hasher.hexdigest() != digest:
            self._store.drop_corrupt(digest)
        self._fs.set_read_only(destination)

    def sweep(self, name: str, keep: str = "") -> None:
        """Remove the slots that neither serve, nor served before, nor are ``keep``."""
        pointer = self.pointer(name)
        slots = self._root / check_deployment_name(name) / "slots"
        for text, _ in self._fs.entries(slots):
            if text not in (pointer.current, pointer.previous, keep):
                self._fs.remove_tree(slots / text)
        if self._fs.exists(slots):
            self._fs.sync_directory(slots)
