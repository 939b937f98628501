"""Artifacts that took a runner down twice in a row are opened no more on this device, until a person says otherwise.

A strike is a runner that crashed, was killed for lack of memory, or had to be killed at its deadline; a run that
succeeds wipes the strikes before it. They are counted per artifact and job, so that one job with many trials of the
same artifact is one strike, and survive restarts: a model must not win by taking the agent down with it.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterable, Set
from pathlib import Path
from typing import Any

from edgeloop_foundation.errors import CorruptDataError, InvalidInputError, NotFoundError, StateError
from edgeloop_foundation.ports.clock import Clock
from edgeloop_foundation.ports.fs import FileSystem, make_durable_directory, write_durably
from edgeloop_protocol.convert import from_json, to_json
from edgeloop_protocol.types.quarantine import QuarantinedArtifact
from edgeloop_protocol.types.run import FailureKind, Outcome, Run

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.sealed import seal, unseal_object

__all__ = ["KEPT_MAX", "Quarantine", "is_strike"]

KEPT_MAX = 256
"""Artifacts that are remembered; beyond it those with the fewest and oldest strikes go first."""

_REASON_LENGTH_MAX = 300
_STRIKES = frozenset(
    {
        (Outcome.DEVICE_ERROR, FailureKind.RUNNER_CRASHED),
        (Outcome.DEVICE_ERROR, FailureKind.OUT_OF_MEMORY),
        (Outcome.TIMEOUT, FailureKind.DEADLINE),
    }
)

_log = logging.getLogger(__name__)


def is_strike(outcome: Outcome, kind: FailureKind) -> bool:
    """Return whether an artifact is to blame for how a run ended."""
    return (outcome, kind) in _STRIKES


class Quarantine:
    """The strikes of one device; every method runs on the one loop, but for ``open``, which blocks."""

    def __init__(self, *, fs: FileSystem, root: Path, clock: Clock) -> None:
        self._fs, self._clock = fs, clock
        self._path = root / "quarantine.json"
        self._known: dict[str, QuarantinedArtifact] = {}
        self._changing = asyncio.Lock()

    def open(self) -> None:
        """Read the strikes from the disk; a spoiled file is set aside, and the log says so."""
        make_durable_directory(self._fs, self._path.parent)
        if not self._fs.exists(self._path):
            return
        try:
            tree = unseal_object(self._fs.read(self._path))
            found = [from_json(one, QuarantinedArtifact) for one in tree["artifacts"]]
            self._known = {one.digest: one for one in found}
        except (CorruptDataError, InvalidInputError, KeyError, TypeError) as error:
            _log.error("%s is set aside, no artifact is in quarantine: %s", self._path, error)
            self._fs.rename(self._path, self._path.with_suffix(".corrupt"))

    def listing(self) -> tuple[QuarantinedArtifact, ...]:
        """Return every artifact with a strike, the quarantined first, then by digest."""
        return tuple(sorted(self._known.values(), key=lambda one: (not one.quarantined, one.digest)))

    def refusal(self, digest: str) -> RunnerFailure | None:
        """Return why an artifact is not opened; None when it is."""
        known = self._known.get(digest)
        if known is None or not known.quarantined:
            return None
        reason = (
            f"artifact {digest[:12]} is in quarantine on this device: {known.strike_count} times in a row its runner "
            f"ended badly, last because {known.reason.rstrip('.')}. "
            f"edgeloop device quarantine DEVICE --clear {digest[:12]} takes it out."
        )
        return RunnerFailure(Outcome.UNSUPPORTED, FailureKind.UNFIT_DEVICE, reason)

    def check(self, digest: str) -> None:
        """Refuse to install what is in quarantine.

        Raises:
            StateError: it is.
        """
        if (failure := self.refusal(digest)) is not None:
            raise StateError(failure.reason)

    async def note_runs(self, runs: Iterable[Run]) -> None:
        """Take in how the runs of one job ended; an artifact of which one succeeded and one failed gets a strike."""
        bad: dict[str, str] = {}
        good: set[str] = set()
        for run in runs:
            digest = run.trial.artifact_digest
            if is_strike(run.outcome, run.failure_kind):
                bad[digest] = run.failure_reason
            elif run.outcome is Outcome.SUCCESS:
                good.add(digest)
        await self._note(bad, good - bad.keys())

    async def note_probe(self, digest: str, failure: RunnerFailure | None) -> None:
        """Take in how the probe of an installation ended."""
        if failure is None:
            await self._note({}, {digest})
        elif is_strike(failure.outcome, failure.failure_kind):
            await self._note({digest: failure.reason}, frozenset())

    async def _note(self, bad: dict[str, str], good: Set[str]) -> None:
        # Shielded: a caller that goes away must leave memory and disk at one.
        await asyncio.shield(self._note_alone(bad, good))

    async def _note_alone(self, bad: dict[str, str], good: Set[str]) -> None:
        async with self._changing:
            known = {digest: one for digest, one in self._known.items() if digest not in good}
            for digest, reason in bad.items():
                before = known.pop(digest, None)
                known[digest] = QuarantinedArtifact(
                    digest=digest,
                    strike_count=1 + (before.strike_count if before else 0),
                    reason=reason[:_REASON_LENGTH_MAX],
                    wall_s=self._clock.wall_s(),
                )
                if known[digest].quarantined:
                    _log.error("artifact %s goes into quarantine: %s", digest, reason[:_REASON_LENGTH_MAX])
            if known == self._known:
                return
            try:
                await self._keep(known)
            except OSError as error:
                # In force until the agent ends; a full disk must not cost the job its rows.
                self._known = known
                _log.error("strikes are not on the disk: %s", error)

    async def clear(self, prefix: str) -> tuple[str, ...]:
        """Open an artifact again, named by the beginning of its digest, or all of them; return their digests.

        Raises:
            NotFoundError: none has a strike that begins so.
            InvalidInputError: the beginning is empty.
        """
        if not prefix:
            raise InvalidInputError("an artifact is named by the beginning of its digest, or as 'all'.")
        return await asyncio.shield(self._clear_alone(prefix))

    async def _clear_alone(self, prefix: str) -> tuple[str, ...]:
        async with self._changing:
            gone = [digest for digest in self._known if prefix == "all" or digest.startswith(prefix)]
            if not gone:
                raise NotFoundError(
                    f"no artifact that begins with {prefix[:80]!r} has a strike on this device."
                )
            await self._keep({digest: one for digest, one in self._known.items() if digest not in gone})
            return tuple(sorted(gone))

    async def _keep(self, known: dict[str, QuarantinedArtifact]) -> None:
        while len(known) > KEPT_MAX:
            known.pop(min(known.values(), key=lambda one: (one.quarantined, one.wall_s)).digest)
        await asyncio.to_thread(self._write, known)
        self._known = known

    def _write(self, known: dict[str, QuarantinedArtifact]) -> None:
        tree: dict[str, Any] = {"artifacts": [to_json(one) for one in known.values()]}
        write_durably(self._fs, self._path, seal(json.dumps(tree).encode()))
