"""What devices last said about themselves."""

from __future__ import annotations

from pathlib import Path

from edgeloop_foundation.ports.fs import FileSystem
from edgeloop_protocol.types.facts import Facts

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import KnownFacts
from edgeloop.store.device_files import DeviceFiles

__all__ = ["KnownFactsStore"]


class KnownFactsStore:
    """``facts/`` below the controller's home."""

    def __init__(self, home: Path, fs: FileSystem | None = None) -> None:
        ask = "edgeloop device facts --on {name}"
        self._files = DeviceFiles(home / "facts", Facts, "facts", ask, fs)

    def keep(self, spec: DeviceSpec, facts: Facts, now_s: float) -> None:
        """Remember what a device said now."""
        self._files.keep(spec, facts, now_s)

    def get(self, spec: DeviceSpec) -> KnownFacts | None:
        """Return what was last known of a device; None when it never answered at this address.

        Raises:
            InvalidInputError: the file is damaged.
        """
        found = self._files.get(spec)
        return None if found is None else KnownFacts(address=found[0], seen_s=found[1], facts=found[2])
