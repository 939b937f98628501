"""Holds the nodes of a trial to the provider that it has to run on, before any time is spent on measuring it."""

from __future__ import annotations

from collections.abc import Sequence

from edgeloop_protocol.types.run import FailureKind, Outcome

from edgeloop_agent.failure import RunnerFailure
from edgeloop_agent.fitness.anomalies import fallback_reason
from edgeloop_agent.trial_record import TrialRecord

__all__ = ["must_be_placed", "require_provider"]


def must_be_placed(records: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Return the trials whose placement decides whether they are measured."""
    return [r for r in records if r.alive and r.trial.settings.require_provider]


def require_provider(record: TrialRecord) -> None:
    """Refuse a trial whose placement is known to stray, or not known.

    Raises:
        RunnerFailure: nodes run elsewhere than on the first provider asked for, or nobody can tell.
    """
    placement, settings = record.placement, record.trial.settings
    if placement is None or not placement.nodes_per_provider:
        why = placement.reason if placement is not None and placement.reason else "the runtime does not tell"
        reason = f"the provider is required, and where the nodes run is not known: {why}."
        raise RunnerFailure(Outcome.UNSUPPORTED, FailureKind.PROVIDER_FALLBACK, reason)
    if strayed := fallback_reason(settings, placement):
        raise RunnerFailure(Outcome.UNSUPPORTED, FailureKind.PROVIDER_FALLBACK, strayed)
