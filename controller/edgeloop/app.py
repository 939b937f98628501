"""Composition root: finds the state directory, opens the stores and wires ports to drivers."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from edgeloop.domain.turn import ORDINARY_TURN, Turn

if TYPE_CHECKING:
    from edgeloop.domain.device import DeviceSpec
    from edgeloop.store.artifacts import ArtifactDirectory
    from edgeloop.store.probes import ProbeStore
    from edgeloop.store.records import RecordStore
    from edgeloop.store.telemetry import TelemetryStore
    from edgeloop.transport.base import Transport

__all__ = ["App", "default_state_directory"]


def default_state_directory() -> Path:
    """Return ``$EDGELOOP_HOME``, or ``.edgeloop`` in the current directory."""
    return Path(os.environ.get("EDGELOOP_HOME") or ".edgeloop").absolute()


def _end_with_parent() -> None:
    """Let a worker end when its controller is killed: it would wait for work for ever, for it holds the pipe itself."""
    import multiprocessing
    import threading

    parent = multiprocessing.parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, name="parent", daemon=True).start()


@dataclass(slots=True)
class App:
    """The opened stores and the worker pool of one controller process."""

    #: Everything the controller keeps.
    state_directory: Path
    records: RecordStore
    artifacts: ArtifactDirectory
    probes: ProbeStore
    #: How measurements queue for busy devices.
    turn: Turn = ORDINARY_TURN
    _pool: ProcessPoolExecutor | None = field(default=None, init=False)
    _telemetry: TelemetryStore | None = field(default=None, init=False)

    @classmethod
    def open(cls, state_directory: Path | None = None) -> App:
        """Open or create the stores.

        Raises:
            CorruptDataError: the record store is damaged or was written by a newer edgeloop.
        """
        from edgeloop.store.artifacts import ArtifactDirectory
        from edgeloop.store.probes import ProbeStore
        from edgeloop.store.records import RecordStore

        # Opt-out of the telemetry that onnxruntime ships; must precede its import here and in every child.
        os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"
        home = state_directory or default_state_directory()
        home.mkdir(parents=True, exist_ok=True)
        return cls(
            state_directory=home,
            records=RecordStore.open(home / "records.sqlite"),
            artifacts=ArtifactDirectory(home / "artifacts"),
            probes=ProbeStore(home / "probes"),
        )

    def __enter__(self) -> App:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the stores and stop the workers."""
        self.drop_pool()
        if self._telemetry is not None:
            self._telemetry.close()
        self.records.close()

    def connect(self, spec: DeviceSpec, seed: int) -> Transport:
        """Return the transport of a device, not yet open."""
        from edgeloop.transport.base import connect

        return connect(spec, self.state_directory, seed)

    def telemetry(self) -> TelemetryStore:
        """Return what devices noted about themselves, opened when it is first asked for.

        Raises:
            CorruptDataError: the file is damaged or was written by a newer edgeloop.
        """
        if self._telemetry is None:
            from edgeloop.store.telemetry import TelemetryStore

            self._telemetry = TelemetryStore.open(self.state_directory / "telemetry.sqlite")
        return self._telemetry

    def pool(self) -> ProcessPoolExecutor:
        """Return the pool in which candidates are built; started by exec, never forked."""
        if self._pool is None:
            import multiprocessing

            workers = min(4, len(os.sched_getaffinity(0)))
            self._pool = ProcessPoolExecutor(
                workers, multiprocessing.get_context("spawn"), initializer=_end_with_parent
            )
        return self._pool

    def drop_pool(self) -> None:
        """Stop the workers; the next one asked for starts anew."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None

    def work_directory(self, name: str) -> Path:
        """Return a directory for intermediate files, created if missing."""
        path = self.state_directory / "work" / name
        path.mkdir(parents=True, exist_ok=True)
        return path
