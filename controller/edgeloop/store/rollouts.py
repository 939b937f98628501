"""Rollouts as they stand: one directory each, written whole and durably before anything is done to a device.

``rollouts/ID/rollout.json``   how it stands
``rollouts/ID/request.json``   what somebody asks of the process that drives it; taken once
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError, NotFoundError
from edgeloop_foundation.ports.fs import FileSystem, OsFileSystem, make_durable_directory, write_durably
from edgeloop_protocol.convert import from_json, to_canonical_json

from edgeloop.domain.rollout import REQUESTS, Rollout

__all__ = ["RolloutStore"]

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


class RolloutStore:
    """``rollouts/`` below the controller's home."""

    def __init__(self, home: Path, fs: FileSystem | None = None) -> None:
        self._fs = fs or OsFileSystem()
        self._root = home / "rollouts"

    def directory(self, rollout_id: str) -> Path:
        """Return where a rollout is kept.

        Raises:
            InvalidInputError: that is no identifier.
        """
        if not _ID.fullmatch(rollout_id):
            raise InvalidInputError(f"{rollout_id[:80]!r} is no identifier of a rollout.")
        return self._root / rollout_id

    def save(self, rollout: Rollout) -> None:
        """Make durable how a rollout stands."""
        directory = self.directory(rollout.rollout_id)
        make_durable_directory(self._fs, directory)
        write_durably(self._fs, directory / "rollout.json", to_canonical_json(rollout))

    def get(self, word: str) -> Rollout:
        """Return a rollout by its identifier, or the newest one of a release by that name.

        Raises:
            NotFoundError: there is none.
            CorruptDataError: its file is damaged.
        """
        known = [one for one in self.all() if word in (one.rollout_id, one.plan.release)]
        if not known:
            raise NotFoundError(
                f"there is no rollout {word!r}.", next_step="List them: edgeloop rollout status."
            )
        return known[-1]

    def all(self) -> tuple[Rollout, ...]:
        """Return every rollout, the oldest first.

        Raises:
            CorruptDataError: a file is damaged.
        """
        if not self._fs.exists(self._root):
            return ()
        found = []
        for name, size in self._fs.entries(self._root):
            path = self._root / name / "rollout.json"
            if size < 0 and self._fs.exists(path):
                found.append(self._read(path))
        return tuple(sorted(found, key=lambda one: (one.started_wall_s, one.rollout_id)))

    def _read(self, path: Path) -> Rollout:
        try:
            return from_json(self._fs.read(path), Rollout)
        except InvalidInputError as error:
            raise CorruptDataError(
                f"{path}: {error.message}", next_step="Move the file away; its devices keep what they serve."
            ) from error

    def ask(self, rollout_id: str, request: str) -> None:
        """Leave a request for the process that drives a rollout; a later one replaces it."""
        if request not in REQUESTS:
            raise InvalidInputError(f"{request!r} cannot be asked of a rollout.")
        path = self.directory(rollout_id) / "request.json"
        write_durably(self._fs, path, json.dumps({"request": request}).encode())

    def take_request(self, rollout_id: str) -> str:
        """Return the request that waits and forget it; empty when none does."""
        path = self.directory(rollout_id) / "request.json"
        if not self._fs.exists(path):
            return ""
        try:
            request = str(json.loads(self._fs.read(path)).get("request", ""))
        except (ValueError, AttributeError):
            request = ""
        self._fs.remove(path)
        return request if request in REQUESTS else ""
