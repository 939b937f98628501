"""The latest probe of each device, one file a device, written whole or not at all."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, write_durably
from edgeloop_protocol.convert import from_json, to_canonical_json

from edgeloop.domain.probe import ProbedFacts

__all__ = ["ProbeStore"]


class ProbeStore:
    """Keeps what devices showed; the runs behind it are in the records.

    Args:
        directory: where the files are; created with the first one.
        fs: file system, replaced in tests of crashes.
    """

    def __init__(self, directory: Path, fs: FileSystem | None = None) -> None:
        self._directory = directory
        self._fs = fs or OsFileSystem()

    def _path(self, device_id: str) -> Path:
        # Identifiers come from devices: a digest of one is always a file name.
        return self._directory / f"{sha256(device_id.encode()).hexdigest()[:32]}.json"

    def put(self, answers: ProbedFacts) -> None:
        """Keep the answers in place of earlier ones of this device.

        Raises:
            UnavailableError: the disk is full or refuses.
        """
        self._fs.make_directory(self._directory)
        write_durably(self._fs, self._path(answers.device_id), to_canonical_json(answers))

    def get(self, device_id: str) -> ProbedFacts | None:
        """Return the latest answers of a device; None when it was never probed.

        Raises:
            CorruptDataError: the file was changed by somebody else.
        """
        path = self._path(device_id)
        if not self._fs.exists(path):
            return None
        return self._read(path)

    def named(self, device_name: str) -> ProbedFacts | None:
        """Return the latest answers of a device that had this name when it was probed; None when none had.

        Raises:
            CorruptDataError: a file was changed by somebody else.
        """
        found = [self._read(path) for path in sorted(self._directory.glob("*.json"))]
        mine = [answers for answers in found if answers.device_name == device_name]
        return max(mine, key=lambda answers: answers.wall_time_s, default=None)

    def _read(self, path: Path) -> ProbedFacts:
        try:
            return from_json(self._fs.read(path), ProbedFacts)
        except InvalidInputError as error:
            raise CorruptDataError(f"{path.name} holds no probe: {error}") from error
