"""Whether devices gave out leases when they were last asked, and who had drained them."""

from __future__ import annotations

from pathlib import Path

from edgeloop_foundation.ports.fs import FileSystem
from edgeloop_protocol.types.lease import Availability

from edgeloop.domain.device import DeviceSpec
from edgeloop.domain.inventory import KnownAvailability
from edgeloop.store.device_files import DeviceFiles

__all__ = ["KnownAvailabilityStore"]


class KnownAvailabilityStore:
    """``availability/`` below the controller's home."""

    def __init__(self, home: Path, fs: FileSystem | None = None) -> None:
        ask = "edgeloop device list --live"
        self._files = DeviceFiles(home / "availability", Availability, "availability", ask, fs)

    def keep(self, spec: DeviceSpec, found: Availability, now_s: float) -> None:
        """Remember how a device stands now."""
        self._files.keep(spec, found, now_s)

    def get(self, spec: DeviceSpec) -> KnownAvailability | None:
        """Return how a device stood last; None when it was never asked at this address.

        Raises:
            InvalidInputError: the file is damaged.
        """
        found = self._files.get(spec)
        if found is None:
            return None
        return KnownAvailability(address=found[0], seen_s=found[1], availability=found[2])
