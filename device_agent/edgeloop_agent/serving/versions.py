"""What the pointer of a deployment names, loaded before it takes over; the old version finishes what it began."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from edgeloop_foundation.errors import EdgeloopError

from edgeloop_agent.slots import SlotFiles

__all__ = ["LOOK_EVERY_S", "Versions"]

V = TypeVar("V")

LOOK_EVERY_S = 0.2
"""How often the pointer is read: a file of some hundred bytes."""

_RETRY_S = 5.0

_log = logging.getLogger(__name__)


class Versions(Generic[V]):
    """The version in force; ``current`` changes by one assignment, so that whoever reads it sees one or the other.

    Args:
        files: the deployments of the device.
        name: of the deployment.
        load: makes a slot ready to answer; blocks, and takes as long as it takes.
        changed: is told after every look that changed something.
    """

    def __init__(
        self, files: SlotFiles, name: str, load: Callable[[str], V], changed: Callable[[], None]
    ) -> None:
        self._files, self._name, self._load, self._changed = files, name, load, changed
        #: What answers; None before there is anything.
        self.current: V | None = None
        #: Why the slot that the pointer names is not what answers; empty when it is.
        self.refused = ""
        self._slot, self._failed, self._retry_at_s = "", "", 0.0
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Follow the pointer once; a version that cannot be made ready leaves the present one in force."""
        try:
            wanted = self._files.pointer(self._name).current
        except (EdgeloopError, OSError) as error:
            self._refuse("pointer", str(error))
            return
        if wanted == self._slot:
            self._refuse("", "")
            return
        if wanted == self._failed and time.monotonic() < self._retry_at_s:
            return
        try:
            version = self._load(wanted) if wanted else None
        except (EdgeloopError, OSError, ValueError, MemoryError) as error:
            self._refuse(wanted, f"release {wanted.partition('-')[0]} is not taken: {error}")
            return
        self.current, self._slot = version, wanted
        self._failed, self.refused = "", ""
        self._changed()

    def _refuse(self, slot: str, reason: str) -> None:
        self._failed, self._retry_at_s = slot, time.monotonic() + _RETRY_S
        if reason != self.refused:
            self.refused = reason
            if reason:
                _log.warning("%s: %s", self._name, reason)
            self._changed()

    def start(self) -> None:
        """Follow the pointer from now on."""
        self._thread = threading.Thread(target=self._follow, name="versions", daemon=True)
        self._thread.start()

    def _follow(self) -> None:
        while not self._ends.wait(LOOK_EVERY_S):
            self.look()

    def stop(self) -> None:
        """Follow it no more."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
